//! A place in a room's log, as clients name it.

use std::collections::BTreeMap;
use std::fmt;

use wharf_contract::names::MAX_NAME_BYTES;

/// Longest list of positions that a client may bring, in bytes, decoded.
pub const POSITIONS_BYTES: usize = 16 * 1024;
/// Largest number of them.
const MAX_POSITIONS: usize = 256;

/// The time of life of a log. A new one is chosen at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Parses an epoch from its text.
    fn parse(text: &str) -> Option<Epoch> {
        let epoch = Epoch(u64::from_str_radix(text, 16).ok()?);
        // Only the printed form is one.
        (epoch.to_string() == text).then_some(epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a log: the offset of the last message that a client has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The epoch of the offset.
    pub epoch: Epoch,
    /// The offset; 0 before the first message.
    pub offset: u64,
}

impl Position {
    /// The place in a log that does not exist.
    pub const NONE: Position = Position { epoch: Epoch(0), offset: 0 };
}

/// The places in which a client says it was, by room; none for one that only wants to hear of places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AskedPositions(BTreeMap<Box<str>, Position>);

impl AskedPositions {
    /// Reads positions as a client writes them: `ROOM,EPOCH,OFFSET` for each, separated by `;`, with the
    /// room's name percent-encoded once more. What is no such position is left out: the room is then
    /// one without a position.
    pub fn read(text: &str, decode: impl Fn(&str) -> Option<String>) -> AskedPositions {
        let mut positions = BTreeMap::new();
        if text.len() > POSITIONS_BYTES {
            return AskedPositions::default();
        }
        for entry in text.split(';').take(MAX_POSITIONS) {
            let mut parts = entry.split(',');
            let (Some(room), Some(epoch), Some(offset), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let room = decode(room).filter(|room| (1..=MAX_NAME_BYTES).contains(&room.len()));
            if let (Some(room), Some(epoch), Ok(offset)) =
                (room, Epoch::parse(epoch), offset.parse::<u64>())
            {
                positions.insert(room.into(), Position { epoch, offset });
            }
        }
        AskedPositions(positions)
    }

    /// Takes out the position in a room.
    pub(crate) fn take(&mut self, room: &str) -> Option<Position> {
        self.0.remove(room)
    }

    /// Returns the number of bytes that they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.0.keys().map(|room| room.len() + size_of::<Position>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> AskedPositions {
        AskedPositions::read(text, |text| Some(text.to_owned()))
    }

    #[test]
    fn positions_are_read_and_what_is_none_is_left_out() {
        let epoch = Epoch(0xab);
        let text = format!(
            "a,{epoch},7;b,{epoch};c,x,1;d,{epoch},-1;e,{epoch},1,2;,{epoch},3;f,{epoch},0"
        );
        let mut asked = read(&text);
        assert_eq!(asked.take("a"), Some(Position { epoch, offset: 7 }));
        assert_eq!(asked.take("a"), None, "it counts once");
        assert_eq!(asked.take("f"), Some(Position { epoch, offset: 0 }));
        assert_eq!(asked, AskedPositions::default());
        assert_eq!(read(&"x".repeat(POSITIONS_BYTES + 1)), AskedPositions::default());
    }

    #[test]
    fn a_client_names_so_many_rooms_and_no_more() {
        let all: Vec<String> = (0..500).map(|room| format!("{room},{},1", Epoch(1))).collect();
        assert_eq!(read(&all.join(";")).0.len(), MAX_POSITIONS);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[ab,;0-9\u{e9}]{0,60}") {
            read(&text);
        }
    }
}
