//! Engines of several servers, of which one fails: a replica takes its place.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{Delivery, Expected, Limits};
use wharf_test_servers::nats::{NatsCluster, NatsServer};
use wharf_test_servers::redis::{RedisCluster, RedisServer};

use crate::logs::WIDE;
use crate::support::{Kind, Node, PATIENCE, World, eventually, is_interrupted, is_restored, run};

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_replica_takes_the_place_of_a_killed_primary_of_a_redis_cluster() {
    run(Kind::Disk, async |_: World| {
        loses_a_primary(|primary| primary.server.kill(), |_| {}).await;
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_replica_takes_the_place_of_a_primary_of_a_redis_cluster_that_hangs() {
    run(Kind::Disk, async |_: World| {
        let pause = |primary: &RedisServer| primary.server.pause(true);
        loses_a_primary(pause, |primary| primary.server.pause(false)).await;
    });
}

/// Loses the primary that has all messages, proves that everything goes on with its replica, and lets it come back.
async fn loses_a_primary(lose: impl Fn(&RedisServer), give_back: impl Fn(&RedisServer)) {
    let cluster = RedisCluster::start_with_replicas();
    let servers: Vec<_> = cluster.ports().map(|port| format!("127.0.0.1:{port}")).collect();
    let address = format!("redis+cluster://{}", servers.join(","));
    let limits = Limits { timeout: Duration::from_millis(500), ..Limits::default() };
    let (mut one, mut two) =
        (Node::open(&address, &limits).await, Node::open(&address, &limits).await);
    one.subscribe(&["a", "log"]).await;
    two.subscribe(&["a", "log"]).await;
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    let mut versions = Vec::new();
    for key in &keys {
        let put = one.engine.put(key, Bytes::new(), Expected::Absent, None).await;
        versions.push(put.expect("written"));
    }
    let first = one.engine.append("log", Bytes::new(), WIDE).await.expect("appended");
    for node in [&mut one, &mut two] {
        assert_eq!(node.message().await.2, Some(first));
    }
    cluster.wait_until_replicated();
    let primary = cluster.primary_of("wharf:{wharf}:t:a");
    lose(primary);
    for node in [&mut one, &mut two] {
        assert!(is_interrupted(&node.next().await));
        node.until(is_restored).await;
    }
    goes_on(&mut one, &mut two, &keys, &versions).await;
    let next = one.engine.append("log", Bytes::new(), WIDE).await.expect("appended");
    assert_eq!((next.epoch, next.offset), (first.epoch, 2));
    let interruptions = one.engine.status().interruptions;
    give_back(primary);
    // It comes back as a replica, and has nobody's link.
    for _ in 0..20 {
        one.engine.increment("n", 1, None).await.expect("added");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(one.engine.status().interruptions, interruptions);
}

/// Proves that messages and records go on. A step that meets an old place of a part is refused once, and has the link made
/// again: for a moment not all servers of a Redis Cluster know of the replica that has taken over.
async fn goes_on(one: &mut Node, two: &mut Node, keys: &[String], versions: &[u64]) {
    for engine in [one.engine.clone(), two.engine.clone()] {
        eventually("all records are reached", async || {
            for key in keys {
                if engine.get(key).await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
    }
    let sender = one.engine.clone();
    for node in [one, &mut *two] {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "no message comes through");
            sender.publish("a", Bytes::from_static(b"after")).expect("published");
            let next = tokio::time::timeout(Duration::from_millis(200), node.deliveries.next());
            if let Ok(Some(Delivery::Message { message, .. })) = next.await
                && message == "after"
            {
                break;
            }
        }
    }
    for (key, version) in keys.iter().zip(versions) {
        let entry = two.engine.get(key).await.expect("read").expect("a record");
        assert_eq!(entry.version, *version);
        let written = two.engine.put(key, Bytes::new(), Expected::Version(*version), None).await;
        written.expect("written");
    }
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_cluster_of_nats_goes_on_without_one_of_three_servers() {
    run(Kind::Disk, async |_: World| {
        let cluster = NatsCluster::start();
        let at = |servers: &[&NatsServer]| {
            let places = servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
            format!("nats://{}?replicas=3", places.collect::<Vec<_>>().join(","))
        };
        let [first, second, third] = &cluster.servers[..] else { panic!("three servers") };
        let limits = Limits::default();
        // The servers must have found one another, and have chosen one that leads.
        let configuration = wharf_cluster::Configuration::parse(&at(&[third])).expect("valid");
        eventually("the cluster is there", async || {
            wharf_cluster::open(&configuration).await.is_ok()
        })
        .await;
        let mut one = Node::open(&at(&[first]), &limits).await;
        let mut two = Node::open(&at(&[second, third]), &limits).await;
        let topics: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
        two.engine.subscribe(topics.clone()).await.expect("subscribed");
        one.subscribe(&["a"]).await;
        two.subscribe(&["a"]).await;
        // The other servers hear of subscriptions a little later.
        let begun = Instant::now();
        while two.deliveries.try_next().is_none() {
            assert!(begun.elapsed() < PATIENCE, "no message comes through");
            one.publish("t0", "?");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        while two.deliveries.try_next().is_some() {}
        for number in 0..4_000_usize {
            one.publish(&topics[(number * number + number / 7) % 40], &number.to_string());
        }
        for number in 0..4_000 {
            assert_eq!(two.message().await.1, number.to_string(), "in order over all topics");
        }

        let keys: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
        let mut versions = Vec::new();
        for key in &keys {
            let put = two.engine.put(key, Bytes::new(), Expected::Absent, None).await;
            versions.push(put.expect("written"));
        }
        let place = two.engine.status().server;
        let lost = cluster.servers.iter().find(|s| place.ends_with(&format!(":{}", s.port())));
        lost.expect("the server of the second node").server.kill();
        assert!(is_interrupted(&two.next().await));
        two.until(is_restored).await;
        // The stream may have been led from there: then another server is chosen first.
        goes_on(&mut one, &mut two, &keys, &versions).await;
    });
}
