//! The hosts of a cluster, in words.

use serde_json::Value;

use super::table::{aligned, names};
use super::{entries, short, text};

/// Returns the answer about the hosts as text.
pub(super) fn shown(answer: &Value) -> String {
    let nodes = entries(&answer["nodes"]);
    let mut shown = match &answer["engine"] {
        Value::Null => "engine   none: a single host\n\n".to_owned(),
        engine => format!("engine   {}\n\n", text(engine)),
    };
    let mut rows = vec![names(["host", "version", "connections", "heard", "engine"])];
    rows.extend(nodes.iter().map(node));
    shown.push_str(&aligned(&rows));
    let mut plugins: Vec<Vec<String>> = nodes.iter().flat_map(plugins).collect();
    plugins.sort();
    if !plugins.is_empty() {
        let head = names(["channel", "host", "generation", "sha256", "source", "state"]);
        plugins.insert(0, head);
        shown.push('\n');
        shown.push_str(&aligned(&plugins));
    }
    for name in entries(&answer["unanswered"]) {
        shown.push_str(&format!("\n{} has not answered: look at its log\n", text(name)));
    }
    shown
}

fn node(node: &Value) -> Vec<String> {
    let heard = match node["silent_for_ms"].as_u64() {
        None => "here".to_owned(),
        Some(time) => format!("{}.{} s ago", time / 1000, time % 1000 / 100),
    };
    let engine = match (&node["plugins"], &node["engine"], &node["failure"]) {
        (Value::Null, ..) => "unanswered".to_owned(),
        (_, Value::Null, Value::Null) => "-".to_owned(),
        (_, _, Value::Null) => "up".to_owned(),
        (.., failure) => text(failure),
    };
    let [name, version, connections] =
        ["name", "version", "connections"].map(|key| text(&node[key]));
    vec![name, version, connections, heard, engine]
}

fn plugins(node: &Value) -> Vec<Vec<String>> {
    let plugin = |plugin: &Value| {
        let state = match &plugin["reason"] {
            Value::Null => text(&plugin["state"]),
            reason => format!("{}: {}", text(&plugin["state"]), text(reason)),
        };
        let [channel, generation, source] =
            ["channel", "generation", "source"].map(|key| text(&plugin[key]));
        vec![channel, text(&node["name"]), generation, short(&plugin["sha256"]), source, state]
    };
    entries(&node["plugins"]).iter().map(plugin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_and_plugins_are_tables_and_a_silent_host_is_named() {
        let plugin = |channel: &str, reason: Option<&str>| {
            json!({
                "channel": channel, "generation": 3, "sha256": "5f70bf18a086cc", "source": "folder",
                "state": if reason.is_some() { "refused" } else { "serving" }, "reason": reason
            })
        };
        let answer = json!({
            "engine": "redis 7.0.15", "failure": null, "unanswered": ["two"], "nodes": [
                { "name": "one", "version": "0.1.0", "connections": 12, "silent_for_ms": null,
                  "engine": "redis 7.0.15", "failure": null,
                  "plugins": [plugin("chat", None), plugin("bad", Some("it does not start"))] },
                { "name": "two", "version": "0.1.0", "connections": 3, "silent_for_ms": 1250,
                  "engine": null, "failure": null, "plugins": null }
            ]
        });
        assert_eq!(
            shown(&answer),
            "engine   redis 7.0.15\n\n\
             host   version   connections   heard       engine\n\
             one    0.1.0     12            here        up\n\
             two    0.1.0     3             1.2 s ago   unanswered\n\n\
             channel   host   generation   sha256         source   state\n\
             bad       one    3            5f70bf18a086   folder   refused: it does not start\n\
             chat      one    3            5f70bf18a086   folder   serving\n\n\
             two has not answered: look at its log\n"
        );
    }

    #[test]
    fn an_answer_of_another_form_or_with_treacherous_texts_does_no_harm() {
        for answer in [json!({}), json!([1]), json!({ "nodes": [1, { "name": "a\u{1b}[2J" }] })] {
            assert!(!shown(&answer).contains('\u{1b}'));
        }
    }
}
