//! The event that is being handled.

use crate::backend;
use crate::error::Result;

/// The number of the generation that handles this event; it grows by one with each reload of
/// the plugin.
pub fn generation() -> u64 {
    backend::generation()
}

/// The id of the connection whose handler posted the event being handled: a notice or a room event.
/// `None` for other events, and for what a room's or the channel's own handler has posted.
pub fn sender() -> Option<String> {
    backend::sender()
}

/// Commit the effects recorded so far; the same as
/// [`Connection::flush`](crate::Connection::flush).
pub fn flush() -> Result {
    Ok(backend::flush()?)
}
