//! The sources of crates: their state, and waiting until it may have changed.
//!
//! Events only tell when to look, as for the plugin folder: changes are always found by comparing.
//! Without events, or if one was lost, changes are found a little later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Time without events after which a save is complete: editors write several files, and tools that
/// format follow.
const QUIET: Duration = Duration::from_millis(100);
/// Longest time for which events that do not end may delay a build.
const LONGEST: Duration = Duration::from_secs(2);
/// Time after which sources are looked at even if no event has come.
const LOOK: Duration = Duration::from_secs(1);

/// Folders without sources.
const NO_SOURCES: [&str; 2] = ["target", "node_modules"];

/// All files of some folders, with their size and time of change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, (Option<SystemTime>, u64)>,
    folders: BTreeSet<PathBuf>,
}

impl Snapshot {
    /// Looks at folders and their subfolders, without hidden ones, cargo's, and `except`.
    pub(super) fn take(folders: &BTreeSet<PathBuf>, except: &Path) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for folder in folders {
            snapshot.add(folder, except);
        }
        snapshot
    }

    fn add(&mut self, folder: &Path, except: &Path) {
        let is_cache = folder.join("CACHEDIR.TAG").exists();
        if is_cache || folder == except || !self.folders.insert(folder.to_owned()) {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Links are not followed, so that the walk ends.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            // Editors keep their own files beside those that they edit.
            if name.starts_with(['.', '#']) || name.ends_with('~') {
                continue;
            }
            match metadata.is_dir() {
                true if NO_SOURCES.contains(&&*name) => {}
                true => self.add(&entry.path(), except),
                false => {
                    let stamp = (metadata.modified().ok(), metadata.len());
                    self.files.insert(entry.path(), stamp);
                }
            }
        }
    }

    /// Returns the folders that were looked at.
    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.folders.iter()
    }

    /// Updates the entries of the files of this name, whose changes are not an author's.
    pub(super) fn renew(&mut self, name: &Path) {
        let folders = self.folders.clone();
        for file in folders.iter().map(|folder| folder.join(name)) {
            if let Ok(metadata) = fs::symlink_metadata(&file) {
                self.files.insert(file, (metadata.modified().ok(), metadata.len()));
            }
        }
    }
}

/// Waits for events in folders.
pub(super) struct SourceWatcher {
    watcher: Option<RecommendedWatcher>,
    events: Receiver<()>,
    watched: BTreeSet<PathBuf>,
}

impl SourceWatcher {
    pub(super) fn new() -> SourceWatcher {
        // One waiting event says as much as many.
        let (happened, events) = sync_channel(1);
        let handler = move |event: notify::Result<notify::Event>| {
            // Compilers read the files, which is not a change.
            let is_change = event.is_ok_and(|event| match event.kind {
                EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
                _ => true,
            });
            if is_change {
                let _ = happened.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler).ok();
        SourceWatcher { watcher, events, watched: BTreeSet::new() }
    }

    /// Watches these folders as well. A folder that cannot be watched is still looked at.
    pub(super) fn watch<'a>(&mut self, folders: impl Iterator<Item = &'a PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for folder in folders {
            if !self.watched.contains(folder)
                && watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(folder.clone());
            }
        }
    }

    /// Stops watching all other folders. One that comes back is then watched anew.
    pub(super) fn forget_all_but(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.watched.retain(|folder| {
            let is_kept = folders.contains(folder);
            if !is_kept {
                let _ = watcher.unwatch(folder);
            }
            is_kept
        });
    }

    /// Waits for an event, and then until no further one follows. Returns after a while if none
    /// comes, and does not wait for further ones once `is_over`.
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) {
        match self.events.recv_timeout(LOOK) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return,
            // There is no watcher.
            Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(LOOK),
        }
        let until = Instant::now() + LONGEST;
        while !is_over() && Instant::now() < until && self.events.recv_timeout(QUIET).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_source_is_changes_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let put = |file: &str| {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, file).expect("a file");
        };
        let folders = BTreeSet::from([place.path().to_owned()]);
        let take = || Snapshot::take(&folders, &place.path().join("plugins"));
        put("src/lib.rs");
        let before = take();
        for file in [
            "target/release/x.wasm",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            ".git/HEAD",
            "plugins/x.wasm",
            "elsewhere/CACHEDIR.TAG",
        ] {
            put(file);
            assert_eq!(take(), before, "{file}");
        }
        put("src/more.rs");
        assert_ne!(take(), before);
    }
}
