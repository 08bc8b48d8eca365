//! What clients send, and what they are told when it is wrong.

use wharf::prelude::*;
use wharf::serde_json::Value;

use crate::timestamp;

/// A message from a client. What is required is checked where it is used, so that the client can
/// be told what it forgot.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Incoming {
    Join { room_id: Option<String> },
    ChatMessage { message: Option<String> },
    TypingStart,
    TypingStop,
    Ping,
}

/// The types above, as they are written.
pub const TYPES: [&str; 5] = ["join", "chat_message", "typing_start", "typing_stop", "ping"];

/// The `type` of a message, if it is none that the chat knows. Clients choose it, so only the
/// beginning of a long one is kept.
pub fn unknown_type(text: &str) -> Option<String> {
    const LONGEST: usize = 40;
    let message: Value = wharf::serde_json::from_str(text).ok()?;
    let kind = message.get("type")?.as_str()?;
    (!TYPES.contains(&kind)).then(|| kind.chars().take(LONGEST).collect())
}

/// Tell a client that it did something wrong. Programs go by the code, people by the message.
pub fn error(conn: &Connection, code: &str, message: &str) -> Result {
    conn.send(json!({
        "type": "error",
        "code": code,
        "message": message,
        "timestamp": timestamp::now(),
    }))
}

/// Whether a room can have this name; the host would refuse it otherwise.
pub fn check_room(name: &str) -> Result<(), &'static str> {
    match name.len() {
        1..=255 => Ok(()),
        _ => Err("room_id must have 1 to 255 bytes"),
    }
}
