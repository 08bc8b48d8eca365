//! Keys, logs and leases as plain data, for the engines without a server. Times are milliseconds of the caller's clock.

pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod logs;

use std::time::Duration;

/// Most expired things that one change removes.
const SWEPT_AT_A_TIME: usize = 16;

/// Returns a duration in milliseconds, rounded up, so that nothing expires too early.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
