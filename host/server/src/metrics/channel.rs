//! The numbers of one channel at some time.

use std::sync::Arc;

use wharf_contract::close::Reason;
use wharf_hub::hub::QueueLoad;
use wharf_hub::sent::SentSums;
use wharf_metrics::histogram::Times;
use wharf_runtime::channel::Channel;
use wharf_runtime::channel_counters::{Faults, HttpResult, StoreOperation};
use wharf_runtime::event_kind::EventKind;

/// The kinds of memory of a channel, by their names.
pub(super) const MEMORY: [&str; 8] = [
    "instances",
    "store",
    "room-states",
    "history",
    "timers",
    "presence",
    "rate-limits",
    "room-inboxes",
];

/// The numbers of one channel. Those that count begin with the channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelFacts {
    /// Name; empty for the further channels of a host that has very many.
    pub(super) name: Arc<str>,
    pub(super) generation: u64,
    pub(super) connections: usize,
    pub(super) rooms: usize,
    pub(super) kept_rooms: usize,
    pub(super) users: usize,
    pub(super) timers: usize,
    /// Messages of clients, and their bytes.
    pub(super) received: (u64, u64),
    pub(super) sent: SentSums,
    pub(super) queues: QueueLoad,
    pub(super) events: Vec<(EventKind, u64)>,
    pub(super) cpu_times: Times,
    pub(super) wall_times: Times,
    pub(super) pool_waits: Times,
    pub(super) start_times: Times,
    pub(super) failures: Faults,
    /// Failures of the last generations, the present one last.
    pub(super) recent_failures: Vec<(u64, Faults)>,
    pub(super) closed: Vec<(Reason, u64)>,
    pub(super) instances: usize,
    pub(super) idle_instances: usize,
    pub(super) swaps: u64,
    /// Bytes of each kind.
    pub(super) memory: [usize; MEMORY.len()],
    /// Calls of the store that were refused, and those that were done.
    pub(super) store: Vec<(StoreOperation, [u64; 2])>,
    pub(super) http: Vec<(HttpResult, u64)>,
    pub(super) http_times: Times,
}

impl ChannelFacts {
    /// Returns the numbers of a channel now, but for the load of its queues.
    pub(super) fn of(channel: &Channel, queues: QueueLoad) -> ChannelFacts {
        let context = &channel.context;
        let (hub, counters) = (&context.hub, &context.counters);
        let current = channel.current();
        ChannelFacts {
            name: context.name.clone(),
            generation: current.number,
            connections: hub.connection_count(),
            rooms: hub.room_count(),
            kept_rooms: hub.kept_room_count(),
            users: hub.user_count(),
            timers: hub.timer_count(),
            received: counters.received_sums(),
            sent: hub.sent(),
            queues,
            events: counters.events().collect(),
            cpu_times: counters.cpu_times(),
            wall_times: counters.wall_times(),
            pool_waits: counters.pool_waits(),
            start_times: counters.start_times(),
            failures: counters.failures(),
            recent_failures: counters.recent_failures(current.number),
            closed: counters.closed_by_reason().collect(),
            instances: counters.instances(),
            idle_instances: current.pool.idle_count(),
            swaps: counters.swaps(),
            memory: [
                context.memory.bytes(),
                context.store.bytes(),
                hub.room_state_bytes(),
                hub.history_bytes(),
                hub.timer_bytes(),
                hub.presence_bytes(),
                hub.rate_limit_bytes(),
                hub.room_inbox_bytes(),
            ],
            store: counters.store_operations().collect(),
            http: counters.http_requests().collect(),
            http_times: counters.http_times(),
        }
    }

    /// Adds the numbers of another channel. The name is empty from then on, and there are no generations.
    pub(super) fn add(&mut self, other: &ChannelFacts) {
        self.name = Arc::from("");
        (self.generation, self.recent_failures) = (0, Vec::new());
        for (sum, number) in [
            (&mut self.connections, other.connections),
            (&mut self.rooms, other.rooms),
            (&mut self.kept_rooms, other.kept_rooms),
            (&mut self.users, other.users),
            (&mut self.timers, other.timers),
            (&mut self.queues.bytes, other.queues.bytes),
            (&mut self.queues.slow, other.queues.slow),
            (&mut self.instances, other.instances),
            (&mut self.idle_instances, other.idle_instances),
        ] {
            *sum = sum.saturating_add(number);
        }
        for (sum, number) in [
            (&mut self.received.0, other.received.0),
            (&mut self.received.1, other.received.1),
            (&mut self.sent.messages, other.sent.messages),
            (&mut self.sent.bytes, other.sent.bytes),
            (&mut self.swaps, other.swaps),
        ] {
            *sum = sum.saturating_add(number);
        }
        for (sum, times) in [
            (&mut self.cpu_times, &other.cpu_times),
            (&mut self.wall_times, &other.wall_times),
            (&mut self.pool_waits, &other.pool_waits),
            (&mut self.start_times, &other.start_times),
            (&mut self.http_times, &other.http_times),
        ] {
            *sum = std::mem::take(sum).with(times);
        }
        self.sent.broadcasts =
            std::mem::take(&mut self.sent.broadcasts).with(&other.sent.broadcasts);
        add_each(&mut self.failures, &other.failures);
        add_named(&mut self.events, &other.events);
        add_named(&mut self.closed, &other.closed);
        add_named(&mut self.http, &other.http);
        for (sum, number) in self.memory.iter_mut().zip(other.memory) {
            *sum = sum.saturating_add(number);
        }
        for ((_, sums), (_, numbers)) in self.store.iter_mut().zip(&other.store) {
            add_each(sums, numbers);
        }
    }

    /// Returns the sum of its memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

fn add_each(sums: &mut [u64], numbers: &[u64]) {
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum = sum.saturating_add(*number);
    }
}

/// Adds numbers of lists that have the same names in the same order.
fn add_named<T>(sums: &mut [(T, u64)], numbers: &[(T, u64)]) {
    for ((_, sum), (_, number)) in sums.iter_mut().zip(numbers) {
        *sum = sum.saturating_add(*number);
    }
}
