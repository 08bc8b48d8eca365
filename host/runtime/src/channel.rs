//! A channel and its current generation; the swap.
//!
//! A connection asks for the [current generation](Channel::current) with every event, so that the
//! event after a swap runs on the new code. A running call finishes on its instance, which is
//! dropped afterwards like the rest of the old generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::channel_context::ChannelContext;
use crate::instance::Instance;
use crate::pool::Pool;
use crate::slots::ChannelSlots;
use wharf_contract::close::Reason;
use wharf_contract::description::Description;
use wharf_hub::hub::EndPace;

/// One loaded version of a channel.
#[derive(Debug)]
pub struct Generation {
    /// Number, which counts the channel's generations from 1.
    pub number: u64,
    /// SHA-256 of the plugin's file.
    pub sha256: [u8; 32],
    /// Description by the plugin itself.
    pub description: Description,
    /// Instances.
    pub pool: Pool,
    /// Outcomes of its first events.
    beginning: Beginning,
    /// Number of sessions of earlier code that it could not read.
    unreadable_sessions: AtomicU64,
}

impl Generation {
    /// Returns a generation that has not served yet.
    pub fn new(number: u64, sha256: [u8; 32], description: Description, pool: Pool) -> Generation {
        let (beginning, unreadable_sessions) = Default::default();
        Generation { number, sha256, description, pool, beginning, unreadable_sessions }
    }
}

/// Failures in a row from the first event of a generation on after which the operator is warned.
const BAD_BEGINNING: u32 = 5;

/// The outcomes of a generation's first events: one that describes itself well may still fail in
/// each of them.
#[derive(Debug, Default)]
struct Beginning {
    /// True once an event has not failed. Written once, since all workers read it with each event.
    is_good: AtomicBool,
    failures: AtomicU32,
}

impl Beginning {
    /// Notes the outcome of an event. Returns true once: when all of the first events have failed.
    fn is_bad(&self, is_ok: bool) -> bool {
        if self.is_good.load(Ordering::Relaxed) {
            return false;
        }
        if is_ok {
            self.is_good.store(true, Ordering::Relaxed);
            return false;
        }
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 == BAD_BEGINNING
    }
}

/// A mounted channel. It outlives its generations, and its removal for as long as connections are
/// still ending.
#[derive(Debug)]
pub struct Channel {
    /// Data that all of its generations share.
    pub context: Arc<ChannelContext>,
    /// Slots, which bound its instances in use.
    pub slots: ChannelSlots,
    current: ArcSwap<Generation>,
    removed: AtomicBool,
}

impl Channel {
    /// Returns a channel with its first generation.
    pub fn new(context: Arc<ChannelContext>, slots: ChannelSlots, first: Generation) -> Channel {
        Channel {
            context,
            slots,
            current: ArcSwap::from_pointee(first),
            removed: AtomicBool::new(false),
        }
    }

    /// Returns the channel's name.
    pub fn name(&self) -> &str {
        &self.context.name
    }

    /// Returns the channel that has its data now: this one, or the one that came back after this one
    /// was removed and freed. A task that goes on for long asks before each event.
    pub(crate) fn successor(self: Arc<Channel>) -> Arc<Channel> {
        self.context.channel().unwrap_or(self)
    }

    /// Returns the generation that serves the next event.
    ///
    /// It is lent for a moment and not counted, since all workers would write the same count with
    /// each event. A holder that may outlive a swap clones the `Arc` in it.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// Keeps an instance for a later event, unless its generation was swapped out meanwhile.
    pub(crate) fn give_back(&self, instance: Box<Instance>) {
        let current = self.current();
        if current.number == instance.generation() {
            current.pool.give_back(instance);
        }
        self.context.memory.wake();
    }

    /// Notes the outcome of an event, and warns the operator if all events of a generation fail.
    pub(crate) fn note_outcome(&self, generation: u64, is_ok: bool) {
        let current = self.current();
        if current.number == generation && current.beginning.is_bad(is_ok) {
            tracing::warn!(
                channel = self.name(),
                generation,
                "the first {BAD_BEGINNING} events of this generation have all failed; put back the \
                 plugin's last good file if it goes on"
            );
        }
    }

    /// Counts a session of earlier code that a generation could not read. Returns their number if it is
    /// a power of ten: a line of the log for each connection would hide the others.
    pub(crate) fn note_unreadable_session(&self, generation: u64) -> Option<u64> {
        let current = self.current();
        if current.number != generation {
            return None;
        }
        let count = current.unreadable_sessions.fetch_add(1, Ordering::Relaxed) + 1;
        (10_u64.pow(count.ilog10()) == count).then_some(count)
    }

    /// Serves from now on with another generation. A removed channel comes back with it.
    /// Returns the generation before: to drop it may take long.
    pub fn swap(&self, next: Generation) -> Arc<Generation> {
        let before = self.current.swap(Arc::new(next));
        self.context.session_sample.renew();
        self.removed.store(false, Ordering::SeqCst);
        before
    }

    /// Takes the channel out of service. The generation stays for the last events of its connections,
    /// which [end](Channel::end) once the paths are gone.
    pub(crate) fn retire(&self) {
        self.removed.store(true, Ordering::SeqCst);
    }

    /// Cancels the timers of a channel that is out of service, and ends its connections, which may go
    /// on for a while where there are many.
    pub(crate) fn end(self: Arc<Channel>) {
        self.context.hub.cancel_timers();
        tokio::spawn(async move {
            self.context.hub.end_all(&mut EndPace::at_once(), Reason::Removed).await;
        });
    }

    /// Returns true if the channel is out of service.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_beginning_without_a_success_is_bad_and_only_once() {
        let bad = Beginning::default();
        let told: Vec<bool> = (0..8).map(|_| bad.is_bad(false)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        let good = Beginning::default();
        assert!(!good.is_bad(false) && !good.is_bad(true));
        assert!((0..8).all(|_| !good.is_bad(false)));
    }
}
