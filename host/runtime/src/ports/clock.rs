//! The clock that guests see.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. It need not be the clock of the host's own timers, but should move with it.
pub trait Clock: Debug + Send + Sync {
    /// Returns the time since 1970, UTC.
    fn wall(&self) -> Duration;

    /// Returns the time since a moment that stays the same. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        // A clock that shows a time before 1970 is not set.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
