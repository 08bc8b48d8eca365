//! The numbers of a hub that a scrape shows.

use super::Hub;
use crate::outbound::PendingWrites;
use crate::sent::SentSums;

/// Connections that are looked at in a row before other tasks get their turn.
const LOOKS_PER_TURN: usize = 1024;

/// The load of a channel's outbound queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLoad {
    /// Bytes that wait in all of them.
    pub bytes: usize,
    /// Number of those of which more than half of the bound waits.
    pub slow: usize,
}

impl Hub {
    /// Looks at the queues of all connections. Other tasks get their turn in between.
    pub async fn queue_load(&self) -> QueueLoad {
        let mut load = QueueLoad::default();
        for (at, (_, outbound)) in self.everyone.iter().enumerate() {
            let (bytes, is_backed_up) = outbound.load();
            load.bytes = load.bytes.saturating_add(bytes);
            load.slow += usize::from(is_backed_up);
            if at % LOOKS_PER_TURN == LOOKS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        load
    }

    /// Counts the messages that were queued since those of this list were last counted. A commit does
    /// so itself.
    pub fn note_sent(&self, writes: &mut PendingWrites) {
        self.sent.note(writes);
    }

    /// Returns the numbers of messages that were queued for connections.
    pub fn sent(&self) -> SentSums {
        self.sent.sums()
    }

    /// Returns the size of what waits in the inboxes of rooms, in bytes.
    pub fn room_inbox_bytes(&self) -> usize {
        self.states.inbox_bytes()
    }
}
