//! The event that is being handled.

use crate::backend;
use crate::error::Result;

/// The number of the generation that handles this event; it grows by one with each reload of
/// the plugin.
pub fn generation() -> u64 {
    backend::generation()
}

/// Commit the effects recorded so far; the same as
/// [`Connection::flush`](crate::Connection::flush).
pub fn flush() -> Result {
    Ok(backend::flush()?)
}
