//! `on_close` is called exactly once for each accepted connection, for every kind of ending, with
//! the last committed session and the code of the first close frame.

use wharf_tests::raw::frame;
use wharf_tests::{Client, Ended, Line, Raw, Value, Wharf, json};

/// A connection that ends, and an observer in its channel who is told of the end.
struct Scene {
    wharf: Wharf,
    observer: Client,
}

impl Scene {
    async fn set(flags: &[&str]) -> Scene {
        let wharf = Wharf::start(&["ends"], flags).await;
        let mut observer = wharf.connect("/ends").await;
        greet(&mut observer).await;
        Scene { wharf, observer }
    }

    /// Returns the report of the connection's `on_close`. It must be the next report, and the only
    /// one of the connection.
    async fn report_of(&mut self, id: &str) -> Value {
        let report = self.observer.json().await;
        assert_eq!(report["closed"], *id);
        // Another connection ends after it. A second report would be in the log before that one.
        let mut last = self.wharf.connect("/ends?room=last").await;
        let last_id = greet(&mut last).await;
        last.close(1000, "").await;
        report_in_log(&self.wharf, &last_id).await;
        assert_eq!(self.wharf.log.find(|line| is_report_of(line, id)).len(), 1);
        assert_eq!(self.observer.json().await["closed"], *last_id);
        report
    }
}

/// Lets the connection handle one message, and returns its id.
async fn greet(client: &mut Client) -> String {
    let answer = client.ask_json(json!({ "do": "greet" })).await;
    answer["id"].as_str().expect("an id").to_owned()
}

async fn greet_raw(raw: &mut Raw) -> String {
    raw.send_frame(1, json!({ "do": "greet" }).to_string()).await;
    let answer: Value =
        serde_json::from_slice(&raw.frame().await.expect("an answer").payload).expect("JSON");
    answer["id"].as_str().expect("an id").to_owned()
}

fn is_report_of(line: &Line, id: &str) -> bool {
    line.message().starts_with('{') && line.message().contains(&format!("\"closed\":\"{id}\""))
}

async fn report_in_log(wharf: &Wharf, id: &str) -> Value {
    let what = format!("the on_close of {id}");
    let line = wharf.log.wait_for(&what, |line| is_report_of(line, id)).await;
    serde_json::from_str(line.message()).expect("JSON")
}

/// Checks the parts that are the same in every report of a connection that was in the room `quay`
/// only and has handled one message.
fn check(report: &Value, ending: &str, code: Option<u16>) {
    assert_eq!(report["ending"], ending);
    assert_eq!(report["code"], json!(code));
    assert_eq!(report["joined"], json!(["quay"]), "`joined` still answers");
    assert_eq!(report["counts"], json!([0]), "it is no longer counted");
    assert_eq!(report["count"], 1, "the last committed session");
    assert_eq!(report["send"], "connection-ended");
    assert_eq!(report["send_to"], "connection-ended", "nor by its own id");
}

#[tokio::test]
async fn by_the_clients_close_frame() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.wharf.connect("/ends?room=quay").await;
    let id = greet(&mut client).await;
    client.close(4005, "enough").await;
    let report = scene.report_of(&id).await;
    check(&report, "client-closed", Some(4005));
    assert_eq!(report["reason"], "enough");
}

#[tokio::test]
async fn by_a_close_frame_without_a_code() {
    let mut scene = Scene::set(&[]).await;
    let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
    let id = greet_raw(&mut raw).await;
    raw.send_frame(8, "").await;
    let report = scene.report_of(&id).await;
    check(&report, "client-closed", None);
    assert_eq!(report["reason"], "");
}

#[tokio::test]
async fn by_a_reset_of_the_network() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.wharf.connect("/ends?room=quay").await;
    let id = greet(&mut client).await;
    client.reset();
    check(&scene.report_of(&id).await, "network-lost", None);
}

#[tokio::test]
async fn by_the_end_of_the_stream_in_the_middle_of_a_frame() {
    let mut scene = Scene::set(&[]).await;
    let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
    let id = greet_raw(&mut raw).await;
    raw.write(&frame(0x81, b"never finished")[..9]).await;
    drop(raw);
    check(&scene.report_of(&id).await, "network-lost", None);
}

#[tokio::test]
async fn by_the_channel() {
    let mut scene = Scene::set(&["--close-timeout-ms 500"]).await;
    let mut client = scene.wharf.connect("/ends?room=quay").await;
    let id = greet(&mut client).await;
    client.send_json(json!({ "do": "close", "code": 3333, "reason": "done" })).await;
    assert_eq!(client.text().await, "goodbye");
    assert_eq!(client.ended().await, Ended::Closed(3333, "done".to_owned()));
    let report = scene.report_of(&id).await;
    let same = json!({ "count": 1, "ending": "channel-closed", "code": 3333, "reason": "done" });
    for (field, value) in [("ending", "ending"), ("code", "code"), ("reason", "reason")] {
        assert_eq!(report[field], same[value]);
    }
    assert_eq!((&report["count"], &report["counts"]), (&json!(2), &json!([0])));
}

#[tokio::test]
async fn without_waiting_for_the_clients_close_frame() {
    // This is longer than the test may take: a report that waited for it would not come.
    let mut scene = Scene::set(&["--close-timeout-ms 600000"]).await;
    let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
    let id = greet_raw(&mut raw).await;
    raw.send_frame(1, json!({ "do": "close", "code": 3333, "reason": "" }).to_string()).await;
    let (_, close) = raw.until_close().await;
    assert_eq!(close.expect("a close frame").close_code(), Some(3333));
    let report = scene.report_of(&id).await;
    assert_eq!(report["code"], 3333);
    // The handshake can still be finished, and the first code stays.
    raw.send_frame(8, 1000_u16.to_be_bytes()).await;
    raw.ended().await;
}

#[tokio::test]
async fn a_client_that_never_answers_the_close_frame_is_cut() {
    let scene = Scene::set(&["--close-timeout-ms 200"]).await;
    let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
    raw.send_frame(1, json!({ "do": "close", "code": 3333, "reason": "" }).to_string()).await;
    let (_, close) = raw.until_close().await;
    assert_eq!(close.expect("a close frame").close_code(), Some(3333));
    raw.ended().await;
}

#[tokio::test]
async fn by_a_close_while_connecting() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.wharf.connect("/ends?room=quay&close").await;
    assert_eq!(client.text().await, "goodbye");
    assert_eq!(client.close_code().await, 4002);
    let report = scene.observer.json().await;
    assert_eq!((&report["ending"], &report["code"]), (&json!("channel-closed"), &json!(4002)));
    assert_eq!(report["joined"], json!(["quay"]));
}

#[tokio::test]
async fn by_a_trap() {
    let mut scene = Scene::set(&[]).await;
    let mut client = scene.wharf.connect("/ends?room=quay").await;
    let id = greet(&mut client).await;
    client.send_json(json!({ "do": "trap" })).await;
    assert_eq!(client.close_code().await, 1011);
    check(&scene.report_of(&id).await, "guest-failure", Some(1011));
}

#[tokio::test]
async fn by_what_breaks_the_protocol() {
    let mut scene = Scene::set(&["--max-message-bytes 1000"]).await;
    for (bytes, ending, code) in [
        (frame(0xc1, b"x"), "protocol-error", 1002),
        (frame(0x81, b"\xff"), "invalid-utf8", 1007),
        (frame(0x81, &[b'x'; 1001]), "message-too-big", 1009),
    ] {
        let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
        let id = greet_raw(&mut raw).await;
        raw.write(bytes).await;
        let (_, close) = raw.until_close().await;
        assert_eq!(close.expect("a close frame").close_code(), Some(code));
        check(&scene.report_of(&id).await, ending, Some(code));
    }
}

#[tokio::test]
async fn by_a_message_that_never_ends() {
    let mut scene = Scene::set(&["--message-timeout-ms 300"]).await;
    // The beginning of a message, then that of a frame.
    for begun in [frame(0x01, b"begun"), frame(0x82, &[b'x'; 100])[..50].to_vec()] {
        let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
        let id = greet_raw(&mut raw).await;
        raw.write(begun).await;
        let (_, close) = raw.until_close().await;
        assert_eq!(close.expect("a close frame").close_code(), Some(1008));
        check(&scene.report_of(&id).await, "message-timeout", Some(1008));
    }
}

#[tokio::test]
async fn by_silence() {
    let flags = ["--keep-alive-interval-ms 100", "--keep-alive-timeout-ms 300"];
    let mut scene = Scene::set(&flags).await;
    let mut raw = scene.wharf.raw_websocket("/ends?room=quay").await;
    let id = greet_raw(&mut raw).await;
    check(&scene.report_of(&id).await, "keep-alive-timeout", None);
}

#[tokio::test]
async fn by_reading_too_slowly() {
    let flags = [
        "--outbound-queue-bytes 256KiB",
        "--max-effect-bytes-per-event 128KiB",
        "--max-outbound-message-bytes 64KiB",
    ];
    let mut scene = Scene::set(&flags).await;
    let mut slow = Raw::open_narrow(scene.wharf.address).await;
    slow.upgrade("/ends?room=quay").await;
    let id = greet_raw(&mut slow).await;
    let mut flooding = scene.wharf.connect("/ends?room=elsewhere").await;
    let flood = json!({ "do": "flood", "room": "quay", "messages": 20, "bytes": 60_000 });
    let what = "the slow consumer to be closed";
    let is_closed = |line: &Line| line.says("slow consumer closed") && line.str("connection") == id;
    // The kernel accepts some megabytes before the queue of the host begins to fill.
    for _ in 0..100 {
        if !scene.wharf.log.find(is_closed).is_empty() {
            break;
        }
        assert_eq!(flooding.ask_json(flood.clone()).await, json!({ "flooded": 20 }));
    }
    scene.wharf.log.wait_for(what, is_closed).await;
    check(&scene.report_of(&id).await, "slow-consumer", Some(1013));
}

#[tokio::test]
async fn by_the_removal_of_the_plugin() {
    let wharf = Wharf::start(&["ends"], &["--removal-grace-ms 100"]).await;
    let mut clients =
        [wharf.connect("/ends?room=quay").await, wharf.connect("/ends?room=quay").await];
    let ids = [greet(&mut clients[0]).await, greet(&mut clients[1]).await];
    std::fs::remove_file(wharf.plugin("ends")).expect("the plugin is removed");
    for (client, id) in clients.iter_mut().zip(&ids) {
        assert_eq!(client.ended().await, Ended::Closed(1001, "removed".to_owned()));
        let report = report_in_log(&wharf, id).await;
        assert_eq!((&report["ending"], &report["code"]), (&json!("removed"), &json!(1001)));
        assert_eq!(report["count"], 1);
    }
}

#[tokio::test]
async fn a_trap_in_it_is_logged_and_not_retried() {
    let wharf = Wharf::start(&["panics"], &[]).await;
    let mut observer = wharf.connect("/panics?observe").await;
    let mut client = wharf.connect("/panics").await;
    let answer = client.ask_for_json("panic on close").await;
    client.close(1000, "").await;
    let is_failure = |line: &Line| line.says("guest call failed");
    let line = wharf.log.wait_for("the failure", is_failure).await;
    assert_eq!((line.str("event"), line.str("kind")), ("on-close", "trap"));
    assert_eq!(line.str("connection"), answer["id"].as_str().expect("an id"));
    // The next end is reported, and nothing of the connection that trapped.
    let mut other = wharf.connect("/panics").await;
    let other_id = other.ask_for_json("hello").await["id"].clone();
    other.close(1000, "").await;
    assert_eq!(observer.json().await["closed"], other_id);
    assert_eq!(wharf.log.find(is_failure).len(), 1);
}

#[tokio::test]
async fn the_others_of_a_room_are_still_counted_while_one_leaves() {
    let mut scene = Scene::set(&[]).await;
    let mut staying = scene.wharf.connect("/ends?room=quay").await;
    let mut leaving = scene.wharf.connect("/ends?room=quay").await;
    leaving.ask_json(json!({ "do": "join", "room": "other" })).await;
    let id = greet(&mut leaving).await;
    leaving.close(1000, "").await;
    let report = scene.report_of(&id).await;
    assert_eq!(report["joined"], json!(["quay", "other"]), "in the order joined");
    assert_eq!(report["counts"], json!([1, 0]));
    let count = json!({ "do": "count", "room": "quay" });
    assert_eq!(staying.ask_json(count).await, json!({ "count": 1 }));
}

#[tokio::test]
async fn a_slow_consumer_that_reads_at_last_gets_whole_messages_and_then_1013() {
    let flags = [
        "--outbound-queue-bytes 256KiB",
        "--max-effect-bytes-per-event 128KiB",
        "--max-outbound-message-bytes 64KiB",
    ];
    const BYTES: usize = 60_000;
    let scene = Scene::set(&flags).await;
    let mut slow = Raw::open_narrow(scene.wharf.address).await;
    slow.upgrade("/ends?room=quay").await;
    let id = greet_raw(&mut slow).await;
    let mut flooding = scene.wharf.connect("/ends?room=elsewhere").await;
    let flood = json!({ "do": "flood", "room": "quay", "messages": 20, "bytes": BYTES });
    let is_closed = |line: &Line| line.says("slow consumer closed") && line.str("connection") == id;
    for _ in 0..100 {
        if !scene.wharf.log.find(is_closed).is_empty() {
            break;
        }
        flooding.ask_json(flood.clone()).await;
    }
    let (frames, close) = slow.until_close().await;
    for frame in &frames {
        assert_eq!((frame.opcode, frame.payload.len()), (1, BYTES), "no message is cut in two");
    }
    assert_eq!(close.expect("a close frame").close_code(), Some(1013));
}

#[tokio::test]
async fn what_was_sent_before_a_close_reaches_a_client_that_takes_its_time() {
    let wharf = Wharf::start(&["transacts"], &[]).await;
    let mut raw = Raw::open_narrow(wharf.address).await;
    raw.upgrade("/transacts").await;
    let text = "x".repeat(900_000);
    raw.send_frame(1, json!([{ "send": text }, { "close": [4000, "done"] }]).to_string()).await;
    // The client reads slowly, and pauses in between.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let message = raw.frame().await.expect("the message");
    assert!(message.payload == text.as_bytes(), "the message is whole");
    assert_eq!(raw.frame().await.expect("a close frame").close_code(), Some(4000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_has_one_on_close_however_many_end_at_once_while_code_is_swapped() {
    const CONNECTIONS: usize = 120;
    let flags = ["--log-lines-per-second 100000", "--keep-alive-timeout-ms 2000"];
    let wharf = Wharf::start(&["ends"], &flags).await;
    let mut ids = Vec::new();
    let mut ending = Vec::new();
    for number in 0..CONNECTIONS {
        let mut raw = wharf.raw_websocket("/ends?room=quay").await;
        ids.push(greet_raw(&mut raw).await);
        ending.push(tokio::spawn(async move {
            let close = json!({ "do": "close", "code": 3000, "reason": "" }).to_string();
            let trap = json!({ "do": "trap" }).to_string();
            match number % 8 {
                0 => raw.send_frame(8, 1000_u16.to_be_bytes()).await,
                1 => return raw.reset(),
                2 => raw.send_frame(1, trap).await,
                3 => raw.send_frame(1, close).await,
                4 => raw.write(frame(0xf1, b"nonsense")).await,
                5 => return drop(raw),
                // Two reasons occur at once, and one of them counts.
                6 => raw.write([frame(0x81, trap.as_bytes()), frame(0x88, b"")].concat()).await,
                _ => {
                    raw.write([frame(0x81, close.as_bytes()), frame(0x88, b"")].concat()).await;
                    return raw.reset();
                }
            }
            raw.ended().await;
        }));
    }
    let mut code = wharf_tests::artefacts::component("ends");
    for _ in 0..3 {
        // An empty custom section changes the bytes and not the code.
        code.extend([0, 2, 1, b'x']);
        wharf.swap("ends", &code).await;
    }
    for task in ending {
        task.await.expect("the connection ends");
    }
    for id in &ids {
        report_in_log(&wharf, id).await;
    }
    // Any second report comes before the end of a connection that begins now.
    let mut last = wharf.connect("/ends?room=last").await;
    let last_id = greet(&mut last).await;
    last.close(1000, "").await;
    report_in_log(&wharf, &last_id).await;
    let reports = wharf.log.find(|line| line.message().contains("\"closed\":"));
    assert_eq!(reports.len(), CONNECTIONS + 1);
}
