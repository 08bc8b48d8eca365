//! The rooms and the user of a connection.

use super::Connection;
use crate::error::Result;
use crate::outgoing::Outgoing;
use crate::rooms::{self, Except};
use crate::users;

/// Rooms. [`wharf::rooms`](crate::rooms) has all of this for code without a connection at hand.
impl Connection {
    /// Adds this connection to a room; joining twice is joining once. A room exists while it has
    /// members, and its name is 1 to 255 bytes of UTF-8.
    ///
    /// Errors: `room-name-invalid`, `too-many-rooms`, `too-many-effects`, `connection-ended`.
    pub fn join(&self, room: &str) -> Result {
        Ok(self.raw.join(room)?)
    }

    /// Adds this connection to a room if fewer than `count` connections are in it, and returns true;
    /// true also if it is in the room already. The place is reserved at the call, becomes the
    /// membership when the event commits, and is free again if the event fails: a room that is
    /// entered only in this way, with the same `count`, never has more members, however many come
    /// at once. [`room_count`](rooms::room_count) and then [`join`](Connection::join) let in all that
    /// come at once. [`join`](Connection::join) itself looks at no number.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result<(), Refusal> {
    /// if !conn.join_if_fewer_than("table", 4)? {
    ///     return Err(Refusal::close(4001, "the table is full"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With several nodes, each node counts the members that it knows of: connections that come to
    /// different nodes at the same moment may be more together.
    ///
    /// Errors: as for [`join`](Connection::join).
    pub fn join_if_fewer_than(&self, room: &str, count: u32) -> Result<bool> {
        Ok(self.raw.join_if_fewer_than(room, count)?)
    }

    /// Removes this connection from a room; leaving a room that it is not in is not an error. A
    /// connection that ends leaves its rooms by itself.
    ///
    /// Errors: `room-name-invalid`, `too-many-effects`, `connection-ended`.
    pub fn leave(&self, room: &str) -> Result {
        Ok(self.raw.leave(room)?)
    }

    /// Returns the rooms of this connection, in the order joined. In `on_close` these are its last
    /// rooms.
    pub fn joined(&self) -> Vec<String> {
        self.raw.joined()
    }

    /// Sends to every member of the room: to this connection too, if it is one.
    /// See [`rooms::broadcast_to_room`].
    pub fn broadcast_to_room(&self, room: &str, message: impl Outgoing) -> Result {
        rooms::broadcast_to_room(room, message)
    }

    /// Sends to the members of several rooms, once each. See [`rooms::broadcast_to_rooms`].
    pub fn broadcast_to_rooms<R: AsRef<str>>(&self, rooms: &[R], message: impl Outgoing) -> Result {
        rooms::broadcast_to_rooms(rooms, message)
    }

    /// Sends to every connection of this channel, in any room or none. See
    /// [`rooms::broadcast_to_all`].
    pub fn broadcast_to_all(&self, message: impl Outgoing) -> Result {
        rooms::broadcast_to_all(message)
    }

    /// Returns the same broadcasts without this connection.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result {
    /// conn.others().broadcast_to_room("lobby", json!({ "type": "user_typing" }))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn others(&self) -> Except<'_> {
        rooms::except(self.id())
    }

    /// Sends to one connection of this channel by its id. See [`rooms::send_to`].
    pub fn send_to(&self, id: &str, message: impl Outgoing) -> Result {
        rooms::send_to(id, message)
    }
}

/// Users. [`wharf::users`](crate::users) has the functions that need no connection.
impl Connection {
    /// Assigns this connection to a user, until it ends; a user may have any number of connections.
    /// Identifying it again moves it to the other user. The id is 1 to 255 bytes of UTF-8. The host
    /// does not check that the client is this user: that is what a token is for.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result {
    /// conn.identify("ann")?;
    /// assert_eq!(conn.user().as_deref(), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Errors: `user-id-invalid`, `too-many-effects`, `connection-ended`.
    pub fn identify(&self, user: &str) -> Result {
        Ok(self.raw.identify(user)?)
    }

    /// Assigns this connection to a user if the user has fewer than `count` connections, and returns
    /// true; true also if it is the user's already. The place is reserved at the call, and is free
    /// again if the event fails: a user whose connections are all identified in this way, with the
    /// same `count`, never has more, however many come at once.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result<(), Refusal> {
    /// if !conn.identify_if_fewer_than("ann", 3)? {
    ///     return Err(Refusal::close(4002, "close another tab first"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With several nodes, each node counts the connections that it knows of: connections that come
    /// to different nodes at the same moment may be more together.
    ///
    /// Errors: as for [`identify`](Connection::identify).
    pub fn identify_if_fewer_than(&self, user: &str, count: u32) -> Result<bool> {
        Ok(self.raw.identify_if_fewer_than(user, count)?)
    }

    /// Returns the user of this connection, if it has been identified. In `on_close` this is its
    /// last user.
    pub fn user(&self) -> Option<String> {
        self.raw.identified()
    }

    /// Sends to every connection of a user. See [`users::send_to_user`].
    pub fn send_to_user(&self, user: &str, message: impl Outgoing) -> Result {
        users::send_to_user(user, message)
    }

    /// Sends to every connection of several users. See [`users::send_to_users`].
    pub fn send_to_users<U: AsRef<str>>(&self, users: &[U], message: impl Outgoing) -> Result {
        users::send_to_users(users, message)
    }
}
