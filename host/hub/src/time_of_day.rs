//! The time of day, by which records of other processes are understood.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time of day in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns a duration in milliseconds; the longest there is if it is longer.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
