//! New code under open connections: nothing is lost, doubled or reordered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wharf_tests::artefacts::component;
use wharf_tests::{Client, Ended, Line, Operated, PATIENCE, Value, Wharf, json};

/// Sends numbered messages until it is stopped, a few at a time, and asserts that each is answered
/// once, in order, with one more counted. Returns the generations seen.
async fn talk(mut client: Client, stop: Arc<AtomicBool>, newest: Arc<AtomicUsize>) -> Vec<u64> {
    const WINDOW: u64 = 4;
    let mut generations = Vec::new();
    let mut sent = 0;
    let mut answered = 0;
    while answered < sent || !stop.load(Ordering::Relaxed) {
        while sent < answered + WINDOW && !stop.load(Ordering::Relaxed) {
            sent += 1;
            client.send(format!("message {sent}")).await;
        }
        if answered == sent {
            continue;
        }
        let answer = client.json().await;
        answered += 1;
        assert_eq!(answer["message"], format!("message {answered}"));
        assert_eq!(answer["count"], answered, "the session has gone from event to event");
        let generation = answer["generation"].as_u64().expect("a generation");
        newest.fetch_max(generation as usize, Ordering::Relaxed);
        if generations.last() != Some(&generation) {
            generations.push(generation);
        }
    }
    client.close(1000, "").await;
    generations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_double_and_reorder_nothing() {
    const CONNECTIONS: usize = 100;
    const SWAPS: u64 = 6;
    let wharf = Wharf::start(&["counts"], &[]).await;
    let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut talking = Vec::new();
    for number in 0..CONNECTIONS {
        let client = wharf.connect(&format!("/counts/{number}")).await;
        talking.push(tokio::spawn(talk(client, stop.clone(), newest.clone())));
    }
    let versions = [component("counts-v2"), component("counts")];
    for swap in 0..SWAPS {
        let renamed = Instant::now();
        let line = wharf.swap("counts", &versions[swap as usize % 2]).await;
        assert_eq!(line.number("generation"), Some(swap + 2));
        // New code serves all connections now. Wait until one of them has noticed.
        while newest.load(Ordering::Relaxed) < swap as usize + 2 {
            assert!(renamed.elapsed() < Duration::from_secs(10), "nobody got the new code");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("from the rename to the first answer of new code: {:?}", renamed.elapsed());
        // New connections run on the new code too.
        let mut new = wharf.connect("/counts/new").await;
        assert_eq!(new.ask_for_json("first").await["generation"], swap + 2);
    }
    stop.store(true, Ordering::Relaxed);
    for task in talking {
        let generations = task.await.expect("nothing was lost");
        assert!(generations.is_sorted(), "never back to old code: {generations:?}");
        assert_eq!(generations.last(), Some(&(SWAPS + 1)));
    }
    assert_eq!(wharf.log.find(|line| line.says("guest call failed")).len(), 0);
}

#[tokio::test]
async fn a_session_survives_new_code_with_more_fields_and_old_code_again() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    client.ask("one").await;
    let answer = client.ask_for_json("two").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(1), &json!(2)));
    wharf.swap("counts", &component("counts-v2")).await;
    let answer = client.ask_for_json("three").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(2), &json!(3)));
    assert_eq!(answer["counted_by_v2"], 1, "a new field begins with its default");
    wharf.swap("counts", &component("counts")).await;
    let answer = client.ask_for_json("four").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(1), &json!(4)));
}

#[tokio::test]
async fn a_call_that_runs_finishes_on_its_own_generation() {
    let wharf = Wharf::start(&["waits"], &["--wall-budget-ms 60000"]).await;
    let mut client = wharf.connect("/waits").await;
    let mut observer = wharf.connect("/waits?observe").await;
    client.send("tell 3000").await;
    client.send("next").await;
    assert_eq!(observer.text().await, "waiting");
    // This is another channel's code under the same name. It answers otherwise and has another
    // session.
    wharf.swap("waits", &component("counts")).await;
    assert_eq!(observer.text().await, "waited", "the old code is still at it");
    assert_eq!(client.json().await, json!({ "count": 1, "message": "tell 3000" }));
    // The next event runs on the new code, with the session that the old code left.
    let answer = client.json().await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(1), &json!(2)));
    assert_eq!(answer["message"], "next");
}

#[tokio::test]
async fn an_event_that_waits_for_its_turn_during_a_swap_begins_on_the_new_code() {
    let flags = [
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--wall-budget-ms 60000",
        "--instance-wait-ms 60000",
    ];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut observer = wharf.connect("/waits?observe").await;
    let mut busy = wharf.connect("/waits").await;
    let mut waiting = wharf.raw_websocket("/waits").await;
    busy.send("tell 4000").await;
    assert_eq!(observer.text().await, "waiting", "the only instance is taken");
    waiting.send_frame(1, "first").await;
    waiting.send_frame(9, "the first is waiting").await;
    // The ping comes after the message, so the pong comes while the message waits.
    assert_eq!(waiting.frame().await.expect("a pong").opcode, 10);
    let line = wharf.swap("waits", &component("counts")).await;
    assert_eq!((line.message(), line.number("generation")), ("plugin swapped", Some(2)));
    let answer = waiting.frame().await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert_eq!(answer["generation"], 2, "old code would have answered otherwise: {answer}");
    assert_eq!((&answer["count"], &answer["message"]), (&json!(1), &json!("first")));
    // The old code finishes the event that it began.
    assert_eq!(busy.json().await, json!({ "count": 1, "message": "tell 4000" }));
    assert_eq!(observer.text().await, "waited");
}

#[tokio::test]
async fn what_waits_during_a_swap_to_code_without_a_handler_for_it_is_told_of() {
    let flags = [
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--wall-budget-ms 60000",
        "--instance-wait-ms 300",
    ];
    let it = Operated::start(&["posts"], &flags).await;
    let mut clients = Vec::new();
    for user in ["busy", "waiting"] {
        clients.push(it.wharf.connect(&format!("/posts/a?user={user}")).await);
    }
    // The line that is logged each time an event has waited in vain: it waits on.
    let waits = async |event: &str| {
        let waits =
            |line: &Line| line.begins("no free instance within") && line.str("event") == event;
        it.wharf.log.wait_for("an event that waits", waits).await;
    };
    let notify = async |user: &str, what: Value| {
        let path = format!("/posts/users/{user}/notify");
        let (status, _) = it.post(&path, json!({ "event": what })).await;
        assert_eq!(status, 202);
    };
    notify("busy", json!({ "wait": 5000 })).await;
    it.post("/posts/rooms/b/post", json!({ "event": { "add": 1 } })).await;
    waits("on-room-event").await;
    notify("waiting", json!({ "say": "hello" })).await;
    waits("on-notify").await;
    it.wharf.swap("posts", &component("echo")).await;
    for handler in ["on_room_event", "on_notify"] {
        let dropped =
            |line: &Line| line.begins("an event was dropped") && line.str("handler") == handler;
        let line = it.wharf.log.wait_for("the dropped event", dropped).await;
        assert_eq!((line.str("channel"), line.number("generation")), ("posts", Some(2)), "{line}");
    }
}

#[tokio::test]
async fn a_session_that_new_code_cannot_read_ends_its_connection_with_one_reason_for_all_in_the_log()
 {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut clients = Vec::new();
    for name in 0..10 {
        clients.push(wharf.connect(&format!("/counts/{name}")).await);
    }
    clients[0].ask("one").await;
    wharf.swap("counts", &component("claims")).await;
    let warned = |line: &Line| line.begins("open connections may have sessions");
    let line = wharf.log.wait_for("a warning at the swap", warned).await;
    assert_eq!((line.number("connections"), line.number("generation")), (Some(10), Some(2)));
    assert!(line.str("reason").contains("#[serde(default)]"), "{line}");
    for client in &mut clients {
        client.send("two").await;
        assert_eq!(client.close_code().await, 1011);
    }
    let unreadable = |line: &Line| line.begins("sessions of earlier code do not fit");
    let counts = |line: &Line| unreadable(line) && line.number("connections") == Some(10);
    let line = wharf.log.wait_for("their number", counts).await;
    assert_eq!(line.str("kind"), "session-unreadable");
    assert!(line.str("detail").contains("#[serde(default)]"), "{line}");
    assert_eq!(wharf.log.find(unreadable).len(), 2, "one for the first, and one for ten of them");
    let others = ["handler failed", "guest call failed"];
    let others = wharf.log.find(|line| others.iter().any(|begin| line.begins(begin)));
    assert!(others.is_empty(), "{others:?}");
    // Paths are part of the code.
    assert_eq!(wharf.connect("/claims").await.ask_for_json("new").await["claims"], "here");
}

#[tokio::test]
async fn a_swap_warns_of_states_of_rooms_that_new_code_cannot_read() {
    let it = Operated::start(&["operated"], &[]).await;
    it.post("/operated/rooms/a/post", json!({ "event": { "add": 1 } })).await;
    it.wharf.swap("operated", &component("batched")).await;
    let warned = |line: &Line| line.begins("rooms may have states");
    let line = it.wharf.log.wait_for("a warning at the swap", warned).await;
    assert!(line.str("reason").contains("missing field `messages`"), "{line}");
    // Code that can read them brings no warning.
    it.wharf.swap("operated", &component("operated")).await;
    assert_eq!(it.wharf.log.find(warned).len(), 1);
}

/// Swaps `counts` in some way, and asserts that an open connection notices only the new code.
async fn swap_by(replace: impl AsyncFnOnce(&Wharf, Vec<u8>)) {
    let wharf = Wharf::start(&["counts"], &["--removal-grace-ms 5000"]).await;
    let mut client = wharf.connect("/counts/a").await;
    assert_eq!(client.ask_for_json("before").await["version"], 1);
    let start = wharf.log.len();
    replace(&wharf, component("counts-v2")).await;
    wharf.in_service_after(start, "counts").await;
    let answer = client.ask_for_json("after").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(2), &json!(2)));
    assert_eq!(wharf.log.find(|line| line.says("plugin removed")).len(), 0);
    let refusals = wharf.log.find(|line| line.begins("plugin refused"));
    for line in refusals {
        assert_eq!(line.number("serving"), Some(1), "{line}");
    }
}

#[tokio::test]
async fn an_atomic_rename_is_a_swap() {
    swap_by(async |wharf, bytes| wharf.install("counts", &bytes)).await;
}

#[tokio::test]
async fn overwriting_in_place_is_a_swap() {
    swap_by(async |wharf, bytes| {
        std::fs::write(wharf.plugin("counts"), bytes).expect("it is overwritten");
    })
    .await;
}

#[tokio::test]
async fn a_slow_copy_is_a_swap_when_it_is_complete() {
    use std::io::Write;
    swap_by(async |wharf, bytes| {
        let mut file = std::fs::File::create(wharf.plugin("counts")).expect("it is truncated");
        let mut client = wharf.connect("/counts/meanwhile").await;
        for (number, piece) in bytes.chunks(20_000).enumerate() {
            file.write_all(piece).expect("a piece is written");
            file.flush().expect("a piece is written");
            tokio::time::sleep(Duration::from_millis(15)).await;
            let answer = client.ask_for_json("meanwhile").await;
            assert_eq!(answer["count"], number + 1, "old code serves while new code arrives");
        }
    })
    .await;
}

#[tokio::test]
async fn removing_and_copying_within_the_grace_is_a_swap() {
    swap_by(async |wharf, bytes| {
        std::fs::remove_file(wharf.plugin("counts")).expect("it is removed");
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(wharf.plugin("counts"), bytes).expect("it is copied");
    })
    .await;
}

#[tokio::test]
async fn changing_what_a_link_names_is_a_swap() {
    swap_by(async |wharf, bytes| {
        let target = wharf.folder().join("elsewhere.wasm");
        std::fs::write(&target, bytes).expect("it is written");
        let link = wharf.folder().join("link");
        std::os::unix::fs::symlink(&target, &link).expect("it is linked");
        std::fs::rename(&link, wharf.plugin("counts")).expect("it is renamed");
    })
    .await;
}

#[tokio::test]
async fn replacing_the_whole_folder_is_a_swap() {
    swap_by(async |wharf, bytes| {
        let (folder, old) = (wharf.folder().join("plugins"), wharf.folder().join("old"));
        let new = wharf.folder().join("new");
        std::fs::create_dir(&new).expect("a folder");
        std::fs::write(new.join("counts.wasm"), bytes).expect("it is written");
        std::fs::rename(&folder, &old).expect("the folder is moved away");
        std::fs::rename(&new, &folder).expect("the folder is moved here");
    })
    .await;
}

#[tokio::test]
async fn the_same_bytes_again_are_no_swap() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    wharf.install("counts", &component("counts"));
    std::fs::write(wharf.plugin("counts"), component("counts")).expect("it is overwritten");
    let line = wharf.swap("counts", &component("counts-v2")).await;
    assert_eq!(line.number("generation"), Some(2));
}

#[tokio::test]
async fn the_last_of_many_quick_changes_is_the_one_that_serves() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    let versions = [component("counts"), component("counts-v2")];
    for change in 0..21 {
        wharf.install("counts", &versions[change % 2]);
    }
    wharf.install("counts", &versions[1]);
    let begun = Instant::now();
    let mut count = 0;
    loop {
        let answer = client.ask_for_json("which?").await;
        count += 1;
        assert_eq!(answer["count"], count);
        if answer["version"] == 2 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the last change has not arrived");
    }
}

#[tokio::test]
async fn a_plugin_that_is_gone_for_longer_than_the_grace_is_removed_and_can_come_back() {
    let wharf = Wharf::start(&["counts", "echo"], &["--removal-grace-ms 300"]).await;
    let mut client = wharf.connect("/counts/a").await;
    let mut other = wharf.connect("/echo").await;
    std::fs::remove_file(wharf.plugin("counts")).expect("it is removed");
    assert_eq!(client.ended().await, Ended::Closed(1001, "removed".to_owned()));
    let rejected = wharf.try_connect("/counts/a", &[]).await.expect_err("it is gone");
    assert_eq!(rejected.status, 404);
    let line = wharf.log.wait_for("the removal", |line| line.says("plugin removed")).await;
    assert_eq!((line.str("channel"), line.number("connections")), ("counts", Some(1)));
    assert_eq!(other.ask("still here").await, "still here");

    let line = wharf.swap("counts", &component("counts")).await;
    assert_eq!(line.message(), "plugin loaded", "nothing was there to be swapped");
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("back").await["count"], 1);
    let line = wharf.swap("counts", &component("counts-v2")).await;
    assert_eq!(line.message(), "plugin swapped");
}

#[tokio::test]
async fn a_new_plugin_is_served_as_soon_as_it_is_there() {
    let wharf = Wharf::start(&[], &[]).await;
    let rejected = wharf.try_connect("/echo", &[]).await.expect_err("nothing is there yet");
    assert_eq!(rejected.status, 404);
    let line = wharf.swap("echo", &component("echo")).await;
    assert_eq!((line.number("generation"), line.str("paths")), (Some(1), "/echo"));
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn generations_that_nobody_uses_any_more_leave_nothing_behind() {
    const SWAPS: usize = 40;
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    let versions = [component("counts-v2"), component("counts")];
    let mut swap = async |number: usize| {
        wharf.swap("counts", &versions[number % 2]).await;
        client.ask("hello").await;
    };
    for number in 0..10 {
        swap(number).await;
    }
    let before = wharf.resident_bytes();
    for number in 0..SWAPS {
        swap(number).await;
    }
    let grown = wharf.resident_bytes().saturating_sub(before);
    println!("{SWAPS} swaps have grown the host by {grown} bytes");
    // A generation's code and its warm instance have more than a mebibyte.
    assert!(grown < SWAPS << 19, "{SWAPS} swaps have grown the host by {grown} bytes");
}
