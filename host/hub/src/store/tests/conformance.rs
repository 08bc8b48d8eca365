//! The promises of a store, for each implementation.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use wharf_contract::CallRefusal;
use wharf_contract::store::ENTRY_OVERHEAD;

use super::{Entry, Store};

/// A store with its clock.
pub(crate) trait World {
    /// Returns the store; one of them, if several nodes see the same one.
    fn store(&mut self) -> &dyn Store;

    /// Moves the clock.
    async fn advance(&mut self, milliseconds: u64);

    /// Ends the process, and begins the next one. A store in memory alone sees nothing of it.
    fn restart(&mut self);

    /// Sweeps the store, and checks that its entries have this size.
    fn sweep(&mut self, bytes: usize) -> Result<(), TestCaseError>;
}

pub(crate) fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn ms(milliseconds: u64) -> Option<Duration> {
    Some(Duration::from_millis(milliseconds))
}

pub(crate) async fn what_expires_makes_room_without_anybody_reading_it<W: World>(
    make: impl Fn(usize) -> W,
) {
    let room_for_two = 2 * (ENTRY_OVERHEAD + 2);
    let full = Err(CallRefusal::StoreFull { limit: room_for_two });
    let mut world = make(room_for_two);
    world.store().set("a", value("1"), ms(10)).await.expect("room");
    world.store().set("b", value("1"), None).await.expect("room");
    assert_eq!(world.store().set("c", value("1"), None).await, full);
    world.advance(9).await;
    assert_eq!(world.store().set("c", value("1"), None).await, full);
    world.advance(1).await;
    world.store().set("c", value("1"), None).await.expect("room");
    world.sweep(room_for_two).expect("it is full");
}

pub(crate) async fn a_value_can_be_replaced_in_a_full_store<W: World>(make: impl Fn(usize) -> W) {
    let mut world = make(ENTRY_OVERHEAD + 2);
    world.store().set("a", value("1"), None).await.expect("room");
    world.store().set("a", value("2"), None).await.expect("its own room");
    assert_eq!(world.store().increment("a", 5, None).await, Ok(7));
    let full = Err(CallRefusal::StoreFull { limit: ENTRY_OVERHEAD + 2 });
    assert_eq!(world.store().increment("a", 5, None).await, full, "12 has a byte more");
    assert_eq!(world.store().increment("a", 1, None).await, Ok(8), "and was not written");
}

pub(crate) async fn numbers_stay_within_64_bits_and_are_numbers<W: World>(
    make: impl Fn(usize) -> W,
) {
    let mut world = make(usize::MAX);
    assert_eq!(world.store().increment("n", i64::MAX, None).await, Ok(i64::MAX));
    assert_eq!(world.store().increment("n", 1, None).await, Err(CallRefusal::StoreOverflow));
    assert_eq!(world.store().increment("n", -1, None).await, Ok(i64::MAX - 1));
    for text in ["", "1.5", "0x1", " 1", "\"1\"", "9223372036854775808"] {
        world.store().set("n", value(text), None).await.expect("room");
        let refused = world.store().increment("n", 1, None).await;
        assert_eq!(refused, Err(CallRefusal::StoreNotANumber), "{text:?}");
    }
    for text in ["+7", "007"] {
        world.store().set("n", value(text), ms(50)).await.expect("room");
        assert_eq!(world.store().increment("n", 1, None).await, Ok(8), "{text:?}");
        world.advance(50).await;
        assert_eq!(world.store().get("n").await, Ok(None), "its time to live stays");
    }
}

/// A step of a caller. Keys are few, so that they meet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Get(String),
    Set(String, String, Option<u64>),
    Delete(String),
    Increment(String, i64, Option<u64>),
    /// With the version that the key has, or with another one.
    Swap(String, bool, String, Option<u64>),
    List(String, Option<String>, usize),
    Advance(u64),
    Sweep,
    Restart,
}

fn key() -> impl Strategy<Value = String> {
    "[ab]{1,3}"
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (1..50_u64).prop_map(Some)]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
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
    entries: BTreeMap<String, (String, Option<u64>)>,
    /// The last version of each key, also of those that are gone.
    versions: BTreeMap<String, u64>,
    time: u64,
    max_bytes: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, (text, _))| size(key, text)).sum()
    }

    fn put(&mut self, key: &str, text: String, expires: Option<u64>) -> Result<(), CallRefusal> {
        let before = self.entries.get(key).map_or(0, |(text, _)| size(key, text));
        if self.bytes() - before + size(key, &text) > self.max_bytes {
            return Err(CallRefusal::StoreFull { limit: self.max_bytes });
        }
        self.entries.insert(key.to_owned(), (text, expires));
        Ok(())
    }

    fn expiry(&self, ttl: Option<u64>) -> Option<u64> {
        Some(self.time + ttl?)
    }

    /// Checks that the version of a write is larger than those before.
    fn wrote(&mut self, key: &str, version: u64) -> Result<(), TestCaseError> {
        let before = self.versions.insert(key.to_owned(), version).unwrap_or(0);
        prop_assert!(before < version, "{} after {}", version, before);
        Ok(())
    }
}

fn size(key: &str, text: &str) -> usize {
    key.len() + text.len() + ENTRY_OVERHEAD
}

/// Checks that a store does what the model does.
pub(crate) async fn follows_the_model(
    world: &mut impl World,
    max_bytes: usize,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut model = Model { max_bytes, ..Model::default() };
    for step in steps {
        let time = model.time;
        model.entries.retain(|_, (_, expires)| expires.is_none_or(|expires| time < expires));
        match step {
            Step::Get(key) => {
                let found = world.store().get(&key).await;
                let version = *model.versions.entry(key.clone()).or_default();
                let expected = model.entries.get(&key);
                let expected = expected.map(|(text, _)| Entry { value: value(text), version });
                prop_assert_eq!(found, Ok(expected));
            }
            Step::Set(key, text, ttl) => {
                let expires = model.expiry(ttl);
                let expected = model.put(&key, text.clone(), expires);
                let ttl = ttl.map(Duration::from_millis);
                let written = world.store().set(&key, value(&text), ttl).await;
                prop_assert_eq!(written.clone().map(drop), expected);
                if let Ok(version) = written {
                    model.wrote(&key, version)?;
                }
            }
            Step::Delete(key) => {
                let expected = model.entries.remove(&key).is_some();
                prop_assert_eq!(world.store().delete(&key).await, Ok(expected));
            }
            Step::Increment(key, by, ttl) => {
                let (before, expires) = match model.entries.get(&key) {
                    Some((text, expires)) => (text.parse::<i64>().ok(), *expires),
                    None => (Some(0), model.expiry(ttl)),
                };
                let expected = match before.map(|before| before.checked_add(by)) {
                    None => Err(CallRefusal::StoreNotANumber),
                    Some(None) => Err(CallRefusal::StoreOverflow),
                    Some(Some(sum)) => model.put(&key, sum.to_string(), expires).map(|()| sum),
                };
                let ttl = ttl.map(Duration::from_millis);
                let sum = world.store().increment(&key, by, ttl).await;
                prop_assert_eq!(sum.clone(), expected);
                if sum.is_ok() {
                    let entry = world.store().get(&key).await.expect("read").expect("an entry");
                    model.wrote(&key, entry.version)?;
                }
            }
            Step::Swap(key, is_right, text, ttl) => {
                let is_there = model.entries.contains_key(&key);
                let version = model.versions.get(&key).copied().filter(|_| is_there);
                let (given, expected) = if is_right {
                    let expires = model.expiry(ttl);
                    (version, model.put(&key, text.clone(), expires))
                } else {
                    (version.map_or(Some(1), |_| None), Err(CallRefusal::StoreConflict))
                };
                let ttl = ttl.map(Duration::from_millis);
                let store = world.store();
                let swapped = store.compare_and_swap(&key, given, value(&text), ttl).await;
                prop_assert_eq!(swapped.clone().map(drop), expected);
                if let Ok(version) = swapped {
                    model.wrote(&key, version)?;
                }
            }
            Step::List(prefix, after, limit) => {
                let entries = model.entries.iter().filter(|(key, _)| key.starts_with(&prefix));
                let entries =
                    entries.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
                let expected: Vec<_> = entries.take(limit).collect();
                let listed = world.store().list(&prefix, after.as_deref(), limit).await;
                let keys = expected.iter().map(|(key, _)| (*key).clone()).collect();
                prop_assert_eq!(listed, Ok(keys));
                let listed = world.store().entries(&prefix, after.as_deref(), limit).await;
                let listed = listed.expect("listed");
                prop_assert_eq!(listed.len(), expected.len());
                for (entry, (key, (text, expires))) in listed.iter().zip(expected) {
                    let expires = expires.map(|at| Duration::from_millis(at - model.time));
                    prop_assert_eq!(&entry.key, key);
                    prop_assert_eq!((&entry.value, entry.expires_in), (&value(text), expires));
                    prop_assert_eq!(Some(&entry.version), model.versions.get(key));
                }
            }
            Step::Advance(milliseconds) => {
                model.time += milliseconds;
                world.advance(milliseconds).await;
            }
            Step::Restart => world.restart(),
            Step::Sweep => world.sweep(model.bytes())?,
        }
        prop_assert!(world.store().bytes() <= max_bytes);
    }
    Ok(())
}
