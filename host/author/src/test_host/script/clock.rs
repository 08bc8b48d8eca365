//! The clock that the guests of a test see: it moves with the runtime's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use wharf_runtime::ports::Clock;

/// The clock of the system, advanced by the time that the test has let pass.
#[derive(Debug)]
pub(super) struct MovedClock {
    /// The beginning of the test, by the runtime's clock.
    began: Instant,
}

impl MovedClock {
    pub(super) fn new() -> MovedClock {
        MovedClock { began: Instant::now() }
    }
}

impl Clock for MovedClock {
    fn wall(&self) -> Duration {
        // Times that the test has from its own clock, such as the expiry of a token, hold here as
        // well.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now + self.began.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}
