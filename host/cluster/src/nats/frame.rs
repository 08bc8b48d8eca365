//! The bytes of messages. The first one says what follows; numbers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::logs::Position;

const ENTRY: u8 = 2;
const RECORD: u8 = 3;
const LEASE: u8 = 4;
const NUMBERED: u8 = 5;

/// The number that stands for "never".
const NEVER: u64 = u64::MAX;

/// Most bytes before what is kept.
pub(super) const HEADER_BYTES: usize = 80;

/// The place of a message among all that one node publishes, on whatever topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) publisher: u64,
    pub(super) number: u64,
}

/// Makes a message of a node.
pub(super) fn numbered(stamp: Stamp, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + 2 * 8 + message.len());
    frame.put_u8(NUMBERED);
    frame.put_u64(stamp.publisher);
    frame.put_u64(stamp.number);
    frame.put_slice(message);
    frame.freeze()
}

/// A message on a topic, as it is received.
pub(super) type Received = (Option<Stamp>, (Bytes, Option<Position>));

/// Reads a message on a topic: one of a node, or an entry of the log.
pub(super) fn read_message(mut frame: Bytes) -> Option<Received> {
    match frame.first()? {
        &NUMBERED => {
            frame.advance(1);
            let publisher = frame.try_get_u64().ok()?;
            let stamp = Stamp { publisher, number: frame.try_get_u64().ok()? };
            Some((Some(stamp), (frame, None)))
        }
        _ => {
            let entry = Entry::read(frame)?;
            let position = Position { epoch: entry.epoch, offset: entry.offset };
            Some((None, (entry.content, Some(position))))
        }
    }
}

/// An entry of a log. An older one is kept if its offset is at least `first`, and the bytes before it are at least
/// `dropped`; both never get smaller, so that what was dropped stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    pub(super) offset: u64,
    /// Bytes of all entries up to this one.
    pub(super) sum: u64,
    pub(super) first: u64,
    pub(super) dropped: u64,
    pub(super) age: Option<u64>,
    pub(super) idle: Option<u64>,
    pub(super) content: Bytes,
}

impl Entry {
    pub(super) fn frame(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(1 + 7 * 8 + self.content.len());
        frame.put_u8(ENTRY);
        let (age, idle) = (self.age.unwrap_or(NEVER), self.idle.unwrap_or(NEVER));
        for number in [self.epoch, self.offset, self.sum, self.first, self.dropped, age, idle] {
            frame.put_u64(number);
        }
        frame.put_slice(&self.content);
        frame.freeze()
    }

    pub(super) fn read(mut frame: Bytes) -> Option<Entry> {
        if frame.try_get_u8().ok()? != ENTRY {
            return None;
        }
        let mut next = || frame.try_get_u64().ok();
        let (epoch, offset, sum) = (next()?, next()?, next()?);
        let (first, dropped, age, idle) = (next()?, next()?, next()?, next()?);
        let set = |number: u64| (number != NEVER).then_some(number);
        let (age, idle) = (set(age), set(idle));
        Some(Entry { epoch, offset, sum, first, dropped, age, idle, content: frame })
    }

    /// Returns the bytes of all entries before this one.
    pub(super) fn sum_before(&self) -> u64 {
        self.sum.saturating_sub(self.content.len() as u64)
    }
}

/// The end of a record's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    /// Milliseconds after the server has stored it.
    After(u64),
    /// Milliseconds since 1970.
    At(u64),
}

impl Expiry {
    /// Returns the end in milliseconds since 1970, of a record that was stored at a time.
    pub(super) fn at(self, stored: u64) -> Option<u64> {
        match self {
            Expiry::Never => None,
            Expiry::After(time) => Some(stored.saturating_add(time)),
            Expiry::At(at) => Some(at),
        }
    }
}

/// Makes the frame of a record.
pub(super) fn record(expiry: Expiry, value: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(10 + value.len());
    frame.put_u8(RECORD);
    let (kind, number) = match expiry {
        Expiry::Never => (0, 0),
        Expiry::After(time) => (1, time),
        Expiry::At(at) => (2, at),
    };
    frame.put_u8(kind);
    frame.put_u64(number);
    frame.put_slice(value);
    frame.freeze()
}

/// Reads the frame of a record.
pub(super) fn read_record(mut frame: Bytes) -> Option<(Expiry, Bytes)> {
    if frame.try_get_u8().ok()? != RECORD {
        return None;
    }
    let (kind, number) = (frame.try_get_u8().ok()?, frame.try_get_u64().ok()?);
    let expiry = match kind {
        0 => Expiry::Never,
        1 => Expiry::After(number),
        2 => Expiry::At(number),
        _ => return None,
    };
    Some((expiry, frame))
}

/// Makes the frame of a lease; the fencing number 0 stands for the number of the message itself.
pub(super) fn lease(fence: u64, ttl: u64, holder: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(17 + holder.len());
    frame.put_u8(LEASE);
    frame.put_u64(fence);
    frame.put_u64(ttl);
    frame.put_slice(holder.as_bytes());
    frame.freeze()
}

/// Reads the frame of a lease.
pub(super) fn read_lease(mut frame: Bytes) -> Option<(u64, u64, String)> {
    if frame.try_get_u8().ok()? != LEASE {
        return None;
    }
    let (fence, ttl) = (frame.try_get_u64().ok()?, frame.try_get_u64().ok()?);
    Some((fence, ttl, String::from_utf8(frame.into()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..90), first in 0..6_u8) {
            let mut bytes = bytes;
            bytes.insert(0, first);
            let bytes = Bytes::from(bytes);
            let _ = (read_message(bytes.clone()), read_record(bytes.clone()), read_lease(bytes));
        }
    }

    #[test]
    fn a_message_comes_back() {
        let stamp = Stamp { publisher: u64::MAX, number: 7 };
        let message = Bytes::from_static(b"x");
        assert_eq!(read_message(numbered(stamp, &message)), Some((Some(stamp), (message, None))));
    }

    #[test]
    fn an_entry_comes_back() {
        let content = Bytes::from_static(b"x");
        let entry = Entry {
            epoch: 1,
            offset: 2,
            sum: 3,
            first: 4,
            dropped: 5,
            age: None,
            idle: Some(6),
            content,
        };
        assert_eq!(Entry::read(entry.frame()), Some(entry));
    }
}
