//! The effects that a handler has recorded in the fake host, and their sizes.

use std::time::Duration;

use wharf_contract::effects::{ID_BYTES, label_bytes, name_bytes};

use crate::audience::Audience;

use super::client::Received;
use super::posts::Scope;

/// A message that a channel has sent to a room of another, with [`publish`](crate::publish).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Name of the other channel.
    pub channel: String,
    /// Name of the room.
    pub room: String,
    /// Message that its members would receive.
    pub message: Received,
}

/// One effect of a handler; connections by their numbers.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Send(Received),
    SendTo(u64, Received),
    Broadcast {
        to: Audience,
        message: Received,
        /// A connection that is left out, even if it is one of them.
        skip: Option<u64>,
    },
    Join(String),
    Leave(String),
    Identify(String),
    SetLabel(String, String),
    Track {
        room: String,
        key: String,
        meta: String,
    },
    Untrack(String),
    Watch(String),
    Unwatch(String),
    ClearLabel(String),
    Disconnect(u64, (u16, String)),
    DisconnectUser(String, (u16, String)),
    /// An event for one receiver.
    Post(Scope, Vec<u8>),
    /// A notice for several connections; those whose inbox is full are closed.
    PostToSeveral {
        to: Vec<u64>,
        full: Vec<u64>,
        payload: Vec<u8>,
    },
    SetTimer {
        scope: Scope,
        name: String,
        delay: Duration,
        interval: Option<Duration>,
        payload: Vec<u8>,
    },
    CancelTimer {
        scope: Scope,
        name: String,
    },
    Publish(Published),
}

impl Effect {
    /// Returns the bytes that it sends, a broadcast counted once.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Effect::Send(message)
            | Effect::SendTo(_, message)
            | Effect::Broadcast { message, .. }
            | Effect::Publish(Published { message, .. }) => message.bytes(),
            Effect::Post(_, payload)
            | Effect::PostToSeveral { payload, .. }
            | Effect::SetTimer { payload, .. } => payload.len(),
            Effect::Track { meta, .. } => meta.len(),
            _ => 0,
        }
    }

    /// Returns the bytes that its names take.
    pub(crate) fn name_bytes(&self) -> usize {
        let of = |names: &[String]| names.iter().map(|name| name_bytes(name)).sum::<usize>();
        match self {
            Effect::Broadcast { to, .. } => {
                let labels = to.labels.iter().map(|(name, value)| label_bytes(name, value));
                of(&to.rooms)
                    + of(&to.users)
                    + of(&to.except_users)
                    + labels.sum::<usize>()
                    + to.except.len() * ID_BYTES
            }
            Effect::Join(name)
            | Effect::Leave(name)
            | Effect::Identify(name)
            | Effect::Untrack(name)
            | Effect::Watch(name)
            | Effect::Unwatch(name)
            | Effect::ClearLabel(name)
            | Effect::DisconnectUser(name, _)
            | Effect::Publish(Published { room: name, .. }) => name_bytes(name),
            Effect::SetLabel(name, value) => label_bytes(name, value),
            Effect::Track { room, key, .. } => name_bytes(room) + name_bytes(key),
            _ => 0,
        }
    }

    /// Returns true if its deliveries are counted.
    pub(crate) fn is_broadcast(&self) -> bool {
        matches!(self, Effect::Broadcast { .. } | Effect::PostToSeveral { .. } | Effect::Publish(_))
    }
}
