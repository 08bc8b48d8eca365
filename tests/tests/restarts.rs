//! Data that outlives the process: after a stop, a crash, and while the disk refuses.

use std::path::PathBuf;

use rusqlite::Connection as Database;
use wharf_tests::operator::Operated;
use wharf_tests::script::{enter, perform, skip_to};
use wharf_tests::{Client, Line, Value, Wharf, configured, eventually, folder, json, run_in};

async fn events_of(client: &mut Client, room: &str) -> u64 {
    let read = perform(client, json!({ "do": "read_room", "room": room })).await;
    read.as_u64().expect("a number of events")
}

#[tokio::test]
async fn the_store_rooms_and_timers_are_there_after_a_stop_and_after_a_crash() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    for (round, ends) in ["TERM", "KILL", "KILL"].into_iter().enumerate() {
        let round = round as u64;
        let mut ann = enter(&wharf, "ann").await;
        perform(&mut ann, json!({ "do": "join", "room": "red" })).await;
        assert_eq!(events_of(&mut ann, "red").await, round * 2, "as before the end");
        for number in 1..=2 {
            perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
            assert_eq!(skip_to(&mut ann, "event").await["event"], round * 2 + number);
        }
        let count =
            perform(&mut ann, json!({ "do": "increment", "milliseconds": 3_600_000 })).await;
        assert_eq!(count, round + 1);
        let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "blue" })).await;
        if round == 0 {
            assert_eq!(left, Value::Null);
            let after = json!({ "do": "room_after", "room": "blue", "milliseconds": 3_600_000 });
            assert_eq!(perform(&mut ann, after).await, "ok");
        } else {
            let left = left.as_u64().expect("the timer is set");
            assert!((3_000_000..3_600_000).contains(&left), "{left} ms");
        }
        wharf.signal(ends);
        wharf.stopped().await;
        wharf.start_again(&[]).await;
    }
}

#[tokio::test]
async fn a_timer_that_falls_due_while_the_host_is_down_fires_once_after_the_start() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    let mut ann = enter(&wharf, "ann").await;
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 1 });
    // It may fire before the process ends, and is not to fire again then.
    assert_eq!(perform(&mut ann, after).await, "ok");
    wharf.kill();
    for _ in 0..3 {
        wharf.start_again(&[]).await;
        let mut ann = enter(&wharf, "ann").await;
        let fired = async || (events_of(&mut ann, "red").await == 2).then_some(());
        eventually("one event and one firing", fired).await;
        let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "red" })).await;
        assert_eq!(left, Value::Null, "it fires once");
        wharf.kill();
    }
}

#[tokio::test]
async fn timers_that_were_cancelled_or_set_anew_are_so_after_a_crash() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    let mut ann = enter(&wharf, "ann").await;
    let after = |room: &str, milliseconds: u64| json!({ "do": "room_after", "room": room, "milliseconds": milliseconds });
    for room in ["red", "blue"] {
        assert_eq!(perform(&mut ann, after(room, 3_600_000)).await, "ok");
    }
    assert_eq!(perform(&mut ann, json!({ "do": "room_cancel", "room": "red" })).await, "ok");
    assert_eq!(perform(&mut ann, after("blue", 7_200_000)).await, "ok");
    wharf.kill();
    wharf.start_again(&[]).await;
    let mut ann = enter(&wharf, "ann").await;
    let left = async |client: &mut Client, room: &str| {
        perform(client, json!({ "do": "left_in_room", "room": room })).await
    };
    assert_eq!(left(&mut ann, "red").await, Value::Null);
    let blue = left(&mut ann, "blue").await.as_u64().expect("the timer is set");
    assert!((3_600_000..7_200_000).contains(&blue), "{blue} ms");
}

#[tokio::test]
async fn an_auction_goes_on_after_a_restart_as_if_nothing_had_happened() {
    let tables = "[channels.auction.settings]\nguests = \"yes\"\n";
    let mut it = Operated::start_in(configured(&["auction"], tables), &[]).await;
    let offer = json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": 6 });
    let mut ann = it.wharf.connect("/auction/7?name=ann").await;
    assert_eq!(it.post("/auction/messages", offer).await.0, 200);
    skip_to(&mut ann, "item").await;
    ann.send_json(json!({ "type": "bid", "amount": 120, "ref": 1 })).await;
    assert_eq!(skip_to(&mut ann, "ref").await["payload"]["highest"], 120);
    it.wharf.kill();
    it.wharf.start_again(&[]).await;
    let mut bob = it.wharf.connect("/auction/7?name=bob").await;
    let lot = skip_to(&mut bob, "bids").await;
    assert_eq!(lot["item"], "a boat", "{lot}");
    assert_eq!(lot["bids"].as_array().map(Vec::len), Some(1), "{lot}");
    let sold = loop {
        let message = bob.json().await;
        if message["type"] == "sold" {
            break message;
        }
    };
    assert_eq!(sold["to"], "ann", "{sold}");
}

#[tokio::test]
async fn a_second_host_on_the_same_data_is_refused_by_the_number_of_the_first_process() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let second = run_in(wharf.folder(), &["serve", "--listen", "127.0.0.1:0"], &[]);
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(text.contains("the data folder wharf-data is in use by process"), "{text}");
    assert!(text.contains("stop it, or set `data` to another folder"), "{text}");
    // With another folder, or none, it serves beside the first.
    let other = Wharf::start_in(folder(&["echo"]), &["--data", ""]).await;
    assert!(!other.folder().join("wharf-data").exists());
    let in_memory = |line: &Line| line.text.contains("data is kept in memory");
    other.log.wait_for("the line about memory", in_memory).await;
}

fn database(wharf: &Wharf) -> PathBuf {
    wharf.folder().join("wharf-data").join("wharf.db")
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_to_those_who_need_it_and_nobody_else() {
    let it = Operated::start(&["scripted"], &[]).await;
    let wharf = &it.wharf;
    let (mut ann, mut bob) = (enter(wharf, "ann").await, enter(wharf, "bob").await);
    for client in [&mut ann, &mut bob] {
        perform(client, json!({ "do": "join", "room": "red" })).await;
    }
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    assert_eq!(skip_to(&mut ann, "event").await["event"], 1);

    let holder = Database::open(database(wharf)).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let increment = json!({ "do": "increment", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, increment.clone()).await, "data-unavailable");
    // An event is undone, and its broadcast never leaves.
    let post = "/scripted/rooms/red/post?wait=true";
    let (status, answer) = it.post(post, json!({ "event": "eve" })).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("data-unavailable")), "{answer}");
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after.clone()).await, "data-unavailable");
    let told = |line: &Line| line.begins("data cannot be written to disk");
    wharf.log.wait_for("the line about the disk", told).await;
    wharf.readiness_becomes(503, "not ready, data cannot be written to disk").await;
    // Messages that need no disk go on.
    perform(&mut ann, json!({ "do": "broadcast", "room": "red" })).await;
    assert_eq!(skip_to(&mut bob, "how").await["how"], "room");

    drop(holder);
    wharf.readiness_becomes(200, "ready").await;
    assert_eq!(events_of(&mut ann, "red").await, 1, "nothing of what was refused");
    assert_eq!(perform(&mut ann, increment).await, 1);
    assert_eq!(perform(&mut ann, after).await, "ok");
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    assert_eq!(skip_to(&mut bob, "event").await["event"], 2);
}

#[tokio::test]
async fn a_firing_that_cannot_be_recorded_comes_again_and_counts_once() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    let mut ann = enter(&wharf, "ann").await;
    perform(&mut ann, json!({ "do": "join", "room": "red" })).await;
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 300 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    let holder = Database::open(database(&wharf)).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    // Nothing but the firing is written.
    let told = |line: &Line| line.begins("data cannot be written to disk");
    wharf.log.wait_for("the line about the disk", told).await;
    assert_eq!(events_of(&mut ann, "red").await, 0, "it is undone");
    drop(holder);
    assert_eq!(skip_to(&mut ann, "room_timer").await["events"], 1, "it comes again");
    wharf.kill();
    wharf.start_again(&[]).await;
    let mut ann = enter(&wharf, "ann").await;
    assert_eq!(events_of(&mut ann, "red").await, 1);
    let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "red" })).await;
    assert_eq!(left, Value::Null);
}

#[tokio::test]
async fn a_reset_is_answered_when_it_is_on_disk_and_refused_where_the_disk_refuses() {
    let mut it = Operated::start(&["scripted"], &[]).await;
    let mut ann = enter(&it.wharf, "ann").await;
    perform(&mut ann, json!({ "do": "join", "room": "red" })).await;
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    assert_eq!(skip_to(&mut ann, "event").await["event"], 1);
    let holder = Database::open(database(&it.wharf)).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let reset = "/scripted/rooms/red/reset";
    assert_eq!(it.refused(reset, json!({})).await, (503, "data-unavailable".to_owned()));
    assert_eq!(it.get("/scripted/rooms/red/state").await.0, 200, "nothing has changed");
    drop(holder);
    let done = async || (it.post(reset, json!({})).await.0 == 200).then_some(());
    eventually("the disk to take writes", done).await;
    assert_eq!(it.get("/scripted/rooms/red/state").await.0, 404);
    it.wharf.kill();
    it.wharf.start_again(&[]).await;
    let mut ann = enter(&it.wharf, "ann").await;
    assert_eq!(events_of(&mut ann, "red").await, 0);
}

#[tokio::test]
async fn timers_of_a_plugin_that_is_removed_while_the_disk_refuses_do_not_come_back() {
    let mut wharf = Wharf::start(&["scripted"], &["--removal-grace-ms 100"]).await;
    let mut ann = enter(&wharf, "ann").await;
    let after = json!({ "do": "room_after", "room": "red", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    let holder = Database::open(database(&wharf)).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let (plugin, aside) = (wharf.plugin("scripted"), wharf.folder().join("aside"));
    std::fs::rename(&plugin, &aside).expect("the plugin is removed");
    let told = |line: &Line| line.begins("data cannot be written to disk");
    wharf.log.wait_for("the line about the disk", told).await;
    drop(holder);
    let again = |line: &Line| line.begins("data is written to disk again");
    wharf.log.wait_for("the disk to take writes", again).await;
    wharf.kill();
    std::fs::rename(&aside, &plugin).expect("it is back");
    wharf.start_again(&[]).await;
    let mut ann = enter(&wharf, "ann").await;
    let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "red" })).await;
    assert_eq!(left, Value::Null);
}
