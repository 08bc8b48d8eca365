//! Redis.
use crate::configuration::{Configuration, RedisAddress};
use crate::deliveries::Deliveries;
use crate::error::OpenError;
/// Opens.
pub async fn open(
    _: &RedisAddress,
    _: &Configuration,
) -> Result<(crate::disk::Disk, Deliveries), OpenError> {
    Err(OpenError::Configuration(crate::ConfigurationError("not built yet".to_owned())))
}
