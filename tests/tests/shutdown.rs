//! Stopping the server: all clients are told, every `on_close` runs, and it ends in bounded time.

use std::time::{Duration, Instant};

use wharf_tests::operator::{Operated, answered, authorization};
use wharf_tests::{Client, Ended, Line, Raw, Wharf, eventually, json};

/// Finds reports of `on_close` in the log.
fn is_report(line: &Line) -> bool {
    line.message().starts_with("{") && line.str("target") == "wharf::guest"
}

async fn stops_well_on(signal: &str) {
    const CONNECTIONS: usize = 50;
    let mut wharf = Wharf::start(&["ends", "echo"], &[]).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = wharf.connect("/ends?room=quay").await;
        client.ask_json(json!({ "do": "greet" })).await;
        clients.push(client);
    }
    let mut other = wharf.connect("/echo").await;
    wharf.signal(signal);
    for client in &mut clients {
        assert_eq!(client.ended().await, Ended::Closed(1012, "shutdown".to_owned()));
    }
    assert_eq!(other.close_code().await, 1012);
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < Duration::from_secs(10), "it took {:?}", stopped.took);

    let log = &wharf.log;
    log.wait_for("the end", |line| line.says("stopped")).await;
    let line = log.wait_for("the beginning", |line| line.says("shutting down")).await;
    assert_eq!(line.number("connections"), Some(CONNECTIONS as u64 + 1));
    let reports = log.find(is_report);
    let mut closed: Vec<_> = reports
        .iter()
        .map(|line| {
            let report: wharf_tests::Value = serde_json::from_str(line.message()).expect("JSON");
            assert_eq!((&report["ending"], &report["code"]), (&json!("shutdown"), &json!(1012)));
            assert_eq!(report["count"], 1);
            report["closed"].as_str().expect("an id").to_owned()
        })
        .collect();
    closed.sort();
    closed.dedup();
    assert_eq!((closed.len(), reports.len()), (CONNECTIONS, CONNECTIONS), "once for each");
}

#[tokio::test]
async fn a_sigterm_ends_every_connection_with_1012_and_its_on_close() {
    stops_well_on("TERM").await;
}

#[tokio::test]
async fn a_load_balancer_can_notice_the_end_before_it_comes() {
    let mut wharf = Wharf::start(&["echo"], &["--shutdown-delay-ms 3000"]).await;
    let mut early = wharf.connect("/echo").await;
    let status = async |path: &str| {
        let mut raw = wharf.raw().await;
        raw.request(&format!("GET {path}"), &[]).await;
        raw.answer().await.status
    };
    assert_eq!((status("/healthz").await, status("/readyz").await), (200, 200));
    wharf.signal("TERM");
    wharf.log.wait_for("the beginning", |line| line.begins("not ready any more")).await;
    assert_eq!((status("/healthz").await, status("/readyz").await), (200, 503));
    // Nobody notices anything else.
    assert_eq!(early.ask("still here").await, "still here");
    let mut late = wharf.connect("/echo").await;
    assert_eq!(late.ask("welcome").await, "welcome");
    assert!(wharf.log.find(|line| line.says("shutting down")).is_empty());
    assert_eq!(early.ended().await, Ended::Closed(1012, "shutdown".to_owned()));
    assert_eq!(late.close_code().await, 1012);
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
    wharf.log.wait_for("the end", |line| line.says("stopped")).await;
}

#[tokio::test]
async fn a_closed_terminal_ends_every_connection_with_1012_and_its_on_close() {
    stops_well_on("HUP").await;
}

#[tokio::test]
async fn a_server_that_was_started_to_ignore_a_closed_terminal_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    let mut wharf = Wharf::start_under(&["nohup"], folder, &[]).await;
    wharf.signal("HUP");
    wharf.signal("TERM");
    let line = wharf.log.wait_for("the signal", |line| line.says("asked to stop")).await;
    assert_eq!(line.number("signal"), Some(15), "the other one was not noticed");
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    let echo = wharf_tests::artefacts::component("echo");
    std::fs::write(folder.path().join("plugins/echo.wasm"), echo).expect("a plugin");
    let flags = ["--log trace", "--operator-listen 127.0.0.1:0"];
    let mut wharf = Wharf::start_unread(folder, &flags).await;
    // The pipe holds 64 KiB, and is full after this.
    for _ in 0..1500 {
        let mut client = wharf.connect("/echo").await;
        assert_eq!(client.ask("served").await, "served");
    }
    wharf.signal("TERM");
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
}

#[tokio::test]
async fn a_sigint_ends_every_connection_with_1012_and_its_on_close() {
    stops_well_on("INT").await;
}

#[tokio::test]
async fn a_server_without_connections_stops_at_once() {
    let mut wharf = Wharf::start(&[], &[]).await;
    wharf.signal("TERM");
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < Duration::from_secs(5), "it took {:?}", stopped.took);
}

#[tokio::test]
async fn clients_that_do_not_say_goodbye_hold_it_up_for_a_bounded_time() {
    let flags = ["--close-timeout-ms 300", "--drain-timeout-ms 20000"];
    let mut wharf = Wharf::start(&["ends"], &flags).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(wharf.raw_websocket("/ends?room=quay").await);
    }
    let mut narrow = Raw::open_narrow(wharf.address).await;
    narrow.upgrade("/ends?room=quay").await;
    // One client has connected and sent nothing yet.
    let _idle = wharf.raw().await;
    let mut half = wharf.raw().await;
    half.write("GET /ends HTTP/1.1\r\n").await;
    wharf.signal("TERM");
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < Duration::from_secs(6), "it took {:?}", stopped.took);
    assert_eq!(wharf.log.find(is_report).len(), 4);
}

#[tokio::test]
async fn a_handler_that_runs_may_finish_and_its_effects_are_sent() {
    let mut wharf = Wharf::start(&["waits"], &[]).await;
    let mut client = wharf.connect("/waits").await;
    let mut observer = wharf.connect("/waits?observe").await;
    client.send("tell 1000").await;
    assert_eq!(observer.text().await, "waiting");
    wharf.signal("TERM");
    let answer = client.json().await;
    assert_eq!((&answer["count"], &answer["message"]), (&json!(1), &json!("tell 1000")));
    assert_eq!(client.close_code().await, 1012);
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_is_cut() {
    let flags = ["--drain-timeout-ms 300", "--wall-budget-ms 60000"];
    let mut wharf = Wharf::start(&["waits"], &flags).await;
    let mut client = wharf.connect("/waits").await;
    let mut observer = wharf.connect("/waits?observe").await;
    client.send("tell 50000").await;
    assert_eq!(observer.text().await, "waiting");
    observer.close(1000, "").await;
    wharf.signal("TERM");
    let stopped = wharf.stopped().await;
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < Duration::from_secs(10), "it took {:?}", stopped.took);
    let line = wharf
        .log
        .wait_for("what was cut", |line| line.message().contains("drain_timeout_ms"))
        .await;
    assert_eq!(line.number("connections"), Some(1));
}

#[tokio::test]
async fn nobody_connects_any_more_while_it_drains() {
    let mut wharf = Wharf::start(&["waits"], &["--wall-budget-ms 60000"]).await;
    let mut client = wharf.connect("/waits").await;
    let mut observer = wharf.connect("/waits?observe").await;
    client.send("tell 3000").await;
    assert_eq!(observer.text().await, "waiting");
    // This one was accepted before, and sends its request only now.
    let mut early = wharf.raw().await;
    wharf.signal("TERM");
    wharf.log.wait_for("the shutdown", |line| line.says("shutting down")).await;
    eventually("new connections to be refused", async || {
        tokio::net::TcpStream::connect(wharf.address).await.err()
    })
    .await;
    assert!(wharf.is_running(), "it is still draining");
    if early.try_write("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n").await {
        let answer = early.try_answer().await;
        assert!(answer.is_none_or(|answer| answer.status == 503 || answer.status == 426));
    }
    assert_eq!(client.json().await["count"], 1);
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let flags = ["--drain-timeout-ms 600000", "--wall-budget-ms 600000"];
    let mut wharf = Wharf::start(&["waits"], &flags).await;
    let mut client = wharf.connect("/waits").await;
    let mut observer = wharf.connect("/waits?observe").await;
    client.send("tell 500000").await;
    assert_eq!(observer.text().await, "waiting");
    wharf.signal("TERM");
    wharf.log.wait_for("the shutdown", |line| line.says("shutting down")).await;
    assert!(wharf.is_running());
    wharf.signal("TERM");
    let stopped = wharf.stopped().await;
    assert_ne!(stopped.status.code(), Some(0), "it was not done");
    assert!(stopped.took < Duration::from_secs(5), "it took {:?}", stopped.took);
}

#[tokio::test]
async fn a_request_of_the_operator_that_is_under_way_is_answered() {
    let mut it = Operated::start(&["operated"], &[]).await;
    let mut raw = Raw::open(it.api).await;
    let body = json!({ "do": "wait", "ms": 1000 }).to_string();
    let length = body.len().to_string();
    let headers =
        [authorization(), ("Content-Type", "application/json"), ("Content-Length", &length)];
    raw.request("POST /api/channels/operated/messages", &headers).await;
    raw.try_write(body.as_bytes()).await;
    it.wharf.log.wait_for("the channel to be asked", |line| line.says("waiting")).await;
    it.wharf.signal("TERM");
    assert_eq!(answered(raw.answer().await), (200, json!("waited")));
    assert_eq!(it.wharf.stopped().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_call_about_presence_that_is_under_way_comes_to_its_end() {
    let mut wharf = Wharf::start(&["tracks"], &["--presence-interval-ms 10"]).await;
    let mut client = wharf.connect("/tracks").await;
    client.ask_json(json!({ "do": "join", "room": "slow" })).await;
    client.ask_json(json!({ "do": "track", "room": "slow", "key": "ann", "meta": 1 })).await;
    wharf.log.wait_for("the channel to be told", |line| line.says("hearing of 1 joins")).await;
    // Nobody but the call holds up the end.
    drop(client);
    wharf.signal("TERM");
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
    wharf.log.wait_for("the end of the call", |line| line.says("heard")).await;
}

#[tokio::test]
async fn connections_are_closed_one_after_the_other_and_served_until_then() {
    const CONNECTIONS: usize = 40;
    let mut wharf = Wharf::start(&["echo"], &["--shutdown-closes-per-second 20"]).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(wharf.connect("/echo").await);
    }
    wharf.signal("TERM");
    let begun = Instant::now();
    assert_eq!(clients[0].ended().await, Ended::Closed(1012, "shutdown".to_owned()));
    let last = clients.last_mut().expect("a client");
    assert_eq!(last.ask("still served").await, "still served");
    for client in &mut clients[1..] {
        assert_eq!(client.ended().await, Ended::Closed(1012, "shutdown".to_owned()));
    }
    // Two in each tenth of a second, of which the first come at once.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1800), "it took {took:?}");
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
}

#[tokio::test]
async fn connections_are_closed_faster_where_there_is_little_time() {
    let flags = ["--shutdown-closes-per-second 1", "--drain-timeout-ms 4000"];
    let mut wharf = Wharf::start(&["echo"], &flags).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(wharf.connect("/echo").await);
    }
    wharf.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.ended().await, Ended::Closed(1012, "shutdown".to_owned()));
    }
    assert_eq!(wharf.stopped().await.status.code(), Some(0));
    let is_cut = |line: &Line| line.begins("drain_timeout_ms is over");
    assert!(wharf.log.find(is_cut).is_empty());
}
