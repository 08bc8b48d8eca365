//! JSON as it comes from elsewhere: its members in any order, and its `ref` where the rest is
//! broken.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "places in a text or in bytes that were found there before"
)]

mod members;
mod order;

use serde::de::DeserializeOwned;
use serde_json::Error;

pub(crate) use members::{Member, members};

/// Reads a value. The order of members does not matter: where a type cannot be read because its
/// content stands before its tag, it is read again with the tags first.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).or_else(|error| read_again(text, error))
}

/// Reads a value from bytes, as [`read`] does.
pub(crate) fn read_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Reads a value that could not be read with its members in the order that they have.
pub(crate) fn read_again<T: DeserializeOwned>(text: &str, error: Error) -> Result<T, Error> {
    let in_order = if error.is_data() { order::tags_first(text) } else { None };
    match in_order.map(|text| serde_json::from_str(&text)) {
        Some(Ok(value)) => Ok(value),
        // The first error is about the text as it came.
        _ => Err(error),
    }
}
