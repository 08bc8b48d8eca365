//! Connections of the Wharf host and the data that they share: rooms, users, presence, room state,
//! timers, the store; and the order of their deliveries.
//!
//! This crate knows no WebAssembly. A handler's [`effects`] arrive here, and frames leave through
//! [`outbound`] queues.
//!
//! # Layout
//!
//! - [`effects`]: the effects of a handler; commit or drop.
//! - [`connection`], [`connection_id`]: the record of one connection, and its name.
//! - [`recipients`]: the receivers of a frame.
//! - [`hub`], `room`: a channel's connections, rooms and users, and the one order of broadcasts.
//! - [`presence`]: the lists of rooms, by key; their changes, and the receivers of these.
//! - [`history`]: the messages that rooms keep. [`logs`]: those of a cluster.
//! - [`store`]: a channel's key-value store.
//! - [`room_state`], [`timer`]: the states of rooms, which only their own events change; timers.
//! - `timer_record`, `time_of_day`: the records of timers on disk.
//! - [`rate_limits`]: the rate limits of a channel.
//! - `shards`: tables in parts, each with a lock of its own.
//! - [`frame`]: a message, encoded once.
//! - [`client_bytes`]: the bytes that clients make the host hold, in sum.
//! - [`inbox`]: posted events, until they are handled.
//! - [`outbound`]: the byte-bounded queue and its batched writes.
//! - [`sent`]: counters of the messages for clients.
//! - [`transport`]: a connection's byte stream: a socket, or queues within this process.
//! - [`peers`]: the other nodes of a cluster.
//! - [`remote`]: the address of its other side.
//! - [`token`]: the claims that a connection was let in with.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod effects;

pub mod connection;
pub mod connection_id;
pub mod history;
pub mod hub;
#[cfg(test)]
mod interleaved;
pub mod logs;
pub mod owners;
pub mod peers;
pub mod presence;
pub mod rate_limits;
pub mod recipients;
mod room;
pub mod room_state;
mod shards;
pub mod store;
mod time_of_day;
pub mod timer;
mod timer_record;

pub mod client_bytes;
pub mod inbox;

pub mod frame;
pub mod outbound;
pub mod remote;
pub mod sent;
pub mod transport;

pub mod token;
