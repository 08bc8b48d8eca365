//! The host and client libraries of other ecosystems understand each other.

use wharf_tests::{ForeignClient, Wharf, json};

/// Tests a client library: text and binary of every length encoding, subprotocol, ping, close, and
/// a refusal before the upgrade.
async fn speaks_with_the_host(start: fn(&str, &[&str]) -> ForeignClient) {
    let wharf = Wharf::start(&["echo", "refuses"], &[]).await;

    let mut client = start(&wharf.url("/echo"), &[]);
    assert_eq!(client.event().await, json!({ "open": "" }));
    for text in ["", "hello", "grüße, 世界 🚢", &"long ".repeat(20_000)] {
        client.order(json!({ "send": text }));
        assert!(client.event().await == json!({ "text": text }), "text of {} bytes", text.len());
    }
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let hex = "a5".repeat(length);
        client.order(json!({ "send_hex": hex }));
        assert!(client.event().await == json!({ "hex": hex }), "binary of {length} bytes");
    }
    client.order(json!({ "ping": "are you there?" }));
    assert_eq!(client.event().await, json!({ "pong": "are you there?" }));
    client.order(json!({ "close": [4321, "goodbye"] }));
    assert_eq!(client.event().await, json!({ "closed": [4321, "goodbye"] }));

    let mut client = start(&wharf.url("/refuses"), &["unknown", "chat.v1", "chat.v2"]);
    assert_eq!(client.event().await, json!({ "open": "chat.v2" }), "the channel's first choice");

    let mut client = start(&wharf.url("/nowhere"), &[]);
    assert_eq!(client.event().await, json!({ "refused": 404 }));

    let mut client = start(&wharf.url("/refuses?how=close&code=4001"), &["chat.v1"]);
    assert_eq!(client.event().await, json!({ "open": "chat.v1" }));
    let said = json!({ "type": "error", "message": "not today" });
    let event = client.event().await;
    let text = event["text"].as_str().expect("text");
    assert_eq!(serde_json::from_str::<wharf_tests::Value>(text).expect("JSON"), said);
    assert_eq!(client.event().await, json!({ "hex": "010203" }));
    assert_eq!(client.event().await["closed"][0], 4001);
}

#[tokio::test]
async fn ws_of_node_speaks_with_the_host() {
    speaks_with_the_host(ForeignClient::node).await;
}

#[tokio::test]
async fn websockets_of_python_speaks_with_the_host() {
    speaks_with_the_host(ForeignClient::python).await;
}

#[tokio::test]
async fn clients_of_all_ecosystems_share_a_room() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut rust = wharf.connect("/rooms?join=square").await;
    let url = wharf.url("/rooms?join=square");
    let mut others = [ForeignClient::node(&url, &[]), ForeignClient::python(&url, &[])];
    for client in &mut others {
        assert_eq!(client.event().await, json!({ "open": "" }));
    }
    let said = json!({ "do": "broadcast", "rooms": ["square"], "text": "ahoy", "skip": false });
    rust.send_json(said.clone()).await;
    others[0].order(json!({ "send": said.to_string() }));
    others[1].order(json!({ "send": said.to_string() }));
    for _ in 0..3 {
        assert_eq!(rust.text().await, "ahoy");
        for client in &mut others {
            assert_eq!(client.event().await, json!({ "text": "ahoy" }));
        }
    }
}

#[tokio::test]
async fn wharf_js_in_node_sends_requests_and_connects_again() {
    let wharf = Wharf::start(&["robust"], &[]).await;
    let mut client = ForeignClient::wharf_js(&wharf.url("/robust?credit=20"));
    // The request waits until there is a connection.
    client.order(json!({ "request": ["buy", { "tea": "green", "cups": 1 }] }));
    assert_eq!(client.event().await, json!({ "open": false }));
    assert_eq!(client.event().await, json!({ "answer": { "credit": 15 } }));
    client.order(json!({ "request": ["buy", { "tea": "white", "cups": 1 }] }));
    let message = client.event().await;
    assert_eq!(message["message"]["code"], "SOLD_OUT", "{message}");
    assert_eq!(client.event().await, json!({ "failed": "SOLD_OUT" }));

    client.order(json!({ "request": ["break_the_machine"] }));
    assert_eq!(client.event().await["message"]["code"], "COME_BACK");
    assert_eq!(client.event().await, json!({ "closed": 1011, "again": true }));
    assert_eq!(client.event().await, json!({ "attempt": 1 }));
    assert_eq!(client.event().await, json!({ "failed": "connection-lost" }));
    assert_eq!(client.event().await, json!({ "open": true }));

    wharf.signal("TERM");
    assert_eq!(client.event().await, json!({ "closed": 1012, "again": true }));
    assert_eq!(client.event().await, json!({ "attempt": 2 }), "the last one was not stable");
    // The server is stopping or has stopped.
    assert_eq!(client.event().await, json!({ "closed": 1006, "again": true }));
    assert_eq!(client.event().await, json!({ "attempt": 3 }));
}

#[tokio::test]
async fn wharf_js_in_node_stays_away_when_it_is_told_to() {
    let wharf = Wharf::start(&["robust"], &[]).await;
    let mut client = ForeignClient::wharf_js(&wharf.url("/robust"));
    assert_eq!(client.event().await, json!({ "open": false }));
    for _ in 0..5 {
        client.order(json!({ "send": "no JSON" }));
        assert_eq!(client.event().await["message"]["code"], "INVALID_JSON");
    }
    assert_eq!(client.event().await, json!({ "closed": 4008, "again": false }));
    client.order(json!({ "request": ["buy"] }));
    assert_eq!(client.event().await, json!({ "failed": "closed" }));
}

#[tokio::test]
async fn wharf_js_in_node_knows_who_is_present() {
    let wharf = Wharf::start(&["presence"], &["--presence-grace-ms 0"]).await;
    let mut ann = ForeignClient::wharf_js(&wharf.url("/presence/lobby?user=ann"));
    assert_eq!(ann.event().await, json!({ "open": false }));
    assert_eq!(ann.event().await, json!({ "present": ["ann"] }));
    let mut bob = ForeignClient::wharf_js(&wharf.url("/presence/lobby?user=bob"));
    // The list may be sent again without a change.
    while ann.event().await != json!({ "present": ["ann", "bob"] }) {}
    bob.order(json!({ "close": true }));
    while ann.event().await != json!({ "present": ["ann"] }) {}
}
