//! The plugin folder → files that have settled.
//!
//! A thread of its own lists the folder after every event that the system reports, and every so
//! often without one, because events get lost: queues overflow, network file systems report
//! nothing, a folder that is replaced takes its watch along. So events only say *when* to look. The
//! content is always read from the folder.
//!
//! A file has settled when nothing about it has changed for a while and reading it twice gives the
//! same bytes: a copy that is still running is not handed on half done. A file that was moved into
//! the folder is complete already and does not wait.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

mod file;
#[cfg(test)]
mod tests;

use file::{Read, Seen};

/// Changes that wait for the receiver. Each may hold a whole plugin, and the folder can be read
/// again later.
const CHANGES: usize = 1;
/// Events that wait to be looked at. If there are more, everything is looked at.
const SIGNALS: usize = 1024;
/// Time between two listings, so that neither a file that grows in small pieces nor one that is
/// replaced over and over is a busy loop.
const BREATHER: Duration = Duration::from_millis(10);
/// Time for which files that keep changing may delay the end of the first scan, in settle times.
const FIRST_SCAN_SETTLES: u32 = 20;

/// The times of a watcher; see the settings of the same names.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// Time for which a file must be unchanged before it is read.
    pub settle: Duration,
    /// Time after which the folder is listed even if no change was reported.
    pub reconcile: Duration,
    /// Time for which a file must be absent, from a folder that can be listed, before it counts as
    /// removed.
    pub removal_grace: Duration,
}

/// A change of a plugin's file. The name is the file's stem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new or changed file is complete. It may hold the same bytes as before.
    Settled {
        /// Name of the channel: 1 to 64 of `a`–`z`, `0`–`9`, `_` and `-`.
        name: String,
        /// Path of the file.
        path: PathBuf,
        /// Content, at most 64 MiB.
        bytes: Arc<[u8]>,
        /// SHA-256 of the content.
        sha256: [u8; 32],
    },
    /// A file cannot be a plugin. Reported once, and again for another reason.
    Unreadable {
        /// Stem of the file, which may not be a valid name.
        name: String,
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file that was there has been absent for the grace period.
    Removed {
        /// Name of the channel.
        name: String,
    },
    /// All files of the start have been reported. Sent once. Files that keep changing delay it by
    /// at most 20 settle times.
    Scanned,
}

/// Keeps the folder watched until it is dropped.
#[derive(Debug)]
pub struct FolderWatcher {
    stop: Arc<AtomicBool>,
    signals: SyncSender<Signal>,
}

impl Drop for FolderWatcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // If there is no room, the thread is about to wake up anyway.
        let _ = self.signals.try_send(Signal::Look);
    }
}

/// Watches a folder. Reports every file that is there, in the order of file names, then
/// [`Change::Scanned`], then changes. If the receiver is slow, changes wait in the folder.
///
/// # Errors
///
/// The folder cannot be listed. One that vanishes later is waited for.
pub fn watch(
    folder: PathBuf,
    timing: WatchTiming,
) -> anyhow::Result<(FolderWatcher, mpsc::Receiver<Change>)> {
    list(&folder).with_context(|| {
        let folder = folder.display();
        format!("cannot list the plugin folder {folder}; create it, or name another with --plugins")
    })?;
    // Events name files by absolute paths, even if a relative one is watched.
    let folder = std::path::absolute(&folder).context("the working directory is gone")?;
    let (signals, received) = sync_channel(SIGNALS);
    let (changes, receiver) = mpsc::channel(CHANGES);
    let stop = Arc::new(AtomicBool::new(false));
    let now = Instant::now();
    let events = Events::new(folder.clone(), signals.clone());
    let scanner = Scanner {
        folder,
        timing,
        events,
        signals: received,
        changes,
        stop: stop.clone(),
        files: BTreeMap::new(),
        last_scan: now,
        first_scan_until: Some(now + timing.settle * FIRST_SCAN_SETTLES),
        can_list: true,
    };
    thread::Builder::new()
        .name("plugin-folder".to_owned())
        .spawn(move || scanner.run())
        .context("cannot start the thread that watches the plugin folder")?;
    Ok((FolderWatcher { stop, signals }, receiver))
}

/// Returns the state of one file, in any folder. Never [`Change::Removed`]: a missing file is one
/// that cannot be read.
pub fn look_once(path: &Path) -> Change {
    let name = stem(path.file_name().unwrap_or_default());
    let unreadable = |reason: String| {
        let (name, path) = (name.clone(), path.to_owned());
        Change::Unreadable { name, path, reason }
    };
    if !path.file_name().is_some_and(is_plugin) {
        return unreadable(
            "its name does not end in .wasm, or begins with `.` or `~`: such files in the plugin \
             folder are not looked at"
                .to_owned(),
        );
    }
    match Seen::look(path) {
        None => unreadable("there is no such file".to_owned()),
        Some(Seen::Unfit(reason)) => unreadable(reason),
        Some(Seen::File(stamp)) => match file::read(path, &stamp) {
            Read::Settled { bytes, sha256 } => {
                Change::Settled { name, path: path.to_owned(), bytes, sha256 }
            }
            Read::Changed => unreadable("it is being written to; try again".to_owned()),
            Read::Failed(reason) => unreadable(reason),
        },
    }
}

/// The three kinds of the system's events.
#[derive(Debug)]
enum Signal {
    /// An event: list the folder.
    Look,
    /// An event of this file.
    Touched { file: OsString, moved_here: bool },
    /// An event of the folder itself; its watch may be dead.
    Folder,
}

/// The source of events for the folder, as long as there is one.
struct Events {
    folder: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the watched folder: another one may be mounted or moved there.
    watched: Option<(u64, u64)>,
    /// True if signals were dropped, perhaps the one that the watch is dead.
    have_overrun: Arc<AtomicBool>,
    has_warned: bool,
}

impl Events {
    fn new(folder: PathBuf, signals: SyncSender<Signal>) -> Events {
        let base = folder.clone();
        let have_overrun = Arc::new(AtomicBool::new(false));
        let overrun = have_overrun.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            for signal in signals_of(&base, event) {
                if signals.try_send(signal).is_err() {
                    overrun.store(true, Ordering::Release);
                }
            }
        };
        let watched = None;
        let mut events = Events { folder, watcher: None, watched, have_overrun, has_warned: false };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => events.watcher = Some(watcher),
            Err(error) => events.warn(&error),
        }
        events
    }

    /// Makes the watched folder the one that is there now. Called before each listing, so that no
    /// change between the two is missed.
    fn renew(&mut self) {
        let Ok(metadata) = fs::metadata(&self.folder) else {
            self.watched = None;
            return;
        };
        let there = Some((metadata.dev(), metadata.ino()));
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let have_overrun = self.have_overrun.swap(false, Ordering::AcqRel);
        if self.watched == there && !have_overrun {
            return;
        }
        // The old watch is of no use, and mostly gone with its folder.
        let _ = watcher.unwatch(&self.folder);
        match watcher.watch(&self.folder, RecursiveMode::NonRecursive) {
            Ok(()) => (self.watched, self.has_warned) = (there, false),
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&mut self, error: &notify::Error) {
        if !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                folder = %self.folder.display(),
                %error,
                "the system does not report changes of the plugin folder; \
                 it is listed every reconcile_ms instead"
            );
        }
    }
}

fn signals_of(folder: &Path, event: notify::Result<notify::Event>) -> Vec<Signal> {
    let Ok(event) = event else {
        return vec![Signal::Look];
    };
    let moved_here = match event.kind {
        _ if event.need_rescan() => return vec![Signal::Look],
        // The host's own reading must not look like a change.
        EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write) => {
            return Vec::new();
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
            event.paths.last()
        }
        _ => None,
    };
    let mut signals = Vec::new();
    for path in &event.paths {
        match path.file_name() {
            _ if path == folder => signals.push(Signal::Folder),
            Some(file) if is_plugin(file) => signals.push(Signal::Touched {
                file: file.to_owned(),
                moved_here: moved_here == Some(path),
            }),
            _ => {}
        }
    }
    // Each of the others is a reason to look as well. Ahead of them, this one would have the folder
    // listed before the event of the file is known.
    if signals.is_empty() {
        signals.push(Signal::Look);
    }
    signals
}

/// The state of one file.
struct WatchedFile {
    seen: Seen,
    /// Time since which it has looked like that.
    since: Instant,
    /// True if it came by being moved, and so at once.
    moved_here: bool,
    /// True if it has been reported as it looks now.
    is_reported: bool,
    /// True if it was reported at all, so that its removal is news.
    is_known: bool,
    /// Last reported reason, if it was one.
    reason: Option<String>,
    /// Time to try again after a failure, even if nothing has changed.
    retry: Option<Instant>,
    missing_since: Option<Instant>,
}

impl WatchedFile {
    fn new(seen: Seen, moved_here: bool, now: Instant) -> WatchedFile {
        WatchedFile {
            seen,
            since: now,
            moved_here,
            is_reported: false,
            is_known: false,
            reason: None,
            retry: None,
            missing_since: None,
        }
    }

    fn changed(&mut self, moved_here: bool, now: Instant) {
        (self.since, self.moved_here) = (now, moved_here);
        (self.is_reported, self.retry) = (false, None);
    }

    /// Returns the time at which the file is due, if nothing happens before.
    fn due(&self, timing: &WatchTiming) -> Option<Instant> {
        if let Some(missing_since) = self.missing_since {
            return Some(missing_since + timing.removal_grace);
        }
        if self.is_reported {
            return self.retry;
        }
        let settle = match self.moved_here {
            true => Duration::ZERO,
            false => timing.settle,
        };
        Some(self.since + settle)
    }
}

/// The receiver of changes is gone, or has stopped the watcher.
struct Stopped;

/// The thread that looks at the folder.
struct Scanner {
    folder: PathBuf,
    timing: WatchTiming,
    events: Events,
    signals: Receiver<Signal>,
    changes: mpsc::Sender<Change>,
    stop: Arc<AtomicBool>,
    /// Files by their names, which is also the order in which they are reported.
    files: BTreeMap<OsString, WatchedFile>,
    last_scan: Instant,
    /// End of the first scan; `None` when that is over.
    first_scan_until: Option<Instant>,
    can_list: bool,
}

impl Scanner {
    fn run(mut self) {
        let mut touched = HashMap::new();
        loop {
            if self.scan(&touched).and_then(|()| self.report()).is_err() {
                return;
            }
            touched = self.wait();
            if self.stop.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Waits until there is something to do. Returns the files with events, each with true if its
    /// last event moved it here.
    fn wait(&mut self) -> HashMap<OsString, bool> {
        let mut touched = HashMap::new();
        let mut until = self.next_due();
        let breather = self.last_scan + BREATHER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.signals.recv_timeout(left) {
                Ok(signal) => {
                    match signal {
                        Signal::Look => {}
                        Signal::Folder => self.events.watched = None,
                        Signal::Touched { file, moved_here } => {
                            touched.insert(file, moved_here);
                        }
                    }
                    until = until.min(breather);
                    if self.stop.load(Ordering::Acquire) {
                        return touched;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return touched,
                // This cannot happen while `events` holds a sender. If it did, waiting would have
                // to do.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(left),
            }
        }
    }

    fn next_due(&self) -> Instant {
        let reconcile = self.last_scan + self.timing.reconcile;
        if !self.can_list {
            return reconcile;
        }
        let files = self.files.values().filter_map(|file| file.due(&self.timing));
        files.chain(self.first_scan_until).fold(reconcile, Instant::min)
    }

    /// Updates the state of the files from the folder.
    fn scan(&mut self, touched: &HashMap<OsString, bool>) -> Result<(), Stopped> {
        self.events.renew();
        let listed = list(&self.folder);
        let now = Instant::now();
        self.last_scan = now;
        let mut names = match listed {
            Ok(names) => names,
            Err(error) => {
                if self.can_list {
                    tracing::warn!(
                        folder = %self.folder.display(),
                        %error,
                        "cannot list the plugin folder; nothing is loaded or removed until it is back"
                    );
                }
                self.can_list = false;
                // Absence is only counted from a folder that can be listed.
                self.files.values_mut().for_each(|file| file.missing_since = None);
                return Ok(());
            }
        };
        if !self.can_list {
            tracing::info!(folder = %self.folder.display(), "the plugin folder can be listed again");
        }
        self.can_list = true;

        names.retain(|name| {
            // A file that has vanished since the listing is treated like one that was not there.
            let Some(seen) = Seen::look(&self.folder.join(name)) else {
                return false;
            };
            let event = touched.get(name).copied();
            match self.files.get_mut(name) {
                None => {
                    let file = WatchedFile::new(seen, event == Some(true), now);
                    self.files.insert(name.clone(), file);
                }
                Some(file) => {
                    file.missing_since = None;
                    if event.is_some() || file.seen != seen {
                        file.changed(event == Some(true), now);
                        file.seen = seen;
                    }
                }
            }
            true
        });

        names.sort_unstable();
        let mut removed = Vec::new();
        self.files.retain(|name, file| {
            if names.binary_search(name).is_ok() {
                return true;
            }
            let missing_since = *file.missing_since.get_or_insert(now);
            let is_removed = now.duration_since(missing_since) >= self.timing.removal_grace;
            if is_removed && file.is_known {
                removed.push(stem(name));
            }
            !is_removed
        });
        removed.into_iter().try_for_each(|name| self.send(Change::Removed { name }))
    }

    /// Reads and reports the files that have settled.
    fn report(&mut self) -> Result<(), Stopped> {
        if !self.can_list {
            return Ok(());
        }
        let names: Vec<OsString> = self.files.keys().cloned().collect();
        for name in names {
            let Some(file) = self.files.get_mut(&name) else {
                continue;
            };
            let now = Instant::now();
            let is_due = file.due(&self.timing).is_some_and(|due| due <= now);
            if file.missing_since.is_some() || !is_due {
                continue;
            }
            if let Some(change) = look_closer(&self.folder.join(&name), file, &self.timing) {
                self.send(change)?;
            }
        }
        let is_waiting = |file: &WatchedFile| file.missing_since.is_none() && !file.is_reported;
        if let Some(until) = self.first_scan_until
            && (Instant::now() >= until || !self.files.values().any(is_waiting))
        {
            self.first_scan_until = None;
            self.send(Change::Scanned)?;
        }
        Ok(())
    }

    fn send(&self, change: Change) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Acquire) {
            return Err(Stopped);
        }
        self.changes.blocking_send(change).map_err(|_| Stopped)
    }
}

/// Reads a file that has not changed for long enough. Returns the news about it.
fn look_closer(path: &Path, file: &mut WatchedFile, timing: &WatchTiming) -> Option<Change> {
    let name = stem(path.file_name()?);
    let reason = match &file.seen {
        Seen::Unfit(reason) => reason.clone(),
        Seen::File(stamp) => match file::read(path, stamp) {
            Read::Settled { bytes, sha256 } => {
                (file.is_reported, file.is_known) = (true, true);
                (file.reason, file.retry) = (None, None);
                let path = path.to_owned();
                return Some(Change::Settled { name, path, bytes, sha256 });
            }
            Read::Changed => {
                file.changed(false, Instant::now());
                return None;
            }
            Read::Failed(reason) => {
                // Too many open files, a network that is down: it may pass without a change.
                file.retry = Some(Instant::now() + timing.reconcile);
                reason
            }
        },
    };
    file.is_reported = true;
    if file.reason.as_ref() == Some(&reason) {
        return None;
    }
    file.reason = Some(reason.clone());
    Some(Change::Unreadable { name, path: path.to_owned(), reason })
}

/// Returns the names of possible plugins in a folder.
fn list(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if is_plugin(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Returns true if a file is to be looked at. Editors and copying programs call their temporary
/// files `.…` or `~…`.
fn is_plugin(file: &OsStr) -> bool {
    let bytes = file.as_encoded_bytes();
    bytes.ends_with(b".wasm") && !bytes.starts_with(b".") && !bytes.starts_with(b"~")
}

fn stem(file: &OsStr) -> String {
    let text = file.to_string_lossy();
    text.strip_suffix(".wasm").unwrap_or(&text).to_owned()
}
