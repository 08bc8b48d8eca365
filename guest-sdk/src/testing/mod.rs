//! A host for tests, so that `cargo test` in a plugin needs no server.
//!
//! [`TestHost`] runs a channel like the host: connections with rooms and sessions, events as
//! transactions, closes, refusals, limits, panics that cost one connection, reloads. Decoding,
//! sessions and error handling are the very code that a component runs; only the part below the
//! contract is imitated. It is deterministic: one event at a time, and each is over when the call
//! that caused it returns.
//!
//! ```
//! use wharf::prelude::*;
//! use wharf::testing::TestHost;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Chat { room: String }
//!
//! #[wharf::channel]
//! impl Channel for Chat {
//!     const PATHS: &[&str] = &["/chat/:room_id"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         let room = conn.param("room_id")?;
//!         conn.join(&room)?;
//!         conn.others().broadcast_to_room(&room, json!({ "type": "user_joined" }))?;
//!         Ok(Chat { room })
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, message: String) -> Result {
//!         conn.broadcast_to_room(&self.room, message)
//!     }
//!
//!     fn on_close(&mut self, _: &Connection, _: Option<u16>, _: &str) -> Result {
//!         broadcast_to_room(&self.room, json!({ "type": "user_left" }))
//!     }
//! }
//!
//! let host = TestHost::new::<Chat>();
//! let alice = host.connect("/chat/lobby").expect_open();
//! let bob = host.connect("/chat/lobby").header("user-agent", "test").expect_open();
//! alice.assert_received(json!({ "type": "user_joined" }));
//!
//! bob.send("hello");
//! alice.assert_received("hello");
//! bob.assert_received("hello");
//!
//! bob.disconnect(1000, "");
//! alice.assert_received(json!({ "type": "user_left" }));
//! alice.assert_received_nothing();
//! assert_eq!(host.room_count("lobby"), 1);
//! ```
//!
//! Time passes only with [`TestHost::advance`], and then timers fire.
//!
//! # Two levels
//!
//! `cargo test` runs the channel natively, as above. It does not imitate deadlines, keep-alive,
//! memory, slow consumers, and other connections' events between the host calls of one handler.
//!
//! `wharf test` runs the same tests on the component that the channel is compiled to, in the host
//! itself: its engine, its rooms and its timers, real traps and real limits; with fake clients, a
//! clock that stands still and scripted answers, as natively. A function of one level only panics
//! at the other, with advice:
//!
//! | | natively | with the component |
//! | --- | --- | --- |
//! | [`TestHost::new`] | under `cargo test` | under `wharf test` |
//! | [`TestHost::native`], [`TestHost::component`] | the one | the other |
//! | [`TestHost::run`], [`TestHost::reload`] | yes | no |
//! | [`TestHost::reload_component`] | no | yes |
//! | limits, settings, grants, history | at any time | before the first client connects |
//! | deadlines, memory, keep-alive, tokens that expire | no | yes |

mod host;

mod client;
mod component;
mod connecting;
mod plugin;
pub(crate) mod posts;
mod presence;
mod run;

pub(crate) mod effects;
mod history;
pub(crate) mod host_calls;
mod http;
mod limits;
mod store;
pub(crate) mod world;

pub use crate::outside_messages::OutsideRefusal;
pub use client::{Client, Received};
pub use connecting::{Connecting, Refused};
pub use effects::Published;
pub use host::{LogLine, TestHost};
pub use http::{HttpAnswer, HttpRequest};

pub use wharf_contract::history::{HistoryRule, Recovery, Retention, RoomPattern};

/// ```
/// use wharf::testing::Limits;
///
/// let limits = Limits { max_rooms_per_connection: 1, ..Limits::default() };
/// ```
///
/// Limits that must contain another one, and were not set, grow with it: `inbox_bytes` with
/// `max_payload_bytes`, for example.
#[doc(inline)]
pub use wharf_contract::limits::Limits;
