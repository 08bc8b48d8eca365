//! Values that all connections of this channel share, by their keys.
//!
//! The store outlives connections, reloads of the plugin and the host's process; no other channel sees
//! it. A write that was answered is on disk, unless the operator keeps all data in memory.
//!
//! ```
//! # use std::time::Duration;
//! # use wharf::prelude::*;
//! use wharf::store;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Board {
//!     scores: Vec<(String, u32)>,
//! }
//!
//! # fn handler() -> Result {
//! store::set("motto", "fair winds")?;
//! let motto: Option<String> = store::get("motto")?;
//!
//! let visitors = store::increment("visitors", 1)?;
//! store::set_for("typing:ann", &true, Duration::from_secs(3))?;
//!
//! store::update("board", |board: Option<Board>| {
//!     let mut board = board.unwrap_or_default();
//!     board.scores.push(("Ann".to_owned(), 3));
//!     board
//! })?;
//! # assert_eq!((motto.as_deref(), visitors), (Some("fair winds"), 1));
//! # assert_eq!(store::get::<Board>("board")?.map(|board| board.scores.len()), Some(1));
//! # Ok(())
//! # }
//! #
//! # #[derive(Serialize, Deserialize)]
//! # struct Idle;
//! # #[wharf::channel]
//! # impl Channel for Idle {
//! #     const PATHS: &[&str] = &["/idle"];
//! #     fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Idle) }
//! # }
//! # wharf::testing::TestHost::new::<Idle>().run(handler).unwrap();
//! ```
//!
//! # Writes stay
//!
//! Unlike effects, a write happens at once and is not undone, even if the handler fails afterwards.
//! Each call is one indivisible step; between two calls of one handler other connections' handlers
//! may write. So a value that depends on one that was read belongs into [`increment`] or
//! [`update`], which lose nothing, however many do it at once.
//!
//! # Keys and values
//!
//! A key is text of 1 to 512 bytes; a prefix such as `score:` groups keys for [`keys`]. Values are
//! kept as JSON, so that a counter is a number, that a struct may grow fields
//! (`#[serde(default)]`), and that a person can read them. [`get_bytes`] and [`set_bytes`] are for
//! values that are not JSON, or have to be small.
//!
//! # Errors
//!
//! All calls: `store-key-invalid`. Writes: `store-full` (the channel's entries would take more than
//! `max_store_bytes`), `store-value-too-big` (over `max_store_value_bytes`), `store-ttl-invalid`
//! (a duration under a millisecond), and JSON that cannot be encoded.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend;
use crate::encoding::payload;
use crate::error::{Context, Error, Result};
use crate::pages::Pages;

/// A value in the form in which it is kept, with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Version of this value of this key: each write makes a larger one, and none is used twice.
    /// For [`compare_and_swap`].
    pub version: u64,
}

/// Returns the value of the key; `None` if it has none: never set, deleted or expired.
///
/// Errors: the value is not a `T`; those of the [module](self).
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    match get_bytes(key)? {
        Some(entry) => decode(key, &entry.value).map(Some),
        None => Ok(None),
    }
}

/// Sets the key's value, which is kept until it is deleted, and replaces an earlier one.
///
/// Errors: those of the [module](self).
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result {
    set_bytes(key, &encode(key, value)?).map(drop)
}

/// Sets the key's value like [`set`], for this time; a further write begins anew.
pub fn set_for<T: Serialize + ?Sized>(key: &str, value: &T, time: Duration) -> Result {
    set_bytes_for(key, &encode(key, value)?, time).map(drop)
}

/// Deletes the key. Returns true if it had a value.
///
/// Errors: those of the [module](self).
pub fn delete(key: &str) -> Result<bool> {
    Ok(backend::store_delete(key)?)
}

/// Adds to the key's number, which is 0 if it has none, and returns the sum. It expires when the
/// old value would have; `get::<i64>` reads it.
///
/// Errors: `store-not-a-number`, `store-overflow` (beyond 64 bits; nothing has changed); those of
/// the [module](self).
pub fn increment(key: &str, by: i64) -> Result<i64> {
    Ok(backend::store_increment(key, by)?)
}

/// Adds to the key's number like [`increment`]. A key without a value lives for `time` from now on; the
/// time of a value stays as it was. So it counts within a time that begins with the first increment:
/// `increment_for("mails:ann", 1, day)?` is the number of mails in a day. A
/// [rate limit](crate::limits) needs no key, and no comparison.
///
/// Errors: those of [`increment`], and `store-ttl-invalid`.
pub fn increment_for(key: &str, by: i64, time: Duration) -> Result<i64> {
    Ok(backend::store_increment_for(key, by, milliseconds(time))?)
}

/// Number of attempts of [`update`]. Each time that one fails, another writer has succeeded.
pub const UPDATE_ATTEMPTS: u32 = 100;

/// Changes the key's value, and returns the new one. Nothing is lost if several do that at once: if
/// the key has been written between the reading and the writing, it is read again and `change` runs
/// again, [`UPDATE_ATTEMPTS`] times at most. So `change` should have no other effects.
///
/// The value is then kept until it is deleted; see [`update_for`] for one that expires.
///
/// Errors: `store-conflict` after that many attempts; the value is not a `T`; those of the
/// [module](self).
pub fn update<T: Serialize + DeserializeOwned>(
    key: &str,
    mut change: impl FnMut(Option<T>) -> T,
) -> Result<T> {
    try_update(key, None, |value| Ok(change(value)))
}

/// Changes the key's value like [`update`], for this time after it.
pub fn update_for<T: Serialize + DeserializeOwned>(
    key: &str,
    time: Duration,
    mut change: impl FnMut(Option<T>) -> T,
) -> Result<T> {
    try_update(key, Some(time), |value| Ok(change(value)))
}

/// Changes the key's value like [`update`] or, with a time, [`update_for`], with a change that may
/// fail: its error is returned, and the key keeps its value.
///
/// ```
/// # use wharf::prelude::*;
/// # fn take_seat(name: &str) -> Result {
/// wharf::store::try_update("seats", None, |seats: Option<Vec<String>>| {
///     let mut seats = seats.unwrap_or_default();
///     if seats.len() == 4 {
///         wharf::bail!("the table is full");
///     }
///     seats.push(name.to_owned());
///     Ok(seats)
/// })?;
/// # Ok(())
/// # }
/// ```
pub fn try_update<T: Serialize + DeserializeOwned>(
    key: &str,
    time: Option<Duration>,
    mut change: impl FnMut(Option<T>) -> Result<T>,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let before = get_bytes(key)?;
        let version = before.as_ref().map(|entry| entry.version);
        let value = before.map(|entry| decode(key, &entry.value)).transpose()?;
        let value = change(value)?;
        match compare_and_swap(key, version, &checked(key, &value)?, time) {
            Ok(_) => return Ok(value),
            Err(error) if !is_conflict(&error) => return Err(error),
            Err(error) if attempt == UPDATE_ATTEMPTS => {
                return Err(error.context(format_args!(
                    "other handlers wrote {key:?} before each of {UPDATE_ATTEMPTS} attempts to \
                     update it"
                )));
            }
            Err(_) => attempt += 1,
        }
    }
}

fn is_conflict(error: &Error) -> bool {
    error.host_error().is_some_and(|error| error.code == "store-conflict")
}

/// Returns the keys that begin with `prefix`, in ascending order; all of them for `""`. They are
/// fetched 1000 at a time, so that they do not have to fit into the guest's memory. A key that is
/// written or deleted in between may or may not be among them. After an error there are no more.
///
/// ```
/// # use wharf::prelude::*;
/// # fn handler() -> Result {
/// for key in wharf::store::keys("score:") {
///     let key = key?;
///     let score: Option<u32> = wharf::store::get(&key)?;
/// #   let _ = score;
/// }
/// # Ok(())
/// # }
/// ```
pub fn keys(prefix: &str) -> Keys {
    Keys(Pages::of(prefix, backend::store_list))
}

/// Iterates over keys; made by [`keys`].
#[derive(Debug, Clone)]
pub struct Keys(Pages<String>);

impl Iterator for Keys {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        Some(self.0.next()?.map_err(Error::from))
    }
}

/// Returns the bytes of the key's value, with its version.
///
/// Errors: those of the [module](self).
pub fn get_bytes(key: &str) -> Result<Option<Entry>> {
    Ok(backend::store_get(key)?)
}

/// Sets the key's value to these bytes until it is deleted, and returns its version.
///
/// Errors: those of the [module](self).
pub fn set_bytes(key: &str, value: &[u8]) -> Result<u64> {
    Ok(backend::store_set(key, value, None)?)
}

/// Sets the key's value to these bytes like [`set_bytes`], for this time.
pub fn set_bytes_for(key: &str, value: &[u8], time: Duration) -> Result<u64> {
    Ok(backend::store_set(key, value, Some(milliseconds(time)))?)
}

/// Sets the key's value to these bytes if it has the version `expected`, or no value for `None`,
/// and returns the new version. The value is kept for `time`, if there is one. [`update`] is the
/// convenient way.
///
/// Errors: `store-conflict` (it has another version: read again); those of the [module](self).
pub fn compare_and_swap(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    time: Option<Duration>,
) -> Result<u64> {
    Ok(backend::store_compare_and_swap(key, expected, value, time.map(milliseconds))?)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T> {
    let what = || format!("the store's value of {key:?} is no {}", std::any::type_name::<T>());
    payload::from_json(value).with_context(what)
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>> {
    payload::to_json(&format!("the value for {key:?}"), value)
}

/// Encodes a value of a type that can be read back.
fn checked<T: Serialize + DeserializeOwned>(key: &str, value: &T) -> Result<Vec<u8>> {
    let encoded = encode(key, value)?;
    payload::check_json::<T>(&format!("the value for {key:?}"), &encoded)?;
    Ok(encoded)
}
