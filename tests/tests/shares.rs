//! Shares of what all clients use: the connections of a channel and of an address, and the messages
//! of a client.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use wharf_tests::raw::{frame, upgrade_headers};
use wharf_tests::{Ended, Line, Raw, Wharf, configured, eventually};

/// Asks for a connection through these proxies. The socket stays open with the answer.
async fn through(wharf: &Wharf, forwarded_for: &str) -> (Raw, u16) {
    let mut raw = wharf.raw().await;
    let mut headers = upgrade_headers().to_vec();
    headers.push(("X-Forwarded-For", forwarded_for));
    raw.request("GET /echo", &headers).await;
    let status = raw.answer().await.status;
    (raw, status)
}

/// Asserts that a client is refused with this answer, and that its socket is closed.
async fn assert_refused(wharf: &Wharf, status: u16, why: &str) {
    let mut raw = wharf.raw().await;
    raw.request("GET /echo", &upgrade_headers()).await;
    let refused = raw.answer().await;
    assert_eq!(refused.status, status, "{}", refused.head);
    assert_eq!(refused.header("retry-after"), ["1"]);
    assert_eq!(refused.text(), why);
    raw.ended().await;
}

#[tokio::test]
async fn a_channel_takes_its_share_of_the_connections_and_leaves_the_rest_to_others() {
    let flags = ["--max-connections-per-channel 2"];
    let wharf = Wharf::start(&["echo", "counts"], &flags).await;
    let (first, _second) = (wharf.connect("/echo").await, wharf.connect("/echo").await);
    assert_refused(&wharf, 503, "the channel has as many connections as it may have\n").await;
    let is_told = |line: &Line| line.text.contains("the channel has max_connections_per_channel");
    let line = wharf.log.wait_for("the limit", is_told).await;
    assert_eq!((line.str("channel"), line.str("level")), ("echo", "WARN"));
    assert_eq!(line.number("max_connections_per_channel"), Some(2));
    let mut other = wharf.connect("/counts/a").await;
    other.ask("still served").await;
    first.close(1000, "").await;
    eventually("a place to be free again", async || wharf.try_connect("/echo", &[]).await.ok())
        .await;
}

#[tokio::test]
async fn a_channels_own_table_wins_over_the_hosts_share() {
    let file = "max_connections_per_channel = 1\n\
                [channels.echo]\nmax_connections_per_channel = 3\n\
                [channels.pings]\nmax_connections_per_channel = 0\n";
    let wharf = Wharf::start_in(configured(&["echo", "counts", "pings"], file), &[]).await;
    for (path, share) in [("/counts/a", 1), ("/echo", 3)] {
        let mut clients = Vec::new();
        for _ in 0..share {
            clients.push(wharf.connect(path).await);
        }
        let refused = wharf.try_connect(path, &[]).await.expect_err("no place");
        assert_eq!(refused.status, 503, "{path}");
    }
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(wharf.connect("/pings").await);
    }
}

#[tokio::test]
async fn an_address_takes_its_share_of_the_connections_of_all_channels() {
    let flags = ["--max-connections-per-address 2"];
    let wharf = Wharf::start(&["echo", "counts"], &flags).await;
    let (first, _second) = (wharf.connect("/echo").await, wharf.connect("/counts/a").await);
    assert_refused(&wharf, 429, "your address has as many connections as it may have\n").await;
    let is_told = |line: &Line| line.text.contains("its address has max_connections_per_address");
    let line = wharf.log.wait_for("the limit", is_told).await;
    assert!(line.str("remote").starts_with("127.0.0.1:"), "{line}");
    // Nothing but connections counts.
    let mut raw = wharf.raw().await;
    raw.request("GET /healthz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
    first.close(1000, "").await;
    eventually("a place to be free again", async || wharf.try_connect("/echo", &[]).await.ok())
        .await;
}

#[tokio::test]
async fn clients_behind_a_proxy_are_counted_by_their_own_addresses() {
    let flags = ["--max-connections-per-address 1", "--trusted-proxies 127.0.0.1"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut open = Vec::new();
    for (address, status) in [
        ("192.0.2.1", 101),
        ("192.0.2.1:4711", 429),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.2", 101),
        ("2001:db8:0:1::1", 101),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 101),
        // A client can write the front of the header itself.
        ("198.51.100.9, 192.0.2.2", 429),
    ] {
        let (raw, answered) = through(&wharf, address).await;
        assert_eq!(answered, status, "{address}");
        open.push(raw);
    }
    drop(open);
    let is_served = async || (through(&wharf, "192.0.2.1").await.1 == 101).then_some(());
    eventually("a place to be free again", is_served).await;
}

#[tokio::test]
async fn a_client_that_sends_too_fast_has_to_wait_and_loses_nothing() {
    let wharf = Wharf::start(&["echo"], &["--max-messages-per-second 20"]).await;
    let mut client = wharf.connect("/echo").await;
    let begun = Instant::now();
    for number in 0..50 {
        client.feed(number.to_string()).await;
    }
    client.flush().await;
    for number in 0..50 {
        assert_eq!(client.text().await, number.to_string());
    }
    // The first 20 go through at once, the others one by one.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1400), "after {took:?}");
    assert_eq!(client.ask("still open").await, "still open");
}

#[tokio::test]
async fn a_channels_own_table_wins_over_the_hosts_pace() {
    let file = "max_messages_per_second = 1\n[channels.echo]\nmax_messages_per_second = 0\n";
    let wharf = Wharf::start_in(configured(&["echo", "counts"], file), &[]).await;
    let (mut free, mut slow) = (wharf.connect("/echo").await, wharf.connect("/counts/a").await);
    for number in 0..3 {
        slow.feed(number.to_string()).await;
    }
    slow.flush().await;
    let begun = Instant::now();
    for _ in 0..200 {
        free.ask("hello").await;
    }
    // Two hundred messages would take 200 seconds.
    assert!(begun.elapsed() < Duration::from_secs(100));
}

#[tokio::test]
async fn control_frames_do_not_count_as_messages() {
    let wharf = Wharf::start(&["echo"], &["--max-messages-per-second 1"]).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    raw.send_frame(1, "first").await;
    assert_eq!(raw.frame().await.expect("an answer").payload, b"first");
    raw.send_frame(1, "second").await;
    for _ in 0..50 {
        raw.send_frame(9, "ping").await;
        let pong = raw.frame().await.expect("a pong");
        if pong.opcode == 1 {
            // The second message had its turn meanwhile: a ping behind it was not held up.
            assert_eq!(pong.payload, b"second");
            assert_eq!(raw.frame().await.expect("a pong").opcode, 10);
            return;
        }
        assert_eq!((pong.opcode, &*pong.payload), (10, &b"ping"[..]));
    }
    assert_eq!(raw.frame().await.expect("an answer").payload, b"second");
}

#[tokio::test]
async fn what_comes_too_fast_waits_at_the_client() {
    const STUCK: Duration = Duration::from_secs(2);
    let flags = [
        "--max-messages-per-second 1",
        "--keep-alive-interval-ms 200",
        "--keep-alive-timeout-ms 500",
        "--message-timeout-ms 500",
    ];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    let before = wharf.resident_bytes();
    let messages = frame(0x82, &[b'x'; 10_000]).repeat(10);
    let mut written = 0;
    while let Ok(Ok(())) = tokio::time::timeout(STUCK, raw.socket.write_all(&messages)).await {
        written += messages.len();
        assert!(written < 256 << 20, "somebody has swallowed it all");
    }
    let grown = wharf.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "the host has grown by {grown}");
    // It was stuck for longer than any of its timeouts, and is open: another answer comes.
    loop {
        let frame = raw.frame().await.expect("it is open");
        assert_ne!(frame.opcode, 8, "{:?}", frame.close_code());
        if frame.opcode == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn what_a_client_sends_before_it_closes_is_handled_without_waiting() {
    let wharf = Wharf::start(&["echo"], &["--max-messages-per-second 1"]).await;
    let mut client = wharf.connect("/echo").await;
    for number in 0..10 {
        client.feed(number.to_string()).await;
    }
    client.begin_close(1000, "done").await;
    let (messages, ended) = client.rest().await;
    let all: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!((messages, ended), (all, Ended::Closed(1000, "done".to_owned())));
}
