//! Rooms, and who is in them.
//!
//! A room is a named set of connections inside one channel; no other channel sees it. It exists
//! while it has members: nobody creates it and nobody cleans up. A connection joins with
//! [`Connection::join`](crate::Connection::join); what is here needs no connection, only an event.
//!
//! Broadcasts are effects and happen when the event commits; all members of a room see its
//! broadcasts in one order. Questions see the committed state and this event's own joins and
//! leaves. Counts are advisory: two events that join at the same time may both read the same.

use serde::Serialize;

use crate::backend;
use crate::error::Result;
use crate::outgoing::{Outgoing, encoded};
use crate::pages::Pages;
use crate::timers;

/// How many members the room has on this node; 0 for a room that does not exist.
pub fn room_count(room: &str) -> u32 {
    backend::room_count(room)
}

/// The ids of the room's members on this node, in ascending order. They are fetched 1000 at a
/// time, so that a large room does not have to fit into the guest's memory; whoever joins or leaves
/// in between may or may not be among them.
pub fn room_members(room: &str) -> RoomMembers {
    RoomMembers(Pages::of(room, backend::room_members))
}

/// Send to every member of the room, the sender included if it is one. A room without members is
/// no error.
///
/// Errors: `room-name-invalid`, `message-too-big`, `too-many-effects`, and JSON that cannot be
/// encoded.
pub fn broadcast_to_room(room: &str, message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_room(room, message)
}

/// Send to the members of at most 256 rooms: once to each, even where somebody is in several.
///
/// Errors: as [`broadcast_to_room`], and `too-many-rooms`.
pub fn broadcast_to_rooms<R: AsRef<str>>(rooms: &[R], message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_rooms(rooms, message)
}

/// Send to every connection of this channel, in whatever room or none. Errors: as
/// [`broadcast_to_room`].
pub fn broadcast_to_all(message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_all(message)
}

/// Send to one connection of this channel by its id.
///
/// Errors: `unknown-connection` (never was, or has ended; see
/// [`Error::is_gone`](crate::Error::is_gone)), `message-too-big`, `too-many-effects`, and JSON that
/// cannot be encoded.
pub fn send_to(id: &str, message: impl Outgoing) -> Result {
    encoded(&message, |kind, data| backend::send_to(id, kind, data))
}

/// Close one connection of this channel by its id. What it was sent before is delivered first;
/// its `on_close` runs, and its [`ending`](crate::Connection::ending) is `channel-closed`. The code
/// is 1000 or one of 3000 to 4999, the reason at most 123 bytes of UTF-8.
///
/// Errors: `unknown-connection`, `close-code-invalid`, `close-reason-too-long`,
/// `too-many-effects`.
pub fn disconnect(id: &str, code: u16, reason: &str) -> Result {
    Ok(backend::disconnect(id, code, reason)?)
}

/// Everybody but the connection with this id: the same broadcasts, and that one is skipped.
///
/// ```
/// # use wharf::prelude::*;
/// # fn handler(winner: &str) -> Result {
/// wharf::rooms::except(winner).broadcast_to_room("table", "you lost")?;
/// # Ok(())
/// # }
/// ```
///
/// To leave out a user, or several, or to ask for labels, see [`audience`](crate::audience).
pub fn except(id: &str) -> Except<'_> {
    Except { skip: Some(id) }
}

/// Broadcasts that skip one connection; made by [`except`] and
/// [`Connection::others`](crate::Connection::others).
#[derive(Debug, Clone, Copy)]
pub struct Except<'a> {
    skip: Option<&'a str>,
}

pub(crate) const EVERYBODY: Except<'static> = Except { skip: None };

impl Except<'_> {
    /// As [`broadcast_to_room`], without the one that is skipped.
    pub fn broadcast_to_room(&self, room: &str, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::broadcast_to_room(room, kind, data, self.skip))
    }

    /// As [`broadcast_to_rooms`], without the one that is skipped.
    pub fn broadcast_to_rooms<R: AsRef<str>>(&self, rooms: &[R], message: impl Outgoing) -> Result {
        let rooms: Vec<&str> = rooms.iter().map(AsRef::as_ref).collect();
        encoded(&message, |kind, data| backend::broadcast_to_rooms(&rooms, kind, data, self.skip))
    }

    /// As [`send_to_user`](crate::users::send_to_user), without the one that is skipped: to the
    /// user's other devices.
    pub fn send_to_user(&self, user: &str, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::send_to_user(user, kind, data, self.skip))
    }

    /// As [`send_to_users`](crate::users::send_to_users), without the one that is skipped.
    pub fn send_to_users<U: AsRef<str>>(&self, users: &[U], message: impl Outgoing) -> Result {
        let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
        encoded(&message, |kind, data| backend::send_to_users(&users, kind, data, self.skip))
    }

    /// As [`broadcast_to_all`], without the one that is skipped.
    pub fn broadcast_to_all(&self, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::broadcast_to_all(kind, data, self.skip))
    }

    /// As [`notify_room`](crate::notices::notify_room), without the one that is skipped.
    pub fn notify_room(&self, room: &str, notice: &impl Serialize) -> Result<u32> {
        Ok(backend::notify_room(room, &timers::encode(notice)?, self.skip)?)
    }

    /// As [`notify_user`](crate::notices::notify_user), without the one that is skipped.
    pub fn notify_user(&self, user: &str, notice: &impl Serialize) -> Result<u32> {
        Ok(backend::notify_user(user, &timers::encode(notice)?, self.skip)?)
    }
}

/// Iterates over the members of a room; made by [`room_members`].
#[derive(Debug, Clone)]
pub struct RoomMembers(Pages);

impl Iterator for RoomMembers {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }
}
