//! What a guest is called for, and which of its exports that is.

use wasmtime::Store;

use super::{InstanceState, borrowed_connection};
use crate::host_calls::bindings::exports::wharf::channel::lifecycle::Message;
use crate::host_calls::bindings::wharf::channel::presence::Entry;
use crate::host_calls::optional::outside_events::exports::wharf::channel::outside_events;
use crate::plugin::Parts;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::presence::Diff;

/// What a guest is called for on behalf of a connection, besides connecting.
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
    /// What another handler has posted; only for guests that export `notice-events`.
    Notice {
        /// The connection whose handler it was, if one's.
        from: Option<ConnectionId>,
        /// What it says.
        payload: &'a [u8],
        /// How many notices and room events led to it, itself included.
        hops: u8,
    },
    /// A timer of the connection; only for guests that export `timer-events`.
    Timer {
        /// Its name.
        name: &'a str,
        /// What was given when it was set.
        payload: &'a [u8],
    },
    /// A failure; only for guests that export `faults`.
    Fault {
        /// A token such as `message-too-big`.
        code: &'a str,
        /// A sentence for the log.
        detail: &'a str,
    },
    /// The connection has ended.
    Close {
        /// The code of the first close frame sent or received.
        code: Option<u16>,
        /// Its reason.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// The export's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Text(_) | Event::Binary(_) => "on-message",
            Event::Ping(_) => "on-ping",
            Event::Pong(_) => "on-pong",
            Event::Notice { .. } => "on-notify",
            Event::Timer { .. } => "on-timer",
            Event::Fault { .. } => "on-fault",
            Event::Close { .. } => "on-close",
        }
    }

    /// How many notices and room events led to it.
    pub fn hops(&self) -> u8 {
        match self {
            Event::Notice { hops, .. } => *hops,
            _ => 0,
        }
    }
}

/// What a guest is called for on behalf of a room, or of the channel itself.
#[derive(Debug)]
pub enum Detached<'a> {
    /// What a handler has posted to a room; only for guests that export `room-events`.
    RoomEvent {
        /// The room's name.
        room: &'a str,
        /// The connection whose handler it was, if one's.
        from: Option<ConnectionId>,
        /// What it says.
        payload: &'a [u8],
    },
    /// A timer of a room; only for guests that export `room-events`.
    RoomTimer {
        /// The room's name.
        room: &'a str,
        /// The timer's name.
        name: &'a str,
        /// What was given when it was set.
        payload: &'a [u8],
    },
    /// Who has come to a room and who has gone; only for guests that export `presence-events`.
    Presence {
        /// The room's name.
        room: &'a str,
        /// What has changed.
        diff: &'a Diff,
    },
    /// A timer of the channel; only for guests that export `channel-timer-events`.
    ChannelTimer {
        /// Its name.
        name: &'a str,
        /// What was given when it was set.
        payload: &'a [u8],
    },
}

impl Detached<'_> {
    /// The export's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Detached::RoomEvent { .. } => "on-room-event",
            Detached::RoomTimer { .. } => "on-room-timer",
            Detached::Presence { .. } => "on-presence",
            Detached::ChannelTimer { .. } => "on-channel-timer",
        }
    }
}

/// How a guest refuses a message from outside.
pub type OutsideRefusal = outside_events::OutsideRefusal;

/// What a guest says to a message from outside: a reply, or why not.
pub type OutsideAnswer = Result<Vec<u8>, OutsideRefusal>;

/// Call the export that the event is for.
pub(super) async fn dispatch(
    exports: &Parts,
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
        Event::Notice { from, payload, .. } => match &exports.notice_events {
            Some(guest) => {
                let from = from.map(|id| id.to_string());
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

/// The same for an event without a connection.
pub(super) async fn dispatch_detached(
    exports: &Parts,
    store: &mut Store<InstanceState>,
    state: Option<&[u8]>,
    event: &Detached<'_>,
) -> wasmtime::Result<Option<Vec<u8>>> {
    match *event {
        Detached::RoomEvent { room, from, payload } => match &exports.room_events {
            Some(guest) => {
                let from = from.map(|id| id.to_string());
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

/// The same for a message from outside. A plugin that has no handler for it answers nothing.
pub(super) async fn dispatch_outside(
    exports: &Parts,
    store: &mut Store<InstanceState>,
    payload: &[u8],
) -> wasmtime::Result<Option<OutsideAnswer>> {
    match &exports.outside_events {
        Some(guest) => guest.call_on_outside_message(store, payload).await.map(Some),
        None => Ok(None),
    }
}
