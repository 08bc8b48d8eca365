//! Opening the engine of a configuration.

use std::sync::Arc;

use crate::configuration::{Address, Configuration};
use crate::deliveries::Deliveries;
use crate::engine::Engine;
use crate::error::OpenError;
use crate::{disk, memory, nats, redis};

/// Opens the engine of a configuration.
///
/// # Errors
///
/// It cannot be used. The reason names the mend, and no secret.
pub async fn open(
    configuration: &Configuration,
) -> Result<(Arc<dyn Engine>, Deliveries), OpenError> {
    Ok(match &configuration.address {
        Address::Memory => {
            let (node, deliveries) = memory::Server::new(0).node("alone", &configuration.limits);
            (Arc::new(node), deliveries)
        }
        Address::Disk { folder } => {
            let (disk, deliveries) = disk::open(folder, &configuration.limits)?;
            (Arc::new(disk), deliveries)
        }
        Address::Redis(address) => {
            let (redis, deliveries) = redis::open(address, configuration).await?;
            (Arc::new(redis), deliveries)
        }
        Address::Nats(address) => {
            let (nats, deliveries) = nats::open(address, configuration).await?;
            (Arc::new(nats), deliveries)
        }
    })
}
