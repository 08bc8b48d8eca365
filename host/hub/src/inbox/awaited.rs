//! An event whose poster waits until it has been handled, and its outcome.

use bytes::Bytes;
use tokio::sync::oneshot;

/// An event of a room that the operator has posted and waits for.
#[derive(Debug)]
pub struct AwaitedEvent {
    /// Payload.
    pub payload: Bytes,
    /// Number of notices and room events that led to it, itself included.
    pub hops: u8,
    /// Sender of the outcome.
    pub waiter: oneshot::Sender<Outcome>,
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event was handled, and its effects are committed.
    Handled {
        /// Number of the generation that handled it.
        generation: u64,
        /// True if the room's state has changed.
        is_state_changed: bool,
    },
    /// The handler refused the event as its sender's mistake: JSON with the reason.
    Invalid(Vec<u8>),
    /// The handler undid the event's effects and gave no reason.
    Undone,
    /// The event failed, for this reason.
    Failed(String),
    /// The event missed its deadline, for this reason.
    Late(String),
    /// The event was undone, since what it has changed cannot be kept, for this reason.
    DataUnavailable(String),
}
