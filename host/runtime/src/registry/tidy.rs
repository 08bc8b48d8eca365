//! Unused things, which are dropped: instances, states of rooms, removed channels.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::Registry;
use crate::channel_context::ChannelContext;
use wharf_config::Config;

/// Time between two trims of idle instances.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Shortest and longest time between two looks at the rooms' states.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(10);
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Largest number of removed channels whose data is kept.
const MAX_KEPT: usize = 16;

/// The data of removed channels, for when their plugins come back.
#[derive(Debug, Default)]
pub(super) struct KeptChannels(BTreeMap<String, Kept>);

#[derive(Debug)]
struct Kept {
    context: Arc<ChannelContext>,
    /// Number of its last generation.
    generation: u64,
    since: Instant,
}

impl KeptChannels {
    fn put(&mut self, name: String, context: Arc<ChannelContext>, generation: u64) {
        self.0.insert(name, Kept { context, generation, since: Instant::now() });
    }

    /// Takes out the oldest ones until the rest is within the bounds: all of them together may have as
    /// many bytes as one channel. To drop them may take long.
    fn surplus(&mut self, config: &Config) -> Vec<Arc<ChannelContext>> {
        let most = config.max_store_bytes.saturating_add(config.max_channel_state_bytes);
        let most = most.saturating_add(config.max_channel_history_bytes);
        let mut surplus = Vec::new();
        let mut bytes: usize = self.0.values().map(|kept| kept.context.kept_bytes()).sum();
        while self.0.len() > MAX_KEPT || (bytes > most && self.0.len() > 1) {
            let oldest = self.0.iter().min_by_key(|(_, kept)| kept.since);
            let oldest = oldest.map(|(name, _)| name.clone());
            let Some(kept) = oldest.and_then(|name| self.0.remove(&name)) else {
                break;
            };
            bytes = bytes.saturating_sub(kept.context.kept_bytes());
            surplus.push(kept.context);
        }
        surplus
    }

    /// Returns the data of a channel, and the number of its last generation.
    pub(super) fn get(&self, name: &str) -> Option<(Arc<ChannelContext>, u64)> {
        self.0.get(name).map(|kept| (kept.context.clone(), kept.generation))
    }

    /// Forgets a channel, which is mounted again.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Takes out what is older than `grace`.
    fn expired(&mut self, grace: Duration) -> Vec<Arc<ChannelContext>> {
        let is_expired = |_: &String, kept: &mut Kept| kept.since.elapsed() >= grace;
        let expired = self.0.extract_if(.., is_expired);
        expired.map(|(_, kept)| kept.context).collect()
    }
}

impl Registry {
    async fn sweep(&self) {
        self.free_removed();
        let grace = self.config.room_state_grace;
        for channel in self.channels() {
            channel.context.hub.sweep(grace).await;
        }
    }

    async fn trim(&self) {
        for channel in self.channels() {
            channel.slots.trim();
            discard(channel.current().pool.trim());
            while channel.context.store.sweep() {
                tokio::task::yield_now().await;
            }
            if channel.context.hub.has_filled_history() && channel.context.failure_budget.take() {
                tracing::warn!(
                    channel = channel.name(),
                    "max_channel_history_bytes is reached: rooms keep fewer messages than their rules let them"
                );
            }
            channel.context.log_budget.settle();
            channel.context.failure_budget.settle();
            // One channel after the other: each may have much to drop.
            tokio::task::yield_now().await;
        }
    }

    /// Frees the removed channels whose connections have ended: code, instances, slots. Their data
    /// stays for a while.
    fn free_removed(&self) {
        let mut channels = self.channels.lock();
        let is_over = |_: &String, mounted: &mut super::Mounted| {
            mounted.channel.is_removed() && mounted.channel.context.hub.connection_count() == 0
        };
        let freed: Vec<_> = channels.extract_if(.., is_over).collect();
        let mut kept = self.kept.lock();
        for (name, mounted) in &freed {
            let channel = &mounted.channel;
            // Those that were set while its connections ended: nobody could handle their firings.
            channel.context.hub.cancel_timers();
            kept.put(name.clone(), channel.context.clone(), channel.current().number);
        }
        let mut dropped = kept.expired(self.config.removed_data_grace);
        if !freed.is_empty() {
            dropped.extend(kept.surplus(&self.config));
        }
        drop((kept, channels));
        discard(freed);
        discard(dropped);
    }
}

/// Drops things that are large, on a thread of its own: an event must not wait for that.
pub(super) fn discard<T: Send + 'static>(things: Vec<T>) {
    if things.is_empty() {
        return;
    }
    // Without a thread they are dropped here: the closure is, with the error.
    let _ = thread::Builder::new().name("discard".to_owned()).spawn(move || drop(things));
}

/// Drops unused instances and states, as long as the registry exists. Separate from the changes,
/// since one of them may take long.
pub(super) async fn tidy_up(registry: Weak<Registry>) {
    let Some(interval) = registry.upgrade().map(|registry| sweep_interval(&registry.config)) else {
        return;
    };
    let mut trim = tokio::time::interval(TRIM_INTERVAL);
    let mut sweep = tokio::time::interval(interval);
    loop {
        let is_trim = tokio::select! {
            _ = trim.tick() => true,
            _ = sweep.tick() => false,
        };
        match registry.upgrade() {
            Some(registry) if is_trim => registry.trim().await,
            Some(registry) => registry.sweep().await,
            None => return,
        }
    }
}

/// Returns the time between two looks at rooms that may have been empty for long enough.
fn sweep_interval(config: &Config) -> Duration {
    (config.room_state_grace / 2).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::registry;

    #[tokio::test]
    async fn what_removed_channels_keep_is_bounded_together_and_the_oldest_makes_room() {
        let mut config = Config::default();
        (config.max_store_bytes, config.max_channel_state_bytes) = (10_000, 1_000);
        config.max_channel_history_bytes = 0;
        let registry = registry(config);
        let mut kept = KeptChannels::default();
        let mut remove = async |name: &str, bytes: usize| -> (usize, Vec<String>) {
            let context = registry.context(name).await.expect("everything is in memory");
            let stored = context.store.set("key", vec![0; bytes].into(), None).await;
            stored.expect("it fits");
            kept.put(name.to_owned(), context, 1);
            let surplus = kept.surplus(&registry.config);
            (kept.0.len(), surplus.iter().map(|context| context.name.to_string()).collect())
        };
        assert_eq!(remove("a", 4_000).await, (1, vec![]));
        assert_eq!(remove("b", 4_000).await, (2, vec![]));
        assert_eq!(remove("c", 4_000).await, (2, vec!["a".to_owned()]));
        assert_eq!(remove("d", 9_500).await, (1, vec!["b".to_owned(), "c".to_owned()]));
        assert_eq!(remove("e", 9_500).await, (1, vec!["d".to_owned()]));
        for number in 0..MAX_KEPT {
            remove(&number.to_string(), 1).await;
        }
        assert_eq!(remove("last", 1).await, (MAX_KEPT, vec!["0".to_owned()]));
    }
}
