//! A store on the engine: the promises of every store, and those among nodes.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use wharf_cluster::memory::Server;
use wharf_cluster::{Engine, Entry as Record, Expected, Limits};
use wharf_contract::CallRefusal;
use wharf_contract::store::ENTRY_OVERHEAD;
use wharf_hub::inbox::InboxLimits;
use wharf_hub::peers::Cluster;
use wharf_hub::store::{Entry, Store};

use super::ledger::Rules;
use super::{EngineStore, store};
use crate::{Node, Settings};
use conformance::{World, follows_the_model, ms, step, value};

#[path = "tests/bound.rs"]
mod bound;
#[path = "../../../hub/src/store/tests/conformance.rs"]
mod conformance;

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes, which take turns.
struct Nodes {
    server: Server,
    rules: Rules,
    stores: [EngineStore; 2],
    turns: usize,
}

impl Nodes {
    fn new(rules: Rules) -> Nodes {
        let server = Server::new(1);
        let [one, two] = ["one", "two"].map(|name| node(&server, name));
        let stores = [one, two].map(|engine| EngineStore::with_rules(engine, "chat", rules));
        Nodes { server, rules, stores, turns: 0 }
    }

    /// Makes nodes that tell everything at once, and count whenever the store seems to be full: then the bound is kept
    /// exactly.
    fn exact(max_bytes: usize) -> Nodes {
        Nodes::new(Rules { max_bytes, untold: 0, pause: Duration::ZERO })
    }
}

impl World for Nodes {
    fn store(&mut self) -> &dyn Store {
        self.turns += 1;
        &self.stores[self.turns % 2]
    }

    async fn advance(&mut self, milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    fn restart(&mut self) {
        self.turns += 1;
        let engine = node(&self.server, "next");
        self.stores[self.turns % 2] = EngineStore::with_rules(engine, "chat", self.rules);
    }

    fn sweep(&mut self, _: usize) -> Result<(), TestCaseError> {
        prop_assert!(self.stores.iter().all(|store| !store.sweep() && store.bytes() == 0));
        Ok(())
    }
}

fn node(server: &Server, name: &str) -> Arc<dyn Engine> {
    Arc::new(server.node(name, &Limits::default()).0)
}

/// Runs a test with a clock that moves only when nothing else is left to do.
fn run<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(test)
}

/// Returns the size of what is stored.
async fn stored(engine: &Arc<dyn Engine>) -> usize {
    let found = engine.list("store:chat:", None, 10_000).await.expect("listed");
    let size = |(name, entry): &(String, Record)| {
        name.len() - "store:chat:".len() + entry.value.len() + ENTRY_OVERHEAD
    };
    found.iter().map(size).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn two_nodes_do_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..200),
        max_bytes in 200..2500_usize,
    ) {
        run(async { follows_the_model(&mut Nodes::exact(max_bytes), max_bytes, steps).await })?;
    }

    #[test]
    fn nodes_that_tell_late_do_what_the_model_does_while_there_is_room(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let max_bytes = 1 << 20;
        let nodes = || Nodes::new(Rules::new(max_bytes));
        run(async { follows_the_model(&mut nodes(), max_bytes, steps).await })?;
    }
}

#[test]
fn what_expires_makes_room_without_anybody_reading_it() {
    run(conformance::what_expires_makes_room_without_anybody_reading_it(Nodes::exact));
}

#[test]
fn a_value_can_be_replaced_in_a_full_store() {
    run(conformance::a_value_can_be_replaced_in_a_full_store(Nodes::exact));
}

#[test]
fn numbers_stay_within_64_bits_and_are_numbers() {
    run(conformance::numbers_stay_within_64_bits_and_are_numbers(Nodes::exact));
}

/// Makes two nodes whose links take a random time.
fn slow_nodes(max_bytes: usize) -> (Server, [Arc<EngineStore>; 2]) {
    let server = Server::new(7);
    let nodes = ["one", "two"].map(|name| {
        let engine = node(&server, name);
        server.delay(name, Duration::from_millis(1), Duration::from_millis(9));
        Arc::new(store(engine, "chat", max_bytes))
    });
    (server, nodes)
}

#[test]
fn concurrent_increments_of_two_nodes_lose_nothing() {
    run(async {
        let (_server, nodes) = slow_nodes(1 << 20);
        let mut tasks = JoinSet::new();
        for number in 0..32 {
            let store = nodes[number % 2].clone();
            tasks.spawn(async move {
                for _ in 0..10 {
                    store.increment("n", 1, None).await.expect("added");
                }
            });
        }
        tasks.join_all().await;
        let found = nodes[0].get("n").await.expect("read").expect("a value");
        assert_eq!(found.value, value("320"));
    });
}

#[test]
fn concurrent_updates_of_two_nodes_lose_nothing() {
    run(async {
        let (_server, nodes) = slow_nodes(1 << 20);
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let store = nodes[number % 2].clone();
            tasks.spawn(async move {
                for round in 0..5 {
                    loop {
                        let before = store.get("list").await.expect("read");
                        let version = before.as_ref().map(|entry| entry.version);
                        let mut list = before.map_or(Vec::new(), |entry| entry.value.to_vec());
                        list.extend(format!("{number}.{round} ").bytes());
                        let written =
                            store.compare_and_swap("list", version, list.into(), None).await;
                        match written {
                            Ok(_) => break,
                            Err(why) => assert_eq!(why, CallRefusal::StoreConflict),
                        }
                    }
                }
            });
        }
        tasks.join_all().await;
        let found = nodes[1].get("list").await.expect("read").expect("a value");
        let text = String::from_utf8(found.value.to_vec()).expect("text");
        let mut updates: Vec<&str> = text.split_whitespace().collect();
        updates.sort_unstable();
        updates.dedup();
        assert_eq!(updates.len(), 40, "{text}");
    });
}

#[test]
fn many_writers_of_one_key_all_succeed() {
    run(async {
        let (server, nodes) = slow_nodes(1 << 20);
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let store = nodes[number % 2].clone();
            tasks.spawn(async move {
                let text = "x".repeat(number);
                store.set("k", value(&text), None).await.expect("written")
            });
        }
        let versions = tasks.join_all().await;
        let last = versions.iter().max().copied();
        let found = nodes[0].get("k").await.expect("read").expect("a value");
        assert_eq!(Some(found.version), last);
        // It counts too much, if anything.
        let engine = node(&server, "other");
        let told: usize = nodes.iter().map(|node| node.stored_bytes()).max().expect("two");
        assert!(told >= stored(&engine).await, "{told}");
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let store = nodes[number % 2].clone();
            tasks.spawn(async move { store.delete("k").await.expect("deleted") });
        }
        let deleted = tasks.join_all().await;
        assert_eq!(deleted.iter().filter(|was_there| **was_there).count(), 1);
    });
}

#[test]
fn keys_are_listed_in_pages_and_channels_are_apart() {
    run(async {
        let server = Server::new(1);
        let (one, two) = (node(&server, "one"), node(&server, "two"));
        let store_of = |engine: &Arc<dyn Engine>, channel| store(engine.clone(), channel, 8 << 20);
        let (chat, same) = (store_of(&one, "chat"), store_of(&two, "chat"));
        let other = store_of(&two, "chat2");
        for prefix in ["a:", "b:", "c:"] {
            for number in 0..700 {
                chat.set(&format!("{prefix}{number:03}"), value("v"), None).await.expect("room");
            }
        }
        other.set("b:999", value("theirs"), None).await.expect("room");
        let (mut found, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = same.list("b:", after.as_deref(), 300).await.expect("listed");
            after = page.last().cloned();
            found.extend(page);
            if found.len() % 300 != 0 || after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..700).map(|number| format!("b:{number:03}")).collect();
        assert_eq!(found, expected);
        assert_eq!(same.list("", None, 5_000).await.expect("listed").len(), 2_100);
        assert_eq!(same.list("", Some("c:698"), 10).await, Ok(vec!["c:699".to_owned()]));
        assert_eq!(same.list("b:", Some("z"), 10).await, Ok(Vec::new()));
        assert_eq!(same.list("b:", Some("a"), 1).await, Ok(vec!["b:000".to_owned()]));
        assert_eq!(other.list("", None, 10).await, Ok(vec!["b:999".to_owned()]));
        assert_eq!(other.get("a:001").await, Ok(None));
    });
}

#[test]
fn the_longest_key_of_the_longest_channel_has_a_name() {
    run(async {
        let channel = "c".repeat(wharf_contract::names::MAX_CHANNEL_NAME_BYTES);
        let store = store(node(&Server::new(1), "one"), &channel, 1 << 20);
        let key = "é".repeat(256);
        assert_eq!(wharf_contract::names::check_key(&key), Ok(()));
        store.set(&key, value("v"), None).await.expect("written");
        assert_eq!(store.list("é", None, 10).await, Ok(vec![key]));
    });
}

#[test]
fn a_cut_link_refuses_everything_for_later_and_changes_nothing() {
    run(async {
        let server = Server::new(1);
        let one = store(node(&server, "one"), "chat", 10_000);
        let two = store(node(&server, "two"), "chat", 10_000);
        let version = one.set("a", value("1"), None).await.expect("written");
        let size = one.stored_bytes();
        server.cut("one");
        let later = |refused: Result<(), CallRefusal>| {
            let why = refused.expect_err("the link is cut");
            assert_eq!(why.code(), "data-unavailable");
            assert_eq!(why.remedy(), wharf_contract::Remedy::RetryLater);
        };
        later(one.get("a").await.map(drop));
        later(one.set("a", value("2"), None).await.map(drop));
        later(one.set("b", value("2"), None).await.map(drop));
        later(one.delete("a").await.map(drop));
        later(one.increment("a", 1, None).await.map(drop));
        later(one.compare_and_swap("a", Some(version), value("3"), None).await.map(drop));
        later(one.list("", None, 10).await.map(drop));
        later(one.entries("", None, 10).await.map(drop));
        assert_eq!(one.stored_bytes(), size);
        let entry = Entry { value: value("1"), version };
        assert_eq!(two.get("a").await, Ok(Some(entry.clone())));
        assert_eq!(two.list("", None, 10).await, Ok(vec!["a".to_owned()]));
        server.mend("one");
        assert_eq!(one.get("a").await, Ok(Some(entry)));
        assert_eq!(one.increment("a", 1, None).await, Ok(2));
    });
}

#[test]
fn nodes_offer_the_store_of_a_channel() {
    run(async {
        let server = Server::new(1);
        let limits = InboxLimits { events: 1, bytes: 1, channel_bytes: 1 };
        let [one, two] = ["one", "two"].map(|name| {
            let (engine, deliveries) = server.node(name, &Limits::default());
            let settings = Settings {
                name: name.to_owned(),
                version: "1".to_owned(),
                started: 0,
                timeout: SECOND * 5,
                inbox: limits,
                room_inbox: limits,
                max_rooms: 1,
            };
            Node::start(Arc::new(engine), deliveries, Arc::default(), settings)
        });
        let (here, there) = (one.store("chat", 10_000), two.store("chat", 10_000));
        let version = here.set("k", value("v"), None).await.expect("written");
        assert_eq!(there.get("k").await, Ok(Some(Entry { value: value("v"), version })));
        one.stop().await;
        let refused = here.set("k", value("w"), None).await.expect_err("it has ended");
        assert_eq!(refused.code(), "data-unavailable");
    });
}

#[test]
fn a_time_to_live_beyond_all_clocks_is_for_good() {
    run(async {
        let store = store(node(&Server::new(1), "one"), "chat", 10_000);
        store.set("k", value("v"), ms(u64::MAX)).await.expect("written");
        store.increment("n", 1, ms(u64::MAX)).await.expect("added");
        let listed = store.entries("", None, 10).await.expect("listed");
        assert!(listed.len() == 2 && listed.iter().all(|entry| entry.expires_in.is_none()));
    });
}
