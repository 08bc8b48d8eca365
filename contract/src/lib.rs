//! The rules that Wharf's host and its SDK must agree on.
//!
//! A plugin is tested against an imitation of the host before it meets the real one. Both are made
//! of the parts of this crate, so that a call that one of them refuses is refused by the other,
//! with the same code, the same remedy and the same sentence.
//!
//! - [`limits`]: the limits that an operator can set and an author can test, with units, defaults
//!   and ranges
//! - [`refusal`]: the refusals of host calls: codes, remedies, sentences
//! - [`names`]: checks of rooms, users, labels, timers, keys and channels
//! - [`audience`]: the bounds of a broadcast's audience
//! - [`effects`]: the bounds of one event's effects
//! - [`store`]: checks and accounting of the key-value store
//! - [`rate_limits`]: the rule of rate limits, and what was taken
//! - [`timers`]: delays and intervals
//! - `token`: the identity that a token speaks of
//! - `presence`: accounting of presence lists, and the messages that watchers get
//! - [`history`]: the messages that a room keeps
//! - [`header`]: headers that a channel may set
//! - [`close`]: the reasons for the end of connections, with close codes
//! - [`fault`]: the failures of a handler
//! - [`handshake`]: the refusals of a client before the upgrade
//! - [`pattern`] and [`router`]: path patterns, and the lookup of a path
//! - [`description`]: the description of a channel by itself
//! - [`exports`]: the optional exports, the one list of them
//! - `outside_messages`: answers to messages from outside
//! - [`text`]: texts of strangers in sentences
//! - `kit`: the messages between `wharf test` and the test kit
//!
//! `refusal` and the modules with rules use one another: a rule returns a refusal, and the sentence
//! of the refusal names the rule's number.
//!
//! `presence`, `outside_messages`, `token` and `kit` are there with the feature `json`.
//!
//! This crate knows no runtime, no sockets and no WebAssembly. A plugin's component does not
//! contain it: the SDK uses it only natively.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

mod sentences;

pub mod audience;
pub mod close;
pub mod description;
pub mod effects;
pub mod exports;
pub mod fault;
pub mod handshake;
pub mod header;
pub mod hidden;
pub mod history;
#[cfg(feature = "json")]
pub mod kit;
pub mod limits;
pub mod names;
#[cfg(feature = "json")]
pub mod outside_messages;
pub mod pattern;
#[cfg(feature = "json")]
pub mod presence;
pub mod rate_limits;
pub mod refusal;
pub mod router;
pub mod store;
pub mod text;
pub mod timers;
#[cfg(feature = "json")]
pub mod token;

pub use refusal::{CallRefusal, Remedy};
