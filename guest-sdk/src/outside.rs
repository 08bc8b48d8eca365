//! Messages from outside: what their senders hear.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::invalid::Invalid;

/// Why a message from outside was refused, as its sender hears it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutsideRefusal {
    /// The HTTP status: 422 for a message that cannot be used, 500 for a channel that failed, 409
    /// for one that takes no such messages.
    pub status: u16,
    /// The body: `{"error": {"code": …, "message": …}}`.
    pub body: Value,
}

impl OutsideRefusal {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, body: json!({ "error": { "code": code, "message": message } }) }
    }

    /// What may be told of an error.
    pub(crate) fn of(error: &Error) -> Self {
        match error.invalid() {
            None => Self::new(500, "channel-failed", "the channel failed"),
            Some(Invalid { code, message, fields }) => {
                let mut refusal = Self::new(422, code, message);
                if !fields.is_empty() {
                    refusal.body["error"]["fields"] = json!(fields);
                }
                refusal
            }
        }
    }
}

/// The message that a payload is. One that does not fit is its sender's mistake.
pub(crate) fn decode<M: DeserializeOwned>(payload: &[u8]) -> Result<M> {
    serde_json::from_slice(payload).map_err(|error| {
        let mut message = format!("no message of this channel: {error}");
        message.truncate(message.floor_char_boundary(LONGEST_EXPLANATION));
        Invalid::new(message).code("INVALID_JSON").into()
    })
}

/// In bytes. serde's errors quote unknown names in full, and senders choose those.
const LONGEST_EXPLANATION: usize = 300;
