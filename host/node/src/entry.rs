//! The entries of rooms' logs on the engine.
//!
//! An entry is the number of the format, one byte; flags, one byte; the time at which it was sent, in milliseconds since
//! 1970; the connection that is left out, if there is one, as its node and its number; the name of a broadcast to several
//! rooms, if it is of one, as its node and its number; and the payload. Numbers have eight bytes, the lowest first.

use bytes::Bytes;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::logs::LogMessage;

use crate::addressees::id;

/// The format that this version writes, and the only one that it reads.
pub const FORMAT: u8 = 1;

/// Bytes before the payload, at most.
pub const MAX_HEADER_BYTES: usize = 42;

const BINARY: u8 = 1;
const HAS_EXCEPT: u8 = 2;
const HAS_ONCE: u8 = 4;
const MARK: u8 = 8;

/// Returns the entry of a message.
pub fn encode(message: &LogMessage) -> Bytes {
    let LogMessage { frame, at_ms, except, once } = message;
    let payload = frame.as_ref().map_or(&[][..], Frame::payload);
    let is_binary = frame.as_ref().is_some_and(|frame| frame.kind() == FrameKind::Binary);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(is_binary, BINARY)
        | flag(except.is_some(), HAS_EXCEPT)
        | flag(once.is_some(), HAS_ONCE)
        | flag(frame.is_none(), MARK);
    let mut entry = Vec::with_capacity(MAX_HEADER_BYTES + payload.len());
    entry.extend_from_slice(&[FORMAT, flags]);
    entry.extend_from_slice(&at_ms.to_le_bytes());
    let except = except.map(|ConnectionId { node, number }| (node.number(), number));
    for (node, number) in except.into_iter().chain(*once) {
        entry.extend_from_slice(&node.to_le_bytes());
        entry.extend_from_slice(&number.to_le_bytes());
    }
    entry.extend_from_slice(payload);
    entry.into()
}

/// Reads an entry. One of a form that this version does not know is a message for nobody: its place counts.
pub fn read(entry: &[u8]) -> LogMessage {
    known(entry).unwrap_or_else(|| LogMessage::mark(0))
}

fn known(entry: &[u8]) -> Option<LogMessage> {
    let ([FORMAT, flags], rest) = entry.split_first_chunk::<2>()? else { return None };
    if flags & !(BINARY | HAS_EXCEPT | HAS_ONCE | MARK) != 0 {
        return None;
    }
    let (at_ms, mut rest) = number(rest)?;
    let mut pair = |flag: u8| -> Option<Option<(u64, u64)>> {
        if flags & flag == 0 {
            return Some(None);
        }
        let (node, after) = number(rest)?;
        let (of_node, after) = number(after)?;
        rest = after;
        Some(Some((node, of_node)))
    };
    let (except, once) = (pair(HAS_EXCEPT)?, pair(HAS_ONCE)?);
    if flags & MARK != 0 {
        return Some(LogMessage::mark(at_ms));
    }
    let kind = if flags & BINARY != 0 { FrameKind::Binary } else { FrameKind::Text };
    // A client ends its connection at text that is not UTF-8.
    if kind == FrameKind::Text && std::str::from_utf8(rest).is_err() {
        return None;
    }
    let frame = Some(Frame::encode(kind, rest));
    Some(LogMessage { frame, at_ms, except: except.and_then(id), once })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wharf_hub::connection_id::NodeId;

    use super::*;

    fn message() -> impl Strategy<Value = LogMessage> {
        let text = ".{0,40}".prop_map(|text| Frame::encode(FrameKind::Text, text.as_bytes()));
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        let binary = bytes.prop_map(|bytes| Frame::encode(FrameKind::Binary, &bytes));
        let frame = prop_oneof![text, binary];
        let except = proptest::option::of((1_u64..1 << 40, any::<u64>()));
        let once = proptest::option::of((any::<u64>(), any::<u64>()));
        (frame, any::<u64>(), except, once).prop_map(|(frame, at_ms, except, once)| {
            let except = except.and_then(|(node, number)| {
                NodeId::numbered(node).map(|node| ConnectionId { node, number })
            });
            LogMessage { frame: Some(frame), at_ms, except, once }
        })
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were(message in message()) {
            prop_assert_eq!(read(&encode(&message)), message);
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(0_u8..16, 0..60)) {
            read(&bytes);
        }
    }

    #[test]
    fn marks_and_entries_of_other_versions_are_for_nobody() {
        let mark = LogMessage::mark(7);
        assert_eq!(read(&encode(&mark)), mark);
        for strange in [&b""[..], b"\x02\x00aaaaaaaa", b"\x01\x10aaaaaaaa", b"\x01\x00aaaaaaaa\xff"]
        {
            assert_eq!(read(strange), LogMessage::mark(0));
        }
    }
}
