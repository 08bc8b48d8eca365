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
//!         Self::notify(&id, &Notice::Promoted { to: "host".to_owned() })
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
