//! The things that the nodes of a cluster share, and that outlive each of them.
//!
//! Everything that spans nodes is written once, on four small interfaces: [`Topics`], [`Logs`], [`Keys`] and
//! [`Leases`]. An [`Engine`] has all four. There are four engines: [`memory`] for tests, [`disk`] for one node,
//! [`redis`] and [`nats`]. The same tests run against each of them (`tests/conformance`).
//!
//! # Guarantees
//!
//! - **Nothing that a message waits for asks the engine**: [`Topics::publish`] queues and returns.
//! - **Every queue is bounded in bytes**, and its bound has a name: [`Reason::QueueFull`] on the way out,
//!   [`Delivery::Interrupted`] on the way in.
//! - **A lost link is told**: before the first message that may be missing, and once more when every topic is
//!   subscribed to again.
//! - **A compare-and-swap has one winner**, wherever its rivals run.
//! - **An answer [`Unavailable`] leaves open if the step was done**, unless its [`Reason`] says otherwise.
//! - **No answer of a server is trusted**: one that has another form is [`Reason::Damaged`].
//!
//! # Layout
//!
//! - [`topics`], [`logs`], [`keys`], [`leases`]: the four interfaces, with what they promise.
//! - [`engine`]: all of them together, and the state of the link. [`deliveries`]: what a node receives.
//! - [`configuration`]: the address of an engine. [`error`]: the reasons for which it cannot be used.
//! - [`memory`], [`disk`], [`redis`], [`nats`]: the engines.
//! - `tables`: keys, logs and leases as plain data, for the engines without a server.
//! - `open`: the choice among them.
//! - `link`: the tasks that keep a connection to a server. `outbox`, `subscriptions`: what waits for the link, and what
//!   is made again when it is back.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

mod answer;
pub mod configuration;
pub mod deliveries;
pub mod disk;
pub mod engine;
pub mod error;
pub mod keys;
pub mod leases;
mod link;
pub mod logs;
pub mod memory;
mod names;
pub mod nats;
mod open;
mod outbox;
mod random;
pub mod redis;
mod subscriptions;
mod tables;
pub mod topics;

pub use answer::Answer;
pub use configuration::{Address, Configuration, Limits};
pub use deliveries::{Deliveries, Delivery};
pub use engine::{Engine, LinkState, Status};
pub use error::{ConfigurationError, OpenError, Reason, Unavailable};
pub use keys::{Entry, Expected, IncrementError, Keys, PutError};
pub use leases::{Fence, HeldBy, Leases};
pub use logs::{Bounds, LogEntry, Logs, Position, Slice};
pub use names::MAX_NAME_BYTES;
pub use open::open;
pub use topics::Topics;
