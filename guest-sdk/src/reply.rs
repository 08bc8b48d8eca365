//! Answers: replies and errors that name a client's message.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::reference::Ref;

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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
        let seven: Option<Ref> = serde_json::from_value(json!(7)).ok();
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
    fn what_is_no_ref_makes_the_message_invalid() {
        let too_long = "x".repeat(129);
        for value in [json!(too_long), json!(1.5), json!(true), json!([1]), json!({}), json!(1e30)]
        {
            let request = parsed::<Plain>(&json!({ "text": "hi", "ref": value }));
            let error = request.expect_err("it is none");
            assert!(error.contains("a string of at most 128 bytes or an integer"), "{error}");
        }
    }
}
