//! What an instance may use, and what it has used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::ResourceLimiter;

use super::ChannelContext;
use super::budget::{Budget, Meter};

/// Core instances, memories and tables that one component may have. One written in Rust has four
/// instances (its module and what adapts it), one memory and two tables.
const MAX_CORE_INSTANCES: usize = 32;
const MAX_MEMORIES: usize = 4;
const MAX_TABLES: usize = 16;

/// The limits of one instance.
#[derive(Debug)]
pub(super) struct Limits {
    channel: Arc<ChannelContext>,
    /// Of all memories of the instance together.
    memory_bytes: usize,
    /// The present call has asked for more memory than it may have.
    pub(super) memory_denied: Option<Denied>,
    /// What the present call may use.
    pub(super) budget: Budget,
    pub(super) meter: Arc<Meter>,
}

/// Which limit of memory was met.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Instance,
    Channel,
}

impl Limits {
    pub(super) fn new(channel: &Arc<ChannelContext>, meter: Arc<Meter>) -> Limits {
        Limits {
            channel: channel.clone(),
            memory_bytes: 0,
            memory_denied: None,
            budget: Budget::start(&channel.config),
            meter,
        }
    }

    /// Whether the instance has used up so much that it is better replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.memory_bytes > self.channel.config.max_memory_bytes / 2
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.channel.memory_bytes.fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
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
        let of_channel = &self.channel.memory_bytes;
        let before = of_channel.fetch_add(growth, Ordering::Relaxed);
        if before.saturating_add(growth) > config.max_channel_memory_bytes {
            of_channel.fetch_sub(growth, Ordering::Relaxed);
            self.memory_denied = Some(Denied::Channel);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
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
