//! Everything in the memory of one process, which several nodes in it share.
//!
//! It is made for simulation: no threads, no tasks, no randomness but from a seed, and tokio's clock, which a test
//! can pause and move. The link of each node can be cut and delayed.

mod node;
mod server;

pub use node::Node;
pub use server::Server;
