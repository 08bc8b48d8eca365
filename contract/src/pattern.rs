//! Path patterns such as `/chat/:room_id`.
//!
//! A pattern is made of segments: literal text, `:name` for any one segment, and `*name` as the last, for
//! all the rest.

use std::fmt;

use crate::sentences::sentences;

/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 255;

/// A path pattern, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pub(crate) segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Parameter(String),
    Rest(String),
}

impl Pattern {
    /// Checks a pattern and takes it apart.
    ///
    /// # Errors
    ///
    /// See [`PatternError`]; each names the part that is wrong.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        let path = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        let mut segments: Vec<Segment> = Vec::new();
        if !path.is_empty() {
            for part in path.split('/') {
                if let Some(Segment::Rest(name)) = segments.last() {
                    return Err(PatternError::RestNotLast { name: name.clone() });
                }
                let segment = Segment::parse(part)?;
                if let Some(name) = segment.name()
                    && segments.iter().any(|earlier| earlier.name() == Some(name))
                {
                    return Err(PatternError::DuplicateName { name: name.to_owned() });
                }
                segments.push(segment);
            }
        }
        Ok(Pattern { text: text.to_owned(), segments })
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(part: &str) -> Result<Segment, PatternError> {
        let named = |name: &str| match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(PatternError::BadName { segment: part.escape_debug().to_string() }),
        };
        if let Some(name) = part.strip_prefix(':') {
            return Ok(Segment::Parameter(named(name)?));
        }
        if let Some(name) = part.strip_prefix('*') {
            return Ok(Segment::Rest(named(name)?));
        }
        match part {
            "" => Err(PatternError::EmptySegment),
            // Clients resolve these before they send a request.
            "." | ".." => Err(PatternError::DotSegment { segment: part.to_owned() }),
            _ => {
                let wrong = |c: &char| matches!(c, '?' | '#' | '%') || c.is_control();
                match part.chars().find(wrong) {
                    Some(character) => Err(PatternError::BadCharacter {
                        segment: part.escape_debug().to_string(),
                        character,
                    }),
                    None => Ok(Segment::Literal(part.to_owned())),
                }
            }
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

sentences! {
    /// The mistake in a pattern.
    pub enum PatternError {
        /// It does not start with a slash.
        NotAbsolute = "a path pattern starts with `/`";
        /// It is over 255 bytes long.
        TooLong { bytes: usize } =
            "it is {bytes} bytes long; at most {MAX_PATTERN_BYTES} are allowed";
        /// Two slashes in a row, or one at the end.
        EmptySegment = "it has an empty segment: `//`, or a `/` at the end";
        /// A parameter with a name that is not an identifier.
        BadName { segment: String } =
            "`{segment}` is no parameter: a name follows `:` or `*`, of letters, digits and `_`, not \
             starting with a digit";
        /// Two parameters of one name.
        DuplicateName { name: String } = "the parameter `{name}` is there twice";
        /// Something follows `*name`.
        RestNotLast { name: String } =
            "`*{name}` takes all the rest, so that nothing can follow it; `:{name}` takes one segment";
        /// `.` or `..`.
        DotSegment { segment: String } =
            "the segment `{segment}` can never be matched: clients resolve it";
        /// A character that a path does not contain, or only encoded.
        BadCharacter { segment: String, character: char } =
            "`{segment}` has the character {character:?}, which no pattern may have; write others as \
             they are, not percent-encoded";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::cut;

    #[test]
    fn wrong_patterns_are_refused_with_the_part_that_is_wrong() {
        let long = format!("/{}", "a".repeat(255));
        for (text, error) in [
            ("", "starts with `/`"),
            ("chat", "starts with `/`"),
            (":x", "starts with `/`"),
            (&long, "256 bytes"),
            ("/chat/", "empty segment"),
            ("//", "empty segment"),
            ("/a//b", "empty segment"),
            ("/:", "`:`"),
            ("/:1st", "`:1st`"),
            ("/:room-id", "`:room-id`"),
            ("/:é", "`:é`"),
            ("/*", "`*`"),
            ("/*.txt", "`*.txt`"),
            ("/:a/:a", "`a` is there twice"),
            ("/:a/*a", "`a` is there twice"),
            ("/*a/b", "`*a` takes all the rest"),
            ("/a/../b", "`..`"),
            ("/a?b", "'?'"),
            ("/a#b", "'#'"),
            ("/a%20b", "'%'"),
            ("/a\nb", "'\\n'"),
        ] {
            let refusal = Pattern::parse(text).expect_err(text).to_string();
            assert!(refusal.contains(error), "{text:?}: {refusal}");
        }
        assert!(Pattern::parse(cut(&long, 255)).is_ok());
    }
}
