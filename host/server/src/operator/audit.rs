//! The operator's audit log: a record of each act of the operator's API, also of those that were refused.
//!
//! Records are numbered, wait in memory, and are written to a file by a thread of their own. An answer
//! waits until its record is written, but only for [`PATIENCE`] and only while writing succeeds: a slow or
//! broken disk holds up nobody. Without a data folder the last records are kept in memory.
//!
//! Requests without the token are strangers', who may send as many as they like. [`BURST`] of them are
//! recorded at once. Further ones are counted, and one record each [`PAUSE`] tells their number.

mod act;
mod file;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde_json::value::RawValue;
use tokio::sync::watch;
use wharf_config::{Config, DataSync};
use wharf_runtime::log_budget::LogBudget;

pub(super) use act::{Act, rfc_3339};
use act::{Record, unix};
use file::AuditFile;

/// Longest time for which an answer waits until its record is written.
const PATIENCE: Duration = Duration::from_millis(100);

/// Records that wait for the disk, or that are kept without one. At the bound the oldest is dropped, and
/// counted in the one after it.
const MAX_WAITING: usize = 1024;

/// Requests without the token that are recorded one by one, and the time after which there may be one more
/// record of them: a flood takes less than a mebibyte a day.
const BURST: u32 = 10;
const PAUSE: Duration = Duration::from_secs(60);

/// Time from a failure of the disk to the next try.
const RETRY: Duration = Duration::from_secs(1);

/// Time from a write to that to the disk itself, which nobody waits for.
const SYNC_PAUSE: Duration = Duration::from_secs(1);

/// The log. The last reference ends its thread, after it has written what waits.
#[derive(Debug)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
    file: Option<Arc<AuditFile>>,
    /// Lets one request at a time read the file.
    reading: tokio::sync::Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write, or the log ends.
    filled: Condvar,
    progress: watch::Sender<Progress>,
    /// Budget of the lines of the host's log about a disk that refuses.
    log_budget: LogBudget,
}

#[derive(Debug, Default)]
struct State {
    /// Records that are not in the file, in the order of their numbers.
    waiting: VecDeque<Line>,
    last_id: u64,
    strangers: Strangers,
    has_ended: bool,
}

/// Progress of the writer.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Number of the last record that was written.
    written: u64,
    is_failing: bool,
}

/// A record with its number.
#[derive(Clone, Debug)]
struct Line {
    id: u64,
    record: Arc<Record>,
    /// Records before it that were dropped.
    lost: u64,
}

impl Line {
    /// Returns the line of the file, without its end.
    fn json(&self) -> String {
        self.record.to_json(self.id, self.lost)
    }
}

/// Requests without the token.
#[derive(Debug, Default)]
struct Strangers {
    /// The last of those that are not recorded yet; its `times` counts all.
    counted: Option<Record>,
    /// Time at which a whole burst may be recorded again, if nothing comes until then.
    full_at: Option<Instant>,
}

impl Strangers {
    /// Takes a record. Returns it if it is to be written at once.
    fn take(&mut self, mut record: Record, now: Instant) -> Option<Record> {
        if self.counted.is_none() && self.wait(now).is_zero() {
            self.spend(now);
            return Some(record);
        }
        let before = self.counted.as_ref().map_or(0, |last| last.times);
        record.times = before.saturating_add(1);
        self.counted = Some(record);
        None
    }

    /// Returns the record of those that have been counted, if its time has come.
    fn settle(&mut self, now: Instant) -> Option<Record> {
        if !self.wait(now).is_zero() {
            return None;
        }
        let record = self.counted.take()?;
        self.spend(now);
        Some(record)
    }

    /// Returns the time at which those that have been counted are recorded.
    fn due(&self, now: Instant) -> Option<Instant> {
        self.counted.as_ref().map(|_| now + self.wait(now))
    }

    /// Returns the time until one more may be recorded.
    fn wait(&self, now: Instant) -> Duration {
        let burst = PAUSE * (BURST - 1);
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now + burst))
    }

    fn spend(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + PAUSE);
    }
}

impl State {
    /// Adds a record, and those of strangers that are due before it. Returns its number.
    fn add(&mut self, record: Record) -> u64 {
        self.settle();
        self.push(record)
    }

    fn settle(&mut self) {
        if let Some(record) = self.strangers.settle(Instant::now()) {
            self.push(record);
        }
    }

    fn push(&mut self, record: Record) -> u64 {
        // Microseconds since 1970 go on after a restart, and a time can be asked for.
        let now = u64::try_from(unix().as_micros()).unwrap_or_default();
        self.last_id = now.max(self.last_id.saturating_add(1));
        let id = self.last_id;
        self.waiting.push_back(Line { id, record: Arc::new(record), lost: 0 });
        if self.waiting.len() > MAX_WAITING
            && let Some(dropped) = self.waiting.pop_front()
            && let Some(oldest) = self.waiting.front_mut()
        {
            oldest.lost = oldest.lost.saturating_add(dropped.lost).saturating_add(1);
        }
        id
    }
}

impl Audit {
    /// Opens the log in the data folder, or in memory without one. A file that cannot be opened is tried
    /// again with the next record.
    pub(crate) fn open(config: &Config) -> Arc<Audit> {
        let file = config.data.as_deref().map(|folder| {
            let is_synced_first = config.data_sync == DataSync::Group;
            let file = AuditFile::new(folder, config.audit_log_bytes, is_synced_first);
            (file, config.data_sync != DataSync::Never)
        });
        Audit::start(file)
    }

    /// Starts a log. The flag says if the file is to be written to the disk itself.
    fn start(file: Option<(AuditFile, bool)>) -> Arc<Audit> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            progress: watch::channel(Progress::default()).0,
            log_budget: LogBudget::of_clients("the operator's audit log", 1),
        });
        let (file, is_synced) = file.map(|(file, is)| (Arc::new(file), is)).unzip();
        let thread = file.clone().and_then(|file: Arc<AuditFile>| {
            // Numbers go on even if the clock was set back.
            shared.state.lock().last_id = file.last_id();
            let to = shared.clone();
            let work = move || write(&to, &file, is_synced == Some(true));
            let thread = std::thread::Builder::new().name("audit-log".to_owned()).spawn(work);
            thread.map_err(|error| shared.report(Some(&error))).ok()
        });
        let (reading, thread) = (tokio::sync::Mutex::default(), Mutex::new(thread));
        Arc::new(Audit { shared, file, reading, thread })
    }

    /// Adds the record of an act, and waits until it is written, for as long as the disk is well and quick.
    async fn add(&self, record: Record) {
        let mut progress = self.shared.progress.subscribe();
        let id = self.put(record);
        if self.file.is_some() {
            let written = progress.wait_for(|now| now.written >= id || now.is_failing);
            // A slow disk gets it later.
            let _ = tokio::time::timeout(PATIENCE, written).await;
        }
    }

    /// Adds the record of an act that nobody waits for.
    fn put(&self, record: Record) -> u64 {
        let id = self.shared.state.lock().add(record);
        self.shared.filled.notify_one();
        id
    }

    /// Adds the record of a request without the token, or counts it.
    fn put_stranger(&self, record: Record) {
        let mut state = self.shared.state.lock();
        state.settle();
        if let Some(record) = state.strangers.take(record, Instant::now()) {
            state.push(record);
        }
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Returns the records before a number, at most `limit` of them, the newest first.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) async fn list(
        self: &Arc<Audit>,
        before: u64,
        limit: usize,
    ) -> std::io::Result<Vec<(u64, Box<RawValue>)>> {
        let _turn = self.reading.lock().await;
        let audit = self.clone();
        let read = tokio::task::spawn_blocking(move || audit.read(before, limit));
        read.await.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)))
    }

    /// Reads records. It waits for the disk.
    fn read(&self, before: u64, limit: usize) -> std::io::Result<Vec<(u64, Box<RawValue>)>> {
        let waiting: Vec<Line> = {
            let mut state = self.shared.state.lock();
            state.settle();
            state.waiting.iter().rev().cloned().collect()
        };
        // A record leaves memory after it was written, so that none is between the two.
        let before_file = waiting.last().map_or(before, |oldest| oldest.id.min(before));
        let waiting = waiting.into_iter().filter(|line| line.id < before).take(limit);
        let waiting = waiting.filter_map(|line| {
            let json = RawValue::from_string(line.json()).ok()?;
            Some((line.id, json))
        });
        let mut found: Vec<_> = waiting.collect();
        if let Some(file) = &self.file {
            file.read_back(before_file, limit - found.len(), &mut found)?;
        }
        Ok(found)
    }

    /// Writes what waits, and ends the log. It waits for the disk.
    pub(super) fn close(&self) {
        {
            let mut state = self.shared.state.lock();
            if let Some(record) = state.strangers.counted.take() {
                state.push(record);
            }
            state.has_ended = true;
        }
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Notes a failure or a success, and logs the first one of several in a row.
    fn report(&self, failed: Option<&std::io::Error>) {
        let mut was_failing = false;
        self.progress.send_modify(|progress| {
            was_failing = std::mem::replace(&mut progress.is_failing, failed.is_some());
        });
        if was_failing == failed.is_some() || !self.log_budget.take() {
            return;
        }
        match failed {
            Some(error) => tracing::error!(
                error = error.to_string(),
                "the operator's acts cannot be recorded in audit.jsonl; they go on, and the last 1024 \
                 records are kept in memory until the file can be written"
            ),
            None => tracing::info!("the operator's acts are recorded in audit.jsonl again"),
        }
    }
}

/// Writes records as they come, until the log ends. After a failure it tries again by itself.
fn write(shared: &Shared, file: &AuditFile, is_synced: bool) {
    let (mut next_sync, mut next_try) = (None, None);
    loop {
        let (lines, is_last) = {
            let mut state = shared.state.lock();
            loop {
                state.settle();
                let is_time = next_try.is_none_or(|at| Instant::now() >= at);
                let is_sync_due = next_sync.is_some_and(|at| Instant::now() >= at);
                if state.has_ended || is_sync_due || (is_time && !state.waiting.is_empty()) {
                    break;
                }
                let retry = next_try.filter(|_| !state.waiting.is_empty());
                let due = state.strangers.due(Instant::now());
                let wake = [retry, next_sync, due].into_iter().flatten().min();
                match wake {
                    Some(at) => drop(shared.filled.wait_until(&mut state, at)),
                    None => shared.filled.wait(&mut state),
                }
            }
            (state.waiting.iter().cloned().collect::<Vec<_>>(), state.has_ended)
        };
        let written = file.append(&lines);
        let last = lines.last().map(|line| line.id);
        match written {
            Ok(()) => {
                if let Some(last) = last {
                    let mut state = shared.state.lock();
                    while state.waiting.front().is_some_and(|line| line.id <= last) {
                        state.waiting.pop_front();
                    }
                    drop(state);
                    shared.progress.send_modify(|progress| progress.written = last);
                    next_sync =
                        next_sync.or_else(|| is_synced.then(|| Instant::now() + SYNC_PAUSE));
                }
                next_try = None;
                shared.report(None);
            }
            Err(error) => {
                next_try = Some(Instant::now() + RETRY);
                shared.report(Some(&error));
            }
        }
        if is_last || next_sync.is_some_and(|at| Instant::now() >= at) {
            next_sync = None;
            if let Some(error) = is_synced.then(|| file.sync().err()).flatten() {
                shared.report(Some(&error));
            }
        }
        if is_last {
            return;
        }
    }
}
