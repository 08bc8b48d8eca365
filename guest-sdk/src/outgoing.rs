//! The types that can be sent: text, bytes, JSON.

use std::borrow::Cow;

use serde::Serialize;

use crate::error::Result;

/// The bytes of a message on their way out, and the kind of their frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
}

impl Payload<'_> {
    /// Returns the text message that is `value` in JSON. Errors: `value` cannot be JSON, such as a
    /// map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Payload<'static>> {
        Ok(Payload::Text(Cow::Owned(serde_json::to_string(value)?)))
    }

    /// Returns the same message, borrowing nothing.
    pub fn into_owned(self) -> Payload<'static> {
        match self {
            Payload::Text(text) => Payload::Text(Cow::Owned(text.into_owned())),
            Payload::Binary(bytes) => Payload::Binary(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// The types that `send` and the broadcasts accept. The type alone decides the form:
///
/// | value | what the client receives |
/// | --- | --- |
/// | `&str`, `String` | that text, as it is |
/// | `json!({…})`, a [`serde_json::Value`] | its JSON, as text |
/// | [`Json(&value)`](Json) of anything that serializes | its JSON, as text |
/// | `&[u8]`, `Vec<u8>` | a binary message |
///
/// A string is never quoted and a struct is never turned into JSON behind your back; for your own
/// types wrap them in [`Json`], or implement the trait once:
///
/// ```
/// use wharf::prelude::*;
/// use wharf::{Outgoing, Payload};
///
/// #[derive(Serialize)]
/// #[serde(tag = "type", rename_all = "snake_case")]
/// enum Reply { Pong, Moved { x: i32, y: i32 } }
///
/// impl Outgoing for Reply {
///     fn payload(&self) -> Result<Payload<'_>> {
///         Payload::json(self)
///     }
/// }
///
/// # fn handler(conn: &Connection) -> Result {
/// conn.send(Reply::Pong)?;
/// conn.send(&Reply::Moved { x: 1, y: 2 })?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as it is",
    label = "neither text, nor bytes, nor a JSON value",
    note = "send `Json(&value)` for the JSON of anything that implements `Serialize`, or implement `wharf::Outgoing`"
)]
pub trait Outgoing {
    /// Returns the message. Called once for each `send` or broadcast, however many receive it.
    fn payload(&self) -> Result<Payload<'_>>;
}

impl Outgoing for str {
    fn payload(&self) -> Result<Payload<'_>> {
        Ok(Payload::Text(Cow::Borrowed(self)))
    }
}

impl Outgoing for String {
    fn payload(&self) -> Result<Payload<'_>> {
        self.as_str().payload()
    }
}

impl Outgoing for [u8] {
    fn payload(&self) -> Result<Payload<'_>> {
        Ok(Payload::Binary(Cow::Borrowed(self)))
    }
}

impl<const N: usize> Outgoing for [u8; N] {
    fn payload(&self) -> Result<Payload<'_>> {
        self.as_slice().payload()
    }
}

impl Outgoing for Vec<u8> {
    fn payload(&self) -> Result<Payload<'_>> {
        self.as_slice().payload()
    }
}

impl Outgoing for serde_json::Value {
    fn payload(&self) -> Result<Payload<'_>> {
        Payload::json(self)
    }
}

impl<T: Outgoing + ?Sized> Outgoing for &T {
    fn payload(&self) -> Result<Payload<'_>> {
        (**self).payload()
    }
}

/// The JSON of a value that serializes, as a message: `conn.send(Json(&reply))`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Serialize> Outgoing for Json<T> {
    fn payload(&self) -> Result<Payload<'_>> {
        Payload::json(&self.0)
    }
}

impl Outgoing for Payload<'_> {
    fn payload(&self) -> Result<Payload<'_>> {
        Ok(match self {
            Payload::Text(text) => Payload::Text(Cow::Borrowed(text)),
            Payload::Binary(bytes) => Payload::Binary(Cow::Borrowed(bytes)),
        })
    }
}

/// The kind of a frame, for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// Encodes `message` and hands kind and bytes to `call`.
pub(crate) fn encoded(
    message: &impl Outgoing,
    call: impl FnOnce(Kind, &[u8]) -> Result<(), crate::HostError>,
) -> Result {
    match message.payload()? {
        Payload::Text(text) => call(Kind::Text, text.as_bytes())?,
        Payload::Binary(bytes) => call(Kind::Binary, &bytes)?,
    }
    Ok(())
}
