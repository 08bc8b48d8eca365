//! Counters of one channel, over all of its generations.
//!
//! Each event is counted in a block of its thread, and the rest in counters that all threads share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wharf_contract::close::Reason;
use wharf_contract::fault::Fault;
use wharf_metrics::blocks::Blocks;
use wharf_metrics::counter::Counter;
use wharf_metrics::histogram::{Histogram, Times};
use wharf_metrics::limits::Limit;

use crate::event_kind::EventKind;

/// Generations whose failures are counted apart: the present one and the one before.
const GENERATIONS: usize = 2;

/// The counters of a channel.
#[derive(Debug, Default)]
pub struct ChannelCounters {
    blocks: Blocks<Block>,
    /// Instances that live.
    instances: AtomicUsize,
    failures: Mutex<Failures>,
    closed: [Counter; Reason::ALL.len()],
    swaps: Counter,
}

/// The counters of one thread.
#[derive(Debug, Default)]
struct Block {
    received: Counter,
    received_bytes: Counter,
    events: [Counter; EventKind::ALL.len()],
    /// Times of the calls that did not wait: both their CPU time and their elapsed time.
    at_once: Histogram,
    /// CPU times of the other calls.
    cpu: Histogram,
    /// Elapsed times of the other calls.
    wall: Histogram,
    pool_waits: Histogram,
    starts: Histogram,
    store: [[Counter; 2]; StoreOperation::ALL.len()],
    http: [Counter; HttpResult::ALL.len()],
    http_times: Histogram,
}

/// Failed events by their kinds.
pub type Faults = [u64; Fault::ALL.len()];

#[derive(Debug, Default)]
struct Failures {
    all: Faults,
    /// Those of the last generations that had some, the oldest first.
    recent: Vec<(u64, Faults)>,
}

/// A kind of calls of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// `get`.
    Get,
    /// `list`.
    List,
    /// `set`.
    Set,
    /// `delete`.
    Delete,
    /// `increment`.
    Increment,
    /// `compare-and-swap`.
    CompareAndSwap,
}

impl StoreOperation {
    /// Every kind.
    pub const ALL: [StoreOperation; 6] = [
        StoreOperation::Get,
        StoreOperation::List,
        StoreOperation::Set,
        StoreOperation::Delete,
        StoreOperation::Increment,
        StoreOperation::CompareAndSwap,
    ];

    /// Returns the name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            StoreOperation::Get => "get",
            StoreOperation::List => "list",
            StoreOperation::Set => "set",
            StoreOperation::Delete => "delete",
            StoreOperation::Increment => "increment",
            StoreOperation::CompareAndSwap => "compare-and-swap",
        }
    }
}

/// The result of an outgoing HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpResult {
    /// An answer has come, whatever its status.
    Answered,
    /// No answer has come.
    Failed,
    /// The request was not sent: it is not granted, or there are too many.
    Refused,
}

impl HttpResult {
    /// Every result.
    pub const ALL: [HttpResult; 3] =
        [HttpResult::Answered, HttpResult::Failed, HttpResult::Refused];

    /// Returns the name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            HttpResult::Answered => "answered",
            HttpResult::Failed => "failed",
            HttpResult::Refused => "refused",
        }
    }
}

/// Counting.
impl ChannelCounters {
    /// Counts a message of a client.
    pub fn received(&self, bytes: usize) {
        if let Some(own) = self.blocks.own() {
            own.add(&own.received, 1);
            own.add(&own.received_bytes, bytes as u64);
        }
    }

    /// Counts a connection that ends.
    pub fn closed(&self, reason: Reason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.count();
        }
        match reason {
            Reason::MessageTooBig => Limit::MaxMessageBytes.reached(),
            Reason::MessageTimeout => Limit::MessageTimeout.reached(),
            Reason::KeepAliveTimeout => Limit::KeepAliveTimeout.reached(),
            Reason::SlowConsumer => Limit::OutboundQueueBytes.reached(),
            _ => {}
        }
    }

    /// Counts an event that the guest is called for.
    pub(crate) fn event(&self, kind: EventKind) {
        if let Some(own) = self.blocks.own()
            && let Some(counter) = own.events.get(kind as usize)
        {
            own.add(counter, 1);
        }
    }

    /// Notes the time of a call that has not waited.
    pub(crate) fn ran_at_once(&self, time: Duration) {
        self.record(|block| &block.at_once, time);
    }

    /// Notes the times of a call that has waited, or yielded to others.
    pub(crate) fn ran_in_turns(&self, cpu: Duration, wall: Duration) {
        self.record(|block| &block.cpu, cpu);
        self.record(|block| &block.wall, wall);
    }

    /// Notes the time that an event has waited for a slot.
    pub(crate) fn waited_for_slot(&self, time: Duration) {
        self.record(|block| &block.pool_waits, time);
    }

    /// Notes the time that an instance took to start.
    pub(crate) fn started(&self, time: Duration) {
        self.record(|block| &block.starts, time);
    }

    /// Counts an instance that lives.
    pub(crate) fn instance_begins(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an instance that is gone.
    pub(crate) fn instance_ends(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a failed event.
    pub(crate) fn failed(&self, generation: u64, kind: Fault) {
        self.failures.lock().note(generation, kind);
        match kind {
            Fault::Deadline => Limit::Budget.reached(),
            Fault::OutOfMemory => Limit::Memory.reached(),
            _ => {}
        }
    }

    /// Counts a swap.
    pub(crate) fn swapped(&self) {
        self.swaps.count();
    }

    /// Counts a call of the store.
    pub(crate) fn stored(&self, operation: StoreOperation, is_done: bool) {
        if let Some(own) = self.blocks.own()
            && let Some([refused, done]) = own.store.get(operation as usize)
        {
            own.add(if is_done { done } else { refused }, 1);
        }
    }

    /// Counts an outgoing HTTP request, with the time to its answer if it was sent.
    pub(crate) fn requested(&self, result: HttpResult, time: Option<Duration>) {
        if let Some(own) = self.blocks.own()
            && let Some(counter) = own.http.get(result as usize)
        {
            own.add(counter, 1);
        }
        if let Some(time) = time {
            self.record(|block| &block.http_times, time);
        }
    }

    fn record(&self, histogram: impl Fn(&Block) -> &Histogram, time: Duration) {
        if let Some(own) = self.blocks.own() {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            own.record(histogram(&own), nanoseconds);
        }
    }
}

/// Sums.
impl ChannelCounters {
    /// Returns the number of messages of clients, and of their bytes.
    pub fn received_sums(&self) -> (u64, u64) {
        let sum = |counter: fn(&Block) -> &Counter| self.blocks.sum(counter);
        (sum(|block| &block.received), sum(|block| &block.received_bytes))
    }

    /// Returns the number of events of each kind.
    pub fn events(&self) -> impl Iterator<Item = (EventKind, u64)> + '_ {
        EventKind::ALL.iter().map(|kind| {
            let counts = self.blocks.all().filter_map(|block| block.events.get(*kind as usize));
            (*kind, counts.map(Counter::get).fold(0, u64::wrapping_add))
        })
    }

    /// Returns the times that calls were inside the guest.
    pub fn cpu_times(&self) -> Times {
        Times::of(self.blocks.all().flat_map(|block| [&block.at_once, &block.cpu]))
    }

    /// Returns the elapsed times of calls.
    pub fn wall_times(&self) -> Times {
        Times::of(self.blocks.all().flat_map(|block| [&block.at_once, &block.wall]))
    }

    /// Returns the times that events have waited for a slot.
    pub fn pool_waits(&self) -> Times {
        Times::of(self.blocks.all().map(|block| &block.pool_waits))
    }

    /// Returns the times that instances took to start.
    pub fn start_times(&self) -> Times {
        Times::of(self.blocks.all().map(|block| &block.starts))
    }

    /// Returns the times to the answers of outgoing HTTP requests.
    pub fn http_times(&self) -> Times {
        Times::of(self.blocks.all().map(|block| &block.http_times))
    }

    /// Returns the number of outgoing HTTP requests by result.
    pub fn http_requests(&self) -> impl Iterator<Item = (HttpResult, u64)> + '_ {
        HttpResult::ALL.into_iter().map(|result| {
            let counts = self.blocks.all().filter_map(|block| block.http.get(result as usize));
            (result, counts.map(Counter::get).fold(0, u64::wrapping_add))
        })
    }

    /// Returns the number of calls of the store by operation: those that were refused, and those that were done.
    pub fn store_operations(&self) -> impl Iterator<Item = (StoreOperation, [u64; 2])> + '_ {
        StoreOperation::ALL.into_iter().map(|operation| {
            let blocks = self.blocks.all().filter_map(|block| block.store.get(operation as usize));
            let sums = blocks.fold([0_u64; 2], |[refused, done], [one, other]| {
                [refused.wrapping_add(one.get()), done.wrapping_add(other.get())]
            });
            (operation, sums)
        })
    }

    /// Returns the number of instances that live, of all generations.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that have ended by reason.
    pub fn closed_by_reason(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().zip(&self.closed).map(|(reason, counter)| (*reason, counter.get()))
    }

    /// Returns the number of swaps.
    pub fn swaps(&self) -> u64 {
        self.swaps.get()
    }

    /// Returns the number of failed events of all generations.
    pub fn failures(&self) -> Faults {
        self.failures.lock().all
    }

    /// Returns the number of failed events of the present generation, and of the one before if there is one.
    pub fn recent_failures(&self, present: u64) -> Vec<(u64, Faults)> {
        let failures = self.failures.lock();
        let of = |number: u64| {
            let known = failures.recent.iter().find(|(generation, _)| *generation == number);
            (number, known.map(|(_, faults)| *faults).unwrap_or_default())
        };
        let before = present.checked_sub(1).filter(|number| *number > 0);
        before.into_iter().chain([present]).map(of).collect()
    }
}

impl Failures {
    fn note(&mut self, generation: u64, kind: Fault) {
        count(&mut self.all, kind);
        let at = self.recent.partition_point(|(known, _)| *known < generation);
        if let Some((known, faults)) = self.recent.get_mut(at)
            && *known == generation
        {
            return count(faults, kind);
        }
        // A call of code that was swapped out long ago.
        if at == 0 && self.recent.len() >= GENERATIONS {
            return;
        }
        let mut faults = Faults::default();
        count(&mut faults, kind);
        self.recent.insert(at, (generation, faults));
        if self.recent.len() > GENERATIONS {
            self.recent.remove(0);
        }
    }
}

fn count(faults: &mut Faults, kind: Fault) {
    if let Some(count) = faults.get_mut(kind as usize) {
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_for_all_generations_and_shown_for_the_last_two() {
        let counters = ChannelCounters::default();
        for (generation, kind) in [
            (1, Fault::Trap),
            (1, Fault::Deadline),
            (2, Fault::Trap),
            (4, Fault::Trap),
            (1, Fault::Trap),
            (4, Fault::RoomStateTooBig),
        ] {
            counters.failed(generation, kind);
        }
        assert_eq!(counters.failures(), [4, 1, 0, 0, 0, 1]);
        assert_eq!(counters.recent_failures(1), [(1, [0; 6])]);
        let recent = counters.recent_failures(4);
        assert_eq!(recent, [(3, [0; 6]), (4, [1, 0, 0, 0, 0, 1])]);
        assert_eq!(counters.failures.lock().recent.len(), GENERATIONS);
    }

    #[test]
    fn a_fault_and_a_reason_have_the_place_that_their_lists_give_them() {
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, at);
        }
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        for (at, operation) in StoreOperation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
        for (at, result) in HttpResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, at);
        }
    }

    #[test]
    fn a_call_that_waits_has_two_times_and_one_that_does_not_has_one_that_counts_for_both() {
        let counters = ChannelCounters::default();
        let (short, long) = (Duration::from_micros(2), Duration::from_millis(40));
        counters.ran_at_once(short);
        counters.ran_in_turns(short, long);
        assert_eq!((counters.cpu_times().count(), counters.wall_times().count()), (2, 2));
        assert_eq!(counters.cpu_times().nanoseconds(), 4_000);
        assert_eq!(counters.wall_times().nanoseconds(), 40_002_000);
    }
}
