//! The payloads of notices, room events and timers, and the values of the store.
//!
//! They are JSON, which a person can read. A payload whose maps have keys other than text is kept
//! as MessagePack as well: serde takes such a key from JSON as text where it keeps a value before
//! it knows its type.

#![allow(clippy::cmp_owned, reason = "a value is compared as its text")]

use std::any::type_name;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::backend;
use crate::error::{Context, Error, Result};
use crate::json;

use super::session::{encoded, read_bytes};
use super::strict::{Checked, Rules};
use super::tree::parse;

/// First byte of a payload in both forms, which is the start of no JSON and no MessagePack. The
/// length of the MessagePack in four bytes follows, then the MessagePack, then the JSON.
const BOTH_FORMS: u8 = 0xc1;

/// Reads a payload, to see if that is possible.
pub(crate) type Read = fn(&[u8]) -> Result;

/// The readers of a channel's posted events; `None` where the channel handles none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Readers {
    pub(crate) notice: Option<Read>,
    pub(crate) room_event: Option<Read>,
}

impl Readers {
    /// Returns those of a channel.
    pub(crate) const fn of<C: crate::Channel>() -> Self {
        let exports = C::__WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL;
        Self {
            notice: if exports.notice_events { Some(can_read::<C::Notice>) } else { None },
            room_event: if exports.room_events { Some(can_read::<C::RoomEvent>) } else { None },
        }
    }
}

/// Checks that a payload is a `T`.
pub(super) fn can_read<T: DeserializeOwned>(payload: &[u8]) -> Result {
    decode::<T>(payload).map(drop).with_context(|| format!("it is no `{}`", type_name::<T>()))
}

/// Encodes the payload of a notice, which the channel's own `on_notify` will read.
pub(crate) fn notice<T: Serialize + ?Sized>(notice: &T) -> Result<Vec<u8>> {
    posted("the notice", notice, backend::readers().notice)
}

/// Encodes the payload of a room's event, which the channel's own `on_room_event` will read.
pub(crate) fn room_event<T: Serialize + ?Sized>(event: &T) -> Result<Vec<u8>> {
    posted("the event", event, backend::readers().room_event)
}

pub(super) fn posted<T: Serialize + ?Sized>(
    what: &str,
    value: &T,
    reader: Option<Read>,
) -> Result<Vec<u8>> {
    let payload = encode(what, value)?;
    if let Some(read) = reader {
        read(&payload).with_context(|| format!("{what} would not be read back"))?;
    }
    Ok(payload)
}

/// Encodes a payload, named `what` in errors.
pub(crate) fn encode<T: Serialize + ?Sized>(what: &str, payload: &T) -> Result<Vec<u8>> {
    let (json, rules) = as_json(what, payload)?;
    if !rules.saw_other_keys() {
        return Ok(json);
    }
    let binary = encoded(payload, &Rules::default())?;
    let len = u32::try_from(binary.len()).context("a payload of 4 GiB")?;
    Ok([&[BOTH_FORMS][..], &len.to_be_bytes(), &binary, &json].concat())
}

/// Decodes a payload.
pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    let [BOTH_FORMS, a, b, c, d, both @ ..] = payload else {
        return Ok(json::read_bytes(payload)?);
    };
    let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    let (binary, json) = both.split_at_checked(len).context("the payload is cut off")?;
    // A reader with another type than was written, such as a `Value`, reads the JSON.
    read_bytes(binary).or_else(|error| json::read_bytes(json).map_err(|_| error))
}

/// Encodes a value of the store, named `what` in errors.
pub(crate) fn to_json<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Vec<u8>> {
    as_json(what, value).map(|(json, _)| json)
}

fn as_json<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<(Vec<u8>, Rules)> {
    let rules = Rules::of_json();
    let written = serde_json::to_vec(&Checked(value, &rules));
    let json = written.with_context(|| {
        let place = rules.place().map(|place| format!(", field `{place}`")).unwrap_or_default();
        format!("{what} `{}`{place} cannot be written as JSON", type_name::<T>())
    })?;
    Ok((json, rules))
}

/// Decodes a value of the store.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    json::read_bytes(json).or_else(|error| {
        let keyed = serde_json::from_slice(json).ok().as_ref().and_then(scalar_keys);
        keyed.and_then(|bytes| read_bytes(&bytes).ok()).ok_or_else(|| Error::from(error))
    })
}

/// Checks that a value that was written as JSON is read back.
pub(crate) fn check_json<T: Serialize + DeserializeOwned>(what: &str, json: &[u8]) -> Result {
    let refused = |why: &dyn std::fmt::Display| {
        Error::msg(format_args!("{what} `{}` would not be read back: {why}", type_name::<T>()))
    };
    let read: T = from_json(json).map_err(|error| refused(&error))?;
    let again = to_json(what, &read)?;
    let bytes = |json: &[u8]| {
        let value: Value = serde_json::from_slice(json)?;
        encoded(&value, &Rules::default())
    };
    let (one, other) = (bytes(json)?, bytes(&again)?);
    match parse(&one).zip(parse(&other)).and_then(|(one, other)| one.first_loss(&other)) {
        None => Ok(()),
        Some(place) => Err(refused(&format_args!("its field `{}` is lost", place.join(".")))),
    }
}

/// Returns a value as MessagePack in which keys that are whole numbers or truth values are such;
/// `None` if it has no such keys.
fn scalar_keys(value: &Value) -> Option<Vec<u8>> {
    has_scalar_keys(value).then(|| encoded(&ScalarKeys(value), &Rules::default()).ok()).flatten()
}

/// Returns the number or the truth value that a key was before it was written as JSON.
fn scalar(key: &str) -> Option<Value> {
    let scalar: Value = serde_json::from_str(key).ok()?;
    ((scalar.is_i64() || scalar.is_u64() || scalar.is_boolean()) && scalar.to_string() == key)
        .then_some(scalar)
}

fn has_scalar_keys(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(key, value)| scalar(key).is_some() || has_scalar_keys(value))
        }
        Value::Array(elements) => elements.iter().any(has_scalar_keys),
        _ => false,
    }
}

struct ScalarKeys<'v>(&'v Value);

impl Serialize for ScalarKeys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match self.0 {
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    match scalar(key) {
                        Some(scalar) => map.serialize_entry(&scalar, &ScalarKeys(value))?,
                        None => map.serialize_entry(key, &ScalarKeys(value))?,
                    }
                }
                map.end()
            }
            Value::Array(elements) => serializer.collect_seq(elements.iter().map(ScalarKeys)),
            value => value.serialize(serializer),
        }
    }
}
