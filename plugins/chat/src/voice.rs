//! The voice of the chat: the form in which it passes on the words of its users.

/// Returns a message as the room reads it.
pub fn spoken(message: String) -> String {
    message
}
