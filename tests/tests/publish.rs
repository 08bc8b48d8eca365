//! A channel that sends to the rooms of another.

use tempfile::TempDir;
use wharf_tests::{
    Client, Setup, Value, Wharf, artefacts, eventually, json, on_one_host_and_on_two,
};

on_one_host_and_on_two! {
    members_of_another_channels_room_receive_what_is_published_and_nobody_else
    all_members_see_what_is_published_in_one_order_with_the_rooms_own_broadcasts
    a_channel_that_is_not_in_service_is_unknown_until_it_comes
}

/// Starts a server with the plugins `publishes` and `rooms`, and this `wharf.toml`.
async fn started(file: &str, flags: &[&str]) -> Wharf {
    Wharf::start_in(folder(file), flags).await
}

fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    for name in ["publishes", "rooms"] {
        let path = folder.path().join("plugins").join(format!("{name}.wasm"));
        std::fs::write(path, artefacts::component(name)).expect("a plugin");
    }
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    folder
}

const GRANTED: &str = "[channels.publishes]\npublish_to = [\"rooms\", \"nowhere\"]\n";

fn text(room: &str, text: &str) -> Value {
    json!({ "do": "text", "to": "rooms", "room": room, "text": text })
}

async fn tell(client: &mut Client, order: Value) -> Value {
    client.send_json(order).await;
    client.json().await
}

async fn members_of_another_channels_room_receive_what_is_published_and_nobody_else(setup: Setup) {
    let hosts = setup.start_in(|| folder(GRANTED), &[]).await;
    let mut publisher = hosts.connect(0, "/publishes").await;
    let mut member = hosts.connect(1, "/rooms?join=news").await;
    let mut other = hosts.connect(0, "/rooms?join=sport").await;
    assert_eq!(tell(&mut publisher, text("news", "ships moored")).await, json!("ok"));
    assert_eq!(member.text().await, "ships moored");
    let binary = json!({ "do": "binary", "to": "rooms", "room": "news", "data": [1, 0, 255] });
    assert_eq!(tell(&mut publisher, binary).await, json!("ok"));
    assert_eq!(&member.binary().await[..], [1, 0, 255]);
    // A room without members is no error, and the longest names are valid.
    for room in ["nobody is here", &"ü".repeat(127)] {
        assert_eq!(tell(&mut publisher, text(room, "hello")).await, json!("ok"), "{room}");
    }
    // An event that fails publishes nothing.
    let order = json!({ "do": "then_fail", "to": "rooms", "room": "news" });
    assert_eq!(tell(&mut publisher, order).await["code"], "INTERNAL_ERROR");
    assert_eq!(tell(&mut publisher, text("news", "last")).await, json!("ok"));
    assert_eq!(member.text().await, "last");
    hosts.settle().await;
    other.send_json(json!({ "do": "count", "room": "sport" })).await;
    assert_eq!(other.json().await, json!({ "count": 1 }), "nothing came before it");
}

async fn all_members_see_what_is_published_in_one_order_with_the_rooms_own_broadcasts(
    setup: Setup,
) {
    let hosts = setup.start_in(|| folder(GRANTED), &[]).await;
    // Broadcasts of one host have one order.
    let mut publishers =
        [hosts.connect(0, "/publishes").await, hosts.connect(0, "/publishes").await];
    let mut members = Vec::new();
    for number in 0..10 {
        members.push(hosts.connect(number, "/rooms?join=news").await);
    }
    const ROUNDS: usize = 30;
    for round in 0..ROUNDS {
        let [one, other] = &mut publishers;
        one.send_json(text("news", &format!("one {round}"))).await;
        other.send_json(text("news", &format!("other {round}"))).await;
        let own = format!("own {round}");
        let order = json!({ "do": "broadcast", "rooms": ["news"], "text": own, "skip": false });
        members[0].send_json(order).await;
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..3 * ROUNDS {
            order.push(member.text().await);
        }
        orders.push(order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "members saw different orders");
    for who in ["one", "other", "own"] {
        let of_one: Vec<_> = orders[0].iter().filter(|text| text.starts_with(who)).collect();
        let expected: Vec<_> = (0..ROUNDS).map(|round| format!("{who} {round}")).collect();
        assert_eq!(of_one, expected.iter().collect::<Vec<_>>(), "each publisher's own order");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_the_line_that_grants_it() {
    let wharf = started("[channels.publishes]\npublish_to = [\"weather\"]\n", &[]).await;
    let mut publisher = wharf.connect("/publishes").await;
    let mut member = wharf.connect("/rooms?join=news").await;
    let refused = tell(&mut publisher, text("news", "hello")).await;
    assert_eq!(refused["refused"], "publish-not-granted");
    assert_eq!(refused["remedy"], "AskOperator");
    let line = "publish_to = [\"weather\", \"rooms\"]";
    let how = format!("`{line}` under `[channels.publishes]`");
    let logged = wharf.log.wait_for("the refusal", |l| l.begins("publishing refused")).await;
    assert_eq!((logged.str("channel"), logged.str("to")), ("publishes", "rooms"));
    for told in [refused["detail"].as_str().expect("a detail"), logged.message()] {
        assert!(told.contains(&how), "no {how} in {told}");
    }
    // The error does not reveal if there is such a channel, and hostile names stay on their line.
    for to in ["", "publishes", "no\nsuch", &"x".repeat(100_000)] {
        let order = json!({ "do": "text", "to": to, "room": "r", "text": "t" });
        assert_eq!(tell(&mut publisher, order).await["refused"], "publish-not-granted");
    }
    let lines = wharf.log.find(|line| line.begins("publishing refused"));
    assert!(lines.iter().all(|line| line.text.len() < 2_000), "a long name filled the log");
    member.send_json(json!({ "do": "joined" })).await;
    assert_eq!(member.json().await, json!({ "joined": ["news"] }), "nothing came before it");

    // The call works with the line in the configuration.
    drop(wharf);
    let wharf = started(&format!("[channels.publishes]\n{line}\n"), &[]).await;
    let mut publisher = wharf.connect("/publishes").await;
    assert_eq!(tell(&mut publisher, text("news", "hello")).await, json!("ok"));
}

async fn a_channel_that_is_not_in_service_is_unknown_until_it_comes(setup: Setup) {
    let hosts = setup.start_in(|| folder(GRANTED), &["--removal-grace-ms 100"]).await;
    let mut publisher = hosts.connect(0, "/publishes").await;
    let nowhere = json!({ "do": "text", "to": "nowhere", "room": "r", "text": "t" });
    let refused = tell(&mut publisher, nowhere).await;
    assert_eq!(
        (&refused["refused"], &refused["remedy"]),
        (&json!("unknown-channel"), &json!("Gone"))
    );

    for host in hosts.all() {
        std::fs::remove_file(host.wharf.plugin("rooms")).expect("the plugin is removed");
        host.wharf.log.wait_for("the removal", |line| line.says("plugin removed")).await;
    }
    eventually("the channel to be unknown", async || {
        let answer = tell(&mut publisher, text("news", "hello")).await;
        (answer["refused"] == "unknown-channel").then_some(())
    })
    .await;
    hosts.swap("rooms", &artefacts::component("rooms")).await;
    let mut member = hosts.connect(1, "/rooms?join=news").await;
    assert_eq!(tell(&mut publisher, text("news", "again")).await, json!("ok"));
    assert_eq!(member.text().await, "again");
    // A reload of either plugin changes nothing.
    for name in ["rooms", "publishes"] {
        let mut next = artefacts::component(name);
        // A custom section makes it another file.
        next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
        hosts.swap(name, &next).await;
        assert_eq!(tell(&mut publisher, text("news", name)).await, json!("ok"));
        assert_eq!(member.text().await, name);
    }
}

#[tokio::test]
async fn the_limits_of_broadcasts_are_those_of_publishing() {
    let flags = ["--max-outbound-message-bytes 1000", "--max-effect-bytes-per-event 100000"];
    let wharf = started(GRANTED, &flags).await;
    let mut publisher = wharf.connect("/publishes").await;
    for (order, code) in [
        (text("", "hello"), "room-name-invalid"),
        (text(&"x".repeat(256), "hello"), "room-name-invalid"),
        (text("news", &"x".repeat(1001)), "message-too-big"),
        (
            json!({ "do": "many", "to": "rooms", "room": "news", "count": 101, "bytes": 1000 }),
            "too-many-effects",
        ),
        (
            json!({ "do": "many", "to": "rooms", "room": "news", "count": 2000, "bytes": 0 }),
            "too-many-effects",
        ),
    ] {
        assert_eq!(tell(&mut publisher, order.clone()).await["refused"], code, "{order}");
    }
    assert_eq!(tell(&mut publisher, text("news", &"x".repeat(1000))).await, json!("ok"));
}
