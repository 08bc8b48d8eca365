//! Frames as clients send them (RFC 6455, 5.2): the header, the mask, the payload of a close.

use wharf_contract::close::{MAX_CONTROL_BYTES, Reason, is_client_code};

/// Longest header, in bytes: two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER_BYTES: usize = 14;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// True for the last frame of its message.
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload, at most `i64::MAX`.
    pub(super) length: u64,
    pub(super) mask: [u8; 4],
}

/// A broken rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The kind of rule, which decides the close code.
    pub(super) reason: Reason,
    /// The client's mistake.
    pub(super) detail: &'static str,
}

impl Violation {
    pub(super) fn protocol(detail: &'static str) -> Violation {
        Violation { reason: Reason::ProtocolError, detail }
    }

    pub(super) fn utf8(detail: &'static str) -> Violation {
        Violation { reason: Reason::InvalidUtf8, detail }
    }
}

impl Opcode {
    fn decode(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

impl Header {
    /// Returns the header at the beginning of `bytes` and its size in bytes. `None` if it is not
    /// complete.
    ///
    /// # Errors
    ///
    /// A header that no client may send, in any place.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::protocol(
                "a reserved bit is set, and no extension is agreed on",
            ));
        }
        let Some(opcode) = Opcode::decode(first & 0x0f) else {
            return Err(Violation::protocol("a reserved opcode"));
        };
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err(Violation::protocol("a control frame in fragments"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::protocol("a client's frame must be masked"));
        }
        let (length, rest, size) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 8),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest, 14),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 6),
        };
        if length > i64::MAX as u64 {
            return Err(Violation::protocol("a length with its highest bit set"));
        }
        if opcode.is_control() && length > MAX_CONTROL_BYTES as u64 {
            return Err(Violation::protocol("a control frame of more than 125 bytes"));
        }
        let Some(mask) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((Header { is_final, opcode, length, mask: *mask }, size)))
    }
}

/// Takes a mask off (RFC 6455, 5.3). `offset` is the number of bytes of the payload before `bytes`.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut turned = mask;
    turned.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip([a, b, c, d].iter().cycle()) {
        *byte ^= mask;
    }
}

/// Returns a close frame's code and reason (RFC 6455, 5.5.1 and 7.4). It may have no code, but not
/// half of one.
///
/// # Errors
///
/// A code that must not be sent, or a reason that is not UTF-8.
pub(super) fn decode_close(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::protocol("a close frame with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let Ok(reason) = std::str::from_utf8(reason) else {
        return Err(Violation::utf8("a close reason that is not UTF-8"));
    };
    // 1004 has no meaning; 1005, 1006 and 1015 are never on the wire.
    match is_client_code(code) {
        true => Ok(Some((code, reason))),
        false => Err(Violation::protocol("a close code that must not be sent")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn taking_the_mask_off_in_pieces_is_taking_it_off(
            payload: Vec<u8>, mask: [u8; 4], cut in 0..200usize,
        ) {
            let expected: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut pieces = payload.clone();
            let cut = cut.min(pieces.len());
            let (first, second) = pieces.split_at_mut(cut);
            unmask(first, mask, 0);
            unmask(second, mask, cut as u64);
            prop_assert_eq!(pieces, expected);
        }

        #[test]
        fn no_bytes_make_decoding_panic_or_read_too_far(bytes: Vec<u8>) {
            if let Ok(Some((_, size))) = Header::decode(&bytes) {
                prop_assert!(size <= bytes.len() && size <= MAX_HEADER_BYTES);
            }
            let _ = decode_close(&bytes);
        }
    }

    #[test]
    fn a_header_is_not_decoded_before_it_is_whole() {
        let whole = [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for length in 0..whole.len() {
            assert_eq!(Header::decode(&whole[..length]), Ok(None), "{length}");
        }
        let header =
            Header { is_final: true, opcode: Opcode::Text, length: 65536, mask: [1, 2, 3, 4] };
        assert_eq!(Header::decode(&whole), Ok(Some((header, 14))));
    }
}
