//! The limits of an instance, and its consumption.

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use wasmtime::ResourceLimiterAsync;

use super::budget::{Budget, Meter};
use crate::channel_context::ChannelContext;

/// Largest number of core instances, memories and tables of one component. One written in Rust has
/// four instances (its module and its adapters), one memory and two tables; one that is composed of
/// others, or made of many modules like Python's, has more. Each memory reserves addresses.
pub(super) const MAX_CORE_INSTANCES: usize = 512;
pub(super) const MAX_MEMORIES: usize = 8;
pub(super) const MAX_TABLES: usize = 64;

/// The limits of one instance.
#[derive(Debug)]
pub(super) struct InstanceLimits {
    channel: Arc<ChannelContext>,
    /// Largest size of all memories of the instance together, in bytes.
    memory_bytes: usize,
    /// True while the instance may have memory beyond the channel's limit: new code must be tried out
    /// when the old code has used up everything.
    is_trial: bool,
    /// The limit of memory that the present call has met, if any.
    pub(super) memory_denied: Option<Denied>,
    /// Budget of the present call.
    pub(super) budget: Budget,
    pub(super) meter: Arc<Meter>,
}

/// The limit of memory that was met.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Instance,
    Channel,
}

impl InstanceLimits {
    pub(super) fn new(channel: &Arc<ChannelContext>, meter: Arc<Meter>) -> InstanceLimits {
        channel.counters.instance_begins();
        InstanceLimits {
            channel: channel.clone(),
            memory_bytes: 0,
            is_trial: false,
            memory_denied: None,
            budget: Budget::start(&channel.config),
            meter,
        }
    }

    /// Lets the instance have memory beyond the channel's limit, or ends that.
    pub(super) fn set_trial(&mut self, is_trial: bool) {
        self.is_trial = is_trial;
    }

    /// Takes memory for the instance, and waits for it if others of the channel have it. Returns false
    /// if it has none after that. An instance that starts does not wait here: its event would rather
    /// have a warm one.
    async fn take(&self, bytes: usize) -> bool {
        let ChannelContext { memory, config, .. } = &*self.channel;
        let limit = config.max_channel_memory_bytes;
        if memory.take(bytes, limit) {
            return true;
        }
        if self.budget.is_start {
            return false;
        }
        let waiting = memory.wait();
        // The call has some of its time left after that, for an error that names the memory.
        let until = Instant::now() + config.instance_wait.min(self.budget.wall / 2);
        loop {
            let mut sign = pin!(waiting.sign());
            sign.as_mut().enable();
            // Warm instances have memory too, and events get new ones.
            while let Some(warm) =
                self.channel.channel().and_then(|it| it.current().pool.take_warm())
            {
                drop(warm);
                if memory.take(bytes, limit) {
                    return true;
                }
            }
            if memory.take(bytes, limit) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            waiting.until(sign, until).await;
        }
    }

    /// Returns true if the instance has used up so much that replacing it is better.
    pub(super) fn is_worn(&self) -> bool {
        self.memory_bytes > self.channel.config.max_memory_bytes / 2
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.channel.memory.give_back(self.memory_bytes);
        self.channel.counters.instance_ends();
    }
}

#[async_trait]
impl ResourceLimiterAsync for InstanceLimits {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let config = &self.channel.config;
        let total = self.memory_bytes.saturating_add(growth);
        if total > config.max_memory_bytes {
            self.memory_denied = Some(Denied::Instance);
            return Ok(false);
        }
        if self.is_trial {
            self.channel.memory.take_anyway(growth);
        } else if !self.take(growth).await {
            self.memory_denied = Some(Denied::Channel);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    async fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.channel.config.max_table_elements)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }
}
