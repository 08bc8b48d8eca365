//! The system's events of the folder.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::is_plugin;

/// The three kinds of the system's events.
#[derive(Debug)]
pub(super) enum Signal {
    /// An event: list the folder.
    Look,
    /// An event of this file.
    Touched { file: OsString, moved_here: bool },
    /// An event of the folder itself; its watch may be dead.
    Folder,
}

/// The source of events for the folder, as long as there is one.
pub(super) struct Events {
    folder: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the watched folder: another one may be mounted or moved there.
    pub(super) watched: Option<(u64, u64)>,
    /// True if signals were dropped, perhaps the one that the watch is dead.
    have_overrun: Arc<AtomicBool>,
    has_warned: bool,
}

impl Events {
    pub(super) fn new(folder: PathBuf, signals: SyncSender<Signal>) -> Events {
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
    pub(super) fn renew(&mut self) {
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
                folder = self.folder.display().to_string(),
                error = error.to_string(),
                "the system does not report changes of the plugin folder; \
                 it is listed every reconcile_ms instead"
            );
        }
    }
}

pub(super) fn signals_of(folder: &Path, event: notify::Result<notify::Event>) -> Vec<Signal> {
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
