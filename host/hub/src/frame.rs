//! Frames as they leave the host: encoded once, shared by all of their receivers.

use std::ops::Deref;

use bytes::Bytes;

use crate::client_bytes;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A text message, whole.
    Text,
    /// A binary message, whole.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close.
    Close,
}

impl FrameKind {
    fn opcode(self) -> u8 {
        match self {
            FrameKind::Text => 1,
            FrameKind::Binary => 2,
            FrameKind::Close => 8,
            FrameKind::Ping => 9,
            FrameKind::Pong => 10,
        }
    }
}

/// An unmasked, unfragmented frame (RFC 6455, 5.2). A clone shares its bytes.
///
/// It dereferences to its bytes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    wire: Bytes,
    kind: FrameKind,
    /// True for a note of the host, and for a message behind one.
    is_note: bool,
    /// Length of all that is before the payload: the header, and a note.
    header_bytes: u16,
}

/// The beginning of the host's notes, and that of messages which look like one.
const NOTE: &[u8] = br#"{"type":"wharf:"#;
/// The note before a message that looks like one.
const NO_NOTE: &str = r#"{"type":"wharf:message"}"#;

impl Frame {
    /// Encodes a frame.
    pub fn encode(kind: FrameKind, payload: &[u8]) -> Frame {
        const FINAL: u8 = 0x80;
        let length = payload.len();
        // The second byte is the length, or says in how many following bytes it is.
        let (second, extended) = match length {
            0..=125 => (length as u8, 0),
            126..=0xffff => (126, 2),
            _ => (127, 8),
        };
        // The exact capacity, so that making the bytes shareable takes no further allocation.
        let mut wire = Vec::with_capacity(2 + extended + length);
        wire.extend_from_slice(&[FINAL | kind.opcode(), second]);
        wire.extend_from_slice((length as u64).to_be_bytes().split_at(8 - extended).1);
        wire.extend_from_slice(payload);
        Frame {
            wire: client_bytes::shared(wire),
            kind,
            is_note: false,
            header_bytes: 2 + extended as u16,
        }
    }

    /// Encodes a note of the host, for clients that ask for notes.
    pub(crate) fn note(text: &str) -> Frame {
        Frame { is_note: true, ..Frame::encode(FrameKind::Text, text.as_bytes()) }
    }

    /// Returns a message behind this note, in one piece.
    pub(crate) fn followed_by(&self, message: &Frame) -> Frame {
        let mut wire = Vec::with_capacity(self.len() + message.len());
        wire.extend_from_slice(self);
        wire.extend_from_slice(message);
        let before = self.len() + usize::from(message.header_bytes);
        Frame {
            wire: client_bytes::shared(wire),
            kind: message.kind,
            is_note: true,
            header_bytes: u16::try_from(before).unwrap_or(u16::MAX),
        }
    }

    /// Returns true for a message that begins as the host's notes do, and is none.
    pub(crate) fn looks_like_a_note(&self) -> bool {
        !self.is_note && self.kind == FrameKind::Text && self.payload().starts_with(NOTE)
    }

    /// Returns such a message behind a note that it is none.
    pub(crate) fn behind_a_note(&self) -> Frame {
        Frame::note(NO_NOTE).followed_by(self)
    }

    /// Returns the kind.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Returns the payload.
    #[expect(clippy::indexing_slicing, reason = "the header is a part of the frame")]
    pub fn payload(&self) -> &[u8] {
        &self.wire[usize::from(self.header_bytes)..]
    }

    /// Returns the length of the payload.
    pub fn payload_bytes(&self) -> usize {
        self.wire.len() - usize::from(self.header_bytes)
    }

    /// Returns the bytes on the wire, shared with the frame.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.wire
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_shortest_header_and_knows_its_payload() {
        for (length, header) in [
            (0, &b"\x82\x00"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (0xffff, b"\x82\x7e\xff\xff"),
            (0x1_0000, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let payload = vec![b'.'; length];
            let frame = Frame::encode(FrameKind::Binary, &payload);
            assert_eq!(*frame, [header, &payload].concat());
            assert_eq!((frame.payload(), frame.payload_bytes()), (&payload[..], length));
            assert_eq!(frame.kind(), FrameKind::Binary);
        }
    }

    #[test]
    fn each_kind_has_its_opcode() {
        let kinds = [
            FrameKind::Text,
            FrameKind::Binary,
            FrameKind::Close,
            FrameKind::Ping,
            FrameKind::Pong,
        ];
        let first = kinds.map(|kind| Frame::encode(kind, b"").wire()[0]);
        assert_eq!(first, [0x81, 0x82, 0x88, 0x89, 0x8a]);
    }
}
