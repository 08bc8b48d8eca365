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

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend;
use crate::encoding::payload;
use crate::error::{Context, Result};

/// Sets a timer of the channel that fires once. The errors: `timer-name-invalid` (1 to 64 bytes),
/// `timer-interval-invalid` (more than 366 days; less than 10 ms is 10 ms), `too-many-timers`
/// (`max_timers_per_channel`), `payload-too-big`, `no-handler` (there is no `on_channel_timer`).
pub fn after<P: Serialize + ?Sized>(
    delay: Duration,
    name: impl NamesTimer<P>,
    payload: &P,
) -> Result {
    let payload = encode(payload)?;
    Ok(backend::set_channel_timer(name.as_str(), milliseconds(delay), None, &payload)?)
}

/// Sets a timer of the channel that fires again and again, at intervals of at least 10 ms. The
/// errors are those of [`after`].
pub fn every<P: Serialize + ?Sized>(
    interval: Duration,
    name: impl NamesTimer<P>,
    payload: &P,
) -> Result {
    let payload = encode(payload)?;
    let interval = milliseconds(interval);
    Ok(backend::set_channel_timer(name.as_str(), interval, Some(interval), &payload)?)
}

/// Cancels a timer of the channel, including a firing that waits. A timer that is not set is not an
/// error.
pub fn cancel(name: impl AsRef<str>) -> Result {
    Ok(backend::cancel_channel_timer(name.as_ref())?)
}

/// Returns the time until a timer of the channel fires the next time, as this event's own changes make
/// it; `None` if it is not set. With several nodes the answer may lag behind. Errors:
/// `timer-name-invalid`.
pub fn remaining(name: impl AsRef<str>) -> Result<Option<Duration>> {
    Ok(backend::channel_timer_remaining(name.as_ref())?.map(Duration::from_millis))
}

/// The name of a timer whose payload is a `P`. Timers that are set by it carry nothing else, and
/// [`Timer::payload_of`] returns their payload: the compiler checks that the two agree.
///
/// ```
/// use std::time::Duration;
/// use wharf::prelude::*;
///
/// const REMIND: TimerName<u32> = TimerName::new("remind");
///
/// # fn set(conn: &Connection) -> Result {
/// conn.after(Duration::from_secs(60), REMIND, &7)?;
/// # Ok(())
/// # }
/// # fn handle(timer: Timer) -> Result {
/// if let Some(number) = timer.payload_of(REMIND)? {
///     info!("reminded of {number}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use std::time::Duration;
/// # use wharf::prelude::*;
/// # const REMIND: TimerName<u32> = TimerName::new("remind");
/// # fn set(conn: &Connection) -> Result {
/// conn.after(Duration::from_secs(60), REMIND, "soon")
/// # }
/// ```
///
/// A `&str` names a timer as well, with a payload of any type.
pub struct TimerName<P: ?Sized = ()> {
    name: &'static str,
    payload: PhantomData<fn() -> Box<P>>,
}

impl<P: ?Sized> TimerName<P> {
    /// Makes the name: 1 to 64 bytes, which each call checks.
    pub const fn new(name: &'static str) -> Self {
        Self { name, payload: PhantomData }
    }
}

impl<P: ?Sized> Clone for TimerName<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for TimerName<P> {}

impl<P: ?Sized> fmt::Debug for TimerName<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl<P: ?Sized> AsRef<str> for TimerName<P> {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// A name of timers that carry a `P`: a [`TimerName`] of that type, or a text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name timers that carry `{P}`",
    note = "the payload has the type that the `TimerName` says"
)]
pub trait NamesTimer<P: ?Sized>: Sealed {
    /// Returns the name.
    fn as_str(&self) -> &str;
}

/// Keeps others from naming timers with types of their own.
pub trait Sealed {}

impl<P: ?Sized> Sealed for TimerName<P> {}
impl Sealed for &str {}
impl Sealed for &String {}

impl<P: ?Sized> NamesTimer<P> for TimerName<P> {
    fn as_str(&self) -> &str {
        self.name
    }
}

impl<P: ?Sized> NamesTimer<P> for &str {
    fn as_str(&self) -> &str {
        self
    }
}

impl<P: ?Sized> NamesTimer<P> for &String {
    fn as_str(&self) -> &str {
        self
    }
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

    /// Returns the payload if it is the timer of that name, else `None`. The errors are those of
    /// [`payload`](Timer::payload).
    pub fn payload_of<T: DeserializeOwned>(&self, name: TimerName<T>) -> Result<Option<T>> {
        match self.name == name.name {
            true => self.payload().map(Some),
            false => Ok(None),
        }
    }
}

/// Encodes the payload of a timer.
pub(crate) fn encode<P: Serialize + ?Sized>(payload: &P) -> Result<Vec<u8>> {
    payload::encode("the payload", payload)
}

/// Returns whole milliseconds, rounded up, so that nothing fires too early.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
