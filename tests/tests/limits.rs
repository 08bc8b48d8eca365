//! Everything is bounded: outbound queues, reading ahead, instances, and the reach of a guest.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use wharf_tests::raw::frame;
use wharf_tests::{Ended, Line, Raw, Value, Wharf, json};

const MIB: usize = 1 << 20;

fn is_slow_consumer(line: &Line) -> bool {
    line.says("slow consumer closed")
}

/// Asserts that the host's memory has grown by a small part of the flood. Buffers, threads and
/// instances may grow it, but not in proportion to the flood.
fn assert_flat(wharf: &Wharf, before: usize, flood: usize) {
    let grown = wharf.resident_bytes().saturating_sub(before);
    assert!(grown < flood / 4, "a flood of {flood} bytes has grown the host by {grown}");
}

/// Writes until the server cuts the connection or stops reading, or everything is written. Returns
/// the number of bytes written.
async fn flood(raw: &mut Raw, bytes: &[u8], total: usize) -> usize {
    const STUCK: Duration = Duration::from_secs(2);
    let mut written = 0;
    while written < total {
        // A write without progress for this long means that the server does not read.
        match tokio::time::timeout(STUCK, raw.socket.write_all(bytes)).await {
            Ok(Ok(())) => written += bytes.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    written
}

#[tokio::test]
async fn a_member_that_never_reads_is_cut_and_slows_nobody() {
    const MESSAGES: usize = 1500;
    const BYTES: usize = 60_000;
    let wharf = Wharf::start(&["ends"], &[]).await;
    let mut slow = Raw::open_narrow(wharf.address).await;
    slow.upgrade("/ends?room=quay").await;
    let mut reading = wharf.connect("/ends?room=quay").await;
    let mut flooding = wharf.connect("/ends?room=elsewhere").await;
    let before = wharf.resident_bytes();
    let reader = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            assert_eq!(reading.text().await.len(), BYTES);
        }
        reading
    });
    // Each event sends one message: a reader that keeps up must not overrun by one event alone.
    let order = json!({ "do": "flood", "room": "quay", "messages": 1, "bytes": BYTES });
    for _ in 0..MESSAGES {
        assert_eq!(flooding.ask_json(order.clone()).await, json!({ "flooded": 1 }));
    }
    let _reading = reader.await.expect("the one that reads hears everything");
    wharf.log.wait_for("the slow one to be closed", is_slow_consumer).await;
    assert_eq!(wharf.log.find(is_slow_consumer).len(), 1);
    assert_flat(&wharf, before, MESSAGES * BYTES);
    // Bytes that were written before can be read, then comes the end, with or without a reason.
    let (_, close) = slow.until_close().await;
    assert!(close.is_none_or(|close| close.close_code() == Some(1013)));
}

#[tokio::test]
async fn a_client_that_pipelines_and_never_reads_does_not_grow_the_host() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = Raw::open_narrow(wharf.address).await;
    raw.upgrade("/echo").await;
    let before = wharf.resident_bytes();
    let messages = frame(0x82, &[b'x'; 10_000]).repeat(10);
    let written = flood(&mut raw, &messages, 256 * MIB).await;
    assert!(written < 256 * MIB, "somebody has swallowed it all");
    assert_flat(&wharf, before, 256 * MIB);
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_closed_in_the_end() {
    let flags = ["--keep-alive-interval-ms 200", "--keep-alive-timeout-ms 500"];
    let wharf = Wharf::start(&["ends"], &flags).await;
    let mut raw = Raw::open_narrow(wharf.address).await;
    raw.upgrade("/ends?room=quay").await;
    let flooding = tokio::spawn(async move {
        let messages = frame(0x81, br#"{"do": "greet"}"#).repeat(100);
        flood(&mut raw, &messages, 256 * MIB).await;
        raw
    });
    wharf.log.wait_for("the slow consumer", is_slow_consumer).await;
    let is_report = |line: &Line| line.message().contains(r#""ending":"slow-consumer""#);
    wharf.log.wait_for("its on_close", is_report).await;
    drop(flooding.await);
}

#[tokio::test]
async fn a_client_that_floods_its_channel_leaves_time_for_others() {
    const FLOOD: usize = 30_000;
    let wharf = Wharf::start(&["counts", "echo"], &["--workers 1"]).await;
    let raw = wharf.raw_websocket("/counts/flood").await;
    let (mut reader, mut writer) = raw.socket.into_split();
    let flooding = tokio::spawn(async move {
        let messages = frame(0x81, b"x").repeat(100);
        for _ in 0..FLOOD / 100 {
            writer.write_all(&messages).await.expect("the server reads");
        }
        writer
    });
    let reading = tokio::spawn(async move {
        let mut scratch = vec![0; 65_536];
        let mut read = 0;
        // Every answer has at least 50 bytes.
        while read < FLOOD * 50 {
            let some = tokio::io::AsyncReadExt::read(&mut reader, &mut scratch).await;
            read += some.expect("answers");
        }
    });
    let (mut same, mut other) = (wharf.connect("/counts/a").await, wharf.connect("/echo").await);
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    while !reading.is_finished() || answered == 0 {
        let begun = Instant::now();
        same.ask("hello").await;
        other.ask("hello").await;
        slowest = slowest.max(begun.elapsed());
        answered += 1;
    }
    println!("{answered} pairs of answers during the flood, the slowest after {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "others have waited for {slowest:?}");
    drop(flooding.await);
}

#[tokio::test]
async fn a_client_that_only_pings_and_never_reads_does_not_grow_the_host() {
    let wharf = Wharf::start(&["echo", "pings"], &[]).await;
    for path in ["/echo", "/pings"] {
        let mut raw = Raw::open_narrow(wharf.address).await;
        raw.upgrade(path).await;
        let before = wharf.resident_bytes();
        let pings = frame(0x89, &[b'p'; 125]).repeat(1000);
        let written = flood(&mut raw, &pings, 256 * MIB).await;
        assert!(written < 256 * MIB, "somebody has swallowed it all");
        assert_flat(&wharf, before, 256 * MIB);
    }
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_client_that_provokes_the_smallest_frames_and_never_reads_costs_no_more() {
    const CLIENTS: usize = 2;
    /// Far more than the default of `outbound_queue_bytes`, and less than half of the memory of a
    /// queue that is full of empty pongs, if each counted as its two bytes only.
    const MOST_EACH: usize = 8 * MIB;
    let flags = ["--keep-alive-interval-ms 300", "--keep-alive-timeout-ms 300"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let before = wharf.resident_bytes();
    let mut flooding = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::open_narrow(wharf.address).await;
        raw.upgrade("/echo").await;
        flooding.push(tokio::spawn(async move {
            flood(&mut raw, &frame(0x89, b"").repeat(1000), 64 * MIB).await;
            raw
        }));
    }
    let mut most = before;
    wharf_tests::eventually("the clients to be given up", async || {
        most = most.max(wharf.resident_bytes());
        (wharf.log.find(is_slow_consumer).len() == CLIENTS).then_some(())
    })
    .await;
    let grown = most - before;
    println!("{CLIENTS} clients that provoke pongs have grown the host by {grown} bytes");
    assert!(grown < CLIENTS * MOST_EACH, "the host has grown by {grown} bytes");
    for task in flooding {
        drop(task.await);
    }
}

#[tokio::test]
async fn unfinished_messages_have_a_bound_over_all_clients() {
    const CLIENTS: usize = 20;
    const BYTES: usize = 900_000;
    let wharf = Wharf::start(&["echo"], &["--max-client-bytes 4194304"]).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..CLIENTS {
        let mut raw = wharf.raw_websocket("/echo").await;
        // The host answers the ping if it holds what came before.
        raw.try_write([frame(0x02, &[b'x'; BYTES]), frame(0x89, b"still there?")].concat()).await;
        match raw.frame().await {
            Some(answer) if answer.opcode == 10 => held.push(raw),
            Some(answer) => {
                assert_eq!((answer.opcode, answer.close_code()), (8, Some(1013)));
                refused += 1;
            }
            None => refused += 1,
        }
    }
    assert!(held.len() <= 4 * MIB / BYTES && !held.is_empty(), "{} are held", held.len());
    assert_eq!(held.len() + refused, CLIENTS);
    let says_so = |line: &Line| line.message().contains("max_client_bytes");
    wharf.log.wait_for("a line about the limit", says_so).await;
    // Small messages go on, and a message can still end.
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    let mut first = held.swap_remove(0);
    first.send_frame(0, b"").await;
    drop(held);
    let ending = async { while first.frame().await.is_some_and(|frame| frame.opcode != 2) {} };
    wharf_tests::soon("the end of the first message", ending).await;
    // The memory of the others is free again.
    wharf_tests::eventually("a large message to be echoed", async || {
        let mut raw = wharf.raw_websocket("/echo").await;
        raw.try_write(frame(0x82, &[b'x'; BYTES])).await;
        raw.frame().await.filter(|echo| echo.opcode == 2)
    })
    .await;
}

#[tokio::test]
async fn sessions_and_requests_have_a_bound_over_all_clients() {
    const CLIENTS: usize = 60;
    const KEPT: usize = 60_000;
    let wharf = Wharf::start(&["allocates"], &["--max-client-bytes 1048576"]).await;
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..CLIENTS {
        match wharf.try_connect(&format!("/allocates?keep={KEPT}"), &[]).await {
            Ok(client) => held.push(client),
            Err(answer) => {
                assert_eq!(answer.status, 503);
                refused += 1;
            }
        }
    }
    // The first 16 KiB of each are free.
    assert!(held.len() <= (1 << 20) / (KEPT - 16 * 1024) && refused > 0, "{} held", held.len());
    let says_so = |line: &Line| line.message().contains("max_client_bytes");
    wharf.log.wait_for("a line about the limit", says_so).await;
    // A session that grows has the same bound. Small ones go on.
    let mut small = wharf.connect("/allocates").await;
    assert_eq!(small.ask_json(json!({ "do": "kept" })).await, json!({ "kept": 0 }));
    small.send_json(json!({ "do": "keep", "bytes": KEPT })).await;
    assert_eq!(small.ended().await, Ended::Closed(1013, "overload".to_owned()));
    // The room of those that go is free again.
    drop(held);
    wharf_tests::eventually("a large session", async || {
        wharf.try_connect(&format!("/allocates?keep={KEPT}"), &[]).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_faster_than_it_reads_and_reads_at_last_loses_nothing() {
    sends_faster_than_it_reads(&[]).await;
    // One answer more is too much for what may wait of others' messages.
    let flags = [
        "--outbound-queue-bytes 600000",
        "--max-outbound-message-bytes 600000",
        "--max-effect-bytes-per-event 600000",
    ];
    sends_faster_than_it_reads(&flags).await;
}

async fn sends_faster_than_it_reads(flags: &[&str]) {
    const MESSAGES: usize = 40;
    const BYTES: usize = 500_000;
    let wharf = Wharf::start(&["echo"], flags).await;
    let client = wharf.raw_websocket("/echo").await;
    let (mut reader, mut writer) = client.socket.into_split();
    let writing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let message = frame(0x82, &[number as u8; BYTES]);
            writer.write_all(&message).await.expect("the server reads");
        }
        writer
    });
    let mut echoes = vec![0; MESSAGES * (BYTES + 10)];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut echoes);
    wharf_tests::soon("all echoes", reading).await.expect("all echoes");
    for (number, echo) in echoes.chunks(BYTES + 10).enumerate() {
        assert!(echo[10..].iter().all(|byte| *byte == number as u8), "echo {number}");
    }
    drop(writing.await);
}

#[tokio::test]
async fn what_is_sent_to_a_waiting_handler_waits_at_the_client() {
    let wharf = Wharf::start(&["waits"], &["--wall-budget-ms 60000"]).await;
    let mut raw = wharf.raw_websocket("/waits").await;
    let before = wharf.resident_bytes();
    raw.send_frame(1, "wait 6000").await;
    let message = frame(0x81, &[b'x'; 10_000]);
    let written = flood(&mut raw, &message, 256 * MIB).await;
    assert!(written < 256 * MIB, "somebody has swallowed it all");
    assert_flat(&wharf, before, 256 * MIB);
    // All messages that were accepted are handled, in order. The last one may have been written in
    // part.
    for count in 1..=1 + written / message.len() {
        let answer = raw.frame().await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert_eq!(answer["count"], count);
    }
}

#[tokio::test]
async fn a_channel_at_its_cap_does_not_stop_another() {
    let flags = [
        "--max-instances-per-channel 2",
        "--reserved-instances-per-channel 1",
        "--max-instances 1",
        "--instance-wait-ms 20000",
    ];
    let wharf = Wharf::start(&["waits", "echo"], &flags).await;
    let mut waiting = Vec::new();
    let mut observer = wharf.connect("/waits?observe").await;
    for _ in 0..6 {
        waiting.push(wharf.connect("/waits").await);
    }
    for client in &mut waiting {
        client.send("tell 700").await;
    }
    assert_eq!(observer.text().await, "waiting");
    assert_eq!(observer.text().await, "waiting");
    // Both instances are in use, and one of them is the only one that channels share.
    let mut echo = wharf.connect("/echo").await;
    for number in 0..20 {
        assert_eq!(echo.ask(&number.to_string()).await, number.to_string());
    }
    let next = observer.text().await;
    assert_eq!(next, "waited", "no third one ran before one of the two was done");
    for mut client in waiting {
        assert_eq!(client.json().await["count"], 1, "all get their turn");
    }
}

#[tokio::test]
async fn whoever_waits_too_long_for_an_instance_is_told_to_come_back() {
    let flags = [
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--instance-wait-ms 200",
    ];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut observer = wharf.connect("/waits?observe").await;
    let mut first = wharf.connect("/waits").await;
    let mut second = wharf.connect("/waits").await;
    first.send("tell 3000").await;
    assert_eq!(observer.text().await, "waiting");
    second.send("hello").await;
    assert_eq!(second.ended().await, Ended::Closed(1013, "overload".to_owned()));
    let rejected = wharf.try_connect("/waits", &[]).await.expect_err("no instance");
    assert_eq!(rejected.status, 503);
    let line = wharf.log.wait_for("a hint", |line| line.text.contains("instance_wait_ms")).await;
    assert_eq!(line.str("channel"), "waits");
    assert_eq!(first.json().await["count"], 1);
    // Its on_close was waiting, and runs as soon as there is an instance.
    assert_eq!(observer.text().await, "waited");
    let closed = json!({ "closed": "overload", "code": 1013, "count": 0 });
    assert_eq!(observer.json().await, closed);
}

#[tokio::test]
async fn a_guest_reaches_nothing_that_it_was_not_granted() {
    let wharf = Wharf::start(&["inspects"], &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut client = wharf.connect("/inspects").await;
    let reached = client.ask_for_json(&format!("isolation {address}")).await;
    assert_eq!((&reached["environment"], &reached["arguments"]), (&json!(0), &json!(0)));
    for way in
        ["read", "list", "list_here", "write", "connect", "listen", "datagram", "resolve", "thread"]
    {
        let outcome = reached[way].as_str().expect("an outcome");
        assert!(outcome.starts_with("error"), "{way}: {outcome}");
    }
}

#[tokio::test]
async fn a_thousand_idle_connections_cost_little() {
    const CONNECTIONS: usize = 1000;
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(wharf.connect("/echo").await);
    }
    let before = wharf.resident_bytes();
    for _ in 0..CONNECTIONS {
        clients.push(wharf.connect("/echo").await);
    }
    let each = wharf.resident_bytes().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes of the host's memory for each idle connection");
    // An instance for each connection would take a mebibyte or more.
    assert!(each < 100 * 1024, "{each} bytes each");
}

#[tokio::test]
async fn memory_goes_back_to_the_system_after_a_burst_of_large_messages() {
    const CLIENTS: usize = 64;
    const MESSAGE: usize = MIB;
    let wharf = Wharf::start(&["echo"], &["--max-message-bytes 2097152"]).await;
    let before = wharf.resident_bytes();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::open(wharf.address).await;
        raw.upgrade("/echo").await;
        // All but the end of each message is there, so that the host holds all of them at once.
        raw.write(&frame(0x02, &vec![b'm'; MESSAGE])).await;
        clients.push(raw);
    }
    let burst = CLIENTS * MESSAGE;
    wharf_tests::eventually("the messages to arrive", async || {
        (wharf.resident_bytes() > before + burst / 2).then_some(())
    })
    .await;
    for raw in clients {
        raw.reset();
    }
    wharf_tests::eventually("the memory to go back", async || {
        (wharf.resident_bytes() < before + burst / 4).then_some(())
    })
    .await;
}
