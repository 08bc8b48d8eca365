//! Answers to messages from outside and to the operator, as JSON: errors for programs and for
//! people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sentences::sentences;

/// The body of an error: `{"error": {"code": …, "message": …}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// An error. Fields are in the order of the alphabet, as a `serde_json::Value` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Token for programs.
    pub code: String,
    /// Wrong field of the request, if the error is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Mistakes in single fields of a message, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Sentence for people.
    pub message: String,
}

impl ErrorBody {
    /// Makes an error with a code and a sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> ErrorBody {
        let (code, message) = (code.into(), message.into());
        ErrorBody { error: ErrorInfo { code, field: None, fields: BTreeMap::new(), message } }
    }

    /// Adds the field of the request that the error is about.
    pub fn about(self, field: impl Into<String>) -> ErrorBody {
        ErrorBody { error: ErrorInfo { field: Some(field.into()), ..self.error } }
    }

    /// Returns the body as JSON.
    pub fn to_json(&self) -> String {
        // Texts and maps of texts can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

sentences! {
    /// The reason why a message or an event from outside has failed.
    pub enum OutsideProblem {
        /// The plugin does not accept such messages.
        NoHandler { handler: &'static str, interface: &'static str } =
            "this channel's plugin does not export wharf:channel/{interface}: write `{handler}` in it";
        /// The plugin failed.
        ChannelFailed = "the channel failed";
        /// The plugin took too long, or no instance was free for it.
        ChannelBusy = "the channel did not answer in time";
    }
}

impl OutsideProblem {
    /// The problem of a plugin without the callback for messages.
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

/// Returns true if a channel's refusal of a message from outside may have this HTTP status; 500 is
/// sent instead of others.
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
