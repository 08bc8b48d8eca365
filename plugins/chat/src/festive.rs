//! Another voice of the chat, for the demo: it makes a feast of everything.

/// Returns a message as the room reads it.
pub fn spoken(message: String) -> String {
    format!("★ {} ★", message.to_uppercase())
}
