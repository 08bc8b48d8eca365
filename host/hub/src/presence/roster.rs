//! The list of who is present in one room. Pure: it is told the time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use wharf_contract::presence::{charge, key_bytes, meta_bytes};

use crate::connection_id::ConnectionId;

use super::messages::{Diff, Entries, Meta};

/// Who is present in one room.
#[derive(Debug, Default)]
pub struct Roster {
    entries: BTreeMap<Arc<str>, Entry>,
    /// The key of each connection that is tracked.
    keys: HashMap<ConnectionId, Arc<str>>,
    /// When entries without a connection go, soonest first. Those that a connection came back to
    /// in time are passed over.
    expiries: VecDeque<(Instant, Arc<str>)>,
    /// How many entries have no connection.
    lingering: usize,
    sequence: u64,
    bytes: usize,
    /// What has changed since the last diff: keys, and what they were then.
    changed: Changes,
}

/// Keys that have changed, and what they were before.
pub type Changes = BTreeMap<Arc<str>, Before>;

/// What those who are told of a change know of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// It was absent.
    Absent,
    /// It was present with this metadata.
    Present(Vec<Meta>),
    /// Not all of them know the same: some have seen the list while it was changing.
    Various,
}

#[derive(Debug, Default)]
struct Entry {
    /// By connection, in ascending order of their ids.
    metas: Vec<(ConnectionId, Meta)>,
    /// There is no connection any more: the entry stays until then, as it was last.
    until: Option<Instant>,
}

impl Entry {
    fn shown(&self) -> Vec<Meta> {
        self.metas.iter().map(|(_, meta)| meta.clone()).collect()
    }

    fn bytes(&self, key: &str) -> usize {
        let metas: usize = self.metas.iter().map(|(_, meta)| meta_bytes(meta)).sum();
        key_bytes(key) + metas
    }

    /// Put a connection's metadata in its place. Whether that changed anything.
    fn put(&mut self, id: ConnectionId, meta: &Meta) -> bool {
        match self.metas.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(at) if self.metas[at].1 == *meta => false,
            Ok(at) => {
                self.metas[at].1 = meta.clone();
                true
            }
            Err(at) => {
                self.metas.insert(at, (id, meta.clone()));
                true
            }
        }
    }

    fn take(&mut self, id: ConnectionId) {
        self.metas.retain(|(known, _)| *known != id);
    }
}

/// What an event that has not committed yet changes about its own connection.
#[derive(Clone, Debug)]
pub struct Own {
    /// The connection.
    pub id: ConnectionId,
    /// What it tracks itself with, `None` for no longer.
    pub track: Option<(Arc<str>, Meta)>,
}

impl Roster {
    /// An empty list whose numbers go on from another's.
    pub fn after(sequence: u64) -> Roster {
        Roster { sequence, ..Roster::default() }
    }

    /// Counts the changes of the list.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the list takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nobody is present, and nobody's entry lingers.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key that a connection is tracked under.
    pub fn key(&self, id: ConnectionId) -> Option<&Arc<str>> {
        self.keys.get(&id)
    }

    /// What a connection takes, in bytes, counted as [`charge`] does.
    pub fn charge_of(&self, id: ConnectionId) -> usize {
        let Some(key) = self.keys.get(&id) else { return 0 };
        let metas = self.entries.get(key).map(|entry| &entry.metas);
        let meta = metas.into_iter().flatten().find(|(known, _)| *known == id);
        meta.map_or(0, |(_, meta)| charge(key, meta))
    }

    /// How many keys have a connection.
    pub fn count(&self, own: Option<&Own>) -> usize {
        let live = self.entries.len() - self.lingering;
        let Some(own) = own else { return live };
        let key = own.track.as_ref().map(|(key, _)| key);
        let old = self.keys.get(&own.id);
        let is_live = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| e.until.is_none());
        let is_last = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| e.metas.len() == 1);
        let leaves = old.is_some_and(|old| key != Some(old) && is_last(old));
        let joins = key.is_some_and(|key| !is_live(key));
        live + usize::from(joins) - usize::from(leaves)
    }

    /// Entries in the order of their keys: those after `after`, at most `limit`.
    pub fn page(&self, after: Option<&str>, limit: usize, own: Option<&Own>) -> Entries {
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

    /// Track a connection under a key; no longer under another.
    pub fn track(&mut self, id: ConnectionId, key: &Arc<str>, meta: &Meta) {
        if self.keys.get(&id).is_some_and(|old| old != key) {
            self.untrack(id);
        }
        self.keys.insert(id, key.clone());
        self.change(key, |entry| {
            if entry.until.take().is_some() {
                // Somebody is back; what was shown meanwhile was the last state of others.
                let is_same = matches!(&entry.metas[..], [(_, last)] if last == meta);
                entry.metas = vec![(id, meta.clone())];
                return !is_same;
            }
            entry.put(id, meta)
        });
    }

    /// Track a connection no longer.
    pub fn untrack(&mut self, id: ConnectionId) {
        if let Some(key) = self.keys.remove(&id) {
            self.change(&key, |entry| {
                entry.take(id);
                true
            });
        }
    }

    /// A connection has ended. If it was the last one behind its key, the entry stays for
    /// `grace`, so that whoever comes back in time was never away.
    pub fn end(&mut self, id: ConnectionId, now: Instant, grace: Duration) {
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
            self.expiries.push_back((until, key));
        }
    }

    /// When the next entry goes, at the soonest.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries.front().map(|(at, _)| *at)
    }

    /// Let go of the entries whose time is over.
    pub fn expire(&mut self, now: Instant) {
        while let Some((at, key)) = self.expiries.pop_front_if(|(at, _)| *at <= now) {
            if self.entries.get(&key).is_some_and(|entry| entry.until == Some(at)) {
                self.change(&key, |entry| {
                    entry.until = None;
                    entry.metas.clear();
                    true
                });
            }
        }
    }

    /// What has changed since this was last called, less what has changed back.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.changed);
        self.keep_net(&mut changes);
        changes
    }

    /// Forget the changes of keys that are again what they were.
    pub fn keep_net(&self, changes: &mut Changes) {
        changes.retain(|key, before| match (before, self.shown(key)) {
            (Before::Various, _) => true,
            (Before::Absent, now) => now.is_some(),
            (Before::Present(before), now) => now.as_ref() != Some(before),
        });
    }

    /// Somebody is shown the list as it is now, in between two diffs: what has changed is told
    /// to all, even if it changes back.
    pub fn shown_between(&mut self) {
        self.changed.values_mut().for_each(|before| *before = Before::Various);
    }

    /// Whether something may have changed since then.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// How these keys are now.
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
        self.entries.get(key).map(Entry::shown)
    }

    /// Change an entry, and note what that does. `change` says whether the list shows it.
    fn change(&mut self, key: &Arc<str>, change: impl FnOnce(&mut Entry) -> bool) {
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
        self.lingering -= usize::from(entry.until.is_some());
        let is_shown = change(entry);
        self.lingering += usize::from(entry.until.is_some());
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

/// What an entry shows to an event that has changed something about its own connection.
fn shown_with(key: &Arc<str>, entry: &Entry, own: Option<&Own>) -> Vec<Meta> {
    let Some(own) = own else { return entry.shown() };
    let track = own.track.as_ref().filter(|(own_key, _)| own_key == key);
    match track {
        // It comes back to an entry that lingers, where no connection is.
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
