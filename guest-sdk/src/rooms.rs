//! Rooms and their members.
//!
//! A room is a named set of connections inside one channel; no other channel sees it. It exists
//! while it has members, and needs neither creation nor cleanup. A connection joins with
//! [`Connection::join`](crate::Connection::join). The functions here need no connection, only an
//! event.
//!
//! Broadcasts are effects and happen when the event commits; all members of a room see its
//! broadcasts in one order. Questions see the committed state and this event's own joins and
//! leaves.
//!
//! Counts and lists are advisory: two events that join at the same time may both read the same
//! number. With several nodes they cover all of them, and the part of other nodes may lag behind.
//! The broadcasts of one node then reach all members in one order; those of different nodes may
//! come in different orders to members on different nodes.

use serde::Serialize;

use crate::backend;
use crate::error::Result;
use crate::outgoing::{Json, Outgoing, encoded};
use crate::pages::Pages;
use crate::reference::Ref;
use crate::reply::Reply;

/// Returns the number of the room's members; 0 for a room that does not exist. Advisory.
pub fn room_count(room: &str) -> u32 {
    backend::room_count(room)
}

/// Returns the ids of the room's members, in ascending order. Advisory. They are fetched 1000 at a
/// time, so that a large room does not have to fit into the guest's memory. A connection that joins
/// or leaves in between may or may not be among them.
pub fn room_members(room: &str) -> RoomMembers {
    RoomMembers(Pages::of(room, |of, after, limit| Ok(backend::room_members(of, after, limit))))
}

/// Sends to every member of the room, the sender included if it is one. A room without members is
/// not an error.
///
/// Errors: `room-name-invalid`, `message-too-big`, `too-many-effects`, and JSON that cannot be
/// encoded.
pub fn broadcast_to_room(room: &str, message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_room(room, message)
}

/// Sends to the members of at most 256 rooms, once to each, even if a connection is in several.
///
/// Errors: as [`broadcast_to_room`], and `too-many-rooms`.
pub fn broadcast_to_rooms<R: AsRef<str>>(rooms: &[R], message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_rooms(rooms, message)
}

/// Sends to every connection of this channel, in any room or none. Errors: as
/// [`broadcast_to_room`].
pub fn broadcast_to_all(message: impl Outgoing) -> Result {
    EVERYBODY.broadcast_to_all(message)
}

/// Sends to one connection of this channel by its id.
///
/// A connection on another node gets the message at most once; if it has just ended there, that is
/// not an error here.
///
/// Errors: `unknown-connection` (it never existed, has ended, or its node is known to be gone; see
/// [`Error::is_gone`](crate::Error::is_gone)), `message-too-big`, `too-many-effects`, and JSON that
/// cannot be encoded.
pub fn send_to(id: &str, message: impl Outgoing) -> Result {
    encoded(&message, |kind, data| backend::send_to(id, kind, data))
}

/// Answers a message of another connection that has a `ref`, by the connection's id, as
/// [`Connection::reply`](crate::Connection::reply) does on the event's own: for answers that come
/// later, from a timer or another connection's event, by an id and a [`Ref`] that were kept. Without a
/// `ref` nothing is sent. In a notice or a room event that the message has led to,
/// [`event::reply`](crate::event::reply) knows both.
///
/// Errors: as for [`send_to`].
pub fn reply_to<'r, T: Serialize>(
    id: &str,
    reference: impl Into<Option<&'r Ref>>,
    payload: T,
) -> Result {
    match reference.into() {
        Some(reference) => send_to(id, Json(Reply::to(reference, payload))),
        None => Ok(()),
    }
}

/// Closes one connection of this channel by its id. Messages sent to it before are delivered first.
/// Its `on_close` runs, and its [`ending`](crate::Connection::ending) is `channel-closed`. The code
/// is 1000 or one of 3000 to 4999, the reason at most 123 bytes of UTF-8.
///
/// Errors: `unknown-connection` (as for [`send_to`]), `close-code-invalid`,
/// `close-reason-too-long`, `too-many-effects`.
pub fn disconnect(id: &str, code: u16, reason: &str) -> Result {
    Ok(backend::disconnect(id, code, reason)?)
}

/// Returns the same broadcasts without the connection with this id.
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
    /// Sends like [`broadcast_to_room`], without the excepted connection.
    pub fn broadcast_to_room(&self, room: &str, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::broadcast_to_room(room, kind, data, self.skip))
    }

    /// Sends like [`broadcast_to_rooms`], without the excepted connection.
    pub fn broadcast_to_rooms<R: AsRef<str>>(&self, rooms: &[R], message: impl Outgoing) -> Result {
        let rooms: Vec<&str> = rooms.iter().map(AsRef::as_ref).collect();
        encoded(&message, |kind, data| backend::broadcast_to_rooms(&rooms, kind, data, self.skip))
    }

    /// Sends like [`send_to_user`](crate::users::send_to_user), without the excepted connection: to
    /// the user's other devices.
    pub fn send_to_user(&self, user: &str, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::send_to_user(user, kind, data, self.skip))
    }

    /// Sends like [`send_to_users`](crate::users::send_to_users), without the excepted connection.
    pub fn send_to_users<U: AsRef<str>>(&self, users: &[U], message: impl Outgoing) -> Result {
        let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
        encoded(&message, |kind, data| backend::send_to_users(&users, kind, data, self.skip))
    }

    /// Sends like [`broadcast_to_all`], without the excepted connection.
    pub fn broadcast_to_all(&self, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::broadcast_to_all(kind, data, self.skip))
    }
}

/// Iterates over the members of a room; made by [`room_members`].
#[derive(Debug, Clone)]
pub struct RoomMembers(Pages<String>);

impl Iterator for RoomMembers {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // Listing connections is never refused.
        self.0.next()?.ok()
    }
}
