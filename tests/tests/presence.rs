//! Presence: the list of a room, its watchers, and no entries of connections that have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wharf_tests::{
    Client, Ended, Hosts, Setup, Value, Wharf, artefacts, eventually, json, on_one_host_and_on_two,
};

on_one_host_and_on_two! {
    a_watcher_is_sent_the_list_and_then_what_changes_about_it
    somebody_with_several_tabs_is_present_until_the_last_one_goes
    a_client_that_reconnects_within_the_grace_was_never_away
    tracking_is_an_effect_that_the_event_itself_sees
    lists_come_in_pages_with_their_number
    what_changes_back_is_not_told_and_what_changes_often_is_told_once
    who_watches_no_longer_is_told_no_more
    the_channel_itself_hears_of_changes_and_so_may_others
    whatever_happens_there_is_never_a_ghost
}

/// Short times, so that tests need not wait for long.
const QUICK: &[&str] = &["--presence-interval-ms 20", "--presence-grace-ms 300"];
/// A grace so long that no entry goes by itself during a test.
const PATIENT: &[&str] = &["--presence-interval-ms 20", "--presence-grace-ms 60000"];

async fn ok(client: &mut Client, order: Value) {
    let shown = order.to_string();
    assert_eq!(client.ask_json(order).await, "ok", "{shown}");
}

fn track(room: &str, key: &str, meta: impl Into<Value>) -> Value {
    json!({ "do": "track", "room": room, "key": key, "meta": meta.into() })
}

async fn list(client: &mut Client, room: &str) -> Value {
    client.ask_json(json!({ "do": "list", "room": room })).await
}

async fn count(client: &mut Client, room: &str) -> Value {
    client.ask_json(json!({ "do": "count", "room": room })).await
}

/// Asserts that the list of a room is this. Metadata of one key has no order among hosts.
async fn is_listed(hosts: &Hosts, client: &mut Client, room: &str, expected: Value) {
    let sorted = |mut list: Value| {
        if hosts.are_several() {
            for metas in list.as_object_mut().expect("a list").values_mut() {
                metas.as_array_mut().expect("metadata").sort_by_key(Value::to_string);
            }
        }
        list
    };
    hosts.come_to(sorted(expected), async || sorted(list(client, room).await)).await;
}

async fn is_counted(hosts: &Hosts, client: &mut Client, room: &str, expected: usize) {
    hosts.come_to(json!(expected), async || count(client, room).await).await;
}

/// Waits until the list of a room is this.
async fn becomes(client: &mut Client, room: &str, expected: Value) {
    eventually(&format!("the list {expected}"), async || {
        (list(client, room).await == expected).then_some(())
    })
    .await;
}

async fn a_watcher_is_sent_the_list_and_then_what_changes_about_it(setup: Setup) {
    let hosts = setup.start(&["presence"], PATIENT).await;
    let mut ann = hosts.connect(0, "/presence/lobby?user=ann").await;
    let online = json!({ "metas": [{ "status": "online" }] });
    assert_eq!(
        ann.json().await,
        json!({ "type": "presence_state", "room": "lobby", "sequence": 1, "present": { "ann": online } })
    );
    let mut bob = hosts.connect(1, "/presence/lobby?user=bob").await;
    let both = json!({ "ann": online, "bob": online });
    let mut present = bob.json().await["present"].take();
    if hosts.are_several() && present != both {
        // His host hears of her from the other one, and tells him like any other change.
        let told = bob.json().await;
        assert_eq!((&told["joins"], &told["leaves"]), (&json!({ "ann": online }), &json!([])));
        present["ann"] = told["joins"]["ann"].clone();
    }
    assert_eq!(present, both);
    let joined = json!({
        "type": "presence_diff", "room": "lobby", "sequence": 2, "joins": { "bob": online }, "leaves": []
    });
    assert_eq!(ann.json().await, joined);
    // Bob has seen it already: its number is not higher than that of his list.
    if !hosts.are_several() {
        assert_eq!(bob.json().await, joined);
    }
    bob.send_json(json!({ "type": "status", "status": "away" })).await;
    let away = json!({ "bob": { "metas": [{ "status": "away" }] } });
    let told = ann.json().await;
    assert_eq!((&told["joins"], &told["sequence"]), (&away, &json!(3)));
    bob.send_json(json!({ "type": "hide" })).await;
    let told = ann.json().await;
    assert_eq!(
        (&told["joins"], &told["leaves"], &told["sequence"]),
        (&json!({}), &json!(["bob"]), &json!(4))
    );
    assert_eq!(
        ann.ask_json(json!({ "type": "who" })).await,
        json!({ "type": "who", "count": 1, "users": ["ann"] })
    );
}

async fn somebody_with_several_tabs_is_present_until_the_last_one_goes(setup: Setup) {
    let hosts = setup.start(&["tracks"], QUICK).await;
    let mut watcher = hosts.connect(0, "/tracks?room=lobby").await;
    let mut phone = hosts.connect(1, "/tracks?room=lobby&key=ann&meta=phone").await;
    let laptop = hosts.connect(0, "/tracks?room=lobby&key=ann&meta=laptop").await;
    is_listed(&hosts, &mut watcher, "lobby", json!({ "ann": ["phone", "laptop"] })).await;
    is_counted(&hosts, &mut watcher, "lobby", 1).await;
    ok(&mut phone, json!({ "do": "update", "room": "lobby", "meta": 2 })).await;
    is_listed(&hosts, &mut watcher, "lobby", json!({ "ann": [2, "laptop"] })).await;
    laptop.close(1000, "").await;
    becomes(&mut watcher, "lobby", json!({ "ann": [2] })).await;
    phone.reset();
    becomes(&mut watcher, "lobby", json!({})).await;
}

async fn a_client_that_reconnects_within_the_grace_was_never_away(setup: Setup) {
    let hosts = setup.start(&["tracks"], PATIENT).await;
    let mut watcher = hosts.connect(0, "/tracks?room=lobby&watch=1").await;
    assert_eq!(watcher.json().await["type"], "presence_state");
    let mut others = hosts.connect(1, "/tracks?room=lobby").await;
    let ann = hosts.connect(0, "/tracks?room=lobby&key=ann&meta=1").await;
    assert_eq!(watcher.json().await["joins"], json!({ "ann": { "metas": ["1"] } }));
    is_listed(&hosts, &mut others, "lobby", json!({ "ann": ["1"] })).await;
    ann.reset();
    eventually("nobody to be counted", async || {
        (count(&mut others, "lobby").await == 0).then_some(())
    })
    .await;
    is_listed(&hosts, &mut others, "lobby", json!({ "ann": ["1"] })).await;
    let mut ann = hosts.connect(1, "/tracks?room=lobby&key=ann&meta=1").await;
    is_counted(&hosts, &mut others, "lobby", 1).await;
    // The watcher gets the next change next: the number has not grown meanwhile.
    ok(&mut ann, track("lobby", "ann", 2)).await;
    let told = watcher.json().await;
    assert_eq!((&told["joins"]["ann"]["metas"], &told["sequence"]), (&json!([2]), &json!(2)));
    // A connection that leaves the room explicitly is off the list at once.
    ok(&mut ann, json!({ "do": "leave", "room": "lobby" })).await;
    is_listed(&hosts, &mut others, "lobby", json!({})).await;
    assert_eq!(watcher.json().await["leaves"], json!(["ann"]));
}

async fn tracking_is_an_effect_that_the_event_itself_sees(setup: Setup) {
    let hosts = setup.start(&["tracks"], PATIENT).await;
    let mut ann = hosts.connect(0, "/tracks?room=lobby").await;
    let mut bob = hosts.connect(1, "/tracks?room=lobby&key=bob&meta=1").await;
    let order = |what: &str| json!({ "do": what, "room": "lobby", "key": "ann" });
    ann.send_json(order("track_and_fail")).await;
    assert_eq!(ann.json().await["code"], "INTERNAL_ERROR");
    is_listed(&hosts, &mut bob, "lobby", json!({ "bob": ["1"] })).await;
    is_listed(&hosts, &mut ann, "lobby", json!({ "bob": ["1"] })).await;
    assert_eq!(ann.ask_json(order("track_and_look")).await, json!([1, 1, 2, ["ann", "bob"]]));
    is_listed(&hosts, &mut bob, "lobby", json!({ "ann": [1], "bob": ["1"] })).await;
    // A connection has one entry in a room: another key replaces the first.
    ok(&mut bob, track("lobby", "carol", json!({ "a": [1, null] }))).await;
    let present = json!({ "ann": [1], "carol": [{ "a": [1, null] }] });
    is_listed(&hosts, &mut ann, "lobby", present).await;
    ok(&mut bob, json!({ "do": "untrack", "room": "lobby" })).await;
    ok(&mut bob, json!({ "do": "untrack", "room": "lobby" })).await;
    is_listed(&hosts, &mut ann, "lobby", json!({ "ann": [1] })).await;
}

async fn lists_come_in_pages_with_their_number(setup: Setup) {
    let hosts = setup.start(&["tracks"], PATIENT).await;
    let mut clients = Vec::new();
    for (number, key) in ["e", "c", "a", "d", "b"].into_iter().enumerate() {
        clients.push(hosts.connect(number, &format!("/tracks?room=lobby&key={key}")).await);
    }
    let client = &mut clients[0];
    is_counted(&hosts, client, "lobby", 5).await;
    let mut page = async |after: Option<&str>, limit: u32| {
        let order = json!({ "do": "page", "room": "lobby", "after": after, "limit": limit });
        client.ask_json(order).await
    };
    let first = page(None, 2).await;
    assert_eq!(first["keys"], json!(["a", "b"]));
    // Each host has numbers of its own, and gathers changes of others.
    assert!(first["sequence"] == 5 || hosts.are_several(), "{first}");
    assert_eq!(page(Some("b"), 2).await["keys"], json!(["c", "d"]));
    assert_eq!(page(Some("bb"), u32::MAX).await["keys"], json!(["c", "d", "e"]));
    assert_eq!(page(Some("e"), 2).await["keys"], json!([]));
    assert_eq!(page(None, 0).await["keys"], json!([]));
}

async fn what_changes_back_is_not_told_and_what_changes_often_is_told_once(setup: Setup) {
    let hosts = setup.start(&["tracks"], &["--presence-interval-ms 1000"]).await;
    let mut watcher = hosts.connect(0, "/tracks?room=lobby&watch=1").await;
    assert_eq!(watcher.json().await["present"], json!({}));
    let mut ann = hosts.connect(1, "/tracks?room=lobby").await;
    for number in 0..20 {
        ok(&mut ann, track("lobby", "ann", number)).await;
        ok(&mut ann, track("lobby", "eve", number)).await;
    }
    ok(&mut ann, track("lobby", "bob", "last")).await;
    let told = watcher.json().await;
    // A slow machine may need more than one interval for these events.
    let mut joins = told["joins"].clone();
    let mut tellings = 1;
    while joins["bob"]["metas"] != json!(["last"]) {
        joins = watcher.json().await["joins"].clone();
        tellings += 1;
    }
    assert!(tellings < 10, "{tellings} messages for 41 changes");
}

async fn who_watches_no_longer_is_told_no_more(setup: Setup) {
    let hosts = setup.start(&["tracks"], QUICK).await;
    let mut watcher = hosts.connect(0, "/tracks?room=lobby&watch=1").await;
    let mut leaver = hosts.connect(1, "/tracks?room=lobby&watch=1").await;
    let mut stays = hosts.connect(0, "/tracks?room=lobby&watch=1").await;
    for client in [&mut watcher, &mut leaver, &mut stays] {
        assert_eq!(client.json().await["type"], "presence_state");
    }
    ok(&mut watcher, json!({ "do": "unwatch", "room": "lobby" })).await;
    ok(&mut leaver, json!({ "do": "leave", "room": "lobby" })).await;
    let mut ann = hosts.connect(1, "/tracks?room=lobby").await;
    ok(&mut ann, track("lobby", "ann", 1)).await;
    assert_eq!(stays.json().await["joins"], json!({ "ann": { "metas": [1] } }));
    // A message to the others would come before these answers.
    is_counted(&hosts, &mut watcher, "lobby", 1).await;
    is_counted(&hosts, &mut leaver, "lobby", 1).await;
    // Watching again sends the list again.
    watcher.send_json(json!({ "do": "watch", "room": "lobby" })).await;
    let (one, other) = (watcher.json().await, watcher.json().await);
    let state = if one == "ok" { other } else { one };
    assert_eq!(state["present"], json!({ "ann": { "metas": [1] } }));
}

async fn the_channel_itself_hears_of_changes_and_so_may_others(setup: Setup) {
    let hosts = setup.start(&["tracks"], QUICK).await;
    let mut listener = hosts.connect(0, "/tracks?room=told").await;
    let mut ann = hosts.connect(1, "/tracks?room=lobby&key=ann&meta=1").await;
    let heard = json!({ "heard": "lobby", "sequence": 1, "joins": { "ann": ["1"] }, "leaves": [] });
    assert_eq!(listener.json().await, heard);
    ok(&mut ann, json!({ "do": "untrack", "room": "lobby" })).await;
    let heard = listener.json().await;
    assert_eq!((&heard["joins"], &heard["leaves"]), (&json!({}), &json!(["ann"])));
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said() {
    let flags = [
        "--max-presence-bytes 100",
        "--max-room-presence-bytes 1024",
        "--max-channel-presence-bytes 2048",
    ];
    let wharf = Wharf::start(&["tracks", "raw"], &flags).await;
    let mut ann = wharf.connect("/tracks?room=lobby").await;
    let too_long = "k".repeat(256);
    let bytes = |room: &str, key: &str, bytes: usize| json!({ "do": "track_bytes", "room": room, "key": key, "bytes": bytes });
    let in_room = |what: &str, room: &str| json!({ "do": what, "room": room });
    for (order, answer) in [
        (track("elsewhere", "ann", 1), "not-a-member FixCall"),
        (in_room("watch", "elsewhere"), "not-a-member FixCall"),
        (track("", "ann", 1), "room-name-invalid FixCall"),
        (track(&too_long, "ann", 1), "room-name-invalid FixCall"),
        (in_room("untrack", ""), "room-name-invalid FixCall"),
        (in_room("unwatch", ""), "room-name-invalid FixCall"),
        (track("lobby", "", 1), "presence-key-invalid FixCall"),
        (track("lobby", &too_long, 1), "presence-key-invalid FixCall"),
        (json!({ "do": "update", "room": "lobby", "meta": 1 }), "not-tracked FixCall"),
        (bytes("lobby", "ann", 101), "metadata-too-big ShedLoad"),
        (bytes("lobby", "ann", 100), "ok"),
        (json!({ "do": "update", "room": "lobby", "meta": 1 }), "ok"),
        (in_room("untrack", "nowhere"), "ok"),
        (in_room("unwatch", "nowhere"), "ok"),
    ] {
        assert_eq!(ann.ask_json(order.clone()).await, answer, "{order}");
    }
    assert_eq!(list(&mut ann, "nowhere").await, json!({}));
    assert_eq!(count(&mut ann, "").await, 0);

    // A room's list is bounded, and so are all lists together. An entry that goes makes room.
    let mut refused = BTreeMap::new();
    let mut clients = Vec::new();
    for number in 0..16 {
        let room = format!("room {}", number % 2);
        let mut client = wharf.connect(&format!("/tracks?room={}", room.replace(' ', "+"))).await;
        let answer = client.ask_json(bytes(&room, &format!("key {number}"), 100)).await;
        if answer != "ok" {
            assert_eq!(answer, "presence-full ShedLoad");
            *refused.entry(room.clone()).or_insert(0) += 1;
        }
        clients.push((client, room, number));
    }
    assert_eq!(refused.len(), 2, "{refused:?}");
    let (first, room, _) = &mut clients[0];
    ok(first, json!({ "do": "update", "room": room, "meta": "x".repeat(98) })).await;
    ok(first, json!({ "do": "untrack", "room": room })).await;
    let (last, room, number) = &mut clients[14];
    ok(last, bytes(room, &format!("key {number}"), 100)).await;

    let mut raw = wharf.connect("/raw").await;
    assert_eq!(raw.ask("join lobby").await, "ok");
    for metadata in ["", "{", "{}{}", "nul", "\"", "[1,]", "{\"a\"}", "\u{0}"] {
        let answer = raw.ask(&format!("track lobby ann {metadata}")).await;
        assert_eq!(answer, "metadata-invalid", "{metadata:?}");
    }
    let deep = "[".repeat(40) + &"]".repeat(40);
    for metadata in ["{}", " 1 ", "null", "\"ü\"", deep.as_str()] {
        assert_eq!(raw.ask(&format!("track lobby ann {metadata}")).await, "ok", "{metadata:?}");
    }
}

// The rest of the file shows by random actions that no entry outlives its connections.

/// There are two rooms and four keys, so that there are collisions.
const ROOMS: [&str; 2] = ["a", "b"];
const KEYS: [&str; 4] = ["ann", "bob", "carol", "dave"];
const ACTORS: usize = 6;
const STEPS: usize = 60;

/// Pseudorandom numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// A client that acts at random, and knows the rooms in which it is present.
struct Actor {
    client: Option<Client>,
    joined: BTreeSet<&'static str>,
    /// Key and metadata by room.
    present: BTreeMap<&'static str, (&'static str, Value)>,
    dice: Dice,
}

impl Actor {
    async fn step(&mut self, hosts: &Hosts) {
        let (room, key, meta) = (self.dice.pick(&ROOMS), self.dice.pick(&KEYS), self.dice.roll(3));
        let Some(client) = &mut self.client else {
            // The client is a new user, or comes back under a known key.
            let mut path = "/tracks".to_owned();
            if self.dice.roll(2) == 0 {
                path = format!("/tracks?room={room}&key={key}&meta={meta}");
                self.joined.insert(room);
                self.present.insert(room, (key, json!(meta.to_string())));
            }
            self.client = Some(hosts.connect(self.dice.roll(2), &path).await);
            return;
        };
        match self.dice.roll(20) {
            0..=4 if !self.joined.contains(room) => {
                ok(client, json!({ "do": "join", "room": room })).await;
                self.joined.insert(room);
            }
            0..=9 if self.joined.contains(room) => {
                ok(client, track(room, key, meta)).await;
                self.present.insert(room, (key, json!(meta)));
            }
            10..=11 => {
                if let Some((_, present)) = self.present.get_mut(room) {
                    ok(client, json!({ "do": "update", "room": room, "meta": meta })).await;
                    *present = json!(meta);
                }
            }
            12 => {
                ok(client, json!({ "do": "untrack", "room": room })).await;
                self.present.remove(room);
            }
            13 => {
                ok(client, json!({ "do": "leave", "room": room })).await;
                self.joined.remove(room);
                self.present.remove(room);
            }
            end @ 14..=17 => {
                if let Some(mut client) = self.client.take() {
                    match end {
                        14 => client.close(1000, "").await,
                        15 => client.reset(),
                        16 => {
                            client.send_json(json!({ "do": "panic" })).await;
                            let ended = Ended::Closed(1011, "guest-failure".to_owned());
                            assert_eq!(client.ended().await, ended);
                        }
                        _ => {
                            client.send_json(json!({ "do": "close" })).await;
                            let (_, ended) = client.rest().await;
                            assert_eq!(ended, Ended::Closed(4000, "asked for".to_owned()));
                        }
                    }
                }
                self.joined.clear();
                self.present.clear();
            }
            _ => {}
        }
    }
}

/// Metadata by room and key.
type Lists = BTreeMap<String, BTreeMap<String, Value>>;

/// A client's own lists, to which it applies messages as the contract says.
#[derive(Default)]
struct Told {
    lists: Lists,
    sequences: BTreeMap<String, u64>,
}

impl Told {
    fn apply(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let object = |value: &Value| value.as_object().expect("an object").clone();
        let room =
            text(if message["room"].is_null() { &message["heard"] } else { &message["room"] });
        let sequence = message["sequence"].as_u64().expect("a number");
        let list = self.lists.entry(room.clone()).or_default();
        if message["type"] == "presence_state" {
            list.extend(
                object(&message["present"]).into_iter().map(|(k, v)| (k, v["metas"].clone())),
            );
            assert!(self.sequences.insert(room, sequence).is_none(), "one list for each watch");
            return;
        }
        let seen = self.sequences.insert(room, sequence);
        assert!(seen.is_none_or(|seen| seen <= sequence), "numbers never fall");
        if seen.is_some_and(|seen| seen == sequence) {
            return;
        }
        for (key, value) in object(&message["joins"]) {
            let metas = value.get("metas").cloned().unwrap_or(value);
            list.insert(key, metas);
        }
        for key in message["leaves"].as_array().expect("a list") {
            list.remove(&text(key));
        }
    }
}

/// Listens until the test ends.
fn listen(mut client: Client) -> Arc<Mutex<Told>> {
    let told = Arc::new(Mutex::new(Told::default()));
    let kept = told.clone();
    tokio::spawn(async move {
        loop {
            let message = client.anything().await.into_text().expect("text");
            let Ok(message) = serde_json::from_str::<Value>(&message) else { continue };
            if message != "ok" {
                kept.lock().expect("nobody panics").apply(&message);
            }
        }
    });
    told
}

/// Connects a member of both rooms, which watches them.
async fn watcher(hosts: &Hosts, host: usize) -> Client {
    let mut watcher = hosts.connect(host, "/tracks").await;
    for room in ROOMS {
        ok(&mut watcher, json!({ "do": "join", "room": room })).await;
    }
    for room in ROOMS {
        watcher.send_json(json!({ "do": "watch", "room": room })).await;
    }
    watcher
}

/// Joins, leaves, closes, resets, traps and reloads come in any order. In the end the list, the
/// watchers' lists and the channel's list agree with the connections that are present.
async fn whatever_happens_there_is_never_a_ghost(setup: Setup) {
    let seed = RandomState::new().hash_one(0) | 1;
    println!("seed {seed}");
    let hosts = Arc::new(setup.start(&["tracks"], QUICK).await);
    let mut told = vec![listen(watcher(&hosts, 0).await)];
    if hosts.are_several() {
        // Both tell their plugins of each change, in no order among each other.
        told.push(listen(watcher(&hosts, 1).await));
    } else {
        told.push(listen(hosts.connect(0, "/tracks?room=told").await));
    }
    let actors = (0..ACTORS).map(|number| {
        let hosts = hosts.clone();
        let dice = Dice(seed.wrapping_mul(2 * number as u64 + 1));
        tokio::spawn(async move {
            let (client, joined, present) = Default::default();
            let mut actor = Actor { client, joined, present, dice };
            for _ in 0..STEPS {
                actor.step(&hosts).await;
            }
            actor
        })
    });
    let actors: Vec<_> = actors.collect();
    let component = artefacts::component("tracks");
    for version in 1..=3 {
        let mut next = component.clone();
        // A custom section makes it another file.
        next.extend_from_slice(&[0, 3, 2, b'v', version]);
        hosts.swap("tracks", &next).await;
    }
    let mut model: Lists = ROOMS.map(|room| (room.to_owned(), BTreeMap::new())).into();
    let mut kept = Vec::new();
    for actor in actors {
        let actor = actor.await.expect("an actor");
        for (room, (key, meta)) in &actor.present {
            let list = model.get_mut(*room).expect("a room of the two");
            let metas = list.entry((*key).to_owned()).or_insert(json!([]));
            metas.as_array_mut().expect("a list").push(meta.clone());
        }
        kept.push(actor);
    }
    sorted(&mut model);
    let mut askers = Vec::new();
    for host in 0..hosts.all().len() {
        askers.push(hosts.connect(host, "/tracks").await);
    }
    agree(&mut askers, &model, &told).await;
    // No entry is removed later.
    tokio::time::sleep(Duration::from_millis(700)).await;
    agree(&mut askers, &model, &told).await;
    for asker in &mut askers {
        for room in ROOMS {
            is_counted(&hosts, asker, room, model[room].len()).await;
        }
    }
    for actor in kept {
        if let Some(client) = actor.client {
            client.reset();
        }
    }
    let nobody: Lists = ROOMS.map(|room| (room.to_owned(), BTreeMap::new())).into();
    agree(&mut askers, &nobody, &told).await;
}

/// Sorts the metadata of each key, since the model does not know the order of its connections.
fn sorted(lists: &mut Lists) {
    for metas in lists.values_mut().flat_map(BTreeMap::values_mut) {
        metas.as_array_mut().expect("a list").sort_by_key(Value::to_string);
    }
}

/// Waits until the lists of all hosts and those of all listeners agree with the model.
async fn agree(askers: &mut [Client], model: &Lists, told: &[Arc<Mutex<Told>>]) {
    let mut before = Vec::new();
    eventually(&format!("everybody to say {model:?}"), async || {
        let mut all = Vec::new();
        for asker in &mut *askers {
            let mut asked = Lists::new();
            for room in ROOMS {
                let list = list(asker, room).await;
                let list = list.as_object().expect("an object").clone();
                asked.insert(room.to_owned(), list.into_iter().collect());
            }
            all.push(asked);
        }
        all.extend(told.iter().map(|told| told.lock().expect("nobody panics").lists.clone()));
        for lists in &mut all {
            for room in ROOMS {
                lists.entry(room.to_owned()).or_default();
            }
            lists.remove("told");
            sorted(lists);
        }
        let agreed = all.iter().all(|lists| lists == model);
        if !agreed && all != before {
            // Hosts, watchers and at last the channel itself, for a test that fails.
            println!("they say {all:?}");
            before = all;
        }
        agreed.then_some(())
    })
    .await;
}
