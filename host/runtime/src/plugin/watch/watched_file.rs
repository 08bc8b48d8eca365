//! The state of one file over time.

use std::path::Path;
use std::time::{Duration, Instant};

use wharf_contract::text::escape;

use super::file::{self, Read, Seen};
use super::{Change, WatchTiming, stem};

/// Time for which a file may keep changing before the operator is told that this is why it is not
/// loaded.
const RESTLESS: Duration = Duration::from_secs(10);

/// The state of one file.
pub(super) struct WatchedFile {
    pub(super) seen: Seen,
    /// Time since which it has looked like that.
    since: Instant,
    /// True if it came by being moved, and so at once.
    moved_here: bool,
    /// True if it has been reported as it looks now.
    pub(super) is_reported: bool,
    /// True if it was reported at all, so that its removal is news.
    pub(super) is_known: bool,
    /// Last reported reason, if it was one.
    pub(super) reason: Option<String>,
    /// Time to try again after a failure, even if nothing has changed.
    pub(super) retry: Option<Instant>,
    pub(super) missing_since: Option<Instant>,
    /// SHA-256 of the content that was reported.
    pub(super) sha256: Option<[u8; 32]>,
    /// Time since which it has been changing without a rest; `None` if it rests.
    restless_since: Option<Instant>,
    /// True if the operator knows that it is restless, or a stale mount.
    has_warned: bool,
}

impl WatchedFile {
    pub(super) fn new(seen: Seen, moved_here: bool, now: Instant) -> WatchedFile {
        WatchedFile {
            seen,
            since: now,
            moved_here,
            is_reported: false,
            is_known: false,
            reason: None,
            retry: None,
            missing_since: None,
            sha256: None,
            restless_since: None,
            has_warned: false,
        }
    }

    pub(super) fn changed(&mut self, moved_here: bool, now: Instant) {
        (self.since, self.moved_here) = (now, moved_here);
        (self.is_reported, self.retry, self.sha256) = (false, None, None);
        self.restless_since.get_or_insert(now);
    }

    /// Tells the operator once that a file keeps changing, or cannot change.
    pub(super) fn warn(&mut self, path: &Path, seen: &Seen, now: Instant) {
        if self.has_warned {
            return;
        }
        let file = escape(&path.display().to_string());
        if self.restless_since.is_some_and(|since| now.duration_since(since) >= RESTLESS) {
            self.has_warned = true;
            let changing = self.seen.differences(seen);
            tracing::warn!(
                file,
                changing,
                "a plugin's file keeps changing; it is loaded once it is unchanged for settle_ms"
            );
        } else if file::is_stale_mount(path) {
            self.has_warned = true;
            tracing::warn!(
                file,
                "a plugin's file is a mount of its own and was replaced outside, which cannot be seen \
                 here; mount the folder instead of the file"
            );
        }
    }

    /// Returns the time at which the file is due, if nothing happens before.
    pub(super) fn due(&self, timing: &WatchTiming, removal_grace: Duration) -> Option<Instant> {
        if let Some(missing_since) = self.missing_since {
            return Some(missing_since + removal_grace);
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

/// Reads a file that has not changed for long enough. Returns the news about it.
pub(super) fn look_closer(
    path: &Path,
    file: &mut WatchedFile,
    timing: &WatchTiming,
) -> Option<Change> {
    let name = stem(path.file_name()?);
    let reason = match &file.seen {
        Seen::Unfit(reason) => reason.clone(),
        Seen::File(stamp) => match file::read(path, stamp) {
            Read::Settled { bytes, sha256 } => {
                (file.is_reported, file.is_known) = (true, true);
                (file.reason, file.retry) = (None, None);
                file.restless_since = None;
                if file.sha256.replace(sha256) == Some(sha256) {
                    return None;
                }
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
    (file.is_reported, file.sha256) = (true, None);
    if file.reason.as_ref() == Some(&reason) {
        return None;
    }
    file.reason = Some(reason.clone());
    Some(Change::Unreadable { name, path: path.to_owned(), reason })
}
