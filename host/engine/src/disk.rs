//! The data folder and its writer.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::database::{Database, FILE};
use crate::error::{OpenError, Unavailable};
use crate::lock::FolderLock;
use crate::queue::Queue;
use crate::records::{Kind, Record, Records};

/// Time from the start of one group to that of the next, at least. A group costs as much as several
/// writes do, so that under load it pays to wait for more of them: with 40,000 writes a second one costs two
/// thirds of what it costs with half of this time.
const GROUP_SPACING: Duration = Duration::from_millis(2);

/// Writes in that time from which it is waited, on average. With fewer, as with one busy room whose events wait
/// for each other, none waits for anything.
const MANY: f64 = 32.0;

/// Time over which they are counted, at least. Those who are told of a group come back with their next writes a
/// while later and all together, so that a shorter time would see a pause after each group.
const PERIOD: Duration = Duration::from_millis(16);

/// Time from a failure to the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The writes that a loss of power may cost. The death of the process costs none at any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// None that was awaited: each group is on the disk before it counts as written.
    EachGroup,
    /// Those of the last period of this length, and of the time that the disk takes.
    Every(Duration),
    /// Those that the system has not written by itself, which are mostly those of half a minute.
    Never,
}

/// A data folder. Dropping the last reference writes what waits, and lets another process have it.
pub struct Disk {
    folder: PathBuf,
    shared: Arc<Shared>,
    database: Mutex<Database>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    era: u64,
    _lock: FolderLock,
}

#[derive(Default)]
struct Shared {
    queue: Queue,
    failures: Mutex<Failures>,
    unsynced: Mutex<Unsynced>,
    /// Notified when something is unsynced, or the disk is closed.
    changed: Condvar,
}

/// The reasons why the last group, and the last sync, failed; `None` if they did not.
#[derive(Default)]
struct Failures {
    write: Option<Unavailable>,
    sync: Option<Unavailable>,
}

/// The state of the thread that syncs.
#[derive(Default)]
struct Unsynced {
    /// True if something was written since the last sync.
    is_some: bool,
    has_ended: bool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens a data folder, which is made for this user alone if there is none.
    ///
    /// # Errors
    ///
    /// Another process has the folder, a newer version has written it, or it cannot be used.
    pub fn open(folder: &Path, durability: Durability) -> Result<Arc<Disk>, OpenError> {
        let unusable = |error: std::io::Error| OpenError::Unusable {
            folder: folder.to_owned(),
            why: error.to_string(),
        };
        make_private(folder).map_err(unusable)?;
        let lock = FolderLock::take(folder)?;
        let mut writer = Database::open(folder, durability)?;
        let era = writer.begin_era(durability).map_err(|why| OpenError::Unusable {
            folder: folder.to_owned(),
            why: why.to_string(),
        })?;
        // Another one, so that a channel can be loaded while others write.
        let database = Mutex::new(Database::open_again(folder, durability)?);
        let place = Place::of(folder).map_err(unusable)?;
        let shared = Arc::<Shared>::default();
        let mut threads = vec![
            spawn("data-writer", {
                let shared = shared.clone();
                move || write_groups(&shared, &place, writer)
            })
            .map_err(unusable)?,
        ];
        if let Durability::Every(period) = durability {
            let log = File::open(folder.join(format!("{FILE}-wal"))).map_err(unusable)?;
            let shared = shared.clone();
            threads
                .push(spawn("data-sync", move || sync(&shared, &log, period)).map_err(unusable)?);
        }
        let (folder, threads) = (folder.to_owned(), Mutex::new(threads));
        Ok(Arc::new(Disk { folder, shared, database, threads, era, _lock: lock }))
    }

    /// Returns the records of a channel. It waits for the disk.
    ///
    /// # Errors
    ///
    /// The database cannot be read or written.
    pub fn records(self: &Arc<Disk>, channel: &str) -> Result<Records, Unavailable> {
        let number = self.database.lock().channel(channel)?;
        Ok(Records::new(self.clone(), number))
    }

    /// Returns the reason why the last writes failed; `None` while writes succeed.
    pub fn failure(&self) -> Option<Unavailable> {
        let failures = self.shared.failures.lock();
        failures.write.as_ref().or(failures.sync.as_ref()).cloned()
    }

    /// Returns the number of the [era](crate::era).
    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    pub(crate) fn load(
        &self,
        channel: i64,
        kind: Kind,
        each: impl FnMut(Bytes, Record),
    ) -> Result<(), Unavailable> {
        self.database.lock().load(channel, kind, each)
    }

    /// Writes what waits, and ends the writer. Further writes are refused. It waits for the disk.
    pub fn close(&self) {
        self.shared.queue.end();
        self.shared.unsynced.lock().has_ended = true;
        self.shared.changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes a folder for this user alone, unless it exists.
pub(crate) fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Writes groups until the queue ends. After a failure it tries by itself if writing is possible again:
/// those who keep away from a host that cannot write would never show it.
fn write_groups(shared: &Shared, place: &Place, mut database: Database) {
    let (mut earliest, mut next_try) = (Instant::now(), None);
    let (mut period, mut writes, mut is_busy) = (Instant::now(), 0, false);
    while let Some(group) = shared.queue.take(earliest, next_try) {
        let now = Instant::now();
        writes += group.changes.len();
        let passed = now.duration_since(period);
        if passed >= PERIOD {
            // In a longer time there were fewer in each part of it.
            is_busy = writes as f64 * GROUP_SPACING.as_secs_f64() >= MANY * passed.as_secs_f64();
            (period, writes) = (now, 0);
        }
        earliest = if is_busy { now + GROUP_SPACING } else { now };
        let written = place.check().and_then(|()| match group.is_empty() {
            true => database.probe(),
            false => database.write(&group.changes),
        });
        match written {
            Ok(()) => {
                next_try = None;
                if !std::mem::replace(&mut shared.unsynced.lock().is_some, true) {
                    shared.changed.notify_all();
                }
                report(shared, |failures| &mut failures.write, None);
                group.written.decide(Ok(()));
            }
            Err(why) => {
                next_try = Some(Instant::now() + RETRY);
                report(shared, |failures| &mut failures.write, Some(&why));
                shared.queue.fail(group, &why);
            }
        }
    }
    // Without it the next start takes the end for a crash, which costs no record.
    let _ = database.end_era();
}

/// The place of the database in its folder. A process goes on writing to files that were moved or deleted, and
/// nobody would find that data again.
struct Place {
    file: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// Returns the place of the database that is there now.
    fn of(folder: &Path) -> std::io::Result<Place> {
        let file = folder.join(FILE);
        let is = std::fs::metadata(&file)?;
        Ok(Place { file, device: is.dev(), inode: is.ino() })
    }

    /// Refuses unless the file that was opened is still in its place.
    fn check(&self) -> Result<(), Unavailable> {
        let is = std::fs::metadata(&self.file).map(|is| (is.dev(), is.ino()));
        match is {
            Ok(is) if is == (self.device, self.inode) => Ok(()),
            _ => Err(Unavailable::new(
                "wharf.db was moved or deleted; put it back, or restart the host to begin without it",
            )),
        }
    }
}

/// Has the system write the log to the disk, a period after the first write since the last time, until the
/// disk is closed; and once more then.
fn sync(shared: &Shared, log: &File, period: Duration) {
    loop {
        let mut unsynced = shared.unsynced.lock();
        while !unsynced.is_some && !unsynced.has_ended {
            shared.changed.wait(&mut unsynced);
        }
        let until = Instant::now() + period;
        while !unsynced.has_ended && !shared.changed.wait_until(&mut unsynced, until).timed_out() {}
        let (is_some, is_last) = (std::mem::take(&mut unsynced.is_some), unsynced.has_ended);
        drop(unsynced);
        let synced = if is_some { log.sync_data() } else { Ok(()) };
        let failed = synced.err().map(|error| format!("the disk has failed: {error}"));
        let failed = failed.map(|why| Unavailable::new(&why));
        report(shared, |failures| &mut failures.sync, failed.as_ref());
        if is_last {
            return;
        }
        if failed.is_some() {
            let mut unsynced = shared.unsynced.lock();
            unsynced.is_some = true;
            let until = Instant::now() + RETRY;
            while !unsynced.has_ended
                && !shared.changed.wait_until(&mut unsynced, until).timed_out()
            {}
        }
    }
}

/// Notes a failure or a success, and logs the first one of several in a row.
fn report(
    shared: &Shared,
    of: impl FnOnce(&mut Failures) -> &mut Option<Unavailable>,
    failed: Option<&Unavailable>,
) {
    let before = std::mem::replace(of(&mut shared.failures.lock()), failed.cloned());
    match failed {
        Some(why) if before.as_ref() != Some(why) => tracing::error!(
            reason = why.to_string(),
            "data cannot be written to disk; what needs it is refused until it can"
        ),
        None if before.is_some() => tracing::info!("data is written to disk again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_sync_is_a_failure_until_the_end_and_holds_up_neither_writes_nor_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let period = Duration::from_millis(1);
        let shared = Arc::<Shared>::default();
        let database =
            Database::open(folder.path(), Durability::Every(period)).expect("a database");
        let writing = spawn("data-writer", {
            let shared = shared.clone();
            let place = Place::of(folder.path()).expect("it is there");
            move || write_groups(&shared, &place, database)
        });
        // The system refuses to sync a pipe.
        let (_reader, pipe) = std::io::pipe().expect("a pipe");
        let log = File::from(std::os::fd::OwnedFd::from(pipe));
        let syncing = spawn("data-sync", {
            let shared = shared.clone();
            move || sync(&shared, &log, period)
        });
        let put = |key: &'static str| {
            let record = Record { value: Bytes::new(), version: 1, expires_at: None };
            let key = Bytes::from_static(key.as_bytes());
            let change = crate::records::Change { kind: Kind::Store, key, to: Some(record) };
            let written = shared.queue.put(1, [change], None).expect("queued");
            let begun = Instant::now();
            while !written.is_decided() && begun.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            assert!(matches!(written.get(), Some(Ok(()))), "the system has it");
        };
        put("a");
        let begun = Instant::now();
        while shared.failures.lock().sync.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        let why = shared.failures.lock().sync.clone().expect("a failure").to_string();
        assert!(why.starts_with("the disk has failed: "), "{why}");
        put("b");
        assert!(shared.failures.lock().write.is_none());
        shared.queue.end();
        shared.unsynced.lock().has_ended = true;
        shared.changed.notify_all();
        for thread in [writing, syncing] {
            thread.expect("a thread").join().expect("it ends");
        }
    }
}
