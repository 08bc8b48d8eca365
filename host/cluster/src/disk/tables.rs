//! The tables with their records: each change of memory is also one of the folder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use wharf_engine::{Change, Kind, Records, Undo, Written};

use super::changes;
use crate::error::Unavailable;
use crate::tables::keys::{KeyTable, Stored};
use crate::tables::leases::{Lease, LeaseTable};
use crate::tables::logs::{Appended, Log, LogTable};

/// A table with its records. The last write is remembered, so that nobody sees a state that is not written.
#[derive(Debug)]
pub(super) struct Recorded<T> {
    records: Records,
    table: Arc<Mutex<T>>,
    last: Mutex<Option<Written>>,
}

impl<T: Send + 'static> Recorded<T> {
    fn new(records: Records, table: T) -> Recorded<T> {
        Recorded { records, table: Arc::new(Mutex::new(table)), last: Mutex::new(None) }
    }

    /// Reads from the table, when all that can be seen in it is written.
    pub(super) async fn read<A>(&self, read: impl FnOnce(&T, u64) -> A) -> Result<A, Unavailable> {
        let (answer, last) = {
            let table = self.table.lock();
            (read(&table, now()), self.last.lock().clone())
        };
        if let Some(last) = last {
            last.wait().await?;
        }
        Ok(answer)
    }

    /// Changes the table, and returns the write of its changes, if there are some.
    fn write<A>(
        &self,
        change: impl FnOnce(&mut T, u64) -> (A, Vec<Change>, Option<UndoOf<T>>),
    ) -> Result<(A, Option<Written>), Unavailable> {
        let mut table = self.table.lock();
        let (answer, changes, undo) = change(&mut table, now());
        if changes.is_empty() {
            return Ok((answer, self.last.lock().clone()));
        }
        let undo = Arc::new(Mutex::new(undo));
        let later: Undo = {
            let (table, undo) = (self.table.clone(), undo.clone());
            Box::new(move || {
                if let Some(undo) = undo.lock().take() {
                    undo(&mut table.lock());
                }
            })
        };
        match self.records.write(changes, Some(later)) {
            Ok(written) => {
                *self.last.lock() = Some(written.clone());
                Ok((answer, Some(written)))
            }
            Err(why) => {
                if let Some(undo) = undo.lock().take() {
                    undo(&mut table);
                }
                Err(why.into())
            }
        }
    }
}

type UndoOf<T> = Box<dyn FnOnce(&mut T) + Send>;

impl Recorded<KeyTable> {
    pub(super) fn load(records: Records) -> Result<Recorded<KeyTable>, Unavailable> {
        let mut table = KeyTable::default();
        table.last_version = floor();
        records.load(Kind::Store, |key, record| {
            table.last_version = table.last_version.max(record.version);
            if let Some(key) = std::str::from_utf8(&key).ok().filter(|key| !key.is_empty()) {
                let stored = Stored {
                    value: record.value,
                    version: record.version,
                    expires_at: record.expires_at,
                };
                table.replace(key, Some(stored));
            }
        })?;
        Ok(Recorded::new(records, table))
    }

    /// Changes one key, and some that have expired.
    pub(super) async fn change<A, E>(
        &self,
        key: &str,
        change: impl FnOnce(&mut KeyTable, u64) -> Result<A, E>,
    ) -> Result<Result<A, E>, Unavailable> {
        let (answer, written) = self.write(|table, now| {
            let before = table.stored(key).cloned();
            let answer = change(table, now);
            if answer.is_err() {
                return (answer, Vec::new(), None);
            }
            let mut undone: Vec<(String, Option<Stored>)> = vec![(key.to_owned(), before)];
            for expired in table.expired(now) {
                undone.push((expired.clone(), table.stored(&expired).cloned()));
                table.replace(&expired, None);
            }
            let mut writes: Vec<Change> =
                undone.iter().map(|(key, _)| changes::key(key, table.stored(key))).collect();
            writes.push(changes::last_number(table.last_version));
            let undo: UndoOf<KeyTable> = Box::new(move |table| {
                for (key, before) in undone.into_iter().rev() {
                    table.replace(&key, before);
                }
            });
            (answer, writes, Some(undo))
        })?;
        if let Some(written) = written {
            written.wait().await?;
        }
        Ok(answer)
    }
}

impl Recorded<LeaseTable> {
    pub(super) fn load(records: Records) -> Result<Recorded<LeaseTable>, Unavailable> {
        let mut table = LeaseTable::default();
        table.last_fence = floor();
        records.load(Kind::Store, |name, record| {
            table.last_fence = table.last_fence.max(record.version);
            let name = std::str::from_utf8(&name).ok().filter(|name| !name.is_empty());
            let holder = std::str::from_utf8(&record.value).ok();
            if let (Some(name), Some(holder)) = (name, holder) {
                let lease = Lease {
                    holder: holder.to_owned(),
                    fence: record.version,
                    expires_at: record.expires_at.unwrap_or(0),
                };
                table.replace(name, Some(lease));
            }
        })?;
        Ok(Recorded::new(records, table))
    }

    /// Changes one lease, and removes some that have ended.
    pub(super) async fn change<A>(
        &self,
        name: &str,
        change: impl FnOnce(&mut LeaseTable, u64) -> A,
    ) -> Result<A, Unavailable> {
        let (answer, written) = self.write(|table, now| {
            let before = table.stored(name).cloned();
            let answer = change(table, now);
            let mut writes = Vec::new();
            if table.stored(name) != before.as_ref() {
                writes.push(changes::lease(name, table.stored(name)));
                writes.push(changes::last_number(table.last_fence));
                // Those that have ended need not come back.
                writes.extend(table.sweep(now).iter().map(|name| changes::lease(name, None)));
            }
            let name = name.to_owned();
            let undo: UndoOf<LeaseTable> = Box::new(move |table| table.replace(&name, before));
            (answer, writes, Some(undo))
        })?;
        if let Some(written) = written {
            written.wait().await?;
        }
        Ok(answer)
    }
}

impl Recorded<LogTable> {
    pub(super) fn load(
        records: Records,
        mut epoch: impl FnMut() -> u64,
    ) -> Result<Recorded<LogTable>, Unavailable> {
        let mut logs: HashMap<String, Log> = HashMap::new();
        let era = records.era();
        records.load(Kind::Log, |name, record| {
            let name = std::str::from_utf8(&name).ok().map(str::to_owned);
            if let (Some(name), Some((mut log, written_in))) = (name, changes::read_head(&record)) {
                if written_in != era {
                    // The last entries may be lost, and their offsets given again.
                    log.epoch = epoch();
                }
                logs.insert(name, log);
            }
        })?;
        let mut orphans = Vec::new();
        let mut entries: HashMap<String, BTreeMap<u64, (u64, Bytes)>> = HashMap::new();
        records.load(Kind::History, |key, record| match changes::read_entry(&key, &record) {
            Some((name, offset, at, entry)) if logs.contains_key(&name) => {
                entries.entry(name).or_default().insert(offset, (at, entry));
            }
            _ => orphans.push((Kind::History, key)),
        })?;
        let mut table = LogTable::default();
        for (name, mut log) in logs {
            let found = entries.remove(&name).unwrap_or_default();
            // The last ones without a hole. Others are left of writes that failed.
            let mut expected = log.last;
            for (offset, kept) in found.into_iter().rev() {
                if offset != expected || offset == 0 {
                    orphans.push((Kind::History, changes::entry(&name, offset, None).key));
                    continue;
                }
                expected -= 1;
                log.bytes += kept.1.len() as u64;
                log.entries.push_front(kept);
            }
            table.insert(&name, log);
        }
        records.delete_later(orphans);
        let recorded = Recorded::new(records, table);
        recorded.write_heads()?;
        Ok(recorded)
    }

    /// Writes the heads again, which have this era from now on.
    fn write_heads(&self) -> Result<(), Unavailable> {
        let era = self.records.era();
        self.write(|table, _| {
            let heads = table.all().map(|(name, log)| changes::head(name, Some((log, era))));
            ((), heads.collect(), None)
        })?;
        Ok(())
    }

    /// Appends an entry. The caller waits for the write, and publishes.
    pub(super) fn append(
        &self,
        name: &str,
        entry: &Bytes,
        bounds: &crate::logs::Bounds,
        epoch: u64,
    ) -> Result<(crate::logs::Position, Option<Written>), Unavailable> {
        let era = self.records.era();
        self.write(|table, now| {
            let mut writes = Vec::new();
            for ended in table.ended(now, name) {
                writes.extend(removal(table, &ended));
            }
            let appended: Appended = table.append(now, name, entry.clone(), bounds, epoch);
            let position = appended.position;
            let at = table.get(name).map_or(now, |log| log.touched);
            writes.push(changes::head(name, table.get(name).map(|log| (log, era))));
            writes.push(changes::entry(name, position.offset, Some((at, entry))));
            let (front, dropped) = &appended.dropped;
            let dropped = (*front..).zip(dropped).map(|(offset, _)| offset);
            writes.extend(dropped.map(|offset| changes::entry(name, offset, None)));
            let name = name.to_owned();
            let undo: UndoOf<LogTable> = Box::new(move |table| table.take_back(&name, appended));
            (position, writes, Some(undo))
        })
    }

    pub(super) async fn remove(&self, name: &str) -> Result<bool, Unavailable> {
        let (is_removed, written) = self.write(|table, now| {
            let has_ended = table.ended(now, name).iter().any(|ended| ended == name);
            let before = table.get(name).cloned();
            let writes = removal(table, name);
            let is_removed = before.is_some() && !has_ended;
            let name = name.to_owned();
            let undo: UndoOf<LogTable> = Box::new(move |table| {
                if let Some(before) = before {
                    table.insert(&name, before);
                }
            });
            (is_removed, writes, Some(undo))
        })?;
        if let Some(written) = written {
            written.wait().await?;
        }
        Ok(is_removed)
    }
}

/// Removes a log, and returns the changes of its records.
fn removal(table: &mut LogTable, name: &str) -> Vec<Change> {
    let Some(log) = table.remove(name) else { return Vec::new() };
    let first = (log.last + 1).saturating_sub(log.entries.len() as u64);
    let entries = (first..=log.last).map(|offset| changes::entry(name, offset, None));
    entries.chain([changes::head(name, None)]).collect()
}

/// Returns the milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    crate::tables::milliseconds(now)
}

/// Returns the number from which versions and fencing numbers go on: the microseconds since 1970, which grow faster
/// than any node gives numbers. So none is given twice after a loss of power either.
fn floor() -> u64 {
    now().saturating_mul(1_000)
}
