//! The files that are not served, and the times of further attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::registry::PluginFile;

/// Time before a file that was refused for a passing reason is tried again. It doubles with each
/// attempt, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The files that are not served, by the channel's name.
#[derive(Default)]
pub(super) struct RefusedFiles(BTreeMap<String, Refused>);

struct Refused {
    sha256: Option<[u8; 32]>,
    /// Logged reason, so that looking again does not repeat it.
    reason: String,
    retry: Option<Retry>,
}

/// A further attempt. The file is read again then: many that wait must not take memory, the lack of
/// which may be the reason.
struct Retry {
    file: PluginFile,
    at: Instant,
    /// Number of earlier attempts.
    tries: u32,
}

impl RefusedFiles {
    /// Takes note of a file that is not served. Returns true if that is news.
    pub(super) fn note(&mut self, name: &str, sha256: Option<[u8; 32]>, reason: &str) -> bool {
        let known = self.0.get(name);
        let is_news = known.is_none_or(|known| known.reason != reason || known.sha256 != sha256);
        let refused = Refused { sha256, reason: reason.to_owned(), retry: None };
        self.0.insert(name.to_owned(), refused);
        is_news
    }

    /// Has a refused file tried again after a while. `tries` is the number of attempts before the one
    /// that has failed.
    pub(super) fn retry(&mut self, file: PluginFile, tries: u32) {
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
        if let Some(refused) = self.0.get_mut(&file.name) {
            let (at, tries) = (Instant::now() + pause, tries + 1);
            refused.retry = Some(Retry { file, at, tries });
        }
    }

    /// Calls a further attempt off: the file is loaded as it is now, or gone.
    pub(super) fn call_off(&mut self, name: &str) {
        if let Some(refused) = self.0.get_mut(name) {
            refused.retry = None;
        }
    }

    /// Returns the time of the next attempt.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let retries = self.0.values().filter_map(|refused| refused.retry.as_ref());
        retries.map(|retry| retry.at).min()
    }

    /// Takes out an attempt that is due, with the number of earlier ones.
    pub(super) fn take_due(&mut self) -> Option<(PluginFile, u32)> {
        let now = Instant::now();
        let mut all = self.0.values_mut();
        let due = all.find_map(|refused| refused.retry.take_if(|retry| retry.at <= now))?;
        Some((due.file, due.tries))
    }

    /// Returns true if a file is not served.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Forgets a file, which is served or gone.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}
