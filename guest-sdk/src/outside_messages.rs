//! The answers to messages from outside.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::invalid::Invalid;
use crate::json;

/// The refusal of a message from outside, as its sender gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutsideRefusal {
    /// HTTP status: 422 for a message that cannot be used, 429 for one that came too early, 500 for a
    /// channel that failed, 409 for one that does not accept such messages.
    pub status: u16,
    /// Body: `{"error": {"code": …, "message": …}}`.
    pub body: Value,
}

impl OutsideRefusal {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, body: json!({ "error": { "code": code, "message": message } }) }
    }

    /// Makes the refusal from the public part of an error.
    pub(crate) fn of(error: &Error) -> Self {
        match error.for_sender() {
            None => Self::new(500, "channel-failed", "the channel failed"),
            Some(invalid) => {
                let status = if invalid.retry_after.is_some() { 429 } else { 422 };
                Self { status, body: json!({ "error": invalid.to_json() }) }
            }
        }
    }
}

/// The host's own answer.
#[cfg(not(target_family = "wasm"))]
impl From<wharf_contract::outside_messages::OutsideProblem> for OutsideRefusal {
    fn from(problem: wharf_contract::outside_messages::OutsideProblem) -> Self {
        Self::new(problem.status(), problem.code(), &problem.to_string())
    }
}

/// Returns the message in a payload. One that does not fit is its sender's mistake.
pub(crate) fn decode<M: DeserializeOwned>(payload: &[u8]) -> Result<M> {
    json::read_bytes(payload).map_err(|error| {
        let mut message = format!("this channel has no such message: {error}");
        message.truncate(message.floor_char_boundary(LONGEST_EXPLANATION));
        Invalid::new(message).code("INVALID_JSON").into()
    })
}

/// Longest explanation, in bytes. serde's errors quote unknown names in full, and senders choose
/// those.
const LONGEST_EXPLANATION: usize = 300;

#[cfg(test)]
mod tests {
    use wharf_contract::outside_messages::{ErrorBody, OutsideProblem};

    use super::*;

    #[test]
    fn what_senders_hear_has_the_shape_of_the_contract() {
        let invalid = Invalid::new("no such room").code("NO_ROOM").field("room", "is not there");
        for (error, code, fields) in
            [(Error::from(invalid), "NO_ROOM", 1), (Error::msg("x"), "channel-failed", 0)]
        {
            let refusal = OutsideRefusal::of(&error);
            let body: ErrorBody = serde_json::from_value(refusal.body.clone()).expect("the shape");
            assert_eq!((body.error.code.as_str(), body.error.fields.len()), (code, fields));
            assert_eq!(body.to_json(), refusal.body.to_string());
        }
        let failed = OutsideRefusal::of(&Error::msg("the disk is full"));
        assert_eq!(failed, OutsideRefusal::from(OutsideProblem::ChannelFailed));
    }
}
