//! Code that all nodes try before any of them runs it.
//!
//! - [`table`]: the code that the cluster runs. It is one record of the engine, which is replaced if nobody else has
//!   replaced it meanwhile. That is the commitment: before it nobody runs the new code, and after it everybody does, also
//!   a node that has heard nothing of it.
//! - [`coordinator`]: the node that was asked for the deployment. It asks the others to try the code, again and again,
//!   since messages may be lost. It may end at any time.
//! - [`participant`]: each node. It holds code ready that it has tried, forgets it if the coordinator is silent, and
//!   follows the table.
//!
//! All of them are pure: their callers give them the time in milliseconds, and do what they put out. A simulation runs
//! several nodes with lost messages, kills and deployments at the same time (`tests/deploys.rs`).

pub mod coordinator;
pub mod participant;
pub mod table;

pub use coordinator::{Coordinator, Standing};
pub use participant::{Act, Participant};
pub use table::{Deployed, Table, Version};
