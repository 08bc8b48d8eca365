//! The messages of clients, and the answers to wrong ones.

use wharf::prelude::*;
use wharf::serde_json::Value;

use crate::timestamp;

/// A message from a client. A required member is checked where it is used, so that the client can
/// be told which one is missing.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Incoming {
    Join { room_id: Option<String> },
    ChatMessage { message: Option<String> },
    TypingStart,
    TypingStop,
    Ping,
}

/// The names of the types above, as clients write them.
pub const TYPES: [&str; 5] = ["join", "chat_message", "typing_start", "typing_stop", "ping"];

/// Returns the `type` of a message if the chat does not know it. Clients choose it, so a long one is
/// cut.
pub fn unknown_type(text: &str) -> Option<String> {
    const LONGEST: usize = 40;
    let message: Value = wharf::serde_json::from_str(text).ok()?;
    let kind = message.get("type")?.as_str()?;
    (!TYPES.contains(&kind)).then(|| kind.chars().take(LONGEST).collect())
}

/// Tells a client about its mistake. The code is for programs, the message for people.
pub fn error(conn: &Connection, code: &str, message: &str) -> Result {
    conn.send(json!({
        "type": "error",
        "code": code,
        "message": message,
        "timestamp": timestamp::now(),
    }))
}

/// Returns true if a name has neither control characters nor such as change the direction of text,
/// with which it could look like another one.
pub fn is_plain(name: &str) -> bool {
    let turns = ['\u{200e}', '\u{200f}', '\u{061c}'];
    !name.chars().any(|char| {
        char.is_control()
            || turns.contains(&char)
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Checks the name of a room, as the host would.
pub fn check_room(name: &str) -> Result<(), &'static str> {
    match name.len() {
        1..=255 => Ok(()),
        _ => Err("room_id must have 1 to 255 bytes"),
    }
}
