//! Records with versions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{Engine, Expected, IncrementError, PutError};

use crate::support::World;

const MILLIS: Duration = Duration::from_millis(1);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(engine: &Arc<dyn Engine>, key: &str, value: &str) -> u64 {
    engine.put(key, bytes(value), Expected::Any, None).await.expect("written")
}

async fn value(engine: &Arc<dyn Engine>, key: &str) -> Option<String> {
    let entry = engine.get(key).await.expect("read");
    entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

pub async fn a_record_is_read_as_it_was_written(world: World) {
    let engine = world.node().await.engine;
    assert_eq!(engine.get("k").await, Ok(None));
    let version = put(&engine, "k", "v").await;
    let entry = engine.get("k").await.expect("read").expect("a record");
    assert_eq!((&entry.value[..], entry.version, entry.expires_in), (&b"v"[..], version, None));
    assert_eq!(engine.delete("k", Expected::Any).await, Ok(true));
    assert_eq!(engine.get("k").await, Ok(None));
    assert_eq!(engine.delete("k", Expected::Any).await, Ok(false));
}

pub async fn versions_differ_after_each_change(world: World) {
    let engine = world.node().await.engine;
    let mut versions = vec![put(&engine, "k", "1").await, put(&engine, "k", "1").await];
    engine.delete("k", Expected::Any).await.expect("deleted");
    versions.push(put(&engine, "k", "1").await);
    versions.push(engine.increment("k", 1, None).await.expect("added").1);
    assert!(versions.iter().all(|version| *version != 0));
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 4);
}

pub async fn an_expectation_that_does_not_hold_changes_nothing(world: World) {
    let engine = world.node().await.engine;
    let none = Err(PutError::Conflict { current: None });
    assert_eq!(engine.put("k", bytes("x"), Expected::Version(7), None).await, none);
    let first = engine.put("k", bytes("a"), Expected::Absent, None).await.expect("there is none");
    let conflict = PutError::Conflict { current: Some(first) };
    for expected in [Expected::Absent, Expected::Version(first + 1)] {
        let refused = engine.put("k", bytes("x"), expected, None).await;
        assert_eq!(refused, Err(conflict.clone()));
        assert_eq!(engine.delete("k", expected).await, Err(conflict.clone()));
    }
    assert_eq!(value(&engine, "k").await.as_deref(), Some("a"));
    let second = engine.put("k", bytes("b"), Expected::Version(first), None).await;
    let second = second.expect("the version holds");
    assert_eq!(
        engine.delete("k", Expected::Version(first)).await,
        Err(PutError::Conflict { current: Some(second) })
    );
    assert_eq!(engine.delete("k", Expected::Version(second)).await, Ok(true));
    assert_eq!(engine.delete("k", Expected::Absent).await, Ok(false));
}

pub async fn a_record_expires_by_the_clock_of_the_engine(world: World) {
    let engine = world.node().await.engine;
    let ttl = 400 * MILLIS;
    let begun = Instant::now();
    engine.put("k", bytes("v"), Expected::Any, Some(ttl)).await.expect("written");
    let written = Instant::now();
    let left = engine.get("k").await.expect("read").expect("a record").expires_in;
    assert!(left.expect("a time") <= ttl);
    loop {
        let asked = Instant::now();
        let is_there = value(&engine, "k").await.is_some();
        // A millisecond for rounding, and some for clocks that are not read at the same time.
        assert!(
            is_there || begun.elapsed() + 20 * MILLIS >= ttl,
            "too early: {:?}",
            begun.elapsed()
        );
        let late = asked.duration_since(written).saturating_sub(ttl);
        assert!(!is_there || late < 400 * MILLIS, "too late: {late:?}");
        if !is_there {
            break;
        }
        tokio::time::sleep(5 * MILLIS).await;
    }
    assert_eq!(engine.list("", None, 10).await, Ok(Vec::new()));
}

pub async fn an_absent_record_can_be_put_once_it_has_expired(world: World) {
    let engine = world.node().await.engine;
    let ttl = Some(100 * MILLIS);
    let first = engine.put("k", bytes("v"), Expected::Absent, ttl).await.expect("written");
    let begun = Instant::now();
    let second = loop {
        match engine.put("k", bytes("w"), Expected::Absent, None).await {
            Ok(version) => break version,
            Err(PutError::Conflict { current }) => assert_eq!(current, Some(first)),
            Err(other) => panic!("{other}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(5 * MILLIS).await;
    };
    assert_ne!(first, second);
    tokio::time::sleep(1_500 * MILLIS).await;
    assert_eq!(value(&engine, "k").await.as_deref(), Some("w"));
}

pub async fn a_put_without_a_time_to_live_stays(world: World) {
    let engine = world.node().await.engine;
    engine.put("k", bytes("v"), Expected::Any, Some(200 * MILLIS)).await.expect("written");
    put(&engine, "k", "w").await;
    tokio::time::sleep(1_500 * MILLIS).await;
    let entry = engine.get("k").await.expect("read").expect("a record");
    assert_eq!((&entry.value[..], entry.expires_in), (&b"w"[..], None));
}

pub async fn increments_add_up(world: World) {
    let engine = world.node().await.engine;
    assert_eq!(engine.increment("n", 5, None).await.expect("added").0, 5);
    assert_eq!(engine.increment("n", -7, None).await.expect("added").0, -2);
    assert_eq!(value(&engine, "n").await.as_deref(), Some("-2"));
    let version = put(&engine, "n", "40").await;
    let (sum, next) = engine.increment("n", 2, None).await.expect("added");
    assert!(sum == 42 && next != version);
    let entry = engine.get("n").await.expect("read").expect("a record");
    assert_eq!((&entry.value[..], entry.version), (&b"42"[..], next));
    let tasks = (0..16).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                engine.increment("many", 1, None).await.expect("added");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    assert_eq!(value(&engine, "many").await.as_deref(), Some("160"));
}

pub async fn numbers_have_bounds(world: World) {
    let engine = world.node().await.engine;
    for text in ["", "x", "1.5", " 1", "+1", "01", "9223372036854775808"] {
        put(&engine, "n", text).await;
        let refused = engine.increment("n", 1, None).await;
        assert_eq!(refused, Err(IncrementError::NotANumber), "{text:?}");
        assert_eq!(value(&engine, "n").await.as_deref(), Some(text));
    }
    for (number, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        put(&engine, "n", &number.to_string()).await;
        assert_eq!(engine.increment("n", by, None).await, Err(IncrementError::Overflow));
        assert_eq!(engine.increment("n", -by, None).await.expect("added").0, number - by);
    }
    assert_eq!(engine.increment("low", i64::MIN, None).await.expect("added").0, i64::MIN);
}

pub async fn an_increment_keeps_the_time_to_live(world: World) {
    let engine = world.node().await.engine;
    let (begun, ttl) = (Instant::now(), 600 * MILLIS);
    engine.increment("n", 1, Some(ttl)).await.expect("added");
    let written = Instant::now();
    // As the record is counted up again and again, it must still expire.
    loop {
        let asked = Instant::now();
        let (sum, _) =
            engine.increment("n", 1, Some(Duration::from_secs(60))).await.expect("added");
        if sum == 1 {
            assert!(begun.elapsed() + 20 * MILLIS >= ttl, "too early: {:?}", begun.elapsed());
            break;
        }
        assert!(asked.duration_since(written) < ttl + 400 * MILLIS, "too late");
        tokio::time::sleep(20 * MILLIS).await;
    }
}

pub async fn a_list_is_sorted_and_comes_in_pages(world: World) {
    let engine = world.node().await.engine;
    let mut keys: Vec<String> = (0..50).map(|number| format!("room:{number}")).collect();
    keys.extend(["room:", "room:ü", "room:~", "room:a:b", "room:a/b"].map(str::to_owned));
    for key in keys.iter().map(String::as_str).chain(["roo", "rooms", "a", "z"]) {
        put(&engine, key, key).await;
    }
    engine.put("room:gone", bytes("x"), Expected::Any, Some(MILLIS)).await.expect("written");
    tokio::time::sleep(50 * MILLIS).await;
    put(&engine, "room:deleted", "x").await;
    engine.delete("room:deleted", Expected::Any).await.expect("deleted");
    keys.sort();
    let (mut found, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = engine.list("room:", after.as_deref(), 7).await.expect("listed");
        for (key, entry) in &page {
            assert_eq!(entry.value, key.as_bytes());
        }
        found.extend(page.iter().map(|(key, _)| key.clone()));
        if page.len() < 7 {
            break;
        }
        after = found.last().cloned();
    }
    assert_eq!(found, keys);
    assert_eq!(engine.list("", None, 1_000).await.expect("listed").len(), keys.len() + 4);
    assert_eq!(engine.list("room", Some("zzz"), 10).await, Ok(Vec::new()));
    assert_eq!(engine.list("nothing", None, 10).await, Ok(Vec::new()));
    assert_eq!(engine.list("room:", None, 0).await, Ok(Vec::new()));
    let first = engine.list("room:", Some("a"), 1).await.expect("listed");
    assert_eq!(first[0].0, "room:");
}

pub async fn any_key_and_value_is_kept(world: World) {
    let engine = world.node().await.engine;
    let long = "k".repeat(1_024);
    let keys =
        ["a b", ".", "a..b", "*", ">", "$SYS", "{a}b", "ключ", "a\nb", "\0", ":", "a:", &long];
    for key in keys {
        put(&engine, key, key).await;
    }
    for key in keys {
        assert_eq!(value(&engine, key).await.as_deref(), Some(key));
        let listed = engine.list(key, None, 100).await.expect("listed");
        assert!(listed.iter().any(|(found, _)| found == key), "{key:?}: {listed:?}");
    }
    assert_eq!(engine.list("", None, 100).await.expect("listed").len(), keys.len());
    let all: Vec<u8> = (0..=255).collect();
    for value in [Vec::new(), all, vec![9; 300_000]] {
        let value = Bytes::from(value);
        engine.put("v", value.clone(), Expected::Any, None).await.expect("written");
        assert!(engine.get("v").await.expect("read").expect("a record").value == value);
    }
}

pub async fn a_new_owner_shuts_the_old_one_out(world: World) {
    let engine = world.node().await.engine;
    let old = put(&engine, "state", "1").await;
    // The new owner writes the state once as it is.
    let new = engine.put("state", bytes("1"), Expected::Version(old), None).await.expect("written");
    let late = engine.put("state", bytes("2"), Expected::Version(old), None).await;
    assert_eq!(late, Err(PutError::Conflict { current: Some(new) }));
    engine.put("state", bytes("3"), Expected::Version(new), None).await.expect("written");
}

pub async fn sixteen_tasks_on_two_nodes_add_up(world: World) {
    let nodes = [world.node().await.engine, world.node().await.engine];
    let tasks = (0..16).map(|number| {
        let engine = nodes[number % 2].clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                engine.increment("n", 1, None).await.expect("added");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    assert_eq!(value(&nodes[0], "n").await.as_deref(), Some("400"));
}

pub async fn a_race_has_one_winner(world: World) {
    let nodes = [world.node().await.engine, world.node().await.engine];
    let mut version = put(&nodes[0], "k", "start").await;
    for round in 0..10 {
        let expected = if round == 5 {
            nodes[0].delete("k", Expected::Any).await.expect("deleted");
            Expected::Absent
        } else {
            Expected::Version(version)
        };
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let engine = nodes[number % 2].clone();
                tokio::spawn(async move { engine.put("k", bytes("new"), expected, None).await })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.expect("a task") {
                Ok(version) => winners.push(version),
                Err(PutError::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        version = winners[0];
        assert_eq!(nodes[1].get("k").await.expect("read").expect("a record").version, version);
    }
}
