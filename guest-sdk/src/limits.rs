//! Rate limits, such as five bids in ten seconds, counted by the host.
//!
//! A limit has a name and belongs to a connection
//! ([`Connection::rate_limit`](crate::Connection::rate_limit)), to a user
//! ([`users::rate_limit`](crate::users::rate_limit)) or to the whole channel ([`rate_limit`]). The
//! function takes one, or returns an error that `?` turns into the right answer.
//!
//! ```
//! use std::time::Duration;
//! use wharf::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Lot;
//!
//! #[wharf::channel]
//! impl Channel for Lot {
//!     const PATHS: &[&str] = &["/lot"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         // Status 429 with `Retry-After`, if this address connects too often.
//!         let address = conn.remote_address();
//!         let host = address.rsplit_once(':').map_or(&*address, |(host, _port)| host);
//!         wharf::limits::rate_limit(host, 30, Duration::from_secs(60))?;
//!         Ok(Lot)
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, bid: u32) -> Result {
//!         conn.rate_limit("bids", 2, Duration::from_secs(10))?;
//!         conn.broadcast_to_all(json!({ "bid": bid }))
//!     }
//! }
//!
//! # use wharf::testing::TestHost;
//! let host = TestHost::new::<Lot>();
//! let ann = host.connect("/lot").expect_open();
//! for bid in [1, 2] {
//!     ann.send(json!(bid));
//!     ann.assert_received(json!({ "bid": bid }));
//! }
//! ann.send(json!(3));
//! ann.assert_received(json!({
//!     "type": "error",
//!     "code": "RATE_LIMITED",
//!     "message": "too many: try again in 5 s",
//!     "retry_after_ms": 5000,
//! }));
//! host.advance(Duration::from_secs(5));
//! ann.send(json!(4));
//! ann.assert_received(json!({ "bid": 4 }));
//! assert!(host.errors().is_empty(), "it is not reported to the operator");
//! ```
//!
//! # The rule
//!
//! `rate_limit("bids", 5, 10 s)` lets in 5 at once, and after that one more each 2 seconds (10 s / 5).
//! After 10 seconds without any, 5 at once again. Name a limit with the same numbers each time.
//!
//! Units that are taken count at once, and are never given back, not even if the event fails. An attempt
//! that is refused takes nothing. Limits of a connection end with it. Those of users and of the channel outlive
//! connections and reloads, but not the host's process. With several nodes, each node has limits of
//! its own.
//!
//! # Errors
//!
//! An [`Invalid`] with the code [`RATE_LIMITED`] and the time to wait in
//! [`retry_after`](crate::Invalid::retry_after). It is the client's mistake: it gets the answer (with
//! its `ref`), and the operator hears nothing. In `on_connect` `?` makes it status 429 with
//! `Retry-After`.
//!
//! And refusals of the host: `rate-limit-name-invalid` (1 to 64 bytes), `rate-limit-invalid` (a
//! number of 0, or a time that is not 1 ms to 366 days), `too-many-rate-limits`
//! (`max_channel_state_bytes`).

use std::time::Duration;

use crate::backend;
use crate::error::{HostError, Result};
use crate::invalid::Invalid;
use crate::timers::milliseconds;

/// The code of an [`Invalid`] for a client that has to wait.
pub const RATE_LIMITED: &str = "RATE_LIMITED";

/// Takes one from a limit of the whole channel: at most `count` at once, and `count` in each `per`. A
/// name may contain what the limit is about, such as an address.
///
/// Errors: those of the [module](self).
pub fn rate_limit(name: &str, count: u32, per: Duration) -> Result {
    answer(backend::take_from_channel_limit(name, count, milliseconds(per)))
}

/// Returns the result of a limit for its caller.
pub(crate) fn answer(taken: Result<Option<u64>, HostError>) -> Result {
    match taken? {
        None => Ok(()),
        Some(wait) => {
            let seconds = wait.div_ceil(1000);
            let invalid = Invalid::new(format_args!("too many: try again in {seconds} s"));
            let wait = Duration::from_millis(wait);
            Err(invalid.code(RATE_LIMITED).retry_after(wait).into())
        }
    }
}
