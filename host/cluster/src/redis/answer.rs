//! The answers of scripts. None of them is trusted.

use bytes::Bytes;
use redis::Value;

use crate::error::Unavailable;

/// Returns the items of an array.
pub(super) fn array(value: Value) -> Result<Vec<Value>, Unavailable> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(Unavailable::damaged("an answer of Redis")),
    }
}

/// Returns exactly so many items of an array; `None` if it is empty.
pub(super) fn items<const N: usize>(value: Value) -> Result<Option<[Value; N]>, Unavailable> {
    let items = array(value)?;
    if items.is_empty() {
        return Ok(None);
    }
    let items = <[Value; N]>::try_from(items);
    items.map(Some).map_err(|_| Unavailable::damaged("an answer of Redis"))
}

/// Returns exactly so many items of an array.
pub(super) fn all_items<const N: usize>(value: Value) -> Result<[Value; N], Unavailable> {
    items(value)?.ok_or_else(|| Unavailable::damaged("an answer of Redis"))
}

/// Returns bytes.
pub(super) fn bytes(value: Value) -> Result<Bytes, Unavailable> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(Unavailable::damaged("an answer of Redis")),
    }
}

/// Returns a text.
pub(super) fn text(value: Value) -> Result<String, Unavailable> {
    let bytes = bytes(value)?;
    String::from_utf8(bytes.into()).map_err(|_| Unavailable::damaged("an answer of Redis"))
}

/// Returns a number that is one, or is written in a text.
pub(super) fn number<N: std::str::FromStr + TryFrom<i64>>(value: Value) -> Result<N, Unavailable> {
    let number = match value {
        Value::Int(number) => N::try_from(number).ok(),
        other => text(other)?.parse().ok(),
    };
    number.ok_or_else(|| Unavailable::damaged("a number of Redis"))
}
