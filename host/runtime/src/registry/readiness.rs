//! The files that are not served, and the question if the host is ready.

use std::sync::atomic::Ordering;

use super::Registry;
use crate::ports::UnusableKeys;

/// A file that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the channel, or of the file if that is no channel's name.
    pub name: String,
    /// The reason, without secrets and on one line.
    pub reason: String,
    /// True if the host tries again by itself.
    pub is_passing: bool,
    /// Number of the generation that serves in its place; `None` if there is none.
    pub serving: Option<u64>,
}

/// The counts that say if the host is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// True until the files of the start have been looked at.
    pub is_starting: bool,
    /// Number of channels in service.
    pub channels: usize,
    /// Number of files that are not served.
    pub refused: usize,
    /// Number of files that are not served, and nothing serves in their place.
    pub missing: usize,
    /// True once every file of the folder was served.
    pub was_complete: bool,
    /// Number of places of keys for tokens that cannot be read.
    pub unusable_keys: usize,
    /// True while data cannot be written to disk.
    pub is_data_failing: bool,
    /// True while other nodes of the cluster are not reached.
    pub is_cluster_failing: bool,
}

impl Readiness {
    /// Returns true if the host serves what it has to. Once it has, one more bad file does not make
    /// it unready: its clients would lose the good ones too.
    pub fn is_ready(&self) -> bool {
        let serves = !self.is_starting && self.channels > 0 && self.was_complete;
        serves && !self.is_data_failing && !self.is_cluster_failing
    }
}

impl Registry {
    /// Returns the files that are not served, by name.
    pub fn refusals(&self) -> Vec<Refusal> {
        let refusals: Vec<Refusal> = self.refusals.lock().values().cloned().collect();
        let serving =
            |refusal: Refusal| Refusal { serving: self.serving(&refusal.name), ..refusal };
        refusals.into_iter().map(serving).collect()
    }

    /// Returns the keys for tokens that cannot be read.
    pub fn unusable_keys(&self) -> Vec<UnusableKeys> {
        self.ports.tokens.unusable_keys()
    }

    /// Returns true until the files of the start have been looked at.
    pub fn is_starting(&self) -> bool {
        self.is_starting.load(Ordering::SeqCst)
    }

    /// Returns the counts that say if the host is ready.
    pub fn readiness(&self) -> Readiness {
        let refusals = self.refusals();
        let missing = refusals.iter().filter(|refusal| refusal.serving.is_none()).count();
        let (is_starting, channels) = (self.is_starting(), self.in_service().len());
        if !is_starting && channels > 0 && missing == 0 {
            self.was_complete.store(true, Ordering::SeqCst);
        }
        let was_complete = self.was_complete.load(Ordering::SeqCst);
        let (refused, unusable_keys) = (refusals.len(), self.unusable_keys().len());
        let is_data_failing = self.ports.data.as_ref().is_some_and(|disk| disk.failure().is_some());
        let cluster = self.ports.cluster.as_ref();
        let is_cluster_failing = cluster.is_some_and(|cluster| cluster.failure().is_some());
        Readiness {
            is_starting,
            channels,
            refused,
            missing,
            was_complete,
            unusable_keys,
            is_data_failing,
            is_cluster_failing,
        }
    }
}
