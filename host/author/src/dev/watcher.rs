//! Waiting until sources may have changed.
//!
//! Events only tell when to look, as for the plugin folder: changes are always found by comparing.
//! Without events, or if one was lost, changes are found a little later.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Time without events after which a save is complete: editors write several files, and tools that
/// format follow.
const QUIET: Duration = Duration::from_millis(100);
/// Longest time for which events that do not end may delay a build.
const LONGEST: Duration = Duration::from_secs(2);
/// Time after which sources are looked at even if no event has come.
const LOOK: Duration = Duration::from_secs(1);

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
