//! The records of timers on disk.
//!
//! A record has a number, which is never used twice, and belongs to one timer from its setting to its end:
//! a timer that replaces another has a record of its own. So it does not matter in which order two events
//! record that they have set the same timer.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wharf_engine::{Change, Kind, Record};

use crate::inbox::Scope;
use crate::time_of_day::milliseconds;

/// Time between firings from which a record follows them. Where they are more frequent, one that falls due
/// while the host is down is soon followed by another.
const FOLLOWED: Duration = Duration::from_secs(1);

/// A timer as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerRecord {
    /// The room; empty for the channel.
    pub(crate) room: String,
    /// Name.
    pub(crate) name: String,
    /// Time of the next firing, in milliseconds since 1970.
    pub(crate) due_at: u64,
    /// Time between firings; `None` for a timer that fires once.
    pub(crate) interval: Option<Duration>,
    /// Payload.
    pub(crate) payload: Bytes,
}

/// Returns the room of a scope whose timers are recorded; the channel's is empty. `None` for a
/// connection, which does not outlive the process.
pub(crate) fn recorded_room(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Room(room) => Some(room),
        Scope::Channel => Some(""),
        Scope::Connection(_) => None,
    }
}

/// Returns true if a timer that fires again has its next time recorded with each firing.
pub(crate) fn is_followed(interval: Duration) -> bool {
    interval >= FOLLOWED
}

/// Returns the change that deletes a record.
pub(crate) fn deletion(number: u64) -> Change {
    Change { kind: Kind::Timer, key: key(number), to: None }
}

/// Returns the key of a record.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

impl TimerRecord {
    /// Returns the change that writes the record.
    pub(crate) fn change(&self, number: u64) -> Change {
        let mut value =
            BytesMut::with_capacity(24 + self.room.len() + self.name.len() + self.payload.len());
        value.put_u64_le(self.due_at);
        value.put_u64_le(self.interval.map_or(0, milliseconds));
        for text in [&self.room, &self.name] {
            // Names are shorter by far.
            value.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
            value.put_slice(text.as_bytes());
        }
        value.put_slice(&self.payload);
        let record = Record { value: value.freeze(), version: number, expires_at: None };
        Change { kind: Kind::Timer, key: key(number), to: Some(record) }
    }

    /// Reads a record. `None` if it is none that this version has written.
    pub(crate) fn read(mut value: Bytes) -> Option<TimerRecord> {
        let due_at = value.try_get_u64_le().ok()?;
        let interval = value.try_get_u64_le().ok()?;
        let mut text = || {
            let length = usize::try_from(value.try_get_u32_le().ok()?).ok()?;
            (length <= value.len())
                .then(|| String::from_utf8(value.split_to(length).to_vec()).ok())
                .flatten()
        };
        let (room, name) = (text()?, text()?);
        let interval = (interval > 0).then(|| Duration::from_millis(interval));
        Some(TimerRecord { room, name, due_at, interval, payload: value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            room in ".{0,40}",
            name in ".{1,40}",
            due_at in any::<u64>(),
            interval in proptest::option::of(1..u64::MAX),
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            number in any::<u64>(),
        ) {
            let interval = interval.map(Duration::from_millis);
            let record = TimerRecord { room, name, due_at, interval, payload: payload.into() };
            let to = record.change(number).to.expect("a record");
            prop_assert_eq!(to.version, number);
            prop_assert_eq!(TimerRecord::read(to.value), Some(record));
        }

        #[test]
        fn bytes_of_any_kind_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TimerRecord::read(bytes.into());
        }
    }
}
