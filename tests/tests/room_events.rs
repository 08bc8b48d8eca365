//! Events of rooms: one at a time, with state that the host keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wharf_tests::artefacts::component;
use wharf_tests::{Line, Operated, Setup, Wharf, eventually, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    concurrent_posts_of_a_hundred_connections_lose_nothing_and_all_see_one_order
    a_failed_room_event_is_undone_and_the_next_goes_on
    a_handler_that_fails_has_posted_nothing
    a_rooms_state_survives_reloads_under_load
    the_state_of_an_empty_room_is_forgotten_after_the_grace_and_not_before
}

fn add(room: &str, amount: i64) -> wharf_tests::Value {
    json!({ "do": "post", "room": room, "add": amount })
}

fn text(room: &str, text: &str) -> wharf_tests::Value {
    json!({ "do": "post_text", "room": room, "text": text })
}

/// Returns the next broadcast that has a sum, and skips answers to posts.
async fn sum(client: &mut wharf_tests::Client) -> wharf_tests::Value {
    loop {
        let message = client.json().await;
        if message.get("sum").is_some() {
            return message;
        }
    }
}

async fn concurrent_posts_of_a_hundred_connections_lose_nothing_and_all_see_one_order(
    setup: Setup,
) {
    const CLIENTS: usize = 100;
    const POSTS: usize = 20;
    let hosts = setup.start(&["posts"], &["--workers 4", "--room-inbox-events 10000"]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(hosts.connect(number, "/posts/sum").await);
    }
    for client in &mut clients {
        for _ in 0..POSTS {
            client.feed(add("sum", 1).to_string()).await;
        }
    }
    let listeners = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.flush().await;
            for event in 1..=CLIENTS * POSTS {
                let seen = sum(&mut client).await;
                assert_eq!((&seen["sum"], &seen["events"]), (&json!(event), &json!(event)));
            }
        })
    });
    for listener in listeners.collect::<Vec<_>>() {
        listener.await.expect("a listener");
    }
}

async fn a_failed_room_event_is_undone_and_the_next_goes_on(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut other = hosts.connect(1, "/posts/a").await;
    let mut client = hosts.connect(0, "/posts/a").await;
    // The room's events run where the first of them was posted.
    other.send_json(add("a", 5)).await;
    assert_eq!(sum(&mut client).await["sum"], 5);
    for (what, why) in
        [("panic", "told to"), ("fail", "told to fail"), ("grow", "room-state-too-big")]
    {
        assert_eq!(client.ask_json(text("a", what)).await["result"], "ok");
        let line = hosts.line(what, |line| line.text.contains(why)).await;
        assert!(line.text.contains("posts"), "{line}");
    }
    let failed = |line: &Line| line.says("guest call failed") || line.says("handler failed");
    let failures = hosts.lines(failed);
    let rooms: Vec<_> = failures.iter().map(|line| line.str("room")).collect();
    assert_eq!(rooms, ["a"; 3], "each failure names its room");
    client.send_json(add("a", 1)).await;
    let seen = sum(&mut client).await;
    assert_eq!((&seen["sum"], &seen["events"]), (&json!(6), &json!(2)), "and no other broadcast");
}

async fn a_handler_that_fails_has_posted_nothing(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut client = hosts.connect(0, "/posts/a").await;
    let answer = client.ask_json(json!({ "do": "post_then_fail", "room": "a", "add": 7 })).await;
    assert_eq!(answer["code"], "INTERNAL_ERROR");
    hosts.settle().await;
    let mut other = hosts.connect(1, "/posts/a").await;
    other.send_json(add("a", 1)).await;
    assert_eq!(sum(&mut client).await["events"], 1);
}

#[tokio::test]
async fn a_rooms_inbox_is_bounded_and_posts_that_cause_each_other_end() {
    let flags = ["--room-inbox-events 5", "--max-room-states 2", "--max-payload-bytes 100"];
    let wharf = Wharf::start(&["posts"], &flags).await;
    let mut client = wharf.connect("/posts/a").await;
    let many = json!({ "do": "post_times", "room": "b", "add": 1, "times": 9 });
    assert_eq!(client.ask_json(many).await, json!({ "accepted": 5, "result": "inbox-full" }));
    assert_eq!(client.ask_json(text("a", &"x".repeat(200))).await["result"], "payload-too-big");
    assert_eq!(client.ask_json(add("", 1)).await["result"], "room-name-invalid");
    client.send_json(text("a", "loop")).await;
    let end = loop {
        let message = client.json().await;
        if message.get("refused").is_some() {
            break message;
        }
    };
    assert_eq!(end, json!({ "refused": "too-many-hops", "events": 16 }));
    assert_eq!(client.ask_json(add("c", 1)).await["result"], "too-many-room-states");
}

#[tokio::test]
async fn what_waits_for_all_rooms_of_a_channel_is_bounded_together() {
    let flags = ["--max-channel-inbox-bytes 100", "--max-payload-bytes 100"];
    let wharf = Wharf::start(&["posts"], &flags).await;
    let mut client = wharf.connect("/posts/a").await;
    let many = json!({ "do": "post_times", "room": "b", "add": 1, "times": 50 });
    let answer = client.ask_json(many.clone()).await;
    assert_eq!(answer["result"], "inbox-full");
    let accepted = answer["accepted"].as_u64().expect("a number");
    assert!((1..50).contains(&accepted), "{accepted}");
    // Events that were handled no longer wait, so as many fit again.
    eventually("as many to fit again", async || {
        let answer = client.ask_json(many.clone()).await;
        (answer["accepted"] == accepted).then_some(())
    })
    .await;
}

async fn a_rooms_state_survives_reloads_under_load(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut other = hosts.connect(0, "/posts/a").await;
    other.send_json(add("a", 0)).await;
    assert_eq!(sum(&mut other).await["events"], 1);
    // The room's events run on the other host from now on, if there is one.
    hosts.settle().await;
    let mut poster = hosts.connect(1, "/posts/a").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn({
        let is_over = is_over.clone();
        async move {
            let mut generations = vec![];
            while !is_over.load(Ordering::SeqCst) {
                poster.send_json(add("a", 1)).await;
                let seen = sum(&mut poster).await;
                generations.push(seen["generation"].as_u64().expect("a generation"));
                assert_eq!(seen["sum"], generations.len(), "nothing lost, nothing twice");
            }
            generations
        }
    });
    let bytes = component("posts");
    for reload in 1..=3 {
        // A custom section at the end makes other bytes of the same code.
        let mut other = bytes.clone();
        other.extend_from_slice(&[0, 3, 1, b'x', reload]);
        hosts.swap("posts", &other).await;
    }
    is_over.store(true, Ordering::SeqCst);
    let generations = posting.await.expect("posting");
    assert!(generations.is_sorted());
    assert!(generations.first() < generations.last(), "reloads fell in between: {generations:?}");
}

async fn the_state_of_an_empty_room_is_forgotten_after_the_grace_and_not_before(setup: Setup) {
    let hosts = setup.start(&["posts"], &["--room-state-grace-ms 300"]).await;
    let mut member = hosts.connect(0, "/posts/a").await;
    let mut other = hosts.connect(1, "/posts/b").await;
    member.send_json(add("a", 5)).await;
    assert_eq!(sum(&mut member).await["sum"], 5);
    // The room has a member, so its state is kept for longer than the grace.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        other.ask_json(json!({ "do": "ask" })).await;
    }
    member.send_json(add("a", 1)).await;
    assert_eq!(sum(&mut member).await["sum"], 6);
    member.close(1000, "").await;
    // A forgotten state begins with the default. Each question makes the room active again, so each
    // attempt waits.
    eventually("the state to be forgotten", async || {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let mut member = hosts.connect(1, "/posts/a").await;
        member.send_json(add("a", 1)).await;
        let seen = sum(&mut member).await;
        member.close(1000, "").await;
        (seen["sum"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_that_has_waited_for_its_turn_sees_the_state_that_an_operator_has_reset_meanwhile()
{
    let flags = [
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--wall-budget-ms 60000",
        "--instance-wait-ms 300",
    ];
    let it = Operated::start(&["operated"], &flags).await;
    let mut member = it.wharf.connect("/operated?join=a").await;
    let add = async |number: u32| {
        let (status, _) =
            it.post("/operated/rooms/a/post", json!({ "event": { "add": number } })).await;
        assert_eq!(status, 202);
    };
    add(5).await;
    assert_eq!(member.json().await["sum"], 5);
    let busy = async {
        let wait = json!({ "do": "wait", "ms": 5000 });
        assert_eq!(it.post("/operated/messages", wait).await, (200, json!("waited")));
    };
    let meanwhile = async {
        it.wharf.log.wait_for("the only instance to be taken", |line| line.says("waiting")).await;
        add(1).await;
        let waits = |line: &Line| {
            line.begins("no free instance within") && line.str("event") == "on-room-event"
        };
        it.wharf.log.wait_for("the event to wait", waits).await;
        let reset = it.post("/operated/rooms/a/reset", json!({})).await;
        assert_eq!(reset, (200, json!({ "reset": 1 })));
    };
    tokio::join!(busy, meanwhile);
    assert_eq!(member.json().await["sum"], 1);
}
