//! One node of a cluster of Wharf hosts, and its exchange with the others.
//!
//! - [`exchange`]: the exchange of one node with the others, which is pure.
//! - [`wire`]: the messages between nodes.
//! - [`topics`]: the topics on which nodes hear of each other.
//! - [`membership`]: the nodes that are there.
//! - [`parts`]: the parts that nodes have in rooms and users: counts and presence.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod exchange;
pub mod membership;
pub mod parts;
pub mod topics;
pub mod wire;
