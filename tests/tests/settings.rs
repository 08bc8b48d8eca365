//! Settings of a channel, which its plugin reads, and secrets, which appear nowhere.

use std::fs;

use tempfile::TempDir;
use wharf_tests::{Line, Value, Wharf, artefacts, json, run_in};

const SECRET: &str = "correct-horse-battery";

/// Makes a folder with this `wharf.toml` and the plugin.
fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let plugin = artefacts::component("configured");
    fs::write(folder.path().join("plugins/configured.wasm"), plugin).expect("a plugin");
    fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    folder
}

async fn started(file: &str) -> Wharf {
    // The limit is high enough that no line is dropped.
    Wharf::start_in(folder(file), &["--log-lines-per-second 100000"]).await
}

async fn ask(wharf: &Wharf, kind: &str, name: &str) -> Value {
    let mut client = wharf.connect("/configured").await;
    let answer = client.ask(&json!({ "type": kind, "name": name }).to_string()).await;
    answer.parse().expect("JSON")
}

#[tokio::test]
async fn a_plugin_reads_the_settings_and_secrets_of_its_own_channel() {
    let wharf = started(
        "[channels.configured.settings]\ngreeting = \"hello\"\nlimit = 5\n\
         [channels.configured.secrets]\nkey = \"correct-horse-battery\"\n\
         [channels.other.settings]\nforeign = \"x\"\n",
    )
    .await;
    for (name, value) in
        [("greeting", json!("hello")), ("limit", json!("5")), ("key", json!(SECRET))]
    {
        assert_eq!(ask(&wharf, "ask", name).await, json!({ "value": value }));
        assert_eq!(ask(&wharf, "need", name).await, json!({ "value": value }));
    }
    for name in ["foreign", "", "settings.greeting", &"x".repeat(100_000)] {
        assert_eq!(ask(&wharf, "ask", name).await, json!({ "value": null }));
    }
    // The table without a plugin may be a typo.
    let unused = wharf.log.find(|line| line.begins("the configuration has a table"));
    assert_eq!(unused.iter().map(|line| line.str("channel")).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn a_missing_setting_tells_plugin_and_operator_what_to_write() {
    let wharf = started("").await;
    let answer = ask(&wharf, "need", "api_url").await;
    assert_eq!(answer["code"], "setting-missing");
    let rejected = wharf.try_connect("/configured/in-need", &[]).await.expect_err("no setting");
    assert_eq!(rejected.status, 500);
    let logged = wharf.log.wait_for("the error", |line| line.begins("handler failed")).await;
    for (text, name) in
        [(answer["detail"].as_str(), "api_url"), (Some(logged.str("error")), "nobody_set_this")]
    {
        let text = text.expect("text");
        for part in [
            format!("`{name} = \"…\"` under `[channels.configured.settings]`"),
            format!("WHARF_CHANNELS__CONFIGURED__SETTINGS__{}", name.to_uppercase()),
        ] {
            assert!(text.contains(&part), "no {part} in {text}");
        }
    }
}

#[tokio::test]
async fn the_environment_wins_over_the_file() {
    let folder = folder("[channels.configured.settings]\na = \"file\"\nb = \"file\"\n");
    let wrapper = [
        "env",
        "WHARF_CHANNELS__CONFIGURED__SETTINGS__B=environment",
        "WHARF_CHANNELS__CONFIGURED__SECRETS__KEY=correct-horse-battery",
    ];
    let wharf = Wharf::start_under(&wrapper, folder, &[]).await;
    for (name, value) in [("a", "file"), ("b", "environment"), ("key", SECRET)] {
        assert_eq!(ask(&wharf, "ask", name).await, json!({ "value": value }));
    }
}

#[tokio::test]
async fn a_secret_is_hidden_wherever_its_channel_puts_it() {
    let wharf = started(
        "[channels.configured.secrets]\nkey = \"correct-horse-battery\"\nshort = \"abc\"\n\
         lines = \"\"\"first \\\"secret\\\" line\nsecond secret line\"\"\"\n",
    )
    .await;
    // Secrets are also at the limits of lines and fields, where one may be cut in two.
    for to in [
        "log",
        "field",
        "field-name",
        "literal",
        "stdout",
        "stdout-in-pieces",
        "stderr",
        "error",
        "panic",
    ] {
        for before in [0, 1015, 4085, 8180] {
            for name in ["key", "lines"] {
                let start = wharf.log.len();
                let mut client = wharf.connect("/configured").await;
                let before = ". ".repeat(before / 2);
                let order = json!({ "type": "leak", "name": name, "to": to, "before": before });
                client.send(&order.to_string()).await;
                let of_guest =
                    |line: &Line| line.str("channel") == "configured" && !line.begins("connection");
                wharf.log.wait_for_after(start, &format!("{name} by {to}"), of_guest).await;
            }
        }
    }
    let mut client = wharf.connect("/configured").await;
    let order = json!({ "type": "leak", "name": "short", "to": "log", "before": "last " });
    client.ask(&order.to_string()).await;
    // The secret is too short to be searched for.
    wharf.log.wait_for("the last line", |line| line.says("last abc")).await;
    let lines = wharf.log.lines();
    for part in ["correct-horse", "horse-battery", "correct", "battery", "secret"] {
        let found = lines.iter().find(|line| line.text.contains(part));
        assert!(found.is_none(), "{part} in {}", found.map_or("", |line| &line.text));
    }
    assert!(lines.iter().any(|line| line.message().contains("***")));
}

#[tokio::test]
async fn what_keeps_the_host_from_starting_is_named_without_the_secret() {
    for (file, words) in [
        ("key = { env = \"NOT_SET\" }", ["NOT_SET", "channels.configured.secrets.key"]),
        ("key = { file = \"nowhere.key\" }", ["nowhere.key", "channels.configured.secrets.key"]),
        ("key = \"correct-horse-battery\" x", ["line 2", "TOML"]),
        ("key = \"correct-horse-battery\"\nKey = \"a\"", ["secrets.Key", "lower-case"]),
    ] {
        let folder = folder(&format!("[channels.configured.secrets]\n{file}"));
        for command in ["serve", "config"] {
            let output = run_in(folder.path(), &[command], &[]);
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{complaint}");
            assert!(!complaint.contains(SECRET), "{complaint}");
            for word in words {
                assert!(complaint.contains(word), "no {word}: {complaint}");
            }
        }
    }
    let folder = folder(&format!("[channels.configured.secrets]\nkey = \"{SECRET}\""));
    let output = run_in(folder.path(), &["config"], &[]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("key = \"***\"") && !shown.contains(SECRET), "{shown}");
}
