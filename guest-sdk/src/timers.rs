//! Timers: of a connection, of a room, and of the channel itself.
//!
//! | whose | set with | handled by | gone |
//! | --- | --- | --- | --- |
//! | a connection's | [`Connection::after`](crate::Connection::after), [`every`](crate::Connection::every) | [`on_timer`](crate::Channel::on_timer) | with the connection |
//! | a room's | [`Room::after`](crate::Room::after), [`every`](crate::Room::every) | [`on_room_timer`](crate::Channel::on_room_timer) | when cancelled |
//! | the channel's | [`after`], [`every`] | [`on_channel_timer`](crate::Channel::on_channel_timer) | when cancelled |
//!
//! A timer has a name, unique among those of its connection, its room or the channel: setting it
//! again replaces it. It fires once, or again and again; one firing is one event. Firings that fall
//! due while an earlier one of the same timer still waits are left out. Timers outlive reloads of
//! the plugin, and not the end of the host.
//!
//! Setting and cancelling are effects: they happen when the event commits, and time counts from
//! then. [`Timer::payload`] returns the payload of a timer.
//!
//! With several nodes, a timer of a connection fires on the connection's node. A timer of a room or
//! of the channel fires on one node; if that node dies, a firing may come late, be left out or come
//! twice.
//!
//! ```
//! use std::time::Duration;
//! use wharf::prelude::*;
//! # use wharf::testing::TestHost;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Quiz;
//!
//! #[wharf::channel]
//! impl Channel for Quiz {
//!     const PATHS: &[&str] = &["/quiz"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         conn.after(Duration::from_secs(10), "too late", &json!({ "question": 1 }))?;
//!         Ok(Quiz)
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, answer: String) -> Result {
//!         conn.cancel_timer("too late")?;
//!         conn.send(format!("{answer} it is"))
//!     }
//!
//!     fn on_timer(&mut self, conn: &Connection, timer: Timer) -> Result {
//!         let asked: serde_json::Value = timer.payload()?;
//!         conn.send(format!("no answer to question {}", asked["question"]))
//!     }
//! }
//! # use wharf::serde_json;
//!
//! let host = TestHost::new::<Quiz>();
//! let (quick, slow) = (host.connect("/quiz").expect_open(), host.connect("/quiz").expect_open());
//! quick.send("forty-two");
//! host.advance(Duration::from_secs(10));
//! quick.assert_received("forty-two it is");
//! slow.assert_received("no answer to question 1");
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend;
use crate::encoding::payload;
use crate::error::{Context, Result};

/// Sets a timer of the channel that fires once. The errors: `timer-name-invalid` (1 to 64 bytes),
/// `timer-interval-invalid` (more than 366 days; less than 10 ms is 10 ms), `too-many-timers`
/// (`max_timers_per_channel`), `payload-too-big`, `no-handler` (there is no `on_channel_timer`).
pub fn after(delay: Duration, name: &str, payload: &impl Serialize) -> Result {
    let payload = encode(payload)?;
    Ok(backend::set_channel_timer(name, milliseconds(delay), None, &payload)?)
}

/// Sets a timer of the channel that fires again and again, at intervals of at least 10 ms. The
/// errors are those of [`after`].
pub fn every(interval: Duration, name: &str, payload: &impl Serialize) -> Result {
    let payload = encode(payload)?;
    let interval = milliseconds(interval);
    Ok(backend::set_channel_timer(name, interval, Some(interval), &payload)?)
}

/// Cancels a timer of the channel, including a firing that waits. A timer that is not set is not an
/// error.
pub fn cancel(name: &str) -> Result {
    Ok(backend::cancel_channel_timer(name)?)
}

/// A timer that has fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    name: String,
    payload: Vec<u8>,
}

impl Timer {
    pub(crate) fn new(name: String, payload: Vec<u8>) -> Self {
        Self { name, payload }
    }

    /// Returns the size of the payload.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the payload given when it was set. Errors: the payload is of another type, which an
    /// older version of the plugin may have set.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        payload::decode(&self.payload)
            .with_context(|| format!("the payload of the timer {:?}", self.name))
    }
}

/// Encodes the payload of a timer.
pub(crate) fn encode(payload: &impl Serialize) -> Result<Vec<u8>> {
    payload::encode("the payload", payload)
}

/// Returns whole milliseconds, rounded up, so that nothing fires too early.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
