//! Notices: events that a handler causes for other connections.
//!
//! The target's own [`on_notify`](crate::Channel::on_notify) runs with its own session, in the
//! order of its own events. So a handler can alter another connection's session: a kick, a change
//! of role.
//!
//! ```
//! use wharf::prelude::*;
//! # use wharf::testing::TestHost;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Member { role: String }
//!
//! #[derive(Serialize, Deserialize)]
//! enum Notice { Promoted { to: String }, Kicked }
//!
//! #[wharf::channel]
//! impl Channel for Member {
//!     const PATHS: &[&str] = &["/club"];
//!
//!     fn on_connect(_: &Connection) -> Result<Self, Refusal> {
//!         Ok(Member { role: "guest".to_owned() })
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, id: String) -> Result {
//!         notify(&id, &Notice::Promoted { to: "host".to_owned() })
//!     }
//!
//!     fn on_notify(&mut self, conn: &Connection, notice: Notice) -> Result {
//!         match notice {
//!             Notice::Promoted { to } => self.role = to,
//!             Notice::Kicked => conn.close(4003, "kicked")?,
//!         }
//!         conn.send(format!("you are {} now", self.role))
//!     }
//! }
//!
//! let host = TestHost::new::<Member>();
//! let (ann, ben) = (host.connect("/club").expect_open(), host.connect("/club").expect_open());
//! ann.send(ben.id());
//! ben.assert_received("you are host now");
//! ```
//!
//! A notice is an effect: it is posted when the event commits. Its place in the target's inbox is
//! taken at the call, so `Ok` means that there is room for it. A connection that ends before its
//! turn comes does not get it. A target on another node gets the notice at most once: it is lost if
//! that node or the link to it fails. [`event::sender`](crate::event::sender) tells which
//! connection posted it.

use serde::Serialize;

use crate::backend;
use crate::encoding::payload;
use crate::error::Result;

/// Posts to one connection of this channel by its id.
///
/// Errors: `unknown-connection` (it never existed, has ended, or its node is known to be gone),
/// `inbox-full` (too many notices wait for it), `payload-too-big`, `too-many-hops` (notices that
/// cause each other), `no-handler` (there is no `on_notify`).
pub fn notify(id: &str, notice: &impl Serialize) -> Result {
    Ok(backend::notify(id, &payload::notice(notice)?)?)
}

/// Posts to every member of a room, the event's own connection included if it is one. Returns the
/// number of receivers, which is advisory if some are on other nodes. A member whose inbox is full
/// does not keep up with its notices: it is closed with code 1013 when the event commits, and the
/// others get the notice. The errors are those of [`notify`] without `inbox-full`, and
/// `room-name-invalid`. [`except`](crate::rooms::except) leaves one out.
pub fn notify_room(room: &str, notice: &impl Serialize) -> Result<u32> {
    Ok(backend::notify_room(room, &payload::notice(notice)?, None)?)
}

/// Posts to every connection of a user, on any device. Returns the number of receivers, as
/// [`notify_room`] does. The errors are those of [`notify_room`], `user-id-invalid`, and
/// `user-offline` if the user has no connection. To leave one out, such as the event's own:
/// [`conn.others()`](crate::Connection::others)`.notify_user(…)`.
pub fn notify_user(user: &str, notice: &impl Serialize) -> Result<u32> {
    Ok(backend::notify_user(user, &payload::notice(notice)?, None)?)
}
