//! The part of a channel that outlives its generations.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::channel::Channel;
use crate::channel_counters::ChannelCounters;
use crate::channel_memory::ChannelMemory;
use crate::live_instances::LiveInstances;
use crate::log_budget::LogBudget;
use crate::long_calls::LongCalls;
use crate::ports::{GuestLine, Ports, TokenVerifier};
use crate::saved_samples::SessionSample;
use crate::working::Working;
use wharf_config::{ChannelConfig, Config};
use wharf_contract::text::escape;
use wharf_hub::hub::{Channels, Hub};
use wharf_hub::inbox::InboxLimits;
use wharf_hub::store::Store;
use wharf_metrics::limits::Limit;

/// The data that all generations and instances of a channel share.
#[derive(Debug)]
pub struct ChannelContext {
    /// Name of the channel.
    pub name: Arc<str>,
    /// Connections and rooms of the channel.
    pub hub: Arc<Hub>,
    /// Hubs of all channels in service.
    pub channels: Arc<Channels>,
    /// Key-value store of the channel.
    pub store: Arc<dyn Store>,
    /// Configuration of the host.
    pub config: Arc<Config>,
    /// Operator's table for this channel.
    pub own: Arc<ChannelConfig>,
    /// Log lines that it may still write.
    pub log_budget: LogBudget,
    /// Log lines that the host may still write about its failures: a channel that logs too much
    /// must not hide them.
    pub failure_budget: LogBudget,
    /// Permits for its connections, if they have a limit of their own.
    pub connections: Option<Arc<Semaphore>>,
    /// Permits for outgoing HTTP requests.
    pub http_requests: Arc<Semaphore>,
    /// Permits for looking up the names of other servers.
    pub lookups: Arc<Semaphore>,
    /// Memory of its instances together.
    pub memory: ChannelMemory,
    /// Counters, for metrics.
    pub counters: ChannelCounters,
    /// Turns of the calls that compute for long.
    pub long_calls: Arc<LongCalls>,
    /// Number of the last generation that has read claims of tokens though none are checked.
    pub unchecked_tokens: AtomicU64,
    /// A session, for new code to be tried with.
    pub session_sample: SessionSample,
    /// The channel itself, as long as it is mounted: one that was removed may come back as another.
    pub mounted: Mutex<Weak<Channel>>,
    /// Counter of the work that a host which stops waits for.
    pub working: Working,
    /// Counter of the instances of all channels.
    pub live: LiveInstances,
    /// Ports of the host.
    pub ports: Ports,
}

impl ChannelContext {
    /// Returns a text of the guest as a log shows it: its first `limit` bytes on one line, without
    /// the channel's secrets.
    pub fn shown(&self, text: &str, limit: usize) -> String {
        escape(&self.own.secrets.hide(text, limit))
    }

    /// Returns the channel itself, as long as it is mounted.
    pub(crate) fn channel(&self) -> Option<Arc<Channel>> {
        self.mounted.lock().upgrade()
    }

    /// Returns the size of the data that is kept when the channel is removed: its store, the states and messages of
    /// its rooms, and its rate limits.
    pub(crate) fn kept_bytes(&self) -> usize {
        let hub = &self.hub;
        let in_hub = [hub.room_state_bytes(), hub.rate_limit_bytes(), hub.history_bytes()];
        in_hub.into_iter().fold(self.store.bytes(), usize::saturating_add)
    }

    /// Returns the bounds of the inbox of one connection.
    pub fn inbox_limits(&self) -> InboxLimits {
        let (events, bytes) = (self.config.inbox_events, self.config.inbox_bytes);
        InboxLimits { events, bytes, channel_bytes: usize::MAX }
    }

    /// Returns the bounds of the inbox of one room, and of those of the channel's rooms together.
    pub fn room_inbox_limits(&self) -> InboxLimits {
        let (events, bytes) = (self.config.room_inbox_events, self.config.room_inbox_bytes);
        InboxLimits { events, bytes, channel_bytes: self.config.max_channel_inbox_bytes }
    }

    /// Writes a guest's line, if its level is enabled and the channel may still write one.
    pub fn log(&self, line: &GuestLine<'_>) {
        // Lines of a disabled level must not use up the budget of the others.
        if !self.ports.log.is_enabled(line.level) {
            return;
        }
        match self.log_budget.take() {
            true => self.ports.log.write(line),
            false => Limit::LogLines.reached(),
        }
    }

    /// Returns the verifier of its clients' tokens, if they are checked.
    pub fn token_verifier(&self) -> Option<Arc<dyn TokenVerifier>> {
        self.ports.tokens.of_channel(&self.name)
    }
}
