//! The author's struct as the bytes that the host keeps.
//!
//! MessagePack with field names: a field that the struct no longer has is ignored, and one that the
//! bytes do not have yet takes its `#[serde(default)]`. So a struct can grow and shrink from one
//! generation of a plugin to the next while its connections stay open.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};

/// A map without entries, and nil: the two forms of a struct without fields.
const EMPTY: [&[u8]; 2] = [&[0x80], &[0xc0]];

/// Encodes a connection's first session.
///
/// A type without any data is written as no bytes at all.
pub(crate) fn encode<C: Serialize>(session: &C) -> Result<Vec<u8>> {
    Ok(changed(session, &[])?.unwrap_or_default())
}

/// Encodes `session`; `None` if that gives `before` again. Nothing is allocated up to the first
/// byte that differs.
#[expect(clippy::indexing_slicing, reason = "no more can be the same than there was before")]
pub(crate) fn changed<C: Serialize>(session: &C, before: &[u8]) -> Result<Option<Vec<u8>>> {
    if size_of::<C>() == 0 {
        return Ok(None);
    }
    let mut difference = Difference { before, same: 0, bytes: None };
    rmp_serde::encode::write_named(&mut difference, session)
        .context("the session cannot be encoded as MessagePack")?;
    Ok(match difference.bytes {
        None if difference.same < before.len() => Some(before[..difference.same].to_vec()),
        bytes => bytes,
    })
}

/// Decodes a session.
///
/// No bytes stand for no fields: a session without data may get fields that have defaults. A type
/// without data reads nothing, so the bytes of an earlier generation do not matter.
pub(crate) fn decode<C: DeserializeOwned>(bytes: &[u8]) -> Result<C> {
    if bytes.is_empty() || size_of::<C>() == 0 {
        let [map, nil] = EMPTY;
        return rmp_serde::from_slice(nil)
            .or_else(|_| rmp_serde::from_slice(map))
            .context("the session is empty, and has fields without `#[serde(default)]`");
    }
    Ok(rmp_serde::from_slice(bytes)?)
}

/// A writer that compares its input with `before`, and keeps it from the first difference.
struct Difference<'a> {
    before: &'a [u8],
    same: usize,
    bytes: Option<Vec<u8>>,
}

impl Write for Difference<'_> {
    #[expect(clippy::indexing_slicing, reason = "no more can be the same than there was before")]
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
            prop_assert_eq!(changed(&before, &bytes).expect("it can be encoded"), None);
            let new = encode(&after).expect("it can be encoded");
            let expected = (new != bytes).then_some(new);
            prop_assert_eq!(changed(&after, &bytes).expect("it can be encoded"), expected);
        }

        #[test]
        fn a_session_is_compared_with_any_bytes(
            session in sessions(),
            before in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = encode(&session).expect("it can be encoded");
            let expected = (bytes != before).then_some(bytes);
            prop_assert_eq!(changed(&session, &before).expect("it can be encoded"), expected);
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
        assert_eq!(changed(&session, &bytes).expect("it can be encoded"), Some(exact));
    }
}
