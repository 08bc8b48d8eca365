//! Deployments, in words.

use serde_json::Value;

use super::table::{aligned, names};
use super::{entries, short, text};
use crate::arguments::OperatorAction;

/// Returns the answer to an act that is done as text.
pub(super) fn done(action: &OperatorAction, answer: &Value) -> String {
    let (channel, sha256) = (text(&answer["channel"]), short(&answer["sha256"]));
    let (what, is_trial) = match action {
        OperatorAction::Rollback { is_dry_run, .. } => ("rolled back to", *is_dry_run),
        OperatorAction::Withdraw { .. } => {
            ("withdrawn; each host serves what its plugin folder has", false)
        }
        OperatorAction::Deploy { is_dry_run, .. } => ("deployed", *is_dry_run),
        OperatorAction::Status
        | OperatorAction::List
        | OperatorAction::Logs { .. }
        | OperatorAction::Top { .. } => ("", false),
    };
    let mut shown = match (is_trial, action) {
        (true, _) => format!("{channel} {sha256} is fit on all hosts; nothing has changed\n"),
        (_, OperatorAction::Withdraw { .. }) => format!("{channel} {what}\n"),
        _ => format!("{channel} {what} {sha256}\n"),
    };
    shown.push('\n');
    shown.push_str(&nodes(answer));
    if !is_trial && answer["kept_in"] == "memory" && !answer["sha256"].is_null() {
        shown.push_str(
            "\nthe host keeps nothing on disk (its `data` is \"\"): after a restart it serves what its plugin folder has\n",
        );
    }
    shown
}

fn nodes(answer: &Value) -> String {
    let node = |node: &Value| {
        let [name, state, generation] = ["name", "state", "generation"].map(|key| text(&node[key]));
        let reason = if node["reason"].is_null() { String::new() } else { text(&node["reason"]) };
        vec![name, state, generation, reason]
    };
    let mut rows = vec![names(["host", "state", "generation", "reason"])];
    rows.extend(entries(&answer["nodes"]).iter().map(node));
    aligned(&rows)
}

/// Returns the list of what is deployed as text.
pub(super) fn list(answer: &Value) -> String {
    let plugins = entries(&answer["plugins"]);
    if plugins.is_empty() {
        return "nothing is deployed: each host serves what its plugin folder has\n".to_owned();
    }
    let plugin = |plugin: &Value| {
        let [channel, bytes, time, by, node] =
            ["channel", "bytes", "time", "by", "node"].map(|key| text(&plugin[key]));
        let previous = match &plugin["previous"] {
            Value::Null => "-".to_owned(),
            previous => short(&previous["sha256"]),
        };
        vec![channel, short(&plugin["sha256"]), bytes, time, by, node, previous]
    };
    let mut rows = vec![names(["channel", "sha256", "bytes", "when", "by", "host", "previous"])];
    rows.extend(plugins.iter().map(plugin));
    aligned(&rows)
}

/// Returns the reason why nothing is done.
pub(super) fn refused(status: u16, answer: &Value) -> String {
    let error = &answer["error"];
    let message = text(&error["message"]);
    match answer["nodes"].is_array() {
        true => format!(
            "a host has not taken it, so that nothing has changed on any of them\n\n{}",
            nodes(answer).trim_end()
        ),
        false => format!("{message} (status {status}, {})", text(&error["code"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deploy(is_dry_run: bool) -> OperatorAction {
        OperatorAction::Deploy { file: "chat.wasm".into(), channel: None, is_dry_run }
    }

    #[test]
    fn a_deployment_shows_each_host_and_if_it_survives_a_restart() {
        let answer = json!({
            "channel": "chat", "sha256": "5f70bf18a086cc", "kept_in": "memory",
            "nodes": [{ "name": "one", "state": "serving", "generation": 2, "reason": null }]
        });
        let shown = done(&deploy(false), &answer);
        let table = "host   state     generation   reason\none    serving   2\n";
        assert!(shown.starts_with(&format!("chat deployed 5f70bf18a086\n\n{table}")), "{shown}");
        assert!(shown.contains("after a restart"), "{shown}");
        let shown = done(&deploy(true), &answer);
        assert!(shown.starts_with("chat 5f70bf18a086 is fit on all hosts"), "{shown}");
        assert!(!shown.contains("after a restart"), "{shown}");
    }

    #[test]
    fn a_refusal_shows_the_reason_of_each_host() {
        let answer = json!({
            "error": { "code": "plugin-refused", "message": "2 of 2" },
            "nodes": [
                { "name": "one", "state": "refused", "generation": null, "reason": "no component" },
                { "name": "two", "state": "ready", "generation": null, "reason": null }
            ]
        });
        let shown = refused(422, &answer);
        assert!(shown.contains("one    refused   -            no component"), "{shown}");
        let busy = json!({ "error": { "code": "deploy-under-way", "message": "one deploys" } });
        assert_eq!(refused(409, &busy), "one deploys (status 409, deploy-under-way)");
    }

    #[test]
    fn the_list_says_when_by_whom_and_what_was_before() {
        assert!(list(&json!({ "plugins": [] })).starts_with("nothing is deployed"));
        let plugin = json!({
            "channel": "chat", "sha256": "5f70bf18a086cc", "bytes": 9, "time": "2026", "by": "ann@laptop",
            "node": "one", "previous": { "sha256": "0123456789abcdef" }
        });
        let shown = list(&json!({ "plugins": [plugin] }));
        let line = "chat      5f70bf18a086   9       2026   ann@laptop   one    0123456789ab";
        assert!(shown.contains(line), "{shown}");
    }
}
