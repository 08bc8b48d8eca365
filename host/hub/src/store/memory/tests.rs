use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use wharf_contract::CallRefusal;
use wharf_contract::store::ENTRY_OVERHEAD;

use wharf_engine::{Disk, Durability};

use super::{Clocks, Entry, Memory, Store};

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

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn ms(milliseconds: u64) -> Option<Duration> {
    Some(Duration::from_millis(milliseconds))
}

#[test]
fn what_expires_makes_room_without_anybody_reading_it() {
    let room_for_two = 2 * (ENTRY_OVERHEAD + 2);
    let (store, hands) = store(room_for_two);
    now(store.set("a", value("1"), ms(10))).expect("room");
    now(store.set("b", value("1"), None)).expect("room");
    assert_eq!(
        now(store.set("c", value("1"), None)),
        Err(CallRefusal::StoreFull { limit: room_for_two })
    );
    hands.advance(9);
    assert!(now(store.set("c", value("1"), None)).is_err());
    hands.advance(1);
    now(store.set("c", value("1"), None)).expect("room");
    assert_eq!(store.bytes(), room_for_two);
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

#[test]
fn a_value_can_be_replaced_in_a_full_store() {
    let (store, _) = store(ENTRY_OVERHEAD + 2);
    now(store.set("a", value("1"), None)).expect("room");
    now(store.set("a", value("2"), None)).expect("its own room");
    assert_eq!(now(store.increment("a", 5, None)), Ok(7));
    let full = Err(CallRefusal::StoreFull { limit: ENTRY_OVERHEAD + 2 });
    assert_eq!(now(store.increment("a", 5, None)), full, "12 has a byte more");
    assert_eq!(now(store.increment("a", 1, None)), Ok(8), "and was not written");
}

#[test]
fn numbers_stay_within_64_bits_and_are_numbers() {
    let (store, _) = store(usize::MAX);
    assert_eq!(now(store.increment("n", i64::MAX, None)), Ok(i64::MAX));
    assert_eq!(now(store.increment("n", 1, None)), Err(CallRefusal::StoreOverflow));
    assert_eq!(now(store.increment("n", -1, None)), Ok(i64::MAX - 1));
    for text in ["", "1.5", "0x1", " 1", "\"1\"", "9223372036854775808"] {
        now(store.set("n", value(text), None)).expect("room");
        assert_eq!(
            now(store.increment("n", 1, None)),
            Err(CallRefusal::StoreNotANumber),
            "{text:?}"
        );
    }
}

/// A step of a caller. Keys are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Get(String),
    Set(String, String, Option<u64>),
    Delete(String),
    Increment(String, i64, Option<u64>),
    /// With the version that the key has, or with another one.
    Swap(String, bool, String, Option<u64>),
    List(String, Option<String>, usize),
    Advance(u64),
    Sweep,
    /// The end of the process, and the next one. A store in memory alone sees nothing of it.
    Restart,
}

fn key() -> impl Strategy<Value = String> {
    "[ab]{1,3}"
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (1..50_u64).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let text = || prop_oneof!["[0-9]{1,3}", "x{0,200}", Just("-9223372036854775808".to_owned())];
    prop_oneof![
        key().prop_map(Step::Get),
        (key(), text(), ttl()).prop_map(|(key, text, ttl)| Step::Set(key, text, ttl)),
        key().prop_map(Step::Delete),
        (key(), -2..3_i64, ttl()).prop_map(|(key, by, ttl)| Step::Increment(key, by, ttl)),
        (key(), any::<bool>(), text(), ttl())
            .prop_map(|(key, right, text, ttl)| Step::Swap(key, right, text, ttl)),
        ("[ab]{0,2}", proptest::option::of(key()), 0..6_usize)
            .prop_map(|(prefix, after, limit)| Step::List(prefix, after, limit)),
        (0..40_u64).prop_map(Step::Advance),
        Just(Step::Sweep),
        Just(Step::Restart),
    ]
}

/// The simplest store with the same promises: it drops expired entries before each step.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, (String, u64, Option<u64>)>,
    version: u64,
    time: u64,
    max_bytes: usize,
}

impl Model {
    fn put(&mut self, key: &str, text: String, expires: Option<u64>) -> Result<u64, CallRefusal> {
        let others = self.entries.iter().filter(|(other, _)| *other != key);
        let size = |key: &str, text: &str| key.len() + text.len() + ENTRY_OVERHEAD;
        let bytes: usize = others.map(|(key, (text, ..))| size(key, text)).sum();
        if bytes + size(key, &text) > self.max_bytes {
            return Err(CallRefusal::StoreFull { limit: self.max_bytes });
        }
        self.version += 1;
        self.entries.insert(key.to_owned(), (text, self.version, expires));
        Ok(self.version)
    }

    fn expiry(&self, ttl: Option<u64>) -> Option<u64> {
        Some(self.time + ttl?)
    }
}

/// Checks that a store does what the model does. `restart` replaces it by one of the next process.
fn follows_the_model(
    mut store: Memory,
    hands: &Hands,
    max_bytes: usize,
    steps: Vec<Step>,
    restart: impl Fn(&mut Memory),
) -> Result<(), TestCaseError> {
    let mut model = Model { max_bytes, ..Model::default() };
    for step in steps {
        let time = model.time;
        model.entries.retain(|_, (_, _, expires)| expires.is_none_or(|expires| time < expires));
        match step {
            Step::Get(key) => {
                let expected = model
                    .entries
                    .get(&key)
                    .map(|(text, version, _)| Entry { value: value(text), version: *version });
                prop_assert_eq!(now(store.get(&key)), Ok(expected));
            }
            Step::Set(key, text, ttl) => {
                let expires = model.expiry(ttl);
                let expected = model.put(&key, text.clone(), expires);
                let ttl = ttl.map(Duration::from_millis);
                prop_assert_eq!(now(store.set(&key, value(&text), ttl)), expected);
            }
            Step::Delete(key) => {
                let expected = model.entries.remove(&key).is_some();
                prop_assert_eq!(now(store.delete(&key)), Ok(expected));
            }
            Step::Increment(key, by, ttl) => {
                let (before, expires) = match model.entries.get(&key) {
                    Some((text, _, expires)) => (text.parse::<i64>().ok(), *expires),
                    None => (Some(0), model.expiry(ttl)),
                };
                let expected = match before.map(|before| before.checked_add(by)) {
                    None => Err(CallRefusal::StoreNotANumber),
                    Some(None) => Err(CallRefusal::StoreOverflow),
                    Some(Some(sum)) => model.put(&key, sum.to_string(), expires).map(|_| sum),
                };
                let ttl = ttl.map(Duration::from_millis);
                prop_assert_eq!(now(store.increment(&key, by, ttl)), expected);
            }
            Step::Swap(key, is_right, text, ttl) => {
                let version = model.entries.get(&key).map(|(_, version, _)| *version);
                let (given, expected) = if is_right {
                    let expires = model.expiry(ttl);
                    (version, model.put(&key, text.clone(), expires))
                } else {
                    (version.map_or(Some(1), |_| None), Err(CallRefusal::StoreConflict))
                };
                let ttl = ttl.map(Duration::from_millis);
                let swapped = now(store.compare_and_swap(&key, given, value(&text), ttl));
                prop_assert_eq!(swapped, expected);
            }
            Step::List(prefix, after, limit) => {
                let keys = model.entries.keys().filter(|key| key.starts_with(&prefix));
                let keys = keys.filter(|key| after.as_ref().is_none_or(|after| *key > after));
                let expected: Vec<String> = keys.take(limit).cloned().collect();
                prop_assert_eq!(now(store.list(&prefix, after.as_deref(), limit)), Ok(expected));
            }
            Step::Advance(milliseconds) => {
                model.time += milliseconds;
                hands.advance(milliseconds);
            }
            Step::Restart => restart(&mut store),
            Step::Sweep => {
                while store.sweep() {}
                let size = |(key, (text, ..)): (&String, &(String, u64, Option<u64>))| {
                    key.len() + text.len() + ENTRY_OVERHEAD
                };
                prop_assert_eq!(store.bytes(), model.entries.iter().map(size).sum::<usize>());
            }
        }
        prop_assert!(store.bytes() <= max_bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn memory_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..200),
        max_bytes in 200..2500_usize,
    ) {
        let (store, hands) = store(max_bytes);
        follows_the_model(store, &hands, max_bytes, steps, |_| ())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_store_on_disk_does_what_the_model_does_through_restarts(
        steps in proptest::collection::vec(step(), 1..80),
        max_bytes in 200..2500_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let on_disk = OnDisk { folder, max_bytes, hands: Hands::new() };
        follows_the_model(on_disk.open(), &on_disk.hands, max_bytes, steps, |store| {
            // The folder is free once the last store of it is gone.
            *store = Memory::new(0);
            *store = on_disk.open();
        })?;
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
