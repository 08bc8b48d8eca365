//! The lag of the reactor: by how much timers are late because the threads are busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wharf_metrics::histogram::{Histogram, Times};

/// Time between two measurements.
const PAUSE: Duration = Duration::from_millis(200);

/// Measurements of the last second.
const LAST: usize = 5;

/// The lag so far.
#[derive(Debug, Default)]
pub(super) struct Lag {
    all: Histogram,
    /// The last ones, in nanoseconds.
    last: [AtomicU64; LAST],
}

impl Lag {
    /// Measures until this is dropped.
    pub(super) async fn measure(&self) {
        for last in self.last.iter().cycle() {
            let begun = Instant::now();
            tokio::time::sleep(PAUSE).await;
            let late = begun.elapsed().saturating_sub(PAUSE);
            let nanoseconds = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            self.all.record(nanoseconds);
            last.store(nanoseconds, Ordering::Relaxed);
        }
    }

    /// Returns the times by which timers were late. Timers are exact to a millisecond.
    pub(super) fn times(&self) -> Times {
        Times::of([&self.all].into_iter())
    }

    /// Returns the longest of the last second, in nanoseconds.
    pub(super) fn of_last_second(&self) -> u64 {
        self.last.iter().map(|last| last.load(Ordering::Relaxed)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_held_up_is_seen() {
        let lag = Lag::default();
        let hold_up = async {
            // The measurement has begun by then.
            tokio::task::yield_now().await;
            std::thread::sleep(PAUSE + Duration::from_millis(50));
            while lag.times().count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = lag.measure() => {}
            () = hold_up => {}
        }
        assert!(lag.of_last_second() >= 50_000_000, "{lag:?}");
        assert!(lag.times().nanoseconds() >= 50_000_000);
    }
}
