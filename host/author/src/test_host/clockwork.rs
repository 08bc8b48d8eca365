//! The runtime of a test: it runs until no task can run any more, and its clock moves only when it
//! is told to.
//!
//! The runtime has one thread and no sockets: clients are connected in memory, so that each task is
//! woken by another one, by a timer, or by work on another thread. When its thread is about to
//! sleep, no task is ready. If no such work is under way either, then only time can change
//! anything.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Time limit for the runtime to end the remaining tasks.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A runtime with one thread and a clock of its own.
#[derive(Debug)]
pub(super) struct Clockwork {
    runtime: Runtime,
    watch: Arc<Watch>,
    /// Part of a tick that the clock has not been moved by yet. The unit is tokio's, a millisecond.
    rest: Duration,
}

/// The watch for the moment when the thread is about to sleep.
struct Watch {
    /// True if the runtime runs until no task can run any more.
    is_settling: AtomicBool,
    /// True if no task can run any more.
    is_settled: AtomicBool,
    /// Notified to wake the future that the runtime waits for.
    look: Notify,
    is_busy: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("is_settling", &self.is_settling)
            .field("is_settled", &self.is_settled)
            .finish_non_exhaustive()
    }
}

impl Watch {
    fn about_to_sleep(&self) {
        if self.is_settling.load(Ordering::SeqCst) && !(self.is_busy)() {
            self.is_settled.store(true, Ordering::SeqCst);
            // This also keeps the clock from going on to the next timer.
            self.look.notify_one();
        }
    }
}

impl Clockwork {
    /// Creates a clockwork that stands still. `is_busy` returns true if a task waits for another
    /// thread. It is called on the runtime's thread, and must not change before that task has been
    /// woken.
    pub(super) fn new(
        is_busy: impl Fn() -> bool + Send + Sync + 'static,
    ) -> anyhow::Result<Clockwork> {
        let watch = Arc::new(Watch {
            is_settling: AtomicBool::new(false),
            is_settled: AtomicBool::new(false),
            look: Notify::new(),
            is_busy: Box::new(is_busy),
        });
        let hook = watch.clone();
        let runtime = Builder::new_current_thread()
            // There are no sockets, whose events the hook would not see.
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || hook.about_to_sleep())
            .build()
            .context("there is no runtime")?;
        Ok(Clockwork { runtime, watch, rest: Duration::ZERO })
    }

    /// Enters the runtime. Tasks and timers that are made while the guard is kept belong to it.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Waits for a future that needs other threads, but no time.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs until no task can run any more.
    pub(super) fn settle(&self) {
        self.watch.is_settled.store(false, Ordering::SeqCst);
        self.watch.is_settling.store(true, Ordering::SeqCst);
        self.runtime.block_on(async {
            while !self.watch.is_settled.load(Ordering::SeqCst) {
                self.watch.look.notified().await;
            }
        });
        self.watch.is_settling.store(false, Ordering::SeqCst);
    }

    /// Moves the clock from timer to timer. All effects of one happen before the next.
    pub(super) fn advance(&mut self, by: Duration) -> anyhow::Result<()> {
        self.settle();
        let by = by.saturating_add(self.rest);
        let ticks = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.rest = by.saturating_sub(Duration::from_millis(ticks));
        let until = {
            let _entered = self.runtime.enter();
            Instant::now().checked_add(Duration::from_millis(ticks))
        };
        let Some(until) = until.filter(|_| ticks < u64::from(u32::MAX) * 16) else {
            bail!("the clock cannot be moved by {by:?}: it counts about two years");
        };
        // A paused clock goes on to the next timer whenever no task can run.
        self.runtime.block_on(async { tokio::time::sleep_until(until).await });
        self.settle();
        Ok(())
    }

    /// Ends the remaining tasks.
    pub(super) fn end(self) {
        self.runtime.shutdown_timeout(LAST_MOMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use wharf_hub::transport::memory;

    type Diary = Arc<Mutex<Vec<(u64, &'static str)>>>;

    fn note(diary: &Diary, start: Instant, what: &'static str) {
        diary.lock().expect("a diary").push((start.elapsed().as_millis() as u64, what));
    }

    #[test]
    fn what_a_timer_causes_through_connections_happens_before_the_next_timer() {
        let mut clockwork = Clockwork::new(|| false).expect("a clockwork");
        let diary = Diary::default();
        {
            let _entered = clockwork.enter();
            let start = Instant::now();
            let (mut one, mut other) = memory::pair(2);
            let (says, hears) = (diary.clone(), diary.clone());
            tokio::spawn(async move {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    note(&says, start, "said");
                    one.write_all(&[7; 3]).await.expect("it is written");
                }
            });
            tokio::spawn(async move {
                let mut word = [0; 3];
                while other.read_exact(&mut word).await.is_ok() {
                    // Some detours, which take no time.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    note(&hears, start, "heard");
                }
            });
        }
        let begun = std::time::Instant::now();
        clockwork.settle();
        assert!(diary.lock().expect("a diary").is_empty());
        clockwork.advance(Duration::from_secs(59)).expect("it moves");
        assert!(diary.lock().expect("a diary").is_empty());
        clockwork.advance(Duration::from_secs(200)).expect("it moves");
        let told = diary.lock().expect("a diary").clone();
        let expected = [60_000, 120_000, 180_000].map(|at| [(at, "said"), (at, "heard")]).concat();
        assert_eq!(told, expected);
        assert!(begun.elapsed() < Duration::from_secs(20), "no time has passed");
        clockwork.end();
    }

    #[test]
    fn time_stands_still_while_another_thread_works() {
        let clockwork = Clockwork::new(|| false).expect("a clockwork");
        let passed = clockwork.wait(async {
            let start = Instant::now();
            tokio::spawn(tokio::time::sleep(Duration::from_secs(1)));
            let work = || std::thread::sleep(Duration::from_millis(20));
            tokio::task::spawn_blocking(work).await.expect("it works");
            start.elapsed()
        });
        assert_eq!(passed, Duration::ZERO);
        clockwork.end();
    }

    #[test]
    fn what_waits_for_another_thread_happens_before_all_is_settled() {
        let busy = Arc::new(AtomicUsize::new(0));
        let asked = busy.clone();
        let clockwork =
            Clockwork::new(move || asked.load(Ordering::SeqCst) > 0).expect("it is new");
        let diary = Diary::default();
        {
            let _entered = clockwork.enter();
            let (start, notes) = (Instant::now(), diary.clone());
            tokio::spawn(async move {
                for _ in 0..3 {
                    busy.fetch_add(1, Ordering::SeqCst);
                    let work = || std::thread::sleep(Duration::from_millis(20));
                    tokio::task::spawn_blocking(work).await.expect("it works");
                    busy.fetch_sub(1, Ordering::SeqCst);
                    note(&notes, start, "worked");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                note(&notes, start, "slept");
            });
        }
        clockwork.settle();
        assert_eq!(*diary.lock().expect("a diary"), [(0, "worked"); 3]);
        clockwork.end();
    }

    #[test]
    fn parts_of_a_tick_add_up() {
        let mut clockwork = Clockwork::new(|| false).expect("a clockwork");
        let start = clockwork.wait(async { Instant::now() });
        for _ in 0..4 {
            clockwork.advance(Duration::from_micros(250)).expect("it moves");
        }
        assert_eq!(clockwork.wait(async move { start.elapsed() }), Duration::from_millis(1));
        assert!(clockwork.advance(Duration::MAX).is_err());
        clockwork.end();
    }
}
