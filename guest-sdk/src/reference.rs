//! The name that a client gives to a message.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::json;

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

/// Returns the `ref` of a message that could not be read, also if it is not JSON in other places.
/// Of several the last one counts, as for most readers of JSON.
pub(crate) fn reference_in(text: &str) -> Option<Ref> {
    let member = json::members(text).filter(|member| member.is_named("ref")).last()?;
    let is_whole = member.is_followed || member.value.starts_with('"');
    serde_json::from_str::<Option<Ref>>(member.value).ok().flatten().filter(|_| is_whole)
}

/// Returns an error for a client, as the answer to its message if it is one.
pub(crate) fn in_reply_to(reference: Option<&Ref>, mut error: Map<String, Value>) -> Value {
    if let Some(reference) = reference {
        error.insert("ref".to_owned(), json!(reference));
        error.insert("status".to_owned(), json!("error"));
    }
    Value::Object(error)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_ref_is_read_beside_what_is_not_json() {
        for (text, reference) in [
            (r#"{"type":"buy","payload":{"tea":"green\ud83d","cups":1},"ref":7}"#, json!(7)),
            (r#"{"ref":7,"type":"buy","payload":{"cups":01}}"#, json!(7)),
            (r#"{"ref":"a","type":"buy"} and more"#, json!("a")),
            (r#"{"payload":[1,},"ref":-7,}"#, json!(-7)),
            (r#"{"ref":"whole""#, json!("whole")),
            (r#"{"ref":1,"ref":2"#, json!(null)),
            (r#"{"ref":1,"ref":2,"#, json!(2)),
            (r#"{"ref":12"#, json!(null)),
            (r#"{"ref":01}"#, json!(null)),
            (r#"{"ref":"\ud83d"}"#, json!(null)),
            (r#"{"payload":{"ref":7}}"#, json!(null)),
            (r#"{"payload":{"ref":7}"#, json!(null)),
        ] {
            assert_eq!(json!(reference_in(text)), reference, "{text}");
        }
    }
}
