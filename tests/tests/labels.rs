//! Labels, and broadcasts to some connections: the receivers and the limits.

use wharf_tests::{Client, Ended, Hosts, Setup, Value, Wharf, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    a_condition_on_labels_is_met_by_those_who_carry_them_all
    everybody_in_an_audience_gets_one_copy_and_the_excepted_get_none
    a_broadcast_with_a_condition_keeps_its_place_in_the_rooms_order
}

async fn ask(client: &mut Client, order: Value) -> String {
    client.ask_json_text(order).await
}

async fn id(client: &mut Client) -> String {
    ask(client, json!({ "do": "id" })).await
}

/// Sends to an audience.
async fn send(client: &mut Client, mut to: Value) {
    to["do"] = json!("send");
    client.send_json(to).await;
}

/// Asserts that these texts come next, and no others.
async fn hears(hosts: &Hosts, client: &mut Client, expected: &[&str]) {
    hosts.settle().await;
    client.send_json(json!({ "do": "set", "name": "end", "value": "" })).await;
    for text in expected {
        assert_eq!(client.text().await, *text);
    }
    assert_eq!(client.text().await, "ok", "something else has come");
}

async fn a_condition_on_labels_is_met_by_those_who_carry_them_all(setup: Setup) {
    let hosts = setup.start(&["labels"], &[]).await;
    let mut moderator = hosts.connect(0, "/labels?join=a&role=moderator&language=da").await;
    let mut other = hosts.connect(1, "/labels?join=a&role=moderator&language=de").await;
    let mut guest = hosts.connect(0, "/labels?join=a&role=guest&language=da").await;
    let mut unlabelled = hosts.connect(1, "/labels?join=a").await;
    let mut elsewhere = hosts.connect(0, "/labels?join=b&role=moderator").await;
    let labelled = |labels: &[(&str, &str)], text: &str| json!({ "rooms": ["a"], "labels": labels, "text": text });
    send(&mut unlabelled, labelled(&[("role", "moderator")], "1")).await;
    send(&mut unlabelled, labelled(&[("role", "moderator"), ("language", "da")], "2")).await;
    send(&mut unlabelled, labelled(&[("role", "Moderator")], "3")).await;
    send(&mut unlabelled, labelled(&[("role", "")], "4")).await;
    send(&mut unlabelled, labelled(&[], "5")).await;
    hears(&hosts, &mut unlabelled, &["ok", "ok", "ok", "ok", "5", "ok"]).await;
    hears(&hosts, &mut moderator, &["1", "2", "5"]).await;
    hears(&hosts, &mut other, &["1", "5"]).await;
    hears(&hosts, &mut guest, &["5"]).await;
    hears(&hosts, &mut elsewhere, &[]).await;
}

#[tokio::test]
async fn labels_are_effects_that_the_event_itself_sees() {
    let wharf = Wharf::start(&["labels"], &[]).await;
    let mut client = wharf.connect("/labels?join=a&b=2&a=1").await;
    let labels = json!({ "do": "labels" });
    assert_eq!(ask(&mut client, labels.clone()).await, "b=2 a=1");
    let set = |value: &str| json!({ "do": "set", "name": "a", "value": value });
    assert_eq!(ask(&mut client, set("one")).await, "ok");
    assert_eq!(ask(&mut client, labels.clone()).await, "b=2 a=one", "in place of the old one");
    client.send_json(json!({ "do": "set_and_fail", "name": "c", "value": "3" })).await;
    assert_eq!(client.json().await["code"], "INTERNAL_ERROR");
    assert_eq!(ask(&mut client, labels.clone()).await, "b=2 a=one", "undone");
    let clear = json!({ "do": "clear", "name": "b" });
    assert_eq!(ask(&mut client, clear.clone()).await, "ok");
    assert_eq!(ask(&mut client, clear).await, "ok", "one that is not there is no error");
    assert_eq!(ask(&mut client, labels.clone()).await, "a=one");
    // The room's members are found when the event commits, after the effects before it.
    send(&mut client, json!({ "rooms": ["a"], "labels": [["a", "one"]], "text": "found" })).await;
    assert_eq!((client.text().await, client.text().await), ("found".into(), "ok".into()));
}

async fn everybody_in_an_audience_gets_one_copy_and_the_excepted_get_none(setup: Setup) {
    let hosts = setup.start(&["labels"], &[]).await;
    let mut clients = Vec::new();
    let paths = ["?join=a,b&user=ann", "?join=a&user=ann", "?join=b&user=bob", "?user=bob", ""];
    for (number, path) in paths.into_iter().enumerate() {
        clients.push(hosts.connect(number, &format!("/labels{path}")).await);
    }
    let mut ids = Vec::new();
    for client in &mut clients {
        ids.push(id(client).await);
    }
    let mut sender = hosts.connect(1, "/labels").await;
    for (to, receivers) in [
        (json!({ "rooms": ["a", "b", "a", "nowhere"] }), "11100"),
        (json!({ "rooms": ["a"], "users": ["ann", "bob"] }), "11110"),
        (json!({ "users": ["nobody"] }), "00000"),
        (json!({ "all": true }), "11111"),
        (json!({ "all": true, "rooms": ["a"], "users": ["bob"] }), "11111"),
        (json!({ "all": true, "except": [ids[0], ids[4], "nobody", "0-0"] }), "01110"),
        (json!({ "all": true, "except_users": ["ann", "nobody"] }), "00111"),
        (json!({ "rooms": ["a", "b"], "except_users": ["ann"] }), "00100"),
        (json!({ "users": ["ann"], "except": [ids[1]], "except_users": ["bob"] }), "10000"),
        (json!({ "users": ["ann"], "except_users": ["ann"] }), "00000"),
    ] {
        let mut order = to.clone();
        order["text"] = json!("copy");
        let is_for_all = to["all"] == json!(true);
        send(&mut sender, order).await;
        if is_for_all {
            assert_eq!(sender.text().await, "copy");
        }
        assert_eq!(sender.text().await, "ok");
        for (client, receives) in clients.iter_mut().zip(receivers.chars()) {
            match receives {
                '1' => hears(&hosts, client, &["copy"]).await,
                _ => hears(&hosts, client, &[]).await,
            }
        }
    }
}

async fn a_broadcast_with_a_condition_keeps_its_place_in_the_rooms_order(setup: Setup) {
    const MESSAGES: usize = 200;
    let hosts = setup.start(&["labels"], &["--workers 4"]).await;
    let mut listeners = Vec::new();
    for number in 0..4 {
        listeners.push(hosts.connect(number, "/labels?join=square&seen=all").await);
    }
    let mut senders = Vec::new();
    for number in 0..2 {
        // Hosts have no order among each other.
        let mut sender = hosts.connect(1, "/labels").await;
        for message in 0..MESSAGES {
            let text = format!("{number} {message}");
            let order = match message % 2 {
                0 => {
                    json!({ "do": "send", "rooms": ["square"], "labels": [["seen", "all"]], "text": text })
                }
                _ => json!({ "do": "send", "rooms": ["square", "other"], "text": text }),
            };
            sender.feed(order.to_string()).await;
        }
        senders.push(sender);
    }
    for mut sender in senders {
        tokio::spawn(async move {
            sender.flush().await;
            sender.rest().await
        });
    }
    let mut seen = Vec::new();
    for listener in &mut listeners {
        let mut texts = Vec::new();
        for _ in 0..2 * MESSAGES {
            texts.push(listener.text().await);
        }
        seen.push(texts);
    }
    assert!(seen.iter().all(|texts| *texts == seen[0]), "two members have seen different orders");
}

#[tokio::test]
async fn labels_have_limits() {
    let wharf = Wharf::start(&["labels"], &[]).await;
    let mut client = wharf.connect("/labels").await;
    let set = |name: &str, value: &str| json!({ "do": "set", "name": name, "value": value });
    assert_eq!(ask(&mut client, set(&"ü".repeat(32), &"v".repeat(255))).await, "ok");
    for (name, value) in [("", "v"), (&*"n".repeat(65), "v"), ("name", &*"v".repeat(256))] {
        assert_eq!(ask(&mut client, set(name, value)).await, "label-invalid FixCall");
        let to = json!({ "do": "send", "all": true, "labels": [[name, value]] });
        assert_eq!(ask(&mut client, to).await, "label-invalid FixCall");
    }
    for name in [String::new(), "n".repeat(65)] {
        let clear = json!({ "do": "clear", "name": name });
        assert_eq!(ask(&mut client, clear).await, "label-invalid FixCall");
    }
    assert_eq!(
        ask(&mut client, json!({ "do": "set_many", "count": 16 })).await,
        "too-many-labels ShedLoad"
    );
    assert_eq!(ask(&mut client, json!({ "do": "clear", "name": "ü".repeat(32) })).await, "ok");
    assert_eq!(ask(&mut client, json!({ "do": "set_many", "count": 16 })).await, "ok");
    assert_eq!(ask(&mut client, set("label 3", "changed")).await, "ok", "not a further one");
    assert_eq!(ask(&mut client, set("one more", "")).await, "too-many-labels ShedLoad");
}

#[tokio::test]
async fn audiences_have_limits() {
    let flags = ["--max-effects-per-event 10"];
    let wharf = Wharf::start(&["labels"], &flags).await;
    let mut client = wharf.connect("/labels?user=ann").await;
    let names = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
    let labels = |count: usize| names(count).into_iter().map(|name| (name, "")).collect::<Vec<_>>();
    for (to, answer) in [
        (json!({}), "audience-empty FixCall"),
        (json!({ "except_users": ["ann"] }), "audience-empty FixCall"),
        (json!({ "rooms": names(200), "users": names(56) }), "ok"),
        (json!({ "rooms": names(200), "users": names(57) }), "audience-too-big ShedLoad"),
        (json!({ "rooms": ["a"], "except_users": names(256) }), "ok"),
        (json!({ "rooms": ["a"], "except_users": names(257) }), "audience-too-big ShedLoad"),
        (json!({ "rooms": ["a"], "labels": labels(8) }), "ok"),
        (json!({ "rooms": ["a"], "labels": labels(9) }), "audience-too-big ShedLoad"),
        (json!({ "rooms": ["a", ""] }), "room-name-invalid FixCall"),
        (json!({ "rooms": ["r".repeat(256)] }), "room-name-invalid FixCall"),
        (json!({ "users": [""] }), "user-id-invalid FixCall"),
        (json!({ "all": true, "except_users": ["u".repeat(256)] }), "user-id-invalid FixCall"),
        (json!({ "rooms": ["a"], "times": 9 }), "ok"),
    ] {
        let mut order = to.clone();
        order["do"] = json!("send");
        assert_eq!(ask(&mut client, order).await, answer, "{to}");
    }
    let too_often = json!({ "do": "send", "rooms": ["a"], "times": 11 });
    client.send_json(too_often).await;
    // Ten messages are recorded and leave no room for an answer, so the event fails as a whole.
    assert_eq!(client.json().await["code"], "INTERNAL_ERROR");
}

#[tokio::test]
async fn audiences_that_are_kept_are_bounded() {
    let wharf = Wharf::start(&["labels"], &[]).await;
    let mut client = wharf.connect("/labels").await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client, json!({ "do": "hoard", "count": 16 })).await, "ok");
    }
    client.send_json(json!({ "do": "hoard", "count": 17 })).await;
    assert_eq!(client.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));
    let is_told = |line: &wharf_tests::Line| line.str("detail").contains("16 audiences at a time");
    wharf.log.wait_for("the reason", is_told).await;
}
