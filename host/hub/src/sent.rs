//! Counters of the messages that are queued for the clients of a channel.

use wharf_metrics::blocks::Blocks;
use wharf_metrics::counter::Counter;
use wharf_metrics::fan_out::{FanOut, Receivers};

use crate::outbound::PendingWrites;

/// The messages that were queued for the clients of a channel.
#[derive(Debug, Default)]
pub struct SentCounters(Blocks<Sent>);

#[derive(Debug, Default)]
struct Sent {
    messages: Counter,
    bytes: Counter,
    broadcasts: FanOut,
}

/// The sums of these counters at some time.
#[derive(Clone, Debug, Default)]
pub struct SentSums {
    /// Number of messages, once for each receiver.
    pub messages: u64,
    /// Their bytes, with those of their frames.
    pub bytes: u64,
    /// Receivers of broadcasts.
    pub broadcasts: Receivers,
}

impl SentCounters {
    /// Counts the frames that were queued since the frames of this list were last counted.
    pub(crate) fn note(&self, writes: &mut PendingWrites) {
        let (messages, bytes) = writes.take_queued();
        if messages > 0
            && let Some(own) = self.0.own()
        {
            own.add(&own.messages, messages);
            own.add(&own.bytes, bytes);
        }
    }

    /// Counts a broadcast.
    pub(crate) fn broadcast(&self, receivers: usize) {
        if let Some(own) = self.0.own() {
            own.broadcasts.record(&own, receivers as u64);
        }
    }

    /// Returns the sums.
    pub(crate) fn sums(&self) -> SentSums {
        SentSums {
            messages: self.0.sum(|sent| &sent.messages),
            bytes: self.0.sum(|sent| &sent.bytes),
            broadcasts: Receivers::of(self.0.all().map(|sent| &sent.broadcasts)),
        }
    }
}
