//! Records with versions.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::Unavailable;

/// The record of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The version: not 0, and another one after each change.
    pub version: u64,
    /// Time until it expires, by the engine's clock; `None` for one that stays.
    pub expires_in: Option<Duration>,
}

/// The state of a key that a change demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any.
    Any,
    /// There is no record, or it has expired.
    Absent,
    /// The record has this version.
    Version(u64),
}

/// The reason why a record was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The expectation does not hold. Nothing has changed.
    #[error("the record has changed: {}", shown(*current))]
    Conflict {
        /// The current version; `None` if there is no record.
        current: Option<u64>,
    },
    /// The engine cannot be used at present.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The reason why a number was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncrementError {
    /// The value is not a decimal integer of 64 bits.
    #[error("the value is not a number")]
    NotANumber,
    /// The sum has more than 64 bits.
    #[error("the sum is too large")]
    Overflow,
    /// The engine cannot be used at present.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn shown(version: Option<u64>) -> String {
    version.map_or("there is none".to_owned(), |version| format!("it has version {version}"))
}

/// Records with versions, by key.
///
/// **Promised**: each step is atomic, also among nodes. A version differs from all earlier ones of its key, those of
/// deleted and expired records included, so that a comparison never takes a new record for an old one. An expired record
/// is not returned.
///
/// A new owner of something shuts the old one out by writing its record once: the version is another one then, and
/// what the old owner puts with [`Expected::Version`] conflicts.
///
/// **Not promised**: that a server which loses its disk, or fails over before it has copied a record, still has it.
pub trait Keys {
    /// Returns a record.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Result<Option<Entry>, Unavailable>>;

    /// Writes a record if the expectation holds, and returns its version. It stays for `ttl`, or until it is deleted.
    ///
    /// # Errors
    ///
    /// The expectation does not hold, or the engine cannot be used at present.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<u64, PutError>>;

    /// Deletes a record if the expectation holds. Returns false if there is none.
    ///
    /// # Errors
    ///
    /// The expectation does not hold, or the engine cannot be used at present.
    fn delete<'a>(&'a self, key: &'a str, expected: Expected)
    -> Answer<'a, Result<bool, PutError>>;

    /// Adds to a decimal integer, and returns the sum and its version. An absent record counts as 0, and gets `ttl`;
    /// another one keeps its time to live.
    ///
    /// # Errors
    ///
    /// The value is not a number, the sum is too large, or the engine cannot be used at present.
    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<(i64, u64), IncrementError>>;

    /// Returns the records whose keys begin with `prefix`, by ascending bytes, after the key `after`, at most `limit`. Fewer
    /// are the last ones. Each is as it was at some moment of the call; keys that come or go meanwhile may be
    /// missing.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> Answer<'a, Result<Vec<(String, Entry)>, Unavailable>>;
}
