//! Answers: replies and errors that name a client's message.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The `ref` of a message: the name that a client gives it, to find the answer to it. A text of at
/// most 128 bytes or an integer of at most 64 bits, given back as it was.
///
/// It serializes, so a session can keep it for an answer that comes later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ref(Name);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Text(String),
    Negative(i64),
    Number(u64),
}

/// Longest `ref`, in bytes. A client chooses it, and it is sent back with each answer.
const LONGEST_REF: usize = 128;

/// The form of the log.
impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Text(text) => f.write_str(text),
            Name::Negative(number) => number.fmt(f),
            Name::Number(number) => number.fmt(f),
        }
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Name::Text(text) => serializer.serialize_str(text),
            Name::Negative(number) => serializer.serialize_i64(*number),
            Name::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyRef;

        impl Visitor<'_> for AnyRef {
            type Value = Ref;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a ref: a string of at most {LONGEST_REF} bytes or an integer")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ref, E> {
                if text.len() > LONGEST_REF {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(Ref(Name::Text(text.to_owned())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ref, E> {
                Ok(Ref(Name::Number(number)))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ref, E> {
                Ok(Ref(u64::try_from(number).map_or(Name::Negative(number), Name::Number)))
            }
        }

        deserializer.deserialize_any(AnyRef)
    }
}

/// A message that may need an answer: the author's own message, and the `ref` beside it.
///
/// ```
/// use wharf::prelude::*;
///
/// #[derive(Deserialize)]
/// #[serde(tag = "type", content = "payload", rename_all = "snake_case")]
/// enum Incoming {
///     Add { one: i64, other: i64 },
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Adder;
///
/// #[wharf::channel]
/// impl Channel for Adder {
///     const PATHS: &[&str] = &["/add"];
///     type Message = Request<Incoming>;
///
///     fn on_connect(_: &Connection) -> Result<Self, Refusal> {
///         Ok(Adder)
///     }
///
///     fn on_message(&mut self, conn: &Connection, request: Request<Incoming>) -> Result {
///         request.answer(conn, |Incoming::Add { one, other }| {
///             let sum = one.checked_add(other).ok_or(Invalid::new("the sum is too large"))?;
///             Ok(json!({ "sum": sum }))
///         })
///     }
/// }
///
/// # let host = wharf::testing::TestHost::new::<Adder>();
/// # let client = host.connect("/add").expect_open();
/// client.send(json!({ "type": "add", "payload": { "one": 1, "other": 2 }, "ref": 7 }));
/// client.assert_received(
///     json!({ "type": "reply", "ref": 7, "status": "ok", "payload": { "sum": 3 } }),
/// );
/// ```
///
/// The message is a JSON object: an enum or a struct, with any kind of tag. A `ref` that is absent
/// or `null` is none. A `ref` that is not a [`Ref`] makes the message invalid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Request<M> {
    /// Name of this message, if the client wants an answer.
    #[serde(rename = "ref", default)]
    pub reference: Option<Ref>,
    /// The message without its `ref`.
    #[serde(flatten)]
    pub message: M,
}

impl<M> Request<M> {
    /// Handles the message and answers it: with the value of `handler`, as
    /// [`Connection::reply`](crate::Connection::reply) does, or with the public part of its error,
    /// as [`on_error`](crate::Channel::on_error) does by default.
    pub fn answer<T: Serialize>(
        self,
        conn: &crate::Connection,
        handler: impl FnOnce(M) -> Result<T>,
    ) -> Result {
        let reply = handler(self.message).in_reply_to(&self.reference)?;
        // If the reply itself is refused, such as one that is too big, the client still gets that
        // error.
        conn.reply(&self.reference, reply).in_reply_to(&self.reference)
    }
}

/// Adds to an error the message that it answers.
///
/// ```
/// use wharf::prelude::*;
///
/// # #[derive(Deserialize)] struct Dial { number: String }
/// # fn handler(request: Request<Dial>) -> Result {
/// let number: u32 = request.message.number.parse().in_reply_to(&request.reference)?;
/// # Ok(())
/// # }
/// ```
pub trait InReplyTo<T> {
    /// Sets the message that the error answers; a missing `ref` changes nothing. See
    /// [`Error::in_reply_to`].
    fn in_reply_to<'r>(self, reference: impl Into<Option<&'r Ref>>) -> Result<T>;
}

impl<T, E: Into<Error>> InReplyTo<T> for std::result::Result<T, E> {
    fn in_reply_to<'r>(self, reference: impl Into<Option<&'r Ref>>) -> Result<T> {
        self.map_err(|error| error.into().in_reply_to(reference))
    }
}

/// A reply, in the form that is sent.
#[derive(Serialize)]
pub(crate) struct Reply<'a, T> {
    r#type: &'static str,
    r#ref: &'a Ref,
    status: &'static str,
    payload: T,
}

impl<'a, T> Reply<'a, T> {
    pub(crate) fn to(r#ref: &'a Ref, payload: T) -> Self {
        Self { r#type: "reply", r#ref, status: "ok", payload }
    }
}

/// Returns an error for a client, as the answer to its message if it is one.
pub(crate) fn in_reply_to(reference: Option<&Ref>, mut error: Value) -> Value {
    if let Some(reference) = reference {
        error["ref"] = json!(reference);
        error["status"] = json!("error");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<M: for<'de> Deserialize<'de>>(value: &Value) -> Result<Request<M>, String> {
        serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    enum Internal {
        Say { text: String },
        Ping,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", content = "payload", rename_all = "snake_case")]
    enum Adjacent {
        Say { text: String },
        Count(u32),
        Ping,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum External {
        Say { text: String },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Plain {
        text: String,
    }

    #[test]
    fn the_ref_stands_beside_messages_of_every_shape() {
        let text = || "hi".to_owned();
        let seven = Some(Ref(Name::Number(7)));
        let request = |value: Value| {
            let Request { reference, message } = parsed::<Internal>(&value).expect("internal");
            assert_eq!(reference, seven);
            message
        };
        let say = json!({ "ref": 7, "type": "say", "text": "hi" });
        assert_eq!(request(say), Internal::Say { text: text() });
        assert_eq!(request(json!({ "type": "ping", "ref": 7 })), Internal::Ping);

        let say = json!({ "type": "say", "ref": 7, "payload": { "text": "hi" } });
        let expected =
            Request { reference: seven.clone(), message: Adjacent::Say { text: text() } };
        assert_eq!(parsed(&say), Ok(expected));
        let count = json!({ "payload": 3, "ref": 7, "type": "count" });
        let expected = Request { reference: seven.clone(), message: Adjacent::Count(3) };
        assert_eq!(parsed(&count), Ok(expected));
        let ping = json!({ "type": "ping", "ref": 7 });
        let expected = Request { reference: seven.clone(), message: Adjacent::Ping };
        assert_eq!(parsed(&ping), Ok(expected));

        let say = json!({ "say": { "text": "hi" }, "ref": 7 });
        let expected =
            Request { reference: seven.clone(), message: External::Say { text: text() } };
        assert_eq!(parsed(&say), Ok(expected));
        let plain = json!({ "text": "hi", "ref": 7 });
        assert_eq!(
            parsed(&plain),
            Ok(Request { reference: seven, message: Plain { text: text() } })
        );
    }

    #[test]
    fn a_message_needs_no_ref() {
        for value in [json!({ "text": "hi" }), json!({ "text": "hi", "ref": null })] {
            let request = parsed::<Plain>(&value).expect("it fits");
            assert_eq!(request.reference, None);
        }
    }

    #[test]
    fn a_ref_is_given_back_as_it_was() {
        let long = "é".repeat(LONGEST_REF / 2);
        for value in [json!(0), json!(-1), json!(u64::MAX), json!(i64::MIN), json!(""), json!(long)]
        {
            let reference: Ref = serde_json::from_value(value.clone()).expect("a ref");
            assert_eq!(serde_json::to_value(&reference).expect("JSON"), value);
            let kept = rmp_serde::to_vec_named(&reference).expect("a session");
            assert_eq!(rmp_serde::from_slice::<Ref>(&kept).expect("the same"), reference);
        }
    }

    #[test]
    fn what_is_no_ref_makes_the_message_invalid() {
        let too_long = "x".repeat(LONGEST_REF + 1);
        for value in [json!(too_long), json!(1.5), json!(true), json!([1]), json!({}), json!(1e30)]
        {
            let request = parsed::<Plain>(&json!({ "text": "hi", "ref": value }));
            let error = request.expect_err("it is none");
            assert!(error.contains("a string of at most 128 bytes or an integer"), "{error}");
        }
    }
}
