//! Servers that die, hang, refuse, or are shared.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{
    Bounds, Configuration, Delivery, Expected, LinkState, OpenError, Reason, Unavailable,
};

use crate::logs::WIDE;
use crate::support::{Kind, World, eventually, is_interrupted, is_restored};

/// Longest time from the return of a server to the return of all subscriptions.
const RETURN: Duration = Duration::from_secs(2);

pub async fn a_killed_server_is_an_interruption_that_ends(world: World) {
    let mut node = world.node().await;
    let topics: Vec<String> = (0..500).map(|number| format!("t{number}")).collect();
    node.engine.subscribe(topics).await.expect("subscribed");
    node.publish("t7", "before");
    assert_eq!(node.message().await.1, "before");
    for round in 1..=2_u64 {
        world.kill();
        assert!(is_interrupted(&node.next().await));
        eventually("the status says so", async || {
            matches!(node.engine.status().link, LinkState::Down(_))
        })
        .await;
        world.restart();
        let begun = Instant::now();
        assert_eq!(node.next().await, Delivery::Restored);
        assert!(begun.elapsed() < RETURN, "{:?}", begun.elapsed());
        assert_eq!(node.engine.status().interruptions, round);
        for topic in ["t0", "t499"] {
            node.publish(topic, "after");
            assert_eq!(node.message().await, (topic.to_owned(), "after".to_owned(), None));
        }
        // Scripts and streams are there again.
        node.engine.increment("n", 1, None).await.expect("added");
    }
}

pub async fn a_stopped_server_is_an_interruption_that_ends(mut world: World) {
    world.limits.timeout = Duration::from_millis(500);
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    let begun = Instant::now();
    world.pause(true);
    let refused = node.engine.get("k").await.expect_err("no answer");
    assert!(matches!(refused.reason(), Reason::TimedOut | Reason::LinkLost), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let interrupted = node.next().await;
    assert!(is_interrupted(&interrupted), "{interrupted:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // Publishing does not wait.
    node.publish("a", "waits");
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.pause(false);
    let begun = Instant::now();
    node.until(is_restored).await;
    assert!(begun.elapsed() < RETURN + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(node.message().await.1, "waits");
}

pub async fn publishes_wait_for_the_link_up_to_the_bound(mut world: World) {
    world.limits.outbox_bytes = 10_000;
    world.limits.outbox_age = Duration::from_secs(60);
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    world.kill();
    assert!(is_interrupted(&node.next().await));
    let mut queued = 0;
    let refused = loop {
        match node.engine.publish("a", Bytes::from(format!("{queued:0100}"))) {
            Ok(()) => queued += 1,
            Err(why) => break why,
        }
    };
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert!((50..100).contains(&queued), "{queued}");
    assert!(node.engine.status().waiting_bytes <= 10_000);
    world.restart();
    node.until(is_restored).await;
    for number in 0..queued {
        assert_eq!(node.message().await.1, format!("{number:0100}"));
    }
}

pub async fn old_publishes_are_dropped(mut world: World) {
    world.limits.outbox_age = Duration::from_millis(300);
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    world.kill();
    assert!(is_interrupted(&node.next().await));
    node.publish("a", "old");
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.restart();
    node.until(is_restored).await;
    node.publish("a", "new");
    assert_eq!(node.message().await.1, "new");
    assert_eq!(node.engine.status().dropped, 1);
}

pub async fn steps_are_refused_while_the_link_is_down(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    world.kill();
    assert!(is_interrupted(&node.next().await));
    let begun = Instant::now();
    let engine = &node.engine;
    let is_down = |why: &Unavailable| why.reason() == Reason::LinkLost;
    assert!(engine.get("k").await.is_err_and(|why| is_down(&why)));
    assert!(engine.list("", None, 1).await.is_err_and(|why| is_down(&why)));
    assert!(engine.put("k", Bytes::new(), Expected::Any, None).await.is_err());
    assert!(engine.increment("n", 1, None).await.is_err());
    assert!(engine.append("l", Bytes::new(), WIDE).await.is_err_and(|why| is_down(&why)));
    assert!(engine.read("l", 0, 1, 1).await.is_err_and(|why| is_down(&why)));
    let ttl = Duration::from_secs(1);
    assert!(engine.acquire("x", "me", ttl).await.is_err_and(|why| is_down(&why)));
    assert!(engine.subscribe(vec!["b".to_owned()]).await.is_err_and(|why| is_down(&why)));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // The topic was remembered.
    world.restart();
    node.until(is_restored).await;
    node.publish("b", "remembered");
    assert_eq!(node.message().await.1, "remembered");
}

pub async fn what_is_written_survives_a_restart_of_the_server(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["nothing"]).await;
    let version = node.engine.put("k", Bytes::from_static(b"v"), Expected::Any, None).await;
    let version = version.expect("written");
    let first = node.engine.append("l", Bytes::from_static(b"1"), WIDE).await.expect("appended");
    let ttl = Duration::from_secs(60);
    let fence = node.engine.acquire("x", "me", ttl).await.expect("an answer").expect("free");
    world.kill();
    world.restart();
    node.until(is_restored).await;
    let entry = node.engine.get("k").await.expect("read").expect("a record");
    assert_eq!((&entry.value[..], entry.version), (&b"v"[..], version));
    let next = node.engine.append("l", Bytes::from_static(b"2"), WIDE).await.expect("appended");
    assert_eq!((next.epoch, next.offset), (first.epoch, 2));
    assert_eq!(node.engine.renew("x", fence, ttl).await, Ok(true));
    let other = node.engine.acquire("x", "other", ttl).await.expect("an answer");
    assert_eq!(other.expect_err("held").holder, "me");
}

pub async fn two_prefixes_do_not_meet(world: World) {
    let (mut one, mut two) = (world.node_with("one").await, world.node_with("two").await);
    one.subscribe(&["a", "l"]).await;
    two.subscribe(&["a", "l"]).await;
    one.publish("a", "of one");
    two.publish("a", "of two");
    assert_eq!(one.message().await.1, "of one");
    assert_eq!(two.message().await.1, "of two");
    one.engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
    assert_eq!(two.engine.get("k").await, Ok(None));
    assert_eq!(two.engine.list("", None, 10).await, Ok(Vec::new()));
    let bounds = Bounds { messages: 10, ..WIDE };
    one.engine.append("l", Bytes::new(), bounds).await.expect("appended");
    assert_eq!(two.engine.read("l", 0, 10, 10).await.expect("read").epoch, 0);
    let ttl = Duration::from_secs(60);
    one.engine.acquire("x", "one", ttl).await.expect("an answer").expect("free");
    two.engine.acquire("x", "two", ttl).await.expect("an answer").expect("free too");
    assert!(one.message().await.2.is_some());
    two.assert_silent().await;
}

pub async fn a_server_that_is_not_there_is_named(world: World) {
    world.kill();
    let configuration = Configuration::parse(&world.address()).expect("an address");
    let begun = Instant::now();
    match wharf_cluster::open(&configuration).await.err().expect("refused") {
        OpenError::Unavailable { server, why } => {
            assert!(server.starts_with("127.0.0.1:"), "{server}");
            assert_eq!(why.reason(), Reason::LinkLost);
            assert!(why.to_string().contains("is the server running"), "{why}");
        }
        other => panic!("{other}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

pub async fn a_wrong_password_is_named_and_not_shown(world: World) {
    let address = match world.kind {
        Kind::Redis => {
            let done = world.redis().command(&["CONFIG", "SET", "requirepass", "right"]);
            assert_eq!(done, "+OK");
            world.address()
        }
        _ => {
            let server = wharf_test_servers::nats::NatsServer::start(&[
                "--jetstream",
                "--user",
                "me",
                "--pass",
                "right",
            ]);
            let address = format!("nats://127.0.0.1:{}", server.port());
            refuses(&address).await;
            let right = address.replace("://", "://me:right@");
            wharf_cluster::open(&Configuration::parse(&right).expect("valid")).await.expect("open");
            return;
        }
    };
    refuses(&address).await;
    let right = address.replace("://", "://:right@");
    wharf_cluster::open(&Configuration::parse(&right).expect("valid")).await.expect("open");
}

async fn refuses(address: &str) {
    for login in ["", "me:hunter2@", "hunter2@"] {
        let address = address.replace("://", &format!("://{login}"));
        let configuration = Configuration::parse(&address).expect("an address");
        match wharf_cluster::open(&configuration).await.err().expect("refused") {
            OpenError::Unavailable { server, why } => {
                assert_eq!(why.reason(), Reason::WrongPassword, "{login:?}: {why}");
                assert!(why.to_string().contains("correct the user and the password"), "{why}");
                assert!(!format!("{server} {why} {why:?}").contains("hunter2"));
            }
            other => panic!("{other}"),
        }
    }
}

pub async fn a_flood_is_received_or_told(mut world: World) {
    world.limits.inbox_bytes = 1 << 20;
    let (mut slow, fast) = (world.node().await, world.node().await);
    slow.subscribe(&["a", "end"]).await;
    let message = Bytes::from(vec![b'x'; 1_000]);
    let mut sent = 0;
    while sent < 50_000 {
        match fast.engine.publish("a", message.clone()) {
            Ok(()) => sent += 1,
            // The bound of the sender gives way to nothing but time.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    eventually("all is sent", async || fast.engine.status().waiting_bytes == 0).await;
    let end = slow.engine.clone();
    let (mut received, mut is_told) = (0, false);
    loop {
        let next = slow.deliveries.next();
        match tokio::time::timeout(Duration::from_secs(1), next).await {
            Ok(Some(Delivery::Message { .. })) => received += 1,
            Ok(Some(Delivery::Interrupted { .. })) => is_told = true,
            Ok(Some(Delivery::Restored)) => {}
            Ok(None) => panic!("it is closed"),
            Err(_) => break,
        }
    }
    let lost = sent - received - fast.engine.status().dropped;
    assert!(lost == 0 || is_told, "{lost} messages are missing in silence");
    end.publish("end", Bytes::new()).expect("sent");
    assert_eq!(slow.message().await.0, "end");
}
