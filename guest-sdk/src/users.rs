//! Users, and reaching them wherever they are connected.
//!
//! A channel that has found out who is behind a connection says so with
//! [`Connection::identify`](crate::Connection::identify), in `on_connect` mostly. From then on the
//! user can be reached by that id, on however many devices and tabs, without anybody keeping a list.
//! The id is the channel's to choose, 1 to 255 bytes of UTF-8; no other channel sees its users.
//!
//! ```
//! use wharf::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Notifications;
//!
//! #[wharf::channel]
//! impl Channel for Notifications {
//!     const PATHS: &[&str] = &["/notifications"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         // A real channel checks a token here.
//!         let user = conn.query("user").ok_or(Refusal::unauthorized("user is required"))?;
//!         conn.identify(&user)?;
//!         Ok(Notifications)
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, friend: String) -> Result {
//!         match is_online(&friend) {
//!             true => send_to_user(&friend, json!({ "type": "poke", "from": conn.user() })),
//!             false => conn.send(json!({ "type": "offline", "user": friend })),
//!         }
//!     }
//! }
//!
//! # let host = wharf::testing::TestHost::new::<Notifications>();
//! # let ann = host.connect("/notifications?user=ann").expect_open();
//! # let phone = host.connect("/notifications?user=bob").expect_open();
//! # let laptop = host.connect("/notifications?user=bob").expect_open();
//! # ann.send("bob");
//! # phone.assert_received(json!({ "type": "poke", "from": "ann" }));
//! # laptop.assert_received(json!({ "type": "poke", "from": "ann" }));
//! # ann.send("eve");
//! # ann.assert_received(json!({ "type": "offline", "user": "eve" }));
//! ```
//!
//! Sending and disconnecting are effects and happen when the event commits. Questions see the
//! committed state and this event's own `identify`.

use crate::backend;
use crate::error::Result;
use crate::outgoing::Outgoing;
use crate::pages::Pages;
use crate::rooms::EVERYBODY;

/// Whether the user has a connection on this node.
pub fn is_online(user: &str) -> bool {
    backend::is_online(user)
}

/// The ids of the user's connections on this node, in ascending order. They are fetched 1000 at a
/// time; whoever comes or goes in between may or may not be among them.
pub fn user_connections(user: &str) -> UserConnections {
    UserConnections(Pages::of(user, backend::user_connections))
}

/// Send to every connection of a user. To leave one out, such as the sender's own:
/// [`conn.others()`](crate::Connection::others)`.send_to_user(…)`.
///
/// Errors: `user-offline` (see [`Error::is_gone`](crate::Error::is_gone)), `user-id-invalid`,
/// `message-too-big`, `too-many-effects`, and JSON that cannot be encoded.
pub fn send_to_user(user: &str, message: impl Outgoing) -> Result {
    EVERYBODY.send_to_user(user, message)
}

/// Send to every connection of at most 256 users. Those that are offline are no error.
///
/// Errors: `too-many-users`, `user-id-invalid`, `message-too-big`, `too-many-effects`, and JSON
/// that cannot be encoded.
pub fn send_to_users<U: AsRef<str>>(users: &[U], message: impl Outgoing) -> Result {
    EVERYBODY.send_to_users(users, message)
}

/// Close every connection that the user has when the event commits, this event's own included if it
/// is the user's. What was sent before is delivered first; `on_close` runs for each, and its
/// [`ending`](crate::Connection::ending) is `channel-closed`. A user that is offline is no error. To
/// keep one out for good, refuse it in `on_connect`.
///
/// ```
/// # use wharf::prelude::*;
/// # fn handler(banned: &str) -> Result {
/// disconnect_user(banned, 4003, "banned")?;
/// # Ok(())
/// # }
/// ```
///
/// Errors: `user-id-invalid`, `close-code-invalid` (it is 1000 or one of 3000 to 4999),
/// `close-reason-too-long` (over 123 bytes), `too-many-effects`.
pub fn disconnect_user(user: &str, code: u16, reason: &str) -> Result {
    Ok(backend::disconnect_user(user, code, reason)?)
}

/// Iterates over the connections of a user; made by [`user_connections`].
#[derive(Debug, Clone)]
pub struct UserConnections(Pages);

impl Iterator for UserConnections {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }
}
