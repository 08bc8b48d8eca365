//! A store whose entries are recorded on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use wharf_contract::CallRefusal;
use wharf_engine::records::LAST_VERSION;
use wharf_engine::{Change, Kind, Record, Records, Unavailable, Written};

use super::entries::{StoredEntries, StoredValue};
use super::{Clocks, Memory};
use crate::store::StoreAnswer;
use crate::time_of_day::milliseconds;

impl Memory {
    /// Makes a store with the recorded entries, and clocks of the caller's.
    pub(crate) fn recorded_with_clocks(
        max_bytes: usize,
        records: Records,
        clocks: Clocks,
    ) -> Result<Memory, Unavailable> {
        let mut entries = StoredEntries::default();
        let (now, unix_now) = ((clocks.monotonic)(), (clocks.unix_ms)());
        records.load(Kind::Store, |key, record| {
            // A version is never used twice, not even that of a deleted entry.
            entries.last_version = entries.last_version.max(record.version);
            let Ok(key) = std::str::from_utf8(&key) else { return };
            if key != LAST_VERSION {
                // An entry that has expired meanwhile is dropped like any other: nothing is written here,
                // where the load may be given up while it goes on.
                let expires = record.expires_at.and_then(|at| {
                    now.checked_add(Duration::from_millis(at.saturating_sub(unix_now)))
                });
                let kept = StoredValue { value: record.value, version: record.version, expires };
                entries.replace(&Arc::from(key), Some(kept));
            }
        })?;
        entries.recording = Some(Box::default());
        let entries = Arc::new(Mutex::new(entries));
        Ok(Memory { max_bytes, clocks, entries, records: Some(records) })
    }

    /// Records the changes of a step, and answers when they are on disk.
    pub(super) fn record<'a, T: Send + 'a>(
        &self,
        records: &Records,
        mut entries: MutexGuard<'_, StoredEntries>,
        now: Instant,
        answer: Result<T, CallRefusal>,
    ) -> StoreAnswer<'a, T> {
        let written = self.write(records, &mut entries, now);
        drop(entries);
        Box::pin(async move {
            if let Some(written) = written.map_err(refusal)? {
                written.wait().await.map_err(refusal)?;
            }
            answer
        })
    }

    /// Records that expired entries were dropped. Nobody waits for it: what is not deleted now is
    /// dropped when it is loaded. Returns false if it cannot be recorded; then nothing is dropped.
    pub(super) fn record_expired(
        &self,
        records: &Records,
        entries: &mut StoredEntries,
        now: Instant,
    ) -> bool {
        self.write(records, entries, now).is_ok()
    }

    /// Returns the last of all writes, if it may not be on disk yet. Groups are decided in their order.
    pub(super) fn last_write(&self) -> Option<Written> {
        let mut entries = self.entries.lock();
        let last = &mut entries.recording.as_mut()?.last;
        if last.as_ref().is_some_and(Written::is_decided) {
            *last = None;
        }
        last.clone()
    }

    /// Queues the changes since the last call for the next group, or takes them back. `None` if there
    /// are none.
    fn write(
        &self,
        records: &Records,
        entries: &mut StoredEntries,
        now: Instant,
    ) -> Result<Option<Written>, Unavailable> {
        let Some(recording) = &mut entries.recording else {
            return Ok(None);
        };
        let before = std::mem::take(&mut recording.before);
        if before.is_empty() {
            return Ok(None);
        }
        let unix_now = (self.clocks.unix_ms)();
        let mut changes: Vec<Change> = Vec::with_capacity(before.len() + 1);
        let mut has_deleted = false;
        for (key, _) in &before {
            let to = entries.stored(key).map(|kept| Record {
                value: kept.value.clone(),
                version: kept.version,
                expires_at: kept.expires.map(|at| {
                    unix_now.saturating_add(milliseconds(at.saturating_duration_since(now)))
                }),
            });
            has_deleted |= to.is_none();
            let key = Bytes::copy_from_slice(key.as_bytes());
            changes.push(Change { kind: Kind::Store, key, to });
        }
        if has_deleted {
            changes.push(last_version(entries.last_version));
        }
        let before = Arc::new(before);
        let undo = {
            let (table, before) = (self.entries.clone(), before.clone());
            move || take_back(&mut table.lock(), &before)
        };
        match records.write(changes, Some(Box::new(undo))) {
            Ok(written) => {
                if let Some(recording) = &mut entries.recording {
                    recording.last = Some(written.clone());
                }
                Ok(Some(written))
            }
            Err(why) => {
                take_back(entries, &before);
                Err(why)
            }
        }
    }
}

/// Takes changes back, the last one first.
fn take_back(entries: &mut StoredEntries, before: &[(Arc<str>, Option<StoredValue>)]) {
    for (key, value) in before.iter().rev() {
        entries.replace(key, value.clone());
    }
}

fn last_version(version: u64) -> Change {
    let record = Record { value: Bytes::new(), version, expires_at: None };
    Change { kind: Kind::Store, key: Bytes::from_static(LAST_VERSION.as_bytes()), to: Some(record) }
}

fn refusal(why: Unavailable) -> CallRefusal {
    CallRefusal::DataUnavailable { why: why.to_string() }
}
