//! States of Redis that have a name and an advice.

use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::{Configuration, Expected, LinkState, PutError, Reason};

use crate::logs::WIDE;
use crate::support::{Kind, Node, World, eventually, is_interrupted, is_restored, refusal, run};
use wharf_test_servers::redis::{RedisServer, info, sentinel};

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_replica_is_refused_with_advice() {
    run(Kind::Redis, async |world: World| {
        let port = world.redis().port().to_string();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
        let why = refusal(&format!("redis://127.0.0.1:{}", replica.port())).await;
        assert_eq!(why.reason(), Reason::ReadOnly);
        assert!(why.to_string().contains("give the address of the primary"), "{why}");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_primary_that_becomes_a_replica_is_an_interruption() {
    run(Kind::Redis, async |world: World| {
        let other = RedisServer::start(&[]);
        let mut node = world.node().await;
        node.subscribe(&["a"]).await;
        let port = other.port().to_string();
        assert_eq!(world.redis().command(&["REPLICAOF", "127.0.0.1", &port]), "+OK");
        let refused = node.engine.put("k", Bytes::new(), Expected::Any, None).await;
        match refused.expect_err("a replica") {
            PutError::Unavailable(why) => assert_eq!(why.reason(), Reason::ReadOnly, "{why}"),
            other => panic!("{other}"),
        }
        assert!(is_interrupted(&node.next().await));
        eventually("the status says so", async || {
            matches!(node.engine.status().link, LinkState::Down(why) if why.reason() == Reason::ReadOnly)
        })
        .await;
        assert_eq!(world.redis().command(&["REPLICAOF", "NO", "ONE"]), "+OK");
        node.until(is_restored).await;
        node.engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn full_memory_refuses_whole_steps_with_advice() {
    run(Kind::Redis, async |world: World| {
        let mut node = world.node().await;
        node.subscribe(&["a"]).await;
        let engine = node.engine.clone();
        let version = engine.put("k", Bytes::from_static(b"v"), Expected::Any, None).await;
        let version = version.expect("written");
        engine.increment("n", 1, None).await.expect("added");
        engine.append("l", Bytes::from_static(b"1"), WIDE).await.expect("appended");
        let redis = world.redis();
        assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "+OK");
        assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
        let put = engine.put("k", Bytes::from_static(b"w"), Expected::Any, None).await;
        match put.expect_err("full") {
            PutError::Unavailable(why) => {
                assert_eq!(why.reason(), Reason::Full);
                assert!(why.to_string().contains("raise `maxmemory`"), "{why}");
            }
            other => panic!("{other}"),
        }
        assert!(engine.increment("n", 1, None).await.is_err());
        let appended = engine.append("l", Bytes::from_static(b"2"), WIDE).await;
        assert_eq!(appended.expect_err("full").reason(), Reason::Full);
        let acquired = engine.acquire("x", "me", Duration::from_secs(1)).await;
        assert_eq!(acquired.expect_err("full").reason(), Reason::Full);
        // Nothing has changed, reads and messages go on, and deletions make room.
        let entry = engine.get("k").await.expect("read").expect("a record");
        assert_eq!((&entry.value[..], entry.version), (&b"v"[..], version));
        assert_eq!(engine.read("l", 0, 10, 10).await.expect("read").last, 1);
        node.publish("a", "goes on");
        assert_eq!(node.message().await.1, "goes on");
        assert_eq!(engine.delete("k", Expected::Any).await, Ok(true));
        assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
        assert_eq!(engine.increment("n", 1, None).await.expect("added").0, 2);
        assert_eq!(engine.append("l", Bytes::new(), WIDE).await.expect("appended").offset, 2);
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_user_without_rights_is_named() {
    run(Kind::Redis, async |world: World| {
        let redis = world.redis();
        let rights =
            ["ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-eval"];
        assert_eq!(redis.command(&rights), "+OK");
        let address = world.address().replace("://", "://weak:pw@");
        let configuration = Configuration::parse(&address).expect("an address");
        let (engine, _deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        let why = engine.get("k").await.expect_err("forbidden");
        assert_eq!(why.reason(), Reason::NotPermitted, "{why}");
        let strong = [
            "ACL",
            "SETUSER",
            "fit",
            "on",
            ">pw",
            "resetkeys",
            "~wharf:*",
            "resetchannels",
            "&wharf:*",
            "+@all",
        ];
        assert_eq!(redis.command(&strong), "+OK");
        let address = world.address().replace("://", "://fit:pw@");
        let configuration = Configuration::parse(&address).expect("an address");
        let (engine, _deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
        engine.append("l", Bytes::new(), WIDE).await.expect("appended");
        engine.subscribe(vec!["a".to_owned()]).await.expect("subscribed");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn scripts_that_the_server_has_lost_are_sent_again() {
    run(Kind::Redis, async |world: World| {
        let engine = world.node().await.engine;
        for sum in 1..4 {
            assert_eq!(engine.increment("n", 1, None).await.expect("added").0, sum);
            assert_eq!(world.redis().command(&["SCRIPT", "FLUSH"]), "+OK");
        }
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_server_that_has_lost_everything_repeats_no_version_and_no_epoch() {
    run(Kind::Redis, async |world: World| {
        let engine = world.node().await.engine;
        let ttl = Duration::from_secs(60);
        let version = engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
        let first = engine.append("l", Bytes::new(), WIDE).await.expect("appended");
        let fence = engine.acquire("x", "me", ttl).await.expect("an answer").expect("free");
        assert_eq!(world.redis().command(&["FLUSHALL"]), "+OK");
        let later = engine.put("k", Bytes::new(), Expected::Absent, None).await.expect("written");
        assert!(later > version);
        let second = engine.append("l", Bytes::new(), WIDE).await.expect("appended");
        assert!(second.epoch != first.epoch && second.offset == 1);
        let next = engine.acquire("x", "me", ttl).await.expect("an answer").expect("free");
        assert!(next > fence);
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn expired_records_leave_nothing_behind() {
    run(Kind::Redis, async |world: World| {
        let engine = world.node().await.engine;
        let ttl = Some(Duration::from_millis(1));
        for number in 0..200 {
            let key = format!("k{number}");
            engine.put(&key, Bytes::new(), Expected::Any, ttl).await.expect("written");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Each change of a part removes some of the names that have expired there.
        for number in 0..400 {
            let key = format!("n{number}");
            engine.increment(&key, 1, None).await.expect("added");
            engine.delete(&key, Expected::Any).await.expect("deleted");
        }
        let left = world.redis().command(&["DBSIZE"]);
        let count: usize = left.trim_start_matches(':').parse().expect("a number");
        assert!(count <= 32, "only the counters of the parts are left: {left}");
        assert!(info(world.redis().port(), &["INFO", "server"]).contains("redis_version"));
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn answers_of_another_form_are_damage_and_no_panic() {
    run(Kind::Redis, async |world: World| {
        let engine = world.node().await.engine;
        engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
        engine.append("l", Bytes::new(), WIDE).await.expect("appended");
        let redis = world.redis();
        let keys = info_keys(redis.port());
        for key in keys.iter().filter(|key| key.ends_with(":k:k") || key.ends_with(":m:l")) {
            for field in ["v", "e", "o"] {
                redis.command(&["HSET", key, field, "nonsense"]);
            }
        }
        assert_eq!(engine.get("k").await.expect_err("damaged").reason(), Reason::Damaged);
        assert!(engine.read("l", 0, 10, 10).await.is_err());
        assert!(engine.append("l", Bytes::new(), WIDE).await.is_err());
        for key in &keys {
            redis.command(&["DEL", key]);
            redis.command(&["SET", key, "nonsense"]);
        }
        assert!(engine.get("k").await.is_err());
        assert!(engine.put("k", Bytes::new(), Expected::Any, None).await.is_err());
        assert!(engine.list("", None, 10).await.is_err());
        assert!(engine.append("l", Bytes::new(), WIDE).await.is_err());
        assert_eq!(engine.status().link, LinkState::Up);
    });
}

/// Returns the names of all keys.
fn info_keys(port: u16) -> Vec<String> {
    let script = "return table.concat(redis.call('KEYS', '*'), '\\n')";
    info(port, &["EVAL", script, "0"]).lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn sentinels_lead_to_the_next_primary() {
    run(Kind::Redis, async |world: World| {
        let port = world.redis().port();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port.to_string()]);
        let sentinel = sentinel(port);
        let address = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}?master=m", sentinel.port);
        let why = refusal(&address.replace("=m", "=unknown")).await;
        assert!(why.to_string().contains("no primary of the name"), "{why}");
        let configuration = Configuration::parse(&address).expect("an address");
        let (engine, deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        let mut node = Node { engine, deliveries };
        node.subscribe(&["a"]).await;
        let version = node.engine.put("k", Bytes::new(), Expected::Any, None).await;
        let version = version.expect("written");
        eventually("the sentinel knows the replica, which has all", async || {
            let masters = info_of_sentinel(sentinel.port);
            masters.contains("slaves=1") && world.redis().command(&["WAIT", "1", "100"]) == ":1"
        })
        .await;
        world.kill();
        assert!(is_interrupted(&node.next().await));
        node.until(is_restored).await;
        let server = node.engine.status().server;
        assert!(server.ends_with(&format!(":{}", replica.port())), "{server}");
        let entry = node.engine.get("k").await.expect("read").expect("a record");
        assert_eq!(entry.version, version);
        node.engine
            .put("k", Bytes::new(), Expected::Version(version), None)
            .await
            .expect("written");
        node.publish("a", "after");
        assert_eq!(node.message().await.1, "after");
    });
}

fn info_of_sentinel(port: u16) -> String {
    info(port, &["INFO", "sentinel"])
}
