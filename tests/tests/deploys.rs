//! Deployments to a single host, and `wharf status`. Those to clusters are in `cluster_deploys`.

use std::process::Output;

use wharf_tests::artefacts::component;
use wharf_tests::operator::{TOKEN, authorization};
use wharf_tests::{Client, Ended, Line, Operated, Value, folder, json, run};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a command has succeeded, and returns what it says.
fn done(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", said(&output), complained(&output));
    said(&output)
}

/// Asserts that a command has failed, and returns its complaint.
fn failed(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}{}", said(&output), complained(&output));
    complained(&output)
}

async fn version(client: &mut Client) -> u64 {
    client.ask_for_json("version?").await["version"].as_u64().expect("a version")
}

#[tokio::test]
async fn a_deployed_plugin_swaps_under_open_connections_and_outlives_the_process() {
    let mut it = Operated::start(&["counts"], &[]).await;
    let mut ann = it.wharf.connect("/counts/ann").await;
    assert_eq!(version(&mut ann).await, 1);
    let text = done(it.deploy("counts", &component("counts-v2")));
    assert!(text.starts_with("counts deployed "), "{text}");
    let answer = ann.ask_for_json("again").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(2), &json!(2)), "one session");
    let over_file =
        |line: &Line| line.says("deployed code serves in place of the file in the plugin folder");
    it.wharf.log.wait_for("the line about the file", over_file).await;
    it.wharf.kill();
    it.start_again(&[]).await;
    let mut bob = it.wharf.connect("/counts/bob").await;
    assert_eq!(version(&mut bob).await, 2);
    // The folder's file is there, and is told to be of no use.
    let start = it.wharf.log.len();
    it.wharf.install("counts", &component("counts"));
    let told = |line: &Line| {
        line.begins("the plugin folder has a file of a channel whose code was deployed")
    };
    it.wharf.log.wait_for_after(start, "the line about the file", told).await;
    assert_eq!(version(&mut bob).await, 2);
    let text = done(it.command(&["deploy", "--withdraw", "counts"], &[]));
    assert!(text.starts_with("counts withdrawn"), "{text}");
    it.wharf.in_service_after(start, "counts").await;
    assert_eq!(version(&mut bob).await, 1);
    let gone = failed(it.command(&["deploy", "--withdraw", "counts"], &[]));
    assert!(gone.contains("nothing was deployed to the channel counts"), "{gone}");
}

#[tokio::test]
async fn a_channel_that_the_folder_does_not_have_comes_and_goes_with_its_deployment() {
    let it = Operated::start(&["echo"], &[]).await;
    done(it.deploy("counts", &component("counts-v2")));
    let mut ann = it.wharf.connect("/counts/ann").await;
    assert_eq!(version(&mut ann).await, 2);
    done(it.command(&["deploy", "--withdraw", "counts"], &[]));
    let ended = ann.ended().await;
    assert!(matches!(ended, Ended::Closed(1001, _)), "{ended:?}");
    assert_eq!(it.get("/counts").await.0, 404);
    let mut echo = it.wharf.connect("/echo").await;
    echo.ask("others go on").await;
}

#[tokio::test]
async fn a_rollback_brings_the_plugin_before_back_and_the_list_tells_of_both() {
    let it = Operated::start(&[], &[]).await;
    let none = done(it.command(&["deploy", "--list"], &[]));
    assert!(none.starts_with("nothing is deployed"), "{none}");
    done(it.deploy("counts", &component("counts")));
    let refused = failed(it.command(&["deploy", "--rollback", "counts"], &[]));
    assert!(refused.contains("has no code before the present one"), "{refused}");
    done(it.deploy("counts", &component("counts-v2")));
    let mut ann = it.wharf.connect("/counts/ann").await;
    assert_eq!(version(&mut ann).await, 2);
    let (_, before) = it.ask("/api/plugins").await;
    let text = done(it.command(&["deploy", "--rollback", "counts"], &[]));
    assert!(text.starts_with("counts rolled back to "), "{text}");
    assert_eq!(version(&mut ann).await, 1);
    let (_, after) = it.ask("/api/plugins").await;
    let (before, after) = (&before["plugins"][0], &after["plugins"][0]);
    assert_eq!(after["sha256"], before["previous"]["sha256"]);
    assert_eq!(after["previous"]["sha256"], before["sha256"]);
    assert!(after["by"].as_str().expect("a name").starts_with("ann@"), "{after}");
    let list = done(it.command(&["deploy", "--list"], &[]));
    let hash = after["sha256"].as_str().expect("a hash");
    assert!(list.contains(&hash[..12]) && list.contains("ann@"), "{list}");
}

#[tokio::test]
async fn a_plugin_that_the_host_would_not_load_changes_nothing_and_its_reason_is_shown() {
    let it = Operated::start(&["counts", "echo"], &[]).await;
    let mut ann = it.wharf.connect("/counts/ann").await;
    for (channel, bytes, reason) in [
        ("counts", b"no component".to_vec(), "WebAssembly"),
        ("counts", component("undescribed"), "describe"),
        ("other", component("echo"), "the plugin echo"),
    ] {
        let refused = failed(it.deploy(channel, &bytes));
        assert!(refused.contains("nothing has changed"), "{refused}");
        assert!(refused.contains("refused") && refused.contains(reason), "{reason}: {refused}");
    }
    assert_eq!(version(&mut ann).await, 1);
    let (_, found) = it.ask("/api/plugins").await;
    assert_eq!((&found["number"], &found["plugins"]), (&json!(0), &json!([])));
    let bad_name = failed(it.deploy("Not-A-Name", &component("counts")));
    assert!(bad_name.contains("cannot be a channel's name"), "{bad_name}");
}

#[tokio::test]
async fn a_dry_run_tries_a_plugin_and_swaps_nothing() {
    let it = Operated::start(&["counts"], &[]).await;
    let mut ann = it.wharf.connect("/counts/ann").await;
    let file = [("counts.wasm", &*component("counts-v2"))];
    let text = done(it.command(&["deploy", "counts.wasm", "--dry-run"], &file));
    assert!(text.contains("is fit on all hosts; nothing has changed"), "{text}");
    assert_eq!(version(&mut ann).await, 1);
    let bad = [("counts.wasm", &b"no component"[..])];
    failed(it.command(&["deploy", "counts.wasm", "--dry-run"], &bad));
    let kept = std::fs::read_dir(it.wharf.folder().join("wharf-data/deployed"));
    let kept: Vec<_> = kept.expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(kept.is_empty(), "the file was for the trial only: {kept:?}");
    // The next real one is not in its way.
    done(it.deploy("counts", &component("counts-v2")));
    assert_eq!(version(&mut ann).await, 2);
}

#[tokio::test]
async fn a_host_without_a_data_folder_says_what_a_restart_will_cost() {
    let mut it = Operated::start(&["counts"], &["--data="]).await;
    let text = done(it.deploy("counts", &component("counts-v2")));
    assert!(text.contains("after a restart it serves what its plugin folder has"), "{text}");
    it.wharf.kill();
    it.start_again(&["--data="]).await;
    let mut ann = it.wharf.connect("/counts/ann").await;
    assert_eq!(version(&mut ann).await, 1);
}

#[tokio::test]
async fn each_deployment_is_in_the_audit_log_and_the_token_is_nowhere() {
    let it = Operated::start(&["counts"], &["--log debug"]).await;
    done(it.deploy("counts", &component("counts-v2")));
    failed(it.deploy("counts", b"no component"));
    failed(it.command(&["deploy", "--rollback", "counts"], &[]));
    done(it.command(&["deploy", "--withdraw", "counts"], &[]));
    let (_, page) = it.ask("/api/audit").await;
    let acts = page["acts"].as_array().expect("acts");
    let outline: Vec<(&str, u64, &str)> = acts
        .iter()
        .map(|act| {
            assert_eq!(act["channel"], "counts");
            let text = |field: &str| act[field].as_str().unwrap_or_default();
            (text("action"), act["status"].as_u64().unwrap_or_default(), text("code"))
        })
        .collect();
    let expected = [
        ("withdraw", 200, ""),
        ("rollback", 409, "no-previous"),
        ("deploy", 422, "plugin-refused"),
        ("deploy", 200, ""),
    ];
    assert_eq!(outline, expected);
    assert!(acts[3]["subject"].as_str().expect("a subject").starts_with("plugin "), "{}", acts[3]);
    let line = it.wharf.log.wait_for("the line", |line| line.says("deployed")).await;
    assert!(line.str("by").starts_with("ann@") && line.number("number") == Some(1), "{line}");
    assert!(it.wharf.log.find(|line| line.text.contains(TOKEN)).is_empty());
    assert!(!page.to_string().contains(TOKEN));
}

#[tokio::test]
async fn the_api_refuses_what_is_no_deployment() {
    let it = Operated::start(&["counts"], &[]).await;
    let send = async |method: &str, path: &str, body: &[u8]| {
        let path = format!("/api/plugins/{path}");
        let answer = it.request(method, &path, &[authorization()], body).await;
        let body: Value = serde_json_of(&answer.body);
        (answer.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    for (method, path, body, expected) in [
        ("PUT", "counts", &b""[..], (400, "body-missing")),
        ("PUT", "No", b"x", (400, "invalid-field")),
        ("PUT", "counts?dry_run=perhaps", b"x", (400, "invalid-field")),
        ("PUT", "counts?colour=red", b"x", (400, "invalid-field")),
        ("PUT", "counts?by=%ff", b"x", (400, "invalid-field")),
        ("POST", "counts", b"", (405, "method-not-allowed")),
        ("GET", "counts", b"", (405, "method-not-allowed")),
        ("PUT", "counts/rollback", b"x", (405, "method-not-allowed")),
        ("POST", "counts/rollback", b"", (404, "not-deployed")),
        ("DELETE", "counts", b"", (404, "not-deployed")),
        ("DELETE", "counts?dry_run=true", b"", (400, "invalid-field")),
    ] {
        let (status, code) = send(method, path, body).await;
        assert_eq!((status, &*code), expected, "{method} {path}");
    }
    let large = [authorization(), ("Content-Length", "67108865")];
    let mut raw = wharf_tests::Raw::open(it.api).await;
    raw.request("PUT /api/plugins/counts", &large).await;
    assert_eq!(raw.answer().await.status, 413);
}

fn serde_json_of(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).parse().expect("JSON")
}

#[tokio::test]
async fn status_shows_the_one_host_with_its_plugins_good_and_bad() {
    let place = folder(&["counts"]);
    std::fs::write(place.path().join("plugins/bad.wasm"), "no component").expect("a file");
    let it = Operated::start_in(place, &["--node-name lonely"]).await;
    let _ann = it.wharf.connect("/counts/ann").await;
    let text = done(it.command(&["status"], &[]));
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["engine", "none: a single host"]);
    assert_eq!(lines[3], ["lonely", env!("CARGO_PKG_VERSION"), "1", "here", "-"], "{text}");
    assert!(
        lines[6][..3] == ["bad", "lonely", "-"] && lines[6][5].starts_with("refused: "),
        "{text}"
    );
    assert!(lines[7][..3] == ["counts", "lonely", "1"] && lines[7][5] == "serving", "{text}");
    let json = done(it.command(&["status", "--json"], &[]));
    let json: Value = json.parse().expect("JSON");
    assert_eq!(json["nodes"][0]["plugins"][1]["channel"], "counts");
    assert_eq!((&json["engine"], &json["unanswered"]), (&Value::Null, &json!([])));
    let there = format!("http://{}", it.api);
    for (arguments, token, advice) in [
        (&["status", "--url", &there][..], None, "set WHARF_OPERATOR_TOKEN"),
        (&["status", "--url", &there], Some("wrong-token-of-mine"), "does not accept this token"),
        (&["status", "--url", "http://127.0.0.1:1"], Some(TOKEN), "is the host running"),
        (&["status", "--url", "127.0.0.1:1"], Some(TOKEN), "write http://HOST:PORT"),
        (
            &["status", "--url", &format!("http://{}", it.wharf.address)],
            Some(TOKEN),
            "not the operator's API",
        ),
    ] {
        let environment = token.map(|token| ("WHARF_OPERATOR_TOKEN", token));
        let text = failed(run(arguments, environment.as_slice()));
        assert!(text.contains(advice), "{arguments:?}: {text}");
        assert!(token.is_none_or(|token| !text.contains(token)), "{text}");
    }
}

#[tokio::test]
async fn status_finds_a_host_by_its_configuration_also_at_a_unix_socket() {
    let place = folder(&["counts"]);
    let socket = place.path().join("operator.sock");
    let flag = format!("--operator-listen unix:{}", socket.display());
    let tables = format!("operator_token = \"{TOKEN}\"\n");
    std::fs::write(place.path().join("wharf.toml"), tables).expect("a file");
    let wharf = wharf_tests::Wharf::start_in(place, &[&flag]).await;
    let listening = |line: &Line| line.says("listening for the operator");
    wharf.log.wait_for("the API", listening).await;
    let file = wharf.folder().join("other.toml");
    let text =
        format!("operator_token = \"{TOKEN}\"\noperator_listen = \"unix:{}\"\n", socket.display());
    std::fs::write(&file, text).expect("a file");
    let text = done(run(&["status", "--config", file.to_str().expect("a path")], &[]));
    assert!(text.contains("counts"), "{text}");
}
