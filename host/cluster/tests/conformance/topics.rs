//! Messages between nodes.

use bytes::Bytes;
use wharf_cluster::{Delivery, Expected, Reason};

use crate::support::{World, is_interrupted, is_restored};

pub async fn own_messages_are_received_in_order(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["a", "b"]).await;
    for number in 0..2_000 {
        node.publish("a", &number.to_string());
    }
    for number in 0..2_000 {
        assert_eq!(node.message().await, ("a".to_owned(), number.to_string(), None));
    }
}

pub async fn messages_of_other_topics_are_not_received(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["room"]).await;
    for topic in ["rooms", "roo", "ROOM", "room.a", "room*", "*", ">"] {
        node.publish(topic, "no");
    }
    node.publish("room", "yes");
    assert_eq!(node.message().await.1, "yes");
    node.assert_silent().await;
}

pub async fn an_unsubscribed_topic_is_silent(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["a", "b"]).await;
    node.engine.unsubscribe(vec!["a".to_owned(), "unknown".to_owned()]);
    // A later subscription is made after the end of the earlier one.
    node.subscribe(&["c"]).await;
    node.publish("a", "no");
    node.publish("b", "yes");
    assert_eq!(node.message().await.1, "yes");
    node.subscribe(&["a"]).await;
    node.publish("a", "again");
    assert_eq!(node.message().await.1, "again");
}

pub async fn any_name_is_a_topic(world: World) {
    let mut node = world.node().await;
    let long = "ü".repeat(512);
    let names =
        ["a b", ".", "a..b", "*", ">", "$SYS", "{a}b", "ключ", "a\nb", "\0", "a:b/c", &long];
    node.subscribe(&names).await;
    for name in names {
        node.publish(name, name);
        let (topic, message, _) = node.message().await;
        assert_eq!((topic.as_str(), message.as_str()), (name, name));
    }
    node.assert_silent().await;
}

pub async fn a_message_of_any_bytes_arrives(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    let all: Vec<u8> = (0..=255).collect();
    for message in [vec![], vec![0], vec![1, 2, 3], all, vec![7; 500_000]] {
        let message = Bytes::from(message);
        node.engine.publish("a", message.clone()).expect("published");
        match node.next().await {
            Delivery::Message { message: received, position: None, .. } => {
                assert!(received == message, "{} bytes", message.len());
            }
            other => panic!("{other:?}"),
        }
    }
}

pub async fn an_invalid_name_is_refused(world: World) {
    let node = world.node().await;
    for name in ["", &"x".repeat(1_025)] {
        let refused = node.engine.publish(name, Bytes::new()).expect_err("refused");
        assert_eq!(refused.reason(), Reason::TooLarge, "{refused}");
        assert!(node.engine.subscribe(vec![name.to_owned()]).await.is_err());
        assert!(node.engine.put(name, Bytes::new(), Expected::Any, None).await.is_err());
    }
}

pub async fn many_topics_are_subscribed_to_at_once(world: World) {
    let mut node = world.node().await;
    let topics: Vec<String> = (0..2_000).map(|number| format!("room-{number}")).collect();
    let parts = topics.chunks(50).map(|part| node.engine.subscribe(part.to_vec()));
    for subscribed in futures_util::future::join_all(parts).await {
        subscribed.expect("subscribed");
    }
    assert_eq!(node.engine.status().topics, 2_000);
    for topic in &topics {
        node.publish(topic, topic);
    }
    let mut found = Vec::new();
    for _ in &topics {
        found.push(node.message().await.0);
    }
    assert_eq!(found, topics);
}

pub async fn one_publishers_messages_keep_their_order_over_all_topics(world: World) {
    const TOPICS: u64 = 60;
    let (mut node, mut seed) = (world.node().await, 1_u64);
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("room-{number}")).collect();
    node.engine.subscribe(topics.clone()).await.expect("subscribed");
    let topic = |seed: &mut u64| {
        // Knuth's generator: the topics have no pattern, and are the same in each run.
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &topics[usize::try_from((*seed >> 33) % TOPICS).expect("a number")]
    };
    for round in 0..20_u64 {
        for number in 0..500 {
            node.publish(topic(&mut seed), &(round * 500 + number).to_string());
        }
        // Subscriptions come and go meanwhile.
        node.subscribe(&["passing"]).await;
        node.engine.unsubscribe(vec!["passing".to_owned()]);
    }
    for number in 0..20 * 500 {
        assert_eq!(node.message().await.1, number.to_string());
    }
}

pub async fn a_slow_receiver_is_told(mut world: World) {
    world.limits.inbox_bytes = 20_000;
    let mut node = world.node().await;
    node.subscribe(&["a", "end"]).await;
    for _ in 0..1_000 {
        node.publish("a", &"x".repeat(100));
    }
    let overrun = || async { node.engine.status().overrun > 0 };
    crate::support::eventually("the bound is reached", overrun).await;
    let before = node.until(is_interrupted).await;
    assert!(before.len() > 50, "{} events", before.len());
    node.until(is_restored).await;
    // Some of the thousand may still be under way.
    let received = || async { node.engine.status().received >= 1_000 };
    crate::support::eventually("all have come", received).await;
    while node.deliveries.try_next().is_some() {}
    node.publish("end", "end");
    assert_eq!(node.message().await.1, "end");
}

pub async fn a_closed_engine_refuses_everything(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["a"]).await;
    node.engine.close().await;
    let refused = node.engine.publish("a", Bytes::new()).expect_err("refused");
    assert_eq!(refused.reason(), Reason::Closed);
    assert!(node.engine.get("k").await.is_err());
    assert!(node.engine.subscribe(vec!["b".to_owned()]).await.is_err());
    assert_eq!(node.engine.status().link, wharf_cluster::LinkState::Closed);
    while node.deliveries.next().await.is_some() {}
}

pub async fn all_nodes_receive_one_publishers_order(world: World) {
    let (mut one, mut two) = (world.node().await, world.node().await);
    one.subscribe(&["a"]).await;
    two.subscribe(&["a"]).await;
    for number in 0..500 {
        one.publish("a", &format!("one {number}"));
        two.publish("a", &format!("two {number}"));
    }
    for node in [&mut one, &mut two] {
        let mut expected = [0, 0];
        for _ in 0..1_000 {
            let (_, message, _) = node.message().await;
            let (from, number) = message.split_once(' ').expect("two words");
            let expected = &mut expected[usize::from(from == "two")];
            assert_eq!(number, expected.to_string());
            *expected += 1;
        }
    }
}

pub async fn each_publishers_order_holds_for_those_who_receive_a_part(world: World) {
    let (mut one, mut two) = (world.node().await, world.node().await);
    let topics: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    one.engine.subscribe(topics[..20].to_vec()).await.expect("subscribed");
    two.engine.subscribe(topics[10..].to_vec()).await.expect("subscribed");
    for number in 0..6_000_usize {
        let topic = &topics[(number * number + number / 7) % 30];
        one.publish(topic, &format!("one {number}"));
        two.publish(topic, &format!("two {number}"));
    }
    for topic in ["t10", "t19"] {
        one.publish(topic, "one 6000");
        two.publish(topic, "two 6000");
    }
    for node in [&mut one, &mut two] {
        let (mut last, mut ends, mut count) = ([None, None], 0, 0);
        while ends < 4 {
            let (_, message, _) = node.message().await;
            let (from, number) = message.split_once(' ').expect("two words");
            let number: usize = number.parse().expect("a number");
            let last = &mut last[usize::from(from == "two")];
            assert!(last.is_none_or(|last| last < number || number == 6_000), "{message} is late");
            *last = Some(number);
            ends += usize::from(number == 6_000);
            count += 1;
        }
        assert!((7_000..9_000).contains(&count), "{count} messages of about two thirds");
    }
}

pub async fn a_node_receives_what_it_subscribes_to_only(world: World) {
    let (mut one, mut two) = (world.node().await, world.node().await);
    one.subscribe(&["a", "both"]).await;
    two.subscribe(&["b", "both"]).await;
    for topic in ["a", "b", "both"] {
        one.publish(topic, topic);
    }
    assert_eq!([one.message().await.0, one.message().await.0], ["a", "both"]);
    assert_eq!([two.message().await.0, two.message().await.0], ["b", "both"]);
}
