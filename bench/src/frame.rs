//! Frames of RFC 6455, 5.2, as far as a client that sends small messages needs them.
//!
//! Written by hand, so that the generator spends as little as it can per message and shares no
//! code with the servers that it measures.

use anyhow::{bail, ensure};

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// A close frame, which ends the connection.
    Close = 0x8,
    /// A ping, which is answered with a pong.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xA,
}

/// A frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The kind.
    pub opcode: Opcode,
    /// The payload.
    pub payload: &'a [u8],
    /// Size of the whole frame in bytes, header included: the next one begins there.
    pub length: usize,
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Mark of a length that does not fit into 7 bits: it is in the next 2 bytes, or the next 8.
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// Encodes a whole message of a client: one frame, masked. The payload is at the end.
pub fn encode(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.push(FIN | opcode as u8);
    match payload.len() {
        length @ 0..126 => frame.push(MASKED | length as u8),
        length if length <= usize::from(u16::MAX) => {
            frame.push(MASKED | LENGTH_IN_2_BYTES);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | LENGTH_IN_8_BYTES);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// Reads the first frame of the bytes that a server has sent; `None` if the frame is not complete.
///
/// # Errors
///
/// The frame breaks the protocol, or is a fragment. None of the servers fragments such messages.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8A => Opcode::Pong,
        other => bail!("the server sent a frame that begins with the byte {other:#04x}"),
    };
    ensure!(second & MASKED == 0, "the server sent a masked frame");
    let length = match *second {
        LENGTH_IN_2_BYTES => rest.first_chunk().map(|b| (2, u64::from(u16::from_be_bytes(*b)))),
        LENGTH_IN_8_BYTES => rest.first_chunk().map(|b| (8, u64::from_be_bytes(*b))),
        length => Some((0, u64::from(length))),
    };
    let Some((extended, length)) = length else {
        return Ok(None);
    };
    let Some(payload) =
        usize::try_from(length).ok().and_then(|length| rest.get(extended..)?.get(..length))
    else {
        return Ok(None);
    };
    let length = 2 + extended + payload.len();
    Ok(Some(Frame { opcode, payload, length }))
}

/// Describes a close frame in words.
pub fn describe_close(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            format!(
                "the server closed the connection with code {code} {:?}",
                String::from_utf8_lossy(reason)
            )
        }
        _ => "the server closed the connection without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, 5.7: "a single-frame masked text message".
    const MASKED_HELLO: [u8; 11] =
        [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

    #[test]
    fn a_client_frame_is_that_of_the_rfc() {
        let frame = encode(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame, MASKED_HELLO);
    }

    #[test]
    fn a_client_frame_has_its_length_in_the_fewest_bytes() {
        let header = |size: usize| {
            let frame = encode(Opcode::Binary, &vec![0; size], [0; 4]);
            frame[..frame.len() - size].to_vec()
        };
        assert_eq!(header(125), [0x82, 0x80 | 125, 0, 0, 0, 0]);
        assert_eq!(header(126), [0x82, 0x80 | 126, 0, 126, 0, 0, 0, 0]);
        assert_eq!(header(65535), [0x82, 0x80 | 126, 255, 255, 0, 0, 0, 0]);
        let large = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(header(65536), large);
    }

    #[test]
    fn a_server_frame_is_that_of_the_rfc() {
        let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let frame = parse(&hello).expect("valid").expect("whole");
        assert_eq!(frame, Frame { opcode: Opcode::Text, payload: b"Hello", length: 7 });
    }

    #[test]
    fn every_part_of_a_frame_is_waited_for() {
        for size in [0, 1, 125, 126, 65535, 65536] {
            let mut bytes = vec![0x81];
            match size {
                0..126 => bytes.push(size as u8),
                126..65536 => {
                    bytes.push(126);
                    bytes.extend((size as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((size as u64).to_be_bytes());
                }
            }
            let header = bytes.len();
            bytes.extend(vec![b'x'; size]);
            for cut in (0..header + 2).chain([bytes.len() - 1]) {
                if cut < bytes.len() {
                    assert_eq!(parse(&bytes[..cut]).expect("valid so far"), None);
                }
            }
            let whole = bytes.len();
            bytes.extend([0x89, 0x00]);
            let frame = parse(&bytes).expect("valid").expect("whole");
            assert_eq!((frame.payload.len(), frame.length), (size, whole));
            let next = parse(&bytes[frame.length..]).expect("valid").expect("whole");
            assert_eq!(next.opcode, Opcode::Ping);
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        // Masked; fragmented; a reserved bit; an unknown opcode.
        for bytes in [[0x81, 0x80], [0x01, 0x00], [0xC1, 0x00], [0x83, 0x00]] {
            assert!(parse(&bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_beyond_all_memory_is_waited_for_and_not_added_to() {
        let bytes = [0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3];
        assert_eq!(parse(&bytes).expect("valid so far"), None);
    }

    #[test]
    fn a_close_frame_is_told_with_its_code_and_reason() {
        let told = describe_close(&[0x03, 0xF3, b'n', b'o']);
        assert!(told.contains("1011") && told.contains("no"), "{told}");
        assert!(describe_close(&[]).contains("without a code"));
    }
}
