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

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
use tokio::sync::mpsc;
use wharf_contract::text::escape;

mod events;
mod file;
#[cfg(test)]
mod tests;
mod watched_file;

use events::{Events, Signal};
use file::{Read, Seen};
use watched_file::{WatchedFile, look_closer};

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
    /// The same for a folder from which everything has vanished at once.
    pub emptied_grace: Duration,
}

/// Largest number of file names that are told to be passed over.
const MAX_PASSED_OVER: usize = 100;

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
        is_emptied: false,
        inhabited: None,
        passed_over: BTreeSet::new(),
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
    /// True while all files have vanished at once.
    is_emptied: bool,
    /// Device and inode of the folder when there was last a plugin in it.
    inhabited: Option<(u64, u64)>,
    /// Names that differ from a plugin's only in the case of their ending, and have been told.
    passed_over: BTreeSet<OsString>,
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
        let grace = self.removal_grace();
        let files = self.files.values().filter_map(|file| file.due(&self.timing, grace));
        files.chain(self.first_scan_until).fold(reconcile, Instant::min)
    }

    /// Updates the state of the files from the folder.
    fn scan(&mut self, touched: &HashMap<OsString, bool>) -> Result<(), Stopped> {
        self.events.renew();
        let listed = list(&self.folder);
        let now = Instant::now();
        self.last_scan = now;
        let mut names = match listed {
            Ok(Listed { plugins, others }) => {
                self.tell_passed_over(others);
                plugins
            }
            Err(error) => {
                if self.can_list {
                    tracing::warn!(
                        folder = self.folder.display().to_string(),
                        error = error.to_string(),
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
            let folder = self.folder.display().to_string();
            tracing::info!(folder, "the plugin folder can be listed again");
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
                    file.warn(&self.folder.join(name), &seen, now);
                    if event.is_some() || !file.seen.is_like(&seen) {
                        file.changed(event == Some(true), now);
                    } else if file.seen != seen && file.is_reported && file.sha256.is_some() {
                        // Perhaps another file with the same times: only its content can tell.
                        file.retry.get_or_insert(now + self.timing.reconcile);
                    }
                    file.seen = seen;
                }
            }
            true
        });

        names.sort_unstable();
        self.notice_emptied(names.is_empty(), now);
        let removal_grace = self.removal_grace();
        let mut removed = Vec::new();
        self.files.retain(|name, file| {
            if names.binary_search(name).is_ok() {
                return true;
            }
            let missing_since = *file.missing_since.get_or_insert(now);
            let is_removed = now.duration_since(missing_since) >= removal_grace;
            if is_removed && (file.is_known || file.reason.is_some()) {
                removed.push(stem(name));
            }
            !is_removed
        });
        removed.into_iter().try_for_each(|name| self.send(Change::Removed { name }))
    }

    /// Returns the time for which a file must be absent.
    fn removal_grace(&self) -> Duration {
        match self.is_emptied {
            true => self.timing.emptied_grace.max(self.timing.removal_grace),
            false => self.timing.removal_grace,
        }
    }

    /// Finds out if everything has vanished at once: that is hardly a removal of each plugin, but a
    /// volume that is not mounted, or a folder that is filled anew.
    fn notice_emptied(&mut self, is_empty: bool, now: Instant) {
        let there = fs::metadata(&self.folder).ok().map(|found| (found.dev(), found.ino()));
        if !is_empty {
            self.inhabited = there;
            if std::mem::take(&mut self.is_emptied) {
                let folder = self.folder.display().to_string();
                tracing::info!(folder, "plugins are back in the plugin folder");
                // The others may follow: their time begins now.
                let missing = self.files.values_mut().filter(|file| file.missing_since.is_some());
                missing.for_each(|file| file.missing_since = Some(now));
            }
            return;
        }
        let is_other_folder = self.inhabited.is_some() && self.inhabited != there;
        let known = self.files.values().filter(|file| file.is_known).count();
        if !self.is_emptied && (known > 1 || (known == 1 && is_other_folder)) {
            self.is_emptied = true;
            tracing::warn!(
                folder = self.folder.display().to_string(),
                plugins = known,
                "all plugins have vanished from the plugin folder at once; their channels go on for \
                 emptied_grace_ms"
            );
        }
    }

    /// Tells of files that are hardly meant to be passed over, once each.
    fn tell_passed_over(&mut self, names: Vec<OsString>) {
        for name in names {
            if self.passed_over.len() < MAX_PASSED_OVER && !self.passed_over.contains(&name) {
                let file = escape(&self.folder.join(&name).display().to_string());
                tracing::warn!(
                    file,
                    "a file is passed over: names of plugins end in .wasm, in small letters"
                );
                self.passed_over.insert(name);
            }
        }
    }

    /// Reads and reports the files that have settled.
    fn report(&mut self) -> Result<(), Stopped> {
        if !self.can_list {
            return Ok(());
        }
        let removal_grace = self.removal_grace();
        let names: Vec<OsString> = self.files.keys().cloned().collect();
        for name in names {
            let Some(file) = self.files.get_mut(&name) else {
                continue;
            };
            let now = Instant::now();
            let is_due = file.due(&self.timing, removal_grace).is_some_and(|due| due <= now);
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

/// The names in a folder.
struct Listed {
    /// Possible plugins.
    plugins: Vec<OsString>,
    /// Names that differ from those of plugins only in the case of their ending.
    others: Vec<OsString>,
}

/// Returns the files in a folder that are plugins by their names, in the order of these.
///
/// # Errors
///
/// The folder cannot be listed.
pub fn plugins_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = list(folder)?.plugins;
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn list(folder: &Path) -> io::Result<Listed> {
    let mut listed = Listed { plugins: Vec::new(), others: Vec::new() };
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if is_plugin(&name) {
            listed.plugins.push(name);
        } else if is_plugin(&name.to_ascii_lowercase()) {
            listed.others.push(name);
        }
    }
    Ok(listed)
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
