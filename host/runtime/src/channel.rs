//! A channel and its current generation; the swap.
//!
//! A connection asks for the [current generation](Channel::current) with every event, so that the
//! event after a swap runs on the new code. A call that is running finishes on the instance that it
//! has. What that was made of goes with it, as everything else of the old generation has by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};

use crate::instance::{ChannelContext, Instance};
use crate::pool::Pool;
use crate::slots::ChannelSlots;
use wharf_contract::close::Reason;
use wharf_contract::description::Description;

/// One loaded version of a channel.
#[derive(Debug)]
pub struct Generation {
    /// Counts the channel's generations from 1.
    pub number: u64,
    /// The SHA-256 of the plugin's file.
    pub sha256: [u8; 32],
    /// What it says of itself.
    pub description: Description,
    /// Its instances.
    pub pool: Pool,
}

/// What an author wrote, mounted. It outlives its generations, and its removal for as long as
/// connections are still ending.
#[derive(Debug)]
pub struct Channel {
    /// What all of its generations share.
    pub context: Arc<ChannelContext>,
    /// How many of its instances may be in use.
    pub slots: ChannelSlots,
    current: ArcSwap<Generation>,
    removed: AtomicBool,
}

impl Channel {
    /// A channel with its first generation.
    pub fn new(context: Arc<ChannelContext>, slots: ChannelSlots, first: Generation) -> Channel {
        Channel {
            context,
            slots,
            current: ArcSwap::from_pointee(first),
            removed: AtomicBool::new(false),
        }
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.context.name
    }

    /// Returns the generation that serves the next event.
    ///
    /// It is lent for a moment and not counted, since all workers would write the same count with
    /// each event. What may outlive a swap clones the `Arc` in it.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// Keeps an instance for a later event, unless its generation was swapped out meanwhile.
    pub fn give_back(&self, instance: Box<Instance>) {
        let current = self.current();
        if current.number == instance.generation() {
            current.pool.give_back(instance);
        }
    }

    /// Serve from now on with another generation. A removed channel comes back with it.
    pub fn swap(&self, next: Generation) {
        self.current.store(Arc::new(next));
        self.removed.store(false, Ordering::SeqCst);
    }

    /// Take the channel out of service: its timers are cancelled and its connections end. The
    /// generation stays for their last events.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.context.hub.cancel_timers();
        self.context.hub.end_all(Reason::Removed);
    }

    /// Whether the channel is out of service.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }
}
