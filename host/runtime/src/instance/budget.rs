//! The time of a guest call: CPU time, and elapsed time.
//!
//! The epoch preempts a guest once in a tick, so that no other task waits for it, and at the same
//! time checks its consumption. It counts the thread's CPU time and not ticks: one instruction may
//! fill a whole memory, and one host call may work for many ticks. Most calls are over at their
//! first poll; those are never measured and cost no clock.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use super::InstanceState;
use crate::epoch::{EPOCH_TICK, EpochClock};
use wharf_config::Config;

/// The times that one call may use, and the settings that limit them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) wall: Duration,
    pub(super) wall_key: &'static str,
    cpu: Duration,
    cpu_key: &'static str,
}

impl Budget {
    /// Returns the budget of an event.
    pub(super) fn event(config: &Config) -> Budget {
        Budget {
            wall: config.wall_budget,
            wall_key: "wall_budget_ms",
            cpu: config.cpu_budget,
            cpu_key: "cpu_budget_ms",
        }
    }

    /// Returns the budget of making an instance, and of `describe`.
    pub(super) fn start(config: &Config) -> Budget {
        let (budget, key) = (config.start_budget, "start_budget_ms");
        Budget { wall: budget, wall_key: key, cpu: budget, cpu_key: key }
    }
}

/// Counts the CPU time of a call.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// CPU time of earlier polls of the call, in nanoseconds.
    spent: AtomicU64,
}

thread_local! {
    /// CPU time of this thread when its present poll began. `None` in the first poll of a call.
    static POLL_BEGAN: Cell<Option<Duration>> = const { Cell::new(None) };
}

impl Meter {
    pub(super) fn reset(&self) {
        self.spent.store(0, Ordering::Relaxed);
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
fn thread_cpu_time() -> Duration {
    // No thread has used a negative time.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
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
    // tokio's yield lets the runtime look at its sockets and timers before it comes back here,
    // which a plain wake-up would not.
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

#[derive(Debug, thiserror::Error)]
#[error("the guest ran for {budget:?} without returning ({key})")]
pub(super) struct CpuSpent {
    budget: Duration,
    key: &'static str,
}

/// Waits for a guest call, at most `wall`, and counts its CPU time.
pub(super) async fn metered<F: Future>(
    clock: &EpochClock,
    meter: &Meter,
    wall: Duration,
    call: F,
) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut is_first = true;
    let measured = std::future::poll_fn(|cx| {
        let _turn = clock.turn();
        if is_first {
            POLL_BEGAN.set(None);
            let polled = call.as_mut().poll(cx);
            if polled.is_pending() {
                is_first = false;
                meter.add(EPOCH_TICK);
            }
            return polled;
        }
        let began = thread_cpu_time();
        POLL_BEGAN.set(Some(began));
        let polled = call.as_mut().poll(cx);
        meter.add(thread_cpu_time().saturating_sub(began));
        polled
    });
    bounded(wall, measured).await
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
