//! Records by key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::{SWEPT_AT_A_TIME, milliseconds};
use crate::keys::{Entry, Expected, IncrementError};

/// A record, with the time at which it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) value: Bytes,
    pub(crate) version: u64,
    pub(crate) expires_at: Option<u64>,
}

impl Stored {
    fn is_live(&self, now: u64) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }

    fn entry(&self, now: u64) -> Entry {
        let left = |at: u64| Duration::from_millis(at.saturating_sub(now));
        Entry {
            value: self.value.clone(),
            version: self.version,
            expires_in: self.expires_at.map(left),
        }
    }
}

/// The current version of a record that is another one than was expected.
#[derive(Debug)]
pub(crate) struct Conflict(pub(crate) Option<u64>);

/// Records by key.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    records: BTreeMap<String, Stored>,
    expiries: BTreeSet<(u64, String)>,
    pub(crate) last_version: u64,
}

impl KeyTable {
    pub(crate) fn get(&self, now: u64, key: &str) -> Option<Entry> {
        self.live(now, key).map(|stored| stored.entry(now))
    }

    /// Writes a record if the expectation holds, and returns its version.
    pub(crate) fn put(
        &mut self,
        now: u64,
        key: &str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Result<u64, Conflict> {
        self.check(now, key, expected)?;
        self.last_version += 1;
        let version = self.last_version;
        let expires_at = ttl.map(|ttl| now.saturating_add(milliseconds(ttl)));
        self.replace(key, Some(Stored { value, version, expires_at }));
        Ok(version)
    }

    pub(crate) fn delete(
        &mut self,
        now: u64,
        key: &str,
        expected: Expected,
    ) -> Result<bool, Conflict> {
        self.check(now, key, expected)?;
        let is_there = self.live(now, key).is_some();
        self.replace(key, None);
        Ok(is_there)
    }

    pub(crate) fn increment(
        &mut self,
        now: u64,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<(i64, u64), IncrementError> {
        let (before, expires_at) = match self.live(now, key) {
            Some(stored) => (number(&stored.value)?, stored.expires_at),
            None => (0, ttl.map(|ttl| now.saturating_add(milliseconds(ttl)))),
        };
        let sum = before.checked_add(by).ok_or(IncrementError::Overflow)?;
        self.last_version += 1;
        let version = self.last_version;
        self.replace(key, Some(Stored { value: sum.to_string().into(), version, expires_at }));
        Ok((sum, version))
    }

    pub(crate) fn list(
        &self,
        now: u64,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Entry)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.records.range::<str, _>((from, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        let live = found.filter(|(_, stored)| stored.is_live(now));
        live.take(limit).map(|(key, stored)| (key.clone(), stored.entry(now))).collect()
    }

    /// Returns a record as it is stored, expired or not.
    pub(crate) fn stored(&self, key: &str) -> Option<&Stored> {
        self.records.get(key)
    }

    /// Sets a record as it is stored.
    pub(crate) fn replace(&mut self, key: &str, to: Option<Stored>) {
        if let Some(expires_at) = to.as_ref().and_then(|stored| stored.expires_at) {
            self.expiries.insert((expires_at, key.to_owned()));
        }
        let before = match to {
            Some(stored) => {
                let expires_at = stored.expires_at;
                let before = self.records.insert(key.to_owned(), stored);
                before.filter(|before| before.expires_at != expires_at)
            }
            None => self.records.remove(key),
        };
        if let Some(expires_at) = before.and_then(|before| before.expires_at) {
            self.expiries.remove(&(expires_at, key.to_owned()));
        }
    }

    /// Returns some keys of expired records, which the caller removes.
    pub(crate) fn expired(&self, now: u64) -> Vec<String> {
        let expired = self.expiries.iter().take_while(|(at, _)| *at <= now);
        expired.take(SWEPT_AT_A_TIME).map(|(_, key)| key.clone()).collect()
    }

    fn live(&self, now: u64, key: &str) -> Option<&Stored> {
        self.records.get(key).filter(|stored| stored.is_live(now))
    }

    fn check(&self, now: u64, key: &str, expected: Expected) -> Result<(), Conflict> {
        let current = self.live(now, key).map(|stored| stored.version);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current == Some(version),
        };
        if holds { Ok(()) } else { Err(Conflict(current)) }
    }
}

/// Reads a decimal integer as Redis writes it: no sign but `-`, no zeros before it.
pub(crate) fn number(value: &[u8]) -> Result<i64, IncrementError> {
    let text = std::str::from_utf8(value).map_err(|_| IncrementError::NotANumber)?;
    let number: i64 = text.parse().map_err(|_| IncrementError::NotANumber)?;
    if number.to_string() == text { Ok(number) } else { Err(IncrementError::NotANumber) }
}
