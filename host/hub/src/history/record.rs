//! The records of logs: a head for each, and one for each message that it keeps.

use bytes::Bytes;
use wharf_engine::{Change, Kind, Record};

use super::position::Epoch;
use crate::frame::{Frame, FrameKind};

/// Bytes before the payload: the kind of the message and its time.
const HEADER_BYTES: usize = 9;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// A kept message as it is in memory and on disk: kind, time and payload in one piece.
#[derive(Clone, Debug)]
pub(super) struct Kept(Bytes);

impl Kept {
    /// Makes the record of a message.
    pub(super) fn new(frame: &Frame, at_ms: u64) -> Kept {
        let payload = frame.payload();
        let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
        record.push(if frame.kind() == FrameKind::Text { TEXT } else { BINARY });
        record.extend_from_slice(&at_ms.to_le_bytes());
        record.extend_from_slice(payload);
        Kept(record.into())
    }

    /// Reads the record of a message; `None` for a form that this version does not know.
    fn read(value: Bytes) -> Option<Kept> {
        let kind = *value.first()?;
        (value.len() >= HEADER_BYTES && (kind == TEXT || kind == BINARY)).then_some(Kept(value))
    }

    /// Returns the kind of the message.
    pub(super) fn kind(&self) -> FrameKind {
        if self.0.first() == Some(&TEXT) { FrameKind::Text } else { FrameKind::Binary }
    }

    /// Returns the time at which it was sent, in milliseconds since 1970.
    pub(super) fn at_ms(&self) -> u64 {
        let time = self.0.get(1..).and_then(|rest| rest.first_chunk());
        time.map_or(0, |time| u64::from_le_bytes(*time))
    }

    /// Returns the payload, which shares the memory.
    pub(super) fn payload(&self) -> Bytes {
        self.0.slice(HEADER_BYTES.min(self.0.len())..)
    }

    /// Returns the length of the payload.
    pub(super) fn payload_bytes(&self) -> usize {
        self.0.len().saturating_sub(HEADER_BYTES)
    }

    /// Returns the message as a frame.
    pub(super) fn frame(&self) -> Frame {
        Frame::encode(self.kind(), &self.payload())
    }

    /// Returns the change that records it.
    pub(super) fn change(&self, room: &str, offset: u64) -> Change {
        let record = Record { value: self.0.clone(), version: offset, expires_at: None };
        Change { kind: Kind::History, key: key(room, offset), to: Some(record) }
    }
}

/// Returns the key of a message: the length of the room's name, the name, and the offset, so that the messages
/// of a room follow each other in their order.
fn key(room: &str, offset: u64) -> Bytes {
    let mut key = Vec::with_capacity(1 + room.len() + size_of::<u64>());
    // Names have at most 255 bytes.
    key.push(u8::try_from(room.len()).unwrap_or(u8::MAX));
    key.extend_from_slice(room.as_bytes());
    key.extend_from_slice(&offset.to_be_bytes());
    key.into()
}

/// Returns the change that deletes the record of a message.
pub(super) fn deletion(room: &str, offset: u64) -> Change {
    Change { kind: Kind::History, key: key(room, offset), to: None }
}

/// Returns the room, the offset and the message of a record.
pub(super) fn read_message(key: &[u8], record: Record) -> Option<(&str, u64, Kept)> {
    let (length, rest) = key.split_first()?;
    let (room, offset) = rest.split_at_checked(usize::from(*length))?;
    let offset = u64::from_be_bytes(*offset.first_chunk()?);
    Some((std::str::from_utf8(room).ok()?, offset, Kept::read(record.value)?))
}

/// The head of a log: what its messages do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The epoch, without the part of the era.
    pub(super) epoch: Epoch,
    /// The offset of the last message before those that were kept when it was written.
    pub(super) base: u64,
}

impl Head {
    /// Returns the change that records it, or deletes it (`None`).
    pub(super) fn change(room: &str, head: Option<Head>) -> Change {
        let record = head.map(|Head { epoch, base }| Record {
            value: Bytes::copy_from_slice(&epoch.0.to_le_bytes()),
            version: base,
            expires_at: None,
        });
        Change { kind: Kind::Log, key: Bytes::copy_from_slice(room.as_bytes()), to: record }
    }

    /// Returns the room and the head of a record.
    pub(super) fn read<'a>(key: &'a [u8], record: &Record) -> Option<(&'a str, Head)> {
        let epoch = Epoch(u64::from_le_bytes(*record.value.first_chunk()?));
        Some((std::str::from_utf8(key).ok()?, Head { epoch, base: record.version }))
    }
}
