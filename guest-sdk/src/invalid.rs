//! The one kind of error that a client is told about.

use std::collections::BTreeMap;
use std::fmt;

/// A client asked for something that it cannot have, and may know why: a value out of range, a
/// name that is taken, a move against the rules.
///
/// Return it from a handler like any other error, with `?`. What the handler did is undone, and the
/// client is sent what this says, by the default [`on_error`](crate::Channel::on_error); in
/// `on_connect` it is a refusal with status 400 and the same JSON as its body. It is the
/// client's mistake and no failure of the plugin, so it is not reported to the operator: it is a
/// line of the log at the level `debug`. Of every other error a client learns nothing.
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
    /// For programs: `INVALID`, unless [`code`](Invalid::code) says another.
    pub code: String,
    /// For people.
    pub message: String,
    /// What is wrong with each field of the message, by the field's name.
    pub fields: BTreeMap<String, String>,
}

impl Invalid {
    /// An error that tells the client `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { code: "INVALID".to_owned(), message: message.to_string(), fields: BTreeMap::new() }
    }

    /// Give it a code that programs can tell from others.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Say what is wrong with a field; of one that is named twice the first is kept.
    pub fn field(mut self, name: impl Into<String>, why: impl fmt::Display) -> Self {
        self.add_field(name, why);
        self
    }

    /// As [`field`](Invalid::field), where errors are collected.
    pub fn add_field(&mut self, name: impl Into<String>, why: impl fmt::Display) {
        self.fields.entry(name.into()).or_insert_with(|| why.to_string());
    }

    /// This error, unless no field was named: the end of a function that checks them all.
    pub fn unless_fields_are_valid(self) -> Result<(), Self> {
        if self.fields.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// As the log has it.
impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.message, self.code)?;
        for (name, why) in &self.fields {
            write!(f, "; {name}: {why}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_everything_in_one_line() {
        let invalid = Invalid::new("no").code("NO").field("b", 1).field("a", "x").field("b", 2);
        assert_eq!(invalid.to_string(), "no (NO; a: x; b: 1)");
        assert_eq!(Invalid::new("no").to_string(), "no (INVALID)");
    }
}
