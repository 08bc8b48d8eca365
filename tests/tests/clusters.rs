//! Several hosts that are one, with a real engine between: what one host alone cannot show, such as hosts and engines
//! that are killed, and hosts without members. What several hosts do like one is shown by the tests of `front_door`,
//! which run on both.
//!
//! `cargo xtask test` finds or installs the servers that these tests need; the tests are ignored without.

use std::time::{Duration, Instant};

use wharf_tests::cluster::{Cluster, Engine, NODE_TIMEOUT};
use wharf_tests::script::perform;
use wharf_tests::{Client, Line, Value, Wharf, eventually, folder, json};

/// Makes a test of each function for each engine.
macro_rules! on_each_engine {
    ($($test:ident)*) => {
        mod redis {
            $(#[tokio::test]
            #[ignore = "needs a server of Redis"]
            async fn $test() {
                super::$test("redis").await;
            })*
        }
        mod nats {
            $(#[tokio::test]
            #[ignore = "needs a server of NATS"]
            async fn $test() {
                super::$test("nats").await;
            })*
        }
    };
}

mod cluster_api;
mod cluster_chaos;
mod cluster_deploys;
mod cluster_history;
mod cluster_rooms;

on_each_engine! {
    presence_is_one_list_and_has_no_ghosts_of_a_killed_node
    counts_of_rooms_are_those_of_all_nodes
    members_of_all_nodes_are_listed_in_pages
    the_store_is_one_for_all_nodes_and_outlives_them
    local_traffic_goes_on_while_the_engine_is_gone_and_the_rest_comes_back_with_it
    what_the_engine_has_no_room_for_is_refused_and_reaches_nobody
    a_node_that_leaves_is_gone_at_once_and_a_killed_one_after_the_timeout
    a_host_that_hears_much_and_says_nothing_is_not_given_up
    messages_for_rooms_that_keep_them_reach_every_node
    a_name_that_two_hosts_have_is_told_of
    a_start_without_an_engine_waits_for_it_or_fails
}

async fn id(client: &mut Client) -> String {
    let answer = client.ask_json(json!({ "do": "id" })).await;
    answer["id"].as_str().expect("an id").to_owned()
}

fn broadcast(rooms: &[&str], text: &str) -> Value {
    json!({ "do": "broadcast", "rooms": rooms, "text": text, "skip": false })
}

/// Reads changes of a presence list until it has exactly these keys.
async fn list_becomes(client: &mut Client, list: &mut Vec<String>, expected: &[&str]) {
    while *list != expected {
        let message = client.json().await;
        match message["type"].as_str() {
            Some("presence_state") => {
                let present = message["present"].as_object().expect("a list");
                *list = present.keys().cloned().collect();
            }
            Some("presence_diff") => {
                list.extend(message["joins"].as_object().expect("joins").keys().cloned());
                let leaves = message["leaves"].as_array().expect("leaves");
                list.retain(|key| !leaves.iter().any(|left| left == key.as_str()));
            }
            _ => continue,
        }
        list.sort();
        list.dedup();
    }
}

async fn presence_is_one_list_and_has_no_ghosts_of_a_killed_node(engine: &str) {
    let mut cluster = Cluster::start(engine, &["scripted"], 3).await;
    let mut ann = cluster.enter(0, "ann", "hall").await;
    let mut bob = cluster.enter(1, "bob", "hall").await;
    let mut eve = cluster.enter(2, "eve", "hall").await;
    for client in [&mut ann, &mut bob, &mut eve] {
        perform(client, json!({ "do": "track", "room": "hall" })).await;
    }
    let mut lists = [Vec::new(), Vec::new()];
    for (client, list) in [&mut ann, &mut bob].into_iter().zip(&mut lists) {
        client.send_json(json!({ "do": "watch", "room": "hall" })).await;
        list_becomes(client, list, &["ann", "bob", "eve"]).await;
    }
    // A client that comes back to another node within the grace was never away.
    cluster.nodes[2].wharf.kill();
    for (client, list) in [&mut ann, &mut bob].into_iter().zip(&mut lists) {
        list_becomes(client, list, &["ann", "bob"]).await;
    }
    let mut eve = cluster.enter(1, "eve", "hall").await;
    perform(&mut eve, json!({ "do": "track", "room": "hall" })).await;
    list_becomes(&mut ann, &mut lists[0], &["ann", "bob", "eve"]).await;
    perform(&mut bob, json!({ "do": "leave", "room": "hall" })).await;
    list_becomes(&mut ann, &mut lists[0], &["ann", "eve"]).await;
}

async fn counts_of_rooms_are_those_of_all_nodes(engine: &str) {
    let cluster = Cluster::start(engine, &["rooms"], 2).await;
    let mut ann = cluster.connect(0, "/rooms?join=red").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(cluster.connect(1, "/rooms?join=red").await);
    }
    let count = json!({ "do": "count", "room": "red" });
    cluster.becomes(&mut ann, count.clone(), json!({ "count": 4 })).await;
    // A node without a member in the room asks.
    others.pop();
    let mut outside = cluster.connect(0, "/rooms").await;
    cluster.becomes(&mut outside, count.clone(), json!({ "count": 3 })).await;
    ann.ask_json(json!({ "do": "leave", "room": "red" })).await;
    cluster.becomes(&mut outside, count, json!({ "count": 2 })).await;
}

async fn members_of_all_nodes_are_listed_in_pages(engine: &str) {
    let cluster = Cluster::start(engine, &["rooms", "users"], 3).await;
    let mut members = Vec::new();
    for at in 0..7 {
        members.push(cluster.connect(at % 3, "/rooms?join=red").await);
    }
    let mut ids = Vec::new();
    for member in &mut members {
        ids.push(id(member).await);
    }
    ids.sort();
    let list = json!({ "do": "members", "room": "red" });
    cluster.becomes(&mut members[0], list.clone(), json!({ "members": ids })).await;
    let mut outside = cluster.connect(1, "/rooms").await;
    cluster.becomes(&mut outside, list, json!({ "members": ids })).await;
    // A user's connections, from a node that has none of them.
    let mut phone = cluster.connect(0, "/users?user=ann").await;
    let mut laptop = cluster.connect(1, "/users?user=ann").await;
    let mut of_ann = [phone.ask("id").await, laptop.ask("id").await];
    of_ann.sort();
    let mut bob = cluster.connect(2, "/users?user=bob").await;
    let listed = async || (bob.ask("connections ann").await == of_ann.join(" ")).then_some(());
    eventually("the connections of ann to be listed", listed).await;
}

async fn the_store_is_one_for_all_nodes_and_outlives_them(engine: &str) {
    const TIMES: u64 = 40;
    let mut cluster = Cluster::start(engine, &["scripted"], 2).await;
    let increment = json!({ "do": "increment", "milliseconds": 3_600_000 });
    let mut counting = Vec::new();
    for node in [0, 1, 1] {
        let mut client = cluster.enter(node, &format!("counter-{}", counting.len()), "yard").await;
        let increment = increment.clone();
        counting.push(tokio::spawn(async move {
            for _ in 0..TIMES {
                assert!(perform(&mut client, increment.clone()).await.is_u64());
            }
        }));
    }
    for task in counting {
        task.await.expect("it counts");
    }
    for node in &mut cluster.nodes {
        node.wharf.kill();
        node.start_again(&[]).await;
    }
    // They are in no cluster now, and have a store of their own.
    let mut alone = cluster.enter(0, "ann", "yard").await;
    assert_eq!(perform(&mut alone, increment.clone()).await, 1);
    cluster.add(folder(&["scripted"])).await;
    let mut ann = cluster.enter(2, "ann", "yard").await;
    assert_eq!(perform(&mut ann, increment).await, 3 * TIMES + 1);
}

async fn local_traffic_goes_on_while_the_engine_is_gone_and_the_rest_comes_back_with_it(
    engine: &str,
) {
    let cluster = Cluster::start(engine, &["rooms"], 2).await;
    let mut ann = cluster.connect(0, "/rooms?join=red").await;
    let mut bob = cluster.connect(1, "/rooms?join=red").await;
    ann.send_json(broadcast(&["red"], "before")).await;
    assert_eq!((ann.text().await, bob.text().await), ("before".into(), "before".into()));
    cluster.engine.server().kill();
    for node in &cluster.nodes {
        let lost = "not ready, other hosts of the cluster are not reached";
        node.wharf.readiness_becomes(503, lost).await;
        let mut raw = node.wharf.raw().await;
        raw.request("GET /readyz?exclude=engine", &[]).await;
        assert_eq!(raw.answer().await.status, 200, "clients of the host are served");
    }
    ann.send_json(broadcast(&["red"], "meanwhile")).await;
    assert_eq!(ann.text().await, "meanwhile");
    // A newcomer waits for nothing, and its room is subscribed to later.
    let mut eve = cluster.connect(1, "/rooms?join=blue").await;
    cluster.engine.server().restart();
    for node in &cluster.nodes {
        node.wharf.readiness_becomes(200, "ready").await;
    }
    let mut ann_in_blue = cluster.connect(0, "/rooms").await;
    let arrives = async || {
        ann_in_blue.send_json(broadcast(&["red", "blue"], "after")).await;
        ann_in_blue.send_json(broadcast(&["blue"], "after")).await;
        let heard = tokio::time::timeout(std::time::Duration::from_millis(200), eve.text()).await;
        heard.ok()
    };
    assert_eq!(eventually("the engine to carry messages", arrives).await, "after");
    ann.send_json(broadcast(&["red"], "last")).await;
    loop {
        let text = bob.text().await;
        if text == "last" {
            break;
        }
        assert!(["meanwhile", "after"].contains(&&*text), "{text}");
    }
}

async fn what_the_engine_has_no_room_for_is_refused_and_reaches_nobody(engine: &str) {
    let cluster = Cluster::start(engine, &["rooms"], 2).await;
    let mut ann = cluster.connect(0, "/rooms?join=red").await;
    let mut bob = cluster.connect(0, "/rooms?join=red").await;
    let mut eve = cluster.connect(1, "/rooms?join=red").await;
    cluster.engine.server().pause(true);
    let lost = "not ready, other hosts of the cluster are not reached";
    cluster.nodes[0].wharf.readiness_becomes(503, lost).await;
    let mut refused = Value::Null;
    for _ in 0..1_000 {
        refused = ann.ask_json(json!({ "do": "effects", "count": 1, "bytes": 400_000 })).await;
        if refused != "recorded" {
            break;
        }
    }
    assert_eq!(
        (&refused["refused"], &refused["remedy"]),
        (&json!("cluster-queue-full"), &json!("RetryLater"))
    );
    let large = broadcast(&["red"], &"x".repeat(500_000));
    for order in
        [large, json!({ "do": "broadcast_to_all", "text": "x".repeat(500_000), "skip": false })]
    {
        assert_eq!(ann.ask_json(order).await["refused"], "cluster-queue-full");
    }
    // Messages that reach no others go on.
    ann.send_json(json!({ "do": "send", "text": "y".repeat(500_000) })).await;
    assert_eq!(ann.text().await.len(), 500_000);
    cluster.engine.server().pause(false);
    for node in &cluster.nodes {
        node.wharf.readiness_becomes(200, "ready").await;
    }
    let heard = eventually("messages to get through", async || {
        ann.send_json(broadcast(&["red"], "after")).await;
        let heard = tokio::time::timeout(Duration::from_millis(200), eve.text()).await;
        heard.ok()
    });
    assert_eq!(heard.await, "after");
    assert_eq!((ann.text().await, bob.text().await), ("after".into(), "after".into()));
}

async fn a_node_that_leaves_is_gone_at_once_and_a_killed_one_after_the_timeout(engine: &str) {
    let mut cluster = Cluster::start(engine, &["rooms"], 3).await;
    let (status, found) = cluster.nodes[0].nodes().await;
    assert_eq!(status, 200, "{found}");
    let nodes = found["nodes"].as_array().expect("nodes");
    let mut names: Vec<_> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["node-0", "node-1", "node-2"]);
    assert_eq!(nodes[0]["name"], "node-0", "the one that answers is the first");
    let start = cluster.nodes[0].wharf.log.len();
    cluster.nodes[2].wharf.signal("TERM");
    assert!(cluster.nodes[2].wharf.stopped().await.status.success());
    let left = |line: &Line| line.says("node has left");
    cluster.nodes[0].wharf.log.wait_for_after(start, "the goodbye", left).await;
    cluster.nodes[1].wharf.kill();
    let silent = |line: &Line| line.says("node was silent for too long and is given up");
    cluster.nodes[0].wharf.log.wait_for_after(start, "the silence", silent).await;
    cluster.settled().await;
    let (_, alone) = cluster.nodes[0].nodes().await;
    assert_eq!(alone["nodes"].as_array().map(Vec::len), Some(1), "{NODE_TIMEOUT} ms: {alone}");
}

async fn a_host_that_hears_much_and_says_nothing_is_not_given_up(engine: &str) {
    let cluster = Cluster::start(engine, &["rooms"], 3).await;
    let mut ann = cluster.connect(0, "/rooms?join=red").await;
    let mut bob = cluster.connect(1, "/rooms?join=red").await;
    let begun = Instant::now();
    let mut number = 0;
    // Without pauses in which it could think of others.
    while begun.elapsed() < 2 * Duration::from_millis(NODE_TIMEOUT) {
        ann.send_json(broadcast(&["red"], &number.to_string())).await;
        assert_eq!(ann.text().await, number.to_string());
        assert_eq!(bob.text().await, number.to_string());
        number += 1;
    }
    for node in &cluster.nodes {
        let given_up = node.wharf.log.find(|line| line.begins("node was silent"));
        assert!(given_up.is_empty(), "after {number} messages: {given_up:?}");
    }
}

async fn messages_for_rooms_that_keep_them_reach_every_node(engine: &str) {
    let kept = "channels.rooms.history = { rooms = \"kept*\", messages = 10 }";
    let cluster = Cluster::start_with(engine, &["rooms"], kept, 2).await;
    let mut ann = cluster.connect(0, "/rooms?join=kept").await;
    let mut bob = cluster.connect(1, "/rooms?join=kept").await;
    bob.ask_json(json!({ "do": "join", "room": "kept too" })).await;
    for (rooms, text) in [(&["kept"][..], "one"), (&["kept", "kept too", "other"], "several")] {
        ann.send_json(broadcast(rooms, text)).await;
        assert_eq!(ann.text().await, text);
        assert_eq!(bob.text().await, text);
    }
    let count = json!({ "do": "count", "room": "kept" });
    cluster.becomes(&mut ann, count, json!({ "count": 2 })).await;
}

async fn a_name_that_two_hosts_have_is_told_of(engine: &str) {
    let cluster = Cluster::start(engine, &["echo"], 1).await;
    let flags = cluster.engine.flags("node-0");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let second = Wharf::start_in(folder(&["echo"]), &flags).await;
    for wharf in [&cluster.nodes[0].wharf, &second] {
        let told = |line: &Line| line.begins("another host of the cluster has the name");
        wharf.log.wait_for("the line about the name", told).await;
        wharf.readiness_becomes(503, "not ready, other hosts of the cluster are not reached").await;
    }
}

async fn a_start_without_an_engine_waits_for_it_or_fails(engine: &str) {
    let engine = Engine::start(engine);
    engine.server().kill();
    let flags = engine.flags("late");
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.push("--start-without-engine fail");
    let place = folder(&["echo"]);
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--plugins", "plugins"];
    arguments.extend(flags.iter().flat_map(|flag| flag.split(' ')));
    let ended = wharf_tests::run_in(place.path(), &arguments, &[]);
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{text}");
    assert!(text.contains("the engine of the cluster cannot be used: "), "{text}");
    flags.pop();
    let waiting = Wharf::start_early(folder(&["echo"]), &flags).await;
    let told = |line: &Line| line.says("waiting for the engine of the cluster");
    waiting.log.wait_for("the line about the engine", told).await;
    engine.server().restart();
    waiting.readiness_becomes(200, "ready").await;
}
