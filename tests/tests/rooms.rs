//! Rooms: the receivers of broadcasts, their one order, and the limits.

use std::time::Instant;

use wharf_tests::{Client, PATIENCE, Value, Wharf, json};

async fn id(client: &mut Client) -> String {
    let answer = client.ask_json(json!({ "do": "id" })).await;
    answer["id"].as_str().expect("an id").to_owned()
}

async fn count(client: &mut Client, room: &str) -> u64 {
    let answer = client.ask_json(json!({ "do": "count", "room": room })).await;
    answer["count"].as_u64().expect("a count")
}

fn broadcast(rooms: &[&str], text: &str, skip: bool) -> Value {
    json!({ "do": "broadcast", "rooms": rooms, "text": text, "skip": skip })
}

#[tokio::test]
async fn members_of_a_room_hear_each_other_and_nobody_else_does() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut ann = wharf.connect("/rooms?join=harbour").await;
    let mut bob = wharf.connect("/rooms?join=harbour").await;
    let mut eve = wharf.connect("/rooms?join=Harbour").await;
    ann.send_json(broadcast(&["harbour"], "ahoy", false)).await;
    assert_eq!(ann.text().await, "ahoy");
    assert_eq!(bob.text().await, "ahoy");
    bob.send_json(broadcast(&["harbour"], "ahoy, Ann", true)).await;
    assert_eq!(ann.text().await, "ahoy, Ann");
    // Any other message to Bob or Eve would come before the answers to these.
    assert_eq!(count(&mut bob, "harbour").await, 2);
    assert_eq!(count(&mut eve, "harbour").await, 2);
    assert_eq!(count(&mut eve, "Harbour").await, 1, "names are compared bytewise");
}

#[tokio::test]
async fn all_members_see_all_broadcasts_in_one_order() {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 150;
    let wharf = Wharf::start(&["rooms"], &["--workers 4"]).await;
    let mut listening = Vec::new();
    for sender in 0..SENDERS {
        let mut client = wharf.connect("/rooms?join=square").await;
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
    for other in &sequences[1..] {
        assert!(other == first, "two members have seen different orders");
    }
    for sender in 0..SENDERS {
        let own = first.iter().filter(|text| text.starts_with(&format!("{sender} ")));
        let expected = (0..MESSAGES).map(|message| format!("{sender} {message}"));
        assert!(own.cloned().eq(expected), "a sender's messages keep their order");
    }
}

#[tokio::test]
async fn whoever_is_in_several_rooms_hears_a_broadcast_to_them_once() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut both = wharf.connect("/rooms?join=a").await;
    both.ask_json(json!({ "do": "join", "room": "b" })).await;
    let mut only_b = wharf.connect("/rooms?join=b").await;
    let mut neither = wharf.connect("/rooms").await;
    neither.send_json(broadcast(&["b", "a", "nobody", "a"], "to both", false)).await;
    assert_eq!(both.text().await, "to both");
    assert_eq!(only_b.text().await, "to both");
    both.send_json(broadcast(&["a", "b"], "to the other", true)).await;
    assert_eq!(only_b.text().await, "to the other");
    for client in [&mut both, &mut only_b, &mut neither] {
        assert_eq!(count(client, "b").await, 2, "nothing else has come");
    }
}

#[tokio::test]
async fn a_broadcast_to_all_reaches_the_whole_channel_and_no_other() {
    let wharf = Wharf::start(&["rooms", "echo"], &[]).await;
    let mut ann = wharf.connect("/rooms?join=a").await;
    let mut bob = wharf.connect("/rooms").await;
    let mut other_channel = wharf.connect("/echo").await;
    ann.send_json(json!({ "do": "broadcast_to_all", "text": "everybody", "skip": false })).await;
    assert_eq!(ann.text().await, "everybody");
    assert_eq!(bob.text().await, "everybody");
    ann.send_json(json!({ "do": "broadcast_to_all", "text": "the others", "skip": true })).await;
    assert_eq!(bob.text().await, "the others");
    assert_eq!(count(&mut ann, "a").await, 1, "nothing else has come");
    assert_eq!(other_channel.ask("only mine").await, "only mine");
}

#[tokio::test]
async fn a_message_to_one_connection_reaches_only_that_one_while_it_is_open() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut ann = wharf.connect("/rooms").await;
    let mut bob = wharf.connect("/rooms").await;
    let bobs = id(&mut bob).await;
    let to_bob = json!({ "do": "send_to", "id": bobs, "text": "psst" });
    assert_eq!(ann.ask_json(to_bob.clone()).await, "sent");
    assert_eq!(bob.text().await, "psst");
    let own = id(&mut ann).await;
    ann.send_json(json!({ "do": "send_to", "id": own, "text": "me" })).await;
    assert_eq!((ann.text().await.as_str(), ann.json().await), ("me", json!("sent")));

    for unknown in ["", "nobody", "0-0", "ffffffffffff-1", &format!("{bobs}0"), &"x".repeat(1000)] {
        let order = json!({ "do": "send_to", "id": unknown, "text": "psst" });
        let answer = ann.ask_json(order).await;
        assert_eq!(answer["refused"], "unknown-connection", "{unknown}");
        assert_eq!(answer["remedy"], "Gone");
    }
    bob.close(1000, "").await;
    let begun = Instant::now();
    while ann.ask_json(to_bob.clone()).await["refused"] != "unknown-connection" {
        assert!(begun.elapsed() < PATIENCE, "a closed connection is still known");
    }
}

#[tokio::test]
async fn counts_and_members_follow_joins_leaves_and_ends() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut ann = wharf.connect("/rooms").await;
    assert_eq!(count(&mut ann, "dock").await, 0);
    let join = json!({ "do": "join", "room": "dock" });
    assert_eq!(ann.ask_json(join.clone()).await, json!({ "count": 1 }), "the event's own join");
    assert_eq!(ann.ask_json(join).await, json!({ "count": 1 }), "joining twice is joining once");
    let mut bob = wharf.connect("/rooms?join=dock").await;
    let ids = [id(&mut ann).await, id(&mut bob).await];
    let members = json!({ "do": "members", "room": "dock" });
    assert_eq!(bob.ask_json(members.clone()).await, json!({ "members": ids }), "oldest first");

    let leave = json!({ "do": "leave", "room": "dock" });
    assert_eq!(ann.ask_json(leave.clone()).await, json!({ "count": 1 }), "the event's own leave");
    assert_eq!(ann.ask_json(leave).await, json!({ "count": 1 }), "leaving twice is no error");
    assert_eq!(ann.ask_json(members).await, json!({ "members": [ids[1]] }));
    ann.ask_json(json!({ "do": "join", "room": "a" })).await;
    ann.ask_json(json!({ "do": "join", "room": "dock" })).await;
    assert_eq!(ann.ask_json(json!({ "do": "joined" })).await, json!({ "joined": ["a", "dock"] }));

    bob.reset();
    let begun = Instant::now();
    while count(&mut ann, "dock").await != 1 {
        assert!(begun.elapsed() < PATIENCE, "whoever has gone is still counted");
    }
}

#[tokio::test]
async fn members_come_in_pages() {
    let wharf = Wharf::start(&["raw"], &[]).await;
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let mut client = wharf.connect("/raw").await;
        assert_eq!(client.ask("join dock").await, "ok");
        ids.push(client.ask("id").await);
        clients.push(client);
    }
    let client = &mut clients[0];
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
    assert_eq!(client.ask(&format!("members dock {} 10", ids[2])).await, ids[3..].join(" "));
}

#[tokio::test]
async fn a_room_of_more_than_one_page_is_listed_whole() {
    const MEMBERS: usize = 1100;
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..MEMBERS {
        clients.push(wharf.connect("/rooms?join=crowd").await);
    }
    let client = &mut clients[0];
    let answer = client.ask_json(json!({ "do": "members", "room": "crowd" })).await;
    let mut members: Vec<_> = answer["members"].as_array().expect("members").iter().collect();
    assert_eq!(members.len(), MEMBERS);
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

#[tokio::test]
async fn rooms_of_two_channels_are_two_rooms() {
    let wharf = Wharf::start(&["rooms", "ends"], &[]).await;
    let mut ann = wharf.connect("/rooms?join=same").await;
    let mut bob = wharf.connect("/ends?room=same").await;
    assert_eq!(count(&mut ann, "same").await, 1);
    ann.send_json(broadcast(&["same"], "hello", false)).await;
    assert_eq!(ann.text().await, "hello");
    assert_eq!(bob.ask_json(json!({ "do": "count", "room": "same" })).await, json!({ "count": 1 }));
}
