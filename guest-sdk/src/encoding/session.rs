//! The author's struct as the bytes that the host keeps.
//!
//! MessagePack with field names: a field that the struct no longer has is ignored, and one that the
//! bytes do not have yet takes its `#[serde(default)]`. So a struct can grow and shrink from one
//! generation of a plugin to the next while its connections stay open.
//!
//! Types that have a form for people, such as addresses and UUIDs, are written in that form. serde
//! reads tagged, untagged and flattened types by way of a buffer, and reads them from that in the
//! form for people only. Sessions of plugins that were compiled with an earlier SDK have the other
//! form, so both are read.

use std::any::type_name;
use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};

use super::readback::{check, place_of_error};
use super::strict::{Checked, Rules};

/// Nil, and a map without entries: the two forms of a struct without fields.
const EMPTY: [&[u8]; 2] = [&[0xc0], &[0x80]];

/// Encodes a connection's first session, after a proof that it can be read back.
///
/// A type without any data is written as no bytes at all, if that can be read as the type.
pub(crate) fn encode<C>(session: &C) -> Result<Vec<u8>>
where
    C: Serialize + DeserializeOwned + 'static,
{
    Ok(changed("the session", session, &[])?.unwrap_or_default())
}

/// Encodes a session or a room's state, named `what` in errors; `None` if that gives `before`
/// again. Nothing is allocated up to the first byte that differs.
pub(crate) fn changed<C>(what: &str, value: &C, before: &[u8]) -> Result<Option<Vec<u8>>>
where
    C: Serialize + DeserializeOwned + 'static,
{
    if is_nothing::<C>() {
        return Ok(None);
    }
    let rules = Rules::of_session();
    let mut difference = Difference { before, same: 0, bytes: None };
    write(value, &rules, &mut difference).map_err(|error| {
        let place = rules.place().map(|place| format!(", field `{place}`")).unwrap_or_default();
        error.context(format_args!("{what} `{}`{place}", type_name::<C>()))
    })?;
    let changed = match difference.bytes {
        None if difference.same < before.len() => Some(before[..difference.same].to_vec()),
        bytes => bytes,
    };
    if let Some(bytes) = &changed {
        check::<C>(what, bytes)?;
    }
    Ok(changed)
}

/// Returns true for a type without data that is read from no bytes. An enum with one variant is
/// not: its name has to be written.
fn is_nothing<C: DeserializeOwned>() -> bool {
    size_of::<C>() == 0 && from_nothing::<C>().is_ok()
}

/// Encodes a value by rules of its own.
pub(super) fn encoded<C: Serialize + ?Sized>(value: &C, rules: &Rules) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(value, rules, &mut bytes)?;
    Ok(bytes)
}

fn write<C: Serialize + ?Sized>(value: &C, rules: &Rules, to: &mut impl Write) -> Result {
    let mut serializer = rmp_serde::Serializer::new(to).with_struct_map().with_human_readable();
    Ok(Checked(value, rules).serialize(&mut serializer)?)
}

/// Decodes a session.
///
/// No bytes stand for no fields: a session without data may get fields that have defaults. A type
/// without data reads nothing, so the bytes of an earlier generation do not matter.
pub(crate) fn decode<C: DeserializeOwned>(bytes: &[u8]) -> Result<C> {
    if bytes.is_empty() {
        return from_nothing()
            .context("the session is empty, and has fields without `#[serde(default)]`");
    }
    let read = read_bytes(bytes);
    match size_of::<C>() {
        0 => read.or_else(|error| from_nothing().map_err(|_| error)),
        _ => read,
    }
}

/// Decodes a value from its bytes alone.
pub(super) fn read_bytes<C: DeserializeOwned>(bytes: &[u8]) -> Result<C> {
    let mut readable = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    // An earlier SDK wrote the form for machines.
    let read = C::deserialize(&mut readable);
    read.or_else(|error| rmp_serde::from_slice(bytes).map_err(|_| Error::from(error)))
}

fn from_nothing<C: DeserializeOwned>() -> Result<C> {
    let [nil, map] = EMPTY;
    rmp_serde::from_slice(nil).or_else(|_| rmp_serde::from_slice(map)).map_err(Error::from)
}

/// Adds to the error of [`decode`] the cause, and its remedy.
pub(crate) fn explained<C: DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    error: Error,
    generation: u64,
) -> Error {
    let place = match place_of_error::<C>(bytes) {
        place if place.is_empty() => String::new(),
        place => format!(", field `{place}`"),
    };
    let own = "this generation itself wrote it, as a value that its type does not read back";
    let remedy = match generation {
        0 | 1 => own.to_owned(),
        _ => format!(
            "if an earlier generation wrote it, give new fields `#[serde(default)]`, and new types \
             to fields under new names only; otherwise {own}"
        ),
    };
    error.context(format_args!("{what} does not fit `{}`{place} ({remedy})", type_name::<C>()))
}

/// A writer that compares its input with `before`, and keeps it from the first difference.
struct Difference<'a> {
    before: &'a [u8],
    same: usize,
    bytes: Option<Vec<u8>>,
}

impl Write for Difference<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Some(bytes) => bytes.extend_from_slice(written),
            None if self.before[self.same..].starts_with(written) => self.same += written.len(),
            None => {
                let mut bytes = Vec::with_capacity(self.before.len() + written.len() + 32);
                bytes.extend_from_slice(&self.before[..self.same]);
                bytes.extend_from_slice(written);
                self.bytes = Some(bytes);
            }
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Session {
        name: String,
        count: u64,
        tags: Vec<String>,
        state: State,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum State {
        Idle,
        Busy { with: Option<i32> },
    }

    fn sessions() -> impl Strategy<Value = Session> {
        let state = prop_oneof![
            Just(State::Idle),
            any::<Option<i32>>().prop_map(|with| State::Busy { with }),
        ];
        (any::<String>(), any::<u64>(), proptest::collection::vec(any::<String>(), 0..4), state)
            .prop_map(|(name, count, tags, state)| Session { name, count, tags, state })
    }

    proptest! {
        #[test]
        fn a_session_comes_back_as_it_was(session in sessions()) {
            let bytes = encode(&session).expect("it can be encoded");
            prop_assert_eq!(decode::<Session>(&bytes).expect("it can be decoded"), session);
        }

        #[test]
        fn only_a_session_that_changed_is_written(before in sessions(), after in sessions()) {
            let bytes = encode(&before).expect("it can be encoded");
            prop_assert_eq!(changed("it", &before, &bytes).expect("it can be encoded"), None);
            let new = encode(&after).expect("it can be encoded");
            let expected = (new != bytes).then_some(new);
            prop_assert_eq!(changed("it", &after, &bytes).expect("it can be encoded"), expected);
        }

        #[test]
        fn a_session_is_compared_with_any_bytes(
            session in sessions(),
            before in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = encode(&session).expect("it can be encoded");
            let expected = (bytes != before).then_some(bytes);
            prop_assert_eq!(changed("it", &session, &before).expect("it can be encoded"), expected);
        }

        #[test]
        fn bytes_that_are_no_session_are_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = decode::<Session>(&bytes);
        }
    }

    #[test]
    fn bytes_that_begin_with_the_session_are_other_bytes() {
        let session = Session { name: "x".into(), count: 1, tags: vec![], state: State::Idle };
        let mut bytes = encode(&session).expect("it can be encoded");
        let exact = bytes.clone();
        bytes.push(0);
        assert_eq!(changed("it", &session, &bytes).expect("it can be encoded"), Some(exact));
    }
}
