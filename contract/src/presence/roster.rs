//! The presence list of one room. It is pure: its caller gives it the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use super::messages::{self, Diff, Entries, Meta};
use super::{charge, key_bytes, meta_bytes};

/// The presence list of one room. `I` names a connection, `T` is a point in time.
#[derive(Debug)]
pub struct Roster<I, T> {
    entries: BTreeMap<Arc<str>, Entry<I, T>>,
    /// Key of each connection that is tracked.
    keys: HashMap<I, Arc<str>>,
    /// Times at which entries without a connection end, one for each such entry.
    expiries: BTreeSet<(T, Arc<str>)>,
    sequence: u64,
    bytes: usize,
    /// Changes since the last diff: keys, with their state then.
    changed: Changes,
}

/// Keys that have changed, with their state before.
pub type Changes = BTreeMap<Arc<str>, Before>;

/// The state of a key that its watchers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// The key was absent.
    Absent,
    /// The key was present with this metadata.
    Present(Vec<Meta>),
    /// Watchers know different states: some have seen the list while it was changing.
    Various,
}

#[derive(Debug)]
struct Entry<I, T> {
    /// Metadata by connection, in ascending order of their ids.
    metas: Vec<(I, Meta)>,
    /// Bytes of all metadata, so that a change need not add them up again.
    meta_bytes: usize,
    /// End of an entry without connections, which stays until then with its last metadata.
    until: Option<T>,
}

impl<I, T> Default for Entry<I, T> {
    fn default() -> Entry<I, T> {
        Entry { metas: Vec::new(), meta_bytes: 0, until: None }
    }
}

impl<I: Copy + Ord, T> Entry<I, T> {
    fn shown(&self) -> Vec<Meta> {
        self.metas.iter().map(|(_, meta)| meta.clone()).collect()
    }

    fn bytes(&self, key: &str) -> usize {
        key_bytes(key) + self.meta_bytes
    }

    fn of(&self, id: I) -> Option<&Meta> {
        let at = self.metas.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        self.metas.get(at).map(|(_, meta)| meta)
    }

    /// Puts a connection's metadata in its place. Returns true if that changed anything.
    fn put(&mut self, id: I, meta: &Meta) -> bool {
        match self.metas.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(at) => match self.metas.get_mut(at) {
                Some((_, known)) if *known != *meta => {
                    self.meta_bytes += meta_bytes(meta);
                    self.meta_bytes -= meta_bytes(known);
                    *known = meta.clone();
                    true
                }
                _ => false,
            },
            Err(at) => {
                self.meta_bytes += meta_bytes(meta);
                self.metas.insert(at, (id, meta.clone()));
                true
            }
        }
    }

    fn take(&mut self, id: I) {
        if let Ok(at) = self.metas.binary_search_by_key(&id, |(known, _)| *known) {
            let (_, meta) = self.metas.remove(at);
            self.meta_bytes -= meta_bytes(&meta);
        }
    }

    fn clear(&mut self) {
        self.metas.clear();
        self.meta_bytes = 0;
    }
}

/// The changes that an event that has not committed yet makes about its own connection.
#[derive(Clone, Debug)]
pub struct OwnChanges<I> {
    /// Connection.
    pub id: I,
    /// Key and metadata that it tracks itself with; `None` for absent.
    pub track: Option<(Arc<str>, Meta)>,
}

impl<I, T> Default for Roster<I, T> {
    fn default() -> Roster<I, T> {
        Roster {
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            expiries: BTreeSet::new(),
            sequence: 0,
            bytes: 0,
            changed: Changes::new(),
        }
    }
}

impl<I: Copy + Ord + Hash, T: Copy + Ord + Add<Duration, Output = T>> Roster<I, T> {
    /// Makes an empty list whose numbers go on from another's.
    pub fn after(sequence: u64) -> Roster<I, T> {
        Roster { sequence, ..Roster::default() }
    }

    /// Returns the message for a new watcher: the whole list.
    pub fn message(&self, room: &str) -> String {
        messages::state(room, self.sequence, &self.page(None, usize::MAX, None))
    }

    /// Returns the number of changes of the list.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the bytes that the list takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns true if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the key that a connection is tracked under.
    pub fn key(&self, id: I) -> Option<&Arc<str>> {
        self.keys.get(&id)
    }

    /// Returns the key and the metadata of a connection.
    pub fn entry(&self, id: I) -> Option<(Arc<str>, Meta)> {
        let key = self.keys.get(&id)?;
        let meta = self.entries.get(key)?.of(id)?;
        Some((key.clone(), meta.clone()))
    }

    /// Returns all connections with their keys and metadata.
    pub fn all(&self) -> impl Iterator<Item = (I, Arc<str>, Meta)> {
        let with_entry = |id: &I| self.entry(*id).map(|(key, meta)| (*id, key, meta));
        self.keys.keys().filter_map(with_entry)
    }

    /// Returns the bytes that a connection takes, counted as [`charge`] does.
    pub fn charge_of(&self, id: I) -> usize {
        let Some(key) = self.keys.get(&id) else { return 0 };
        let meta = self.entries.get(key).and_then(|entry| entry.of(id));
        meta.map_or(0, |meta| charge(key, meta))
    }

    /// Returns the number of keys with a connection.
    pub fn count(&self, own: Option<&OwnChanges<I>>) -> usize {
        let live = self.entries.len() - self.expiries.len();
        let Some(own) = own else { return live };
        let key = own.track.as_ref().map(|(key, _)| key);
        let old = self.keys.get(&own.id);
        let is_live = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| e.until.is_none());
        let is_last = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| e.metas.len() == 1);
        let leaves = old.is_some_and(|old| key != Some(old) && is_last(old));
        let joins = key.is_some_and(|key| !is_live(key));
        live + usize::from(joins) - usize::from(leaves)
    }

    /// Returns at most `limit` entries in the order of their keys, beginning after `after`.
    pub fn page(&self, after: Option<&str>, limit: usize, own: Option<&OwnChanges<I>>) -> Entries {
        let is_after = |key: &str| after.is_none_or(|after| key > after);
        let mut page = Entries::new();
        let mut own_track = own
            .and_then(|own| own.track.clone())
            .filter(|(key, _)| is_after(key) && !self.entries.contains_key(key));
        let range = match after {
            Some(after) => self
                .entries
                .range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)),
            None => self.entries.range::<str, _>(..),
        };
        for (key, entry) in range {
            if let Some((own_key, meta)) = own_track.take_if(|(own_key, _)| *own_key < *key) {
                page.push((own_key, vec![meta]));
            }
            if page.len() >= limit {
                break;
            }
            let metas = shown_with(key, entry, own);
            if !metas.is_empty() {
                page.push((key.clone(), metas));
            }
        }
        page.extend(own_track.map(|(key, meta)| (key, vec![meta])));
        page.truncate(limit);
        page
    }

    /// Tracks a connection under a key, and no longer under another.
    pub fn track(&mut self, id: I, key: &Arc<str>, meta: &Meta) {
        if self.keys.get(&id).is_some_and(|old| old != key) {
            self.untrack(id);
        }
        self.keys.insert(id, key.clone());
        self.change(key, |entry| {
            if entry.until.take().is_some() {
                // A connection is back. The list showed the last state of others meanwhile.
                let is_same = matches!(&entry.metas[..], [(_, last)] if last == meta);
                entry.clear();
                entry.put(id, meta);
                return !is_same;
            }
            entry.put(id, meta)
        });
    }

    /// Removes a connection from the list.
    pub fn untrack(&mut self, id: I) {
        if let Some(key) = self.keys.remove(&id) {
            self.change(&key, |entry| {
                entry.take(id);
                true
            });
        }
    }

    /// Removes a connection of which nothing is known any more, which is no change of the list to tell of.
    pub fn forget(&mut self, id: I) {
        let Some(key) = self.keys.get(&id).cloned() else { return };
        let was_changed = self.changed.contains_key(&key);
        self.untrack(id);
        if !was_changed {
            self.changed.remove(&key);
        }
    }

    /// Ends a connection. If it was the last one behind its key, the entry stays for `grace`, so
    /// that a client that comes back in time was never away.
    pub fn end(&mut self, id: I, now: T, grace: Duration) {
        let is_last = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| e.metas.len() == 1);
        if grace.is_zero() || !self.keys.get(&id).is_some_and(is_last) {
            return self.untrack(id);
        }
        if let Some(key) = self.keys.remove(&id) {
            let until = now + grace;
            self.change(&key, |entry| {
                entry.until = Some(until);
                false
            });
        }
    }

    /// Returns the earliest time at which an entry ends.
    pub fn next_expiry(&self) -> Option<T> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Removes the entries whose time is over.
    pub fn expire(&mut self, now: T) {
        while self.next_expiry().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.change(&key, |entry| {
                entry.until = None;
                entry.clear();
                true
            });
        }
    }

    /// Takes the changes since the last call, without those that were undone.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.changed);
        self.keep_net(&mut changes);
        changes
    }

    /// Removes the changes of keys that have their former state again.
    pub fn keep_net(&self, changes: &mut Changes) {
        changes.retain(|key, before| match (before, self.shown(key)) {
            (Before::Various, _) => true,
            (Before::Absent, now) => now.is_some(),
            (Before::Present(before), now) => now.as_ref() != Some(before),
        });
    }

    /// Notes that a watcher gets the list as it is now, between two diffs: changes so far are told
    /// to all, even if they are undone.
    pub fn shown_between(&mut self) {
        self.changed.values_mut().for_each(|before| *before = Before::Various);
    }

    /// Returns the present state of those of these keys that have changed since the last diff. It is what somebody
    /// knows who is told of them now, while the next diff begins with their state before.
    pub fn known_between(&self, keys: &Changes) -> Changes {
        let changed = keys.keys().filter(|key| self.changed.contains_key(*key));
        let known = |key: &Arc<str>| match self.shown(key) {
            Some(metas) => (key.clone(), Before::Present(metas)),
            None => (key.clone(), Before::Absent),
        };
        changed.map(known).collect()
    }

    /// Returns true if something may have changed since then.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Returns the present state of these keys.
    pub fn diff(&self, changes: &Changes) -> Diff {
        let mut diff = Diff { sequence: self.sequence, ..Diff::default() };
        for key in changes.keys() {
            match self.shown(key) {
                Some(metas) => diff.joins.push((key.clone(), metas)),
                None => diff.leaves.push(key.clone()),
            }
        }
        diff
    }

    fn shown(&self, key: &str) -> Option<Vec<Meta>> {
        self.entries.get(key).map(|entry| entry.shown())
    }

    /// Changes an entry, and notes the change. `change` returns true if the list shows it.
    fn change(&mut self, key: &Arc<str>, change: impl FnOnce(&mut Entry<I, T>) -> bool) {
        let entry = self.entries.entry(key.clone()).or_default();
        let is_new = entry.metas.is_empty();
        let before = match self.changed.contains_key(key) {
            true => None,
            false if is_new => Some(Before::Absent),
            false => Some(Before::Present(entry.shown())),
        };
        if !is_new {
            self.bytes -= entry.bytes(key);
        }
        let until = entry.until;
        let is_shown = change(entry);
        if until != entry.until {
            self.expiries.extend(entry.until.map(|until| (until, key.clone())));
            if let Some(until) = until {
                self.expiries.remove(&(until, key.clone()));
            }
        }
        if entry.metas.is_empty() {
            self.entries.remove(key);
        } else {
            self.bytes += entry.bytes(key);
        }
        if is_shown {
            self.sequence += 1;
            if let Some(before) = before {
                self.changed.insert(key.clone(), before);
            }
        }
    }
}

/// Returns the metadata of an entry for an event that has changed something about its own
/// connection.
fn shown_with<I: Copy + Ord, T>(
    key: &Arc<str>,
    entry: &Entry<I, T>,
    own: Option<&OwnChanges<I>>,
) -> Vec<Meta> {
    let Some(own) = own else { return entry.shown() };
    let track = own.track.as_ref().filter(|(own_key, _)| own_key == key);
    match track {
        // The connection comes back to an entry that has only its last metadata.
        Some((_, meta)) if entry.until.is_some() => vec![meta.clone()],
        None if entry.until.is_some() => entry.shown(),
        _ => {
            let mut metas: Vec<_> =
                entry.metas.iter().filter(|(known, _)| *known != own.id).cloned().collect();
            if let Some((_, meta)) = track {
                let at = metas.partition_point(|(known, _)| *known < own.id);
                metas.insert(at, (own.id, meta.clone()));
            }
            metas.into_iter().map(|(_, meta)| meta).collect()
        }
    }
}

#[cfg(test)]
mod tests;
