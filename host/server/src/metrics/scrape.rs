//! A scrape: the numbers of this host as text.

use wharf_contract::fault::Fault;
use wharf_metrics::limits::Limit;
use wharf_metrics::table::{self, Metric};
use wharf_metrics::text::{Format, Text, seconds};

use super::Metrics;
use super::channel::{ChannelFacts, MEMORY};
use super::facts::{ClusterFacts, HostFacts};

/// A function that adds the samples of one channel to those of a metric.
type OfChannel = fn(&mut Text, &str, &ChannelFacts);

/// The metrics of channels.
const OF_CHANNELS: &[(&Metric, OfChannel)] = &[
    (table::CONNECTIONS, |text, name, of| text.sample(&[name], of.connections)),
    (table::CLOSED, |text, name, of| {
        of.closed.iter().for_each(|(why, count)| text.sample(&[name, why.token()], *count));
    }),
    (table::ROOMS, |text, name, of| text.sample(&[name], of.rooms)),
    (table::KEPT_ROOMS, |text, name, of| text.sample(&[name], of.kept_rooms)),
    (table::USERS, |text, name, of| text.sample(&[name], of.users)),
    (table::TIMERS, |text, name, of| text.sample(&[name], of.timers)),
    (table::MESSAGES_RECEIVED, |text, name, of| text.sample(&[name], of.received.0)),
    (table::RECEIVED_BYTES, |text, name, of| text.sample(&[name], of.received.1)),
    (table::MESSAGES_SENT, |text, name, of| text.sample(&[name], of.sent.messages)),
    (table::SENT_BYTES, |text, name, of| text.sample(&[name], of.sent.bytes)),
    (table::FAN_OUT, |text, name, of| text.receivers(&[name], &of.sent.broadcasts)),
    (table::QUEUED_BYTES, |text, name, of| text.sample(&[name], of.queues.bytes)),
    (table::SLOW, |text, name, of| text.sample(&[name], of.queues.slow)),
    (table::EVENTS, |text, name, of| {
        of.events.iter().for_each(|(kind, count)| text.sample(&[name, kind.name()], *count));
    }),
    (table::GUEST_CPU, |text, name, of| text.times(&[name], &of.cpu_times)),
    (table::GUEST_WALL, |text, name, of| text.times(&[name], &of.wall_times)),
    (table::FAILURES, |text, name, of| {
        for (generation, faults) in &of.recent_failures {
            let generation = generation.to_string();
            for (kind, count) in Fault::ALL.iter().zip(faults) {
                text.sample(&[name, &generation, kind.token()], *count);
            }
        }
    }),
    (table::POOL_WAIT, |text, name, of| text.times(&[name], &of.pool_waits)),
    (table::INSTANCE_START, |text, name, of| text.times(&[name], &of.start_times)),
    (table::INSTANCES, |text, name, of| {
        text.sample(&[name, "idle"], of.idle_instances);
        text.sample(&[name, "busy"], of.instances.saturating_sub(of.idle_instances));
    }),
    (table::GENERATION, |text, name, of| text.sample(&[name], of.generation)),
    (table::SWAPS, |text, name, of| text.sample(&[name], of.swaps)),
    (table::MEMORY, |text, name, of| {
        let kinds = MEMORY.iter().zip(of.memory);
        kinds.for_each(|(kind, bytes)| text.sample(&[name, kind], bytes));
    }),
    (table::STORE, |text, name, of| {
        for (operation, [refused, done]) in &of.store {
            text.sample(&[name, operation.name(), "done"], *done);
            text.sample(&[name, operation.name(), "refused"], *refused);
        }
    }),
    (table::HTTP, |text, name, of| {
        of.http.iter().for_each(|(result, count)| text.sample(&[name, result.name()], *count));
    }),
    (table::HTTP_TIME, |text, name, of| text.times(&[name], &of.http_times)),
];

impl Metrics {
    /// Returns the text of a scrape. Other tasks run between its parts.
    pub(crate) async fn scrape(&self, format: Format) -> String {
        let facts = self.facts().await;
        let mut text = Text::new(format);
        write_host(&mut text, &facts);
        for (metric, write) in OF_CHANNELS {
            text.metric(metric);
            for (at, channel) in facts.channels.iter().enumerate() {
                write(&mut text, &channel.name, channel);
                if at % 100 == 99 {
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::yield_now().await;
        }
        if let Some(cluster) = &facts.cluster {
            write_cluster(&mut text, cluster);
        }
        text.finish()
    }
}

fn write_host(text: &mut Text, facts: &HostFacts) {
    text.metric(table::BUILD);
    text.sample(&[env!("CARGO_PKG_VERSION")], true);
    text.metric(table::READY);
    text.sample(&[], facts.is_ready);
    text.metric(table::START_TIME);
    text.sample(&[], facts.started as f64 / 1e3);
    text.metric(table::CPU);
    text.sample(&[], facts.process.cpu_seconds);
    for (metric, value) in [
        (table::RESIDENT, facts.process.resident_bytes),
        (table::OPEN_FILES, facts.process.open_files),
        (table::MAX_FILES, facts.process.max_files),
    ] {
        if let Some(value) = value {
            text.metric(metric);
            text.sample(&[], value);
        }
    }
    text.metric(table::LAG);
    text.times(&[], &facts.lag);
    text.metric(table::HANDSHAKES);
    facts.handshakes.iter().for_each(|(result, count)| text.sample(&[result], *count));
    text.metric(table::LIMITS);
    Limit::ALL.iter().for_each(|limit| text.sample(&[limit.name()], limit.count()));
    for (metric, value) in [
        (table::MAX_CONNECTIONS, facts.max_connections),
        (table::OPEN_CONNECTIONS, facts.open_connections),
        (table::CLIENT_BYTES, facts.client_bytes),
        (table::MAX_CLIENT_BYTES, facts.max_client_bytes),
        (table::MAX_INSTANCES, facts.max_instances),
        (table::REFUSED_PLUGINS, facts.refused_plugins),
        (table::CHANNELS, facts.channel_count),
    ] {
        text.metric(metric);
        text.sample(&[], value);
    }
}

fn write_cluster(text: &mut Text, cluster: &ClusterFacts) {
    let link = &cluster.link;
    text.metric(table::CLUSTER_UP);
    text.sample(&[], cluster.is_up);
    text.metric(table::CLUSTER_NODES);
    text.sample(&[], cluster.nodes);
    text.metric(table::CLUSTER_PUBLISHED);
    text.sample(&[], link.published);
    text.metric(table::CLUSTER_RECEIVED);
    text.sample(&[], link.received);
    text.metric(table::CLUSTER_LOST);
    text.sample(&["out"], link.lost);
    text.sample(&["in"], link.overrun);
    text.metric(table::CLUSTER_WAITING);
    text.sample(&[], link.waiting_bytes);
    text.metric(table::CLUSTER_TOPICS);
    text.sample(&[], link.topics);
    text.metric(table::CLUSTER_RECONNECTS);
    text.sample(&[], link.interruptions);
    if let Some(time) = link.round_trip {
        text.metric(table::CLUSTER_ROUND_TRIP);
        text.sample(&[], seconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
    }
}
