//! Timers of connections, rooms and channels.

use std::time::{Duration, Instant};

use wharf_tests::artefacts::component;
use wharf_tests::{Ended, Setup, Value, Wharf, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    timers_of_rooms_and_of_the_channel_reach_whom_they_concern
    timers_of_the_channel_and_of_connections_survive_a_reload
}

fn after(of: Value, name: &str, after_ms: u64, payload: &str) -> Value {
    json!({ "do": "timer", "of": of, "name": name, "after_ms": after_ms, "payload": payload })
}

fn every(of: Value, name: &str, every_ms: u64) -> Value {
    json!({ "do": "timer", "of": of, "name": name, "every_ms": every_ms, "payload": "again" })
}

fn cancel(of: Value, name: &str) -> Value {
    json!({ "do": "cancel", "of": of, "name": name })
}

#[tokio::test]
async fn a_timer_fires_once_not_too_early_and_with_what_it_was_given() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut client = wharf.connect("/posts/a").await;
    let begun = Instant::now();
    assert_eq!(client.ask_json(after(json!("me"), "late", 200, "two")).await["result"], "ok");
    assert_eq!(client.ask_json(after(json!("me"), "soon", 100, "one")).await["result"], "ok");
    assert_eq!(client.json().await, json!({ "timer": "soon", "payload": "one", "of": "me" }));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(client.json().await, json!({ "timer": "late", "payload": "two", "of": "me" }));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // Neither fires again before one that is set later.
    client.ask_json(after(json!("me"), "last", 250, "three")).await;
    assert_eq!(client.json().await["timer"], "last");
}

#[tokio::test]
async fn setting_a_timer_again_replaces_it_and_cancelling_ends_it() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut client = wharf.connect("/posts/a").await;
    client.ask_json(after(json!("me"), "one", 50, "old")).await;
    client.ask_json(after(json!("me"), "one", 100, "new")).await;
    client.ask_json(after(json!("me"), "two", 50, "cancelled")).await;
    client.ask_json(cancel(json!("me"), "two")).await;
    assert_eq!(client.ask_json(cancel(json!("me"), "no such")).await["result"], "ok");
    assert_eq!(client.json().await["payload"], "new");
    client.ask_json(after(json!("me"), "three", 50, "last")).await;
    assert_eq!(client.json().await["payload"], "last");
}

#[tokio::test]
async fn a_repeating_timer_goes_on_until_it_is_cancelled() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut client = wharf.connect("/posts/a").await;
    client.ask_json(every(json!("me"), "often", 20)).await;
    for _ in 0..5 {
        assert_eq!(client.json().await["timer"], "often");
    }
    client.send_json(cancel(json!("me"), "often")).await;
    loop {
        let message = client.json().await;
        if message["result"] == "ok" {
            break;
        }
        assert_eq!(message["timer"], "often");
    }
    client.ask_json(after(json!("me"), "end", 100, "")).await;
    assert_eq!(client.json().await["timer"], "end", "none came after it was cancelled");
}

#[tokio::test]
async fn firings_that_are_missed_are_left_out() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut client = wharf.connect("/posts/a").await;
    let id = client.ask_json(json!({ "do": "who" })).await["id"].clone();
    client.ask_json(every(json!("me"), "often", 20)).await;
    // The handler is busy for as long as many firings. They become one when it is over.
    let begun = Instant::now();
    client.send_json(json!({ "do": "notify", "to": id, "what": { "wait": 600 } })).await;
    let mut fired = 0;
    while begun.elapsed() < Duration::from_millis(600) {
        fired += usize::from(client.json().await.get("timer").is_some());
    }
    assert!(fired < 15, "{fired} firings in 600 ms of which the handler was busy nearly all");
}

async fn timers_of_rooms_and_of_the_channel_reach_whom_they_concern(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/b").await;
    ann.ask_json(after(json!({ "room": "b" }), "t", 30, "hi")).await;
    assert_eq!(bob.json().await, json!({ "timer": "t", "payload": "hi", "of": "room", "sum": 0 }));
    ann.ask_json(every(json!("channel"), "t", 50)).await;
    for client in [&mut ann, &mut bob] {
        for _ in 0..2 {
            assert_eq!(client.json().await["of"], "channel");
        }
    }
}

async fn timers_of_the_channel_and_of_connections_survive_a_reload(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut client = hosts.connect(0, "/posts/a").await;
    client.ask_json(every(json!("channel"), "tick", 50)).await;
    client.ask_json(after(json!("me"), "mine", 1500, "survived")).await;
    let mut other = component("posts");
    other.extend_from_slice(&[0, 3, 1, b'x', 1]);
    hosts.swap("posts", &other).await;
    let (mut ticked_on_new_code, mut fired) = (false, false);
    while !(ticked_on_new_code && fired) {
        let message = client.json().await;
        ticked_on_new_code |= message["generation"] == 2;
        fired |= message["payload"] == "survived";
    }
}

#[tokio::test]
async fn a_connections_timers_go_with_it() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut ann = wharf.connect("/posts/a").await;
    let mut bob = wharf.connect("/posts/b").await;
    ann.ask_json(every(json!("me"), "often", 10)).await;
    ann.close(1000, "").await;
    // If it were still called, its effects would fail, with a line in the log.
    bob.ask_json(after(json!("me"), "later", 200, "")).await;
    assert_eq!(bob.json().await["timer"], "later");
    let failed = wharf.log.find(|line| line.text.contains("failed"));
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn a_trap_in_a_timer_ends_its_connection() {
    let wharf = Wharf::start(&["posts"], &[]).await;
    let mut ann = wharf.connect("/posts/a").await;
    ann.ask_json(after(json!("me"), "bad", 10, "panic")).await;
    assert_eq!(ann.close_code().await, 1011);
}

#[tokio::test]
async fn what_is_wrong_with_a_timer_is_said() {
    let wharf =
        Wharf::start(&["posts"], &["--max-timers-per-connection 3", "--max-payload-bytes 100"])
            .await;
    let mut client = wharf.connect("/posts/a").await;
    let year = 367 * 24 * 60 * 60 * 1000;
    for (timer, code) in [
        (after(json!("me"), "", 1, ""), "timer-name-invalid"),
        (after(json!("me"), &"n".repeat(65), 1, ""), "timer-name-invalid"),
        (after(json!("me"), "t", year, ""), "timer-interval-invalid"),
        (every(json!("me"), "t", 9), "timer-interval-invalid"),
        (after(json!("me"), "t", 1, &"p".repeat(200)), "payload-too-big"),
        (after(json!({ "room": "" }), "t", 1, ""), "room-name-invalid"),
    ] {
        assert_eq!(client.ask_json(timer.clone()).await["result"], code, "{timer}");
    }
    // All timers of one event count, also those that are not yet committed.
    assert_eq!(
        client.ask_json(json!({ "do": "timers", "count": 4 })).await["result"],
        "too-many-timers"
    );
    assert_eq!(client.ask_json(json!({ "do": "timers", "count": 3 })).await["result"], "ok");
    assert_eq!(
        client.ask_json(after(json!("me"), "one more", 1, "")).await["result"],
        "too-many-timers"
    );
    assert_eq!(
        client.ask_json(json!({ "do": "timers", "count": 3 })).await["result"],
        "ok",
        "replaced"
    );
}

#[tokio::test]
async fn the_timers_of_a_removed_plugin_are_gone() {
    let wharf = Wharf::start(&["posts", "echo"], &["--removal-grace-ms 50"]).await;
    let mut client = wharf.connect("/posts/a").await;
    client.ask_json(every(json!("channel"), "tick", 20)).await;
    assert_eq!(client.json().await["timer"], "tick");
    std::fs::remove_file(wharf.plugin("posts")).expect("the plugin is removed");
    let (_, ended) = client.rest().await;
    assert_eq!(ended, Ended::Closed(1001, "removed".to_owned()));
    // The same plugin comes back, without the timers that it had set before.
    wharf.swap("posts", &component("posts")).await;
    let mut client = wharf.connect("/posts/a").await;
    client.ask_json(after(json!("me"), "mine", 200, "")).await;
    assert_eq!(client.json().await["timer"], "mine", "and not the channel's");
}

#[tokio::test]
async fn a_timer_that_is_set_while_a_removed_channel_ends_does_not_make_its_room_deaf() {
    // Looks at removed channels come each half of the grace.
    let flags = ["--removal-grace-ms 10", "--room-state-grace-ms 20"];
    let wharf = Wharf::start(&["posts", "echo"], &flags).await;
    let mut client = wharf.connect("/posts/a?leaves_after_ms=1000").await;
    std::fs::remove_file(wharf.plugin("posts")).expect("the plugin is removed");
    let (_, ended) = client.rest().await;
    assert_eq!(ended, Ended::Closed(1001, "removed".to_owned()));
    wharf.log.wait_for("its on_close", |line| line.says("timers are set at the end")).await;
    // The timers fall due while nothing is there that could handle them.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    wharf.swap("posts", &component("posts")).await;
    let mut client = wharf.connect("/posts/a").await;
    client.send_json(json!({ "do": "post", "room": "a", "add": 7 })).await;
    while client.json().await["sum"] != 7 {}
    client.send_json(after(json!("channel"), "mine", 1, "")).await;
    let fired = loop {
        let message = client.json().await;
        if message.get("timer").is_some() {
            break message;
        }
    };
    assert_eq!(fired["timer"], "mine", "and not one of before");
}
