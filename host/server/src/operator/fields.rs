//! A request's JSON object, taken apart field by field. An error names the field.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::problem::{Problem, bad, bad_field, refused};
use wharf_config::Config;
use wharf_contract::CallRefusal;
use wharf_hub::frame::{Frame, FrameKind};

/// The fields that have not been taken yet. Their values are kept as they were written, so that
/// JSON which is passed on is not changed.
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Reads an object. A body that was left out has no fields.
    ///
    /// # Errors
    ///
    /// The body is not JSON, or not an object.
    pub fn read(body: &[u8]) -> Result<Fields, Problem> {
        if body.is_empty() {
            return Ok(Fields(BTreeMap::new()));
        }
        check_json(body)?;
        match serde_json::from_slice(body) {
            Ok(fields) => Ok(Fields(fields)),
            Err(_) => Err(bad("not-an-object", "the body must be a JSON object")),
        }
    }

    /// Returns a field's value as it was written, if it is there.
    pub fn raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.remove(name)
    }

    /// Returns a field's value, if it is there. `what` names its type in the error.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        let value = serde_json::from_str(value.get());
        value.map(Some).map_err(|_| bad_field(name, format!("`{name}` must be {what}")))
    }

    /// Returns a list of names.
    pub fn names(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        Ok(self.take(name, "a list of texts")?.unwrap_or_default())
    }

    /// Returns the message in one of the fields `text`, `json` and `binary`, as a frame.
    pub fn message(&mut self, config: &Config) -> Result<Frame, Problem> {
        let text: Option<String> = self.take("text", "text")?;
        let json = self.raw("json");
        let binary: Option<String> = self.take("binary", "bytes in base64")?;
        let (kind, data) = match (text, json, binary) {
            (Some(text), None, None) => (FrameKind::Text, text.into_bytes()),
            (None, Some(json), None) => (FrameKind::Text, json.get().as_bytes().to_vec()),
            (None, None, Some(binary)) => match STANDARD.decode(&binary) {
                Ok(data) => (FrameKind::Binary, data),
                Err(_) => {
                    let message = "`binary` must be bytes in base64 (with `+`, `/` and padding)";
                    return Err(bad_field("binary", message));
                }
            },
            _ => {
                let message = "the message must be in exactly one of `text`, `json` and `binary`";
                return Err(bad("message-missing", message));
            }
        };
        let limit = config.max_outbound_message_bytes;
        if data.len() > limit {
            let refusal = CallRefusal::MessageTooBig { bytes: data.len(), limit };
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &refusal));
        }
        Ok(Frame::encode(kind, &data))
    }

    /// Checks that no field is left: one that is left is a typo.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(bad_field(&name, format!("there is no field `{name}` here")))
            }
        }
    }
}

/// Checks that a body is JSON.
pub(crate) fn check_json(body: &[u8]) -> Result<(), Problem> {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad("malformed-json", format!("the body is not JSON: {error}"))),
    }
}
