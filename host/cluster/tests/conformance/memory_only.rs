//! The engine in memory: links that are cut and delayed, and a clock that the test moves.

use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::memory::Server;
use wharf_cluster::{
    Bounds, Delivery, Engine, Keys, Leases, Limits, LinkState, Logs, Reason, Topics,
};

const BOUNDS: Bounds = Bounds { messages: 10, bytes: 1_000, age: None, idle: None };

fn topics(topic: &str) -> Vec<String> {
    vec![topic.to_owned()]
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_an_interruption_and_waiting_messages_are_sent_after_it() {
    let server = Server::new(7);
    let (one, mut first) = server.node("one", &Limits::default());
    let (two, mut second) = server.node("two", &Limits::default());
    one.subscribe(topics("t")).await.expect("subscribed");
    two.subscribe(topics("t")).await.expect("subscribed");
    server.cut("one");
    assert!(matches!(first.next().await, Some(Delivery::Interrupted { .. })));
    assert_eq!(one.get("k").await.expect_err("cut").reason(), Reason::LinkLost);
    assert!(matches!(one.status().link, LinkState::Down(_)));
    one.publish("t", Bytes::from_static(b"old")).expect("queued");
    tokio::time::sleep(Duration::from_secs(4)).await;
    one.publish("t", Bytes::from_static(b"young")).expect("queued");
    two.publish("t", Bytes::from_static(b"lost")).expect("sent");
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.mend("one");
    assert_eq!(first.next().await, Some(Delivery::Restored));
    let received = |delivery| match delivery {
        Some(Delivery::Message { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(received(first.next().await), "young");
    assert_eq!(received(second.next().await), "lost");
    assert_eq!(received(second.next().await), "young");
    assert_eq!((first.try_next(), second.try_next()), (None, None));
    assert_eq!(one.status().dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_link_keeps_its_order_and_loses_answers_when_it_is_cut() {
    let server = Server::new(7);
    let (one, mut deliveries) = server.node("one", &Limits::default());
    one.subscribe(topics("l")).await.expect("subscribed");
    server.delay("one", Duration::from_millis(10), Duration::from_millis(50));
    let begun = tokio::time::Instant::now();
    for number in 0..50_u64 {
        one.publish("l", Bytes::from(number.to_string())).expect("sent");
    }
    for number in 0..50_u64 {
        match deliveries.next().await {
            Some(Delivery::Message { message, .. }) => assert_eq!(message, number.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(10));
    let append = one.append("l", Bytes::from_static(b"x"), BOUNDS);
    let cut = async {
        // The step is done after 10 to 50 ms, and its answer takes as long again.
        tokio::time::sleep(Duration::from_millis(55)).await;
        server.cut("one");
    };
    let slow = Duration::from_millis(50);
    server.delay("one", slow, slow);
    let (appended, ()) = tokio::join!(append, cut);
    assert_eq!(appended.expect_err("cut").reason(), Reason::LinkLost);
    server.mend("one");
    assert_eq!(one.read("l", 0, 10, 100).await.expect("read").last, 1, "it is stored");
}

#[tokio::test(start_paused = true)]
async fn one_seed_is_one_history() {
    let history = async |seed| {
        let server = Server::new(seed);
        let (one, _deliveries) = server.node("one", &Limits::default());
        server.delay("one", Duration::ZERO, Duration::from_millis(100));
        let begun = tokio::time::Instant::now();
        let position = one.append("l", Bytes::new(), BOUNDS).await.expect("appended");
        one.acquire("x", "one", Duration::from_secs(1)).await.expect("acquired").expect("free");
        (position.epoch, begun.elapsed())
    };
    assert_eq!(history(3).await, history(3).await);
    assert_ne!(history(3).await, history(4).await);
}
