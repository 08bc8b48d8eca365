//! The only kind of error that a client is told about.

#![allow(clippy::string_slice, reason = "a boundary of a character is asked for first")]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::reference::Ref;
use crate::timers::milliseconds;

/// A client's mistake, whose reason the client may know: a value out of range, a name that is
/// taken, a move against the rules.
///
/// Return it from a handler like any other error, with `?`. The handler's effects are undone, and
/// the default [`on_error`](crate::Channel::on_error) sends its content to the client. In
/// `on_connect` it is a refusal with status 400 and the same JSON as its body. It is the client's
/// mistake and not a failure of the plugin, so it is not reported to the operator: it is a line of
/// the log at the level `debug`. Of every other error a client learns nothing.
///
/// ```
/// use wharf::prelude::*;
///
/// fn check(quantity: u32, name: &str) -> Result<(), Invalid> {
///     if name == "anonymous" {
///         return Err(Invalid::new("nobody has this name").code("NAME_TAKEN"));
///     }
///     // Or everything that is wrong at once:
///     let mut invalid = Invalid::new("the order cannot be taken");
///     if !(1..=10).contains(&quantity) {
///         invalid.add_field("quantity", "must be 1 to 10");
///     }
///     if name.is_empty() {
///         invalid.add_field("name", "is required");
///     }
///     invalid.unless_fields_are_valid()
/// }
///
/// assert_eq!(check(3, "Ann"), Ok(()));
/// let error = Error::from(check(11, "").unwrap_err());
/// assert_eq!(
///     error.for_client(),
///     json!({
///         "type": "error",
///         "code": "INVALID",
///         "message": "the order cannot be taken",
///         "fields": { "name": "is required", "quantity": "must be 1 to 10" },
///     })
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Code for programs: `INVALID`, unless [`code`](Invalid::code) sets another.
    pub code: String,
    /// Message for people.
    pub message: String,
    /// Mistake in each field of the message, by the field's name.
    pub fields: BTreeMap<String, String>,
    /// Time after which the client may try again, if that will help.
    pub retry_after: Option<Duration>,
}

impl Invalid {
    /// Makes an error that tells the client `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        let (code, message) = ("INVALID".to_owned(), message.to_string());
        Self { code, message, fields: BTreeMap::new(), retry_after: None }
    }

    /// Sets a code that programs can tell from others.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Sets the time after which the client may try again, which it gets as `retry_after_ms`. In
    /// `on_connect` the status is 429 then, with the header `Retry-After`. A
    /// [rate limit](crate::limits) sets it.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Adds the mistake in a field; of a field that is named twice the first is kept.
    pub fn field(mut self, name: impl Into<String>, why: impl fmt::Display) -> Self {
        self.add_field(name, why);
        self
    }

    /// Adds the mistake in a field like [`field`](Invalid::field), to an error that collects
    /// several.
    pub fn add_field(&mut self, name: impl Into<String>, why: impl fmt::Display) {
        self.fields.entry(name.into()).or_insert_with(|| why.to_string());
    }

    /// Makes it the answer to a message of the client; `None` changes nothing. See
    /// [`Error::in_reply_to`](crate::Error::in_reply_to).
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(request: Request<()>) -> Result {
    /// Err(Invalid::new("it is not your turn").in_reply_to(&request.reference))
    /// # }
    /// ```
    pub fn in_reply_to<'r>(self, reference: impl Into<Option<&'r Ref>>) -> Error {
        Error::from(self).in_reply_to(reference)
    }

    /// Returns the error for programs: `code`, `message` and, if there are any, `fields` and
    /// `retry_after_ms`.
    ///
    /// Texts are cut, so that one that repeats what a client sent can still be sent to it.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut error = Map::from_iter([
            ("code".to_owned(), json!(self.code)),
            ("message".to_owned(), json!(cut(&self.message))),
        ]);
        if !self.fields.is_empty() {
            let fields = self.fields.iter().take(MOST_FIELDS);
            let fields = fields.map(|(name, why)| (cut(name), json!(cut(why)))).collect();
            error.insert("fields".to_owned(), fields);
        }
        if let Some(time) = self.retry_after {
            error.insert("retry_after_ms".to_owned(), json!(milliseconds(time)));
        }
        error
    }

    /// Returns this error, unless no field was named: the end of a function that checks all fields.
    pub fn unless_fields_are_valid(self) -> Result<(), Self> {
        if self.fields.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Longest text of an error for a client, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Largest number of fields in an error for a client.
const MOST_FIELDS: usize = 64;

fn cut(text: &str) -> String {
    match text.len() <= LONGEST_TEXT {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(LONGEST_TEXT)]),
    }
}

/// The form of the log.
impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.message, self.code)?;
        for (name, why) in &self.fields {
            write!(f, "; {name}: {why}")?;
        }
        if let Some(time) = self.retry_after {
            write!(f, "; again in {} ms", milliseconds(time))?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_repeats_of_a_message_is_bounded() {
        let long = "ж".repeat(100_000);
        let invalid = (0..1000).fold(Invalid::new(&long), |invalid, number| {
            invalid.field(format!("{number}{long}"), &long)
        });
        assert!(Value::Object(invalid.to_json()).to_string().len() < 1024 * 1024);
    }

    #[test]
    fn it_says_everything_in_one_line() {
        let invalid = Invalid::new("no").code("NO").field("b", 1).field("a", "x").field("b", 2);
        assert_eq!(invalid.to_string(), "no (NO; a: x; b: 1)");
        assert_eq!(Invalid::new("no").to_string(), "no (INVALID)");
        let wait = Invalid::new("no").retry_after(Duration::from_micros(1500));
        assert_eq!(wait.to_string(), "no (INVALID; again in 2 ms)");
    }
}
