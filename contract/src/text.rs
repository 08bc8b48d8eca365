//! Texts of strangers, in the form that sentences and logs show.

use std::fmt;

/// Longest part of a connection's or a user's id that a sentence shows, in bytes.
pub(crate) const MAX_SHOWN_ID_BYTES: usize = 64;
/// Longest part of a header's, a path's or a subprotocol's name that a sentence shows, in bytes.
pub(crate) const MAX_SHOWN_NAME_BYTES: usize = 100;
/// Longest part of a setting's name that a sentence shows, in bytes.
pub const MAX_SHOWN_SETTING_BYTES: usize = 64;
/// Longest part of a channel's name that a sentence shows, in bytes.
pub const MAX_SHOWN_CHANNEL_BYTES: usize = 255;

/// Returns the first `limit` bytes of a text, without a character that would be cut in two.
pub fn cut(text: &str, limit: usize) -> &str {
    text.split_at(text.floor_char_boundary(limit)).0
}

/// Returns a text as JSON, in its quotes.
#[cfg(feature = "json")]
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns a text on one line. Characters that could forge lines, drive a terminal or show text in
/// another order than it has are written as in a Rust literal.
pub fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        // Control characters; separators of lines and paragraphs; marks and overrides of direction.
        let is_treacherous = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if is_treacherous {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// A text of a stranger: cut, and on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Returns the first `limit` bytes of a text.
    pub fn new(text: &str, limit: usize) -> Shown {
        Shown(escape(cut(text, limit)))
    }

    /// Returns the beginning of a connection's or a user's id.
    pub fn id(id: &str) -> Shown {
        Shown::new(id, MAX_SHOWN_ID_BYTES)
    }

    /// Returns the beginning of a header's, a path's or a subprotocol's name.
    pub fn name(name: &str) -> Shown {
        Shown::new(name, MAX_SHOWN_NAME_BYTES)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_forge_a_line_or_drive_a_terminal() {
        assert_eq!(escape("a\nb\u{1b}[2Jc\r"), "a\\nb\\u{1b}[2Jc\\r");
        assert_eq!(escape("a\u{202e}b\u{2028}c\u{2066}é"), "a\\u{202e}b\\u{2028}c\\u{2066}é");
    }

    #[test]
    fn a_cut_leaves_whole_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
    }

    #[test]
    fn a_strangers_text_is_shown_in_part_and_on_one_line() {
        assert_eq!(Shown::new("a\nb\nc", 3).to_string(), "a\\nb");
        assert_eq!(Shown::id(&"x".repeat(100)).to_string().len(), MAX_SHOWN_ID_BYTES);
    }
}
