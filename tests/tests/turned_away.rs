//! Clients that are not served: the end of their sockets, and the operator's log lines about them.

use std::time::Instant;

use wharf_tests::raw::upgrade_headers;
use wharf_tests::{HttpAnswer, Line, Raw, Wharf, eventually, json, soon};

/// Asks for an upgrade on a new socket, which stays open for as long as the server keeps it.
async fn ask(wharf: &Wharf, path: &str) -> (Raw, HttpAnswer) {
    let mut raw = wharf.raw().await;
    raw.request(&format!("GET {path}"), &upgrade_headers()).await;
    let answer = raw.answer().await;
    (raw, answer)
}

/// Asserts that the server announces the end of the socket, and ends it.
async fn assert_closed(mut raw: Raw, answer: &HttpAnswer) {
    assert_eq!(answer.header("connection"), ["close"], "{}", answer.head);
    // The client closes nothing before that.
    raw.ended().await;
}

#[tokio::test]
async fn what_a_channel_refuses_does_not_keep_its_socket() {
    let wharf = Wharf::start(&["refuses"], &["--max-connections 2"]).await;
    for _ in 0..20 {
        let (raw, answer) = ask(&wharf, "/refuses?how=http&code=401").await;
        assert_eq!(answer.status, 401);
        assert_closed(raw, &answer).await;
    }
    // All clients with a place are served: nothing of the others is left.
    let mut first = wharf.connect("/refuses?how=greet").await;
    let mut second = wharf.connect("/refuses?how=greet").await;
    assert_eq!((first.text().await, second.text().await), ("welcome".into(), "welcome".into()));
}

#[tokio::test]
async fn what_fails_in_a_channel_does_not_keep_its_socket() {
    let flags = ["--max-connections 2", "--handshake-timeout-ms 200"];
    let wharf = Wharf::start(&["panics", "waits"], &flags).await;
    for (path, status) in [("/panics?panic", 500), ("/waits?wait=600", 503)] {
        let (raw, answer) = ask(&wharf, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_closed(raw, &answer).await;
    }
}

#[tokio::test]
async fn who_comes_when_the_server_is_full_does_not_keep_its_socket() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 2"]).await;
    let mut clients = [wharf.connect("/echo").await, wharf.connect("/echo").await];
    // This is more than the server answers at the same time.
    for _ in 0..100 {
        let (raw, answer) = ask(&wharf, "/echo").await;
        assert_eq!(answer.status, 503);
        assert_closed(raw, &answer).await;
    }
    for client in &mut clients {
        assert_eq!(client.ask("still here").await, "still here");
    }
    let [first, _second] = clients;
    first.close(1000, "").await;
    // The place is free once the server has seen the end, which the client cannot observe.
    let connect = async || wharf.try_connect("/echo", &[]).await.ok();
    let mut served = eventually("the place to be free", connect).await;
    assert_eq!(served.ask("served").await, "served");
}

#[tokio::test]
async fn a_full_server_says_so_in_its_log() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 1"]).await;
    let _only = wharf.connect("/echo").await;
    assert_eq!(ask(&wharf, "/echo").await.1.status, 503);
    let is_full = |line: &Line| line.message().contains("max_connections");
    let line = wharf.log.wait_for("that the server is full", is_full).await;
    assert_eq!((line.str("level"), line.number("max_connections")), ("WARN", Some(1)));
}

#[tokio::test]
async fn a_handshake_that_waits_too_long_for_its_channel_is_logged() {
    let wharf = Wharf::start(&["waits"], &["--handshake-timeout-ms 200"]).await;
    assert_eq!(ask(&wharf, "/waits?wait=600").await.1.status, 503);
    let is_late = |line: &Line| line.message().contains("handshake_timeout_ms");
    let line = wharf.log.wait_for("that the channel was late", is_late).await;
    assert_eq!((line.str("level"), line.str("channel")), ("WARN", "waits"));
}

#[tokio::test]
async fn foreign_origins_cannot_fill_the_log() {
    /// Largest number of such lines that the host writes in a second.
    const LINES_PER_SECOND: usize = 10;
    const REQUESTS: usize = 300;
    let wharf = Wharf::start(&["echo"], &[]).await;
    let origin = format!("https://{}.example", "stranger.".repeat(200));
    let mut raw = wharf.raw().await;
    let mut headers = upgrade_headers().to_vec();
    headers.push(("Origin", &origin));
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        raw.request("GET /echo", &headers).await;
        assert_eq!(raw.answer().await.status, 403);
    }
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let is_dropped = |line: &Line| line.number("dropped").is_some();
    // The number is logged with the next line, in another second.
    let counted = async {
        while wharf.log.find(is_dropped).is_empty() {
            raw.request("GET /echo", &headers).await;
            assert_eq!(raw.answer().await.status, 403);
        }
    };
    soon("the number of dropped lines", counted).await;
    let is_refusal = |line: &Line| line.begins("origin refused");
    let mut refusals = wharf.log.lines();
    let counted_at = refusals.iter().position(is_dropped).expect("it is there");
    let dropped = refusals[counted_at].number("dropped");
    assert!(dropped.is_some_and(|dropped| dropped > 0), "{}", refusals[counted_at]);
    refusals.truncate(counted_at);
    refusals.retain(is_refusal);
    assert!(!refusals.is_empty(), "some are logged");
    assert!(refusals.len() <= LINES_PER_SECOND * seconds, "{} in {seconds} s", refusals.len());
    for line in refusals {
        assert!(line.str("origin").starts_with("https://stranger."), "{line}");
        assert!(line.text.len() < 1000, "a line of {} bytes", line.text.len());
    }
}

#[tokio::test]
async fn a_client_turned_away_leaves_one_line_of_the_log() {
    let wharf = Wharf::start(&["echo"], &["--require-subprotocol", "--max-connections 1"]).await;
    let with = |name, value| {
        let mut headers = upgrade_headers().to_vec();
        headers.push((name, value));
        headers
    };
    let long = "x".repeat(20 * 1024);
    let cases = [
        ("GET /nowhere", upgrade_headers().to_vec(), 404, "turned away"),
        ("GET /%ff", upgrade_headers().to_vec(), 400, "turned away"),
        ("GET /echo", vec![], 426, "turned away"),
        ("GET /echo", with("Origin", "https://a.example"), 403, "origin refused"),
        ("GET /echo", with("Sec-WebSocket-Protocol", "graphql-ws"), 400, "no subprotocol"),
        ("GET /echo", with("X-Long", &long), 431, "too large"),
    ];
    for (request, headers, status, line) in cases {
        let before = wharf.log.lines().len();
        let mut raw = wharf.raw().await;
        raw.request(request, &headers).await;
        assert_eq!(raw.answer().await.status, status, "{request}");
        let reason = |found: &Line| found.text.contains(line);
        wharf.log.wait_for_after(before, "the reason", reason).await;
        // Lines about the start of the server may come in between.
        let client = raw.socket.local_addr().expect("the socket is open").to_string();
        let mut found = wharf.log.lines().split_off(before);
        found.retain(|line| line.fields["remote"] == client);
        assert_eq!(found.len(), 1, "{request}: {found:?}");
    }
}

#[tokio::test]
async fn clients_that_are_cut_together_leave_a_few_lines() {
    const CLIENTS: usize = 200;
    const LINES_PER_SECOND: usize = 10;
    let flags = ["--keep-alive-interval-ms 100", "--keep-alive-timeout-ms 300"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        sockets.push(wharf.raw().await);
    }
    let begun = Instant::now();
    for socket in &mut sockets {
        socket.request("GET /echo", &upgrade_headers()).await;
    }
    // None of them answers a ping.
    for mut socket in sockets {
        soon("the end of the socket", socket.ended()).await;
    }
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let lines = wharf.log.find(|line| line.begins("connection dropped: keep-alive timeout"));
    assert!(!lines.is_empty(), "some are logged");
    assert!(lines.len() <= LINES_PER_SECOND * seconds, "{} in {seconds} s", lines.len());
}

#[tokio::test]
async fn slow_consumers_that_are_cut_together_leave_a_few_lines() {
    const CLIENTS: usize = 150;
    const LINES_PER_SECOND: usize = 10;
    let flags = [
        "--outbound-queue-bytes 256KiB",
        "--max-outbound-message-bytes 256KiB",
        "--max-effect-bytes-per-event 256KiB",
    ];
    let wharf = Wharf::start(&["ends"], &flags).await;
    let mut slow = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::open_narrow(wharf.address).await;
        raw.upgrade("/ends?room=quay").await;
        slow.push(raw);
    }
    let mut flooding = wharf.connect("/ends?room=elsewhere").await;
    let flood = json!({ "do": "flood", "room": "quay", "messages": 1, "bytes": 60_000 });
    let begun = Instant::now();
    let all_are_cut = async || {
        flooding.ask_json(flood.clone()).await;
        let left = flooding.ask_json(json!({ "do": "count", "room": "quay" })).await;
        (left == json!({ "count": 0 })).then_some(())
    };
    eventually("all of them to be cut", all_are_cut).await;
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let lines = wharf.log.find(|line| line.says("slow consumer closed"));
    assert!(!lines.is_empty(), "some are logged");
    assert!(lines.len() <= LINES_PER_SECOND * seconds, "{} in {seconds} s", lines.len());
}

#[tokio::test]
async fn a_flood_of_one_kind_of_refusal_hides_none_of_another() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 1"]).await;
    let _only = wharf.connect("/echo").await;
    let mut headers = upgrade_headers().to_vec();
    headers.push(("Origin", "https://stranger.example"));
    let (mut foreign, mut lost) = (wharf.raw().await, wharf.raw().await);
    for _ in 0..100 {
        foreign.request("GET /echo", &headers).await;
        assert_eq!(foreign.answer().await.status, 403);
        lost.request("GET /nowhere", &upgrade_headers()).await;
        assert_eq!(lost.answer().await.status, 404);
    }
    let before = wharf.log.len();
    let late = wharf.try_connect("/echo", &[]).await.expect_err("it is full");
    assert_eq!(late.status, 503);
    let is_full = |line: &Line| line.begins("connection refused: max_connections are open");
    wharf.log.wait_for_after(before.saturating_sub(5), "the refusal", is_full).await;
}
