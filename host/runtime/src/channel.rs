//! A channel and its current generation; the swap.
//!
//! A connection asks for the [current generation](Channel::current) with every event, so that the
//! event after a swap runs on the new code. A running call finishes on its instance, which is
//! dropped afterwards like the rest of the old generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::channel_context::ChannelContext;
use crate::instance::Instance;
use crate::pool::Pool;
use crate::slots::ChannelSlots;
use wharf_contract::close::Reason;
use wharf_contract::description::Description;

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
    }

    /// Serves from now on with another generation. A removed channel comes back with it.
    pub fn swap(&self, next: Generation) {
        self.current.store(Arc::new(next));
        self.removed.store(false, Ordering::SeqCst);
    }

    /// Takes the channel out of service: its timers are cancelled and its connections end. The
    /// generation stays for their last events.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.context.hub.cancel_timers();
        self.context.hub.end_all(Reason::Removed);
    }

    /// Returns true if the channel is out of service.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }
}
