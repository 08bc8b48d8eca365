//! Observers of a host's plugins and connections.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc;
use wharf_hub::connection::ConnectionRecord;

/// An observer of sessions. The connections' tasks call it: an implementation must not block.
pub trait SessionObserver: Debug + Send + Sync {
    /// Notes the session that a connection has from now on: its first one, or another.
    fn committed(&self, client: &Arc<ConnectionRecord>, session: &[u8]);
}

/// An observer of plugins' files. An implementation must not block.
pub trait LoadObserver: Debug + Send + Sync {
    /// Notes the outcome for a file that was new, or has changed.
    fn loaded(&self, outcome: LoadOutcome);
}

/// The outcome for a plugin's file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOutcome {
    /// Name of the channel.
    pub name: String,
    /// SHA-256 of the file; `None` if it cannot be read.
    pub sha256: Option<[u8; 32]>,
    /// Number of the generation that serves now; `None` if there is none.
    pub serving: Option<u64>,
    /// Reason to refuse the file, without secrets and on one line; `None` if the file serves now.
    pub refused: Option<String>,
}

/// The observer that ignores everything.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl SessionObserver for Unobserved {
    fn committed(&self, _: &Arc<ConnectionRecord>, _: &[u8]) {}
}

impl LoadObserver for Unobserved {
    fn loaded(&self, _: LoadOutcome) {}
}

/// The queue takes outcomes while it has room.
impl LoadObserver for mpsc::Sender<LoadOutcome> {
    fn loaded(&self, outcome: LoadOutcome) {
        // The queue is full, or its receiver is gone. Loading goes on without it.
        let _ = self.try_send(outcome);
    }
}
