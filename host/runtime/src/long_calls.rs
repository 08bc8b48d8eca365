//! The calls of a channel that compute for longer than a tick, and their turns.
//!
//! As many of them run at a time as there are workers. The others wait outside the queues of the
//! runtime, so that tasks of other channels wait for the ticks of a few calls and not for those of all.
//! Calls that wait for something else, such as an HTTP response, have no turn meanwhile. A call that
//! returns within its first tick needs none, unless as many long ones are under way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tokio::sync::Semaphore;

/// Long calls for each turn from which on new calls need one, too. A tick now and then comes upon a short
/// call, for which others must not wait.
const CROWD: usize = 8;

/// The turns of one channel.
#[derive(Debug)]
pub struct LongCalls {
    turns: Semaphore,
    /// Number of turns.
    limit: usize,
    /// Calls that have run for longer than a tick and have not returned.
    count: AtomicUsize,
}

/// The part of one call in its channel's turns.
#[derive(Debug, Default)]
pub(crate) struct LongCall {
    is_counted: AtomicBool,
    has_turn: AtomicBool,
    /// True while it keeps its turn although its task lets others run.
    is_yielding: AtomicBool,
}

impl LongCalls {
    /// Creates the turns for a number of workers; 0 stands for the number of cores.
    pub fn new(workers: usize) -> LongCalls {
        let limit = match workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        LongCalls { turns: Semaphore::new(limit), limit, count: AtomicUsize::new(0) }
    }

    /// Returns true if calls need a turn from their beginning.
    pub(crate) fn is_crowded(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= CROWD.saturating_mul(self.limit)
    }

    /// Waits for a turn, for a call that has none. Calls get it in the order in which they asked. A
    /// call that asks before its first tick is not counted: otherwise short calls would keep one
    /// another waiting for ever.
    pub(crate) async fn turn(&self, call: &LongCall) {
        // The semaphore is never closed, and without a turn the call would go on all the same.
        if let Ok(permit) = self.turns.acquire().await {
            permit.forget();
            call.has_turn.store(true, Ordering::Relaxed);
        }
    }

    /// Lets other tasks run, and waits for the next turn.
    pub(crate) async fn next_turn(&self, call: &LongCall) {
        // The turn is kept until the runtime has looked at its sockets and timers. If it went to the
        // next call before, that one would run first: the queue would never be empty, and the runtime
        // looks at sockets when it is.
        call.is_yielding.store(true, Ordering::Relaxed);
        if !call.is_counted.swap(true, Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        // tokio's yield waits for that, which a plain wake-up would not.
        tokio::task::yield_now().await;
        call.is_yielding.store(false, Ordering::Relaxed);
        self.give_up(call);
        self.turn(call).await;
    }

    /// Ends the call's turn, if it has one: it waits for something else.
    pub(crate) fn pause(&self, call: &LongCall) {
        if !call.is_yielding.load(Ordering::Relaxed) {
            self.give_up(call);
        }
    }

    fn give_up(&self, call: &LongCall) {
        if call.has_turn.swap(false, Ordering::Relaxed) {
            self.turns.add_permits(1);
        }
    }

    /// Ends the call.
    pub(crate) fn end(&self, call: &LongCall) {
        // Most calls end within their first tick, and write nothing here.
        let is_counted = call.is_counted.load(Ordering::Relaxed);
        if !is_counted && !call.has_turn.load(Ordering::Relaxed) {
            return;
        }
        // It may be given up while it yields.
        call.is_yielding.store(false, Ordering::Relaxed);
        self.give_up(call);
        if is_counted {
            call.is_counted.store(false, Ordering::Relaxed);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn as_many_calls_have_a_turn_as_there_are_workers() {
        let (calls, running) = (Arc::new(LongCalls::new(2)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let (calls, running) = (calls.clone(), running.clone());
            tasks.push(tokio::spawn(async move {
                let call = LongCall::default();
                calls.turn(&call).await;
                for _ in 0..10 {
                    assert!(running.fetch_add(1, Ordering::Relaxed) < 2, "a third has a turn");
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::Relaxed);
                    calls.next_turn(&call).await;
                }
                calls.end(&call);
            }));
        }
        for task in tasks {
            task.await.expect("its turns come");
        }
        assert_eq!(calls.turns.available_permits(), 2);
        assert!(!calls.is_crowded());
    }

    #[tokio::test]
    async fn only_many_calls_that_have_computed_for_a_tick_make_new_ones_wait() {
        let calls = LongCalls::new(2);
        let ask = async |call: &LongCall| {
            calls.turn(call).await;
            calls.pause(call);
        };
        let short: Vec<_> = (0..4 * CROWD).map(|_| LongCall::default()).collect();
        for call in &short {
            ask(call).await;
            assert!(!calls.is_crowded(), "calls that may be short make no crowd");
        }
        let long: Vec<_> = (0..2 * CROWD).map(|_| LongCall::default()).collect();
        for call in &long {
            assert!(!calls.is_crowded());
            calls.next_turn(call).await;
            calls.pause(call);
        }
        assert!(calls.is_crowded());
        calls.end(&long[0]);
        assert!(!calls.is_crowded());
        short.iter().chain(&long).for_each(|call| calls.end(call));
        assert_eq!(calls.count.load(Ordering::Relaxed), 0);
        assert_eq!(calls.turns.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_its_turn_to_the_next() {
        let calls = LongCalls::new(1);
        let (first, second, third) =
            (LongCall::default(), LongCall::default(), LongCall::default());
        calls.turn(&first).await;
        calls.next_turn(&first).await;
        // It waits in vain, and is dropped in the line.
        let waited = tokio::time::timeout(std::time::Duration::ZERO, calls.turn(&second)).await;
        assert!(waited.is_err());
        calls.end(&second);
        assert_eq!(calls.count.load(Ordering::Relaxed), 1);
        calls.end(&first);
        assert_eq!(calls.count.load(Ordering::Relaxed), 0);
        calls.turn(&third).await;
        calls.end(&third);
        assert_eq!(calls.turns.available_permits(), 1);
    }
}
