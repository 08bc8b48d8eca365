//! The presence list of a room: its size, and the messages to its watchers.

mod messages;
mod roster;

use std::time::Duration;

use crate::refusal::CallRefusal;

pub use messages::{Diff, Entries, Meta};
pub use roster::{Before, Changes, OwnChanges, Roster};

/// Default of `presence_interval_ms`: the time from a change to the message about it.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
/// Default of `presence_grace_ms`: the time for which an entry stays after its last connection.
pub const DEFAULT_GRACE: Duration = Duration::from_millis(2_000);

/// Largest number of keys on one page of a list.
pub const MAX_PAGE: u32 = 1000;

/// Bytes that an entry takes besides its key, and each connection behind it besides its metadata.
pub(crate) const OVERHEAD: usize = 32;

/// Returns the bytes that a key takes, without the metadata of its connections.
pub(crate) fn key_bytes(key: &str) -> usize {
    quoted(key).len() + OVERHEAD
}

/// Returns the bytes that a connection's metadata takes.
pub(crate) const fn meta_bytes(meta: &str) -> usize {
    meta.len() + OVERHEAD
}

/// Returns the most bytes that a key and one connection's metadata add to a list.
pub fn charge(key: &str, meta: &str) -> usize {
    key_bytes(key) + meta_bytes(meta)
}

/// The sizes that decide whether a list has room for an entry of an event.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Bytes of the room's list, without the part of the connection itself.
    pub in_room: usize,
    /// Bytes of all lists of the channel, without the part of the connection itself in the room,
    /// and with the entries that the event tracks in other rooms.
    pub in_channel: usize,
    /// Bytes that the connection takes in the room already.
    pub own: usize,
}

impl Space {
    /// Checks that `bytes` bytes fit. An entry that does not grow is accepted even if a list is
    /// over its limit. The limits are `max_room_presence_bytes` and `max_channel_presence_bytes`.
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

/// Checks the size of a connection's metadata; `limit` is `max_presence_bytes`.
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

/// Writes a text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
