//! The store that lives in this process's memory. It ends with it, unless its entries are also
//! records on disk.

mod entries;
mod recorded;

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use wharf_contract::CallRefusal;
use wharf_contract::store::{number, sum};
use wharf_engine::{Records, Unavailable, Written};

use super::{Entry, ListedEntry, Store, StoreAnswer};
use crate::time_of_day::unix_ms;
use entries::StoredEntries;

/// Expired entries that one call drops at most, so that no call has to drop thousands.
const SWEEP: usize = 64;
/// Expired entries that a [sweep](Store::sweep) drops at most while it holds the lock.
const FULL_SWEEP: usize = 4096;

/// The clocks of a store; tests have their own.
pub(crate) struct Clocks {
    /// The clock by which entries expire.
    pub(crate) monotonic: Box<dyn Fn() -> Instant + Send + Sync>,
    /// The time of day in milliseconds since 1970, by which records expire.
    pub(crate) unix_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Clocks {
    /// Returns the runtime's clock, which is the system's unless a test moves it, and the system's time
    /// of day.
    fn system() -> Clocks {
        Clocks {
            monotonic: Box::new(|| tokio::time::Instant::now().into_std()),
            unix_ms: Box::new(unix_ms),
        }
    }
}

/// A store in memory, bounded in bytes. Its entries may be recorded on disk as well: then a write is
/// answered once it is there.
pub struct Memory {
    max_bytes: usize,
    clocks: Clocks,
    entries: Arc<Mutex<StoredEntries>>,
    records: Option<Records>,
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
        Memory::with_clocks(max_bytes, Clocks::system())
    }

    /// Makes a store of at most `max_bytes` with the entries that are recorded. Those may be more, if
    /// the limit was larger before. It waits for the disk.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn recorded(max_bytes: usize, records: Records) -> Result<Memory, Unavailable> {
        Memory::recorded_with_clocks(max_bytes, records, Clocks::system())
    }

    /// Makes a store with clocks of the caller's.
    pub(crate) fn with_clocks(max_bytes: usize, clocks: Clocks) -> Memory {
        Memory { max_bytes, clocks, entries: Arc::default(), records: None }
    }

    /// Performs one step: drops some of the expired entries, then calls `step`. The lock is held
    /// only for that, and never while a task waits.
    fn step<'a, T: Send + 'a>(
        &self,
        step: impl FnOnce(&mut StoredEntries, Instant) -> Result<T, CallRefusal>,
    ) -> StoreAnswer<'a, T> {
        let now = (self.clocks.monotonic)();
        let mut entries = self.entries.lock();
        entries.drop_expired(now, SWEEP);
        if let Some(records) = &self.records {
            // By itself, so that the step does not wait for it.
            self.record_expired(records, &mut entries, now);
        }
        let answer = step(&mut entries, now);
        match &self.records {
            None => {
                drop(entries);
                Box::pin(ready(answer))
            }
            Some(records) => self.record(records, entries, now, answer),
        }
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

    fn unwritten(&self) -> Option<Written> {
        self.records.as_ref()?;
        self.last_write()
    }

    fn sweep(&self) -> bool {
        let now = (self.clocks.monotonic)();
        let mut entries = self.entries.lock();
        let dropped = entries.drop_expired(now, FULL_SWEEP);
        // Entries that cannot be recorded are put back, and the next sweep tries again.
        let are_gone = match &self.records {
            Some(records) => self.record_expired(records, &mut entries, now),
            None => true,
        };
        are_gone && dropped == FULL_SWEEP
    }
}

/// Returns the time at which an entry that is written now expires; `None` if that is too far away
/// for the clock.
fn expiry(now: Instant, ttl: Option<Duration>) -> Option<Instant> {
    now.checked_add(ttl?)
}

#[cfg(test)]
mod tests;
