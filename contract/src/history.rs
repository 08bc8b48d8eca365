//! The history of a room: the rule of which messages are kept, and which of them newcomers get.

use crate::limits::{KIB, MIB};

/// Bytes that a kept message counts for beyond its own: about its cost beside them.
pub const MESSAGE_OVERHEAD: usize = 64;
/// Largest number of messages that one call returns.
pub const MAX_PAGE: usize = 1000;
/// Largest number of bytes that one call returns, if the first message does not have more.
pub const MAX_PAGE_BYTES: usize = MIB;
/// Largest number of messages that a room may keep.
pub const MAX_MESSAGES: usize = 1_000_000;
/// Largest number of bytes that the messages of one room may have.
pub const MAX_BYTES: usize = 1024 * MIB;
/// Longest age of a kept message, in milliseconds: a year.
pub const MAX_AGE_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// The messages that a joining client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
pub enum Recovery {
    /// All that it has missed, or none of them and the reason.
    #[default]
    All,
    /// The newest one alone, for rooms in which each message replaces the one before (Centrifugo's cache
    /// mode).
    Newest,
}

/// The messages that a room keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Retention {
    /// Largest number of messages; 0 keeps none. The oldest go first. Default: 100.
    pub messages: usize,
    /// Largest number of bytes; each message counts for 64 more. The oldest go first. Default: 256 KiB.
    pub bytes: usize,
    /// Longest age, in milliseconds. Default: a day.
    pub age_ms: u64,
    /// Messages that a member gets when it joins and has not said where it was: the last ones. Default: 0;
    /// with [`Recovery::Newest`] it is 1.
    pub newcomers: usize,
    /// The messages that a client gets that comes back.
    pub recovery: Recovery,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            messages: 100,
            bytes: 256 * KIB,
            age_ms: 24 * 60 * 60 * 1000,
            newcomers: 0,
            recovery: Recovery::All,
        }
    }
}

impl Retention {
    /// Returns the number of messages that a newcomer gets.
    pub fn for_newcomers(&self) -> usize {
        match self.recovery {
            Recovery::All => self.newcomers,
            Recovery::Newest => 1,
        }
    }
}

/// The rooms of a rule and the messages that they keep.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct HistoryRule {
    /// The names of the rooms, in which `*` stands for any characters; every room by default.
    pub rooms: RoomPattern,
    /// The messages.
    pub retention: Retention,
}

/// Returns the messages that a room keeps, by the first rule whose pattern it fits; `None` if it keeps none.
pub fn rule_of<'a>(rules: &'a [HistoryRule], room: &str) -> Option<&'a Retention> {
    let rule = rules.iter().find(|rule| rule.rooms.fits(room))?;
    Some(&rule.retention).filter(|retention| retention.messages > 0)
}

/// A pattern for names of rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(transparent))]
pub struct RoomPattern(String);

impl Default for RoomPattern {
    fn default() -> RoomPattern {
        RoomPattern("*".to_owned())
    }
}

impl RoomPattern {
    /// Makes a pattern from a text, in which `*` stands for any characters, also for none. `None` if no
    /// room's name fits it.
    pub fn new(text: &str) -> Option<RoomPattern> {
        let least = text.bytes().filter(|byte| *byte != b'*').count();
        (!text.is_empty() && least <= crate::names::MAX_NAME_BYTES)
            .then(|| RoomPattern(text.to_owned()))
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if a name fits.
    pub fn fits(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(mut left) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            // The earliest place leaves the most for the parts that follow.
            let Some((_, after)) = left.split_once(part) else {
                return false;
            };
            left = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the same as [`RoomPattern::fits`], character by character.
    fn fits_slowly(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|at| fits_slowly(rest, &name[at..])),
            ([one, pattern @ ..], [other, name @ ..]) if one == other => fits_slowly(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_characters(pattern in "[ab*é]{1,6}", name in "[abé]{0,7}") {
            let [slow, text] = [&pattern, &name].map(|text| text.chars().collect::<Vec<_>>());
            let pattern = RoomPattern::new(&pattern).expect("a pattern");
            prop_assert_eq!(pattern.fits(&name), fits_slowly(&slow, &text));
        }
    }

    #[test]
    fn the_first_rule_that_covers_a_room_counts() {
        let rule = |rooms: &str, messages| HistoryRule {
            rooms: RoomPattern::new(rooms).expect("a pattern"),
            retention: Retention { messages, ..Retention::default() },
        };
        let rules = [rule("lot:*", 1), rule("lost", 0), rule("l*", 2)];
        let messages = |room| rule_of(&rules, room).map(|retention| retention.messages);
        let rooms = ["lot:1", "lobby", "lost", "x"];
        assert_eq!(rooms.map(messages), [Some(1), Some(2), None, None]);
    }

    #[test]
    fn a_pattern_that_no_name_fits_is_none() {
        assert_eq!(RoomPattern::new(""), None);
        assert_eq!(RoomPattern::new(&"n".repeat(256)), None);
        assert!(RoomPattern::new(&format!("{}*", "n".repeat(255))).is_some());
    }
}
