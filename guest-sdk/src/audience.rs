//! Broadcasts to a chosen audience: by room, user and label, with exceptions.
//!
//! The broadcasts in [`rooms`](crate::rooms) go to all members of a room, except one connection at
//! most. For a narrower audience, begin with [`to_room`], [`to_rooms`], [`to_user`], [`to_users`]
//! or [`to_all`], narrow it down, and [`send`](Audience::send):
//!
//! ```
//! use wharf::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Chat;
//!
//! #[wharf::channel]
//! impl Channel for Chat {
//!     const PATHS: &[&str] = &["/chat"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         conn.join("lobby")?;
//!         let role = conn.query("role").unwrap_or("guest".into());
//!         conn.set_label("role", &role)?;
//!         Ok(Chat)
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, report: String) -> Result {
//!         to_room("lobby").where_label("role", "moderator").except(conn.id()).send(report)
//!     }
//! }
//!
//! # let host = wharf::testing::TestHost::new::<Chat>();
//! # let ann = host.connect("/chat?role=moderator").expect_open();
//! # let bob = host.connect("/chat").expect_open();
//! # let eve = host.connect("/chat?role=moderator").expect_open();
//! # eve.send("spam!");
//! # ann.assert_received("spam!");
//! # bob.assert_received_nothing();
//! # eve.assert_received_nothing();
//! ```
//!
//! The host determines the audience when the event commits, by the labels that connections carry
//! then ([`Connection::set_label`](crate::Connection::set_label)); the plugin is not called for
//! each. Each connection gets one copy, however many rooms it is in. All members of a room see its
//! broadcasts in one order, including these.

use crate::backend;
use crate::error::Result;
use crate::outgoing::{Outgoing, encoded};

/// Makes an audience of the members of a room.
pub fn to_room(room: impl Into<String>) -> Audience {
    Audience::default().and_room(room)
}

/// Makes an audience of the members of several rooms.
pub fn to_rooms<R: AsRef<str>>(rooms: &[R]) -> Audience {
    rooms.iter().fold(Audience::default(), |audience, room| audience.and_room(room.as_ref()))
}

/// Makes an audience of the connections of a user.
pub fn to_user(user: impl Into<String>) -> Audience {
    Audience::default().and_user(user)
}

/// Makes an audience of the connections of several users.
pub fn to_users<U: AsRef<str>>(users: &[U]) -> Audience {
    users.iter().fold(Audience::default(), |audience, user| audience.and_user(user.as_ref()))
}

/// Makes an audience of all connections of this channel, in any room or none.
pub fn to_all() -> Audience {
    Audience { everyone: true, ..Audience::default() }
}

/// The audience of a message; see the [module](crate::audience).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "nothing is sent until `send`"]
pub struct Audience {
    pub(crate) everyone: bool,
    pub(crate) rooms: Vec<String>,
    pub(crate) users: Vec<String>,
    pub(crate) except: Vec<String>,
    pub(crate) except_users: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
}

impl Audience {
    /// Adds the members of this room. At most 256 rooms and users together.
    pub fn and_room(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// Adds the connections of this user.
    pub fn and_user(mut self, user: impl Into<String>) -> Self {
        self.users.push(user.into());
        self
    }

    /// Leaves out the connection with this id. At most 256 connections and users are excepted.
    pub fn except(mut self, id: impl Into<String>) -> Self {
        self.except.push(id.into());
        self
    }

    /// Leaves out the connections of this user.
    pub fn except_user(mut self, user: impl Into<String>) -> Self {
        self.except_users.push(user.into());
        self
    }

    /// Keeps only connections that carry this label with this value; of several, all must hold. At
    /// most 8 labels.
    pub fn where_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Sends to the audience, once to each connection. An audience without connections is not an
    /// error, and the audience can be used again.
    ///
    /// Errors: `audience-empty` (no room and no user was named), `audience-too-big`,
    /// `room-name-invalid`, `user-id-invalid`, `label-invalid`, `message-too-big`,
    /// `too-many-effects`, and JSON that cannot be encoded.
    pub fn send(&self, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| backend::send_to_audience(self, kind, data))
    }
}
