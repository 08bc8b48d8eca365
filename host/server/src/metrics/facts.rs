//! The numbers of the host at some time.

use std::time::Duration;

use wharf_hub::client_bytes;
use wharf_hub::peers::LinkFacts;
use wharf_metrics::histogram::Times;

use super::Metrics;
use super::channel::ChannelFacts;
use super::process::Process;
use crate::readiness;

/// Channels with numbers of their own in a scrape; the further ones, by name, are summed up.
const MAX_CHANNELS: usize = 1000;

/// The numbers of the host.
pub(super) struct HostFacts {
    pub(super) name: String,
    /// Time of the start, in milliseconds since 1970.
    pub(super) started: u64,
    pub(super) uptime: Duration,
    pub(super) is_ready: bool,
    pub(super) process: Process,
    pub(super) lag: Times,
    /// Longest lag of the last second, in nanoseconds.
    pub(super) last_lag: u64,
    pub(super) handshakes: Vec<(&'static str, u64)>,
    pub(super) not_accepted: u64,
    pub(super) open_connections: usize,
    pub(super) max_connections: usize,
    pub(super) client_bytes: usize,
    pub(super) max_client_bytes: usize,
    pub(super) max_instances: usize,
    pub(super) refused_plugins: usize,
    /// Number of channels in service.
    pub(super) channel_count: usize,
    pub(super) channels: Vec<ChannelFacts>,
    pub(super) cluster: Option<ClusterFacts>,
}

/// The numbers of the cluster, as this host sees it.
pub(super) struct ClusterFacts {
    pub(super) is_up: bool,
    pub(super) nodes: usize,
    pub(super) link: LinkFacts,
}

impl Metrics {
    /// Gathers the numbers, and lets other tasks run in between.
    pub(super) async fn facts(&self) -> HostFacts {
        let front = &self.front;
        let (registry, config) = (&front.registry, &front.config);
        let channels = self.channels();
        let loads = self.loads(&channels).await;
        let mut all: Vec<ChannelFacts> = Vec::with_capacity(channels.len());
        for (at, channel) in channels.iter().enumerate() {
            let load = loads.get(channel.name()).copied().unwrap_or_default();
            let facts = ChannelFacts::of(channel, load);
            match all.last_mut() {
                Some(others) if at > MAX_CHANNELS => others.add(&facts),
                _ => all.push(facts),
            }
            tokio::task::yield_now().await;
        }
        if let Some(first) = all.get_mut(MAX_CHANNELS) {
            first.name = std::sync::Arc::from("");
        }
        let nodes = self.deploys.nodes();
        let own = nodes.first();
        let cluster = registry.cluster().map(|cluster| ClusterFacts {
            is_up: cluster.failure().is_none(),
            nodes: nodes.len(),
            link: cluster.link(),
        });
        HostFacts {
            name: own.map(|node| node.name.clone()).unwrap_or_default(),
            started: own.map(|node| node.started).unwrap_or_default(),
            uptime: self.begun.elapsed(),
            is_ready: !readiness::is_stopping(front) && registry.readiness().is_ready(),
            process: Process::read().await,
            lag: self.lag.times(),
            last_lag: self.lag.of_last_second(),
            handshakes: front.results.all().collect(),
            not_accepted: front.results.not_accepted(),
            open_connections: front.connections(),
            max_connections: config.max_connections,
            client_bytes: client_bytes::counted(),
            max_client_bytes: config.max_client_bytes,
            max_instances: config.max_instances,
            refused_plugins: registry.refusals().len(),
            channel_count: channels.len(),
            channels: all,
            cluster,
        }
    }
}
