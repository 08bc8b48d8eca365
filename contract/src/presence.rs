//! Who is present in a room: what the list takes, and what its watchers are sent.

use std::borrow::Borrow;
use std::time::Duration;

use crate::refusal::CallRefusal;

/// The default of `presence_interval_ms`: the time from a change to the message that tells of it.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
/// The default of `presence_grace_ms`: the time that an entry stays after its last connection.
pub const DEFAULT_GRACE: Duration = Duration::from_millis(2_000);

/// Keys on one page of a list.
pub const MAX_PAGE: u32 = 1000;

/// Bytes that an entry takes beside its key, and each connection behind it beside its metadata.
pub const OVERHEAD: usize = 32;

/// Returns the bytes that a key takes, without what its connections say of themselves.
pub fn key_bytes(key: &str) -> usize {
    quoted(key).len() + OVERHEAD
}

/// Returns the bytes that a connection's metadata takes.
pub const fn meta_bytes(meta: &str) -> usize {
    meta.len() + OVERHEAD
}

/// Returns the most bytes that a key and one connection's metadata add to a list.
pub fn charge(key: &str, meta: &str) -> usize {
    key_bytes(key) + meta_bytes(meta)
}

/// The room that lists have for what an event tracks.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Bytes of the room's list, without what the connection itself takes in it.
    pub in_room: usize,
    /// Bytes of all lists of the channel, without what the connection itself takes in the room and
    /// with what the event tracks in other rooms.
    pub in_channel: usize,
    /// Bytes that the connection takes in the room already.
    pub own: usize,
}

impl Space {
    /// Checks that so many bytes fit. An entry that does not grow is accepted even if a list is over
    /// its limit. The limits are `max_room_presence_bytes` and `max_channel_presence_bytes`.
    ///
    /// # Errors
    ///
    /// `presence-full`.
    pub fn check(
        self,
        bytes: usize,
        max_room_presence_bytes: usize,
        max_channel_presence_bytes: usize,
    ) -> Result<(), CallRefusal> {
        for (taken, limit, setting) in [
            (self.in_room, max_room_presence_bytes, "max_room_presence_bytes"),
            (self.in_channel, max_channel_presence_bytes, "max_channel_presence_bytes"),
        ] {
            if bytes > self.own && taken.saturating_add(bytes) > limit {
                return Err(CallRefusal::PresenceFull { taken, setting, limit });
            }
        }
        Ok(())
    }
}

/// Checks the size of what a connection says of itself; `limit` is `max_presence_bytes`.
///
/// # Errors
///
/// `metadata-too-big`.
pub fn check_metadata(metadata: &str, limit: usize) -> Result<(), CallRefusal> {
    match metadata.len() {
        bytes if bytes > limit => Err(CallRefusal::MetadataTooBig { bytes, limit }),
        _ => Ok(()),
    }
}

/// Writes the message for a new watcher: the whole list.
pub fn state_message<'a, M: Borrow<str> + 'a>(
    room: &str,
    sequence: u64,
    present: impl Iterator<Item = (&'a str, &'a [M])>,
) -> String {
    let mut text = beginning("presence_state", room, sequence);
    text.push_str(r#","present":{"#);
    write_entries(&mut text, present);
    text.push_str("}}");
    text
}

/// Writes the message for watchers about what has changed.
pub fn diff_message<'a, M: Borrow<str> + 'a>(
    room: &str,
    sequence: u64,
    joins: impl Iterator<Item = (&'a str, &'a [M])>,
    leaves: impl Iterator<Item = &'a str>,
) -> String {
    let mut text = beginning("presence_diff", room, sequence);
    text.push_str(r#","joins":{"#);
    write_entries(&mut text, joins);
    text.push_str(r#"},"leaves":["#);
    for (number, key) in leaves.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&quoted(key));
    }
    text.push_str("]}");
    text
}

fn beginning(kind: &str, room: &str, sequence: u64) -> String {
    format!(r#"{{"type":"{kind}","room":{},"sequence":{sequence}"#, quoted(room))
}

fn write_entries<'a, M: Borrow<str> + 'a>(
    text: &mut String,
    entries: impl Iterator<Item = (&'a str, &'a [M])>,
) {
    for (number, (key, metas)) in entries.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&quoted(key));
        text.push_str(r#":{"metas":["#);
        for (number, meta) in metas.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            // The metadata is JSON itself, checked when it was taken in.
            text.push_str(meta.borrow());
        }
        text.push_str("]}");
    }
}

/// Writes a text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_json_however_keys_and_rooms_are_called() {
        let metas = vec!["1".to_owned(), r#"{"a":2}"#.to_owned()];
        let present = [("a\"b", metas.as_slice()), ("c", &metas[..1])];
        assert_eq!(
            state_message("x\ny", 7, present.into_iter()),
            r#"{"type":"presence_state","room":"x\ny","sequence":7,"present":{"a\"b":{"metas":[1,{"a":2}]},"c":{"metas":[1]}}}"#
        );
        assert_eq!(
            diff_message("x", 8, present[1..].iter().copied(), ["d", "\\"].into_iter()),
            r#"{"type":"presence_diff","room":"x","sequence":8,"joins":{"c":{"metas":[1]}},"leaves":["d","\\"]}"#
        );
    }

    #[test]
    fn a_key_counts_as_it_is_written() {
        assert_eq!(charge("ann", "{}"), 5 + 2 + 64);
        assert_eq!(charge("a\"b", "{}"), 6 + 2 + 64);
    }

    #[test]
    fn an_entry_that_does_not_grow_fits_into_a_full_list() {
        let space = Space { in_room: 90, in_channel: 190, own: 20 };
        assert_eq!(space.check(20, 100, 200), Ok(()));
        assert_eq!(
            space.check(21, 100, 200),
            Err(CallRefusal::PresenceFull {
                taken: 90,
                setting: "max_room_presence_bytes",
                limit: 100
            })
        );
        assert_eq!(
            space.check(21, 1000, 200),
            Err(CallRefusal::PresenceFull {
                taken: 190,
                setting: "max_channel_presence_bytes",
                limit: 200
            })
        );
        assert_eq!(Space { in_room: 79, in_channel: 79, own: 0 }.check(21, 100, 100), Ok(()));
    }
}
