//! Nats.
use crate::configuration::{Configuration, NatsAddress};
use crate::deliveries::Deliveries;
use crate::error::OpenError;
/// Opens.
pub async fn open(
    _: &NatsAddress,
    _: &Configuration,
) -> Result<(crate::disk::Disk, Deliveries), OpenError> {
    Err(OpenError::Configuration(crate::ConfigurationError("not built yet".to_owned())))
}
