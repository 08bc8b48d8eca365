//! Connections of the Wharf host and what they share: rooms, users, presence, room state, timers, the
//! store; and who gets what, in which order.
//!
//! This crate knows no WebAssembly. A handler's [`effects`] arrive here, and frames leave through
//! [`outbound`] queues.
//!
//! # Layout
//!
//! - [`effects`]: what a handler asked for; commit or drop.
//! - [`connection`], [`connection_id`]: the record of one connection, and its name.
//! - [`recipients`]: who a frame is for.
//! - [`hub`], [`room`]: a channel's connections, rooms and users, and the one order of broadcasts.
//! - [`presence`]: who is in a room, by key; changes of it, and their receivers.
//! - [`store`]: a channel's key-value store.
//! - [`room_state`], [`timer`]: what is kept for rooms and changed by their own events; timers.
//! - [`frame`]: what is sent, encoded once.
//! - [`inbox`]: events that others have posted, until they are handled.
//! - [`outbound`]: the byte-bounded queue and its batched writes.
//! - [`transport`]: a connection's byte stream: a TCP socket, or queues within this process.
//! - [`token`]: the claims that a connection was let in with.

#![deny(missing_docs)]

pub mod effects;

pub mod connection;
pub mod connection_id;
pub mod hub;
pub mod presence;
pub mod recipients;
pub mod room;
pub mod room_state;
pub mod store;
pub mod timer;

pub mod inbox;

pub mod frame;
pub mod outbound;
pub mod transport;

pub mod token;
