//! The author's struct as the bytes that the host keeps.
//!
//! MessagePack with field names: a field that the struct no longer has is passed over, and one
//! that the bytes do not have yet takes its `#[serde(default)]`. So a struct can grow and shrink
//! from one generation of a plugin to the next while its connections stay open.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};

/// A map without entries, and nothing: what a struct without fields may be written as.
const EMPTY: [&[u8]; 2] = [&[0x80], &[0xc0]];

/// Encodes a connection's first session.
///
/// A type without any data is written as no bytes at all.
pub(crate) fn encode<C: Serialize>(session: &C) -> Result<Vec<u8>> {
    Ok(changed(session, &[])?.unwrap_or_default())
}

/// Encodes `session` unless that gives `before` again: `None` is unchanged. Nothing is allocated
/// up to the first byte that differs.
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
/// No bytes stand for no fields: a session without data may grow fields that have defaults. And a
/// type without data has nothing to read, whatever an earlier generation wrote.
pub(crate) fn decode<C: DeserializeOwned>(bytes: &[u8]) -> Result<C> {
    if bytes.is_empty() || size_of::<C>() == 0 {
        let [map, nil] = EMPTY;
        return rmp_serde::from_slice(nil)
            .or_else(|_| rmp_serde::from_slice(map))
            .context("the session is empty, and has fields without `#[serde(default)]`");
    }
    Ok(rmp_serde::from_slice(bytes)?)
}

/// Compares what is written with what was there before, and keeps it from the first difference.
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
