//! The operator's API: its queries and its commands.

use wharf_tests::operator::{answered, authorization, code};
use wharf_tests::{
    Client, Ended, Hosts, Operated, Setup, Value, artefacts, eventually, json,
    on_one_host_and_on_two,
};

on_one_host_and_on_two! {
    a_connection_is_shown_without_what_may_be_secret
    lists_come_in_pages_that_join_without_gaps
    who_is_present_in_a_room_is_listed_with_what_they_say_of_themselves
    a_broadcast_reaches_rooms_users_or_everybody_less_some_by_label
    a_message_is_text_json_as_it_was_written_or_bytes
    all_members_see_messages_from_outside_in_one_order_with_the_channels_own
    connections_and_users_are_disconnected_with_a_code_and_a_reason
    a_notice_from_outside_is_handled_by_each_connection_in_its_turn
    a_room_event_from_outside_is_handled_with_the_rooms_state
    a_channels_code_answers_messages_from_outside
    a_room_that_is_reset_begins_anew_with_its_members
}

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated", "rooms"], flags).await
}

async fn started_on(setup: Setup, flags: &[&str]) -> Hosts {
    setup.start(&["operated", "rooms"], flags).await
}

/// Returns what is listed without the hosts that have not answered, which must be none. One host alone names none.
fn all_answered(hosts: &Hosts, mut listed: Value) -> Value {
    let unanswered = listed.as_object_mut().expect("an object").remove("unanswered");
    assert_eq!(unanswered, hosts.are_several().then(|| json!([])));
    listed
}

async fn id(client: &mut Client) -> String {
    client.ask("id").await
}

/// Asserts that nothing comes before the answer to this question.
async fn has_nothing_more(client: &mut Client) {
    assert_eq!(client.ask("anything?").await, "anything?");
}

#[tokio::test]
async fn channels_are_listed_with_their_generation_and_how_many_are_there() {
    let it = started(&[]).await;
    let (status, empty) = it.get("").await;
    assert_eq!(status, 200);
    let names: Vec<_> = empty["channels"].as_array().expect("a list").iter().collect();
    let names: Vec<_> = names.iter().map(|channel| channel["name"].as_str()).collect();
    assert_eq!(names, [Some("operated"), Some("rooms")]);
    let _ann = it.wharf.connect("/operated?user=ann&join=a,b").await;
    let _phone = it.wharf.connect("/operated?user=ann&join=b").await;
    let _nobody = it.wharf.connect("/operated").await;
    let (status, channel) = it.get("/operated").await;
    assert_eq!(status, 200);
    for (field, expected) in [
        ("name", json!("operated")),
        ("generation", json!(1)),
        ("paths", json!(["/operated", "/operated/:id"])),
        ("connections", json!(3)),
        ("rooms", json!(2)),
        ("users", json!(1)),
    ] {
        assert_eq!(channel[field], expected, "{field}");
    }
    let sha256 = channel["sha256"].as_str().expect("text").to_owned();
    assert_eq!(sha256.len(), 64);
    assert_eq!(it.get("").await.1["channels"][0], channel);

    let mut next = artefacts::component("operated");
    // A custom section makes it another file.
    next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
    it.wharf.swap("operated", &next).await;
    let (_, swapped) = it.get("/operated").await;
    assert_eq!((&swapped["generation"], &swapped["connections"]), (&json!(2), &json!(3)));
    assert_ne!(swapped["sha256"], sha256);
}

#[tokio::test]
async fn a_channel_that_is_removed_is_unknown() {
    let it = Operated::start(&["rooms"], &["--removal-grace-ms 100"]).await;
    assert_eq!(it.get("/rooms").await.0, 200);
    std::fs::remove_file(it.wharf.plugin("rooms")).expect("the plugin is removed");
    it.wharf.log.wait_for("the removal", |line| line.says("plugin removed")).await;
    assert_eq!(code(it.get("/rooms").await), (404, "unknown-channel".to_owned()));
    let none = json!({ "channels": [], "refused": [], "unusable_keys": [] });
    assert_eq!(it.get("").await, (200, none));
}

async fn a_connection_is_shown_without_what_may_be_secret(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let path = "/operated/caf%C3%A9?user=ann&join=b,a&role=moderator&token=hush-hush";
    let mut ann = hosts.connect(0, path).await;
    let id = id(&mut ann).await;
    // Frames that the client has read may be counted for a moment longer.
    let shown = eventually("nothing to be queued", async || {
        let (status, shown) = it.get(&format!("/operated/connections/{id}")).await;
        assert_eq!(status, 200);
        (shown["queued_bytes"] == 0).then_some(shown)
    })
    .await;
    let address = shown["remote_address"].as_str().expect("text");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let expected = json!({
        "id": id, "user": "ann", "path": "/operated/caf%C3%A9", "remote_address": address,
        "rooms": ["b", "a"], "labels": { "role": "moderator", "token": "hush-hush" },
        "queued_bytes": 0,
    });
    assert_eq!(shown, expected);
    let (_, listed) = it.get("/operated/connections").await;
    let listed = all_answered(&hosts, listed);
    assert_eq!(listed, json!({ "connections": [expected], "next": null }));
    ann.close(1000, "").await;
    eventually("the connection to be unknown", async || {
        let answer = it.get(&format!("/operated/connections/{id}")).await;
        (answer.0 == 404).then(|| assert_eq!(code(answer).1, "unknown-connection"))
    })
    .await;
    for id in ["", "nobody", "000000000000-1", &id.to_uppercase(), "%F0%9F%98%80"] {
        let answer = it.get(&format!("/operated/connections/{id}")).await;
        assert_eq!(code(answer), (404, "unknown-connection".to_owned()), "{id}");
    }
    // Connections of another channel are not listed.
    let mut other = hosts.connect(1, "/rooms").await;
    let others = other.ask_json(json!({ "do": "id" })).await["id"].clone();
    let answer =
        it.get(&format!("/operated/connections/{}", others.as_str().expect("an id"))).await;
    assert_eq!(answer.0, 404);
}

async fn lists_come_in_pages_that_join_without_gaps(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for number in 0..7 {
        let room = format!("room {number}/ü");
        let path = format!("/operated?user=ann&join=all,{}", room.replace(' ', "%20"));
        let mut client = hosts.connect(number, &path).await;
        ids.push(id(&mut client).await);
        clients.push(client);
    }
    let first = ids[0].clone();
    let ids = hosts.listed(ids);
    for (path, list, name) in [
        ("/operated/connections", "connections", "id"),
        ("/operated/rooms/all", "connections", ""),
        ("/operated/users/ann", "connections", ""),
        ("/operated/rooms", "rooms", "name"),
    ] {
        let (_, whole) = it.get(path).await;
        assert_eq!(whole["next"], Value::Null, "{path}");
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = it.get(&format!("{path}?limit=2{after}")).await;
            assert_eq!(status, 200, "{page}");
            let entries = page[list].as_array().expect("a list").clone();
            assert!((1..=2).contains(&entries.len()), "{page}");
            pages.extend(entries);
            let Some(next) = page["next"].as_str() else { break };
            // This is the encoding of a client that knows nothing about the names.
            let encoded: String = next.bytes().map(|byte| format!("%{byte:02x}")).collect();
            after = format!("&after={encoded}");
        }
        assert_eq!(Value::Array(pages.clone()), whole[list], "{path}");
        if list == "connections" {
            let shown =
                pages.iter().map(|entry| if name.is_empty() { entry } else { &entry[name] });
            assert_eq!(shown.collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>(), "{path}");
        } else {
            assert_eq!(pages.len(), 8);
            for (page, name, members) in [(&pages[0], "all", 7), (&pages[1], "room 0/ü", 1)] {
                assert_eq!((&page["name"], &page["members"]), (&json!(name), &json!(members)));
            }
        }
    }
    let (_, room) = it.get("/operated/rooms/room%200%2F%C3%BC").await;
    assert_eq!(room["connections"], json!([first]));
    let (_, last) = it.get(&format!("/operated/connections?after={}", ids[6])).await;
    let last = all_answered(&hosts, last);
    assert_eq!(last, json!({ "connections": [], "next": null }));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=nobody", "after"),
        ("after=%zz", "after"),
        ("page=2", "page"),
    ] {
        let (status, body) = it.get(&format!("/operated/connections?{query}")).await;
        assert_eq!((status, &body["error"]["field"]), (400, &json!(field)), "{query}: {body}");
    }
    for path in ["/operated?limit=1", "?limit=1"] {
        assert_eq!(code(it.get(path).await), (400, "invalid-field".to_owned()), "{path}");
    }
    assert_eq!(code(it.get("/operated/rooms/empty").await), (404, "unknown-room".to_owned()));
    assert_eq!(code(it.get("/operated/users/eve").await), (404, "user-offline".to_owned()));
}

async fn who_is_present_in_a_room_is_listed_with_what_they_say_of_themselves(setup: Setup) {
    let hosts = started_on(setup, &["--presence-grace-ms 60000"]).await;
    let it = hosts.host(1);
    let mut clients = Vec::new();
    for (number, user) in ["ann", "bob", "bob", "eve"].into_iter().enumerate() {
        let path = format!("/operated?user={user}&join=a%2Fb&present=a%2Fb");
        let mut client = hosts.connect(number, &path).await;
        id(&mut client).await;
        clients.push(client);
    }
    let here = json!({ "status": "here" });
    let page = "/operated/rooms/a%2Fb/presence?limit=2";
    let present =
        json!([{ "key": "ann", "metas": [here] }, { "key": "bob", "metas": [here, here] }]);
    hosts.come_to(present.clone(), async || it.get(page).await.1["present"].take()).await;
    hosts.come_to(json!(3), async || it.get(page).await.1["count"].take()).await;
    let (status, list) = it.get(page).await;
    assert_eq!(status, 200);
    let list = all_answered(&hosts, list);
    let sequence = list["sequence"].as_u64().expect("a number");
    let expected = json!({
        "room": "a/b", "sequence": sequence, "count": 3, "present": present, "next": "bob"
    });
    assert_eq!(list, expected);
    let (_, rest) = it.get(&format!("{page}&after=bob")).await;
    assert_eq!(rest["present"], json!([{ "key": "eve", "metas": [here] }]));
    assert_eq!(rest["next"], Value::Null);
    // The entry of a user who has gone stays for a while, and is not counted.
    clients.pop().expect("eve").close(1000, "").await;
    eventually("eve to be counted no more", async || {
        (it.get(page).await.1["count"] == 2).then_some(())
    })
    .await;
    let (_, all) = it.get("/operated/rooms/a%2Fb/presence").await;
    assert_eq!(all["present"].as_array().map(Vec::len), Some(3));
    let (status, empty) = it.get("/operated/rooms/nobody/presence").await;
    assert_eq!((status, &empty["present"], &empty["count"]), (200, &json!([]), &json!(0)));
}

async fn a_broadcast_reaches_rooms_users_or_everybody_less_some_by_label(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut ann = hosts.connect(0, "/operated?user=ann&join=a,b&role=moderator").await;
    let mut bob = hosts.connect(1, "/operated?user=bob&join=b").await;
    let mut eve = hosts.connect(0, "/operated?role=moderator").await;
    let anns = id(&mut ann).await;
    for (to, receivers) in [
        (json!({ "rooms": ["a"] }), [true, false, false]),
        (json!({ "rooms": ["a", "b", "a", "nobody"] }), [true, true, false]),
        (json!({ "all": true }), [true, true, true]),
        (json!({ "users": ["bob", "nobody"] }), [false, true, false]),
        (json!({ "rooms": ["a"], "users": ["bob"] }), [true, true, false]),
        (json!({ "all": true, "except_connections": [anns, "nobody"] }), [false, true, true]),
        (json!({ "all": true, "except_users": ["ann", "bob"] }), [false, false, true]),
        (json!({ "all": true, "where": { "role": "moderator" } }), [true, false, true]),
        (json!({ "rooms": ["b"], "where": { "role": "x" } }), [false, false, false]),
    ] {
        let mut body = to.clone();
        body["text"] = json!(to.to_string());
        let (status, answer) = it.post("/operated/broadcast", body).await;
        // Receivers of the host that answers are counted.
        let count = receivers.iter().filter(|receives| **receives).count() as u64;
        let counted = answer["receivers"].as_u64().expect("a count");
        assert_eq!(status, 200, "{to}: {answer}");
        assert!(counted == count || hosts.are_several() && counted < count, "{to}: {answer}");
        for (client, receives) in [&mut ann, &mut bob, &mut eve].into_iter().zip(receivers) {
            if receives {
                assert_eq!(client.text().await, to.to_string());
            }
        }
    }
    for client in [&mut ann, &mut bob, &mut eve] {
        hosts.settle().await;
        has_nothing_more(client).await;
    }
}

async fn a_message_is_text_json_as_it_was_written_or_bytes(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut ann = hosts.connect(0, "/operated?user=ann").await;
    let id = id(&mut ann).await;
    for path in ["/operated/users/ann/send".to_owned(), format!("/operated/connections/{id}/send")]
    {
        for (body, expected) in [
            (r#"{"text": "a \u00fc\n"}"#, "a ü\n"),
            (r#"{"text": ""}"#, ""),
            (
                r#"{"json": {"b": 12345678901234567890123,  "a": 1.0}}"#,
                r#"{"b": 12345678901234567890123,  "a": 1.0}"#,
            ),
            (r#"{"json": null}"#, "null"),
        ] {
            let answer = it.post_bytes(&path, body.as_bytes()).await;
            assert_eq!(answer, (200, json!({ "receivers": 1 })), "{body}");
            assert_eq!(ann.text().await, expected);
        }
        let answer = it.post(&path, json!({ "binary": "AP8+/w==" })).await;
        assert_eq!(answer.0, 200);
        assert_eq!(&ann.binary().await[..], [0, 255, 62, 255]);
    }
    hosts.settle().await;
    has_nothing_more(&mut ann).await;
    let hello = json!({ "text": "hello" });
    for user in ["eve", "", "%00", &"x".repeat(256)] {
        let answer = it.refused(&format!("/operated/users/{user}/send"), hello.clone()).await;
        assert_eq!(answer, (404, "user-offline".to_owned()), "{user}");
    }
    let answer = it.refused("/operated/connections/nobody/send", hello).await;
    assert_eq!(answer, (404, "unknown-connection".to_owned()));
}

async fn all_members_see_messages_from_outside_in_one_order_with_the_channels_own(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut members = Vec::new();
    for number in 1..=5 {
        members.push(hosts.connect(number, "/rooms?join=a").await);
    }
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let text = format!("inside {round}");
        let order = json!({ "do": "broadcast", "rooms": ["a"], "text": text, "skip": false });
        members[0].send_json(order).await;
        let body = json!({ "rooms": ["a"], "text": format!("outside {round}") });
        let receivers = if hosts.are_several() { 3 } else { 5 };
        let answer = it.post("/rooms/broadcast", body).await.1;
        assert_eq!(answer, json!({ "receivers": receivers }), "those on the host that answers");
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..2 * ROUNDS {
            order.push(member.text().await);
        }
        orders.push(order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "members saw different orders");
    let outside: Vec<_> = orders[0].iter().filter(|text| text.starts_with("outside")).collect();
    let expected: Vec<_> = (0..ROUNDS).map(|round| format!("outside {round}")).collect();
    assert_eq!(outside, expected.iter().collect::<Vec<_>>());
}

async fn connections_and_users_are_disconnected_with_a_code_and_a_reason(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut phone = hosts.connect(0, "/operated?user=ann").await;
    let mut laptop = hosts.connect(1, "/operated?user=ann").await;
    let mut bob = hosts.connect(0, "/operated?user=bob").await;
    let path = format!("/operated/connections/{}/disconnect", id(&mut bob).await);
    let answer = it.post(&path, json!({ "code": 4003, "reason": "gebännt" })).await;
    assert_eq!(answer, (200, json!({ "disconnected": 1 })));
    assert_eq!(bob.ended().await, Ended::Closed(4003, "gebännt".to_owned()));
    // Without a body the code is 1000, and there is no reason. Earlier messages arrive first.
    it.post("/operated/users/ann/send", json!({ "text": "goodbye" })).await;
    let path = "/api/channels/operated/users/ann/disconnect";
    let answer = answered(it.request("POST", path, &[authorization()], b"").await);
    assert_eq!(answer, (200, json!({ "disconnected": 2 })));
    for device in [&mut phone, &mut laptop] {
        let expected = (vec!["goodbye".to_owned()], Ended::Closed(1000, String::new()));
        assert_eq!(device.rest().await, expected);
    }
    eventually("ann to be offline", async || {
        let answer = it.post("/operated/users/ann/disconnect", json!({})).await;
        (answer.0 == 404).then(|| assert_eq!(code(answer).1, "user-offline"))
    })
    .await;
    let mut ann = hosts.connect(1, "/operated?user=ann").await;
    for (body, field) in [
        (json!({ "code": 1001 }), "code"),
        (json!({ "code": 70000 }), "code"),
        (json!({ "code": "4000" }), "code"),
        (json!({ "code": 4000, "reason": "r".repeat(124) }), "reason"),
        (json!({ "reason": 4000 }), "reason"),
        (json!({ "because": "x" }), "because"),
    ] {
        let (status, answer) = it.post("/operated/users/ann/disconnect", body.clone()).await;
        assert_eq!((status, &answer["error"]["field"]), (400, &json!(field)), "{body}");
    }
    hosts.settle().await;
    has_nothing_more(&mut ann).await;
}

async fn a_notice_from_outside_is_handled_by_each_connection_in_its_turn(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut phone = hosts.connect(0, "/operated?user=ann").await;
    let mut laptop = hosts.connect(1, "/operated?user=ann").await;
    let answer = it.post("/operated/users/ann/notify", json!({ "event": { "n": 1 } })).await;
    assert_eq!(answer, (202, json!({ "posted": 2 })));
    for device in [&mut phone, &mut laptop] {
        let expected = json!({ "notice": { "n": 1 }, "from": null, "notices": 1 });
        assert_eq!(device.json().await, expected);
    }
    let path = format!("/operated/connections/{}/notify", id(&mut phone).await);
    assert_eq!(it.post(&path, json!({ "event": null })).await, (202, json!({ "posted": 1 })));
    let expected = json!({ "notice": null, "from": null, "notices": 2 });
    assert_eq!(phone.json().await, expected);
    hosts.settle().await;
    has_nothing_more(&mut laptop).await;
    for (path, expected) in [
        ("/operated/users/eve/notify", (404, "user-offline")),
        ("/operated/connections/nobody/notify", (404, "unknown-connection")),
        ("/rooms/users/eve/notify", (409, "no-handler")),
        ("/rooms/connections/nobody/notify", (409, "no-handler")),
    ] {
        let answer = it.refused(path, json!({ "event": 1 })).await;
        assert_eq!((answer.0, &*answer.1), expected, "{path}");
    }
}

async fn a_room_event_from_outside_is_handled_with_the_rooms_state(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut member = hosts.connect(0, "/operated?join=a%2Fb").await;
    for sum in 1..=3 {
        let answer = it.post("/operated/rooms/a%2Fb/post", json!({ "event": { "add": 1 } })).await;
        assert_eq!(answer, (202, json!({ "posted": 1 })));
        assert_eq!(member.json().await, json!({ "sum": sum, "from": null }));
    }
    // The room needs no members.
    let post = "/operated/rooms/empty/post?wait=true";
    assert_eq!(it.post(post, json!({ "event": { "add": 7 } })).await.0, 200);
    let mut late = hosts.connect(1, "/operated?join=empty").await;
    it.post("/operated/rooms/empty/post", json!({ "event": { "add": 7 } })).await;
    assert_eq!(late.json().await["sum"], 14);
    let answer = it.refused("/rooms/rooms/a/post", json!({ "event": 1 })).await;
    assert_eq!(answer, (409, "no-handler".to_owned()));
    for name in ["", &"x".repeat(256)] {
        let path = format!("/operated/rooms/{name}/post");
        assert_eq!(it.refused(&path, json!({ "event": 1 })).await.0, 400, "{name}");
    }
}

#[tokio::test]
async fn a_full_inbox_refuses_and_loses_nothing_that_it_has_accepted() {
    let flags = ["--inbox-events 2", "--room-inbox-events 2", "--max-room-states 1"];
    let it = started(&flags).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let path = format!("/operated/connections/{}/notify", id(&mut ann).await);
    ann.send("wait").await;
    let mut accepted = 0;
    let refused = loop {
        let answer = it.post(&path, json!({ "event": accepted })).await;
        if answer.0 != 202 {
            break code(answer);
        }
        accepted += 1;
        assert!(accepted < 10, "the inbox has no end");
    };
    assert_eq!(refused, (429, "inbox-full".to_owned()));
    for number in 0..accepted {
        assert_eq!(ann.json().await["notice"], number);
    }
    // The notice goes to all devices of a user. The slow one is closed, the others get it.
    let mut idle = it.wharf.connect("/operated?user=ann").await;
    ann.send("wait").await;
    let mut posted = json!(2);
    while posted == 2 {
        let (status, answer) = it.post("/operated/users/ann/notify", json!({ "event": 1 })).await;
        assert_eq!(status, 202);
        assert_eq!(idle.json().await["notice"], 1);
        posted = answer["posted"].clone();
    }
    assert_eq!(posted, 1);
    assert_eq!(ann.rest().await.1, Ended::Closed(1013, "overload".to_owned()));
    let mut member = it.wharf.connect("/operated?join=a").await;
    it.post("/operated/rooms/a/post", json!({ "event": { "wait": 3000 } })).await;
    let mut accepted = 0;
    let refused = loop {
        let answer = it.post("/operated/rooms/a/post", json!({ "event": { "add": 1 } })).await;
        if answer.0 != 202 {
            break code(answer);
        }
        accepted += 1;
        assert!(accepted < 10, "the inbox has no end");
    };
    assert_eq!(refused, (429, "inbox-full".to_owned()));
    for sum in 1..=accepted {
        assert_eq!(member.json().await["sum"], sum);
    }
    let answer = it.refused("/operated/rooms/b/post", json!({ "event": { "add": 1 } })).await;
    assert_eq!(answer, (429, "too-many-room-states".to_owned()));
}

async fn a_channels_code_answers_messages_from_outside(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut ann = hosts.connect(0, "/operated?user=ann").await;
    let value = json!({ "any": [1, "ü", null] });
    let answer = it.post("/operated/messages", json!({ "do": "echo", "value": value })).await;
    assert_eq!(answer, (200, value));
    let tell = json!({ "do": "tell", "user": "ann", "text": "shipped" });
    assert_eq!(it.post("/operated/messages", tell).await, (200, json!({ "devices": 1 })));
    assert_eq!(ann.text().await, "shipped");
    // The sender gets the refusal, and the effects are dropped.
    let (status, body) =
        it.post("/operated/messages", json!({ "do": "tell_all_and_refuse" })).await;
    let expected = json!({ "error": {
        "code": "CLOSED", "message": "not today", "fields": { "day": "is a holiday" },
    } });
    assert_eq!((status, body), (422, expected));
    for message in [json!(1), json!({ "do": "dance" }), json!({ "do": "tell" }), json!([])] {
        let answer = it.refused("/operated/messages", message.clone()).await;
        assert_eq!(answer, (422, "INVALID_JSON".to_owned()), "{message}");
    }
    for failure in ["tell_all_and_fail", "tell_all_and_panic"] {
        let answer = it.refused("/operated/messages", json!({ "do": failure })).await;
        assert_eq!(answer, (500, "channel-failed".to_owned()), "{failure}");
    }
    let failed =
        |l: &wharf_tests::Line| l.says("handler failed") && l.text.contains("told to fail");
    hosts.line("the failure", failed).await;
    let line = hosts.line("the trap", |line| line.says("guest call failed")).await;
    assert_eq!((line.str("event"), line.str("kind")), ("on-outside-message", "trap"));
    let (status, long) =
        it.post("/operated/messages", json!({ "do": "long", "bytes": 3_000_000 })).await;
    assert_eq!((status, long.as_str().map(str::len)), (200, Some(3_000_000)));
    // This is more than a guest may pass to the host (`hostcall_bytes`).
    let answer =
        it.refused("/operated/messages", json!({ "do": "long", "bytes": 9_000_000 })).await;
    assert_eq!(answer, (500, "channel-failed".to_owned()));
    let answer = it.refused("/rooms/messages", json!({})).await;
    assert_eq!(answer, (409, "no-handler".to_owned()));
    hosts.settle().await;
    has_nothing_more(&mut ann).await;
}

async fn a_room_that_is_reset_begins_anew_with_its_members(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut member = hosts.connect(0, "/operated?join=a").await;
    let reset = json!({});
    for (add, sum) in [(5, 5), (1, 6)] {
        it.post("/operated/rooms/a/post", json!({ "event": { "add": add } })).await;
        assert_eq!(member.json().await["sum"], sum);
    }
    assert_eq!(
        it.post("/operated/rooms/a/reset", reset.clone()).await,
        (200, json!({ "reset": 1 }))
    );
    assert_eq!(
        it.post("/operated/rooms/a/reset", reset.clone()).await,
        (200, json!({ "reset": 0 }))
    );
    assert_eq!(it.post("/operated/rooms/nobody/reset", reset).await, (200, json!({ "reset": 0 })));
    let typo = json!({ "room": "a" });
    assert_eq!(code(it.post("/operated/rooms/a/reset", typo).await).0, 400);
    it.post("/operated/rooms/a/post", json!({ "event": { "add": 2 } })).await;
    assert_eq!(member.json().await["sum"], 2);
}
