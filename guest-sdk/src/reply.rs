//! Answers: replies and errors that name a client's message.

#![allow(
    clippy::string_slice,
    reason = "the ranges are those of members that were found in the text"
)]

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::json;
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
/// The message is whatever `M` is read from: its JSON is that of the request without the `ref`. A
/// `ref` that is absent or `null` is none. A `ref` that is not a [`Ref`] makes the message invalid.
///
/// A handler's error that names no message is the answer to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<M> {
    /// Name of this message, if the client wants an answer.
    pub reference: Option<Ref>,
    /// The message without its `ref`.
    pub message: M,
}

/// Name by which serde_json hands over the text of a value, as it does for a `RawValue`.
const RAW: &str = "$serde_json::private::RawValue";

impl<'de, M: DeserializeOwned> Deserialize<'de> for Request<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyRequest<M>(PhantomData<M>);

        impl<'de, M: DeserializeOwned> Visitor<'de> for AnyRequest<M> {
            type Value = Request<M>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Request<M>, A::Error> {
                let text = Box::<RawValue>::deserialize(MapAccessDeserializer::new(map))?;
                Decoded::of_text(text.get()).map_err(de::Error::custom)
            }

            /// Reads it from what is not the text of JSON, such as serde's own buffer.
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Request<M>, D::Error> {
                #[derive(Deserialize)]
                struct Beside<M> {
                    #[serde(rename = "ref", default)]
                    reference: Option<Ref>,
                    #[serde(flatten)]
                    message: M,
                }

                let Beside { reference, message } = Beside::deserialize(deserializer)?;
                Ok(Request { reference, message })
            }
        }

        deserializer.deserialize_newtype_struct(RAW, AnyRequest(PhantomData))
    }
}

/// The requests in a client's message that has been decoded.
#[derive(Default)]
pub(crate) struct Decoded {
    count: u32,
    reference: Option<Ref>,
    /// The error of the request that could not be read, at its place in the whole text.
    pub(crate) error: Option<serde_json::Error>,
}

thread_local! {
    static DECODED: RefCell<Decoded> = RefCell::default();
}

impl Decoded {
    /// Forgets the requests of an earlier message.
    pub(crate) fn begin() {
        DECODED.take();
    }

    /// Returns the requests since then.
    pub(crate) fn end() -> Self {
        DECODED.take()
    }

    /// Returns the `ref` of the message, if it was one request.
    pub(crate) fn reference(self) -> Option<Ref> {
        self.reference.filter(|_| self.count == 1)
    }

    fn of_text<M: DeserializeOwned>(text: &str) -> Result<Request<M>, String> {
        let read = read(text);
        DECODED.with_borrow_mut(|decoded| match read {
            Ok(request) => {
                decoded.count += 1;
                decoded.reference.clone_from(&request.reference);
                Ok(request)
            }
            Err(error) => {
                let said = error.to_string();
                decoded.error = Some(error);
                Err(said)
            }
        })
    }
}

/// Reads a request: its `ref` by itself, and the message from the text without it.
fn read<M: DeserializeOwned>(text: &str) -> Result<Request<M>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Beside {
        #[serde(rename = "ref", default)]
        reference: Option<Ref>,
    }

    let Some(member) = json::members(text).find(|member| member.is_named("ref")) else {
        return Ok(Request { reference: None, message: json::read(text)? });
    };
    let Beside { reference } = serde_json::from_str(text)?;
    let rest = without(text, &member);
    let message = json::read(&rest).or_else(|error| {
        // A value without content, such as `()`, is no object.
        let is_empty = json::members(&rest).next().is_none();
        is_empty.then(|| serde_json::from_str("null").ok()).flatten().ok_or(error)
    })?;
    Ok(Request { reference, message })
}

/// Returns the text with blanks in the place of a member, so that errors name the right column.
fn without(text: &str, member: &json::Member<'_>) -> String {
    let (before, after) = (&text[..member.range.start], &text[member.range.end..]);
    let rest = after.trim_ascii_start();
    let blank = |text: &str| -> String {
        text.chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect()
    };
    let gap = blank(&text[member.range.clone()]);
    match (rest.strip_prefix(','), before.trim_ascii_end().strip_suffix(',')) {
        (Some(rest), _) => {
            let comma = &after[..after.len() - rest.len()];
            [before, &gap, &blank(&comma.replace(',', " ")), rest].concat()
        }
        (None, Some(kept)) => [kept, &blank(&before[kept.len()..]), &gap, after].concat(),
        (None, None) => [before, &gap, after].concat(),
    }
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
    use std::collections::BTreeMap;
    use std::net::IpAddr;

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

    fn reference(value: Value) -> Option<Ref> {
        serde_json::from_value(value).expect("a ref")
    }

    /// Messages that serde reads in each of its ways.
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", content = "payload", rename_all = "snake_case")]
    enum Wide {
        Scores(BTreeMap<u32, u32>),
        Big(u128),
        Texts(String, IpAddr),
        Nested(Vec<Wide>),
        Ping,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Numbers {
        big: i128,
        by_number: BTreeMap<i64, bool>,
        text: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Text { text: String },
        Number { number: f64 },
    }

    /// Checks that a request reads what its message reads, with the `ref` at any place.
    #[track_caller]
    fn accepts<M: DeserializeOwned + fmt::Debug + PartialEq>(members: &[&str]) {
        for order in [false, true] {
            let mut members = members.to_vec();
            if order {
                members.reverse();
            }
            let text = format!("{{{}}}", members.join(", "));
            let message: M = json::read(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let bare: Request<M> = serde_json::from_str(&text).expect("a request without a ref");
            assert_eq!(bare, Request { reference: None, message });
            for at in 0..=members.len() {
                let mut members = members.clone();
                members.insert(at, r#""ref" : "r,}""#);
                let text = format!(" {{ {} }} ", members.join(" ,\n"));
                let request: Request<M> =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(request.message, bare.message, "{text}");
                assert_eq!(request.reference, reference(json!("r,}")), "{text}");
            }
        }
    }

    #[test]
    fn a_request_reads_what_its_message_reads_in_any_order() {
        accepts::<Wide>(&[r#""type":"scores""#, r#""payload":{"1":2,"3":4}"#]);
        accepts::<Wide>(&[r#""type":"big""#, &format!(r#""payload":{}"#, u128::MAX)]);
        accepts::<Wide>(&[r#""type":"texts""#, r#""payload":["x","192.0.2.7"]"#]);
        accepts::<Wide>(&[r#""type":"ping""#]);
        accepts::<Wide>(&[
            r#""type":"nested""#,
            r#""payload":[{"payload":{"1":2},"type":"scores"},{"type":"ping"}]"#,
        ]);
        accepts::<Numbers>(&[
            &format!(r#""big":{}"#, i128::MIN),
            r#""by_number":{"-1":true}"#,
            r#""text":"}""#,
        ]);
        accepts::<Loose>(&[r#""number":1.5"#]);
        accepts::<Internal>(&[r#""type":"say""#, r#""text":"\",\"ref\":1""#]);
        accepts::<External>(&[r#""say":{"text":"hi"}"#]);
        accepts::<Value>(&[r#""a":1"#, r#""b":{"ref":2}"#]);
        accepts::<BTreeMap<u8, char>>(&[r#""1":"x""#, r#""2":"y""#]);
    }

    #[test]
    fn a_message_that_is_no_object_is_a_request_without_a_ref() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            Ping,
        }

        let request: Request<Word> = serde_json::from_str(r#""ping""#).expect("a variant");
        assert_eq!(request, Request { reference: None, message: Word::Ping });
        let request: Request<Vec<u8>> = serde_json::from_str("[1, 2]").expect("a list");
        assert_eq!(request, Request { reference: None, message: vec![1, 2] });
        let request: Request<()> = serde_json::from_str(r#"{"ref": 7}"#).expect("nothing");
        assert_eq!(request.reference, reference(json!(7)));
    }

    #[test]
    fn a_request_within_a_tagged_message_is_read_as_well() {
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        enum Outer {
            Do(Request<Plain>),
        }

        let text = r#"{"kind": "Do", "ref": 7, "text": "hi"}"#;
        let Outer::Do(request) = serde_json::from_str(text).expect("it fits");
        assert_eq!((request.reference, &*request.message.text), (reference(json!(7)), "hi"));
    }

    #[test]
    fn an_error_names_the_place_in_the_text_of_the_client() {
        let error = |text: &str| read::<Plain>(text).expect_err("it does not fit").to_string();
        let place = |text: &str| serde_json::from_str::<Plain>(text).expect_err("no").to_string();
        for text in
            [r#"{"ref": 7, "text": 1}"#, r#"{"text": 1, "ref": 7}"#, "{\"ref\":7,\n\"text\":1}"]
        {
            assert_eq!(error(text), place(text));
        }
    }

    #[test]
    fn a_ref_that_stands_twice_makes_the_message_invalid() {
        let error = read::<Plain>(r#"{"text": "hi", "ref": 1, "ref": 2}"#).expect_err("which?");
        assert!(error.to_string().contains("duplicate field `ref`"), "{error}");
    }
}
