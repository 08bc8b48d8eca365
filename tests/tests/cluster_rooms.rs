//! Rooms that one of several hosts owns: their state, their events and their timers.

use std::collections::BTreeSet;

use wharf_tests::cluster::Cluster;
use wharf_tests::script::{perform, skip_to};
use wharf_tests::{Client, Value, eventually, json};

on_each_engine! {
    events_of_a_room_run_one_after_another_wherever_they_were_posted
    a_room_goes_on_with_its_state_after_its_host_was_killed
    a_room_goes_on_with_its_state_after_its_host_has_stopped
    rooms_are_as_they_were_after_all_hosts_have_stopped
    a_timer_of_a_room_fires_once_for_all_hosts
    a_timer_fires_on_another_host_after_the_one_that_had_it_was_killed
    any_host_tells_the_operator_of_a_room_and_changes_it
    events_wait_while_the_engine_stands_still_and_none_is_lost_or_runs_twice
    a_room_moves_when_its_host_loses_the_plugin_and_loses_no_event
    the_timers_of_a_room_go_on_when_its_host_loses_the_plugin
    a_room_is_kept_while_it_has_members_on_any_host
}

fn post(room: &str) -> Value {
    json!({ "do": "post", "room": room })
}

async fn number_of(client: &mut Client, room: &str) -> u64 {
    let read = perform(client, json!({ "do": "read_room", "room": room })).await;
    read.as_u64().unwrap_or_else(|| panic!("a number of events, not {read}"))
}

/// Posts an event, and returns the number that it has in its room.
async fn posted(client: &mut Client, room: &str) -> u64 {
    perform(client, post(room)).await;
    skip_to(client, "event").await["event"].as_u64().expect("a number")
}

/// Adds the numbers of the events that a client has heard of until now; each comes once.
async fn see(client: &mut Client, seen: &mut BTreeSet<u64>) {
    client.send_json(json!({ "do": "label", "value": "here" })).await;
    loop {
        let message = client.json().await;
        if message.get("done").is_some() {
            return;
        }
        if let Some(number) = message.get("event").and_then(Value::as_u64) {
            assert!(seen.insert(number), "{number} comes once");
        }
    }
}

async fn events_of_a_room_run_one_after_another_wherever_they_were_posted(engine: &str) {
    const POSTS: u64 = 100;
    let cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    for _ in 0..POSTS {
        ann.feed(post("red").to_string()).await;
        bob.feed(post("red").to_string()).await;
    }
    ann.flush().await;
    bob.flush().await;
    let mut seen: Vec<Vec<(u64, Value, Value)>> = Vec::new();
    for client in [&mut ann, &mut bob] {
        let mut events = Vec::new();
        for _ in 0..2 * POSTS {
            let mut event = skip_to(client, "event").await;
            assert_eq!(event["sender"], true, "the connection that has posted is known");
            let number = event["event"].as_u64().expect("a number");
            events.push((number, event["from"].take(), event["user"].take()));
        }
        seen.push(events);
    }
    let numbers: Vec<u64> = seen[0].iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=2 * POSTS).collect::<Vec<u64>>(), "one at a time");
    assert_eq!(seen[0], seen[1], "one order for all");
    let of =
        |name: &str| seen[0].iter().filter(|(_, from, user)| from == name && user == name).count();
    assert_eq!((of("ann"), of("bob")), (POSTS as usize, POSTS as usize));
    for client in [&mut ann, &mut bob] {
        assert_eq!(number_of(client, "red").await, 2 * POSTS);
    }
}

async fn a_room_goes_on_with_its_state_after_its_host_was_killed(engine: &str) {
    let mut cluster = Cluster::start(engine, &["scripted"], 3).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    let mut eve = cluster.enter(2, "eve", "red").await;
    for number in 1..=3 {
        assert_eq!(posted(&mut ann, "red").await, number);
        assert_eq!(skip_to(&mut bob, "event").await["event"], number);
    }
    cluster.nodes[0].wharf.kill();
    // Events on their way to the killed host are lost. Those that the others see are in order.
    let mut seen = BTreeSet::new();
    let others_see = async || {
        perform(&mut bob, post("red")).await;
        see(&mut eve, &mut seen).await;
        (seen.len() > 4).then_some(())
    };
    eventually("the room to have another host", others_see).await;
    let last = seen.last().copied().unwrap_or_default();
    assert_eq!(seen, (1..=last).collect(), "no number is left out");
    eventually("both to read the same", async || {
        let (here, there) = (number_of(&mut bob, "red").await, number_of(&mut eve, "red").await);
        (here == there && here >= last).then_some(())
    })
    .await;
}

async fn a_room_goes_on_with_its_state_after_its_host_has_stopped(engine: &str) {
    let mut cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    for number in 1..=3 {
        assert_eq!(posted(&mut ann, "red").await, number);
        assert_eq!(skip_to(&mut bob, "event").await["event"], number);
    }
    let wharf = &mut cluster.nodes[0].wharf;
    wharf.signal("TERM");
    wharf.stopped().await;
    assert_eq!(posted(&mut bob, "red").await, 4);
    assert_eq!(number_of(&mut bob, "red").await, 4);
}

async fn rooms_are_as_they_were_after_all_hosts_have_stopped(engine: &str) {
    let mut cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "blue").await;
    assert_eq!(posted(&mut ann, "red").await, 1);
    assert_eq!(posted(&mut bob, "blue").await, 1);
    let after = json!({ "do": "room_after", "room": "green", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    let is_set = async || {
        let left = perform(&mut bob, json!({ "do": "left_in_room", "room": "green" })).await;
        left.as_u64().is_some().then_some(())
    };
    eventually("the timer to be set", is_set).await;
    cluster.nodes[0].wharf.kill();
    cluster.nodes[1].wharf.signal("TERM");
    cluster.nodes[1].wharf.stopped().await;
    let flags = cluster.engine.flags("node-1");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    cluster.nodes[1].start_again(&flags).await;
    let mut eve = cluster.connect(1, "/scripted/eve").await;
    eve.json().await;
    assert_eq!((number_of(&mut eve, "red").await, number_of(&mut eve, "blue").await), (1, 1));
    let left = perform(&mut eve, json!({ "do": "left_in_room", "room": "green" })).await;
    assert!(left.as_u64().is_some_and(|left| left > 3_000_000), "{left}");
    perform(&mut eve, json!({ "do": "join", "room": "red" })).await;
    perform(&mut eve, post("red")).await;
    assert_eq!(skip_to(&mut eve, "event").await["event"], 2);
}

async fn a_timer_of_a_room_fires_once_for_all_hosts(engine: &str) {
    let cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    assert_eq!(posted(&mut bob, "red").await, 1, "the room is at the second host");
    assert_eq!(skip_to(&mut ann, "event").await["event"], 1);
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 200 });
    ann.send_json(after.clone()).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(skip_to(client, "room_timer").await["events"], 2, "it fires once");
    }
    bob.send_json(after).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(skip_to(client, "room_timer").await["events"], 3, "it fires once");
    }
    // One that is cancelled from another host does not fire.
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut bob, after).await, "ok");
    let left = async |client: &mut Client| {
        perform(client, json!({ "do": "left_in_room", "room": "red" })).await
    };
    eventually("the timer to be set", async || left(&mut ann).await.as_u64().map(drop)).await;
    assert_eq!(perform(&mut ann, json!({ "do": "room_cancel", "room": "red" })).await, "ok");
    for client in [&mut ann, &mut bob] {
        let is_gone = async || left(client).await.is_null().then_some(());
        eventually("the timer to be cancelled", is_gone).await;
    }
}

async fn a_timer_fires_on_another_host_after_the_one_that_had_it_was_killed(engine: &str) {
    let mut cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "blue").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    // The room has its host without a post of anybody who stays.
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 3_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    eventually("the timer to be set", async || {
        let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "red" })).await;
        left.as_u64().map(drop)
    })
    .await;
    cluster.nodes[0].wharf.kill();
    assert_eq!(skip_to(&mut bob, "room_timer").await["events"], 1);
    let left = perform(&mut bob, json!({ "do": "left_in_room", "room": "red" })).await;
    assert_eq!(left, Value::Null, "it fires once");
}

async fn any_host_tells_the_operator_of_a_room_and_changes_it(engine: &str) {
    let cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    assert_eq!(posted(&mut ann, "red").await, 1);
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    let [here, there] = [&cluster.nodes[0], &cluster.nodes[1]];
    let state = there.get("/scripted/rooms/red/state").await;
    assert_eq!(state, here.get("/scripted/rooms/red/state").await);
    assert_eq!(state.0, 200, "{}", state.1);
    let timers = there.get("/scripted/rooms/red/timers").await.1;
    assert_eq!(timers["timers"][0]["name"], "room", "{timers}");
    let event = json!({ "event": "the operator" });
    let (status, outcome) = there.post("/scripted/rooms/red/post?wait=true", event).await;
    assert_eq!((status, &outcome["is_state_changed"]), (200, &json!(true)), "{outcome}");
    assert_eq!(skip_to(&mut ann, "event").await["event"], 2);
    let (status, reset) = there.post("/scripted/rooms/red/reset", json!({})).await;
    assert_eq!((status, &reset["reset"]), (200, &json!(1)), "{reset}");
    let begins_anew = async || (posted(&mut ann, "red").await <= 2).then_some(());
    eventually("the room to begin anew", begins_anew).await;
}

async fn events_wait_while_the_engine_stands_still_and_none_is_lost_or_runs_twice(engine: &str) {
    let cluster = Cluster::start(engine, &["scripted"], 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    assert_eq!(posted(&mut ann, "red").await, 1);
    cluster.engine.server().pause(true);
    for _ in 0..10 {
        assert_eq!(perform(&mut ann, post("red")).await, "ok");
    }
    cluster.engine.server().pause(false);
    for number in 2..=11 {
        assert_eq!(skip_to(&mut ann, "event").await["event"], number);
    }
    assert_eq!(posted(&mut ann, "red").await, 12);
}

async fn a_room_moves_when_its_host_loses_the_plugin_and_loses_no_event(engine: &str) {
    let tables = "removal_grace_ms = 100\n";
    let cluster = Cluster::start_with(engine, &["scripted"], tables, 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    assert_eq!(posted(&mut ann, "red").await, 1);
    assert_eq!(skip_to(&mut bob, "event").await["event"], 1);
    let wharf = &cluster.nodes[0].wharf;
    std::fs::remove_file(wharf.plugin("scripted")).expect("it is there");
    // Her channel is gone.
    ann.rest().await;
    let (mut seen, mut posts) = (BTreeSet::from([1]), 1);
    let goes_on = async || {
        // His host still takes the other one for the owner.
        bob.send_json(post("red")).await;
        posts += 1;
        see(&mut bob, &mut seen).await;
        (seen.len() > 2).then_some(())
    };
    eventually("the room to go on elsewhere", goes_on).await;
    let all = async || {
        see(&mut bob, &mut seen).await;
        (seen.len() == posts).then_some(())
    };
    eventually("all events to have run", all).await;
    assert_eq!(seen, (1..=posts as u64).collect(), "no number is left out");
}

async fn the_timers_of_a_room_go_on_when_its_host_loses_the_plugin(engine: &str) {
    let tables = "removal_grace_ms = 100\n";
    let cluster = Cluster::start_with(engine, &["scripted"], tables, 2).await;
    let mut ann = cluster.enter(0, "ann", "red").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    assert_eq!(posted(&mut ann, "red").await, 1);
    let set = json!({ "do": "room_after", "room": "red", "milliseconds": 3000 });
    assert_eq!(perform(&mut ann, set).await, "ok");
    std::fs::remove_file(cluster.nodes[0].wharf.plugin("scripted")).expect("it is there");
    ann.rest().await;
    // Nobody posts to the room.
    assert_eq!(skip_to(&mut bob, "room_timer").await["events"], 2);
}

async fn a_room_is_kept_while_it_has_members_on_any_host(engine: &str) {
    let tables = "room_state_grace_ms = 1000\n";
    let cluster = Cluster::start_with(engine, &["scripted"], tables, 2).await;
    let mut ann = cluster.enter(0, "ann", "blue").await;
    let mut bob = cluster.enter(1, "bob", "red").await;
    for room in ["red", "blue", "gone"] {
        perform(&mut ann, post(room)).await;
    }
    for room in ["red", "blue", "gone"] {
        let has_run = async || (number_of(&mut bob, room).await == 1).then_some(());
        eventually("the event to have run", has_run).await;
    }
    // Nobody is in this room, and it loses its state a second later.
    eventually("an empty room to begin anew", async || {
        (number_of(&mut bob, "gone").await == 0).then_some(())
    })
    .await;
    for room in ["red", "blue"] {
        assert_eq!(number_of(&mut bob, room).await, 1, "{room} has a member");
    }
}
