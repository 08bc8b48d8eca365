//! The time of a guest call: CPU time, and elapsed time.
//!
//! The epoch preempts a guest once in a tick, so that no other task waits for it, and at the same
//! time checks its consumption. It counts the thread's CPU time and not ticks: one instruction may
//! fill a whole memory, and one host call may work for many ticks. Most calls are over at their
//! first poll; for those the elapsed time is measured, for the channel's counters only.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use super::InstanceState;
use crate::channel_context::ChannelContext;
use crate::epoch::{EPOCH_TICK, EpochClock};
use crate::long_calls::{LongCall, LongCalls};
use wharf_config::Config;

/// The times that one call may use, and the settings that limit them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) wall: Duration,
    pub(super) wall_key: &'static str,
    cpu: Duration,
    cpu_key: &'static str,
    /// True for making an instance, and for `describe`.
    pub(super) is_start: bool,
    /// True for an event that may take the time of a start.
    pub(super) is_slow_start: bool,
}

impl Budget {
    /// Returns the budget of an event.
    pub(super) fn event(config: &Config) -> Budget {
        Budget {
            wall: config.wall_budget,
            wall_key: "wall_budget_ms",
            cpu: config.cpu_budget,
            cpu_key: "cpu_budget_ms",
            is_start: false,
            is_slow_start: false,
        }
    }

    /// Returns the budget of making an instance, and of `describe`.
    pub(super) fn start(config: &Config) -> Budget {
        let (budget, key) = (config.start_budget, "start_budget_ms");
        let (is_start, is_slow_start) = (true, false);
        Budget { wall: budget, wall_key: key, cpu: budget, cpu_key: key, is_start, is_slow_start }
    }
}

impl Budget {
    /// Allows an event the CPU time of a start.
    pub(super) fn allow_slow_start(&mut self, config: &Config) {
        if config.start_budget > self.cpu {
            (self.cpu, self.cpu_key) = (config.start_budget, "start_budget_ms");
            self.is_slow_start = true;
        }
    }
}

/// Counts the CPU time of a call, and knows its turns.
#[derive(Debug)]
pub(super) struct Meter {
    /// The channel, with the turns of its long calls.
    channel: Arc<ChannelContext>,
    /// The call's part in them.
    long_call: LongCall,
    /// CPU time of earlier polls of the call, in nanoseconds.
    spent: AtomicU64,
}

thread_local! {
    /// CPU time of this thread when its present poll began. `None` in the first poll of a call.
    static POLL_BEGAN: Cell<Option<Duration>> = const { Cell::new(None) };
}

impl Meter {
    pub(super) fn new(channel: Arc<ChannelContext>) -> Meter {
        Meter { channel, long_call: LongCall::default(), spent: AtomicU64::new(0) }
    }

    fn long_calls(&self) -> &LongCalls {
        &self.channel.long_calls
    }

    /// Waits for the call's turn.
    async fn turn(&self) {
        self.long_calls().turn(&self.long_call).await;
    }

    /// Ends the call's turn, if it has one.
    fn pause(&self) {
        self.long_calls().pause(&self.long_call);
    }

    pub(super) fn reset(&self) {
        self.spent.store(0, Ordering::Relaxed);
    }

    /// Returns true if a call has used this much CPU time or more.
    pub(super) fn has_spent(&self, time: Duration) -> bool {
        self.spent() >= time
    }

    fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.spent.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// Returns the CPU time that this thread has used.
#[expect(
    unsafe_code,
    reason = "rustix cannot read clocks under valgrind, which counts instructions"
)]
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value that the call may write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    // No thread has used a negative time. The call cannot fail with this clock.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Gives the coming call its budget. Its first tick ends within one tick from now.
pub(super) fn begin_budget(store: &mut Store<InstanceState>, budget: Budget) {
    let limits = &mut store.data_mut().limits;
    limits.meter.reset();
    limits.budget = budget;
    limits.memory_denied = None;
    store.set_epoch_deadline(1);
}

/// Handles an advance of the epoch while the guest was running: checks its consumption, and lets
/// others run.
pub(super) fn on_epoch(
    mut store: StoreContextMut<'_, InstanceState>,
) -> wasmtime::Result<UpdateDeadline> {
    let limits = &mut store.data_mut().limits;
    let in_this_poll = match POLL_BEGAN.get() {
        Some(began) => thread_cpu_time().saturating_sub(began),
        None => EPOCH_TICK,
    };
    if limits.meter.spent() + in_this_poll >= limits.budget.cpu {
        return Err(CpuSpent { budget: limits.budget.cpu, key: limits.budget.cpu_key }.into());
    }
    let meter = limits.meter.clone();
    if limits.budget.is_start {
        // It is over soon, and has little time.
        return Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())));
    }
    let next_turn = async move { meter.long_calls().next_turn(&meter.long_call).await };
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(next_turn)))
}

#[derive(Debug, thiserror::Error)]
#[error("the guest ran for {budget:?} without returning ({key})")]
struct CpuSpent {
    budget: Duration,
    key: &'static str,
}

/// Returns true if a call has ended because its CPU time was used up.
pub(super) fn is_cpu_spent(error: &wasmtime::Error) -> bool {
    error.is::<CpuSpent>()
}

/// Waits for a guest call, within its budget, and counts its CPU time.
pub(super) async fn metered<F: Future>(
    clock: &EpochClock,
    meter: &Meter,
    Budget { wall, is_start, .. }: Budget,
    call: F,
) -> Option<F::Output> {
    let _end = End(meter);
    let mut call = pin!(call);
    let mut is_first = true;
    // Boxed: it is rare, and other calls need not carry the room for it.
    let waits = !is_start && meter.long_calls().is_crowded();
    let mut turn = waits.then(|| Box::pin(meter.turn()));
    let begun = Instant::now();
    // The beginning of the first poll, and its time if it was not the last.
    let mut entered = (!waits).then_some(begun);
    let mut first_poll = None;
    let measured = std::future::poll_fn(|cx| {
        if let Some(waiting) = &mut turn {
            std::task::ready!(waiting.as_mut().poll(cx));
            turn = None;
            entered = Some(Instant::now());
        }
        let _turn = clock.turn();
        if is_first {
            POLL_BEGAN.set(None);
            let polled = call.as_mut().poll(cx);
            if polled.is_pending() {
                is_first = false;
                first_poll = entered.map(|entered| entered.elapsed());
                meter.add(EPOCH_TICK);
                meter.pause();
            }
            return polled;
        }
        let began = thread_cpu_time();
        POLL_BEGAN.set(Some(began));
        let polled = call.as_mut().poll(cx);
        meter.add(thread_cpu_time().saturating_sub(began));
        meter.pause();
        polled
    });
    let output = bounded(wall, measured).await;
    if !is_start {
        let (counters, wall) = (&meter.channel.counters, begun.elapsed());
        match (entered, first_poll) {
            (Some(_), None) if !waits => counters.ran_at_once(wall),
            (None, _) => counters.ran_in_turns(Duration::ZERO, wall),
            (Some(entered), None) => counters.ran_in_turns(entered.elapsed(), wall),
            (_, Some(first)) => {
                // The budget counts a whole tick for the first poll.
                let others = meter.spent().saturating_sub(EPOCH_TICK);
                counters.ran_in_turns(first.saturating_add(others), wall);
            }
        }
    }
    output
}

/// Ends the turns of a call, also of one that is given up.
struct End<'a>(&'a Meter);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.long_calls().end(&self.0.long_call);
    }
}

/// Waits for a future, at most `wall`. The timer is only made if it is not ready at once.
pub async fn bounded<F: Future>(wall: Duration, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut timer = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wall)));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}
