//! The numbers of this host: for a scrape, and for the dashboard.
//!
//! Nothing is summed up, and no queue is looked at, until somebody asks. Two small tasks run while there is an
//! operator's API: one that measures by how much timers are late, and one that notes the times of handlers now and then,
//! for quantiles of about the last minute.

mod channel;
mod facts;
mod lag;
pub(crate) mod process;
mod recent;
mod scrape;
mod stats;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use wharf_hub::hub::QueueLoad;
use wharf_runtime::channel::Channel;

use crate::deploys::Deploys;
use crate::handshake::Front;
use lag::Lag;
use recent::Recent;

/// Time for which the load of the outbound queues is not looked at again: a scrape and a dashboard may ask at the same
/// time.
const LOADS_LAST: Duration = Duration::from_secs(1);

/// The numbers of this host.
pub(crate) struct Metrics {
    front: Arc<Front>,
    deploys: Arc<Deploys>,
    begun: Instant,
    lag: Lag,
    recent: Mutex<Recent>,
    loads: tokio::sync::Mutex<Loads>,
}

/// The loads of the channels' outbound queues, as they were a moment ago.
#[derive(Default)]
struct Loads {
    since: Option<Instant>,
    by_channel: HashMap<Arc<str>, QueueLoad>,
}

impl Metrics {
    /// Makes the numbers of a host that starts now.
    pub(crate) fn new(front: Arc<Front>, deploys: Arc<Deploys>) -> Arc<Metrics> {
        Arc::new(Metrics {
            front,
            deploys,
            begun: Instant::now(),
            lag: Lag::default(),
            recent: Mutex::default(),
            loads: tokio::sync::Mutex::default(),
        })
    }

    /// Measures until this is dropped.
    pub(crate) async fn measure(&self) {
        tokio::join!(self.lag.measure(), self.note_recent());
    }

    async fn note_recent(&self) {
        loop {
            for channel in self.channels() {
                let times = channel.context.counters.cpu_times();
                self.recent.lock().note(&channel.context.name, times);
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(recent::PAUSE).await;
            let channels = self.channels();
            let is_there =
                |name: &str| channels.binary_search_by(|known| known.name().cmp(name)).is_ok();
            self.recent.lock().retain(is_there);
        }
    }

    /// Returns the channels in service, by name.
    fn channels(&self) -> Vec<Arc<Channel>> {
        self.front.registry.in_service()
    }

    /// Returns the load of each channel's outbound queues, at most a second old. Other tasks have their turns while it
    /// is looked at, and others who ask meanwhile wait for the answer.
    async fn loads(&self, channels: &[Arc<Channel>]) -> HashMap<Arc<str>, QueueLoad> {
        let mut loads = self.loads.lock().await;
        if loads.since.is_none_or(|since| since.elapsed() >= LOADS_LAST) {
            let mut by_channel = HashMap::with_capacity(channels.len());
            for channel in channels {
                let load = channel.context.hub.queue_load().await;
                by_channel.insert(channel.context.name.clone(), load);
            }
            *loads = Loads { since: Some(Instant::now()), by_channel };
        }
        loads.by_channel.clone()
    }
}
