//! The logs of a cluster, in which its nodes keep the messages of a channel's rooms: a port.
//!
//! Without a cluster a room's log is in this process, and nothing of this happens.

use std::fmt::Debug;

use wharf_contract::history::Retention;
use wharf_engine::Unavailable;

use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::history::Position;
use crate::peers::Wait;

/// The logs of one channel's rooms. An implementation must not block, and must not call the hub.
///
/// **Promised**: an append stores the message, gives it the next offset, and publishes it to the nodes that follow the
/// log, in one atomic step. A follower hears messages in ascending order of their offsets, each at most once, and none
/// that is not stored.
pub trait Logs: Debug + Send + Sync {
    /// Returns the reason why the logs cannot be used at present, as far as it is known without asking.
    fn failure(&self) -> Option<String>;

    /// Appends a message. The log keeps what the rule says.
    fn append(
        &self,
        room: &str,
        message: &LogMessage,
        retention: &Retention,
    ) -> Wait<Result<Position, Unavailable>>;

    /// Reads the messages after an offset, oldest first: at most `messages`, and at most `bytes` unless the first one
    /// alone has more. With 0 messages it tells the ends of the log alone.
    fn read(
        &self,
        room: &str,
        after: u64,
        messages: usize,
        bytes: usize,
    ) -> Wait<Result<LogPart, Unavailable>>;

    /// Reads the newest messages, oldest first: at most `messages`, and at most `bytes` unless the last one alone has
    /// more.
    fn read_last(
        &self,
        room: &str,
        messages: usize,
        bytes: usize,
    ) -> Wait<Result<LogPart, Unavailable>>;

    /// Has the messages of a log be heard from now on. Returns a wait until they are; `None` if they are already.
    fn follow(&self, room: &str) -> Option<Wait>;

    /// Has them be heard no longer.
    fn unfollow(&self, room: &str);
}

/// A message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// The message. `None` for one that is for nobody: the mark with which a log begins, or one of a form that this
    /// version does not know.
    pub frame: Option<Frame>,
    /// The time at which it was sent, in milliseconds since 1970.
    pub at_ms: u64,
    /// The connection that does not get it.
    pub except: Option<ConnectionId>,
    /// The name of a broadcast to several rooms, of which each connection gets one message.
    pub once: Option<Once>,
}

/// The name of a broadcast to several rooms: the number of its node, and one of that node's own.
pub type Once = (u64, u64);

impl LogMessage {
    /// Makes a message that is for nobody.
    pub fn mark(at_ms: u64) -> LogMessage {
        LogMessage { frame: None, at_ms, except: None, once: None }
    }

    /// Returns the bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.len()) + size_of::<LogMessage>()
    }
}

/// A part of a log, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPart {
    /// The place of the last message, kept or not; [`Position::NONE`] for a log that does not exist.
    pub last: Position,
    /// Offset of the oldest message that is kept; one more than that of the last one if none is.
    pub first: u64,
    /// The messages, in ascending order of their offsets, without a hole.
    pub messages: Vec<(u64, LogMessage)>,
}
