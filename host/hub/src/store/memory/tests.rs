use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use wharf_contract::store::ENTRY_OVERHEAD;

use wharf_engine::{Disk, Durability};

use super::{Clocks, Memory, Store};
use crate::store::tests::conformance::{self, World, follows_the_model, ms, step, value};

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct Hands {
    start: Instant,
    milliseconds: Arc<AtomicU64>,
}

impl Hands {
    fn advance(&self, milliseconds: u64) {
        self.milliseconds.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Hands {
    fn new() -> Hands {
        Hands { start: Instant::now(), milliseconds: Arc::default() }
    }

    fn clocks(&self) -> Clocks {
        let (monotonic, unix) = (self.clone(), self.clone());
        let passed = |hands: &Hands| hands.milliseconds.load(Ordering::SeqCst);
        Clocks {
            monotonic: Box::new(move || {
                monotonic.start + Duration::from_millis(passed(&monotonic))
            }),
            unix_ms: Box::new(move || 1_800_000_000_000 + passed(&unix)),
        }
    }
}

fn store(max_bytes: usize) -> (Memory, Hands) {
    let hands = Hands::new();
    (Memory::with_clocks(max_bytes, hands.clocks()), hands)
}

/// Returns the result of an answer. Memory gives it at once, and the disk a moment later.
fn now<F: Future>(answer: F) -> F::Output {
    let mut answer = std::pin::pin!(answer);
    loop {
        if let Poll::Ready(output) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// A store on disk that can be restarted.
struct OnDisk {
    folder: tempfile::TempDir,
    max_bytes: usize,
    hands: Hands,
}

impl OnDisk {
    fn open(&self) -> Memory {
        let disk = Disk::open(self.folder.path(), Durability::Never).expect("a folder");
        let records = disk.records("chat").expect("a channel");
        Memory::recorded_with_clocks(self.max_bytes, records, self.hands.clocks())
            .expect("readable records")
    }
}

/// A store in this process's memory.
struct InMemory {
    store: Memory,
    hands: Hands,
}

impl World for InMemory {
    fn store(&mut self) -> &dyn Store {
        &self.store
    }

    async fn advance(&mut self, milliseconds: u64) {
        self.hands.advance(milliseconds);
    }

    fn restart(&mut self) {}

    fn sweep(&mut self, bytes: usize) -> Result<(), TestCaseError> {
        sweep(&self.store, bytes)
    }
}

impl World for (Memory, OnDisk) {
    fn store(&mut self) -> &dyn Store {
        &self.0
    }

    async fn advance(&mut self, milliseconds: u64) {
        self.1.hands.advance(milliseconds);
    }

    fn restart(&mut self) {
        // The folder is free once the last store of it is gone.
        self.0 = Memory::new(0);
        self.0 = self.1.open();
    }

    fn sweep(&mut self, bytes: usize) -> Result<(), TestCaseError> {
        sweep(&self.0, bytes)
    }
}

fn sweep(store: &Memory, bytes: usize) -> Result<(), TestCaseError> {
    while store.sweep() {}
    prop_assert_eq!(store.bytes(), bytes);
    Ok(())
}

fn in_memory(max_bytes: usize) -> InMemory {
    let (store, hands) = store(max_bytes);
    InMemory { store, hands }
}

fn on_disk(max_bytes: usize) -> (Memory, OnDisk) {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = OnDisk { folder, max_bytes, hands: Hands::new() };
    (on_disk.open(), on_disk)
}

#[test]
fn what_expires_makes_room_without_anybody_reading_it() {
    now(conformance::what_expires_makes_room_without_anybody_reading_it(in_memory));
    now(conformance::what_expires_makes_room_without_anybody_reading_it(on_disk));
}

#[test]
fn a_value_can_be_replaced_in_a_full_store() {
    now(conformance::a_value_can_be_replaced_in_a_full_store(in_memory));
    now(conformance::a_value_can_be_replaced_in_a_full_store(on_disk));
}

#[test]
fn numbers_stay_within_64_bits_and_are_numbers() {
    now(conformance::numbers_stay_within_64_bits_and_are_numbers(in_memory));
    now(conformance::numbers_stay_within_64_bits_and_are_numbers(on_disk));
}

#[test]
fn a_sweep_gives_back_the_memory_of_everything_that_has_expired() {
    let (store, hands) = store(usize::MAX);
    for number in 0..10_000 {
        now(store.set(&format!("{number}"), value("x"), ms(5))).expect("room");
    }
    now(store.set("stays", value("x"), None)).expect("room");
    hands.advance(5);
    while store.sweep() {}
    assert_eq!(store.bytes(), ENTRY_OVERHEAD + 6);
}

proptest! {
    #[test]
    fn memory_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..200),
        max_bytes in 200..2500_usize,
    ) {
        now(follows_the_model(&mut in_memory(max_bytes), max_bytes, steps))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_store_on_disk_does_what_the_model_does_through_restarts(
        steps in proptest::collection::vec(step(), 1..80),
        max_bytes in 200..2500_usize,
    ) {
        now(follows_the_model(&mut on_disk(max_bytes), max_bytes, steps))?;
    }
}

#[test]
fn a_write_that_cannot_be_recorded_changes_nothing_and_is_known_to_those_who_have_seen_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = OnDisk { folder, max_bytes: 10_000, hands: Hands::new() };
    let store = on_disk.open();
    now(store.set("a", value("1"), None)).expect("written");
    now(store.set("b", value("1"), ms(50))).expect("written");
    let before = (now(store.get("a")), now(store.get("b")), store.bytes());
    let database = on_disk.folder.path().join("wharf.db");
    let other = rusqlite::Connection::open(database).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let writes = (
        store.set("a", value("2"), None),
        store.increment("a", 5, None),
        store.delete("b"),
        store.set("c", value("3"), None),
    );
    // Effects of those that have seen a write which is not on disk yet share its fate.
    assert!(now(store.get("a")).is_ok());
    let seen = store.unwritten().expect("writes that are under way");
    let refused = |code: Option<&str>| assert_eq!(code, Some("data-unavailable"));
    refused(now(writes.0).err().map(|why| why.code()));
    refused(now(writes.1).err().map(|why| why.code()));
    refused(now(writes.2).err().map(|why| why.code()));
    refused(now(writes.3).err().map(|why| why.code()));
    assert!(now(seen.wait()).is_err());
    assert!(store.unwritten().is_none());
    drop(other);
    assert_eq!((now(store.get("a")), now(store.get("b")), store.bytes()), before);
    assert_eq!(now(store.list("", None, 10)), Ok(vec!["a".to_owned(), "b".to_owned()]));
    // Writes succeed again, with versions that were not used.
    let retried = loop {
        if let Ok(version) = now(store.set("a", value("2"), None)) {
            break version;
        }
    };
    assert!(retried > 2, "{retried}");
}
