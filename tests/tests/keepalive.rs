//! Keep-alive: silent clients are pinged, and dropped if they stay silent.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wharf_tests::{Raw, Wharf};

/// Several times the sum of the interval and the time-out below.
const LONG: Duration = Duration::from_millis(1500);

const FLAGS: [&str; 2] = ["--keep-alive-interval-ms 100", "--keep-alive-timeout-ms 300"];

/// Waits for the next frame, which must be a keep-alive ping, and returns its payload.
async fn ping(raw: &mut Raw) -> Vec<u8> {
    let frame = raw.frame().await.expect("a ping");
    assert_eq!(frame.opcode, 9);
    frame.payload
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_stays_while_it_answers() {
    let wharf = Wharf::start(&["pings"], &FLAGS).await;
    let mut raw = wharf.raw_websocket("/pings").await;
    for _ in 0..10 {
        let payload = ping(&mut raw).await;
        raw.send_frame(10, payload).await;
    }
    raw.send_frame(1, "count").await;
    let frame = loop {
        match raw.frame().await.expect("an answer") {
            frame if frame.opcode == 9 => raw.send_frame(10, frame.payload).await,
            frame => break frame,
        }
    };
    let counted = String::from_utf8(frame.payload).expect("text");
    assert_eq!(counted, r#"{"pings":0,"pongs":0}"#, "keep-alive is not the channel's business");
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_dropped() {
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    ping(&mut raw).await;
    // Pings go on until the timeout. The client gets no close frame, since it seems to be gone.
    while let Some(frame) = raw.frame().await {
        assert_eq!(frame.opcode, 9);
    }
}

#[tokio::test]
async fn pings_come_on_the_interval_also_where_the_timeout_is_longer() {
    let flags = ["--keep-alive-interval-ms 100", "--keep-alive-timeout-ms 86400000"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    for _ in 0..5 {
        let payload = ping(&mut raw).await;
        raw.send_frame(10, payload).await;
    }
}

#[tokio::test]
async fn a_client_is_pinged_also_while_it_sends() {
    const PINGS: usize = 5;
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let raw = wharf.raw_websocket("/echo").await;
    let (mut reader, mut writer) = raw.socket.into_split();
    let writing = tokio::spawn(async move {
        // The channel answers none of these.
        let pong = wharf_tests::raw::frame(0x8a, b"unasked");
        while writer.write_all(&pong).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut pings = vec![0; PINGS * (2 + "wharf-keep-alive".len())];
    wharf_tests::soon("the pings", reader.read_exact(&mut pings)).await.expect("the pings");
    assert!(pings.chunks(pings.len() / PINGS).all(|ping| ping[0] == 0x89));
    writing.abort();
}

#[tokio::test]
async fn anything_that_a_client_sends_is_a_sign_of_life() {
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    // One frame arrives a byte at a time, for longer than the allowed silence.
    let text = "x".repeat(50);
    for byte in wharf_tests::raw::frame(0x81, text.as_bytes()) {
        raw.write([byte]).await;
        tokio::time::sleep(LONG / 40).await;
    }
    loop {
        let frame = raw.frame().await.expect("still open");
        match frame.opcode {
            9 => {}
            _ => break assert_eq!(frame.payload, text.as_bytes()),
        }
    }
}

#[tokio::test]
async fn a_client_whose_channel_is_busy_is_not_taken_for_silent() {
    let wharf = Wharf::start(&["waits"], &FLAGS).await;
    let mut client = wharf.connect("/waits").await;
    client.feed(format!("wait {}", LONG.as_millis())).await;
    // This is more than the host reads ahead, so it cannot see the answers to its pings.
    for number in 0..40 {
        client.feed(format!("message {number}")).await;
    }
    client.flush().await;
    for count in 1..=41 {
        assert_eq!(client.json().await["count"], count);
    }
}

#[tokio::test]
async fn a_client_that_only_reads_what_others_say_stays() {
    let wharf = Wharf::start(&["rooms"], &FLAGS).await;
    let mut listening = wharf.connect("/rooms?join=radio").await;
    let mut speaking = wharf.connect("/rooms").await;
    let begun = std::time::Instant::now();
    let said = wharf_tests::json!({
        "do": "broadcast", "rooms": ["radio"], "text": "and now the news", "skip": false,
    });
    while begun.elapsed() < LONG {
        speaking.send_json(said.clone()).await;
        assert_eq!(listening.text().await, "and now the news");
    }
}

/// Heartbeats in messages, for clients that ask for them with [`ASKED`].
const PING: &[u8] = br#"{"type":"wharf:ping"}"#;
const PONG: &[u8] = br#"{"type":"wharf:pong"}"#;
const ASKED: &str = "wharf_heartbeat=1";

#[tokio::test]
async fn a_client_that_asks_for_heartbeats_gets_them_as_messages_that_no_channel_sees() {
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let mut raw = wharf.raw_websocket(&format!("/echo?{ASKED}")).await;
    let message = async |raw: &mut Raw| {
        let frame = raw.frame().await.expect("a message");
        assert_eq!(frame.opcode, 1, "no ping of the protocol's");
        frame.payload
    };
    // The first one says that the host has understood; the others come in silence.
    for _ in 0..10 {
        assert_eq!(message(&mut raw).await, PING);
        raw.send_frame(1, PONG).await;
    }
    // The client may ask as well, any number of times.
    for _ in 0..100 {
        raw.send_frame(1, PING).await;
    }
    raw.send_frame(1, "ahoy").await;
    for _ in 0..100 {
        let answer = loop {
            match message(&mut raw).await {
                ping if ping == PING => raw.send_frame(1, PONG).await,
                other => break other,
            }
        };
        assert_eq!(answer, PONG);
    }
    assert_eq!(message(&mut raw).await, b"ahoy");
}

#[tokio::test]
async fn a_page_that_is_frozen_is_dropped_although_its_browser_answers_pings() {
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let mut raw = wharf.raw_websocket(&format!("/echo?{ASKED}")).await;
    assert_eq!(raw.frame().await.expect("a heartbeat").payload, PING);
    // Nothing asks the browser itself, which would answer.
    while let Some(frame) = raw.frame().await {
        assert_eq!(frame.payload, PING);
    }
}

#[tokio::test]
async fn heartbeats_are_ordinary_messages_for_clients_that_do_not_ask_for_them() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for query in ["", "?wharf_heartbeat=0", "?wharf_heartbeat", "?x=wharf_heartbeat=1"] {
        let mut raw = wharf.raw_websocket(&format!("/echo{query}")).await;
        for text in [PING, PONG] {
            raw.send_frame(1, text).await;
            assert_eq!(raw.frame().await.expect("an echo").payload, text, "{query}");
        }
    }
}

#[tokio::test]
async fn the_channel_does_not_see_that_heartbeats_are_asked_for() {
    let wharf = Wharf::start(&["inspects"], &[]).await;
    for (query, seen) in [(format!("a=1&{ASKED}&b=%20"), "a=1&b=%20"), (ASKED.to_owned(), "")] {
        let mut raw = wharf.raw_websocket(&format!("/inspects?{query}")).await;
        assert_eq!(raw.frame().await.expect("a heartbeat").payload, PING);
        raw.send_frame(1, "request").await;
        let answer = raw.frame().await.expect("an answer").payload;
        let answer: wharf_tests::Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["query"], seen);
    }
}
