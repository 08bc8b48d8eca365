//! The rules that Wharf's host and its SDK must agree on.
//!
//! A plugin is tested against an imitation of the host before it meets the real one. Both are made of what
//! is in this crate, so that a call which one of them refuses is refused by the other, with the same
//! code, the same remedy and the same sentence.
//!
//! - [`limits`]: what an operator can set and an author can test, with units, defaults and ranges
//! - [`refusal`]: why a host call is refused: codes, remedies, sentences
//! - [`names`]: checks of rooms, users, labels, timers, keys and channels
//! - [`audience`]: the size of what a broadcast may name
//! - [`effects`]: what one event may cause
//! - [`store`]: checks and accounting of the key-value store
//! - [`timers`]: delays and intervals
//! - [`presence`]: accounting of who is present, and the messages that watchers get
//! - [`header`]: headers that a channel may set
//! - [`close`]: why connections end, with close codes
//! - [`fault`]: how a handler breaks
//! - [`handshake`]: how a client is turned away before the upgrade
//! - [`pattern`] and [`router`]: path patterns, and what a path leads to
//! - [`description`]: what a channel may say of itself
//! - [`exports`]: the optional exports, the one list of them
//! - [`outside`]: answers to messages from outside
//! - [`text`]: texts of strangers in sentences
//! - [`kit`]: what `wharf test` and the test kit say to each other
//!
//! It knows no runtime, no sockets and no WebAssembly. A plugin's component does not contain it: the SDK
//! uses it natively only.

#![forbid(unsafe_code)]
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
#[cfg(feature = "json")]
pub mod kit;
pub mod limits;
pub mod names;
#[cfg(feature = "json")]
pub mod outside;
pub mod pattern;
#[cfg(feature = "json")]
pub mod presence;
pub mod refusal;
pub mod router;
pub mod store;
pub mod text;
pub mod timers;

pub use refusal::{CallRefusal, Remedy};
