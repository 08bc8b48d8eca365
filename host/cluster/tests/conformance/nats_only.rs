//! States of NATS that have a name and an advice.

use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::{Bounds, Configuration, Expected, PutError, Reason};

use crate::logs::WIDE;
use crate::support::{Kind, World, eventually, refusal, run};
use wharf_test_servers::nats::NatsServer;

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_server_without_jetstream_is_refused_with_advice() {
    run(Kind::Nats, async |_: World| {
        let plain = NatsServer::start(&[]);
        let why = refusal(&format!("nats://127.0.0.1:{}", plain.port())).await;
        assert_eq!(why.reason(), Reason::NoJetStream);
        assert!(why.to_string().contains("start nats-server with `--jetstream`"), "{why}");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_token_lets_in() {
    run(Kind::Nats, async |_: World| {
        let server = NatsServer::start(&["--jetstream", "--auth", "right"]);
        let why = refusal(&format!("nats://hunter2@127.0.0.1:{}", server.port())).await;
        assert_eq!(why.reason(), Reason::WrongPassword);
        let right = format!("nats://right@127.0.0.1:{}", server.port());
        let configuration = Configuration::parse(&right).expect("an address");
        wharf_cluster::open(&configuration).await.expect("open");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn more_replicas_than_servers_are_refused() {
    run(Kind::Nats, async |world: World| {
        let why = refusal(&format!("{}?replicas=3", world.address())).await;
        assert!(why.to_string().contains("replicas"), "{why}");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_message_above_the_servers_bound_is_refused() {
    run(Kind::Nats, async |world: World| {
        let engine = world.node().await.engine;
        let large = Bytes::from(vec![0; 1 << 20]);
        let refused = engine.publish("a", large.clone()).expect_err("too large");
        assert_eq!(refused.reason(), Reason::TooLarge);
        assert!(refused.to_string().contains("max_payload"), "{refused}");
        let refused = engine.append("l", large.clone(), WIDE).await.expect_err("too large");
        assert_eq!(refused.reason(), Reason::TooLarge);
        match engine.put("k", large, Expected::Any, None).await.expect_err("too large") {
            PutError::Unavailable(why) => assert_eq!(why.reason(), Reason::TooLarge),
            other => panic!("{other}"),
        }
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn full_storage_refuses_steps_with_advice() {
    run(Kind::Nats, async |_: World| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("server.conf");
        std::fs::write(&file, "jetstream { max_file_store: 100000 }").expect("written");
        let server = NatsServer::start(&["--config", &file.display().to_string()]);
        let address = format!("nats://127.0.0.1:{}", server.port());
        let configuration = Configuration::parse(&address).expect("an address");
        let (engine, _deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        let value = Bytes::from(vec![0; 10_000]);
        let mut refused = None;
        for number in 0..50 {
            let key = format!("k{number}");
            match engine.put(&key, value.clone(), Expected::Any, None).await {
                Ok(_) => {}
                Err(PutError::Unavailable(why)) => {
                    refused = Some(why);
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        let why = refused.expect("it is full");
        assert_eq!(why.reason(), Reason::Full, "{why}");
        assert!(engine.get("k0").await.expect("read").is_some());
        assert_eq!(engine.delete("k0", Expected::Any).await, Ok(true));
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn a_user_without_rights_is_named() {
    run(Kind::Nats, async |_: World| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("server.conf");
        let settings = "jetstream: enabled\nauthorization { users: [\n\
             { user: fit, password: pw, permissions: { publish: [\"wharf.>\", \"$JS.API.>\"], \
               subscribe: [\"wharf.>\", \"_INBOX.>\"] } }\n\
             { user: weak, password: pw, permissions: { publish: [\"wharf.t.>\", \"$JS.API.>\"], \
               subscribe: [\"wharf.>\", \"_INBOX.>\"] } } ] }\n";
        std::fs::write(&file, settings).expect("written");
        let server = NatsServer::start(&["--config", &file.display().to_string()]);
        let address = |user| format!("nats://{user}:pw@127.0.0.1:{}", server.port());
        let configuration = Configuration::parse(&address("fit")).expect("an address");
        let (engine, _deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
        let configuration = Configuration::parse(&address("weak")).expect("an address");
        let (engine, _deliveries) = wharf_cluster::open(&configuration).await.expect("open");
        match engine.put("k", Bytes::new(), Expected::Any, None).await.expect_err("forbidden") {
            PutError::Unavailable(why) => assert_eq!(why.reason(), Reason::NotPermitted, "{why}"),
            other => panic!("{other}"),
        }
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn what_is_no_longer_kept_leaves_the_server() {
    run(Kind::Nats, async |world: World| {
        let engine = world.node().await.engine;
        let bounds = Bounds { messages: 20, bytes: 10_000, ..WIDE };
        for _ in 0..500 {
            engine.append("l", Bytes::from(vec![0; 100]), bounds).await.expect("appended");
        }
        engine.append("large", Bytes::from(vec![0; 9_000]), bounds).await.expect("appended");
        for _ in 0..40 {
            engine.append("large", Bytes::from(vec![0; 4_000]), bounds).await.expect("appended");
        }
        let ttl = Some(Duration::from_millis(100));
        engine.put("k", Bytes::new(), Expected::Any, ttl).await.expect("written");
        let client = async_nats::connect(world.address()).await.expect("a client");
        let count = async |stream: &str| {
            let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), Bytes::new()).await;
            let info = info.expect("an answer").payload;
            let info = String::from_utf8_lossy(&info).into_owned();
            let (_, rest) = info.split_once("\"messages\":").expect("a count");
            let end = rest.find(|c: char| !c.is_ascii_digit()).expect("its end");
            rest[..end].parse::<u64>().expect("a number")
        };
        eventually("the logs are trimmed", async || count("WHARF_wharf_LOGS").await < 60).await;
        eventually("the record is gone", async || count("WHARF_wharf_KEYS").await == 0).await;
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn messages_of_another_form_are_damage_and_no_panic() {
    run(Kind::Nats, async |world: World| {
        let mut node = world.node().await;
        node.subscribe(&["a", "l"]).await;
        let client = async_nats::connect(world.address()).await.expect("a client");
        for subject in ["wharf.t.a", "wharf.k.~k", "wharf.l.l", "wharf.e.x"] {
            for payload in [&b""[..], b"\0", b"\x02abc", b"\x03\x09aaaaaaaa", b"nonsense"] {
                client.publish(subject, Bytes::copy_from_slice(payload)).await.expect("sent");
            }
        }
        client.flush().await.expect("sent");
        let engine = node.engine.clone();
        // The last of them was stored last.
        eventually("they are stored", async || {
            engine.acquire("x", "me", Duration::from_secs(1)).await.is_err()
        })
        .await;
        assert_eq!(engine.get("k").await.expect_err("damaged").reason(), Reason::Damaged);
        assert_eq!(engine.list("", None, 9).await.expect_err("damaged").reason(), Reason::Damaged);
        let read = engine.read("l", 0, 10, 10).await;
        assert_eq!(read.expect_err("damaged").reason(), Reason::Damaged);
        assert!(engine.append("l", Bytes::new(), WIDE).await.is_err());
        assert!(engine.acquire("x", "me", Duration::from_secs(1)).await.is_err());
        // Such a record can be replaced.
        engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");
        assert!(engine.get("k").await.expect("read").is_some());
        node.assert_silent().await;
    });
}
