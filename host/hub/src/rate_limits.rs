//! A channel's rate limits: what its plugin has taken from them.
//!
//! The table is made for the first limit, so that channels without any have none. It is divided by
//! the subject of a limit, so that all limits of a connection lie in one part.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use wharf_contract::CallRefusal;
use wharf_contract::rate_limits::{Rate, RateLimits as Part, Subject, Taken};

use crate::shards::{SHARDS, shard_of};

/// Limits that are forgotten in a row before others get the lock.
const FORGOTTEN_AT_ONCE: usize = 1024;

/// Limits that one call forgets at most, besides its own work.
const FORGOTTEN_BY_A_CALL: usize = 16;

/// The rate limits of one channel.
#[derive(Debug, Default)]
pub struct RateLimits(OnceLock<Box<Table>>);

#[derive(Debug)]
struct Table {
    /// Beginning of the table's time.
    origin: Instant,
    parts: [Mutex<Part>; SHARDS],
    /// Bytes of the limits in all parts. It changes only when a limit comes or goes.
    bytes: AtomicUsize,
}

impl RateLimits {
    /// Takes one from a limit, at once. Returns the milliseconds to wait if none may be taken.
    /// `max_bytes` bounds all limits from which something is taken at present.
    ///
    /// # Errors
    ///
    /// `too-many-rate-limits`.
    pub fn take(
        &self,
        subject: Subject<'_>,
        name: &str,
        rate: Rate,
        max_bytes: usize,
    ) -> Result<Option<u64>, CallRefusal> {
        let table = self.0.get_or_init(|| {
            let (parts, bytes) = (Default::default(), AtomicUsize::new(0));
            Box::new(Table { origin: Instant::now(), parts, bytes })
        });
        let key = subject.key(name);
        loop {
            match table.take(subject, &key, rate, max_bytes) {
                Taken::Yes => return Ok(None),
                Taken::After(milliseconds) => return Ok(Some(milliseconds)),
                Taken::Full if table.forget_all_passed() => {}
                Taken::Full => return Err(CallRefusal::TooManyRateLimits { limit: max_bytes }),
            }
        }
    }

    /// Forgets the limits of a connection, which has ended.
    pub fn end(&self, connection: u64) {
        if let Some(table) = self.0.get() {
            let subject = Subject::Connection(connection);
            let bytes = table.part(subject, &[]).lock().forget(subject);
            table.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Forgets some of the limits whose time has passed. Returns true if there may be more.
    pub fn sweep(&self) -> bool {
        let Some(table) = self.0.get() else { return false };
        let now = table.now();
        let forgotten = table.parts.iter().map(|part| table.forget(part, now, FORGOTTEN_AT_ONCE));
        forgotten.fold(false, |more, count| more | (count == FORGOTTEN_AT_ONCE))
    }

    /// Returns the size of all limits, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.get().map_or(0, |table| table.bytes.load(Ordering::Relaxed))
    }
}

impl Table {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn part(&self, subject: Subject<'_>, key: &[u8]) -> &Mutex<Part> {
        match subject {
            // Limits of the channel are known by their names alone.
            Subject::Channel => shard_of(&self.parts, key),
            Subject::Connection(_) | Subject::User(_) => shard_of(&self.parts, &subject.prefix()),
        }
    }

    fn take(&self, subject: Subject<'_>, key: &[u8], rate: Rate, max_bytes: usize) -> Taken {
        let part = self.part(subject, key);
        let now = self.now();
        self.forget(part, now, FORGOTTEN_BY_A_CALL);
        part.lock().take(key, rate, now, |more| {
            let reserve = |bytes: usize| bytes.checked_add(more).filter(|sum| *sum <= max_bytes);
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
        })
    }

    /// Forgets all limits whose time has passed. Returns true if there were any.
    fn forget_all_passed(&self) -> bool {
        let now = self.now();
        let mut any = false;
        for part in &self.parts {
            while self.forget(part, now, FORGOTTEN_AT_ONCE) > 0 {
                any = true;
            }
        }
        any
    }

    fn forget(&self, part: &Mutex<Part>, now: Duration, most: usize) -> usize {
        let (count, bytes) = part.lock().forget_passed(now, most);
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    fn rate(count: u32, per_ms: u64) -> Rate {
        Rate::read(count, per_ms).expect("a rate")
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_there_again_when_its_time_has_passed() {
        let limits = RateLimits::default();
        let take = || limits.take(Subject::User("ann"), "bids", rate(2, 1000), 1000);
        assert_eq!([take(), take(), take()], [Ok(None), Ok(None), Ok(Some(500))]);
        tokio::time::advance(Duration::from_millis(499)).await;
        assert_eq!(take(), Ok(Some(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!([take(), take()], [Ok(None), Ok(Some(500))]);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_are_bounded_together_and_those_whose_time_has_passed_make_room() {
        let limits = RateLimits::default();
        let take = |number: u64, per_ms| {
            let name = format!("{number:05}");
            limits.take(Subject::Channel, &name, rate(1, per_ms), 3 * 134)
        };
        let full = Err(CallRefusal::TooManyRateLimits { limit: 3 * 134 });
        assert_eq!([take(0, 5), take(1, 5), take(2, 50)], [const { Ok(None) }; 3]);
        assert_eq!((take(3, 5), limits.bytes()), (full.clone(), 3 * 134));
        assert_eq!(take(2, 50), Ok(Some(50)), "it is known");
        tokio::time::advance(Duration::from_millis(5)).await;
        assert_eq!([take(3, 5), take(4, 5), take(5, 5)], [Ok(None), Ok(None), full]);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_of_a_connection_end_with_it_and_a_sweep_leaves_none_whose_time_has_passed() {
        let limits = RateLimits::default();
        assert!(!limits.sweep());
        limits.end(1);
        for number in 0..40_000 {
            let name = number.to_string();
            let (one, long) = (rate(1, 10), rate(1, 1_000_000));
            assert_eq!(limits.take(Subject::Channel, &name, one, usize::MAX), Ok(None));
            let connection = Subject::Connection(number % 3);
            assert_eq!(limits.take(connection, &name, long, usize::MAX), Ok(None));
        }
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(limits.sweep(), "more than one portion");
        while limits.sweep() {}
        (0..3).for_each(|connection| limits.end(connection));
        assert_eq!(limits.bytes(), 0);
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        const THREADS: usize = 8;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let _guard = runtime.as_ref().expect("a runtime").enter();
        let (limits, begin) = (RateLimits::default(), Barrier::new(THREADS));
        let taken: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        let take = |_: &usize| {
                            let rate = rate(100, 1_000_000_000);
                            limits.take(Subject::User("ann"), "n", rate, 1000) == Ok(None)
                        };
                        (0..100).filter(take).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        assert_eq!(taken, 100);
    }
}
