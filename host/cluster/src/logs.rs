//! Bounded logs of messages.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::Unavailable;

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Number of this life of the log: random, and not 0. Offsets of different epochs cannot be compared.
    pub epoch: u64,
    /// Number of the entry: 1 for the first one of an epoch, one more for each that follows.
    pub offset: u64,
}

/// The part of a log that is kept. The newest entry is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Number of entries, at least 1.
    pub messages: u32,
    /// Bytes of all entries together.
    pub bytes: u64,
    /// Age of the oldest entry, by the engine's clock; `None` for any age.
    pub age: Option<Duration>,
    /// Time without an append after which the log is forgotten with its epoch; `None` for never. It should be longer
    /// than `age`, so that a client that has missed nothing can be told so.
    pub idle: Option<Duration>,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its offset.
    pub offset: u64,
    /// Its content.
    pub entry: Bytes,
}

/// A part of a log, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The epoch; 0 for a log that does not exist.
    pub epoch: u64,
    /// Offset of the oldest entry that is kept; one more than `last` if none is.
    pub first: u64,
    /// Offset of the newest entry, kept or not; 0 if there was none yet.
    pub last: u64,
    /// The entries, by ascending offsets without a hole.
    pub entries: Vec<LogEntry>,
}

/// Bounded logs of messages, by name. A log begins with its first append.
///
/// **Promised**: an append stores the entry, gives it the next offset, and publishes it on the topic of the log's own
/// name, in one atomic step. Subscribers receive entries by ascending offsets, each with its
/// [`Position`], and none that is not stored. A log that was removed, was idle for too long, or was lost with its server
/// comes back with another epoch.
///
/// **Not promised**: that each entry is received (see [`Topics`](crate::Topics)). A receiver that sees an offset
/// jump, or another epoch, reads what it has missed.
pub trait Logs {
    /// Appends an entry and publishes it. Then drops what is beyond the bounds.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present. If it took too long or the link broke, the entry may be stored
    /// nevertheless, but it is never stored twice.
    fn append<'a>(
        &'a self,
        log: &'a str,
        entry: Bytes,
        bounds: Bounds,
    ) -> Answer<'a, Result<Position, Unavailable>>;

    /// Reads the entries after an offset, oldest first: at most `messages`, and at most `bytes` unless the first one
    /// alone has more. If entries after the offset are gone, it begins with the first that is kept. With 0 messages it
    /// is a cheap question for the end: `first` may then be the offset of an entry that is not kept any more.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn read<'a>(
        &'a self,
        log: &'a str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>>;

    /// Reads the newest entries, oldest first: at most `messages`, and at most `bytes` unless the last one alone has
    /// more.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn read_last<'a>(
        &'a self,
        log: &'a str,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>>;

    /// Removes a log. Returns false if there was none.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn remove<'a>(&'a self, log: &'a str) -> Answer<'a, Result<bool, Unavailable>>;
}
