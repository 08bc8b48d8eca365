//! Rooms: the receivers of broadcasts, their one order, and the limits.
//!
//! The limits are those of a host, and are tested on one.

use wharf_tests::{Client, Hosts, Setup, Value, Wharf, eventually, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    members_of_a_room_hear_each_other_and_nobody_else_does
    all_members_see_all_broadcasts_in_one_order
    a_connection_in_several_rooms_hears_a_broadcast_to_them_once
    a_broadcast_to_all_reaches_the_whole_channel_and_no_other
    a_message_to_one_connection_reaches_only_that_one_while_it_is_open
    counts_and_members_follow_joins_leaves_and_ends
    members_come_in_pages
    a_room_of_more_than_one_page_is_listed_whole
    rooms_of_two_channels_are_two_rooms
}

async fn id(client: &mut Client) -> String {
    let answer = client.ask_json(json!({ "do": "id" })).await;
    answer["id"].as_str().expect("an id").to_owned()
}

async fn count(client: &mut Client, room: &str) -> u64 {
    let answer = client.ask_json(json!({ "do": "count", "room": room })).await;
    answer["count"].as_u64().expect("a count")
}

/// Asserts that nothing comes before the count of a room.
async fn only_counts(hosts: &Hosts, client: &mut Client, room: &str, expected: u64) {
    hosts.settle().await;
    hosts.come_to(expected, async || count(client, room).await).await;
}

fn broadcast(rooms: &[&str], text: &str, skip: bool) -> Value {
    json!({ "do": "broadcast", "rooms": rooms, "text": text, "skip": skip })
}

async fn members_of_a_room_hear_each_other_and_nobody_else_does(setup: Setup) {
    let hosts = setup.start(&["rooms"], &[]).await;
    let mut ann = hosts.connect(0, "/rooms?join=harbour").await;
    let mut bob = hosts.connect(1, "/rooms?join=harbour").await;
    let mut eve = hosts.connect(0, "/rooms?join=Harbour").await;
    ann.send_json(broadcast(&["harbour"], "ahoy", false)).await;
    assert_eq!(ann.text().await, "ahoy");
    assert_eq!(bob.text().await, "ahoy");
    bob.send_json(broadcast(&["harbour"], "ahoy, Ann", true)).await;
    assert_eq!(ann.text().await, "ahoy, Ann");
    // Any other message to Bob or Eve would come before the answers to these.
    only_counts(&hosts, &mut bob, "harbour", 2).await;
    only_counts(&hosts, &mut eve, "harbour", 2).await;
    // Names are compared bytewise.
    only_counts(&hosts, &mut eve, "Harbour", 1).await;
}

async fn all_members_see_all_broadcasts_in_one_order(setup: Setup) {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 150;
    let hosts = setup.start(&["rooms"], &["--workers 4"]).await;
    let mut listening = Vec::new();
    for sender in 0..SENDERS {
        let mut client = hosts.connect(sender, "/rooms?join=square").await;
        for message in 0..MESSAGES {
            client
                .feed(broadcast(&["square"], &format!("{sender} {message}"), false).to_string())
                .await;
        }
        listening.push(client);
    }
    let listeners = listening.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.flush().await;
            let mut seen = Vec::new();
            while seen.len() < SENDERS * MESSAGES {
                seen.push(client.text().await);
            }
            seen
        })
    });
    let mut sequences = Vec::new();
    for listener in listeners.collect::<Vec<_>>() {
        sequences.push(listener.await.expect("a listener"));
    }
    let first = &sequences[0];
    for host in 0..hosts.all().len() {
        // Each host's broadcasts have one order for all. Hosts have none among each other.
        let of_host = |seen: &[String]| -> Vec<String> {
            let number = |text: &String| text.split(' ').next().and_then(|n| n.parse().ok());
            let is_of_host = |number: usize| number % hosts.all().len() == host;
            seen.iter().filter(|text| number(text).is_some_and(is_of_host)).cloned().collect()
        };
        for other in &sequences[1..] {
            assert!(of_host(other) == of_host(first), "two members have seen different orders");
        }
    }
    for sender in 0..SENDERS {
        let own = first.iter().filter(|text| text.starts_with(&format!("{sender} ")));
        let expected = (0..MESSAGES).map(|message| format!("{sender} {message}"));
        assert!(own.cloned().eq(expected), "a sender's messages keep their order");
    }
}

async fn a_connection_in_several_rooms_hears_a_broadcast_to_them_once(setup: Setup) {
    let hosts = setup.start(&["rooms"], &[]).await;
    let mut both = hosts.connect(0, "/rooms?join=a").await;
    both.ask_json(json!({ "do": "join", "room": "b" })).await;
    let mut only_b = hosts.connect(1, "/rooms?join=b").await;
    let mut neither = hosts.connect(0, "/rooms").await;
    neither.send_json(broadcast(&["b", "a", "nobody", "a"], "to both", false)).await;
    assert_eq!(both.text().await, "to both");
    assert_eq!(only_b.text().await, "to both");
    both.send_json(broadcast(&["a", "b"], "to the other", true)).await;
    assert_eq!(only_b.text().await, "to the other");
    for client in [&mut both, &mut only_b, &mut neither] {
        only_counts(&hosts, client, "b", 2).await;
    }
}

async fn a_broadcast_to_all_reaches_the_whole_channel_and_no_other(setup: Setup) {
    let hosts = setup.start(&["rooms", "echo"], &[]).await;
    let mut ann = hosts.connect(0, "/rooms?join=a").await;
    let mut bob = hosts.connect(1, "/rooms").await;
    let mut other_channel = hosts.connect(0, "/echo").await;
    ann.send_json(json!({ "do": "broadcast_to_all", "text": "everybody", "skip": false })).await;
    assert_eq!(ann.text().await, "everybody");
    assert_eq!(bob.text().await, "everybody");
    ann.send_json(json!({ "do": "broadcast_to_all", "text": "the others", "skip": true })).await;
    assert_eq!(bob.text().await, "the others");
    only_counts(&hosts, &mut ann, "a", 1).await;
    assert_eq!(other_channel.ask("only mine").await, "only mine");
}

async fn a_message_to_one_connection_reaches_only_that_one_while_it_is_open(setup: Setup) {
    let hosts = setup.start(&["rooms"], &[]).await;
    let mut ann = hosts.connect(0, "/rooms").await;
    let mut bob = hosts.connect(1, "/rooms").await;
    let bobs = id(&mut bob).await;
    let to_bob = json!({ "do": "send_to", "id": bobs, "text": "psst" });
    assert_eq!(ann.ask_json(to_bob.clone()).await, "sent");
    assert_eq!(bob.text().await, "psst");
    let own = id(&mut ann).await;
    ann.send_json(json!({ "do": "send_to", "id": own, "text": "me" })).await;
    assert_eq!((ann.text().await.as_str(), ann.json().await), ("me", json!("sent")));

    let nobodys = format!("{bobs}0");
    let mut unknown = vec!["", "nobody", "0-0", "ffffffffffff-1"];
    let long = "x".repeat(1000);
    unknown.push(&long);
    // Only its own host knows that a connection has gone; what another sends to it is lost.
    if !hosts.are_several() {
        unknown.push(&nobodys);
    }
    for unknown in unknown {
        let order = json!({ "do": "send_to", "id": unknown, "text": "psst" });
        let answer = ann.ask_json(order).await;
        assert_eq!(answer["refused"], "unknown-connection", "{unknown}");
        assert_eq!(answer["remedy"], "Gone");
    }
    bob.close(1000, "").await;
    if hosts.are_several() {
        assert_eq!(ann.ask_json(to_bob.clone()).await, "sent");
        ann = hosts.connect(1, "/rooms").await;
    }
    let is_unknown = async || {
        let answer = ann.ask_json(to_bob.clone()).await;
        (answer["refused"] == "unknown-connection").then_some(())
    };
    eventually("the closed connection to be unknown", is_unknown).await;
}

async fn counts_and_members_follow_joins_leaves_and_ends(setup: Setup) {
    let hosts = setup.start(&["rooms"], &[]).await;
    let mut ann = hosts.connect(0, "/rooms").await;
    assert_eq!(count(&mut ann, "dock").await, 0);
    let join = json!({ "do": "join", "room": "dock" });
    assert_eq!(ann.ask_json(join.clone()).await, json!({ "count": 1 }), "the event's own join");
    assert_eq!(ann.ask_json(join).await, json!({ "count": 1 }), "joining twice is joining once");
    let mut bob = hosts.connect(1, "/rooms?join=dock").await;
    let bobs = id(&mut bob).await;
    let ids = hosts.listed(vec![id(&mut ann).await, bobs.clone()]);
    let members = json!({ "do": "members", "room": "dock" });
    let all = async || bob.ask_json(members.clone()).await;
    hosts.come_to(json!({ "members": ids }), all).await;
    hosts.come_to(2, async || count(&mut ann, "dock").await).await;

    let leave = json!({ "do": "leave", "room": "dock" });
    assert_eq!(ann.ask_json(leave.clone()).await, json!({ "count": 1 }), "the event's own leave");
    // Leaving twice is no error. Her host has no member in the room any more, and asks the other.
    let again = async || ann.ask_json(leave.clone()).await;
    hosts.come_to(json!({ "count": 1 }), again).await;
    let without_ann = async || ann.ask_json(members.clone()).await;
    hosts.come_to(json!({ "members": [bobs] }), without_ann).await;
    ann.ask_json(json!({ "do": "join", "room": "a" })).await;
    ann.ask_json(json!({ "do": "join", "room": "dock" })).await;
    assert_eq!(ann.ask_json(json!({ "do": "joined" })).await, json!({ "joined": ["a", "dock"] }));

    bob.reset();
    let is_gone = async || (count(&mut ann, "dock").await == 1).then_some(());
    eventually("the one that has gone to be counted no more", is_gone).await;
}

async fn members_come_in_pages(setup: Setup) {
    let hosts = setup.start(&["raw"], &[]).await;
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut client = hosts.connect(number, "/raw").await;
        assert_eq!(client.ask("join dock").await, "ok");
        ids.push(client.ask("id").await);
        clients.push(client);
    }
    let third = ids[2].clone();
    let ids = hosts.listed(ids);
    let client = &mut clients[0];
    hosts.come_to(ids.join(" "), async || client.ask("members dock first 10").await).await;
    assert_eq!(client.ask("members dock first 2").await, ids[..2].join(" "));
    assert_eq!(client.ask(&format!("members dock {} 2", ids[1])).await, ids[2..4].join(" "));
    assert_eq!(client.ask(&format!("members dock {} 1000", ids[3])).await, ids[4]);
    assert_eq!(client.ask(&format!("members dock {} 1000", ids[4])).await, "");
    assert_eq!(client.ask("members dock first 0").await, "");
    assert_eq!(client.ask("members dock first 4294967295").await, ids.join(" "));
    assert_eq!(client.ask("members dock nobody 10").await, "");
    assert_eq!(client.ask("members nowhere first 10").await, "");
    // A page after a member who has left begins at that member's place.
    clients.remove(2).close(1000, "").await;
    let client = &mut clients[0];
    let place = ids.iter().position(|id| *id == third).expect("it was listed");
    let after = async || client.ask(&format!("members dock {third} 10")).await;
    hosts.come_to(ids[place + 1..].join(" "), after).await;
    let others: Vec<String> = ids.into_iter().filter(|id| *id != third).collect();
    eventually("the one that has left to be off the list", async || {
        (client.ask("members dock first 10").await == others.join(" ")).then_some(())
    })
    .await;
}

async fn a_room_of_more_than_one_page_is_listed_whole(setup: Setup) {
    const MEMBERS: usize = 1100;
    let hosts = setup.start(&["rooms"], &[]).await;
    let mut clients = Vec::new();
    for number in 0..MEMBERS {
        clients.push(hosts.connect(number, "/rooms?join=crowd").await);
    }
    let client = &mut clients[0];
    let mut list = async || {
        let answer = client.ask_json(json!({ "do": "members", "room": "crowd" })).await;
        let members = answer["members"].as_array().expect("members").iter();
        members.map(|id| id.as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let mut members = Vec::new();
    let all = async || {
        members = list().await;
        members.len()
    };
    hosts.come_to(MEMBERS, all).await;
    members.sort();
    members.dedup();
    assert_eq!(members.len(), MEMBERS, "nobody is listed twice");
}

#[tokio::test]
async fn names_of_rooms_are_checked() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut client = wharf.connect("/rooms").await;
    let longest = "ü".repeat(127) + "x";
    assert_eq!(client.ask_json(json!({ "do": "join", "room": longest })).await["count"], 1);
    for name in [String::new(), "ü".repeat(128)] {
        for order in [
            json!({ "do": "join", "room": name }),
            json!({ "do": "leave", "room": name }),
            broadcast(&[&name], "hello", false),
            broadcast(&["fine", &name], "hello", false),
        ] {
            let answer = client.ask_json(order.clone()).await;
            assert_eq!(answer["refused"], "room-name-invalid", "{order}");
            assert_eq!(answer["remedy"], "FixCall");
        }
    }
    for name in ["\0", "a/b c\n", "🚢", "null"] {
        assert_eq!(client.ask_json(json!({ "do": "join", "room": name })).await["count"], 1);
    }
}

#[tokio::test]
async fn the_rooms_of_a_connection_are_bounded() {
    let flags = ["--max-rooms-per-connection 3"];
    let wharf = Wharf::start(&["rooms"], &flags).await;
    let mut client = wharf.connect("/rooms?join=first").await;
    let answer = client.ask_json(json!({ "do": "join_many", "count": 3 })).await;
    assert_eq!(answer["refused"], "too-many-rooms", "the event's own joins count");
    assert_eq!(answer["remedy"], "ShedLoad");
    let joined = json!({ "do": "joined" });
    let in_rooms = json!({ "joined": ["first", "room 0", "room 1"] });
    assert_eq!(client.ask_json(joined.clone()).await, in_rooms, "a refused call records nothing");
    let again = json!({ "do": "join", "room": "first" });
    assert_eq!(client.ask_json(again).await["count"], 1, "a room one is in is not a further one");
    client.ask_json(json!({ "do": "leave", "room": "first" })).await;
    assert_eq!(client.ask_json(json!({ "do": "join", "room": "other" })).await["count"], 1);
    let in_rooms = json!({ "joined": ["room 0", "room 1", "other"] });
    assert_eq!(client.ask_json(joined).await, in_rooms);
}

#[tokio::test]
async fn a_broadcast_names_at_most_256_rooms() {
    let wharf = Wharf::start(&["raw"], &[]).await;
    let mut client = wharf.connect("/raw").await;
    assert_eq!(client.ask("broadcast 256").await, "ok");
    assert_eq!(client.ask("broadcast 257").await, "too-many-rooms");
}

#[tokio::test]
async fn the_effects_of_an_event_are_bounded_in_number_and_bytes() {
    let flags = [
        "--max-effects-per-event 10",
        "--max-effect-bytes-per-event 1000",
        "--max-payload-bytes 1000",
        "--max-outbound-message-bytes 1000",
    ];
    let wharf = Wharf::start(&["rooms"], &flags).await;
    let mut client = wharf.connect("/rooms").await;
    let mut effects = async |count: u32, bytes: u32| {
        client.ask_json(json!({ "do": "effects", "count": count, "bytes": bytes })).await
    };
    assert_eq!(effects(10, 1).await, "recorded");
    assert_eq!(effects(11, 1).await["refused"], "too-many-effects");
    assert_eq!(effects(10, 100).await, "recorded");
    let refused = effects(10, 101).await;
    assert_eq!(
        (&refused["refused"], &refused["remedy"]),
        (&json!("too-many-effects"), &json!("ShedLoad"))
    );
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("max_effect")), "{refused}");
}

async fn rooms_of_two_channels_are_two_rooms(setup: Setup) {
    let hosts = setup.start(&["rooms", "ends"], &[]).await;
    let mut ann = hosts.connect(0, "/rooms?join=same").await;
    let mut bob = hosts.connect(1, "/ends?room=same").await;
    hosts.settle().await;
    assert_eq!(count(&mut ann, "same").await, 1);
    ann.send_json(broadcast(&["same"], "hello", false)).await;
    assert_eq!(ann.text().await, "hello");
    assert_eq!(bob.ask_json(json!({ "do": "count", "room": "same" })).await, json!({ "count": 1 }));
}
