//! One node of a cluster of Wharf hosts, and its exchange with the others.
//!
//! - [`node`]: a running node, which puts an engine, the hubs of channels and the exchange together. `channel_peers`:
//!   the port for the hub of one channel. `receiver`, `notices`, `subscriber`: the tasks of a node. `taken`:
//!   the events of the engine. `hubs`: the connections of a node.
//! - [`exchange`]: the exchange of one node with the others, which is pure.
//! - [`wire`]: the messages between nodes.
//! - [`addressees`]: recipients as messages name them.
//! - [`topics`]: the topics on which nodes hear of each other.
//! - [`membership`]: the nodes that are there.
//! - [`owners`]: the owners of rooms. [`session`]: the sign that an owner is alive. [`room_record`]: the content of a
//!   room on the engine. `adoption`: rooms whose owner has gone. `channel_owners`: the port for the hub of one channel.
//!   `room_posts`: events that other nodes have sent here. `returned_posts`: those of them that go back.
//! - [`store`]: the store of a channel on the engine. `histories`: the logs of its rooms there, and the task that checks
//!   this node's places in them. [`entry`]: their entries.
//! - [`requests`]: requests to other nodes, and their answers.
//! - [`deploy`]: code that all nodes try before any of them runs it.
//! - [`parts`]: the parts that nodes have in rooms and users: counts and presence. [`questions`]: the counts of others.
//!   `listings`: their connections, one by one.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod addressees;
mod adoption;
mod channel_owners;
mod channel_peers;
mod cluster_port;
pub mod deploy;
pub mod entry;
pub mod exchange;
mod histories;
mod hubs;
mod latch;
mod listings;
pub mod membership;
pub mod node;
mod notices;
pub mod owners;
pub mod parts;
pub mod questions;
mod receiver;
pub mod requests;
mod returned_posts;
mod room_posts;
pub mod room_record;
pub mod session;
pub mod store;
mod subscriber;
mod taken;
pub mod topics;
pub mod wire;

pub use node::{Node, Settings};
