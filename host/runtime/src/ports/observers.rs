//! Observers of what a host does with plugins and connections.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc;
use wharf_hub::connection::ConnectionRecord;

/// Hears of sessions. Called by the connections' tasks: an implementation must not block.
pub trait SessionObserver: Debug + Send + Sync {
    /// Notes the session that a connection has from now on: its first one, or another.
    fn committed(&self, client: &Arc<ConnectionRecord>, session: &[u8]);
}

/// Hears what became of plugins' files. An implementation must not block.
pub trait LoadObserver: Debug + Send + Sync {
    /// Notes the outcome for a file that was new, or has changed.
    fn looked_at(&self, outcome: LoadOutcome);
}

/// The outcome for a plugin's file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOutcome {
    /// The channel's name.
    pub name: String,
    /// The SHA-256 of the file; `None` if it cannot be read.
    pub sha256: Option<[u8; 32]>,
    /// The number of the generation that serves now; `None` if there is none.
    pub serving: Option<u64>,
    /// The reason to refuse the file, without secrets and on one line; `None` if it is what serves now.
    pub refused: Option<String>,
}

/// The observer that ignores everything.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl SessionObserver for Unobserved {
    fn committed(&self, _: &Arc<ConnectionRecord>, _: &[u8]) {}
}

impl LoadObserver for Unobserved {
    fn looked_at(&self, _: LoadOutcome) {}
}

/// The outcomes that find room in the queue.
impl LoadObserver for mpsc::Sender<LoadOutcome> {
    fn looked_at(&self, outcome: LoadOutcome) {
        // Full, or nobody listens any more: loading goes on without.
        let _ = self.try_send(outcome);
    }
}
