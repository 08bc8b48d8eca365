//! The host and client libraries of other ecosystems understand each other.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wharf_tests::{ForeignClient, Wharf, artefacts, json};

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

#[tokio::test]
async fn wharf_js_in_node_comes_back_to_a_channel_that_was_removed_for_a_while() {
    let wharf = Wharf::start(&["robust"], &["--removal-grace-ms 50"]).await;
    let mut client = ForeignClient::wharf_js(&wharf.url("/robust"));
    assert_eq!(client.event().await, json!({ "open": false }));
    std::fs::remove_file(wharf.plugin("robust")).expect("a plugin is removed");
    assert_eq!(client.event().await, json!({ "closed": 1001, "again": true }));
    assert_eq!(client.event().await, json!({ "attempt": 1 }));
    // It is not there yet: 404.
    assert_eq!(client.event().await, json!({ "closed": 1006, "again": true }));
    wharf.swap("robust", &artefacts::component("robust")).await;
    while client.event().await != json!({ "open": true }) {}
}

/// Relays connections to a server, until its network is told to go silent: nothing arrives any
/// more, and no socket is closed. Later connections work.
async fn relay(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (silence, is_silent) = watch::channel(false);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut from, _) = listener.accept().await.expect("a connection");
            let mut is_silent = is_silent.clone();
            is_silent.mark_unchanged();
            held.push(tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.expect("the server");
                tokio::select! {
                    _ = copy_bidirectional(&mut from, &mut server) => {}
                    _ = is_silent.changed() => std::future::pending().await,
                }
            }));
        }
    });
    (address, silence)
}

#[tokio::test]
async fn wharf_js_in_node_replaces_a_dead_connection_when_its_page_wakes_up() {
    let wharf = Wharf::start(&["robust"], &[]).await;
    for event in ["online", "pageshow", "visibilitychange", "focus", "resume"] {
        let (address, silence) = relay(wharf.address).await;
        let mut client = ForeignClient::wharf_js(&format!("ws://{address}/robust?credit=20"));
        assert_eq!(client.event().await, json!({ "open": false }));
        // Heartbeats have been agreed on when this is answered.
        client.order(json!({ "request": ["buy", { "tea": "green", "cups": 1 }] }));
        assert_eq!(client.event().await, json!({ "answer": { "credit": 15 } }));
        // A connection that lives passes the check: the answer comes on the same session.
        client.order(json!({ "page": event }));
        client.order(json!({ "request": ["buy", { "tea": "green", "cups": 1 }] }));
        assert_eq!(client.event().await, json!({ "answer": { "credit": 10 } }));

        silence.send(true).expect("the relay runs");
        client.order(json!({ "page": event }));
        assert_eq!(client.event().await, json!({ "closed": 1006, "again": true }), "{event}");
        assert_eq!(client.event().await, json!({ "attempt": 1 }));
        assert_eq!(client.event().await, json!({ "open": true }));
    }
}

#[tokio::test]
async fn wharf_js_in_node_lets_go_of_its_socket_while_its_page_is_hidden_in_the_cache() {
    let wharf = Wharf::start(&["presence"], &["--presence-grace-ms 0"]).await;
    let mut ann = ForeignClient::wharf_js(&wharf.url("/presence/lobby?user=ann"));
    let mut bob = ForeignClient::wharf_js(&wharf.url("/presence/lobby?user=bob"));
    while ann.event().await != json!({ "present": ["ann", "bob"] }) {}
    bob.order(json!({ "page": "pagehide" }));
    while ann.event().await != json!({ "present": ["ann"] }) {}
    bob.order(json!({ "page": "pageshow" }));
    while ann.event().await != json!({ "present": ["ann", "bob"] }) {}
    while bob.event().await != json!({ "open": true }) {}
}
