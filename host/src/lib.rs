//! Wharf's host: a server whose channels are WebAssembly components.
//!
//! The host owns sockets, rooms and broadcasting. What a channel does on connect, message and
//! close is a plugin's, which is called with the connection's session as bytes and hands it
//! back. So an instance of a plugin is a disposable worker, and new code can take over between any
//! two events.
//!
//! # Layout
//!
//! The modules stand in the order of a message's journey:
//!
//! ```text
//! accept → handshake → route → connection task → event → instance → guest
//!        → host calls → effects → hub/room → outbound queue → socket
//! ```
//!
//! - [`config`]: file, environment and flags → one validated [`Config`].
//! - [`arguments`]: the command line.
//! - [`author`]: what the command line does for those who write plugins.
//! - [`server`]: permit → accept → spawn; drain. Its [`run`] is the way in.
//! - [`operator`]: the operator's API.
//! - [`handshake`]: an HTTP request → route, origin, limits, `on-connect` → `101` or a status.
//! - [`page`]: the demo page and the health check.
//! - [`registry`]: the mounted channels; what the plugin folder says becomes generations and routes.
//! - [`router`]: path pattern → channel.
//! - [`connection`]: the one task that runs a connection: read, call, commit, end.
//! - [`outside`]: messages from outside that channels answer.
//! - [`room_events`]: events of rooms, and of channels themselves: run, commit.
//! - [`presence_events`]: tells channels who has come to their rooms, and who has gone.
//! - [`lease`]: the right to call a guest.
//! - [`channel`]: a channel and its current generation; the swap.
//! - [`plugin`]: a file in the folder → settled bytes → a checked component.
//! - [`pool`]: warm instances of one generation.
//! - [`instance`]: a wasmtime store, its limits, a guest call, its deadline, a trap.
//! - [`host_calls`]: one small file for each interface of the contract.
//! - [`effects`]: what a handler asked for; commit or drop.
//! - [`stage`]: what a test puts in the place of the world around a plugin.
//! - [`client`]: what the host knows of one connection.
//! - [`hub`], [`room`]: a channel's connections, rooms and users, and the one order of broadcasts.
//! - [`presence`]: who is in a room, by key; what changes about it, and who is told.
//! - [`store`]: a channel's key-value store.
//! - [`room_state`], [`timer`]: what is kept for rooms and changed by their own events; timers.
//! - [`inbox`]: events that others have posted, until they are handled.
//! - [`outbound`]: the byte-bounded queue and its batched writes.
//! - [`token`]: whether a client's token holds.
//! - [`close`]: why a connection ends.

#![deny(missing_docs)]

pub mod arguments;
pub mod config;

pub mod author;

pub mod server;

pub mod operator;

pub mod handshake;
pub mod page;
pub mod registry;
pub mod router;

pub mod connection;

pub mod room_events;

pub mod presence_events;

pub mod outside;

pub mod lease;

pub mod channel;

pub mod plugin;

pub mod pool;

pub mod instance;

pub mod host_calls;

pub mod effects;

pub mod stage;

pub mod client;
pub mod hub;
pub mod presence;
pub mod room;
pub mod room_state;
pub mod timer;

pub mod inbox;

pub mod store;

pub mod outbound;

pub mod token;

pub mod close;

pub use config::Config;
pub use server::run;
