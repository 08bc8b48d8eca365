//! The mounted channels: the content of the plugin folder as generations and routes.
//!
//! - `follow`: changes of the folder, in order for each file; further attempts of refused files.
//! - `load`: one file: compiled off the event loop, compared with the contract, called once
//!   (`describe`). Bad code never replaces good code.
//! - `mount`: fit code becomes the generation that serves, all in one step where paths move between
//!   files.
//! - `deployed`: code that comes by a deployment, and not from the folder.
//! - `readiness`: the files that are not served, and the question if the host is ready.
//! - `tidy`: what is not used is dropped; removed channels are freed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::channel::Channel;
use crate::channel_context::ChannelContext;
use crate::channel_counters::ChannelCounters;
use crate::channel_memory::ChannelMemory;
use crate::live_instances::LiveInstances;
use crate::log_budget::LogBudget;
use crate::long_calls::LongCalls;
use crate::plugin::{Engine, on_thread};
use crate::ports::{MAX_LOOKUPS_PER_CHANNEL, Ports};
use crate::presence_events::PresenceTeller;
use crate::room_events::RoomRunner;
use crate::saved_samples::SessionSample;
use crate::slots::{ChannelSlots, SharedSlots};
use crate::working::Working;
use wharf_config::Config;
use wharf_contract::close::Reason;
use wharf_contract::pattern::Pattern;
use wharf_contract::router::Router;
use wharf_contract::text::escape;
use wharf_engine::Unavailable;
use wharf_hub::hub::{Channels, EndPace, Hub};
use wharf_hub::peers::Cluster;
use wharf_hub::presence::PresenceTiming;
use wharf_hub::store::{Memory, Store};

mod deployed;
mod follow;
mod load;
mod load_outcome;
mod mount;
mod readiness;
mod tidy;

#[cfg(test)]
mod tests;

pub use deployed::{Tried, Unfit};
pub use readiness::{Readiness, Refusal};
use tidy::KeptChannels;

/// Path patterns and the channels that they belong to.
pub type Routes = Router<Arc<Channel>>;

/// The mounted channels.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    engine: Engine,
    shared_slots: SharedSlots,
    live: LiveInstances,
    working: Working,
    ports: Ports,
    routes: ArcSwap<Routes>,
    channels: Mutex<BTreeMap<String, Mounted>>,
    /// Data of removed channels that are not mounted any more.
    kept: Mutex<KeptChannels>,
    /// Files that are not served, by the channel's name.
    refusals: Mutex<BTreeMap<String, Refusal>>,
    /// Orders about deployed code.
    orders: deployed::Orders,
    /// True until the files of the start have been looked at.
    is_starting: AtomicBool,
    /// True once every file of the folder was served.
    was_complete: AtomicBool,
}

#[derive(Clone, Debug)]
struct Mounted {
    channel: Arc<Channel>,
    patterns: Vec<Pattern>,
}

/// A plugin's file. Its content is kept only while it is loaded.
#[derive(Clone)]
struct PluginFile {
    name: String,
    path: PathBuf,
    /// Size in bytes.
    size: usize,
    sha256: [u8; 32],
}

impl Registry {
    /// Creates a registry without channels.
    pub fn new(config: Arc<Config>, engine: Engine, ports: Ports) -> Registry {
        Registry {
            ports,
            shared_slots: SharedSlots::new(config.max_instances),
            live: LiveInstances::new(config.max_instances),
            working: Working::default(),
            config,
            engine,
            routes: ArcSwap::from_pointee(Router::default()),
            channels: Mutex::default(),
            kept: Mutex::default(),
            refusals: Mutex::default(),
            orders: deployed::Orders::new(),
            is_starting: AtomicBool::new(false),
            was_complete: AtomicBool::new(false),
        }
    }

    /// Returns the cluster that the host is in; `None` for a single host.
    pub fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.ports.cluster.as_ref()
    }

    /// Returns the hubs of the channels in service, by name, to which channels publish.
    pub fn hubs(&self) -> &Arc<Channels> {
        &self.ports.hubs
    }

    /// Returns the present routes, to be used at once: they are lent and not counted.
    pub fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Returns every channel that is mounted, by name, with those that are out of service and have
    /// connections that are ending.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().values().map(|mounted| mounted.channel.clone()).collect()
    }

    /// Returns the channels in service, by name.
    pub fn in_service(&self) -> Vec<Arc<Channel>> {
        self.channels().into_iter().filter(|channel| !channel.is_removed()).collect()
    }

    /// Returns the channel of that name, if it is in service.
    pub fn find(&self, name: &str) -> Option<Arc<Channel>> {
        let channel = self.channels.lock().get(name).map(|mounted| mounted.channel.clone());
        channel.filter(|channel| !channel.is_removed())
    }

    /// Returns the counter of the work that a host which stops waits for.
    pub fn working(&self) -> &Working {
        &self.working
    }

    /// Asks every connection of every channel to end, at this pace.
    pub async fn end_all(&self, pace: &mut EndPace, reason: Reason) {
        for channel in self.channels() {
            channel.context.hub.end_all(pace, reason).await;
        }
    }

    /// Returns the number of the generation that serves a channel.
    fn serving(&self, name: &str) -> Option<u64> {
        let channels = self.channels.lock();
        let mounted = channels.get(name).filter(|mounted| !mounted.channel.is_removed())?;
        Some(mounted.channel.current().number)
    }

    /// Logs the tables of channels that do not exist: such a table is a typo, or waits for a
    /// plugin.
    fn log_unused_tables(&self) {
        let mounted = self.channels();
        for name in self.config.channels.keys() {
            if !mounted.iter().any(|channel| self.config.is_table_of(name, channel.name())) {
                tracing::warn!(
                    channel = escape(name),
                    "the configuration has a table for a channel whose plugin is not there"
                );
            }
        }
    }

    /// Makes the data of a channel, with its records. They are read on a thread that may wait for the disk.
    async fn context(&self, name: &str) -> Result<Arc<ChannelContext>, Unavailable> {
        let timing = PresenceTiming {
            interval: self.config.presence_interval,
            grace: self.config.presence_grace,
        };
        let store_bytes = self.config.max_store_bytes;
        let own = self.config.channel(name);
        let (rules, history_bytes) = (own.history.clone(), self.config.max_channel_history_bytes);
        let clock = self.ports.clock.clone();
        let clock = Box::new(move || u64::try_from(clock.wall().as_millis()).unwrap_or(u64::MAX));
        let mut hub = Hub::new(timing).with_history(rules, history_bytes, clock);
        if let Some(cluster) = &self.ports.cluster {
            hub = hub
                .with_peers(cluster.peers(name))
                .with_owners(cluster.owners(name))
                .with_logs(cluster.logs(name, history_bytes));
        }
        let shared = self.ports.cluster.as_ref().map(|cluster| cluster.store(name, store_bytes));
        let (hub, store): (Hub, Arc<dyn Store>) = match self.ports.data.clone() {
            None => (hub, shared.unwrap_or_else(|| Arc::new(Memory::new(store_bytes)))),
            Some(disk) => {
                let name = name.to_owned();
                let read = move || -> Result<(Hub, Arc<dyn Store>), Unavailable> {
                    let records = disk.records(&name)?;
                    // In a cluster the engine has the records.
                    let hub = match shared {
                        Some(_) => hub,
                        None => hub.recorded(records.clone())?,
                    };
                    let store: Arc<dyn Store> = match shared {
                        Some(shared) => shared,
                        None => Arc::new(Memory::recorded(store_bytes, records)?),
                    };
                    Ok((hub, store))
                };
                let read = on_thread(move |done| drop(done.send(read())));
                read.await.map_err(|error| Unavailable::new(&error.to_string()))??
            }
        };
        let lines = u32::try_from(self.config.log_lines_per_second).unwrap_or(u32::MAX);
        let connections = match own.max_connections(&self.config) {
            0 => None,
            limit => Some(Arc::new(Semaphore::new(limit))),
        };
        let context = Arc::new(ChannelContext {
            name: Arc::from(name),
            hub: Arc::new(hub),
            channels: self.ports.hubs.clone(),
            store,
            config: self.config.clone(),
            own,
            log_budget: LogBudget::of_channel(name, lines),
            failure_budget: LogBudget::of_failures(name, lines),
            connections,
            http_requests: Arc::new(Semaphore::new(self.config.max_http_requests_per_channel)),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_PER_CHANNEL)),
            memory: ChannelMemory::default(),
            counters: ChannelCounters::default(),
            long_calls: Arc::new(LongCalls::new(self.config.workers)),
            unchecked_tokens: AtomicU64::new(0),
            session_sample: SessionSample::default(),
            mounted: Mutex::default(),
            working: self.working.clone(),
            live: self.live.clone(),
            ports: self.ports.clone(),
        });
        context.hub.run_room_events_with(Box::new(RoomRunner::new(&context)));
        context.hub.tell_of_presence(Box::new(PresenceTeller::new(&context)));
        Ok(context)
    }

    fn slots(&self) -> ChannelSlots {
        let config = &self.config;
        ChannelSlots::new(
            config.max_instances_per_channel,
            config.reserved_instances_per_channel,
            self.shared_slots.clone(),
        )
    }
}

/// Returns the routes of all channels in service. Patterns have been compared before a channel is
/// mounted, so that no two of them are the same here.
fn routes(channels: &BTreeMap<String, Mounted>) -> Routes {
    let mut routes = Router::default();
    for mounted in channels.values().filter(|mounted| !mounted.channel.is_removed()) {
        for pattern in &mounted.patterns {
            let _ = routes.insert(pattern.clone(), mounted.channel.clone());
        }
    }
    routes
}

/// Returns bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
