//! Everything in the data folder of one node, which keeps it through a restart.
//!
//! Keys, logs and leases are in memory as plain data, and each change is also a record of `wharf-engine`: a step answers
//! when its records are written, and if they cannot be, it has changed nothing. Topics do not leave the process.
//!
//! Times are those of the system's clock. A restart after a loss of power that may have cost entries begins a new
//! epoch of each log; versions and fencing numbers go on from the time of day, so that none is given twice.

mod changes;
mod node;
mod tables;

use std::path::Path;

pub use node::Disk;

use crate::configuration::Limits;
use crate::deliveries::Deliveries;
use crate::error::{OpenError, Unavailable};

/// Opens a folder, which this process has alone.
///
/// # Errors
///
/// The folder cannot be used.
pub fn open(folder: &Path, limits: &Limits) -> Result<(Disk, Deliveries), OpenError> {
    let disk = wharf_engine::Disk::open(folder, wharf_engine::Durability::EachGroup)?;
    let opened = node::open(&disk, limits);
    opened.map_err(|why: Unavailable| OpenError::Unavailable {
        server: folder.display().to_string(),
        why,
    })
}

/// Opens the engine over a folder that the host has opened for its other records. The folder has no channel of
/// the names that this engine uses, since no channel can have them.
///
/// # Errors
///
/// Records cannot be read.
pub fn over(
    disk: &std::sync::Arc<wharf_engine::Disk>,
    limits: &Limits,
) -> Result<(Disk, Deliveries), Unavailable> {
    node::open(disk, limits)
}
