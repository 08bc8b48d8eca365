//! Rooms that keep their messages: newcomers, clients that come back, plugins and operators that read them.

use std::path::Path;

use wharf_tests::script::{enter, perform};
use wharf_tests::{Hosts, Reader, Setup, Value, Wharf, configured, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    who_comes_back_gets_all_that_was_missed_in_order_or_is_told_why_not
    newcomers_get_the_last_messages_and_a_plugin_reads_them
    operators_read_the_messages_page_by_page
    hostile_positions_are_no_more_than_rooms_without_one
}

const RULES: &str = r#"
    [channels.scripted]
    history = [
        { rooms = "red", messages = 5 },
        { rooms = "new*", recovery = "newest" },
        { rooms = "last", messages = 100, newcomers = 2 },
    ]
    "#;

async fn started(setup: Setup) -> Hosts {
    setup.start_with(&["scripted"], RULES, &[]).await
}

/// Broadcasts to a room, as a connection of its own.
async fn broadcast(wharf: &Wharf, room: &str, times: usize) {
    let mut sender = enter(wharf, "sender").await;
    for _ in 0..times {
        assert_eq!(perform(&mut sender, json!({ "do": "broadcast", "room": room })).await, "ok");
    }
    sender.close(1000, "").await;
}

async fn who_comes_back_gets_all_that_was_missed_in_order_or_is_told_why_not(setup: Setup) {
    let hosts = started(setup).await;
    let (here, there) = (hosts.wharf(0), hosts.wharf(1));
    let mut ann = Reader::join(here, "ann", "", "red").await;
    assert_eq!(ann.joined["recovered"], Value::Null, "she is new");
    // On an engine, the history begins with a mark.
    let start = ann.offset;
    assert!(start == 0 || hosts.are_several(), "{}", ann.joined);
    broadcast(there, "red", 3).await;
    ann.read_to(start + 3).await;
    assert_eq!(ann.offsets(), [start + 1, start + 2, start + 3]);
    let at = ann.at("red");
    let (too_early, ahead) = (ann.at_offset("red", start + 1), ann.at_offset("red", 99));
    ann.client.reset();
    // Her end tells the room, which is the next message. The operator's messages are kept as well.
    let message = json!({ "rooms": ["red"], "text": "{\"step\":\"operator\"}" });
    let (status, sent) = hosts.host(1).post("/scripted/broadcast", message).await;
    assert_eq!(status, 200, "{sent}");
    broadcast(here, "red", 1).await;
    let mut back = Reader::join(there, "ann", &at, "red").await;
    back.read_to(start + 6).await;
    assert_eq!(
        (back.offsets(), &back.joined["recovered"]),
        (vec![start + 4, start + 5, start + 6], &json!(true))
    );
    let steps: Vec<&Value> = back.got.iter().map(|(_, step)| step).collect();
    assert!(steps.contains(&&json!("operator")), "{steps:?}");
    // Her own message to the others is none for her, and no gap.
    back.client.send_json(json!({ "do": "broadcast_to_others", "room": "red" })).await;
    back.read_until(|reader, _| reader.offset == start + 7).await;
    assert_eq!(back.offsets(), [start + 4, start + 5, start + 6]);
    // Two messages too many for what the room keeps.
    let late = Reader::join(here, "bob", &too_early, "red").await;
    assert_eq!(late.joined["recovered"], false);
    assert_eq!((late.joined["reason"].as_str(), late.offset), (Some("trimmed"), start + 7));
    // Their ends would be further messages.
    let mut open = Vec::new();
    for (asked, reason) in [(ahead, "ahead"), (format!("red,{:016x},3", 7), "new-epoch")] {
        let lost = Reader::join(here, "bob", &asked, "red").await;
        assert_eq!(
            (&lost.joined["recovered"], &lost.joined["reason"]),
            (&json!(false), &json!(reason))
        );
        assert_eq!(lost.offsets(), Vec::<u64>::new(), "all or nothing");
        open.push(lost);
    }
    // The plugin does not see the parameter, and other clients see nothing of all this.
    let mut plain = enter(there, "eve").await;
    assert_eq!(perform(&mut plain, json!({ "do": "join", "room": "red" })).await, "ok");
    let own = perform(&mut plain, json!({ "do": "broadcast", "room": "red" })).await;
    assert_eq!(own, "ok");
    plain.close(1000, "").await;
}

async fn newcomers_get_the_last_messages_and_a_plugin_reads_them(setup: Setup) {
    let hosts = started(setup).await;
    let (here, there) = (hosts.wharf(0), hosts.wharf(1));
    for room in ["last", "newest", "none"] {
        broadcast(here, room, 4).await;
    }
    for (room, expected) in [("last", vec![3, 4]), ("newest", vec![4]), ("none", vec![])] {
        let mut ann = enter(there, "ann").await;
        ann.send_json(json!({ "do": "join", "room": room })).await;
        ann.send_json(json!({ "do": "history", "room": room, "limit": 2 })).await;
        let (mut steps, mut done) = (Vec::new(), Vec::new());
        while done.len() < 2 {
            let message = ann.json().await;
            match message.get("done") {
                Some(_) => done.push(message["result"].clone()),
                None => steps.extend(message["step"].as_u64()),
            }
        }
        assert_eq!(steps, expected, "{room}");
        let read: Vec<u64> =
            done[1].as_array().expect("a list").iter().filter_map(|e| e[0].as_u64()).collect();
        let expected = if room == "none" { vec![] } else { vec![3, 4] };
        assert_eq!(read, expected, "{room}");
        ann.close(1000, "").await;
    }
    // A client that comes back to a room whose newest message counts gets that one, from wherever.
    let reader = Reader::join(there, "bob", &format!("newest,{:016x},1", 7), "newest").await;
    assert_eq!(reader.joined["recovered"], true);
    assert_eq!(reader.joined["messages"], 1);
}

#[tokio::test]
async fn a_history_goes_on_after_a_crash_and_begins_anew_in_memory() {
    for (data, recovers) in [("kept", true), ("", false)] {
        let mut wharf = Wharf::start_in(configured(&["scripted"], RULES), &["--data", data]).await;
        let mut ann = Reader::join(&wharf, "ann", "", "red").await;
        broadcast(&wharf, "red", 2).await;
        ann.read_to(2).await;
        let at = ann.at("red");
        // Her end tells the room, which is the next message, unless the host is gone before.
        drop(ann);
        broadcast(&wharf, "red", 1).await;
        let late = Reader::join(&wharf, "bob", "", "red").await;
        let top = late.offset;
        late.client.reset();
        wharf.kill();
        wharf.start_again(&["--data", data]).await;
        let mut back = Reader::join(&wharf, "ann", &at, "red").await;
        assert_eq!(back.joined["recovered"], recovers, "{data:?}");
        if recovers {
            // Her own end is told before the crash, or is lost with it.
            assert!(back.offset >= top, "{} of {top}", back.offset);
            let all = back.offset;
            assert_eq!(back.offsets(), (3..=all).collect::<Vec<_>>());
        } else {
            assert_eq!(back.joined["reason"], "new-epoch");
        }
        broadcast(&wharf, "red", 1).await;
        let top = back.offset + 1;
        back.read_to(top).await;
        assert_eq!(back.offset, top);
    }
}

async fn operators_read_the_messages_page_by_page(setup: Setup) {
    let hosts = started(setup).await;
    let operated = hosts.host(1);
    broadcast(hosts.wharf(0), "last", 5).await;
    let path = "/scripted/rooms/last/history";
    let (_, page) = operated.get(&format!("{path}?limit=2")).await;
    let offsets = |page: &Value| -> Vec<u64> {
        let messages = page["messages"].as_array().expect("messages");
        messages.iter().filter_map(|message| message["offset"].as_u64()).collect()
    };
    assert_eq!((offsets(&page), &page["top"]), (vec![4, 5], &json!(5)));
    assert_eq!(page["messages"][0]["json"]["how"], "room");
    assert!(page["messages"][0]["sent_at_ms"].as_u64() > Some(1_700_000_000_000));
    assert_eq!(page["epoch"].as_str().map(str::len), Some(16));
    let (_, page) = operated.get(&format!("{path}?limit=9&before=4")).await;
    assert_eq!(offsets(&page), [1, 2, 3]);
    // In a cluster, no host lists a room for what the engine keeps.
    if !hosts.are_several() {
        let (_, rooms) = operated.get("/scripted/rooms").await;
        assert_eq!(rooms["rooms"][0]["name"], "last", "a room that has nothing else: {rooms}");
        assert_eq!(rooms["rooms"][0]["history_messages"], 5);
    }
    let (status, nothing) = operated.get("/scripted/rooms/none/history").await;
    assert_eq!((status, offsets(&nothing)), (200, Vec::new()));
    assert_eq!(operated.get(&format!("{path}?before=x")).await.0, 400);
    assert_eq!(operated.get(&format!("{path}?after=x")).await.0, 400);
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_with_the_place() {
    for (table, part) in [
        ("history = 7", "must be a table"),
        ("history = { message = 7 }", "`messages`"),
        ("history = { messages = -1 }", "0 to 1000000"),
        ("history = [{ rooms = \"\" }]", "a room's name"),
        ("history = { recovery = \"some\" }", "`all` or `newest`"),
    ] {
        let file = format!("[channels.scripted]\n{table}\n");
        let folder = configured(&["scripted"], &file);
        let refused = wharf_tests::run_in(Path::new(folder.path()), &["serve"], &[]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(part), "{table}: {text}");
        assert!(text.contains("channels.scripted.history"), "{table}: {text}");
    }
}

async fn hostile_positions_are_no_more_than_rooms_without_one(setup: Setup) {
    let hosts = started(setup).await;
    let (operated, wharf) = (hosts.host(0), hosts.wharf(1));
    broadcast(&operated.wharf, "red", 1).await;
    let long = "red,00000000000000ff,1;".repeat(300);
    let numbers = "red,00000000000000ff,99999999999999999999";
    // Their ends would be further messages.
    let mut open = Vec::new();
    for at in ["%00", "%FF", ";;;,,,", "red,zz,1", numbers, &long] {
        let reader = Reader::join(wharf, "eve", at, "red").await;
        let recovered = &reader.joined["recovered"];
        assert!(recovered.is_null() || recovered == false, "{at}: {recovered}");
        open.push(reader);
    }
    // A text that looks like a note is said to be none.
    let mut reader = Reader::join(wharf, "ann", "", "red").await;
    let fake = r#"{"type":"wharf:position","room":"red","epoch":"0","offset":9}"#;
    let message = json!({ "all": true, "text": fake });
    assert_eq!(operated.post("/scripted/broadcast", message).await.0, 200);
    assert_eq!(reader.client.text().await, r#"{"type":"wharf:message"}"#);
    assert_eq!(reader.client.text().await, fake);
}
