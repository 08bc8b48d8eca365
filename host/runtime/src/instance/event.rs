//! The events that a guest is called for, and the export of each.

use std::sync::Arc;

use wasmtime::Store;

use super::{InstanceState, borrowed_connection};
use crate::event_kind::EventKind;
use crate::host_calls::bindings::exports::wharf::channel::lifecycle::Message;
use crate::host_calls::bindings::wharf::channel::presence::Entry;
use crate::host_calls::optional::outside_events::exports::wharf::channel::outside_events;
use crate::plugin::GuestExports;
use wharf_hub::inbox::Cause;
use wharf_hub::presence::Diff;

/// An event of a connection, besides connecting.
#[derive(Debug)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; only for guests that export `control-frames`.
    Ping(&'a [u8]),
    /// A pong; only for guests that export `control-frames`.
    Pong(&'a [u8]),
    /// A notice of another handler; only for guests that export `notice-events`.
    Notice {
        /// Connection whose handler posted it, if it was one's.
        cause: Option<Arc<Cause>>,
        /// Payload.
        payload: &'a [u8],
        /// Number of notices and room events that led to it, itself included.
        hops: u8,
    },
    /// A timer of the connection; only for guests that export `timer-events`.
    Timer {
        /// Name.
        name: &'a str,
        /// Payload given when it was set.
        payload: &'a [u8],
    },
    /// A failure; only for guests that export `faults`.
    Fault {
        /// Token, such as `message-too-big`.
        code: &'a str,
        /// Sentence for the log.
        detail: &'a str,
    },
    /// The connection has ended.
    Close {
        /// Code of the first close frame sent or received.
        code: Option<u16>,
        /// Its reason.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// Returns the kind, which names the export.
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Text(_) | Event::Binary(_) => EventKind::Message,
            Event::Ping(_) => EventKind::Ping,
            Event::Pong(_) => EventKind::Pong,
            Event::Notice { .. } => EventKind::Notice,
            Event::Timer { .. } => EventKind::Timer,
            Event::Fault { .. } => EventKind::Fault,
            Event::Close { .. } => EventKind::Close,
        }
    }

    /// Returns the name of its handler if these exports lack it, and an earlier generation has caused the
    /// event: control frames and faults are for those that want them.
    pub(super) fn unhandled(&self, exports: &GuestExports) -> Option<&'static str> {
        match self {
            Event::Notice { .. } if exports.notice_events.is_none() => Some("on_notify"),
            Event::Timer { .. } if exports.timer_events.is_none() => Some("on_timer"),
            _ => None,
        }
    }

    /// Returns the number of notices and room events that led to it.
    pub fn hops(&self) -> u8 {
        match self {
            Event::Notice { hops, .. } => *hops,
            _ => 0,
        }
    }

    /// Returns the connection whose handler posted it, if it was one's.
    pub fn cause(&self) -> Option<&Arc<Cause>> {
        match self {
            Event::Notice { cause, .. } => cause.as_ref(),
            _ => None,
        }
    }
}

/// An event of a room, or of the channel itself.
#[derive(Debug)]
pub enum Detached<'a> {
    /// An event that a handler has posted to a room; only for guests that export `room-events`.
    RoomEvent {
        /// Name of the room.
        room: &'a str,
        /// Connection whose handler posted it, if it was one's.
        cause: Option<&'a Arc<Cause>>,
        /// Payload.
        payload: &'a [u8],
    },
    /// A timer of a room; only for guests that export `room-events`.
    RoomTimer {
        /// Name of the room.
        room: &'a str,
        /// Name of the timer.
        name: &'a str,
        /// Payload given when it was set.
        payload: &'a [u8],
    },
    /// Changes of a room's presence list; only for guests that export `presence-events`.
    Presence {
        /// Name of the room.
        room: &'a str,
        /// Changes.
        diff: &'a Diff,
    },
    /// A timer of the channel; only for guests that export `channel-timer-events`.
    ChannelTimer {
        /// Name.
        name: &'a str,
        /// Payload given when it was set.
        payload: &'a [u8],
    },
}

impl Detached<'_> {
    /// Returns the kind, which names the export.
    pub fn kind(&self) -> EventKind {
        match self {
            Detached::RoomEvent { .. } => EventKind::Room,
            Detached::RoomTimer { .. } => EventKind::RoomTimer,
            Detached::Presence { .. } => EventKind::Presence,
            Detached::ChannelTimer { .. } => EventKind::ChannelTimer,
        }
    }

    /// Returns the name of its handler if these exports lack it.
    pub(super) fn unhandled(&self, exports: &GuestExports) -> Option<&'static str> {
        match self {
            Detached::RoomEvent { .. } if exports.room_events.is_none() => Some("on_room_event"),
            Detached::RoomTimer { .. } if exports.room_events.is_none() => Some("on_room_timer"),
            Detached::ChannelTimer { .. } if exports.channel_timer_events.is_none() => {
                Some("on_channel_timer")
            }
            _ => None,
        }
    }
}

/// The refusal of a message from outside by a guest.
pub type OutsideRefusal = outside_events::OutsideRefusal;

/// The answer of a guest to a message from outside: a reply, or a refusal.
pub type OutsideAnswer = Result<Vec<u8>, OutsideRefusal>;

/// Calls the export that the event is for.
pub(super) async fn dispatch(
    exports: &GuestExports,
    store: &mut Store<InstanceState>,
    session: &[u8],
    event: &Event<'_>,
) -> wasmtime::Result<Option<Vec<u8>>> {
    let connection = borrowed_connection();
    let lifecycle = &exports.lifecycle;
    match *event {
        Event::Text(text) => {
            let message = Message::Text(text);
            lifecycle.call_on_message(store, connection, session, message).await
        }
        Event::Binary(data) => {
            let message = Message::Binary(data);
            lifecycle.call_on_message(store, connection, session, message).await
        }
        Event::Close { code, reason } => {
            lifecycle.call_on_close(store, connection, session, code, reason).await?;
            Ok(None)
        }
        Event::Ping(data) => match &exports.control_frames {
            Some(guest) => guest.call_on_ping(store, connection, session, data).await,
            None => Ok(None),
        },
        Event::Pong(data) => match &exports.control_frames {
            Some(guest) => guest.call_on_pong(store, connection, session, data).await,
            None => Ok(None),
        },
        Event::Notice { ref cause, payload, .. } => match &exports.notice_events {
            Some(guest) => {
                let from = cause.as_ref().map(|cause| cause.connection.to_string());
                let from = from.as_deref();
                guest.call_on_notify(store, connection, session, from, payload).await
            }
            None => Ok(None),
        },
        Event::Timer { name, payload } => match &exports.timer_events {
            Some(guest) => guest.call_on_timer(store, connection, session, name, payload).await,
            None => Ok(None),
        },
        Event::Fault { code, detail } => match &exports.faults {
            Some(guest) => guest.call_on_fault(store, connection, session, code, detail).await,
            None => Ok(None),
        },
    }
}

/// Calls the export for an event without a connection.
pub(super) async fn dispatch_detached(
    exports: &GuestExports,
    store: &mut Store<InstanceState>,
    state: Option<&[u8]>,
    event: &Detached<'_>,
) -> wasmtime::Result<Option<Vec<u8>>> {
    match *event {
        Detached::RoomEvent { room, cause, payload } => match &exports.room_events {
            Some(guest) => {
                let from = cause.map(|cause| cause.connection.to_string());
                guest.call_on_room_event(store, room, state, from.as_deref(), payload).await
            }
            None => Ok(None),
        },
        Detached::RoomTimer { room, name, payload } => match &exports.room_events {
            Some(guest) => guest.call_on_room_timer(store, room, state, name, payload).await,
            None => Ok(None),
        },
        Detached::Presence { room, diff } => {
            if let Some(guest) = &exports.presence_events {
                let joins: Vec<Entry> = diff.joins.iter().cloned().map(Entry::from).collect();
                let leaves: Vec<String> = diff.leaves.iter().map(|key| key.to_string()).collect();
                guest.call_on_presence(store, room, diff.sequence, &joins, &leaves).await?;
            }
            Ok(None)
        }
        Detached::ChannelTimer { name, payload } => {
            if let Some(guest) = &exports.channel_timer_events {
                guest.call_on_channel_timer(store, name, payload).await?;
            }
            Ok(None)
        }
    }
}

/// Calls the export for a message from outside. Returns `None` for a plugin without a handler for
/// it.
pub(super) async fn dispatch_outside(
    exports: &GuestExports,
    store: &mut Store<InstanceState>,
    payload: &[u8],
) -> wasmtime::Result<Option<OutsideAnswer>> {
    match &exports.outside_events {
        Some(guest) => guest.call_on_outside_message(store, payload).await.map(Some),
        None => Ok(None),
    }
}
