//! The messages that the generator sends, and the check of their echoes.

use crate::dialect::Dialect;
use crate::frame::{self, Opcode};

/// Bytes at the start of each message that name its connection and its number: 16 hexadecimal
/// digits.
pub const STAMP_BYTES: usize = 16;

/// Bits of the stamp that count the connection's messages; those before name the connection.
const SEQUENCE_BITS: u32 = 40;

/// A mask that is not zero, so that unmasking changes the bytes as usual.
const MASK: [u8; 4] = [0x5a, 0xa7, 0x13, 0xc6];

/// The reason why an echo is not the one that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongEcho {
    /// It was echoed before.
    #[error("message {got} came back twice, or late: {due} was due")]
    Again {
        /// The message that came.
        got: u64,
        /// The message that should have come.
        due: u64,
    },
    /// One before it has not been echoed.
    #[error("message {due} was lost or overtaken: {got} came back instead")]
    Ahead {
        /// The message that came.
        got: u64,
        /// The message that should have come.
        due: u64,
    },
    /// Another connection sent it.
    #[error("a message of connection {0} came back instead of its own")]
    OtherConnection(u64),
    /// It is not a message that was ever sent.
    #[error("message {0} came back changed")]
    Changed(u64),
}

/// One connection's messages. They are equal but for their stamps and encoded once; only the stamp
/// is written anew for each.
pub struct Messages {
    connection: u64,
    /// The last message sent, unmasked.
    payload: Vec<u8>,
    /// The same as a masked frame, with its envelope.
    frame: Vec<u8>,
    /// Offset of the stamp in the frame, and in the masked part.
    stamp_in_frame: usize,
    stamp_in_masked: usize,
    dialect: Dialect,
}

impl Messages {
    /// Makes messages of `size` bytes, at least [`STAMP_BYTES`], of the connection of that number.
    pub fn new(connection: usize, size: usize) -> Self {
        Self::speaking(Dialect::Plain, connection, size)
    }

    /// Makes messages like [`new`](Self::new), each in the envelope of a dialect.
    pub fn speaking(dialect: Dialect, connection: usize, size: usize) -> Self {
        let filler = (b'a'..=b'z').cycle();
        let payload: Vec<u8> = filler.take(size.max(STAMP_BYTES)).collect();
        let (before, after) = dialect.around();
        let masked = [before.as_bytes(), &payload, after.as_bytes()].concat();
        let frame = frame::encode(Opcode::Text, &masked, MASK);
        Messages {
            connection: connection as u64,
            stamp_in_frame: frame.len() - masked.len() + before.len(),
            stamp_in_masked: before.len(),
            frame,
            payload,
            dialect,
        }
    }

    /// Returns the protocol around each message.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the message in a payload; `None` if the payload is something else.
    pub fn within<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        self.dialect.message(payload, self.payload.len())
    }

    /// Returns the message of that number, as a frame.
    pub fn frame(&mut self, sequence: u64) -> &[u8] {
        let stamp = hexadecimal(self.connection << SEQUENCE_BITS | sequence);
        self.payload[..STAMP_BYTES].copy_from_slice(&stamp);
        let mask = MASK.iter().cycle().skip(self.stamp_in_masked % MASK.len());
        let masked = self.frame[self.stamp_in_frame..].iter_mut().zip(mask);
        for ((byte, mask), plain) in masked.zip(stamp) {
            *byte = plain ^ mask;
        }
        &self.frame
    }

    /// Returns the size of a message, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// Returns the part after the stamp, which is the same in all messages of a size.
    pub fn filler(&self) -> &[u8] {
        &self.payload[STAMP_BYTES..]
    }

    /// Returns the connection and the number in a stamp; `None` if it is not a stamp.
    pub fn read_stamp(stamp: &[u8]) -> Option<(usize, u64)> {
        let digits = std::str::from_utf8(stamp).ok()?;
        let stamp = u64::from_str_radix(digits, 16).ok()?;
        let connection = usize::try_from(stamp >> SEQUENCE_BITS).ok()?;
        Some((connection, stamp & ((1 << SEQUENCE_BITS) - 1)))
    }

    /// Checks that an echo is the message of the number that is due.
    pub fn check(&self, echo: &[u8], due: u64) -> Result<(), WrongEcho> {
        let (stamp, filler) = echo.split_at_checked(STAMP_BYTES).ok_or(WrongEcho::Changed(due))?;
        let stamp = std::str::from_utf8(stamp)
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(WrongEcho::Changed(due))?;
        let connection = stamp >> SEQUENCE_BITS;
        let got = stamp & ((1 << SEQUENCE_BITS) - 1);
        if connection != self.connection {
            return Err(WrongEcho::OtherConnection(connection));
        }
        match got.cmp(&due) {
            std::cmp::Ordering::Less => Err(WrongEcho::Again { got, due }),
            std::cmp::Ordering::Greater => Err(WrongEcho::Ahead { got, due }),
            std::cmp::Ordering::Equal if filler != &self.payload[STAMP_BYTES..] => {
                Err(WrongEcho::Changed(got))
            }
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

/// Returns a number as 16 digits. `format!` would cost more than all the rest of a message.
fn hexadecimal(number: u64) -> [u8; STAMP_BYTES] {
    let mut digits = [0; STAMP_BYTES];
    for (index, digit) in digits.iter_mut().enumerate() {
        let shift = 4 * (STAMP_BYTES - 1 - index);
        *digit = b"0123456789abcdef"[(number >> shift & 0xF) as usize];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the payload that a server would send back.
    fn unmasked(frame: &[u8], size: usize) -> Vec<u8> {
        let (header, payload) = frame.split_at(frame.len() - size);
        let mask = &header[header.len() - 4..];
        let bytes = payload.iter().zip(mask.iter().cycle());
        bytes.map(|(byte, mask)| byte ^ mask).collect()
    }

    #[test]
    fn a_message_is_the_same_as_one_encoded_from_nothing() {
        for size in [16, 17, 64, 200, 70_000] {
            let mut messages = Messages::new(3, size);
            messages.frame(7);
            let frame = messages.frame(0x1234).to_vec();
            let plain = unmasked(&frame, size);
            assert_eq!(&plain[..STAMP_BYTES], b"0000030000001234");
            assert_eq!(frame, frame::encode(Opcode::Text, &plain, MASK));
        }
    }

    #[test]
    fn a_chat_message_is_json_and_found_in_what_comes_back() {
        let mut messages = Messages::speaking(Dialect::Chat, 3, 32);
        messages.frame(7);
        let frame = messages.frame(0x1234).to_vec();
        let size = frame.len() - 6;
        let sent: serde_json::Value =
            serde_json::from_slice(&unmasked(&frame, size)).expect("JSON");
        assert_eq!(sent["type"], "chat_message");
        let message = sent["message"].as_str().expect("a message");
        let back = format!(r#"{{"message":"{message}","number":1,"type":"chat_message"}}"#);
        let found = messages.within(back.as_bytes()).expect("a message");
        assert_eq!(messages.check(found, 0x1234), Ok(()));
        assert_eq!(messages.within(br#"{"message":"Welcome","type":"system"}"#), None);
    }

    #[test]
    fn the_right_echo_is_right_and_every_other_is_named() {
        let mut messages = Messages::new(2, 64);
        let echoes: Vec<_> = (0..3).map(|n| unmasked(messages.frame(n), 64)).collect();
        let foreign = unmasked(Messages::new(9, 64).frame(1), 64);
        let mut changed = echoes[1].clone();
        changed[40] ^= 1;
        assert_eq!(messages.check(&echoes[1], 1), Ok(()));
        let wrong = |echo: &[u8]| messages.check(echo, 1).expect_err("wrong");
        assert_eq!(wrong(&echoes[0]), WrongEcho::Again { got: 0, due: 1 });
        assert_eq!(wrong(&echoes[2]), WrongEcho::Ahead { got: 2, due: 1 });
        assert_eq!(wrong(&foreign), WrongEcho::OtherConnection(9));
        assert_eq!(wrong(&changed), WrongEcho::Changed(1));
        assert_eq!(wrong(&echoes[1][..63]), WrongEcho::Changed(1));
        assert_eq!(wrong(b"short"), WrongEcho::Changed(1));
        assert_eq!(wrong(&[0xFF; 64]), WrongEcho::Changed(1));
    }
}
