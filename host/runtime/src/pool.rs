//! Warm instances of one generation: taken for an event, given back after it.
//!
//! How many may be in use at a time is bounded for each channel and for all together. Each
//! channel has a few in reserve that nobody else can take, so that one busy channel leaves the
//! others able to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::instance::{ChannelContext, Failure, Instance};
use crate::plugin::Component;

/// Idle instances that a pool keeps whatever happens.
const MIN_IDLE: usize = 1;

/// How many instances may be in use at a time, over all channels. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedSlots(Arc<Semaphore>);

impl SharedSlots {
    /// So many beyond each channel's reserve.
    pub fn new(max_instances: usize) -> SharedSlots {
        SharedSlots(Arc::new(Semaphore::new(max_instances)))
    }
}

/// How many instances of one channel may be in use at a time, over all of its generations.
#[derive(Debug)]
pub struct ChannelSlots {
    channel: Semaphore,
    reserved: Semaphore,
    shared: SharedSlots,
}

/// The right to use one instance, of whichever generation serves when it is used. Dropping it gives
/// the right back.
#[derive(Debug)]
pub struct Slot<'a> {
    slots: &'a ChannelSlots,
    /// Taken from the channel's reserve, not from what all share.
    is_reserved: bool,
}

impl ChannelSlots {
    /// At most `max`, of which `reserved` need no shared slot.
    pub fn new(max: usize, reserved: usize, shared: SharedSlots) -> ChannelSlots {
        ChannelSlots {
            channel: Semaphore::new(max.max(1)),
            reserved: Semaphore::new(reserved.clamp(1, max.max(1))),
            shared,
        }
    }

    /// Wait for a slot. Whoever waits has its place: slots are given in the order asked for.
    pub async fn take(&self) -> Slot<'_> {
        // The semaphores are never closed, so that acquiring cannot fail.
        let channel = self.channel.acquire().await;
        let is_reserved = match self.reserved.try_acquire() {
            Ok(reserved) => {
                reserved.forget();
                true
            }
            Err(_) => tokio::select! {
                Ok(reserved) = self.reserved.acquire() => { reserved.forget(); true }
                Ok(shared) = self.shared.0.acquire() => { shared.forget(); false }
            },
        };
        // Only now, so that whoever gives up waiting gives the channel's permit back.
        if let Ok(channel) = channel {
            channel.forget();
        }
        Slot { slots: self, is_reserved }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let from = if self.is_reserved { &self.slots.reserved } else { &self.slots.shared.0 };
        from.add_permits(1);
        self.slots.channel.add_permits(1);
    }
}

/// The instances of one generation.
#[derive(Debug)]
pub struct Pool {
    component: Component,
    channel: Arc<ChannelContext>,
    generation: u64,
    /// Last in, first out: the warmest is taken first. Boxed, so that a lease carries a pointer and
    /// not the instance.
    #[expect(clippy::vec_box, reason = "instances move between here and leases all the time")]
    idle: Mutex<Vec<Box<Instance>>>,
    /// The fewest that were idle since the last trim: so many were not needed.
    fewest_idle: AtomicUsize,
}

impl Pool {
    /// A pool with no instance yet but `first`.
    pub fn new(
        component: Component,
        channel: Arc<ChannelContext>,
        generation: u64,
        first: Instance,
    ) -> Pool {
        Pool {
            component,
            channel,
            generation,
            idle: Mutex::new(vec![Box::new(first)]),
            fewest_idle: AtomicUsize::new(0),
        }
    }

    /// The component that the instances are made of.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Takes an instance that is warm, if there is one.
    pub fn take_warm(&self) -> Option<Box<Instance>> {
        let mut idle = self.idle.lock();
        let warm = idle.pop();
        self.fewest_idle.fetch_min(idle.len(), Ordering::Relaxed);
        warm
    }

    /// Starts a new instance.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start(&self) -> Result<Box<Instance>, Failure> {
        Instance::start(&self.component, &self.channel, self.generation).await.map(Box::new)
    }

    /// Keeps an instance of this generation for a later event. One that may not be used again is
    /// dropped, and so is one too many: all that live, idle ones included, are about as many as may
    /// be in use.
    pub fn give_back(&self, instance: Box<Instance>) {
        if instance.is_reusable() {
            let mut idle = self.idle.lock();
            if idle.len() < MIN_IDLE || self.channel.live.has_room() {
                idle.push(instance);
            }
        }
    }

    /// Drop the instances that were not needed since the last trim.
    pub fn trim(&self) {
        let dropped: Vec<_> = {
            let mut idle = self.idle.lock();
            let unneeded = self.fewest_idle.swap(idle.len(), Ordering::Relaxed);
            let keep = idle.len().saturating_sub(unneeded).max(MIN_IDLE).min(idle.len());
            // The bottom of the stack is the coldest.
            let surplus = idle.len() - keep;
            idle.drain(..surplus).collect()
        };
        drop(dropped);
    }
}
