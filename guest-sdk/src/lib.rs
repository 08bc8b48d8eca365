//! Write WebSocket channels in Rust, compile them to WebAssembly components, and drop them into
//! the folder of a running Wharf host: it swaps them in under open connections.
//!
//! # A channel
//!
//! A plugin is a library with one [`Channel`]: a struct that is kept for each connection, and
//! callbacks for a client that connects, sends a message, and goes.
//!
//! ```toml
//! # Cargo.toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! serde = { version = "1", features = ["derive"] }
//! wharf = { package = "wharf-sdk", path = "…/guest-sdk" }
//! ```
//!
//! ```
//! // src/lib.rs
//! use wharf::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Chat {
//!     name: String,
//!     room: String,
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(tag = "type", rename_all = "snake_case")]
//! enum Incoming {
//!     ChatMessage { message: String },
//!     Ping,
//! }
//!
//! #[wharf::channel]
//! impl Channel for Chat {
//!     const PATHS: &[&str] = &["/chat/:room_id"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         let name = conn.query("name").ok_or(Refusal::unauthorized("name is required"))?;
//!         let room = conn.param("room_id")?;
//!         conn.join(&room)?;
//!         conn.broadcast_to_room(&room, &json!({ "type": "user_joined", "count": room_count(&room) }))?;
//!         Ok(Chat { name, room })
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
//!         match message {
//!             Incoming::ChatMessage { message } => conn.broadcast_to_room(
//!                 &self.room,
//!                 &json!({ "type": "chat_message", "user": self.name, "message": message }),
//!             ),
//!             Incoming::Ping => conn.send(&json!({ "type": "pong" })),
//!         }
//!     }
//! }
//!
//! # let host = wharf::testing::TestHost::new::<Chat>();
//! # assert_eq!(host.connect("/chat/lobby").expect_refused().status(), Some(401));
//! # let ann = host.connect("/chat/lobby?name=Ann").expect_open();
//! # ann.assert_received(json!({ "type": "user_joined", "count": 1 }));
//! # ann.send(json!({ "type": "chat_message", "message": "hi" }));
//! # ann.assert_received(json!({ "type": "chat_message", "user": "Ann", "message": "hi" }));
//! ```
//!
//! ```sh
//! cargo build --release --target wasm32-wasip2
//! cp target/wasm32-wasip2/release/chat.wasm /srv/wharf/plugins/
//! ```
//!
//! The file's name without `.wasm` is the channel's name. Copying a new version over the old one
//! is all it takes to replace it.
//!
//! | to learn about | see |
//! | --- | --- |
//! | the callbacks, the session, messages | [`Channel`] |
//! | who connected; sending, closing | [`Connection`], [`Outgoing`] |
//! | saying no | [`Refusal`] |
//! | rooms and broadcasts | [`rooms`] |
//! | users and their connections | [`users`] |
//! | broadcasts by label, and with exceptions | [`audience`] |
//! | who is in a room | [`presence`] |
//! | what the operator sets | [`setting`], [`optional_setting`] |
//! | answers to single messages | [`Request`], [`Connection::reply`], [`event::reply`] |
//! | what goes wrong | [`Error`], [`Invalid`], [`HostError`] |
//! | values that connections share | [`store`] |
//! | rate limits | [`limits`] |
//! | at most N in a room, or connections of a user | [`Connection::join_if_fewer_than`], [`Connection::identify_if_fewer_than`] |
//! | rooms with events and state | [`ChannelCalls`], [`Room`], [`Channel::on_room_event`] |
//! | events for other connections | [`notices`] |
//! | timers, the time of day | [`timers`], [`now`] |
//! | requests to other servers | [`http`] |
//! | messages from other programs | [`Channel::on_outside_message`] |
//! | the rooms of other channels | [`publish`] |
//! | the log | [`log`](mod@log) |
//! | testing, natively and in the host | [`testing`] |
//!
//! # An event is a transaction
//!
//! A callback is called for one *event*. A call that asks the host to act is an *effect*: sending,
//! broadcasting, joining, leaving, closing. Effects and the changed session take effect together
//! when the callback returns `Ok`, or not at all.
//!
//! - `Ok` from a call means that the effect is recorded and within all limits: the commit cannot
//!   fail. An `Err` has recorded nothing, and the callback may go on.
//! - Questions such as [`room_count`](rooms::room_count) see the commits of other events, and this
//!   event's own joins and leaves.
//! - [`Connection::flush`] commits the effects so far, for progress messages. The session is not
//!   part of it.
//! - Logging, writing into the [`store`], [rate limits](limits) and [`http`] requests happen at once and
//!   are never undone.
//!
//! Events are all-or-nothing, but not isolated from each other: between two calls of one callback
//! another connection's event may commit.
//!
//! # Order, and waiting
//!
//! Events of one connection run one at a time, in the order of their arrival. Different connections
//! run in parallel. All members of a room see its broadcasts in one order.
//!
//! A callback has a budget of CPU time and of elapsed time, set by the operator (`cpu_budget_ms`,
//! `wall_budget_ms`). One that misses its deadline has done nothing, and its connection is closed
//! with code 1011.
//!
//! # Nothing but the session is remembered
//!
//! The host runs a channel on many instances and drops them at any time: after a panic, on a
//! reload, or because it does not need them at the moment. Any of them may serve any event of any
//! connection. So a `static`, a `thread_local!` or a leaked allocation is a cache of one instance:
//! it can be empty or outdated at any time, and no other instance sees it. It is the right place
//! for a compiled pattern or a parsed table, and the wrong one for data whose loss matters. What is
//! made at first use, as by a `LazyLock`, is made in the first event of each instance that needs it,
//! and should fit into that event's budget (`cpu_budget_ms`): an event that misses its deadline
//! drops the instance, and the next one begins anew. Make it in [`Channel::on_start`] instead, which
//! has `start_budget_ms`. The data of a connection belongs in its session, shared
//! data in the [`store`].
//!
//! # What a plugin can reach
//!
//! The standard library works: clocks, randomness, collections; printed text goes to the log.
//! [`http`] reaches the hosts that the operator grants. There are no files, no sockets, no
//! arguments and no environment. Threads cannot be started.
//!
//! # Layout
//!
//! A call of a public function goes to `backend`: in a component to the host's functions, natively
//! to the test host in `testing`. An event comes from there through `dispatch` to the author's
//! [`Channel`]. So the files with public types, `backend`, `dispatch` and `testing` use one
//! another. `connection` and `reply` do as well: a connection replies, and a request is answered on
//! a connection. The files of `testing` are one state, `world`, and the steps that change it. One
//! step leads to the next: an act of a client runs an event, its effects commit and post events, and
//! these run.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

// The attribute writes paths that begin with `::wharf`, for the tests of this crate as well.
extern crate self as wharf;

pub mod prelude;

pub mod audience;
mod calls;
mod channel;
mod channels;
mod clock;
mod connection;
pub mod history;
mod incoming;
pub mod limits;
pub mod notices;
mod outgoing;
mod outside_messages;
mod pages;
mod paths;
pub mod presence;
mod reference;
mod refusal;
mod reply;
mod room;
pub mod rooms;
mod settings;
pub mod timers;
pub mod users;

mod error;
pub mod event;
mod fault;
pub mod http;
mod invalid;
pub mod log;
pub mod store;

mod dispatch;
mod encoding;
mod json;
mod urlencoded;

mod backend;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_family = "wasm")]
mod exports;
#[cfg(not(target_family = "wasm"))]
#[expect(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
pub mod testing;

pub use calls::ChannelCalls;
pub use channel::Channel;
pub use channels::publish;
pub use clock::{now, unix_ms};
pub use connection::Connection;
pub use error::{Context, Error, HostError, Remedy, Result};
pub use fault::Fault;
pub use incoming::InvalidMessage;
pub use invalid::Invalid;
pub use outgoing::{Json, Outgoing, Payload};
pub use reference::Ref;
pub use refusal::Refusal;
pub use reply::{InReplyTo, Request};
pub use room::Room;
pub use settings::{optional_setting, setting};
pub use timers::{Timer, TimerName};

/// Makes an `impl Channel for …` the channel of this plugin: its exports.
///
/// It exports the parts that every channel must have, and the optional
/// exports whose callbacks are written: `control-frames` for [`on_ping`](Channel::on_ping) and
/// [`on_pong`](Channel::on_pong), `faults` for [`on_fault`](Channel::on_fault), and so on. The host
/// calls no others, so a callback that is not written costs nothing. A `type Message`, `Notice`,
/// `RoomState`, `RoomEvent`, `OutsideMessage` or `OutsideReply` that is left out is added.
///
/// The code that it writes names this crate `wharf`, or as the `Cargo.toml` of the plugin does:
/// `w = { package = "wharf-sdk", … }`. Where that does not tell (`w.workspace = true`, a crate that
/// re-exports this one), the compiler says that it finds no `wharf`, and the attribute must be told:
/// `#[w::channel(crate = w)]`, or `crate = some::path`.
///
/// The exports are `unsafe` functions, which the compiler does not count as the author's: a plugin may
/// have `#![forbid(unsafe_code)]`.
///
/// A plugin has one channel. If a crate has two, compiling it to WebAssembly fails: a symbol "is
/// already defined". (In tests there may be any number.)
///
/// An implementation without the attribute does not compile, since it would export nothing:
///
/// ```compile_fail,E0046
/// use wharf::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Echo;
///
/// impl Channel for Echo {
///     const PATHS: &[&str] = &["/echo"];
///
///     fn on_connect(_: &Connection) -> Result<Self, Refusal> {
///         Ok(Echo)
///     }
/// }
/// ```
pub use wharf_macros::channel;

pub use serde;
pub use serde_json;

/// The page, whose example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/messages.md")]
mod convention {}

#[cfg(doctest)]
mod guide;

/// Items for the code that [`channel`](macro@channel) writes.
#[doc(hidden)]
pub mod __private {
    pub use crate::channel::Exports;
    pub use crate::paths::check_paths;

    #[cfg(target_family = "wasm")]
    pub use crate::{bindings, exports::Component};
}
