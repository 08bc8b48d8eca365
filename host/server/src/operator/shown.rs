//! Bytes that a channel has kept, as the operator sees them: JSON where they are it, otherwise text or
//! base64, without the channel's secrets.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use wharf_config::Secrets;
use wharf_contract::hidden::HIDDEN;

/// Largest number of bytes that are shown. Of more, only the size is.
const MAX_SHOWN_BYTES: usize = 1024 * 1024;

/// Largest number of values in MessagePack that are shown as JSON: each may take a hundred times its size.
const MAX_VALUES: usize = 64 * 1024;

/// Largest depth of such values.
const MAX_DEPTH: usize = 100;

/// Adds a session or a state: MessagePack, as the SDK writes it, or what a payload may be.
pub(super) fn add_saved(object: &mut Map<String, Value>, bytes: &[u8], secrets: &Secrets) {
    let decoded = if bytes.is_empty() { Some(Value::Null) } else { read(bytes) };
    add(object, bytes, decoded, secrets);
}

/// Adds the payload of an event or a value of the store: JSON, as the SDK writes it, text, or anything.
pub(super) fn add_written(object: &mut Map<String, Value>, bytes: &[u8], secrets: &Secrets) {
    add(object, bytes, None, secrets);
}

fn add(object: &mut Map<String, Value>, bytes: &[u8], decoded: Option<Value>, secrets: &Secrets) {
    let (field, value) = if bytes.len() > MAX_SHOWN_BYTES {
        ("too_big", Value::Bool(true))
    } else if let Some(json) = decoded.or_else(|| serde_json::from_slice(bytes).ok()) {
        ("json", without_secrets(json, secrets))
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        ("text", hidden(text, secrets).into())
    } else {
        // Secrets are texts, and are looked for in the parts that are text.
        let text = String::from_utf8_lossy(bytes);
        match secrets.hide(&text, usize::MAX) == text {
            true => ("binary", STANDARD.encode(bytes).into()),
            false => ("binary", HIDDEN.into()),
        }
    };
    object.insert(field.to_owned(), value);
}

fn hidden(text: &str, secrets: &Secrets) -> String {
    secrets.hide(text, usize::MAX).into_owned()
}

/// Returns the value without secrets. Its depth is bounded by those who have read it.
fn without_secrets(value: Value, secrets: &Secrets) -> Value {
    if secrets.longest() == 0 {
        return value;
    }
    match value {
        Value::String(text) => hidden(&text, secrets).into(),
        Value::Array(values) => {
            values.into_iter().map(|value| without_secrets(value, secrets)).collect()
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (hidden(&name, secrets), without_secrets(value, secrets)))
            .collect(),
        Value::Number(number) => {
            // A secret may be a number.
            let written = number.to_string();
            let shown = hidden(&written, secrets);
            if shown == written { Value::Number(number) } else { shown.into() }
        }
        value => value,
    }
}

/// Reads MessagePack; `None` if it is not, or not all of it, or has too many values.
fn read(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let mut left = MAX_VALUES;
    let value = Generic { left: &mut left }.deserialize(&mut deserializer).ok()?;
    drop(deserializer);
    rest.is_empty().then_some(value)
}

/// Any value, as JSON. Keys that are numbers become texts, as serde_json writes them, and bytes become
/// base64.
struct Generic<'a> {
    /// Values that may still be read.
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Generic<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Generic<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f32<E>(self, value: f32) -> Result<Value, E> {
        // The digits of the shorter type, such as 0.1.
        Ok(value.to_string().parse::<Number>().map_or(Value::Null, Value::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(STANDARD.encode(value).into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        self.deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Generic { left: &mut *self.left })? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key_seed(Generic { left: &mut *self.left })? {
            let name = match key {
                Value::String(name) => name,
                Value::Number(_) | Value::Bool(_) => key.to_string(),
                _ => return Err(A::Error::custom("a key that is no text")),
            };
            let value = map.next_value_seed(Generic { left: &mut *self.left })?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("two keys that are one text"));
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use wharf_config::{Secret, SecretOrigin};

    fn saved(bytes: &[u8]) -> Value {
        let mut object = Map::new();
        add_saved(&mut object, bytes, &secrets());
        object.into()
    }

    fn written(bytes: &[u8]) -> Value {
        let mut object = Map::new();
        add_written(&mut object, bytes, &secrets());
        object.into()
    }

    fn secrets() -> Secrets {
        let secret = |value: &str| Secret::new(value, SecretOrigin::Plain);
        let both = [("key", secret("hunter22")), ("pin", secret("123456"))];
        both.into_iter().map(|(name, secret)| (name.to_owned(), secret)).collect()
    }

    fn packed(value: &impl serde::Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
        value.serialize(&mut to).expect("it can be written");
        bytes
    }

    #[test]
    fn what_the_sdk_keeps_is_shown_as_json() {
        let board = std::collections::BTreeMap::from([(7_u64, ("ann", Some(0.5_f32), -1_i8))]);
        assert_eq!(saved(&packed(&board)), json!({ "json": { "7": ["ann", 0.5, -1] } }));
        assert_eq!(
            saved(&packed(&json!({ "a": [null, true] }))),
            json!({ "json": { "a": [null, true] } })
        );
        assert_eq!(saved(b""), json!({ "json": null }));
        assert_eq!(saved(&packed(&0.1_f32)), json!({ "json": 0.1 }));
        assert_eq!(saved(&[0x81, 0xa1, b'b', 0xc4, 2, 1, 2]), json!({ "json": { "b": "AQI=" } }));
    }

    #[test]
    fn what_other_plugins_keep_is_shown_as_what_it_is() {
        assert_eq!(saved(br#"{"a": 1}"#), json!({ "json": { "a": 1 } }));
        assert_eq!(saved(b"plain words"), json!({ "text": "plain words" }));
        assert_eq!(saved(&[0xc1, 0xff]), json!({ "binary": "wf8=" }));
        assert_eq!(written(b"[1"), json!({ "text": "[1" }));
        assert_eq!(written(b"12"), json!({ "json": 12 }));
        assert_eq!(written(b""), json!({ "text": "" }));
    }

    #[test]
    fn what_is_too_much_is_named_only() {
        assert_eq!(saved(&vec![b'x'; MAX_SHOWN_BYTES + 1]), json!({ "too_big": true }));
        let mut many = vec![0xdd, 0, 2, 0, 0];
        many.extend(vec![0xc0; 0x2_0000]);
        assert!(saved(&many)["binary"].is_string(), "more values than are shown as JSON");
        let deep: Vec<u8> = std::iter::repeat_n(0x91, 100_000).chain([0xc0]).collect();
        assert!(saved(&deep)["binary"].is_string());
    }

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let state = json!({ "hunter22": ["my hunter22", 123_456, 7] });
        let shown = json!({ "json": { "***": ["my ***", "***", 7] } });
        assert_eq!(
            (saved(&packed(&state)), written(state.to_string().as_bytes())),
            (shown.clone(), shown)
        );
        assert_eq!(written(b"a hunter22"), json!({ "text": "a ***" }));
        assert_eq!(written(b"\xff hunter22"), json!({ "binary": "***" }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown(bytes: Vec<u8>) {
            let shown = saved(&bytes);
            prop_assert_eq!(shown.as_object().map(Map::len), Some(1));
        }
    }
}
