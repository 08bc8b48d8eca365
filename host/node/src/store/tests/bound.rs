//! The bound of the bytes, which several nodes keep together.

use super::*;

const MAX: usize = 64_000;

/// Writes new entries of 250 bytes until one is refused. Returns their number.
async fn fill(store: &EngineStore, prefix: &str) -> usize {
    for number in 0.. {
        let key = format!("{prefix}{number:04}");
        let text = "x".repeat(250 - ENTRY_OVERHEAD - key.len());
        match store.set(&key, value(&text), None).await {
            Ok(_) => {}
            Err(why) => {
                assert_eq!(why, CallRefusal::StoreFull { limit: MAX });
                return number;
            }
        }
    }
    0
}

#[test]
fn two_nodes_that_write_at_once_exceed_the_bound_by_little() {
    run(async {
        let (server, nodes) = slow_nodes(MAX);
        let (first, second) = tokio::join!(fill(&nodes[0], "one"), fill(&nodes[1], "two"));
        let size = stored(&node(&server, "other")).await;
        assert_eq!(size, (first + second) * 250);
        assert!(size <= MAX + 2 * (MAX / 64), "{size}");
        assert!(size > MAX - MAX / 10, "{size}");
    });
}

#[test]
fn deletes_of_another_node_make_room() {
    run(async {
        let server = Server::new(1);
        let one = store(node(&server, "one"), "chat", MAX);
        let two = store(node(&server, "two"), "chat", MAX);
        assert_eq!(fill(&one, "a").await, MAX / 250);
        for number in 0..128 {
            assert_eq!(two.delete(&format!("a{number:04}")).await, Ok(true));
        }
        assert!(fill(&one, "b").await > 120);
    });
}

#[test]
fn room_of_expired_entries_is_found_once_the_store_may_be_counted_again() {
    run(async {
        let server = Server::new(1);
        let one = store(node(&server, "one"), "chat", MAX);
        let two = store(node(&server, "two"), "chat", MAX);
        let text = "x".repeat(1_000);
        for number in 0..50 {
            one.set(&format!("{number}"), value(&text), ms(1_500)).await.expect("room");
        }
        let full = Err(CallRefusal::StoreFull { limit: MAX });
        let large = value(&"x".repeat(20_000));
        assert_eq!(two.set("k", large.clone(), None).await, full);
        tokio::time::advance(SECOND * 2).await;
        assert!(two.set("k", large.clone(), None).await.is_ok(), "it is counted anew");
        assert_eq!(stored(&node(&server, "other")).await, two.stored_bytes());
        // The other node reads the count.
        assert!(one.set("l", large, None).await.is_ok());
    });
}

#[test]
fn a_store_that_is_full_is_not_counted_for_each_write() {
    run(async {
        let server = Server::new(1);
        let store = store(node(&server, "one"), "chat", MAX);
        fill(&store, "a").await;
        tokio::time::advance(SECOND * 2).await;
        for _ in 0..100 {
            assert!(store.set("b", value(&"x".repeat(300)), None).await.is_err());
        }
        let record = node(&server, "other").get("store-bytes:chat").await;
        let text = record.expect("read").expect("a count").value;
        // Once at the first write, and once before the refusals.
        assert!(text.ends_with(b" 2"), "{text:?}");
    });
}

#[test]
fn a_killed_node_and_a_damaged_count_are_corrected() {
    run(async {
        let server = Server::new(1);
        let other = node(&server, "other");
        let count = "store-bytes:chat";
        for damage in ["", "x", "-5 1", "7", "99999999999999999999 1", "1 -1"] {
            let store = store(node(&server, "one"), "chat", MAX);
            other.put(count, value(damage), Expected::Any, None).await.expect("written");
            store.set(&format!("k{damage}"), value("x"), None).await.expect("room");
            assert_eq!(store.stored_bytes(), stored(&other).await, "{damage:?}");
        }
        // Nodes that end before they tell.
        for number in 0..20 {
            let store = store(node(&server, "one"), "chat", MAX);
            store.set(&format!("{number}"), value(&"x".repeat(500)), None).await.expect("room");
            store.increment("n", 1, None).await.expect("added");
        }
        other.put(count, value("161 7"), Expected::Any, None).await.expect("written");
        let store = store(node(&server, "one"), "chat", MAX);
        store.set("l", value(&"x".repeat(2_000)), None).await.expect("room");
        assert!(store.stored_bytes() < stored(&other).await);
        tokio::time::advance(SECOND * 3_601).await;
        for _ in 0..3 {
            store.set("m", value(&"x".repeat(2_000)), None).await.expect("room");
            store.delete("m").await.expect("deleted");
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!(store.stored_bytes(), stored(&other).await);
    });
}

#[test]
fn calls_that_are_dropped_never_count_too_little() {
    run(async {
        for wait in 0..60 {
            let (server, nodes) = slow_nodes(MAX);
            nodes[0].set("a", value("12"), None).await.expect("room");
            let large = || value(&"x".repeat(3_000));
            let patience = Duration::from_millis(wait);
            let calls = async {
                let _ = tokio::join!(
                    nodes[0].set("b", large(), None),
                    nodes[0].set("c", large(), None),
                    nodes[0].increment("d", 1, None),
                    nodes[0].delete("a"),
                );
            };
            let _ = tokio::time::timeout(patience, calls).await;
            tokio::time::sleep(SECOND).await;
            let real = stored(&node(&server, "other")).await;
            assert!(nodes[0].stored_bytes() >= real, "{wait}");
            // It is found out before anything is refused.
            let rest = value(&"x".repeat(MAX - real - ENTRY_OVERHEAD - 1));
            nodes[1].set("e", rest, None).await.expect("room");
        }
    });
}

#[test]
fn an_answer_that_is_lost_counts_as_done() {
    run(async {
        let (server, nodes) = slow_nodes(MAX);
        nodes[0].set("a", value("1"), None).await.expect("room");
        for wait in 0..40 {
            let task = tokio::spawn({
                let store = nodes[0].clone();
                async move { store.set(&format!("{wait}"), value(&"x".repeat(200)), None).await }
            });
            tokio::time::sleep(Duration::from_millis(wait)).await;
            server.cut("one");
            let refused = task.await.expect("a task").err();
            assert!(refused.is_none_or(|why| why.code() == "data-unavailable"));
            server.mend("one");
        }
        assert!(nodes[0].stored_bytes() >= stored(&node(&server, "other")).await);
    });
}
