//! Rate limits: what they let in, and what a client is told that has to wait.

use std::time::{Duration, Instant};

use wharf_tests::artefacts::component;
use wharf_tests::raw::upgrade_headers;
use wharf_tests::{Client, Line, Value, Wharf, eventually, json};

/// An hour, in which nothing comes back during a test.
const HOUR: u64 = 60 * 60 * 1000;

fn order(mut what: Value) -> Value {
    what["ref"] = json!(7);
    what
}

/// Orders a limit of the connection's own, of which there are `count` in an hour.
fn own(count: u32) -> Value {
    order(json!({ "do": "take", "is_own": true, "name": "bids", "count": count, "per_ms": HOUR }))
}

fn of_user(user: &str, count: u32) -> Value {
    let take = json!({ "do": "take", "user": user, "is_own": false, "name": "bids" });
    let mut take = order(take);
    (take["count"], take["per_ms"]) = (json!(count), json!(HOUR));
    take
}

fn of_channel(name: &str, count: u32) -> Value {
    order(json!({ "do": "take", "is_own": false, "name": name, "count": count, "per_ms": HOUR }))
}

/// Gives an order, and returns true if it has taken something.
async fn takes(client: &mut Client, order: Value) -> bool {
    let answer = client.ask_json(order).await;
    match answer["status"] == "ok" {
        true => true,
        false => {
            assert_eq!(answer["code"], "RATE_LIMITED", "{answer}");
            false
        }
    }
}

#[tokio::test]
async fn a_client_that_is_too_quick_is_told_when_to_come_again_and_the_operator_is_not() {
    let wharf = Wharf::start(&["limited"], &["--log debug"]).await;
    let mut ann = wharf.connect("/limited").await;
    let take =
        order(json!({ "do": "take", "is_own": true, "name": "bids", "count": 2, "per_ms": 1000 }));
    let begun = Instant::now();
    assert!(takes(&mut ann, take.clone()).await && takes(&mut ann, take.clone()).await);
    let answer = ann.ask_json(take.clone()).await;
    if begun.elapsed() < Duration::from_millis(500) {
        assert_eq!(
            (&answer["code"], &answer["ref"]),
            (&json!("RATE_LIMITED"), &json!(7)),
            "{answer}"
        );
        assert_eq!(answer["message"], "too many: try again in 1 s");
        let wait = answer["retry_after_ms"].as_u64().expect("a time");
        assert!((1..=500).contains(&wait), "{answer}");
    }
    let again = async || takes(&mut ann, take.clone()).await.then_some(());
    eventually("one to come back", again).await;
    assert!(wharf.log.find(|line| ["WARN", "ERROR"].contains(&line.str("level"))).is_empty());
}

#[tokio::test]
async fn a_client_that_connects_too_often_gets_429_with_retry_after() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    wharf.connect("/limited?each=3600").await;
    let mut raw = wharf.raw().await;
    raw.request("GET /limited?each=3600", &upgrade_headers()).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, vec!["3600"]));
    let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(body["code"], "RATE_LIMITED", "{body}");
    assert!(body["retry_after_ms"].as_u64().is_some_and(|wait| wait > 3_500_000), "{body}");
    // Another limit of the channel is not touched.
    assert!(takes(&mut wharf.connect("/limited").await, of_channel("other", 1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_clients_at_once_no_more_are_let_in_than_a_limit_has() {
    let wharf = Wharf::start(&["limited"], &["--workers 4"]).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(wharf.connect("/limited").await);
    }
    for (order, expected) in [
        (of_channel("a", 20), 20),
        (of_user("ann", 7), 7),
        (of_user("bob", 1), 1),
        // Each connection has its own.
        (own(1), 50),
    ] {
        let all = clients.iter_mut().map(|client| takes(client, order.clone()));
        let taken = futures_util::future::join_all(all).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), expected, "{order}");
    }
}

#[tokio::test]
async fn what_is_taken_stays_taken_if_the_event_fails() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    let mut ann = wharf.connect("/limited").await;
    let fail = order(json!({ "do": "fail", "order": of_channel("a", 2) }));
    assert_eq!(ann.ask_json(fail).await["message"], "as ordered");
    ann.send_json(json!({ "do": "panic", "order": of_channel("a", 2) })).await;
    assert_eq!(ann.close_code().await, 1011);
    assert!(!takes(&mut wharf.connect("/limited").await, of_channel("a", 2)).await);
}

#[tokio::test]
async fn limits_of_users_and_the_channel_survive_connections_and_reloads() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    let mut ann = wharf.connect("/limited").await;
    for order in [own(1), of_user("ann", 1), of_channel("a", 1)] {
        assert!(takes(&mut ann, order.clone()).await, "{order}");
        assert!(!takes(&mut ann, order.clone()).await, "{order}");
    }
    let mut changed = component("limited");
    // Another custom section makes it another plugin.
    changed.extend([0, 2, 1, b'x']);
    wharf.swap("limited", &changed).await;
    for order in [own(1), of_user("ann", 1), of_channel("a", 1)] {
        assert!(!takes(&mut ann, order.clone()).await, "{order}");
    }
    ann.close(1000, "").await;
    let mut ann = wharf.connect("/limited").await;
    for (order, expected) in
        [(own(1), true), (of_user("ann", 1), false), (of_channel("a", 1), false)]
    {
        assert_eq!(takes(&mut ann, order.clone()).await, expected, "{order}");
    }
}

#[tokio::test]
async fn a_counter_with_a_time_to_live_counts_from_its_first_increment_on() {
    let wharf = Wharf::start(&["limited"], &[]).await;
    let mut ann = wharf.connect("/limited").await;
    let add = |ttl: u64| order(json!({ "do": "add", "key": "mails", "ttl_ms": ttl }));
    // The first time is the one that holds.
    assert_eq!(ann.ask_json(add(400)).await["payload"], 1);
    let mut before = 1;
    let began_anew = async || {
        let sum = ann.ask_json(add(HOUR)).await["payload"].as_u64().expect("a sum");
        let is_anew = sum == 1;
        assert!(is_anew || sum == before + 1, "{sum} after {before}");
        before = sum;
        is_anew.then_some(())
    };
    eventually("the counter to begin anew", began_anew).await;
    assert_eq!(ann.ask_json(add(1)).await["payload"], 2);
}

#[tokio::test]
async fn a_limit_that_makes_no_sense_or_finds_no_room_is_a_failure_of_the_plugin() {
    let flags = ["--max-channel-state-bytes 259", "--max-room-state-bytes 100"];
    let wharf = Wharf::start(&["limited"], &flags).await;
    let mut ann = wharf.connect("/limited").await;
    // Two limits with names of one byte would take 260 bytes.
    assert!(takes(&mut ann, of_channel("a", 9)).await);
    for (order, code) in [
        (of_channel("a", 0), "rate-limit-invalid"),
        (of_channel("", 1), "rate-limit-name-invalid"),
        (of_channel("b", 1), "too-many-rate-limits"),
    ] {
        assert_eq!(ann.ask_json(order).await["code"], "INTERNAL_ERROR");
        let is_told = |line: &Line| line.str("error").contains(&format!("({code})"));
        let line = wharf.log.wait_for(code, is_told).await;
        assert_eq!(line.str("level"), "WARN", "{line}");
    }
    assert!(takes(&mut ann, of_channel("a", 9)).await, "a known one needs no more room");
}
