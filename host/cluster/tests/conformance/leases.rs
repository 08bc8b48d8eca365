//! Leases: one holder at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{Engine, Expected, Fence, PutError};

use crate::support::World;

const TTL: Duration = Duration::from_millis(400);

async fn acquire(engine: &Arc<dyn Engine>, name: &str, holder: &str) -> Option<Fence> {
    engine.acquire(name, holder, TTL).await.expect("an answer").ok()
}

/// Acquires a lease as soon as it is free.
async fn wait_for(engine: &Arc<dyn Engine>, name: &str, holder: &str) -> Fence {
    let begun = Instant::now();
    loop {
        if let Some(fence) = acquire(engine, name, holder).await {
            return fence;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the lease does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn one_holder_at_a_time(world: World) {
    let engine = world.node().await.engine;
    let begun = Instant::now();
    acquire(&engine, "room", "one").await.expect("it is free");
    let held = engine.acquire("room", "two", TTL).await.expect("an answer").expect_err("held");
    assert_eq!(held.holder, "one");
    assert!(held.expires_in <= TTL);
    acquire(&engine, "other room", "two").await.expect("another name");
    wait_for(&engine, "room", "two").await;
    assert!(begun.elapsed() + Duration::from_millis(20) >= TTL, "{:?}", begun.elapsed());
    assert!(acquire(&engine, "room", "one").await.is_none());
}

pub async fn fences_grow(world: World) {
    let engine = world.node().await.engine;
    let mut last = Fence(0);
    for round in 0..4 {
        let fence = wait_for(&engine, "room", &format!("node {round}")).await;
        assert!(fence > last);
        // The holder that has it already gets a new number, and its old one is void.
        let again = acquire(&engine, "room", &format!("node {round}")).await.expect("its own");
        assert!(again > fence);
        assert_eq!(engine.renew("room", fence, TTL).await, Ok(false));
        assert_eq!(engine.renew("room", again, TTL).await, Ok(true));
        last = again;
        if round % 2 == 0 {
            engine.release("room", again).await.expect("released");
        }
    }
}

pub async fn a_lost_lease_cannot_be_renewed(world: World) {
    let engine = world.node().await.engine;
    let fence = acquire(&engine, "room", "one").await.expect("it is free");
    for _ in 0..5 {
        tokio::time::sleep(TTL / 4).await;
        assert_eq!(engine.renew("room", fence, TTL).await, Ok(true));
    }
    assert!(acquire(&engine, "room", "two").await.is_none(), "it was renewed");
    wait_for(&engine, "room", "two").await;
    assert_eq!(engine.renew("room", fence, TTL).await, Ok(false));
    assert_eq!(engine.renew("nothing", fence, TTL).await, Ok(false));
}

pub async fn a_released_lease_is_free_at_once(world: World) {
    let engine = world.node().await.engine;
    let first = acquire(&engine, "room", "one").await.expect("it is free");
    engine.release("room", first).await.expect("released");
    let second = acquire(&engine, "room", "two").await.expect("it is free again");
    assert!(second > first);
    assert_eq!(engine.renew("room", first, TTL).await, Ok(false));
}

pub async fn an_old_fence_releases_nothing(world: World) {
    let engine = world.node().await.engine;
    let first = acquire(&engine, "room", "one").await.expect("it is free");
    engine.release("room", first).await.expect("released");
    let second = acquire(&engine, "room", "two").await.expect("it is free again");
    engine.release("room", first).await.expect("nothing to do");
    assert!(acquire(&engine, "room", "three").await.is_none());
    assert_eq!(engine.renew("room", second, TTL).await, Ok(true));
}

pub async fn holders_never_overlap(world: World) {
    let nodes = [world.node().await.engine, world.node().await.engine];
    let holder = Arc::new(AtomicU64::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (1..=6_u64)
        .map(|number| {
            let engine = nodes[(number % 2) as usize].clone();
            let (holder, last) = (holder.clone(), last.clone());
            tokio::spawn(async move {
                let mut held = 0;
                while held < 5 {
                    // The time is taken before the question, as the interface says.
                    let asked = Instant::now();
                    let Some(fence) = acquire(&engine, "room", &number.to_string()).await else {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        continue;
                    };
                    if asked.elapsed() >= TTL {
                        continue;
                    }
                    let before = holder.swap(number, Ordering::SeqCst);
                    assert_eq!(before, 0, "two holders at a time");
                    assert!(last.swap(fence.0, Ordering::SeqCst) < fence.0, "the numbers grow");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    holder.store(0, Ordering::SeqCst);
                    held += 1;
                    // Every second one is left to end by itself.
                    if held % 2 == 0 {
                        engine.release("room", fence).await.expect("released");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a holder");
    }
}

pub async fn a_sleeping_holder_loses_its_lease(world: World) {
    let (one, two) = (world.node().await.engine, world.node().await.engine);
    let old = acquire(&one, "room", "one").await.expect("it is free");
    let state = Bytes::from_static(b"state");
    let version = one.put("state", state.clone(), Expected::Absent, None).await.expect("written");
    // The holder sleeps longer than its lease, and another one takes over.
    let new = wait_for(&two, "room", "two").await;
    assert!(new > old);
    let taken = two.put("state", state.clone(), Expected::Version(version), None).await;
    let taken = taken.expect("written");
    let late = one.put("state", state, Expected::Version(version), None).await;
    assert_eq!(late, Err(PutError::Conflict { current: Some(taken) }));
    assert_eq!(one.renew("room", old, TTL).await, Ok(false));
}
