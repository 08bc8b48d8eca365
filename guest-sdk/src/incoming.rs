//! What a client sent: from text to the author's message type, and what does not fit it.

use std::any::Any;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

/// A message as it arrives, whole: fragments have been joined, text has been validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

/// A text message that is not one of the channel's [`Message`](crate::Channel::Message)s, as
/// [`on_invalid_message`](crate::Channel::on_invalid_message) gets it.
#[derive(Debug)]
pub struct InvalidMessage {
    text: String,
    error: serde_json::Error,
}

impl InvalidMessage {
    /// What the client sent. Hostile input: it can be long, and say anything.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why it did not decode. Its text may quote the client's message.
    pub fn error(&self) -> &serde_json::Error {
        &self.error
    }

    /// Whether the text is JSON at all: then it is well-formed but fits no message of this
    /// channel, such as an unknown `type` or a missing field.
    pub fn is_json(&self) -> bool {
        // A decoder stops at the first thing that does not fit, so what follows is looked at here.
        self.error.classify() == Category::Data
            && serde_json::from_str::<IgnoredAny>(&self.text).is_ok()
    }

    /// A sentence that can be sent to the client: it says what is wrong and quotes at most a
    /// little of what the client itself sent.
    pub fn explanation(&self) -> String {
        let mut explanation = match self.is_json() {
            true => format!("no message of this channel: {}", self.error),
            false => format!("not JSON: {}", self.error),
        };
        if let Some((cut, _)) = explanation.char_indices().nth(LONGEST_EXPLANATION) {
            explanation.truncate(cut);
            explanation.push('…');
        }
        explanation
    }
}

/// In characters. serde's errors quote unknown names in full, and clients choose those.
const LONGEST_EXPLANATION: usize = 300;

/// Decodes a text message: a `String` is the text itself, every other type is read from JSON.
pub(crate) fn decode<M: DeserializeOwned + 'static>(text: String) -> Result<M, InvalidMessage> {
    let mut text = Some(text);
    let mut message: Option<M> = None;
    // No specialization is needed, and nothing is copied: the slot's type tells whether `M` is
    // `String`, and the compiler knows the answer for each `M`.
    if let Some(slot) = (&mut message as &mut dyn Any).downcast_mut::<Option<String>>() {
        *slot = text.take();
    }
    match (message, text) {
        (Some(message), _) => Ok(message),
        (None, text) => {
            let text = text.unwrap_or_default();
            serde_json::from_str(&text).map_err(|error| InvalidMessage { text, error })
        }
    }
}
