//! Bounded logs of messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{Bounds, Engine, LogEntry, Position, Slice};

use crate::support::World;

pub const WIDE: Bounds = Bounds { messages: 1_000, bytes: 1 << 20, age: None, idle: None };

async fn append(engine: &Arc<dyn Engine>, log: &str, entry: &str, bounds: Bounds) -> Position {
    let entry = Bytes::copy_from_slice(entry.as_bytes());
    engine.append(log, entry, bounds).await.expect("appended")
}

async fn read(engine: &Arc<dyn Engine>, log: &str, after: u64) -> Slice {
    engine.read(log, after, 1_000, 1 << 20).await.expect("read")
}

fn offsets(slice: &Slice) -> Vec<u64> {
    slice.entries.iter().map(|entry| entry.offset).collect()
}

pub async fn offsets_begin_at_one_without_a_hole(world: World) {
    let engine = world.node().await.engine;
    let mut epoch = 0;
    for offset in 1..=20 {
        let position = append(&engine, "l", &format!("entry {offset}"), WIDE).await;
        assert_eq!(position.offset, offset);
        assert!(position.epoch != 0 && (epoch == 0 || epoch == position.epoch));
        epoch = position.epoch;
    }
    let slice = read(&engine, "l", 0).await;
    assert_eq!((slice.epoch, slice.first, slice.last), (epoch, 1, 20));
    let entry = |offset| LogEntry { offset, entry: format!("entry {offset}").into() };
    assert_eq!(slice.entries, (1..=20).map(entry).collect::<Vec<_>>());
}

pub async fn a_log_that_does_not_exist_is_empty(world: World) {
    let engine = world.node().await.engine;
    let none = Slice { epoch: 0, first: 1, last: 0, entries: Vec::new() };
    assert_eq!(read(&engine, "l", 0).await, none);
    assert_eq!(read(&engine, "l", 7).await, none);
    assert_eq!(engine.read_last("l", 10, 100).await, Ok(none));
    assert_eq!(engine.remove("l").await, Ok(false));
}

pub async fn a_log_keeps_the_newest_messages(world: World) {
    let engine = world.node().await.engine;
    let bounds = Bounds { messages: 5, ..WIDE };
    for number in 1..=40 {
        append(&engine, "l", &number.to_string(), bounds).await;
        let slice = read(&engine, "l", 0).await;
        assert_eq!((slice.first, slice.last), (number.max(5) - 4, number));
        assert_eq!(offsets(&slice), (slice.first..=number).collect::<Vec<_>>());
    }
    // The bounds of the last append count.
    append(&engine, "l", "x", Bounds { messages: 1, ..WIDE }).await;
    assert_eq!(offsets(&read(&engine, "l", 0).await), [41]);
}

pub async fn a_log_keeps_the_newest_bytes(world: World) {
    let engine = world.node().await.engine;
    let bounds = Bounds { bytes: 100, ..WIDE };
    for number in 1..=30 {
        append(&engine, "l", &"x".repeat(30), bounds).await;
        let slice = read(&engine, "l", 0).await;
        assert_eq!(offsets(&slice), (number.max(3) - 2..=number).collect::<Vec<_>>());
        assert_eq!(slice.first, number.max(3) - 2);
    }
    append(&engine, "l", &"x".repeat(300), bounds).await;
    assert_eq!(offsets(&read(&engine, "l", 0).await), [31], "the newest is always kept");
    append(&engine, "l", "", bounds).await;
    let slice = read(&engine, "l", 0).await;
    assert_eq!((slice.first, offsets(&slice)), (32, vec![32]));
}

pub async fn a_log_keeps_young_entries(world: World) {
    let engine = world.node().await.engine;
    let bounds = Bounds { age: Some(Duration::from_millis(500)), ..WIDE };
    let first = append(&engine, "l", "old", bounds).await;
    let begun = Instant::now();
    assert_eq!(offsets(&read(&engine, "l", 0).await), [1]);
    tokio::time::sleep(Duration::from_millis(250)).await;
    append(&engine, "l", "young", bounds).await;
    let appended = Instant::now();
    while offsets(&read(&engine, "l", 0).await) != [2] {
        assert!(begun.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() + Duration::from_millis(20) >= Duration::from_millis(500));
    while !read(&engine, "l", 0).await.entries.is_empty() {
        assert!(appended.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The log itself is still there: nobody has missed anything.
    let slice = read(&engine, "l", 2).await;
    assert_eq!((slice.epoch, slice.first, slice.last), (first.epoch, 3, 2));
    let next = append(&engine, "l", "new", bounds).await;
    assert_eq!(next, Position { epoch: first.epoch, offset: 3 });
    assert_eq!(offsets(&read(&engine, "l", 0).await), [3]);
}

pub async fn entries_are_received_with_their_positions(world: World) {
    let mut node = world.node().await;
    node.subscribe(&["l"]).await;
    for number in 1..=50 {
        let position = append(&node.engine, "l", &number.to_string(), WIDE).await;
        assert_eq!(position.offset, number);
        assert_eq!(node.message().await, ("l".to_owned(), number.to_string(), Some(position)));
    }
    // A plain message on the same topic has no position.
    node.publish("l", "plain");
    assert_eq!(node.message().await.2, None);
}

pub async fn reads_are_bounded(world: World) {
    let engine = world.node().await.engine;
    for _ in 0..10 {
        append(&engine, "l", &"x".repeat(10), WIDE).await;
    }
    let forward = |after, messages, bytes| {
        let engine = engine.clone();
        async move { offsets(&engine.read("l", after, messages, bytes).await.expect("read")) }
    };
    assert_eq!(forward(3, 2, 1_000).await, [4, 5]);
    assert_eq!(forward(3, 100, 35).await, [4, 5, 6]);
    assert_eq!(forward(3, 100, 1).await, [4], "the first one always");
    assert_eq!(forward(10, 100, 1_000).await, [0_u64; 0]);
    assert_eq!(forward(u64::MAX, 100, 1_000).await, [0_u64; 0]);
    assert_eq!(forward(0, 0, 1_000).await, [0_u64; 0]);
    let end = engine.read("l", u64::MAX, 0, 0).await.expect("read");
    assert_eq!((end.last, end.epoch), (10, read(&engine, "l", 0).await.epoch));
    assert_eq!(forward(0, u32::MAX, u64::MAX).await.len(), 10);
    let back = |messages, bytes| {
        let engine = engine.clone();
        async move { offsets(&engine.read_last("l", messages, bytes).await.expect("read")) }
    };
    assert_eq!(back(3, 1_000).await, [8, 9, 10]);
    assert_eq!(back(100, 25).await, [9, 10]);
    assert_eq!(back(100, 1).await, [10]);
    assert_eq!(back(0, 100).await, [0_u64; 0]);
    assert_eq!(back(u32::MAX, u64::MAX).await.len(), 10);
}

pub async fn a_removed_log_has_another_epoch(world: World) {
    let engine = world.node().await.engine;
    let first = append(&engine, "l", "a", WIDE).await;
    append(&engine, "l", "b", WIDE).await;
    assert_eq!(engine.remove("l").await, Ok(true));
    assert_eq!(read(&engine, "l", 0).await.epoch, 0);
    let second = append(&engine, "l", "c", WIDE).await;
    assert_eq!(second.offset, 1);
    assert_ne!(first.epoch, second.epoch);
    assert_eq!(offsets(&read(&engine, "l", 0).await), [1]);
}

pub async fn an_idle_log_has_another_epoch(world: World) {
    let engine = world.node().await.engine;
    let bounds = Bounds { idle: Some(Duration::from_millis(300)), ..WIDE };
    let first = append(&engine, "l", "a", bounds).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = append(&engine, "l", "b", bounds).await;
    assert_eq!(second, Position { epoch: first.epoch, offset: 2 }, "an append keeps it");
    let begun = Instant::now();
    while read(&engine, "l", 0).await.epoch != 0 {
        assert!(begun.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() + Duration::from_millis(20) >= Duration::from_millis(300));
    let third = append(&engine, "l", "c", bounds).await;
    assert_eq!(third.offset, 1);
    assert_ne!(third.epoch, first.epoch);
}

pub async fn logs_do_not_meet(world: World) {
    let engine = world.node().await.engine;
    let names = ["a", "b", "a:b", "a.b", "{a}", "A"];
    for name in names {
        assert_eq!(append(&engine, name, name, WIDE).await.offset, 1);
    }
    for name in names {
        let slice = read(&engine, name, 0).await;
        assert_eq!((slice.last, &slice.entries[0].entry[..]), (1, name.as_bytes()));
    }
    assert_eq!(engine.get("a").await, Ok(None), "keys have names of their own");
}

pub async fn eight_publishers_on_two_nodes_make_one_order(world: World) {
    let mut nodes = [world.node().await, world.node().await];
    for node in &nodes {
        node.subscribe(&["l"]).await;
    }
    let publishers = (0..8).map(|number| {
        let engine = nodes[number % 2].engine.clone();
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for count in 0..25 {
                let entry = format!("{number} {count}");
                positions.push((entry.clone(), append(&engine, "l", &entry, WIDE).await));
            }
            positions
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let mut appended = Vec::new();
    for publisher in publishers {
        appended.extend(publisher.await.expect("a publisher"));
    }
    appended.sort_by_key(|(_, position)| position.offset);
    let offsets: Vec<u64> = appended.iter().map(|(_, position)| position.offset).collect();
    assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
    for node in &mut nodes {
        for (entry, position) in &appended {
            let (_, received, place) = node.message().await;
            assert_eq!((&received, place), (entry, Some(*position)));
        }
    }
    let stored = read(&nodes[0].engine, "l", 0).await.entries;
    let stored = stored.iter().map(|entry| String::from_utf8_lossy(&entry.entry).into_owned());
    assert_eq!(
        stored.collect::<Vec<_>>(),
        appended.into_iter().map(|(e, _)| e).collect::<Vec<_>>()
    );
}

pub async fn nodes_read_each_others_entries(world: World) {
    let nodes = [world.node().await.engine, world.node().await.engine];
    for number in 0..20 {
        let position = append(&nodes[number % 2], "l", &number.to_string(), WIDE).await;
        assert_eq!(position.offset, number as u64 + 1);
        let slice = read(&nodes[(number + 1) % 2], "l", number as u64).await;
        assert_eq!((slice.epoch, offsets(&slice)), (position.epoch, vec![position.offset]));
    }
}
