//! Users, and messages to all of their connections.
//!
//! A channel that knows the user behind a connection sets it with
//! [`Connection::identify`](crate::Connection::identify), mostly in `on_connect`. From then on the
//! user can be reached by that id, on any number of devices and tabs, without a list in the plugin.
//! The channel chooses the id, 1 to 255 bytes of UTF-8; no other channel sees its users.
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
//!         // Not asked first: a friend who is online may be gone a moment later.
//!         match send_to_user(&friend, json!({ "type": "poke", "from": conn.user() })) {
//!             Err(error) if error.is_gone() => {
//!                 conn.send(json!({ "type": "offline", "user": friend }))
//!             }
//!             sent => sent,
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
//!
//! With several nodes, users are those of all nodes. Answers about other nodes are advisory: they
//! may lag behind, and a user may go offline between the answer and the commit.

use std::time::Duration;

use crate::backend;
use crate::error::Result;
use crate::limits;
use crate::outgoing::Outgoing;
use crate::pages::Pages;
use crate::rooms::EVERYBODY;
use crate::timers::milliseconds;

/// Returns true if the user has a connection. Advisory.
pub fn is_online(user: &str) -> bool {
    backend::is_online(user)
}

/// Returns the ids of the user's connections, in ascending order. Advisory. They are fetched 1000
/// at a time; a connection that comes or goes in between may or may not be among them.
pub fn user_connections(user: &str) -> UserConnections {
    UserConnections(Pages::of(user, |of, after, limit| {
        Ok(backend::user_connections(of, after, limit))
    }))
}

/// Sends to every connection of a user. To leave one out, such as the sender's own:
/// [`conn.others()`](crate::Connection::others)`.send_to_user(…)`.
///
/// Errors: `user-offline` (no known connection; the one left out counts as one; see
/// [`Error::is_gone`](crate::Error::is_gone)), `user-id-invalid`, `message-too-big`,
/// `too-many-effects`, and JSON that cannot be encoded.
pub fn send_to_user(user: &str, message: impl Outgoing) -> Result {
    EVERYBODY.send_to_user(user, message)
}

/// Sends to every connection of at most 256 users. Users that are offline are not an error.
///
/// Errors: `too-many-users`, `user-id-invalid`, `message-too-big`, `too-many-effects`, and JSON
/// that cannot be encoded.
pub fn send_to_users<U: AsRef<str>>(users: &[U], message: impl Outgoing) -> Result {
    EVERYBODY.send_to_users(users, message)
}

/// Closes every connection that the user has when the event commits, this event's own included if
/// it is the user's. Messages sent before are delivered first. `on_close` runs for each, and its
/// [`ending`](crate::Connection::ending) is `channel-closed`. A user that is offline is not an
/// error. To keep a user out for good, refuse it in `on_connect`.
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

/// Takes one from a rate limit of a user, on all of its devices together: at most `count` at once,
/// and `count` in each `per`. Otherwise `?` tells the client when it may try again. The user need not
/// be online. See [`limits`].
///
/// ```
/// # use std::time::Duration;
/// # use wharf::prelude::*;
/// # fn handler(user: &str) -> Result {
/// wharf::users::rate_limit(user, "bids", 5, Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
///
/// Errors: those of [`limits`], and `user-id-invalid`.
pub fn rate_limit(user: &str, name: &str, count: u32, per: Duration) -> Result {
    limits::answer(backend::take_from_user_limit(user, name, count, milliseconds(per)))
}

/// Iterates over the connections of a user; made by [`user_connections`].
#[derive(Debug, Clone)]
pub struct UserConnections(Pages<String>);

impl Iterator for UserConnections {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // Listing connections is never refused.
        self.0.next()?.ok()
    }
}
