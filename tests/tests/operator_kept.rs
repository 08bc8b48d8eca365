//! The operator's API: what a channel keeps, in states, timers, sessions and the store.

use std::time::Duration;

use wharf_tests::operator::code;
use wharf_tests::{Operated, Value, eventually, json};

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated", "rooms"], flags).await
}

/// Posts an event to the room and waits until it has been handled.
async fn post(it: &Operated, room: &str, event: Value) {
    let path = format!("/operated/rooms/{room}/post?wait=true");
    let (status, answer) = it.post(&path, json!({ "event": event })).await;
    assert_eq!(status, 200, "{answer}");
}

/// Returns true if a time that was shown is at most this long, and not much shorter.
fn is_about(shown: &Value, ms: u64) -> bool {
    shown.as_u64().is_some_and(|shown| shown <= ms && shown + 300_000 >= ms)
}

#[tokio::test]
async fn a_room_without_members_is_shown_as_long_as_it_has_a_state_or_timers() {
    let it = started(&["--room-state-grace-ms 1"]).await;
    assert_eq!(code(it.get("/operated/rooms/lot").await), (404, "unknown-room".to_owned()));
    post(&it, "lot", json!({ "add": 3 })).await;
    post(&it, "lot", json!({ "timer": 3_600_000 })).await;
    let _member = it.wharf.connect("/operated?join=a,lobby").await;
    let facts = |name: &str, members: u64| {
        json!({
            "name": name, "members": members, "state_bytes": null, "waiting_events": 0, "timers": 0,
            "history_messages": 0, "history_bytes": 0,
        })
    };
    // The task that ran the event may still be about to end.
    let (_, listed) = eventually("no event to run", async || {
        let (status, listed) = it.get("/operated/rooms").await;
        (listed["rooms"][2]["waiting_events"] == 0).then_some((status, listed))
    })
    .await;
    let mut lot = facts("lot", 0);
    (lot["timers"], lot["state_bytes"]) = (json!(1), listed["rooms"][2]["state_bytes"].clone());
    assert!(lot["state_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{listed}");
    let rooms = json!([facts("a", 1), facts("lobby", 1), lot]);
    assert_eq!(listed, json!({ "rooms": rooms, "next": null }));
    // Pages join without gaps, whatever is in a room.
    let (_, first) = it.get("/operated/rooms?limit=2").await;
    assert_eq!(first, json!({ "rooms": [facts("a", 1), facts("lobby", 1)], "next": "lobby" }));
    let (_, second) = it.get("/operated/rooms?limit=2&after=lobby").await;
    assert_eq!(second, json!({ "rooms": [lot], "next": null }));
    (lot["connections"], lot["next"]) = (json!([]), Value::Null);
    assert_eq!(it.get("/operated/rooms/lot").await, (200, lot));
    let (_, channel) = it.get("/operated").await;
    assert_eq!(
        (&channel["rooms"], &channel["kept_rooms"], &channel["timers"]),
        (&json!(2), &json!(1), &json!(1))
    );
    // Without a timer the room is forgotten after its grace.
    post(&it, "brief", json!({ "add": 1 })).await;
    eventually("the room to be forgotten", async || {
        (it.get("/operated/rooms/brief").await.0 == 404).then_some(())
    })
    .await;
    assert_eq!(it.get("/operated/rooms/lot").await.0, 200, "its timer keeps it");
}

#[tokio::test]
async fn a_rooms_state_is_shown_as_json_and_its_absence_is_said() {
    let it = started(&[]).await;
    assert_eq!(code(it.get("/operated/rooms/a%2Fb/state").await), (404, "no-state".to_owned()));
    post(&it, "a%2Fb", json!({ "add": 3 })).await;
    post(&it, "a%2Fb", json!({ "note": "ü" })).await;
    let (status, shown) = it.get("/operated/rooms/a%2Fb/state").await;
    assert_eq!((status, &shown["room"]), (200, &json!("a/b")));
    assert_eq!(shown["json"], json!({ "sum": 3, "note": "ü" }));
    assert!(shown["bytes"].as_u64().is_some_and(|bytes| bytes > 8), "{shown}");
    assert_eq!(code(it.get("/operated/rooms/a%2Fb/state?limit=1").await).0, 400);
    it.post("/operated/rooms/a%2Fb/reset", json!({})).await;
    assert_eq!(it.get("/operated/rooms/a%2Fb/state").await.0, 404);
}

#[tokio::test]
async fn timers_of_rooms_connections_and_the_channel_are_shown_with_time_left_and_payload() {
    let it = started(&[]).await;
    post(&it, "lot", json!({ "timer": 3_600_000 })).await;
    let (status, shown) = it.get("/operated/rooms/lot/timers").await;
    let timer = &shown["timers"][0];
    assert!(is_about(&timer["due_in_ms"], 3_600_000), "{shown}");
    let expected = json!({ "timers": [{
        "name": "tick", "due_in_ms": timer["due_in_ms"], "repeat_ms": 3_600_000,
        "is_waiting": false, "json": "tock",
    }], "next": null });
    assert_eq!((status, &shown), (200, &expected));
    let none = json!({ "timers": [], "next": null });
    assert_eq!(it.get("/operated/rooms/other/timers").await, (200, none.clone()));

    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let id = ann.ask("id").await;
    let path = format!("/operated/connections/{id}/timers");
    assert_eq!(it.get(&path).await, (200, none.clone()));
    assert_eq!(ann.ask("timer").await, "timer");
    let (_, shown) = it.get(&path).await;
    let timer = &shown["timers"][0];
    assert_eq!((&timer["name"], &timer["repeat_ms"]), (&json!("nap"), &Value::Null));
    assert_eq!(timer["json"], json!({ "for": "ann" }));
    assert!(is_about(&timer["due_in_ms"], 3_600_000), "{shown}");
    let answer = it.get("/operated/connections/nobody/timers").await;
    assert_eq!(code(answer), (404, "unknown-connection".to_owned()));

    assert_eq!(it.get("/operated/timers").await, (200, none.clone()));
    it.post("/operated/messages", json!({ "do": "prepare" })).await;
    let (_, shown) = it.get("/operated/timers?limit=1").await;
    assert_eq!((&shown["timers"][0]["name"], &shown["next"]), (&json!("tide"), &Value::Null));
    assert_eq!(shown["timers"][0]["json"], json!({ "level": 3 }));
    assert_eq!(it.get("/operated/timers?after=tide").await, (200, none));
}

#[tokio::test]
async fn a_session_is_shown_as_the_last_event_has_left_it() {
    let it = started(&["--instance-wait-ms 200", "--wall-budget-ms 4000"]).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let id = ann.ask("id").await;
    let path = format!("/operated/connections/{id}/session");
    let (status, shown) = it.get(&path).await;
    assert_eq!(
        (status, &shown["connection"], &shown["json"]),
        (200, &json!(id), &json!({ "notices": 0 }))
    );
    it.post("/operated/users/ann/notify", json!({ "event": 1 })).await;
    assert_eq!(ann.json().await["notices"], 1);
    assert_eq!(it.get(&path).await.1["json"], json!({ "notices": 1 }));
    // While a handler runs, the question waits; it comes before what is posted.
    ann.send("wait").await;
    for number in 2..10 {
        it.post("/operated/users/ann/notify", json!({ "event": number })).await;
    }
    let (status, shown) = it.get(&path).await;
    assert_eq!(status, 200, "{shown}");
    let notices = shown["json"]["notices"].as_u64().expect("a number");
    assert!(notices <= 9, "{shown}");
    for number in 2..10 {
        assert_eq!(ann.json().await["notices"], number, "no notice is lost");
    }
    let answer = it.get("/operated/connections/nobody/session").await;
    assert_eq!(code(answer), (404, "unknown-connection".to_owned()));
}

#[tokio::test]
async fn a_session_of_a_client_that_reads_nothing_is_answered_with_the_time_that_was_waited() {
    let it = started(&["--instance-wait-ms 100", "--wall-budget-ms 400"]).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let path = format!("/operated/connections/{}/session", ann.ask("id").await);
    // Until the host reads no more of it, since its answers are not read.
    let long = "x".repeat(100_000);
    while tokio::time::timeout(Duration::from_secs(2), ann.send(long.clone())).await.is_ok() {}
    let (status, answer) = it.get(&path).await;
    assert_eq!(code((status, answer.clone())), (504, "session-busy".to_owned()));
    assert!(answer["error"]["message"].as_str().is_some_and(|said| said.contains("500ms")));
}

#[tokio::test]
async fn the_store_is_listed_without_values_and_each_value_is_shown_as_what_it_is() {
    let it = started(&[]).await;
    let empty = json!({ "bytes": 0, "entries": [], "next": null });
    assert_eq!(it.get("/operated/store").await, (200, empty));
    it.post("/operated/messages", json!({ "do": "prepare" })).await;
    let (_, listed) = it.get("/operated/store").await;
    let keys: Vec<_> = listed["entries"].as_array().expect("a list").iter().collect();
    let keys: Vec<_> = keys.iter().map(|entry| entry["key"].as_str().expect("text")).collect();
    assert_eq!(keys, ["motto", "raw/1", "text", "typing:ann"]);
    assert_eq!(
        listed["entries"][0],
        json!({ "key": "motto", "bytes": 21, "version": 1, "expires_in_ms": null })
    );
    assert!(is_about(&listed["entries"][3]["expires_in_ms"], 3_600_000), "{listed}");
    let (_, page) = it.get("/operated/store?limit=1&prefix=t&after=motto").await;
    assert_eq!((&page["entries"][0]["key"], &page["next"]), (&json!("text"), &json!("text")));
    let (_, page) = it.get("/operated/store?limit=1&prefix=t&after=text").await;
    assert_eq!((&page["entries"][0]["key"], &page["next"]), (&json!("typing:ann"), &Value::Null));
    for (key, field, value) in [
        ("motto", "json", json!({ "text": "fair winds" })),
        ("raw%2F1", "binary", json!("//4=")),
        ("text", "text", json!("fair winds")),
        ("typing:ann", "json", json!(true)),
    ] {
        let (status, shown) = it.get(&format!("/operated/store/{key}")).await;
        assert_eq!((status, &shown[field]), (200, &value), "{key}: {shown}");
    }
    for key in ["mott", "mottos", "raw", ""] {
        let answer = it.get(&format!("/operated/store/{key}")).await;
        assert_eq!(code(answer), (404, "unknown-key".to_owned()), "{key}");
    }
    assert_eq!(code(it.get("/operated/timers?prefix=t").await).0, 400);
}

#[tokio::test]
async fn secrets_of_the_channel_are_hidden_in_all_that_it_keeps() {
    let folder = wharf_tests::folder(&["operated"]);
    let file = "[channels.operated.secrets]\nkey = \"correct-horse\"\n";
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    let it = Operated::start_in(folder, &[]).await;
    post(&it, "lot", json!({ "note": "the correct-horse" })).await;
    let (_, shown) = it.get("/operated/rooms/lot/state").await;
    assert_eq!(shown["json"]["note"], "the ***");
    let failing = json!({ "event": { "fail": "the correct-horse" } });
    let (_, answer) = it.post("/operated/rooms/lot/post?wait=true", failing).await;
    let said = answer["error"]["message"].as_str().expect("text");
    assert!(said.contains("the ***") && !said.contains("horse"), "{said}");
}
