//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::backend;

/// Returns the time of day. In tests [`TestHost::advance`](crate::testing::TestHost::advance) moves
/// it, natively and with the component, together with the timers; `SystemTime::now()` moves with the
/// component only.
///
/// It is the clock of the host's machine, which may be set back. With several nodes their clocks may
/// differ.
///
/// ```
/// use std::time::Duration;
/// use wharf::prelude::*;
/// use wharf::testing::TestHost;
///
/// #[derive(Serialize, Deserialize)]
/// struct Quiz { ends_at_ms: u64 }
///
/// #[wharf::channel]
/// impl Channel for Quiz {
///     const PATHS: &[&str] = &["/quiz"];
///
///     fn on_connect(_: &Connection) -> Result<Self, Refusal> {
///         Ok(Quiz { ends_at_ms: wharf::unix_ms() + 10_000 })
///     }
///
///     fn on_message(&mut self, conn: &Connection, answer: String) -> Result {
///         match wharf::unix_ms() < self.ends_at_ms {
///             true => conn.send(format!("{answer} it is")),
///             false => conn.send("too late"),
///         }
///     }
/// }
///
/// let host = TestHost::new::<Quiz>();
/// let ann = host.connect("/quiz").expect_open();
/// ann.send("42");
/// ann.assert_received("42 it is");
/// host.advance(Duration::from_secs(11));
/// ann.send("43");
/// ann.assert_received("too late");
/// ```
pub fn now() -> SystemTime {
    backend::now()
}

/// Returns the time of day as milliseconds since 1970, as `Date.now()` does in a browser. A clock
/// that shows an earlier time counts as 0. See [`now`].
pub fn unix_ms() -> u64 {
    let since = now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
