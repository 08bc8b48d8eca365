//! The folder of the data that outlives the process.

use std::sync::Arc;

use wharf_config::{Config, DataSync};
use wharf_engine::{Disk, Durability, OpenError};

/// Opens the data folder of a host, if it has one, and logs where data is kept.
///
/// # Errors
///
/// Another process has the folder, a newer version has written it, or it cannot be used.
pub(crate) fn open(config: &Config) -> Result<Option<Arc<Disk>>, OpenError> {
    let Some(folder) = &config.data else {
        tracing::info!("data is kept in memory and ends with this process; set `data` to keep it");
        return Ok(None);
    };
    let durability = match config.data_sync {
        DataSync::Group => Durability::EachGroup,
        DataSync::Interval => Durability::Every(config.data_sync_interval),
        DataSync::Never => Durability::Never,
    };
    Disk::open(folder, durability).map(Some)
}
