//! A handler that waits does not block its connection: frames are written, pings are answered and
//! messages are read ahead meanwhile. The end of the connection waits for the call.

use wharf_tests::raw::{frame, upgrade_headers};
use wharf_tests::{Client, Ended, Frame, Line, Raw, Value, Wharf, json};

fn answer(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.payload).expect("JSON")
}

/// Connects an observer to the channel `waits`, and waits until it is known there.
async fn observer(wharf: &Wharf) -> Client {
    let mut observer = wharf.connect("/waits?observe").await;
    observer.ask("hello").await;
    observer
}

#[tokio::test]
async fn a_connection_is_read_while_its_handler_waits() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut raw = wharf.raw_websocket("/waits?observe").await;
    let mut other = wharf.connect("/waits").await;
    raw.send_frame(1, "wait 2000").await;
    raw.send_frame(1, "after").await;
    raw.send_frame(9, "are you there?").await;
    let pong = raw.frame().await.expect("a pong");
    assert_eq!((pong.opcode, pong.payload.as_slice()), (10, b"are you there?".as_slice()));
    other.send("tell 0").await;
    assert_eq!(raw.frame().await.expect("a broadcast").payload, b"waiting");
    assert_eq!(raw.frame().await.expect("a broadcast").payload, b"waited");
    for (count, message) in [(1, "wait 2000"), (2, "after")] {
        let answer: Value =
            serde_json::from_slice(&raw.frame().await.expect("an answer").payload).expect("JSON");
        assert_eq!(answer, json!({ "count": count, "message": message }));
    }
}

#[tokio::test]
async fn a_waiting_handler_keeps_the_order_of_what_comes_meanwhile() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut client = wharf.connect("/waits").await;
    client.feed("wait 300").await;
    for number in 2..=200 {
        client
            .feed(if number % 50 == 0 { "wait 50".to_owned() } else { format!("{number}") })
            .await;
    }
    client.flush().await;
    for count in 1..=200 {
        assert_eq!(client.json().await["count"], count);
    }
}

#[tokio::test]
async fn if_the_client_vanishes_the_call_finishes_and_its_effects_commit_before_on_close() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = wharf.connect("/waits?observe").await;
    let mut client = wharf.connect("/waits").await;
    client.send("tell 500").await;
    assert_eq!(observer.text().await, "waiting");
    client.reset();
    assert_eq!(observer.text().await, "waited");
    let closed = json!({ "closed": "network-lost", "code": null, "count": 1 });
    assert_eq!(observer.json().await, closed, "with the session of that call");
}

#[tokio::test]
async fn messages_before_a_close_frame_are_answered_before_it_is() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = observer(&wharf).await;
    let mut raw = wharf.raw_websocket("/waits").await;
    let close = [4321_u16.to_be_bytes().as_slice(), b"enough"].concat();
    let sent = [frame(0x81, b"wait 500"), frame(0x81, b"after"), frame(0x88, &close)];
    raw.write(sent.concat()).await;
    for (count, message) in [(1, "wait 500"), (2, "after")] {
        let frame = raw.frame().await.expect("an answer");
        assert_eq!(frame.opcode, 1, "nothing may follow a close frame, so that it comes last");
        assert_eq!(answer(&frame), json!({ "count": count, "message": message }));
    }
    assert_eq!(raw.frame().await.expect("a close frame").close_code(), Some(4321));
    raw.ended().await;
    let closed = json!({ "closed": "client-closed", "code": 4321, "count": 2 });
    assert_eq!(observer.json().await, closed);
}

#[tokio::test]
async fn what_a_client_has_sent_before_it_vanishes_is_handled_to_its_close_frame() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = observer(&wharf).await;
    for resets in [false, true] {
        let mut raw = wharf.raw_websocket("/waits").await;
        let sent = [
            frame(0x81, b"wait 300"),
            // The answer to the first message meets a closed socket, and the answer to the second
            // one can no longer be written.
            frame(0x81, b"wait 300"),
            frame(0x81, b"third"),
            frame(0x89, b"all was read"),
            frame(0x88, &1001_u16.to_be_bytes()),
        ];
        raw.write(sent.concat()).await;
        if resets {
            // A reset drops bytes that the server has not read yet. The pong shows that it has read
            // them.
            assert_eq!(raw.frame().await.expect("a pong").opcode, 10);
            raw.reset();
        } else {
            drop(raw);
        }
        let closed = json!({ "closed": "client-closed", "code": 1001, "count": 3 });
        assert_eq!(observer.json().await, closed, "with a reset: {resets}");
    }
}

#[tokio::test]
async fn the_clients_close_frame_comes_first_if_it_was_there_before_the_channels() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = observer(&wharf).await;
    let mut raw = wharf.raw_websocket("/waits").await;
    raw.write([frame(0x81, b"close 500"), frame(0x88, &1000_u16.to_be_bytes())].concat()).await;
    let (frames, close) = raw.until_close().await;
    assert_eq!(frames.len(), 1, "the answer comes before the close frame");
    assert_eq!(close.and_then(|close| close.close_code()), Some(1000), "one frame, the client's");
    raw.ended().await;
    let closed = observer.json().await;
    assert_eq!((&closed["code"], &closed["count"]), (&json!(1000), &json!(1)), "{closed}");
}

#[tokio::test]
async fn on_close_waits_for_an_instance_for_as_long_as_it_takes() {
    let flags = [
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--instance-wait-ms 100",
    ];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut observer = wharf.connect("/waits?observe").await;
    let mut busy = wharf.connect("/waits").await;
    let mut leaving = wharf.connect("/waits").await;
    leaving.ask("hello").await;
    busy.send("tell 2000").await;
    assert_eq!(observer.text().await, "waiting", "the only instance is taken");
    leaving.close(1000, "").await;
    let is_exhausted = |line: &Line| {
        line.message().contains("instance_wait_ms") && line.str("event") == "on-close"
    };
    // The line comes each time it has waited for so long, and the waiting goes on.
    let first = wharf.log.wait_for("that on_close waits", is_exhausted).await;
    let start = wharf.log.lines().iter().position(is_exhausted).expect("it is there") + 1;
    let again = wharf.log.wait_for_after(start, "that it waits on", is_exhausted).await;
    assert_eq!(first.str("connection"), again.str("connection"));
    assert_eq!(observer.text().await, "waited");
    let closed = json!({ "closed": "client-closed", "code": 1000, "count": 1 });
    assert_eq!(observer.json().await, closed);
    assert_eq!(busy.json().await["count"], 1, "who had it before was not disturbed");
}

#[tokio::test]
async fn messages_before_a_broken_frame_are_answered_before_the_close_frame() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = observer(&wharf).await;
    let mut raw = wharf.raw_websocket("/waits").await;
    let sent = [frame(0x81, b"wait 500"), frame(0x81, b"after"), frame(0x81, b"\xff")];
    raw.write(sent.concat()).await;
    let (frames, close) = raw.until_close().await;
    let counts: Vec<_> = frames.iter().map(|frame| answer(frame)["count"].clone()).collect();
    assert_eq!(counts, [1, 2]);
    assert_eq!(close.expect("a close frame").close_code(), Some(1007));
    let closed = json!({ "closed": "invalid-utf8", "code": 1007, "count": 2 });
    assert_eq!(observer.json().await, closed);
}

#[tokio::test]
async fn a_client_that_vanishes_while_on_connect_waits_gets_its_on_close() {
    let wharf = Wharf::start(&["waits"], &[]).await;
    let mut observer = observer(&wharf).await;
    let mut raw = Raw::open(wharf.address).await;
    raw.request("GET /waits?wait=500", &upgrade_headers()).await;
    wharf.log.wait_for("on_connect to begin", |line| line.says("on_connect waits")).await;
    raw.reset();
    let closed = json!({ "closed": "network-lost", "code": null, "count": 0 });
    assert_eq!(observer.json().await, closed);
}

#[tokio::test]
async fn a_client_that_was_told_503_while_on_connect_waits_gets_its_on_close() {
    let wharf = Wharf::start(&["waits"], &["--handshake-timeout-ms 200"]).await;
    let mut observer = observer(&wharf).await;
    let rejected = wharf.try_connect("/waits?wait=1000", &[]).await.expect_err("too slow");
    assert_eq!(rejected.status, 503);
    assert_eq!(observer.json().await["code"], Value::Null);
}

#[tokio::test]
async fn a_removal_waits_for_the_call_and_its_effects() {
    let wharf = Wharf::start(&["waits"], &["--removal-grace-ms 100"]).await;
    let mut client = wharf.connect("/waits").await;
    let mut raw = wharf.raw_websocket("/waits?observe").await;
    client.send("tell 1500").await;
    assert_eq!(raw.frame().await.expect("a broadcast").payload, b"waiting");
    std::fs::remove_file(wharf.plugin("waits")).expect("the plugin is removed");
    let (_, close) = raw.until_close().await;
    assert_eq!(
        close.expect("a close frame").close_code(),
        Some(1001),
        "who waits for nothing goes"
    );
    assert_eq!(client.json().await, json!({ "count": 1, "message": "tell 1500" }));
    assert_eq!(client.ended().await, Ended::Closed(1001, "removed".to_owned()));
}

#[tokio::test]
async fn a_client_that_connects_while_its_channel_is_being_removed_is_told_so() {
    let wharf = Wharf::start(&["waits"], &["--removal-grace-ms 50"]).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /waits?wait=1500", &upgrade_headers()).await;
    wharf.log.wait_for("on_connect to begin", |line| line.says("on_connect waits")).await;
    std::fs::remove_file(wharf.plugin("waits")).expect("the plugin is removed");
    wharf.log.wait_for("the removal", |line| line.says("plugin removed")).await;
    assert_eq!(raw.answer().await.status, 101, "its on_connect was running already");
    let (frames, close) = raw.until_close().await;
    assert_eq!((frames.len(), close.and_then(|close| close.close_code())), (0, Some(1001)));
}
