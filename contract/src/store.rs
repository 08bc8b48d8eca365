//! The rules of a channel's key-value store, for every backend.

use std::time::Duration;

use crate::refusal::CallRefusal;

/// Largest number of keys on one page of a list.
pub const MAX_PAGE: usize = 1000;

/// Size of an entry beside its key and its value, in bytes.
pub const ENTRY_OVERHEAD: usize = 160;

/// Returns the bytes that an entry counts for.
pub const fn entry_bytes(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_OVERHEAD
}

/// Checks the size of a value; `limit` is `max_store_value_bytes`.
///
/// # Errors
///
/// `store-value-too-big`.
pub fn check_value(value: &[u8], limit: usize) -> Result<(), CallRefusal> {
    match value.len() {
        bytes if bytes > limit => Err(CallRefusal::StoreValueTooBig { bytes, limit }),
        _ => Ok(()),
    }
}

/// Reads a time to live, in milliseconds.
///
/// # Errors
///
/// `store-ttl-invalid`.
pub fn time_to_live(milliseconds: Option<u64>) -> Result<Option<Duration>, CallRefusal> {
    match milliseconds {
        Some(0) => Err(CallRefusal::StoreTtlInvalid),
        other => Ok(other.map(Duration::from_millis)),
    }
}

/// Parses the number in a value.
///
/// # Errors
///
/// `store-not-a-number`.
pub fn number(value: &[u8]) -> Result<i64, CallRefusal> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(CallRefusal::StoreNotANumber)
}

/// Adds to a number.
///
/// # Errors
///
/// `store-overflow`.
pub fn sum(number: i64, by: i64) -> Result<i64, CallRefusal> {
    number.checked_add(by).ok_or(CallRefusal::StoreOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_times_to_live_are_checked() {
        assert_eq!(check_value(&[0; 5], 5), Ok(()));
        let too_big = CallRefusal::StoreValueTooBig { bytes: 6, limit: 5 };
        assert_eq!(check_value(&[0; 6], 5), Err(too_big));
        assert_eq!(time_to_live(None), Ok(None));
        assert_eq!(time_to_live(Some(1)), Ok(Some(Duration::from_millis(1))));
        assert_eq!(time_to_live(Some(0)), Err(CallRefusal::StoreTtlInvalid));
    }

    #[test]
    fn a_counter_is_a_decimal_number_of_64_bits() {
        assert_eq!(number(b"-7"), Ok(-7));
        for value in [&b""[..], b"7 ", b"\xff", b"9223372036854775808"] {
            assert_eq!(number(value), Err(CallRefusal::StoreNotANumber), "{value:?}");
        }
        assert_eq!(sum(i64::MAX, 1), Err(CallRefusal::StoreOverflow));
    }
}
