//! Plugins that were built against earlier versions of the contract. Their components are kept as
//! they were compiled, and must load as long as there is a 0.1.

use std::path::Path;

use wharf_tests::artefacts::component;
use wharf_tests::{Client, Value, Wharf, json};

/// Returns a component that was built against a version of the contract.
fn kept(version: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts").join(version);
    std::fs::read(folder.join(format!("{name}.wasm"))).expect("a kept component")
}

async fn with(version: &str, names: &[&str]) -> Wharf {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    for name in names {
        let path = folder.path().join("plugins").join(format!("{name}.wasm"));
        std::fs::write(path, kept(version, name)).expect("a plugin is copied");
    }
    Wharf::start_in(folder, &[]).await
}

/// Returns the next message of a type, and skips others.
async fn kind(client: &mut Client, kind: &str) -> Value {
    loop {
        let message = client.json().await;
        if message["type"] == kind {
            return message;
        }
    }
}

#[tokio::test]
async fn a_channel_of_contract_0_1_0_runs_unchanged() {
    let wharf = with("0.1.0", &["chat", "counts"]).await;
    let mut ann = wharf.connect("/chat/lobby?name=Ann").await;
    assert_eq!(kind(&mut ann, "system").await["count"], 1);
    let mut bob = wharf.connect("/chat/lobby?name=Bob").await;
    assert_eq!(kind(&mut bob, "system").await["count"], 2);
    ann.send_json(json!({ "type": "chat_message", "message": "ahoy" })).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(kind(client, "chat_message").await["message"], "ahoy");
    }
    bob.close(1000, "").await;
    kind(&mut ann, "user_left").await;
    let too_long = format!("/chat/lobby?name={}", "n".repeat(200));
    assert_eq!(wharf.try_connect(&too_long, &[]).await.expect_err("a short name").status, 400);
    let mut counting = wharf.connect("/counts/a").await;
    assert_eq!(counting.ask_for_json("one").await["version"], 1);
    // Its fields are texts, as it has no others.
    let line = wharf.log.wait_for("its line", |line| line.says("user joined")).await;
    let fields = line.fields["fields"].as_object().expect("fields");
    assert!(fields.values().all(Value::is_string) && fields["count"] == "1", "{line}");
}

/// Loads components that together import every interface of the contract, and have every optional export.
#[tokio::test]
async fn channels_of_contract_0_1_1_run_unchanged() {
    let names = ["operated", "posts", "prints", "provokes", "tracks"];
    let wharf = with("0.1.1", &names).await;
    for name in names {
        let is_its =
            |line: &wharf_tests::Line| line.says("plugin loaded") && line.str("channel") == name;
        wharf.log.wait_for(name, is_its).await;
    }
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "types", "count": 3, "text": "a b" })).await;
    let line = wharf.log.wait_for("its line", |line| line.says("of 7")).await;
    assert_eq!(line.fields["fields"]["count"], "3", "it can say texts only");
    wharf.swap("prints", &component("prints")).await;
    let start = wharf.log.len();
    client.ask_json_text(json!({ "to": "types", "count": 3, "text": "a b" })).await;
    let line = wharf.log.wait_for_after(start, "the new line", |line| line.says("of 7")).await;
    assert_eq!(line.fields["fields"]["count"], 3);
}

#[tokio::test]
async fn optional_exports_of_contract_0_1_0_are_still_called() {
    let wharf = with("0.1.0", &["pings", "faulty"]).await;
    let mut raw = wharf.raw_websocket("/pings").await;
    raw.send_frame(9, "hello").await;
    let pong = raw.frame().await.expect("a pong");
    assert_eq!(pong.opcode, 10);
    let told = raw.frame().await.expect("what the channel saw");
    assert_eq!(told.payload, br#"{"ping":"hello"}"#);
    let mut faulty = wharf.connect("/faulty").await;
    faulty.send("panic").await;
    let told = faulty.json().await;
    assert_eq!(told["fault"], "trap");
    assert_eq!(faulty.close_code().await, 1011);
}

/// Shows that old code and new code are generations of one channel, in both directions.
#[tokio::test]
async fn a_connection_goes_from_the_old_contract_to_the_new_and_back() {
    let wharf = with("0.1.0", &["counts"]).await;
    let mut client = wharf.connect("/counts/a").await;
    assert_eq!(client.ask_for_json("one").await["count"], 1);
    wharf.swap("counts", &component("counts")).await;
    assert_eq!(client.ask_for_json("two").await["count"], 2);
    wharf.swap("counts", &kept("0.1.0", "counts")).await;
    assert_eq!(client.ask_for_json("three").await["count"], 3);
}
