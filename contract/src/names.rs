//! The names that plugins give: checks of their length.

use crate::refusal::CallRefusal;

/// The package of the SDK, whose crate authors call `wharf`.
pub const SDK_PACKAGE: &str = "wharf-sdk";

/// Longest name of a room, id of a user and key of presence, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest name of a label, in bytes.
pub(crate) const MAX_LABEL_NAME_BYTES: usize = 64;
/// Longest value of a label, in bytes.
pub(crate) const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Largest number of labels of one connection.
pub const MAX_LABELS: usize = 16;
/// Longest name of a timer, in bytes.
pub(crate) const MAX_TIMER_NAME_BYTES: usize = 64;
/// Longest `ref` of a message that is carried on, as JSON, in bytes.
pub(crate) const MAX_REFERENCE_BYTES: usize = 1024;
/// Longest name of a rate limit, in bytes.
pub(crate) const MAX_RATE_LIMIT_NAME_BYTES: usize = 64;
/// Longest key of the store, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 512;
/// Longest name of a channel, in bytes.
pub const MAX_CHANNEL_NAME_BYTES: usize = 64;

/// Checks a room's name.
///
/// # Errors
///
/// `room-name-invalid`.
pub fn check_room(name: &str) -> Result<(), CallRefusal> {
    match name.len() {
        0 => Err(CallRefusal::RoomNameEmpty),
        1..=MAX_NAME_BYTES => Ok(()),
        bytes => Err(CallRefusal::RoomNameTooLong { bytes }),
    }
}

/// Checks a user's id.
///
/// # Errors
///
/// `user-id-invalid`.
pub fn check_user(id: &str) -> Result<(), CallRefusal> {
    match id.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        bytes => Err(CallRefusal::UserIdInvalid { bytes }),
    }
}

/// Checks a presence's key.
///
/// # Errors
///
/// `presence-key-invalid`.
pub fn check_presence_key(key: &str) -> Result<(), CallRefusal> {
    match key.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        bytes => Err(CallRefusal::PresenceKeyInvalid { bytes }),
    }
}

/// Checks a label of a connection, or one that a broadcast requires.
///
/// # Errors
///
/// `label-invalid`.
pub fn check_label(name: &str, value: &str) -> Result<(), CallRefusal> {
    if !(1..=MAX_LABEL_NAME_BYTES).contains(&name.len()) {
        return Err(CallRefusal::LabelNameInvalid { bytes: name.len() });
    }
    if value.len() > MAX_LABEL_VALUE_BYTES {
        return Err(CallRefusal::LabelValueInvalid { bytes: value.len() });
    }
    Ok(())
}

/// Checks a timer's name.
///
/// # Errors
///
/// `timer-name-invalid`.
pub fn check_timer(name: &str) -> Result<(), CallRefusal> {
    match name.len() {
        1..=MAX_TIMER_NAME_BYTES => Ok(()),
        bytes => Err(CallRefusal::TimerNameInvalid { bytes }),
    }
}

/// Checks the `ref` of a message, as JSON.
///
/// # Errors
///
/// `reference-too-long`.
pub fn check_reference(reference: &str) -> Result<(), CallRefusal> {
    match reference.len() {
        ..=MAX_REFERENCE_BYTES => Ok(()),
        bytes => Err(CallRefusal::ReferenceTooLong { bytes }),
    }
}

/// Checks a rate limit's name.
///
/// # Errors
///
/// `rate-limit-name-invalid`.
pub fn check_rate_limit(name: &str) -> Result<(), CallRefusal> {
    match name.len() {
        1..=MAX_RATE_LIMIT_NAME_BYTES => Ok(()),
        bytes => Err(CallRefusal::RateLimitNameInvalid { bytes }),
    }
}

/// Checks a key of the store.
///
/// # Errors
///
/// `store-key-invalid`.
pub fn check_key(key: &str) -> Result<(), CallRefusal> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        bytes => Err(CallRefusal::StoreKeyInvalid { bytes }),
    }
}

/// Checks the beginning of a key of the store.
///
/// # Errors
///
/// `store-key-invalid`.
pub fn check_prefix(prefix: &str) -> Result<(), CallRefusal> {
    match prefix.len() {
        0..=MAX_KEY_BYTES => Ok(()),
        bytes => Err(CallRefusal::StorePrefixInvalid { bytes }),
    }
}

/// Returns true if a text can be the name of a channel, which is the name of its file without
/// `.wasm`.
pub fn is_channel(name: &str) -> bool {
    let is_name = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=MAX_CHANNEL_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_name)
}

/// Returns the number of characters that must be inserted, removed or replaced to make one from the
/// other.
pub fn distance(one: &str, other: &str) -> usize {
    // A key as long as a file must not cost the square of its length.
    let one = one.chars().take(64);
    // The letters of `one`, each with the distance of `one` up to it from the part of `other` so far.
    let mut row: Vec<(char, usize)> = one.zip(1..).collect();
    for (index, target) in other.chars().enumerate() {
        let (mut diagonal, mut left) = (index, index + 1);
        for (letter, place) in &mut row {
            let replaced = diagonal + usize::from(*letter != target);
            diagonal = *place;
            left = replaced.min(diagonal + 1).min(left + 1);
            *place = left;
        }
    }
    row.last().map_or_else(|| other.chars().count(), |(_, distance)| *distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_byte_at_least_and_as_many_as_they_may() {
        let long = |bytes| "n".repeat(bytes);
        assert_eq!(check_room(&long(255)), Ok(()));
        assert_eq!(check_room(""), Err(CallRefusal::RoomNameEmpty));
        assert_eq!(check_room(&long(256)), Err(CallRefusal::RoomNameTooLong { bytes: 256 }));
        assert_eq!(check_user(&long(255)), Ok(()));
        assert_eq!(check_user(""), Err(CallRefusal::UserIdInvalid { bytes: 0 }));
        assert_eq!(
            check_presence_key(&long(256)),
            Err(CallRefusal::PresenceKeyInvalid { bytes: 256 })
        );
        assert_eq!(check_label(&long(64), &long(255)), Ok(()));
        assert_eq!(check_label("", "x"), Err(CallRefusal::LabelNameInvalid { bytes: 0 }));
        assert_eq!(
            check_label("x", &long(256)),
            Err(CallRefusal::LabelValueInvalid { bytes: 256 })
        );
        assert_eq!(check_timer(&long(64)), Ok(()));
        assert_eq!(check_timer(&long(65)), Err(CallRefusal::TimerNameInvalid { bytes: 65 }));
        assert_eq!(check_rate_limit(&long(64)), Ok(()));
        let too_long = CallRefusal::RateLimitNameInvalid { bytes: 65 };
        assert_eq!(check_rate_limit(&long(65)), Err(too_long));
        assert_eq!(check_rate_limit(""), Err(CallRefusal::RateLimitNameInvalid { bytes: 0 }));
        assert_eq!(check_key(&long(512)), Ok(()));
        assert_eq!(check_key(""), Err(CallRefusal::StoreKeyInvalid { bytes: 0 }));
        assert_eq!(check_prefix(""), Ok(()));
        assert_eq!(check_prefix(&long(513)), Err(CallRefusal::StorePrefixInvalid { bytes: 513 }));
    }

    #[test]
    fn a_channels_name_is_made_of_a_few_characters() {
        for name in ["chat", "my-chat", "room_101", &"n".repeat(64)] {
            assert!(is_channel(name), "{name}");
        }
        for name in ["", "Chat", "a b", "é", "a/b", &"n".repeat(65)] {
            assert!(!is_channel(name), "{name}");
        }
    }
}
