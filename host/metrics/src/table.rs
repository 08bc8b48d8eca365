//! Every metric, with its name, its labels and its sentence. `docs/metrics.md` has the same table, which a test
//! compares, and so are the names in the files under `deploy/`.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name, with the suffix of its samples for a counter.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Names of the labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// Sentence for people.
    pub help: &'static str,
}

/// A kind of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the process on.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size, with their sum.
    Histogram,
}

impl Kind {
    /// Returns the name in a scrape.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Makes a constant of each metric, and the list of all.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: &Metric = &Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every metric, in the order of a scrape.
        pub const ALL: &[&Metric] = &[$($constant),+];
    };
}

metrics! {
    BUILD = Gauge "wharf_build_info" ["version"] "1, with the version of the host.";
    READY = Gauge "wharf_ready" [] "1 while the host answers /readyz with 200.";
    START_TIME = Gauge "process_start_time_seconds" [] "Start of the process, in seconds since 1970.";
    CPU = Counter "process_cpu_seconds_total" [] "CPU time of the process.";
    RESIDENT = Gauge "process_resident_memory_bytes" [] "Memory of the process that is in RAM.";
    OPEN_FILES = Gauge "process_open_fds" [] "Open files and sockets of the process.";
    MAX_FILES = Gauge "process_max_fds" [] "Files and sockets that the process may have open.";
    LAG = Histogram "wharf_reactor_lag_seconds" [] "Time by which a timer was late, measured five times a second.";

    HANDSHAKES = Counter "wharf_handshakes_total" ["result"] "Requests for a connection, by result: accepted, refused by the channel, or the reason why the host turned the client away.";
    MAX_CONNECTIONS = Gauge "wharf_max_connections" [] "Connections that the host may have.";
    OPEN_CONNECTIONS = Gauge "wharf_open_connections" [] "Connections of all channels, with those whose handshake is under way.";
    LIMITS = Counter "wharf_limits_total" ["limit"] "Times that a limit made the host refuse, delay or end something, by its setting.";
    CLIENT_BYTES = Gauge "wharf_client_bytes" [] "Bytes that clients make the host hold, beyond 16 KiB for each queue.";
    MAX_CLIENT_BYTES = Gauge "wharf_max_client_bytes" [] "Bytes that clients may make the host hold together.";
    MAX_INSTANCES = Gauge "wharf_max_instances" [] "Instances of all channels that may be in use.";
    REFUSED_PLUGINS = Gauge "wharf_refused_plugins" [] "Files of the plugin folder that are not served.";
    CHANNELS = Gauge "wharf_channels" [] "Channels in service.";

    CONNECTIONS = Gauge "wharf_connections" ["channel"] "Open connections.";
    CLOSED = Counter "wharf_connections_closed_total" ["channel", "reason"] "Connections that have ended, by reason.";
    ROOMS = Gauge "wharf_rooms" ["channel"] "Rooms with members on this host.";
    KEPT_ROOMS = Gauge "wharf_kept_rooms" ["channel"] "Rooms with a state, waiting events or timers.";
    USERS = Gauge "wharf_users" ["channel"] "Users with a connection to this host.";
    TIMERS = Gauge "wharf_timers" ["channel"] "Timers that are set.";

    MESSAGES_RECEIVED = Counter "wharf_messages_received_total" ["channel"] "Messages of clients whose handler was to be called.";
    RECEIVED_BYTES = Counter "wharf_received_bytes_total" ["channel"] "Bytes of these messages.";
    MESSAGES_SENT = Counter "wharf_messages_sent_total" ["channel"] "Messages that were queued for clients, once for each receiver.";
    SENT_BYTES = Counter "wharf_sent_bytes_total" ["channel"] "Bytes of these messages with their frames.";
    FAN_OUT = Histogram "wharf_broadcast_receivers" ["channel"] "Receivers of a broadcast on this host.";
    QUEUED_BYTES = Gauge "wharf_queued_bytes" ["channel"] "Bytes that wait to be written to clients.";
    SLOW = Gauge "wharf_slow_connections" ["channel"] "Connections of which nothing is read because more than half of their queue waits.";

    EVENTS = Counter "wharf_events_total" ["channel", "kind"] "Events that the channel's code was called for, by the name of the callback.";
    GUEST_CPU = Histogram "wharf_guest_cpu_seconds" ["channel"] "Time that an event was inside the channel's code and its host calls, without waits.";
    GUEST_WALL = Histogram "wharf_guest_wall_seconds" ["channel"] "Time from the call of an event's handler to its return, with waits.";
    FAILURES = Counter "wharf_guest_failures_total" ["channel", "generation", "kind"] "Events that have failed other than by an error of their handler, for the present generation and the one before.";
    POOL_WAIT = Histogram "wharf_pool_wait_seconds" ["channel"] "Time that events have waited for the right to use an instance. Those that did not wait are not in it.";
    INSTANCE_START = Histogram "wharf_instance_start_seconds" ["channel"] "Time that it took to make an instance, or to ask it for its description.";
    INSTANCES = Gauge "wharf_instances" ["channel", "state"] "Instances, idle or in use.";
    GENERATION = Gauge "wharf_generation" ["channel"] "Number of the generation that serves.";
    SWAPS = Counter "wharf_swaps_total" ["channel"] "Swaps of the channel's code for another.";
    MEMORY = Gauge "wharf_memory_bytes" ["channel", "kind"] "Memory of the channel by kind.";
    STORE = Counter "wharf_store_operations_total" ["channel", "operation", "result"] "Calls of the store by handlers.";
    HTTP = Counter "wharf_http_requests_total" ["channel", "result"] "Outgoing HTTP requests of handlers.";
    HTTP_TIME = Histogram "wharf_http_request_seconds" ["channel"] "Time to the head of the answer to an outgoing HTTP request.";

    CLUSTER_UP = Gauge "wharf_cluster_up" [] "1 while the other hosts of the cluster are reached.";
    CLUSTER_NODES = Gauge "wharf_cluster_nodes" [] "Hosts of the cluster that this one knows, with itself.";
    CLUSTER_PUBLISHED = Counter "wharf_cluster_published_total" [] "Messages for other hosts that the engine has taken.";
    CLUSTER_RECEIVED = Counter "wharf_cluster_received_total" [] "Messages of other hosts.";
    CLUSTER_LOST = Counter "wharf_cluster_lost_total" ["direction"] "Messages that were lost on the way out, or dropped because more came in than was handled.";
    CLUSTER_WAITING = Gauge "wharf_cluster_waiting_bytes" [] "Bytes that wait to be sent to the engine.";
    CLUSTER_TOPICS = Gauge "wharf_cluster_topics" [] "Topics that this host is subscribed to.";
    CLUSTER_RECONNECTS = Counter "wharf_cluster_interruptions_total" [] "Times that the link to the engine was lost.";
    CLUSTER_ROUND_TRIP = Gauge "wharf_cluster_round_trip_seconds" [] "Time of the last sign of life of the engine.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_as_those_of_their_kind_and_unit_do() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, help, .. } in ALL {
            assert!(name.starts_with("wharf_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!name.ends_with("_ms") && !name.ends_with("_count"), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }
}
