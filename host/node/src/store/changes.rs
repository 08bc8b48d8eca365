//! The changes of entries: each reads the entry, reserves room for the difference, and writes if the entry is still the
//! same. So the sizes add up, also if many write.

use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::{Entry, Expected, IncrementError, PutError, Reason, Unavailable};
use wharf_contract::CallRefusal;
use wharf_contract::store::{entry_bytes, number, sum};

use super::ledger::{Reserved, signed};
use super::{EngineStore, TRIES, busy, refusal};

/// Longest time to live; what lives longer stays for good. A hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Shortest time that is left to an entry which is there.
const SHORTEST: Duration = Duration::from_millis(1);

impl EngineStore {
    /// Writes a value if the entry has the expected version, or no value for `Some(None)`.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<Option<u64>>,
        ttl: Option<Duration>,
    ) -> Result<u64, CallRefusal> {
        let name = self.name(key);
        let size = signed(entry_bytes(key, &value));
        for _ in 0..TRIES {
            let before = self.engine.get(&name).await.map_err(refusal)?;
            let version = before.as_ref().map(|entry| entry.version);
            if expected.is_some_and(|expected| expected != version) {
                return Err(CallRefusal::StoreConflict);
            }
            let change = size - before.as_ref().map_or(0, |entry| size_of(key, entry));
            match self.put(&name, value.clone(), state(version), ttl, change).await? {
                Some(version) => return Ok(version),
                None if expected.is_some() => return Err(CallRefusal::StoreConflict),
                None => {}
            }
        }
        // Others always write in between. Counted as if nothing were replaced, it need not be compared.
        let written = self.put(&name, value, Expected::Any, ttl, size).await?;
        written.ok_or_else(busy)
    }

    /// Deletes an entry. Returns true if there was one.
    pub(super) async fn remove(&self, key: &str) -> Result<bool, CallRefusal> {
        let name = self.name(key);
        for _ in 0..TRIES {
            let Some(before) = self.engine.get(&name).await.map_err(refusal)? else {
                return Ok(false);
            };
            let mut reserved = self.ledger.reserve(-size_of(key, &before)).await?;
            reserved.begin();
            match self.engine.delete(&name, state(Some(before.version))).await {
                Ok(is_done) => {
                    if is_done {
                        reserved.done();
                    } else {
                        reserved.undone();
                    }
                    self.ledger.settle().await;
                    return Ok(is_done);
                }
                Err(PutError::Conflict { .. }) => reserved.undone(),
                Err(PutError::Unavailable(why)) => return Err(refusal(why)),
            }
        }
        match self.engine.delete(&name, Expected::Any).await {
            Ok(is_done) => Ok(is_done),
            Err(PutError::Conflict { .. }) => Err(busy()),
            Err(PutError::Unavailable(why)) => Err(refusal(why)),
        }
    }

    /// Adds to a number. The engine adds, so that all succeed however many there are.
    pub(super) async fn add(
        &self,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, CallRefusal> {
        let name = self.name(key);
        for _ in 0..TRIES {
            let before = self.engine.get(&name).await.map_err(refusal)?;
            let new = signed(entry_bytes(key, by.to_string().as_bytes()));
            let mut change = new;
            if let Some(entry) = &before {
                let after = sum(number(&entry.value)?, by)?.to_string();
                change = signed(after.len()) - signed(entry.value.len());
                if !is_plain(&entry.value) {
                    // The engine knows no "+1" and no "007".
                    let (state, left) = (state(Some(entry.version)), entry.expires_in);
                    let left = left.map(|left| left.max(SHORTEST));
                    let value = Bytes::from(after);
                    match self.put(&name, value.clone(), state, left, change).await? {
                        Some(_) => return number(&value),
                        None => continue,
                    }
                }
            }
            let mut reserved = self.ledger.reserve(change).await?;
            reserved.begin();
            match self.engine.increment(&name, by, bounded(ttl)).await {
                Ok((after, _)) => {
                    let earlier = before.and_then(|entry| number(&entry.value).ok());
                    reserved.done_as(match after.checked_sub(by) {
                        // Without a value before, or one that is not there any more.
                        Some(0) if earlier != Some(0) => new,
                        Some(before) => digits(after) - digits(before),
                        None => change,
                    });
                    self.ledger.settle().await;
                    return Ok(after);
                }
                // It is another value meanwhile.
                Err(IncrementError::NotANumber) => reserved.undone(),
                Err(IncrementError::Overflow) => {
                    reserved.undone();
                    return Err(CallRefusal::StoreOverflow);
                }
                Err(IncrementError::Unavailable(why)) => return Err(failed(reserved, why)),
            }
        }
        Err(busy())
    }

    /// Writes a value if there is room and the entry has the state. Returns `None` if it has another one.
    async fn put(
        &self,
        name: &str,
        value: Bytes,
        state: Expected,
        ttl: Option<Duration>,
        change: i64,
    ) -> Result<Option<u64>, CallRefusal> {
        let mut reserved = self.ledger.reserve(change).await?;
        reserved.begin();
        match self.engine.put(name, value, state, bounded(ttl)).await {
            Ok(version) => {
                reserved.done();
                self.ledger.settle().await;
                Ok(Some(version))
            }
            Err(PutError::Conflict { .. }) => {
                reserved.undone();
                Ok(None)
            }
            Err(PutError::Unavailable(why)) => Err(failed(reserved, why)),
        }
    }
}

/// Returns the refusal, and frees what was reserved if nothing was done.
fn failed(reserved: Reserved<'_>, why: Unavailable) -> CallRefusal {
    if matches!(why.reason(), Reason::Closed | Reason::QueueFull | Reason::TooLarge) {
        reserved.undone();
    }
    refusal(why)
}

fn state(version: Option<u64>) -> Expected {
    version.map_or(Expected::Absent, Expected::Version)
}

fn size_of(key: &str, entry: &Entry) -> i64 {
    signed(entry_bytes(key, &entry.value))
}

fn bounded(ttl: Option<Duration>) -> Option<Duration> {
    ttl.filter(|ttl| *ttl <= LONGEST)
}

/// Returns true if the engine can add to a value.
fn is_plain(value: &[u8]) -> bool {
    number(value).is_ok_and(|number| number.to_string().as_bytes() == value)
}

fn digits(number: i64) -> i64 {
    signed(number.to_string().len())
}
