//! Owners of rooms, as the hub of one channel sees them.
//!
//! In a cluster one node at a time runs the events of a room: its *owner*. The room's record on the engine has the
//! state, the timers, and the name of the owner. An owner writes the record before the effects of an event leave, and
//! only if the record is still as it has written it. So a node that has lost a room cannot change it, and nobody sees
//! effects of an event that is not in the record. Without a cluster there are no owners, and nothing of this happens.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::connection_id::NodeId;
use crate::inbox::{AwaitedEvent, Cause};
use crate::peers::Wait;
use crate::time_of_day::{milliseconds, unix_ms};
use crate::timer::NewTimer;

pub use wharf_engine::Unavailable;

/// The right of this node to run the events of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Number of the node's session in which it was got. It ends with that.
    pub session: u64,
    /// Version of the record that the node has written or read last.
    pub version: u64,
    /// The last write of the owner before this one, which may still wait for the answer: its node, the number of its
    /// session, and that of the write.
    pub before: Option<(NodeId, u64, u64)>,
}

/// The content of a room's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomContent {
    /// State; `None` before the first one.
    pub state: Option<Bytes>,
    /// Timers.
    pub timers: Vec<KeptTimer>,
}

/// A timer of a room as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTimer {
    /// Name, unique in the room.
    pub name: Arc<str>,
    /// Time of the next firing, in milliseconds since 1970.
    pub due_at: u64,
    /// Time between firings; `None` for a timer that fires once.
    pub interval: Option<Duration>,
    /// Payload.
    pub payload: Bytes,
}

/// A change of a room's timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerChange {
    /// The timer is set; one of its name is replaced.
    Set(KeptTimer),
    /// The timer of this name is cancelled.
    Cancel(Arc<str>),
}

impl TimerChange {
    /// Returns the change that sets a timer, from now on.
    pub fn set(timer: NewTimer) -> TimerChange {
        let NewTimer { name, delay, interval, payload, .. } = timer;
        let due_at = unix_ms().saturating_add(milliseconds(delay));
        TimerChange::Set(KeptTimer { name, due_at, interval, payload })
    }
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This node owns the room from now on, with this content.
    Held(Hold, RoomContent),
    /// Another node owns the room.
    Elsewhere(NodeId),
}

/// The reason why an event of a room cannot take effect here.
#[derive(Clone, Debug)]
pub enum Refused {
    /// The room has another owner, or its record was changed. Nothing of the event has taken effect.
    Lost,
    /// The room has another owner, and its record has what the event has changed.
    Moved,
    /// The engine cannot be used at present.
    Unavailable(Unavailable),
}

/// An event of a room on its way to the owner.
#[derive(Debug)]
pub enum Forwarded {
    /// An event that a handler has posted.
    Event {
        /// Connection whose handler posted it; `None` for other handlers.
        cause: Option<Arc<Cause>>,
        /// Payload.
        payload: Bytes,
        /// Number of notices and room events that led to it, itself included.
        hops: u8,
    },
    /// An event whose poster waits for the outcome.
    Awaited(Box<AwaitedEvent>),
    /// A change of a timer.
    Timer(TimerChange),
}

/// The owners of a channel's rooms. The room without a name is the channel itself, whose timers fire on its owner.
pub trait Owners: Debug + Send + Sync {
    /// Asks for a room. It becomes this node's if it has no owner, or if its owner has lost its session.
    fn claim(&self, room: &Arc<str>) -> Wait<Result<Claim, Unavailable>>;

    /// Returns true if the session of a hold is valid for certain, so that no other node can have the room.
    fn holds(&self, hold: Hold) -> bool;

    /// Waits until it is known if the session of a hold is valid.
    fn confirm(&self, hold: Hold) -> Wait<Result<(), Refused>>;

    /// Writes the record of a room that this node owns. Returns the hold with the new version.
    fn write(
        &self,
        room: &Arc<str>,
        hold: Hold,
        content: RoomContent,
    ) -> Wait<Result<Hold, Refused>>;

    /// Leaves a room to the next node that asks for it, with this content. Returns false if the record was changed meanwhile, or
    /// if the session has ended, so that others get the room anyway.
    fn give_up(&self, room: &Arc<str>, hold: Hold, content: RoomContent) -> Wait<bool>;

    /// Tells all nodes that rooms were given up, so that one of them takes them over with their timers.
    fn given_up(&self);

    /// Deletes the record of a room that this node owns, unless it was changed meanwhile.
    fn release(&self, room: &Arc<str>, hold: Hold) -> Wait;

    /// Returns the content of a room's record; `None` if it has none.
    fn read(&self, room: &str) -> Wait<Result<Option<RoomContent>, Unavailable>>;

    /// Drops the state in the record of a room, and has the owner read it again. Returns true if there was a state.
    fn reset(&self, room: &Arc<str>) -> Wait<Result<bool, Unavailable>>;

    /// Returns true if a node is there, as far as this one knows.
    fn has(&self, node: NodeId) -> bool;

    /// Takes an event to the owner of a room.
    fn forward(&self, to: NodeId, room: &Arc<str>, event: Forwarded);
}
