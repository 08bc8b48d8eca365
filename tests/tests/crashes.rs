//! Crashes and losses of power at any moment under load: what a client has seen is there after the next start,
//! and no more than was asked for.
//!
//! `WHARF_CRASH_ROUNDS` is the number of crashes, 6 by default, and `WHARF_CRASH_SEED` makes their moments
//! the same again.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use wharf_tests::{Client, FaultyDisk, Value, Wharf, configured, json};

const CLIENTS: usize = 4;

/// A counter as one client knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The highest number that it has seen.
    seen: u64,
    /// Number of its requests to count, also of those without an answer.
    sent: u64,
}

/// The room whose messages are kept, and what one client has seen of it: the step of each offset.
const KEPT: &str = "kept";
type Seen = BTreeMap<u64, Value>;

/// Broadcasts to the room that keeps its messages, and reads from it, until the host is gone. Returns the number of
/// broadcasts, and all that was seen.
async fn talk(address: SocketAddr, name: usize) -> (u64, Seen) {
    let (mut sent, mut seen, mut at) = (0, Seen::new(), None);
    let mut client = Client::connect(address, &format!("/scripted/{name}?wharf_recover=")).await;
    let join = json!({ "do": "join", "room": KEPT });
    let mut next = client.try_send(join.to_string().into()).await;
    while next && let Ok(message) = client.message_or_end().await {
        let message: Value = serde_json::from_slice(&message.into_data()).expect("JSON");
        if let Some(offset) = at.take() {
            seen.insert(offset, message);
        } else if message["type"] == "wharf:position" {
            at = message["offset"].as_u64();
        } else if message.get("done").is_some() {
            sent += 1;
            let step = json!({ "do": "broadcast", "room": KEPT }).to_string();
            next = client.try_send(step.into()).await;
        }
    }
    (sent, seen)
}

/// Returns the number in a variable of the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Returns the next message that has this key; `None` once the connection has ended.
async fn next_with(client: &mut Client, key: &str) -> Option<Value> {
    loop {
        let message = client.message_or_end().await.ok()?;
        let message: Value = serde_json::from_slice(&message.into_data()).expect("JSON");
        if message.get(key).is_some() {
            return Some(message);
        }
    }
}

/// Counts in the store and in a room until the host is gone. Returns the client's knowledge of both.
async fn count(address: SocketAddr, name: usize, room: String) -> (Known, Known) {
    let (mut store, mut in_room) = (Known::default(), Known::default());
    let mut client = Client::connect(address, &format!("/scripted/{name}")).await;
    let join = json!({ "do": "join", "room": room });
    if !client.try_send(join.to_string().into()).await {
        return (store, in_room);
    }
    loop {
        let post = json!({ "do": "post", "room": room }).to_string();
        in_room.sent += 1;
        if !client.try_send(post.into()).await {
            return (store, in_room);
        }
        let Some(told) = next_with(&mut client, "event").await else {
            return (store, in_room);
        };
        in_room.seen = in_room.seen.max(told["event"].as_u64().expect("a number"));
        let increment = json!({ "do": "increment", "milliseconds": 3_600_000 }).to_string();
        store.sent += 1;
        if !client.try_send(increment.into()).await {
            return (store, in_room);
        }
        // The answer to the post comes before it or is among those that were skipped.
        let sum = loop {
            let Some(answer) = next_with(&mut client, "done").await else {
                return (store, in_room);
            };
            if let Some(sum) = answer["result"].as_u64() {
                break sum;
            }
        };
        store.seen = store.seen.max(sum);
    }
}

async fn ask(client: &mut Client, step: Value) -> u64 {
    client.send_json(step).await;
    let answer = next_with(client, "done").await.expect("the host serves");
    answer["result"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_seen_survives_crashes_at_any_moment() {
    survive(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_seen_survives_losses_of_power_at_any_moment() {
    // Of the writes since the last sync an arbitrary part is lost, and the last one may be there in part.
    survive(Some(FaultyDisk::new())).await;
}

/// Ends the host by a loss of power on this disk, or by `kill -9`, many times.
async fn survive(disk: Option<FaultyDisk>) {
    let wrapper = disk.as_ref().map_or_else(Vec::new, |disk| disk.wrapper().to_vec());
    let flags: &[&str] = if disk.is_some() { &["--data-sync group"] } else { &[] };
    let rounds = number("WHARF_CRASH_ROUNDS").unwrap_or(6);
    let seed = number("WHARF_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("WHARF_CRASH_SEED={seed}");
    let rule = format!(
        "channels.scripted.history = {{ rooms = \"{KEPT}\", messages = 100000, bytes = \"64MiB\" }}"
    );
    let mut wharf = Wharf::start_under(&wrapper, configured(&["scripted"], &rule), flags).await;
    // The messages of the room, as those who read it have seen them, and their number at least and at most.
    let (mut log, mut top): (Seen, u64) = Default::default();
    // The counters before each round: of the store, and of each client's room.
    let (mut stored, mut events) = (0, [0; CLIENTS]);
    for round in 0..rounds {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| tokio::spawn(count(wharf.address, name, format!("room {name}"))))
            .collect();
        let talks: Vec<_> =
            (0..CLIENTS).map(|name| tokio::spawn(talk(wharf.address, 100 + name))).collect();
        // SplitMix64 of the seed and the round.
        let mut moment = seed.wrapping_add((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        moment = (moment ^ (moment >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        moment = (moment ^ (moment >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        tokio::time::sleep(Duration::from_millis(20 + moment % 400)).await;
        match &disk {
            Some(disk) => {
                let writes = (moment >> 32) % 16;
                disk.set(&format!("power={writes},{moment}"));
                wharf.stopped().await;
                disk.set("");
            }
            None => wharf.kill(),
        }
        let mut known = Vec::new();
        for client in clients {
            known.push(client.await.expect("no client panics"));
        }
        let mut talked = Vec::new();
        for talk in talks {
            talked.push(talk.await.expect("no client panics"));
        }
        wharf.start_again_under(&wrapper, flags).await;

        let about = format!("round {round}, WHARF_CRASH_SEED={seed}");
        let mut client = wharf.connect("/scripted/checker").await;
        let seen = known.iter().map(|(store, _)| store.seen).max().unwrap_or(0);
        let sent: u64 = known.iter().map(|(store, _)| store.sent).sum();
        let now =
            ask(&mut client, json!({ "do": "increment", "milliseconds": 3_600_000 })).await - 1;
        assert!(now >= seen, "{about}: {seen} was answered, and {now} is there");
        assert!(now <= stored + sent, "{about}: {now} is more than {stored} and {sent}");
        stored = now + 1;
        let read = json!({ "do": "history", "room": KEPT, "limit": 1000 });
        client.send_json(read).await;
        let answer = next_with(&mut client, "done").await.expect("the host serves");
        let entries = answer["result"].as_array().expect("a list").clone();
        let entry = |entry: &Value| (entry[0].as_u64().expect("an offset"), entry[1].clone());
        let now: Seen = entries.iter().map(entry).collect();
        let last = now.keys().last().copied().unwrap_or(0);
        // Each client's end tells the room as well, if the host lives long enough.
        let sent: u64 = talked.iter().map(|(sent, _)| sent + 1).sum();
        assert!(last <= top + sent, "{about}: {last} messages are more than {top} and {sent}");
        top = last;
        for (offset, message) in talked.into_iter().flat_map(|(_, seen)| seen) {
            assert!(offset <= last, "{about}: message {offset} was seen, and {last} is the last");
            let known = log.entry(offset).or_insert_with(|| message.clone());
            assert_eq!(*known, message, "{about}: message {offset} is another one");
        }
        for (offset, text) in now {
            let text = text.as_str().expect("text");
            let message: Value = serde_json::from_str(text).expect("JSON");
            let known = log.get(&offset);
            assert!(known.is_none_or(|known| *known == message), "{about}: message {offset}");
        }
        for (name, (_, in_room)) in known.iter().enumerate() {
            let read = json!({ "do": "read_room", "room": format!("room {name}") });
            let now = ask(&mut client, read).await;
            let (Known { seen, sent }, before) = (*in_room, events[name]);
            assert!(now >= seen, "{about}: {seen} was broadcast, and {now} is there");
            assert!(now <= before + sent, "{about}: {now} is more than {before} and {sent}");
            events[name] = now;
        }
    }
    assert!(stored > rounds && events.iter().sum::<u64>() > rounds, "nothing was counted");
    assert!(top > rounds, "nobody has said anything");
}
