//! A failing plugin costs the event and at most its connection, and affects no other.

use wharf_tests::raw::frame;
use wharf_tests::{Client, Ended, Line, Value, Wharf, json};

fn is_failure(line: &Line) -> bool {
    line.says("guest call failed")
}

/// Returns the log line about a failed guest call of this kind.
async fn failure(wharf: &Wharf, event: &str, kind: &str) -> Line {
    let line = wharf
        .log
        .wait_for(&format!("a {kind} in {event}"), |line| {
            is_failure(line) && line.str("event") == event && line.str("kind") == kind
        })
        .await;
    assert!(!line.str("detail").is_empty(), "{line}");
    assert!(line.number("generation").is_some(), "{line}");
    line
}

#[tokio::test]
async fn a_trap_ends_only_its_own_connection() {
    let wharf = Wharf::start(&["panics", "echo"], &[]).await;
    let mut same_channel = wharf.connect("/panics?observe").await;
    let mut other_channel = wharf.connect("/echo").await;
    let mut victim = wharf.connect("/panics").await;
    let id = victim.ask_for_json("hello").await["id"].clone();
    victim.send("panic").await;
    assert_eq!(victim.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));

    let closed = json!({ "closed": id, "count": 1, "code": 1011, "ending": "guest-failure" });
    assert_eq!(same_channel.json().await, closed, "not the broadcast before the panic");
    assert_eq!(same_channel.ask_for_json("hello").await["count"], 1);
    assert_eq!(other_channel.ask("hello").await, "hello");
    assert_eq!(wharf.connect("/panics").await.ask_for_json("hello").await["count"], 1);
}

#[tokio::test]
async fn a_trap_is_logged_with_the_functions_it_came_through_on_one_line() {
    let wharf = Wharf::start(&["panics"], &[]).await;
    let mut client = wharf.connect("/panics").await;
    let id = client.ask_for_json("hello").await["id"].clone();
    client.send("panic").await;
    let line = failure(&wharf, "on-message", "trap").await;
    assert_eq!(
        (line.str("channel"), line.str("connection")),
        ("panics", id.as_str().expect("an id"))
    );
    let backtrace = line.str("backtrace");
    assert!(backtrace.contains("give_way"), "{backtrace}");
    assert!(backtrace.contains("on-message"), "{backtrace}");
    assert!(!backtrace.contains(char::is_control), "{backtrace}");
    // The panic's text is in that line, and cannot become several.
    assert!(line.str("detail").contains("the floor of on_message"), "{line}");
    assert!(!line.str("detail").contains(char::is_control), "{line}");
    let told = wharf.log.find(|line| line.text.contains("the floor of on_message"));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_trap_while_connecting_is_500() {
    let wharf = Wharf::start(&["panics"], &[]).await;
    let rejected = wharf.try_connect("/panics?panic", &[]).await.expect_err("it panics");
    assert_eq!(rejected.status, 500);
    failure(&wharf, "on-connect", "trap").await;
    assert_eq!(wharf.connect("/panics").await.ask_for_json("hello").await["count"], 1);
}

#[tokio::test]
async fn a_missed_deadline_while_connecting_is_503() {
    let wharf = Wharf::start(&["spins"], &[]).await;
    let rejected = wharf.try_connect("/spins?spin", &[]).await.expect_err("it spins");
    assert_eq!(rejected.status, 503);
    assert!(rejected.headers.contains_key("retry-after"), "{:?}", rejected.headers);
    let line = failure(&wharf, "on-connect", "deadline").await;
    assert!(line.str("backtrace").contains("spin_for_ever"), "{line}");
}

/// Starts handlers that spin, and asserts that all other clients are served meanwhile.
async fn others_are_served_while_guests_spin(workers: usize, spinning: usize) {
    // The wall budget is far longer, since spinning handlers share the workers.
    let (cpu, wall) = ("--cpu-budget-ms 4000", "--wall-budget-ms 60000");
    let workers = format!("--workers {workers}");
    let wharf = Wharf::start(&["spins", "echo"], &[&workers, cpu, wall]).await;
    let mut same_channel = wharf.connect("/spins").await;
    let mut other_channel = wharf.connect("/echo").await;
    let mut victims = Vec::new();
    for _ in 0..spinning {
        let mut victim = wharf.connect("/spins").await;
        assert_eq!(victim.ask("announce and spin").await, "spinning");
        victims.push(victim);
    }
    for number in 0..20 {
        let text = format!("message {number}");
        assert_eq!(same_channel.ask(&text).await, text);
        assert_eq!(other_channel.ask(&text).await, text);
    }
    assert_eq!(wharf.connect("/echo").await.ask("new").await, "new");
    assert!(wharf.log.find(is_failure).is_empty(), "all are still spinning");
    for mut victim in victims {
        assert_eq!(victim.close_code().await, 1011);
    }
    failure(&wharf, "on-message", "deadline").await;
}

#[tokio::test]
async fn a_spinning_guest_harms_only_its_own_connection() {
    others_are_served_while_guests_spin(2, 1).await;
}

#[tokio::test]
async fn more_spinning_guests_than_threads_harm_only_their_own_connections() {
    others_are_served_while_guests_spin(1, 3).await;
}

#[tokio::test]
async fn on_close_runs_after_a_missed_deadline_and_may_miss_its_own() {
    let wharf = Wharf::start(&["spins"], &[]).await;
    let mut observer = wharf.connect("/spins?observe").await;
    let mut client = wharf.connect("/spins").await;
    client.send("spin").await;
    assert_eq!(client.close_code().await, 1011);
    assert_eq!(observer.json().await, json!({ "code": 1011, "ending": "guest-failure" }));

    let mut client = wharf.connect("/spins").await;
    client.ask("spin on close").await;
    client.close(1000, "").await;
    failure(&wharf, "on-close", "deadline").await;
    assert_eq!(observer.ask("still here").await, "still here");
}

#[tokio::test]
async fn waiting_too_long_is_a_missed_deadline_without_using_the_cpu() {
    let flags = ["--cpu-budget-ms 50", "--wall-budget-ms 600"];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut client = wharf.connect("/waits").await;
    assert_eq!(client.ask_for_json("wait 200").await["count"], 1, "waiting costs no CPU time");
    client.send("wait 600000").await;
    assert_eq!(client.close_code().await, 1011);
    let line = failure(&wharf, "on-message", "deadline").await;
    assert!(line.str("detail").contains("wall_budget_ms"), "{line}");
    let rejected = wharf.try_connect("/waits?wait=600000", &[]).await.expect_err("it waits");
    assert_eq!(rejected.status, 503);
}

#[tokio::test]
async fn a_guest_that_wants_all_memory_harms_only_its_own_connection() {
    let wharf = Wharf::start(&["allocates"], &["--cpu-budget-ms 2000"]).await;
    let mut other = wharf.connect("/allocates").await;
    let mut client = wharf.connect("/allocates").await;
    let before = wharf.resident_bytes();
    for (mebibytes, granted) in [(32, true), (100, false), (4000, false)] {
        let answer = client.ask_json(json!({ "do": "ask", "mebibytes": mebibytes })).await;
        assert_eq!(answer, json!({ "granted": granted }), "{mebibytes} MiB");
    }
    client.send_json(json!({ "do": "everything" })).await;
    assert_eq!(client.close_code().await, 1011);
    let line = failure(&wharf, "on-message", "out-of-memory").await;
    assert!(line.str("detail").contains("max_memory_bytes"), "{line}");
    assert_eq!(other.ask_json(json!({ "do": "kept" })).await, json!({ "kept": 0 }));
    let grown = wharf.resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "the host has grown by {grown} bytes");
}

#[tokio::test]
async fn a_guest_whose_stack_ends_harms_only_its_own_connection() {
    let wharf = Wharf::start(&["allocates"], &[]).await;
    let mut other = wharf.connect("/allocates").await;
    let mut client = wharf.connect("/allocates").await;
    client.send_json(json!({ "do": "recurse" })).await;
    assert_eq!(client.close_code().await, 1011);
    let line = failure(&wharf, "on-message", "trap").await;
    assert!(line.str("backtrace").contains("recurse"), "{line}");
    assert!(line.str("detail").starts_with("the stack was perhaps too small"), "{line}");
    assert!(line.text.len() < 16 * 1024, "a deep backtrace is cut");
    assert_eq!(other.ask_json(json!({ "do": "kept" })).await, json!({ "kept": 0 }));
}

#[tokio::test]
async fn a_session_that_is_too_big_ends_its_connection_with_the_session_before() {
    let wharf = Wharf::start(&["allocates"], &["--max-session-bytes 1000"]).await;
    let mut client = wharf.connect("/allocates").await;
    let keep = |bytes: u32| json!({ "do": "keep", "bytes": bytes });
    assert_eq!(client.ask_json(keep(900)).await, json!({ "kept": 900 }));
    client.send_json(keep(1001)).await;
    assert_eq!(client.close_code().await, 1011, "and its answer is not sent");
    let line = failure(&wharf, "on-message", "session-too-big").await;
    assert!(line.str("detail").contains("max_session_bytes"), "{line}");

    let rejected = wharf.try_connect("/allocates?keep=1001", &[]).await.expect_err("too much");
    assert_eq!(rejected.status, 500);
    let mut client = wharf.connect("/allocates?keep=900").await;
    assert_eq!(client.ask_json(json!({ "do": "kept" })).await, json!({ "kept": 900 }));
}

#[tokio::test]
async fn passing_too_much_in_one_host_call_is_a_trap() {
    let wharf = Wharf::start(&["raw"], &[]).await;
    let mut client = wharf.connect("/raw").await;
    assert_eq!(client.ask("pass 2000000").await, "message-too-big");
    client.send("pass 20000000").await;
    assert_eq!(client.close_code().await, 1011);
    assert_eq!(wharf.connect("/raw").await.ask("pass 2000000").await, "message-too-big");
}

#[tokio::test]
async fn host_calls_while_nothing_is_handled_are_refused() {
    let wharf = Wharf::start(&["raw"], &[]).await;
    let said = "while describing: no-event, no-event";
    wharf.log.wait_for(said, |line| line.text.contains(said)).await;
    assert_eq!(wharf.connect("/raw").await.ask("join lobby").await, "ok");
}

#[tokio::test]
async fn many_traps_leave_nothing_behind() {
    const TRAPS: usize = 200;
    let wharf = Wharf::start(&["panics"], &[]).await;
    let trap = async || {
        let mut client = wharf.connect("/panics").await;
        client.send("panic").await;
        assert_eq!(client.close_code().await, 1011);
    };
    for _ in 0..20 {
        trap().await;
    }
    let before = wharf.resident_bytes();
    for _ in 0..TRAPS {
        trap().await;
    }
    let grown = wharf.resident_bytes().saturating_sub(before);
    // An instance has at least 1 MiB of memory of its own.
    assert!(grown < TRAPS << 19, "the host has grown by {grown} bytes in {TRAPS} traps");
}

/// Sends bytes that cause a fault to the channel that handles faults. Returns the messages to the
/// client and to an observer, and the close code.
async fn fault(wharf: &Wharf, observer: &mut Client, bytes: Vec<u8>) -> (Value, Option<u16>) {
    let mut raw = wharf.raw_websocket("/faulty").await;
    raw.write([frame(0x81, b"hello"), bytes].concat()).await;
    let (frames, close) = raw.until_close().await;
    let answers: Vec<Value> =
        frames.iter().map(|frame| serde_json::from_slice(&frame.payload).expect("JSON")).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0], json!({ "count": 1 }));
    assert_eq!(observer.json().await, answers[1], "the others are told the same");
    let closed = observer.json().await;
    // `on_fault` adds 100 to the count of the last committed session.
    assert_eq!(closed["count"], 101, "{closed}");
    (answers[1].clone(), close.and_then(|close| close.close_code()))
}

#[tokio::test]
async fn a_channel_that_asks_for_it_hears_of_its_own_failures_and_its_clients() {
    let flags = ["--max-message-bytes 100", "--max-memory-bytes 16MiB"];
    let wharf = Wharf::start(&["faulty"], &flags).await;
    let mut observer = wharf.connect("/faulty?observe").await;
    for (bytes, code, close_code) in [
        (frame(0x81, b"panic"), "trap", 1011),
        (frame(0x81, b"spin"), "deadline", 1011),
        (frame(0x81, b"hoard"), "out-of-memory", 1011),
        (frame(0x81, b"keep too much"), "session-too-big", 1011),
        (frame(0xf1, b"x"), "protocol-error", 1002),
        (frame(0x81, b"\xff"), "invalid-utf8", 1007),
        (frame(0x81, &[b'x'; 101]), "message-too-big", 1009),
    ] {
        let (told, closed) = fault(&wharf, &mut observer, bytes).await;
        assert_eq!((&told["fault"], &told["count"]), (&json!(code), &json!(1)));
        assert!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{told}");
        assert_eq!(closed, Some(close_code), "{code}");
    }
}

#[tokio::test]
async fn an_error_of_a_handler_is_logged_on_one_line_and_the_connection_goes_on() {
    let wharf = Wharf::start(&["faulty"], &[]).await;
    let mut client = wharf.connect("/faulty").await;
    assert_eq!(client.ask_for_json("fail").await, json!({ "error": "told to\nfail", "count": 0 }));
    assert_eq!(client.ask_for_json("hello").await, json!({ "count": 1 }));
    let line = wharf.log.wait_for("the error", |line| line.says("handler failed")).await;
    assert!(!line.str("error").contains('\n'), "{line}");
    assert_eq!(line.str("channel"), "faulty");
}

#[tokio::test]
async fn a_table_that_is_made_at_first_use_is_made_after_a_few_failures() {
    let flags = ["--cpu-budget-ms 30", "--start-budget-ms 10000", "--wall-budget-ms 20000"];
    let wharf = Wharf::start(&["spins"], &flags).await;
    let look_up = async || {
        let mut client = wharf.connect("/spins").await;
        client.send("look it up").await;
        client.message_or_end().await.map(|_| ())
    };
    let mut failures = 0;
    while let Err(ended) = look_up().await {
        assert_eq!(ended, Ended::Closed(1011, "guest-failure".to_owned()));
        failures += 1;
        assert!(failures <= 3, "the table is never made");
    }
    for _ in 0..5 {
        look_up().await.expect("it is made, or may be made again");
    }
    wharf.log.wait_for("a warning", |line| line.begins("events have used up")).await;
}
