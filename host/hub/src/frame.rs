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
    /// Length of the header, which the payload follows.
    header_bytes: u8,
}

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
        Frame { wire: client_bytes::shared(wire), kind, header_bytes: 2 + extended as u8 }
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
