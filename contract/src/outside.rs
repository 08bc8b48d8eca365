//! Answers to messages from outside and to the operator, as JSON: what is wrong, for programs and for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sentences::sentences;

/// The body of an answer that says what is wrong: `{"error": {"code": …, "message": …}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// What is wrong. Fields are in the order of the alphabet, as a `serde_json::Value` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// A token for programs.
    pub code: String,
    /// The field of the request that is wrong, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong with single fields of a message, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// A sentence for people.
    pub message: String,
}

impl ErrorBody {
    /// An error with a code and a sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> ErrorBody {
        let (code, message) = (code.into(), message.into());
        ErrorBody { error: ErrorInfo { code, field: None, fields: BTreeMap::new(), message } }
    }

    /// The same, about one field of the request.
    pub fn about(self, field: impl Into<String>) -> ErrorBody {
        ErrorBody { error: ErrorInfo { field: Some(field.into()), ..self.error } }
    }

    /// Returns it as JSON.
    pub fn to_json(&self) -> String {
        // Texts and maps of texts can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

sentences! {
    /// Why a message or an event from outside has come to nothing.
    pub enum OutsideProblem {
        /// A plugin that takes no such messages.
        NoHandler { handler: &'static str, interface: &'static str } =
            "this channel's plugin does not export wharf:channel/{interface}: write `{handler}` in it";
        /// A plugin that broke.
        ChannelFailed = "the channel failed";
        /// A plugin that took too long, or for which no instance was free.
        ChannelBusy = "the channel did not answer in time";
    }
}

impl OutsideProblem {
    /// A plugin without the callback for messages.
    pub const NO_MESSAGES: OutsideProblem =
        OutsideProblem::NoHandler { handler: "on_outside_message", interface: "outside-events" };

    /// Returns the HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            OutsideProblem::NoHandler { .. } => 409,
            OutsideProblem::ChannelFailed => 500,
            OutsideProblem::ChannelBusy => 503,
        }
    }

    /// Returns the token for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            OutsideProblem::NoHandler { .. } => "no-handler",
            OutsideProblem::ChannelFailed => "channel-failed",
            OutsideProblem::ChannelBusy => "channel-busy",
        }
    }

    /// Returns the body of the answer.
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(self.code(), self.to_string())
    }
}

/// Whether a channel's refusal of a message from outside may have this HTTP status; 500 is sent
/// instead of others.
pub const fn is_refusal_status(status: u16) -> bool {
    matches!(status, 400..=599)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_is_written_as_it_always_was() {
        let body = ErrorBody::new("invalid-field", "no \"room\"").about("room");
        let before = json!({
            "error": { "code": "invalid-field", "message": "no \"room\"", "field": "room" },
        });
        assert_eq!(body.to_json(), before.to_string());
        let plain = OutsideProblem::ChannelBusy.body().to_json();
        let before = json!({
            "error": { "code": "channel-busy", "message": "the channel did not answer in time" },
        });
        assert_eq!(plain, before.to_string());
        assert_eq!(serde_json::from_str::<ErrorBody>(&body.to_json()).ok(), Some(body));
    }
}
