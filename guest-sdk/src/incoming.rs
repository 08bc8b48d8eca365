//! A client's message: from text to the author's message type, and the error if it does not fit.

use std::any::Any;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use crate::json;
use crate::reference::{Ref, in_reply_to, reference_in};
use crate::reply::Decoded;

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
    /// Returns the client's text. It is hostile input: it can be long, and say anything.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the error of the decoder. Its text may quote the client's message.
    pub fn error(&self) -> &serde_json::Error {
        &self.error
    }

    /// Returns true if the text is JSON at all: then it is well-formed but fits no message of this
    /// channel, such as an unknown `type` or a missing field.
    pub fn is_json(&self) -> bool {
        self.syntax_error().is_none()
    }

    /// Returns a sentence that can be sent to the client. It names the mistake and quotes at most a
    /// little of the client's own text.
    pub fn explanation(&self) -> String {
        let mut explanation = match self.syntax_error() {
            Some(why) => format!("not JSON: {why}"),
            None => format!("this channel has no such message: {}", self.error),
        };
        if let Some((cut, _)) = explanation.char_indices().nth(LONGEST_EXPLANATION) {
            explanation.truncate(cut);
            explanation.push('…');
        }
        explanation
    }

    /// Returns the `ref` that the client gave the message, so that the caller that waits for an
    /// answer gets the error. The text is searched for it even if it is not JSON in other places,
    /// such as a number with a leading zero or half an emoji.
    pub fn reference(&self) -> Option<Ref> {
        reference_in(&self.text)
    }

    /// Returns the message of the default
    /// [`on_invalid_message`](crate::Channel::on_invalid_message): `{"type": "error", "code":
    /// "INVALID_JSON", "message": …}`, where the message is the
    /// [`explanation`](InvalidMessage::explanation), and with the message's `ref`, if it has one.
    pub fn for_client(&self) -> Value {
        let message = self.explanation();
        let error = Map::from_iter([
            ("type".to_owned(), json!("error")),
            ("code".to_owned(), json!("INVALID_JSON")),
            ("message".to_owned(), json!(message)),
        ]);
        in_reply_to(self.reference().as_ref(), error)
    }

    /// Returns the reason why a text is not JSON. A decoder that stopped at the first mismatch has
    /// not looked at the rest of the text yet.
    fn syntax_error(&self) -> Option<String> {
        match self.error.is_data() {
            true => serde_json::from_str::<IgnoredAny>(&self.text).err().map(|e| e.to_string()),
            false => Some(self.error.to_string()),
        }
    }
}

/// Longest explanation, in characters. serde's errors quote unknown names in full, and clients
/// choose those.
const LONGEST_EXPLANATION: usize = 300;

/// Decodes a text message: a `String` is the text itself, every other type is read from JSON.
/// Returns the message, and its `ref` if it is a [`Request`](crate::Request) with one.
pub(crate) fn decode<M: DeserializeOwned + 'static>(
    text: String,
) -> Result<(M, Option<Ref>), InvalidMessage> {
    let mut text = Some(text);
    let mut message: Option<M> = None;
    // No specialization is needed, and nothing is copied: the slot's type tells whether `M` is
    // `String`, and the compiler knows the answer for each `M`.
    if let Some(slot) = (&mut message as &mut dyn Any).downcast_mut::<Option<String>>() {
        *slot = text.take();
    }
    match (message, text) {
        (Some(message), _) => Ok((message, None)),
        (None, text) => {
            let text = text.unwrap_or_default();
            Decoded::begin();
            let read = match serde_json::from_str(&text) {
                Ok(message) => Ok(message),
                Err(error) => match Decoded::end().error {
                    // A request has been read in every way already.
                    Some(error) => Err(error),
                    None => json::read_again(&text, error),
                },
            };
            let reference = Decoded::end().reference();
            match read {
                Ok(message) => Ok((message, reference)),
                Err(error) => Err(InvalidMessage { text, error }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type")]
    enum Message {
        Ping,
    }

    fn invalid(text: &str) -> InvalidMessage {
        decode::<Message>(text.to_owned()).expect_err("it does not fit")
    }

    #[test]
    fn a_string_is_not_parsed() {
        let (text, _) = decode::<String>("\"x".to_owned()).expect("any text is a String");
        assert_eq!(text, "\"x");
    }

    #[test]
    fn other_types_are_read_from_json() {
        assert!(matches!(decode(r#"{"type":"Ping"}"#.to_owned()), Ok((Message::Ping, None))));
    }

    #[test]
    fn json_that_does_not_fit_is_told_from_what_is_no_json() {
        for text in ["null", "[]", "{}", r#"{"type":"Pong"}"#, r#"{"type":7}"#] {
            assert!(invalid(text).is_json(), "{text}");
            assert!(invalid(text).explanation().starts_with("this channel has no such message: "));
        }
        for text in ["", "{", "ping", r#"{"type":"Pong"} x"#, r#"{"type":"Pong""#] {
            assert!(!invalid(text).is_json(), "{text}");
            assert!(invalid(text).explanation().starts_with("not JSON: "));
        }
    }

    #[test]
    fn an_explanation_is_about_what_it_names_first() {
        let explanation = invalid(r#"{"type":"Pong"} x"#).explanation();
        assert!(explanation.contains("trailing characters"), "{explanation}");
    }
}
