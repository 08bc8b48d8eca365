//! The records that the host keeps beyond its process.
//!
//! A channel's data is in memory, where handlers read it. The parts of it that must survive the process are
//! also *records*: rows of an embedded database ([SQLite](https://www.sqlite.org/)) in the folder
//! `data`. Records are written by one thread, in groups: all that wait are one transaction. A
//! write can be awaited; the host lets nobody see an effect before the records behind it are written.
//!
//! # Guarantees
//!
//! - **A group is written whole or not at all**, and groups are written in the order of their writes. So
//!   the records after a crash are those of some moment, and none later than it.
//! - **A write that was awaited survives the death of the process**, at every [`Durability`]. The loss of
//!   power costs the writes that the setting names, and never the consistency of the rest.
//! - **A write that failed has changed nothing**, neither on disk nor, by its undo, in memory. All writes
//!   that came after it, and that may rest on it, fail with it.
//! - **A deletion that nobody waits for is made up for** when writes succeed again, before later ones of the
//!   same record.
//! - **One process has the folder.** A second one is refused.
//! - **A record that was damaged is not returned.** Each has a checksum.
//!
//! # Layout
//!
//! - [`disk`]: the folder and its writer.
//! - [`records`]: the records of one channel.
//! - [`written`]: the outcome of a group of writes.
//! - [`stored`]: the records of a folder as the operator reads them, also while a host has it.
//! - [`backup`]: a whole copy of a folder. [`edit`]: the operator's changes, which are made as a whole.
//! - [`error`]: the reasons for which a folder cannot be used, or a write fails.
//! - `queue`: the writes that wait. `database`: the rows. `lock`: the one process.
//! - `era`: the times between two losses of power.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod backup;
mod database;
pub mod disk;
pub mod edit;
mod era;
pub mod error;
mod lock;
mod queue;
pub mod records;
pub mod stored;
pub mod written;

pub use disk::{Disk, Durability};
pub use edit::Edit;
pub use error::{OpenError, Unavailable};
pub use lock::holder;
pub use records::{Change, Damaged, Kind, Record, Records, Undo};
pub use stored::Stored;
pub use written::Written;

#[cfg(test)]
mod tests;
