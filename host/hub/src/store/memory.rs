//! The store that lives in this process's memory, and ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use wharf_contract::CallRefusal;
use wharf_contract::store::{entry_bytes, number, sum};

use super::{Entry, ListedEntry, Store, StoreAnswer};

/// Expired entries that one call drops at most, so that no call has to drop thousands.
const SWEEP: usize = 64;
/// Expired entries that a [sweep](Store::sweep) drops at most while it holds the lock.
const FULL_SWEEP: usize = 4096;

/// A function that returns the time; tests have their own.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// A store in memory, bounded in bytes.
pub struct Memory {
    max_bytes: usize,
    clock: Clock,
    entries: Mutex<StoredEntries>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl Memory {
    /// Makes an empty store of at most `max_bytes`, including an overhead of about 160 bytes an
    /// entry.
    pub fn new(max_bytes: usize) -> Memory {
        // The runtime's clock is the system's, unless a test moves it.
        Memory::with_clock(max_bytes, Arc::new(|| tokio::time::Instant::now().into_std()))
    }

    /// Makes a store with a clock of the caller's.
    pub(crate) fn with_clock(max_bytes: usize, clock: Clock) -> Memory {
        Memory { max_bytes, clock, entries: Mutex::default() }
    }

    /// Performs one step: drops some of the expired entries, then calls `step`. The lock is held
    /// only for that, and never while a task waits.
    fn step<'a, T: Send + 'a>(
        &self,
        step: impl FnOnce(&mut StoredEntries, Instant) -> Result<T, CallRefusal>,
    ) -> StoreAnswer<'a, T> {
        let now = (self.clock)();
        let mut entries = self.entries.lock();
        entries.drop_expired(now, SWEEP);
        let answer = step(&mut entries, now);
        drop(entries);
        Box::pin(ready(answer))
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, Option<Entry>> {
        self.step(|entries, now| {
            let found = entries.live(key, now);
            Ok(found.map(|kept| Entry { value: kept.value.clone(), version: kept.version }))
        })
    }

    fn set<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, u64> {
        self.step(|entries, now| entries.put(key, value, expiry(now, ttl), now, self.max_bytes))
    }

    fn delete<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, bool> {
        self.step(|entries, now| {
            let was_live = entries.live(key, now).is_some();
            entries.remove(key);
            Ok(was_live)
        })
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, i64> {
        self.step(|entries, now| {
            let (before, expires) = match entries.live(key, now) {
                Some(kept) => (number(&kept.value)?, kept.expires),
                None => (0, expiry(now, ttl)),
            };
            let sum = sum(before, by)?;
            entries.put(key, sum.to_string().into(), expires, now, self.max_bytes)?;
            Ok(sum)
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, u64> {
        self.step(|entries, now| {
            if entries.live(key, now).map(|kept| kept.version) != expected {
                return Err(CallRefusal::StoreConflict);
            }
            entries.put(key, value, expiry(now, ttl), now, self.max_bytes)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<String>> {
        self.step(|entries, now| {
            let listed = entries.listed(prefix, after, now);
            Ok(listed.take(limit).map(|(key, _)| key.to_string()).collect())
        })
    }

    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<ListedEntry>> {
        self.step(|entries, now| {
            let listed = entries.listed(prefix, after, now).map(|(key, kept)| ListedEntry {
                key: key.to_string(),
                value: kept.value.clone(),
                version: kept.version,
                expires_in: kept.expires.map(|at| at.saturating_duration_since(now)),
            });
            Ok(listed.take(limit).collect())
        })
    }

    fn bytes(&self) -> usize {
        self.entries.lock().bytes
    }

    fn sweep(&self) -> bool {
        let now = (self.clock)();
        self.entries.lock().drop_expired(now, FULL_SWEEP) == FULL_SWEEP
    }
}

/// Returns the time at which an entry that is written now expires; `None` if that is too far away
/// for the clock.
fn expiry(now: Instant, ttl: Option<Duration>) -> Option<Instant> {
    now.checked_add(ttl?)
}

/// The entries, by their keys and by their times of expiry.
#[derive(Default)]
struct StoredEntries {
    by_key: BTreeMap<Arc<str>, StoredValue>,
    /// Entries that will expire, soonest first.
    by_expiry: BTreeSet<(Instant, Arc<str>)>,
    bytes: usize,
    last_version: u64,
}

struct StoredValue {
    value: Bytes,
    version: u64,
    expires: Option<Instant>,
}

impl StoredValue {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl StoredEntries {
    /// Returns the entry, unless it has expired.
    fn live(&self, key: &str, now: Instant) -> Option<&StoredValue> {
        self.by_key.get(key).filter(|kept| kept.is_live(now))
    }

    /// Returns the entries whose keys begin with `prefix` in the order of their keys, beginning after
    /// `after`.
    fn listed<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Instant,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a StoredValue)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let range = self.by_key.range::<str, _>((start, Bound::Unbounded));
        range
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(move |(_, kept)| kept.is_live(now))
    }

    /// Writes an entry if there is room for it, or if dropping expired entries makes room.
    fn put(
        &mut self,
        key: &str,
        value: Bytes,
        expires: Option<Instant>,
        now: Instant,
        max_bytes: usize,
    ) -> Result<u64, CallRefusal> {
        let size = entry_bytes(key, &value);
        loop {
            // The entry is looked up anew: it may be among the dropped ones.
            let before = self.by_key.get(key).map_or(0, |kept| entry_bytes(key, &kept.value));
            if self.bytes - before + size <= max_bytes {
                break;
            }
            if self.drop_expired(now, SWEEP) == 0 {
                return Err(CallRefusal::StoreFull { limit: max_bytes });
            }
        }
        self.remove(key);
        self.last_version += 1;
        let version = self.last_version;
        let key: Arc<str> = Arc::from(key);
        if let Some(expires) = expires {
            self.by_expiry.insert((expires, key.clone()));
        }
        self.by_key.insert(key, StoredValue { value, version, expires });
        self.bytes += size;
        Ok(version)
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, kept)) = self.by_key.remove_entry(key) {
            self.bytes -= entry_bytes(&key, &kept.value);
            if let Some(expires) = kept.expires {
                self.by_expiry.remove(&(expires, key));
            }
        }
    }

    /// Drops expired entries, at most `most`. Returns their number.
    fn drop_expired(&mut self, now: Instant, most: usize) -> usize {
        let mut dropped = 0;
        while dropped < most
            && let Some((expires, _)) = self.by_expiry.first()
            && *expires <= now
            && let Some((_, key)) = self.by_expiry.pop_first()
        {
            if let Some(kept) = self.by_key.remove(&key) {
                self.bytes -= entry_bytes(&key, &kept.value);
            }
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests;
