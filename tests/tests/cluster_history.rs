//! One history for each room of a cluster: the order of all its messages, clients that change hosts, gaps that hosts
//! close, and engines that fail or forget.

use std::time::Duration;

use wharf_test_servers::redis::command;
use wharf_tests::cluster::Cluster;
use wharf_tests::script::{enter, perform};
use wharf_tests::{Ended, Reader, Value, eventually, json};

on_each_engine! {
    all_members_on_all_hosts_see_one_order_of_all_senders
    a_client_that_changes_hosts_gets_what_it_has_missed_or_is_told_why_not
    a_host_that_never_had_a_member_has_the_history
    who_joins_and_speaks_in_one_event_hears_itself_once
    a_broadcast_to_several_rooms_reaches_a_member_of_all_of_them_once
    a_host_that_misses_messages_delivers_them_in_their_order
    nothing_leaves_while_the_engine_refuses
    an_engine_that_comes_back_goes_on_or_begins_a_new_epoch
}

const RULES: &str = r#"
    [channels.scripted]
    history = [
        { rooms = "red", messages = 50 },
        { rooms = "short", messages = 3 },
        { rooms = "new*", recovery = "newest" },
        { rooms = "last", messages = 100, newcomers = 2 },
    ]
    [channels.rooms]
    history = { rooms = "kept*", messages = 10000, bytes = 8388608 }
    "#;

async fn cluster(engine: &str, nodes: usize) -> Cluster {
    Cluster::start_with(engine, &["rooms", "scripted"], RULES, nodes).await
}

/// Broadcasts to a room from a host, as a connection of its own.
async fn broadcast(cluster: &Cluster, node: usize, room: &str, times: usize) {
    let mut sender = enter(&cluster.nodes[node].wharf, "sender").await;
    for _ in 0..times {
        assert_eq!(perform(&mut sender, json!({ "do": "broadcast", "room": room })).await, "ok");
    }
    sender.close(1000, "").await;
}

fn to_rooms(rooms: &[&str], text: &str) -> Value {
    json!({ "do": "broadcast", "rooms": rooms, "text": text, "skip": false })
}

async fn all_members_on_all_hosts_see_one_order_of_all_senders(engine: &str) {
    const MESSAGES: usize = 100;
    let cluster = cluster(engine, 3).await;
    let mut listeners = Vec::new();
    for node in 0..3 {
        listeners.push(cluster.connect(node, "/rooms?join=kept").await);
    }
    // Members and others, on two hosts at the same time.
    let mut senders = Vec::new();
    for (number, node) in [0, 0, 1, 1].into_iter().enumerate() {
        let path = if number % 2 == 0 { "/rooms?join=kept" } else { "/rooms" };
        let mut client = cluster.connect(node, path).await;
        senders.push(tokio::spawn(async move {
            for message in 0..MESSAGES {
                client.feed(to_rooms(&["kept"], &format!("{number} {message}")).to_string()).await;
            }
            client.flush().await;
            client
        }));
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    for listener in &mut listeners {
        let mut of_listener = Vec::new();
        while of_listener.len() < 4 * MESSAGES {
            of_listener.push(listener.text().await);
        }
        seen.push(of_listener);
    }
    assert!(seen.iter().all(|of_listener| *of_listener == seen[0]), "one order for all");
    for number in 0..4 {
        let own = format!("{number} ");
        let of_sender = seen[0].iter().filter_map(|text| text.strip_prefix(&own));
        let of_sender: Vec<usize> = of_sender.map(|text| text.parse().expect("it is")).collect();
        assert_eq!(of_sender, (0..MESSAGES).collect::<Vec<_>>(), "sender {number}");
    }
    // A newcomer on another host reads the same.
    let (_, page) = cluster.nodes[2].get("/rooms/rooms/kept/history?limit=1000").await;
    let page = page["messages"].as_array().expect("messages");
    let kept: Vec<_> = page.iter().filter_map(|message| message["text"].as_str()).collect();
    assert_eq!(kept, seen[0].iter().map(String::as_str).collect::<Vec<_>>());
}

async fn a_client_that_changes_hosts_gets_what_it_has_missed_or_is_told_why_not(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let (here, there) = (&cluster.nodes[0].wharf, &cluster.nodes[1].wharf);
    let mut ann = Reader::join(here, "ann", "", "red").await;
    assert_eq!(ann.joined["recovered"], Value::Null, "she is new");
    let start = ann.offset;
    broadcast(&cluster, 1, "red", 2).await;
    broadcast(&cluster, 0, "red", 1).await;
    ann.read_to(start + 3).await;
    assert_eq!(ann.offsets(), [start + 1, start + 2, start + 3]);
    let at = ann.at("red");
    let (too_early, ahead) = (ann.at_offset("red", start), ann.at_offset("red", start + 99));
    ann.client.reset();
    broadcast(&cluster, 0, "red", 2).await;
    // The operator's messages are in it as well; her end tells the room, which is one more.
    let message = json!({ "rooms": ["red"], "text": "{\"step\":\"operator\"}" });
    let (status, sent) = cluster.nodes[1].post("/scripted/broadcast", message).await;
    assert_eq!(status, 200, "{sent}");
    broadcast(&cluster, 1, "red", 1).await;
    let top = start + 8;
    let is_told = async || {
        let (_, page) = cluster.nodes[0].get("/scripted/rooms/red/history").await;
        (page["top"] == top).then_some(())
    };
    eventually("the end of ann to be told", is_told).await;
    let mut open = Vec::new();
    for (node, name) in [(there, "ann"), (here, "ann-again")] {
        let mut back = Reader::join(node, name, &at, "red").await;
        back.read_to(top).await;
        assert_eq!(back.joined["recovered"], true, "{}", back.joined);
        assert_eq!(back.joined["messages"], 5);
        assert_eq!(back.offsets(), (start + 4..=top).collect::<Vec<_>>());
        assert!(back.got.iter().any(|(_, step)| step == "operator"), "{:?}", back.got);
        // Its end would be one more message.
        open.push(back);
    }
    for (asked, reason) in [(ahead, "ahead"), (format!("red,{:016x},3", 7), "new-epoch")] {
        let lost = Reader::join(there, "bob", &asked, "red").await;
        assert_eq!(
            (&lost.joined["recovered"], &lost.joined["reason"]),
            (&json!(false), &json!(reason))
        );
        assert_eq!(lost.offsets(), Vec::<u64>::new(), "all or nothing");
        open.push(lost);
    }
    let early = Reader::join(there, "eve", &too_early, "red").await;
    assert_eq!(early.joined["recovered"], true, "the room keeps all of it: {}", early.joined);
    // A room that keeps less.
    let bob = Reader::join(here, "bob", "", "short").await;
    let (early, late) = (bob.at("short"), bob.at_offset("short", bob.offset + 2));
    bob.client.reset();
    broadcast(&cluster, 1, "short", 5).await;
    let trimmed = Reader::join(there, "bob", &early, "short").await;
    assert_eq!(trimmed.joined["reason"], "trimmed", "{}", trimmed.joined);
    let is_trimmed_again = Reader::join(there, "bob", &late, "short").await;
    assert!(is_trimmed_again.joined["recovered"].is_boolean(), "{}", is_trimmed_again.joined);
}

async fn a_host_that_never_had_a_member_has_the_history(engine: &str) {
    let cluster = cluster(engine, 2).await;
    for room in ["last", "newest", "none"] {
        broadcast(&cluster, 0, room, 4).await;
    }
    let path = "/scripted/rooms/last/history";
    let offsets = |page: &Value| -> Vec<u64> {
        let messages = page["messages"].as_array().expect("messages");
        messages.iter().filter_map(|message| message["offset"].as_u64()).collect()
    };
    let (_, page) = cluster.nodes[1].get(&format!("{path}?limit=2")).await;
    assert_eq!((offsets(&page), &page["top"]), (vec![3, 4], &json!(4)), "{page}");
    assert_eq!(page["messages"][0]["json"]["how"], "room");
    assert_eq!(page["epoch"].as_str().map(str::len), Some(16));
    let (_, before) = cluster.nodes[1].get(&format!("{path}?limit=2&before=4")).await;
    assert_eq!(offsets(&before), [2, 3]);
    for (room, expected) in [("last", vec![3, 4]), ("newest", vec![4]), ("none", vec![])] {
        let mut ann = enter(&cluster.nodes[1].wharf, "ann").await;
        let read = perform(&mut ann, json!({ "do": "history", "room": room, "limit": 2 })).await;
        let read: Vec<u64> =
            read.as_array().expect("a list").iter().filter_map(|entry| entry[0].as_u64()).collect();
        let kept = if room == "none" { vec![] } else { vec![3, 4] };
        assert_eq!(read, kept, "{room}");
        ann.send_json(json!({ "do": "join", "room": room })).await;
        let mut steps = Vec::new();
        loop {
            let message = ann.json().await;
            if message.get("done").is_some() {
                break;
            }
            steps.extend(message["step"].as_u64());
        }
        assert_eq!(steps, expected, "newcomers of {room}");
        ann.close(1000, "").await;
    }
    let position = format!("newest,{:016x},1", 7);
    let reader = Reader::join(&cluster.nodes[1].wharf, "bob", &position, "newest").await;
    assert_eq!(
        (&reader.joined["recovered"], &reader.joined["messages"]),
        (&json!(true), &json!(1))
    );
}

async fn who_joins_and_speaks_in_one_event_hears_itself_once(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let mut ann = enter(&cluster.nodes[0].wharf, "ann").await;
    for (room, before) in [("red", 0), ("last", 2), ("free", 0)] {
        broadcast(&cluster, 1, room, 4).await;
        for round in 0..10 {
            ann.send_json(json!({ "do": "enter", "room": room })).await;
            let mut heard = Vec::new();
            loop {
                let message = ann.json().await;
                if message.get("done").is_some() {
                    break;
                }
                heard.push(message["how"].clone());
            }
            let own = heard.iter().filter(|how| **how == "enter").count();
            assert_eq!(heard.last(), Some(&json!("enter")), "{room} {round}");
            assert!(own <= 1 + before, "{room} {round}: {heard:?}");
            assert_eq!(heard.len(), 1 + before, "{room} {round}: {heard:?}");
            assert_eq!(perform(&mut ann, json!({ "do": "leave", "room": room })).await, "ok");
        }
    }
}

async fn a_broadcast_to_several_rooms_reaches_a_member_of_all_of_them_once(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let mut members = Vec::new();
    for node in [0, 1] {
        let mut member = cluster.connect(node, "/rooms?join=kept").await;
        for room in ["kept too", "free", "free too"] {
            member.ask_json(json!({ "do": "join", "room": room })).await;
        }
        members.push(member);
    }
    let mut sender = cluster.connect(0, "/rooms").await;
    for number in 0..20 {
        let rooms: &[&str] = match number % 4 {
            0 => &["kept", "kept too"],
            1 => &["kept", "free"],
            2 => &["free", "kept too", "free too", "kept"],
            _ => &["kept"],
        };
        sender.send_json(to_rooms(rooms, &number.to_string())).await;
        for member in &mut members {
            assert_eq!(member.text().await, number.to_string(), "{rooms:?}");
        }
    }
}

/// Has the engine lose messages to its subscribers, and keep what is in logs.
async fn disturb(cluster: &Cluster, engine: &str) {
    let server = cluster.engine.server();
    match engine {
        "redis" => {
            command(server.port, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        _ => {
            server.kill();
            server.restart();
        }
    }
}

async fn a_host_that_misses_messages_delivers_them_in_their_order(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let mut ann = Reader::join(&cluster.nodes[1].wharf, "ann", "", "red").await;
    let start = ann.offset;
    let mut plain = enter(&cluster.nodes[1].wharf, "bob").await;
    assert_eq!(perform(&mut plain, json!({ "do": "join", "room": "red" })).await, "ok");
    let mut sent = 0;
    for round in 0..4 {
        disturb(&cluster, engine).await;
        // Some of them come while the other host does not listen yet.
        while sent < (round + 1) * 10 {
            let mut sender = cluster.connect(0, "/scripted/sender").await;
            let mut broadcast = async || {
                sender
                    .try_send(json!({ "do": "broadcast", "room": "red" }).to_string().into())
                    .await;
                loop {
                    let Ok(message) = sender.message_or_end().await else { return false };
                    let text = message.into_text().unwrap_or_default();
                    if text.contains("\"done\"") {
                        return true;
                    }
                }
            };
            // The link may be down: the connection is ended then, and nothing was sent.
            while broadcast().await {
                sent += 1;
                if sent == (round + 1) * 10 {
                    break;
                }
            }
        }
    }
    // Each message has one offset and comes once, without a gap: the reader says so.
    let (_, page) = cluster.nodes[0].get("/scripted/rooms/red/history?limit=1").await;
    let top = page["top"].as_u64().expect("an offset");
    assert!(top >= start + sent, "{top}: {sent} were sent");
    ann.read_to(top).await;
    assert_eq!(ann.joined["reason"], Value::Null, "no jump: {}", ann.joined);
    assert_eq!(ann.offsets(), (start + 1..=top).collect::<Vec<_>>());
    // A member without positions gets the same messages.
    let mut of_plain = 0;
    while of_plain < top - start {
        of_plain += u64::from(plain.json().await["how"] == "room");
    }
}

async fn nothing_leaves_while_the_engine_refuses(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let mut ann = cluster.connect(0, "/rooms?join=kept").await;
    let mut bob = cluster.connect(1, "/rooms?join=kept").await;
    ann.ask_json(json!({ "do": "join", "room": "free" })).await;
    cluster.engine.server().kill();
    let mut sender = cluster.connect(0, "/rooms").await;
    // To one room that keeps messages, and one that does not: the event has failed as a whole.
    sender.send_json(to_rooms(&["free", "kept"], "never")).await;
    let ended = sender.ended().await;
    assert!(matches!(&ended, Ended::Closed(1013, _)), "{ended:?}");
    let mut sender = cluster.connect(0, "/rooms").await;
    sender.send_json(to_rooms(&["free"], "local")).await;
    assert_eq!(ann.text().await, "local");
    cluster.engine.server().restart();
    let arrives = async || {
        let mut sender = cluster.connect(0, "/rooms").await;
        sender.send_json(to_rooms(&["kept"], "after")).await;
        let heard = tokio::time::timeout(Duration::from_millis(500), bob.text()).await;
        heard.ok()
    };
    assert_eq!(eventually("the engine to carry messages", arrives).await, "after");
    assert_eq!(ann.text().await, "after");
}

async fn an_engine_that_comes_back_goes_on_or_begins_a_new_epoch(engine: &str) {
    let cluster = cluster(engine, 2).await;
    let mut ann = Reader::join(&cluster.nodes[0].wharf, "ann", "", "red").await;
    broadcast(&cluster, 1, "red", 2).await;
    let start = ann.offset;
    ann.read_to(start + 2).await;
    let (at, epoch) = (ann.at("red"), ann.epoch.clone());
    // Redis comes back without its data, and NATS with its own.
    let server = cluster.engine.server();
    if engine == "redis" {
        wharf_test_servers::redis::command(server.port, &["FLUSHALL"]);
    }
    server.kill();
    server.restart();
    let is_sent = async || {
        let message = json!({ "rooms": ["red"], "text": "{\"step\":\"operator\"}" });
        let (status, _) = cluster.nodes[1].post("/scripted/broadcast", message).await;
        (status == 200).then_some(())
    };
    eventually("a message to be sent", is_sent).await;
    ann.read_until(|reader, _| reader.got.iter().any(|(_, step)| step == "operator")).await;
    let back = Reader::join(&cluster.nodes[1].wharf, "ann", &at, "red").await;
    if engine == "redis" {
        assert_eq!(ann.joined["reason"], "new-epoch", "{}", ann.joined);
        assert_ne!(ann.epoch, epoch);
        assert_eq!(back.joined["reason"], "new-epoch", "{}", back.joined);
    } else {
        assert_eq!(ann.joined["reason"], Value::Null, "{}", ann.joined);
        assert_eq!(ann.epoch, epoch);
        assert_eq!(back.joined["recovered"], true, "{}", back.joined);
    }
    assert_eq!(back.epoch, ann.epoch, "one history on both hosts");
}
