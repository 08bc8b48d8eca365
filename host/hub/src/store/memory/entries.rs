//! The entries of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use wharf_contract::CallRefusal;
use wharf_contract::store::entry_bytes;
use wharf_engine::Written;

use super::SWEEP;

/// The entries, by their keys and by their times of expiry.
#[derive(Default)]
pub(super) struct StoredEntries {
    by_key: BTreeMap<Arc<str>, StoredValue>,
    /// Entries that will expire, soonest first.
    by_expiry: BTreeSet<(Instant, Arc<str>)>,
    pub(super) bytes: usize,
    /// The version of the last write.
    pub(super) last_version: u64,
    /// The part that only recorded entries need.
    pub(super) recording: Option<Box<Recording>>,
}

/// The changes that are to be recorded, and those that are not recorded yet.
#[derive(Default)]
pub(super) struct Recording {
    /// The entries before the step that is being performed, in the order of its changes.
    pub(super) before: Vec<(Arc<str>, Option<StoredValue>)>,
    /// The last of all writes, if it may not be on disk yet.
    pub(super) last: Option<Written>,
}

#[derive(Clone)]
pub(super) struct StoredValue {
    pub(super) value: Bytes,
    pub(super) version: u64,
    pub(super) expires: Option<Instant>,
}

impl StoredValue {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl StoredEntries {
    /// Returns the entry, unless it has expired.
    pub(super) fn live(&self, key: &str, now: Instant) -> Option<&StoredValue> {
        self.by_key.get(key).filter(|kept| kept.is_live(now))
    }

    /// Returns the entry, also if it has expired.
    pub(super) fn stored(&self, key: &str) -> Option<&StoredValue> {
        self.by_key.get(key)
    }

    /// Returns the entries whose keys begin with `prefix` in the order of their keys, beginning after
    /// `after`.
    pub(super) fn listed<'a>(
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
    pub(super) fn put(
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
        self.last_version += 1;
        let version = self.last_version;
        self.change(key.into(), Some(StoredValue { value, version, expires }));
        Ok(version)
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some((key, _)) = self.by_key.get_key_value(key) {
            self.change(key.clone(), None);
        }
    }

    /// Changes an entry, and notes the one before if entries are recorded.
    fn change(&mut self, key: Arc<str>, to: Option<StoredValue>) {
        let before = self.replace(&key, to);
        if let Some(recording) = &mut self.recording {
            recording.before.push((key, before));
        }
    }

    /// Replaces an entry. Returns the one before.
    pub(super) fn replace(
        &mut self,
        key: &Arc<str>,
        to: Option<StoredValue>,
    ) -> Option<StoredValue> {
        let before = self.by_key.remove(key);
        if let Some(before) = &before {
            self.bytes -= entry_bytes(key, &before.value);
            if let Some(expires) = before.expires {
                self.by_expiry.remove(&(expires, key.clone()));
            }
        }
        if let Some(kept) = to {
            self.bytes += entry_bytes(key, &kept.value);
            if let Some(expires) = kept.expires {
                self.by_expiry.insert((expires, key.clone()));
            }
            self.by_key.insert(key.clone(), kept);
        }
        before
    }

    /// Drops expired entries, at most `most`. Returns their number.
    pub(super) fn drop_expired(&mut self, now: Instant, most: usize) -> usize {
        let mut dropped = 0;
        while dropped < most
            && let Some((expires, _)) = self.by_expiry.first()
            && *expires <= now
            && let Some((_, key)) = self.by_expiry.pop_first()
        {
            self.change(key, None);
            dropped += 1;
        }
        dropped
    }
}
