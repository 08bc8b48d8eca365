//! The runtime of a test: it runs until nothing can run any more, and its clock moves only when it is
//! told to.
//!
//! Whether something can still run is asked where the runtime's thread is about to sleep: then no task is
//! ready, and if no socket is either, only time could change anything.

use std::fs;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long the runtime may take to end what is left.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Where this process sees its open files.
const FILES: &str = "/proc/self/fd";

/// A runtime with one thread and a clock of its own.
#[derive(Debug)]
pub(super) struct Clockwork {
    runtime: Runtime,
    watch: Arc<Watch>,
    /// What the clock has not been moved by yet: its unit is tokio's, a millisecond.
    rest: Duration,
}

/// Sees when the thread is about to sleep.
#[derive(Debug, Default)]
struct Watch {
    mode: AtomicU8,
    /// Nothing can run any more.
    is_settled: AtomicBool,
    /// The future that the runtime waits for shall be looked at.
    look: Notify,
    /// The runtime's queue of events.
    events: OnceLock<OwnedFd>,
}

/// The runtime waits for something that other threads do.
const WAITING: u8 = 0;
/// It runs until nothing can run any more; time stands still.
const SETTLING: u8 = 1;
/// Where nothing can run, it goes on with the next timer.
const ADVANCING: u8 = 2;

impl Watch {
    fn about_to_sleep(&self) {
        let mode = self.mode.load(Ordering::SeqCst);
        if mode == WAITING {
            return;
        }
        if self.has_events() {
            // They are taken now. What they make ready is to run before the clock moves.
            self.look.notify_one();
        } else if mode == SETTLING {
            self.is_settled.store(true, Ordering::SeqCst);
            self.look.notify_one();
        }
    }

    /// Whether a socket is ready that nobody has been told of.
    fn has_events(&self) -> bool {
        let Some(events) = self.events.get() else {
            return false;
        };
        let mut one = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut one, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

impl Clockwork {
    /// A clockwork that stands still.
    pub(super) fn new() -> anyhow::Result<Clockwork> {
        let known = event_queues()?;
        let watch = Arc::new(Watch::default());
        let hook = watch.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .on_thread_park(move || hook.about_to_sleep())
            .build()
            .context("there is no runtime")?;
        let queue = event_queues()?.into_iter().find(|queue| !known.contains(queue));
        let queue = queue.context("the runtime's queue of events is not to be found")?;
        // SAFETY: the runtime has just opened it, and keeps it open while it lives.
        let queue = unsafe { BorrowedFd::borrow_raw(queue) };
        let queue = queue.try_clone_to_owned().context("the runtime's queue of events")?;
        let _ = watch.events.set(queue);
        Ok(Clockwork { runtime, watch, rest: Duration::ZERO })
    }

    /// What is made while this is kept belongs to the runtime.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Wait for something that needs other threads, but no time.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Run until nothing can run any more.
    pub(super) fn settle(&self) {
        self.watch.is_settled.store(false, Ordering::SeqCst);
        self.watch.mode.store(SETTLING, Ordering::SeqCst);
        self.runtime.block_on(async {
            while !self.watch.is_settled.load(Ordering::SeqCst) {
                self.watch.look.notified().await;
            }
        });
        self.watch.mode.store(WAITING, Ordering::SeqCst);
    }

    /// Move the clock: from timer to timer, and at each all that it causes happens before the next.
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
        self.watch.mode.store(ADVANCING, Ordering::SeqCst);
        self.runtime.block_on(async {
            let arrived = tokio::time::sleep_until(until);
            tokio::pin!(arrived);
            loop {
                tokio::select! {
                    biased;
                    () = &mut arrived => return,
                    () = self.watch.look.notified() => {}
                }
            }
        });
        self.settle();
        Ok(())
    }

    /// End what is left.
    pub(super) fn end(self) {
        self.watch.mode.store(WAITING, Ordering::SeqCst);
        self.runtime.shutdown_timeout(LAST_MOMENT);
    }
}

/// The queues of events that this process has.
fn event_queues() -> anyhow::Result<Vec<RawFd>> {
    let mut queues = Vec::new();
    for entry in fs::read_dir(FILES).context(FILES)? {
        let Ok(entry) = entry else {
            continue;
        };
        let is_queue = fs::read_link(entry.path())
            .is_ok_and(|target| target == Path::new("anon_inode:[eventpoll]"));
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        queues.extend(number.filter(|_| is_queue));
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    type Diary = Arc<Mutex<Vec<(u64, &'static str)>>>;

    fn note(diary: &Diary, start: Instant, what: &'static str) {
        diary.lock().expect("a diary").push((start.elapsed().as_millis() as u64, what));
    }

    #[test]
    fn what_a_timer_causes_through_sockets_happens_before_the_next_timer() {
        let mut clockwork = Clockwork::new().expect("a clockwork");
        let diary = Diary::default();
        {
            let _entered = clockwork.enter();
            let start = Instant::now();
            let (mut one, mut other) = UnixStream::pair().expect("a pair");
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
                    // Some detours, none of which takes time.
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
        let clockwork = Clockwork::new().expect("a clockwork");
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
    fn parts_of_a_tick_add_up() {
        let mut clockwork = Clockwork::new().expect("a clockwork");
        let start = clockwork.wait(async { Instant::now() });
        for _ in 0..4 {
            clockwork.advance(Duration::from_micros(250)).expect("it moves");
        }
        assert_eq!(clockwork.wait(async move { start.elapsed() }), Duration::from_millis(1));
        assert!(clockwork.advance(Duration::MAX).is_err());
        clockwork.end();
    }
}
