//! The event that is being handled.

use crate::backend;
use crate::error::Result;

/// Returns the number of the generation that handles this event; it grows by one with each reload
/// of the plugin.
pub fn generation() -> u64 {
    backend::generation()
}

/// Returns the id of the connection whose handler posted the event being handled: a notice or a
/// room event. `None` for other events, and for posts of a room's or the channel's own handler.
pub fn sender() -> Option<String> {
    backend::sender()
}

/// Commits the effects recorded so far, like [`Connection::flush`](crate::Connection::flush).
pub fn flush() -> Result {
    Ok(backend::flush()?)
}
