//! Warm instances of one generation: taken for an event, given back after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::instance::{ChannelContext, Failure, Instance};
use crate::plugin::Component;

/// Idle instances that a pool keeps whatever happens.
const MIN_IDLE: usize = 1;

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
