//! Warm instances of one generation: taken for an event, given back after it.

use std::sync::Arc;

use crate::channel_context::ChannelContext;
use crate::idle::Idle;
use crate::instance::{Failure, Instance};
use crate::plugin::Component;

/// Idle instances that a pool always keeps.
const MIN_IDLE: usize = 1;

/// The instances of one generation.
#[derive(Debug)]
pub struct Pool {
    component: Component,
    channel: Arc<ChannelContext>,
    generation: u64,
    /// Boxed, so that a call carries a pointer and not the instance.
    idle: Idle<Box<Instance>>,
}

impl Pool {
    /// Makes a pool that holds only `first`.
    pub fn new(
        component: Component,
        channel: Arc<ChannelContext>,
        generation: u64,
        first: Instance,
    ) -> Pool {
        let idle = Idle::new();
        idle.put(Box::new(first));
        Pool { component, channel, generation, idle }
    }

    /// Returns the component that the instances are made of.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Takes a warm instance, if there is one.
    pub(crate) fn take_warm(&self) -> Option<Box<Instance>> {
        self.idle.take()
    }

    /// Starts a new instance.
    ///
    /// # Errors
    ///
    /// The instance does not start.
    pub async fn start(&self) -> Result<Box<Instance>, Failure> {
        Instance::start(&self.component, &self.channel, self.generation).await.map(Box::new)
    }

    /// Returns the number of warm instances.
    pub fn idle_count(&self) -> usize {
        self.idle.count()
    }

    /// Starts instances until `count` are warm, or one cannot be started: events will show that again.
    pub(crate) async fn warm_up(&self, count: usize) {
        while self.idle.count() < count {
            match self.start().await {
                Ok(instance) => self.idle.put(instance),
                Err(_) => return,
            }
        }
    }

    /// Keeps an instance of this generation for a later event. Drops one that may not be used
    /// again, and surplus ones: the live instances, including idle ones, are about as many as may
    /// be in use.
    pub(crate) fn give_back(&self, instance: Box<Instance>) {
        if self.channel.ports.one_event_an_instance {
            return;
        }
        if instance.is_reusable() && (self.channel.live.has_room() || self.idle.is_empty()) {
            self.idle.put(instance);
        }
    }

    /// Takes out the instances that no worker has needed since the last trim. To drop them may take
    /// long.
    pub fn trim(&self) -> Vec<Box<Instance>> {
        self.idle.trim(MIN_IDLE)
    }
}
