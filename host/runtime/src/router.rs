//! From a request's path to whoever declared it.
//!
//! A pattern is made of segments: literal text, `:name` for any one segment, and `*name` as the
//! last, for all the rest. Where several patterns match, the most specific one wins, segment by
//! segment from the left: literal text before `:name` before `*name`. A choice that leads
//! nowhere is taken back: beside `/chat/new`, the pattern `/chat/:id/log` still gets `/chat/new/log`.
//!
//! Requests are split into segments first and percent-decoded then, so that `%2F` is a character
//! of its segment and never separates two. Literal text is compared with the decoded segment:
//! `/caf%C3%A9` is `/café`. A trailing slash makes another path, with an empty last
//! segment, which only `*name` can match.
//!
//! `matchit` is not used here: it refuses `/a/:one` beside `/a/*rest` as a conflict.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use percent_encoding::percent_decode_str;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 255;

/// A path pattern such as `/chat/:room_id`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter(String),
    Rest(String),
}

impl Pattern {
    /// Check a pattern and take it apart.
    ///
    /// # Errors
    ///
    /// See [`PatternError`]; each names the part that is wrong.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        let path = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        let mut segments = Vec::new();
        if !path.is_empty() {
            for part in path.split('/') {
                if let Some(Segment::Rest(name)) = segments.last() {
                    return Err(PatternError::RestNotLast { name: name.clone() });
                }
                segments.push(Segment::parse(part)?);
            }
        }
        for (index, segment) in segments.iter().enumerate() {
            if let Some(name) = segment.name()
                && segments[..index].iter().any(|earlier| earlier.name() == Some(name))
            {
                return Err(PatternError::DuplicateName { name: name.to_owned() });
            }
        }
        Ok(Pattern { text: text.to_owned(), segments })
    }

    /// The pattern as it was written.
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
        let name = |name: &str| match is_name(name) {
            true => Ok(name.to_owned()),
            false => Err(PatternError::BadName { segment: part.to_owned() }),
        };
        match part.chars().next() {
            None => Err(PatternError::EmptySegment),
            Some(':') => Ok(Segment::Parameter(name(&part[1..])?)),
            Some('*') => Ok(Segment::Rest(name(&part[1..])?)),
            // Clients resolve these before they send a request.
            Some(_) if part == "." || part == ".." => {
                Err(PatternError::DotSegment { segment: part.to_owned() })
            }
            Some(_) => {
                let wrong = |c: &char| matches!(c, '?' | '#' | '%') || c.is_control();
                match part.chars().find(wrong) {
                    Some(character) => {
                        let segment = part.to_owned();
                        Err(PatternError::BadCharacter { segment, character })
                    }
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

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not start with a slash.
    #[error("a path pattern starts with `/`")]
    NotAbsolute,
    /// It is over 255 bytes long.
    #[error("it is {bytes} bytes long; at most {MAX_PATTERN_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Two slashes in a row, or one at the end.
    #[error("it has an empty segment: `//`, or a `/` at the end")]
    EmptySegment,
    /// A parameter whose name is none.
    #[error(
        "`{}` is no parameter: a name follows `:` or `*`, of letters, digits and `_`, \
         not starting with a digit",
        segment.escape_debug()
    )]
    BadName {
        /// The segment.
        segment: String,
    },
    /// Two parameters of one name.
    #[error("the parameter `{name}` is there twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Something follows `*name`.
    #[error(
        "`*{name}` takes all the rest, so that nothing can follow it; `:{name}` takes one segment"
    )]
    RestNotLast {
        /// The name.
        name: String,
    },
    /// `.` or `..`.
    #[error("the segment `{segment}` can never be matched: clients resolve it")]
    DotSegment {
        /// The segment.
        segment: String,
    },
    /// A character that a path has not got, or only encoded.
    #[error(
        "`{}` has the character {character:?}, which no pattern may have; \
         write others as they are, not percent-encoded",
        segment.escape_debug()
    )]
    BadCharacter {
        /// The segment.
        segment: String,
        /// The character.
        character: char,
    },
}

/// Two patterns that match exactly the same paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path {pattern} is taken by {existing}")]
pub struct Conflict {
    /// The pattern that was refused.
    pub pattern: Pattern,
    /// The pattern that was there.
    pub existing: Pattern,
}

/// Patterns, each with a value. Built from a list and then only read; built anew when the
/// list changes.
#[derive(Clone, Debug)]
pub struct Router<T> {
    entries: Vec<(Pattern, T)>,
    /// The first is the root.
    nodes: Vec<Node>,
}

/// What can follow a certain beginning of a path, by indices into `nodes` and `entries`.
#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    parameter: Option<usize>,
    /// The entry whose `*name` stands here.
    rest: Option<usize>,
    /// The entry whose pattern ends here.
    end: Option<usize>,
}

impl<T> Default for Router<T> {
    fn default() -> Router<T> {
        Router { entries: Vec::new(), nodes: vec![Node::default()] }
    }
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'a, T> {
    /// To this.
    Found {
        /// What was inserted with the pattern that matches best.
        value: &'a T,
        /// The parameters by name, percent-decoded, in the order of the pattern.
        params: Vec<(String, String)>,
    },
    /// To nothing.
    NotFound,
    /// The path has a broken percent escape, or one that makes no UTF-8: a bad request.
    BadEncoding,
}

impl<T> Router<T> {
    /// Add a pattern.
    ///
    /// # Errors
    ///
    /// A pattern that is there already, perhaps with other parameter names. Nothing is added then.
    pub fn insert(&mut self, pattern: Pattern, value: T) -> Result<(), Conflict> {
        let mut node = 0;
        let mut rest = false;
        for segment in &pattern.segments {
            let next = self.nodes.len();
            let here = &mut self.nodes[node];
            node = match segment {
                Segment::Literal(text) => *here.literals.entry(text.clone()).or_insert(next),
                Segment::Parameter(_) => *here.parameter.get_or_insert(next),
                Segment::Rest(_) => {
                    rest = true;
                    break;
                }
            };
            if node == next {
                self.nodes.push(Node::default());
            }
        }
        let here = &mut self.nodes[node];
        let place = if rest { &mut here.rest } else { &mut here.end };
        if let Some(existing) = *place {
            let existing = self.entries[existing].0.clone();
            return Err(Conflict { pattern, existing });
        }
        *place = Some(self.entries.len());
        self.entries.push((pattern, value));
        Ok(())
    }

    /// What was inserted with the pattern that another one conflicts with.
    pub fn holder(&self, conflict: &Conflict) -> Option<&T> {
        let found = self.entries.iter().find(|(pattern, _)| *pattern == conflict.existing);
        found.map(|(_, value)| value)
    }

    /// Find the pattern for a path as the client sent it: percent-encoded, without the query.
    pub fn at(&self, path: &str) -> Match<'_, T> {
        let Some(path) = path.strip_prefix('/') else {
            return Match::NotFound;
        };
        let segments = match path {
            "" => Some(Vec::new()),
            _ => path.split('/').map(decode).collect(),
        };
        let Some(segments) = segments else {
            return Match::BadEncoding;
        };
        let found = self.find(0, &segments);
        let Some((pattern, value)) = found.and_then(|entry| self.entries.get(entry)) else {
            return Match::NotFound;
        };

        let mut params = Vec::new();
        for (index, segment) in pattern.segments.iter().enumerate() {
            match segment {
                Segment::Literal(_) => {}
                Segment::Parameter(name) => {
                    params.push((name.clone(), segments[index].clone().into_owned()));
                }
                Segment::Rest(name) => params.push((name.clone(), segments[index..].join("/"))),
            }
        }
        Match::Found { value, params }
    }

    /// The entry for what is left of a path. Each node is visited at most once, since it has one
    /// way to it: no path takes longer than looking at every pattern.
    fn find(&self, node: usize, segments: &[Cow<'_, str>]) -> Option<usize> {
        let node = &self.nodes[node];
        let Some((first, others)) = segments.split_first() else {
            return node.end;
        };
        let by_literal = || self.find(*node.literals.get(first.as_ref())?, others);
        let by_parameter = || match first.is_empty() {
            true => None,
            false => self.find(node.parameter?, others),
        };
        let is_something = !first.is_empty() || !others.is_empty();
        by_literal().or_else(by_parameter).or_else(|| node.rest.filter(|_| is_something))
    }
}

/// A segment percent-decoded; `None` if it cannot be.
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    let mut escapes = segment.split('%').skip(1).map(str::as_bytes);
    let is_escape =
        |after: &[u8]| after.iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2;
    match escapes.all(is_escape) {
        true => percent_decode_str(segment).decode_utf8().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn router(patterns: &[&'static str]) -> Router<&'static str> {
        let mut router = Router::default();
        for text in patterns {
            router.insert(pattern(text), *text).unwrap_or_else(|conflict| panic!("{conflict}"));
        }
        router
    }

    /// The pattern that a path leads to and its parameters, as `/a/:b b=1`.
    fn at(router: &Router<&'static str>, path: &str) -> String {
        match router.at(path) {
            Match::Found { value, params } => {
                let params = params.iter().map(|(name, value)| format!(" {name}={value}"));
                format!("{value}{}", params.collect::<String>())
            }
            Match::NotFound => "not found".to_owned(),
            Match::BadEncoding => "bad encoding".to_owned(),
        }
    }

    #[track_caller]
    fn leads(patterns: &[&'static str], expected: &[(&str, &str)]) {
        // The order in which plugins are loaded must not matter.
        let reversed: Vec<_> = patterns.iter().rev().copied().collect();
        for order in [patterns, &reversed] {
            let router = router(order);
            for (path, result) in expected {
                assert_eq!(at(&router, path), *result, "{path}");
            }
        }
    }

    #[test]
    fn literal_text_is_matched_whole() {
        leads(
            &["/", "/chat", "/chat/lobby"],
            &[
                ("/", "/"),
                ("/chat", "/chat"),
                ("/chat/lobby", "/chat/lobby"),
                ("/chat/", "not found"),
                ("/cha", "not found"),
                ("/chats", "not found"),
                ("/Chat", "not found"),
                ("//chat", "not found"),
                ("", "not found"),
                ("chat", "not found"),
                ("*", "not found"),
            ],
        );
    }

    #[test]
    fn a_parameter_is_one_segment_and_not_empty() {
        leads(
            &["/chat/:room/:user"],
            &[
                ("/chat/a/b", "/chat/:room/:user room=a user=b"),
                ("/chat/a", "not found"),
                ("/chat/a/", "not found"),
                ("/chat//b", "not found"),
                ("/chat/a/b/c", "not found"),
            ],
        );
    }

    #[test]
    fn the_rest_is_at_least_one_character() {
        leads(
            &["/files/*path"],
            &[
                ("/files/a", "/files/*path path=a"),
                ("/files/a/b/", "/files/*path path=a/b/"),
                ("/files//a", "/files/*path path=/a"),
                ("/files/", "not found"),
                ("/files", "not found"),
            ],
        );
        leads(&["/*all"], &[("/", "not found"), ("/x", "/*all all=x")]);
    }

    #[test]
    fn the_most_specific_pattern_wins_segment_by_segment() {
        leads(
            &["/chat/new", "/chat/:id", "/chat/*rest", "/:any/new"],
            &[
                ("/chat/new", "/chat/new"),
                ("/chat/7", "/chat/:id id=7"),
                ("/chat/7/8", "/chat/*rest rest=7/8"),
                ("/else/new", "/:any/new any=else"),
                ("/else/7", "not found"),
            ],
        );
    }

    #[test]
    fn a_choice_that_leads_nowhere_is_taken_back() {
        leads(
            &["/chat/new", "/chat/:id/log", "/*rest", "/:any/new/:b/c"],
            &[
                ("/chat/new/log", "/chat/:id/log id=new"),
                ("/chat/new/x", "/*rest rest=chat/new/x"),
                ("/chat/new/b/c", "/:any/new/:b/c any=chat b=b"),
            ],
        );
    }

    #[test]
    fn parameters_are_decoded_after_splitting() {
        leads(
            &["/chat/:room", "/files/*path"],
            &[
                ("/chat/a%20b", "/chat/:room room=a b"),
                ("/chat/a%2Fb", "/chat/:room room=a/b"),
                ("/chat/caf%C3%A9", "/chat/:room room=café"),
                ("/chat/a+b", "/chat/:room room=a+b"),
                ("/chat/%3Aroom", "/chat/:room room=:room"),
                ("/chat/%2541", "/chat/:room room=%41"),
                ("/files/a%20b/c", "/files/*path path=a b/c"),
            ],
        );
    }

    #[test]
    fn literal_text_is_compared_decoded() {
        leads(
            &["/café/{x}", "/a b"],
            &[
                ("/caf%C3%A9/{x}", "/café/{x}"),
                ("/c%61f%c3%a9/%7Bx%7d", "/café/{x}"),
                ("/a%20b", "/a b"),
                ("/caf%C3%A9%2F{x}", "not found"),
            ],
        );
    }

    #[test]
    fn broken_escapes_are_bad_encoding() {
        let router = router(&["/chat/:room"]);
        for path in ["/chat/%", "/chat/%2", "/chat/%zz", "/chat/%ff", "/chat/%C3/%A9", "/x/%%41"] {
            assert_eq!(at(&router, path), "bad encoding", "{path}");
        }
    }

    #[test]
    fn patterns_that_differ_in_names_only_are_in_conflict() {
        for (one, other) in [("/a/:x", "/a/:y"), ("/a/*x", "/a/*y"), ("/", "/"), ("/:x/b", "/:y/b")]
        {
            let mut router = router(&[]);
            router.insert(pattern(one), "first").expect("nothing is there");
            let conflict = router.insert(pattern(other), "second").expect_err("the same pattern");
            assert_eq!(conflict.existing.as_str(), one);
            assert_eq!(conflict.pattern.as_str(), other);
            assert_eq!(router.holder(&conflict), Some(&"first"));
        }
    }

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
        assert!(Pattern::parse(&long[..255]).is_ok());
    }

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z{}:*é ]{1,4}".prop_filter("no parameter", |s| !s.starts_with([':', '*']))]
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_was_filled_with(
            parts in prop::collection::vec((segment(), prop::option::of("\\PC{1,8}")), 0..6),
            rest in prop::option::of("\\PC{1,8}"),
        ) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let (mut text, mut path, mut expected) = (String::new(), String::new(), Vec::new());
            for (index, (literal, value)) in parts.iter().enumerate() {
                match value {
                    Some(value) => {
                        text.push_str(&format!("/:p{index}"));
                        path.push_str(&format!("/{}", encode(value)));
                        expected.push((format!("p{index}"), value.clone()));
                    }
                    None => {
                        text.push_str(&format!("/{literal}"));
                        path.push_str(&format!("/{}", encode(literal)));
                    }
                }
            }
            if let Some(rest) = rest {
                text.push_str("/*rest");
                path.push_str(&format!("/{}", encode(&rest)));
                expected.push(("rest".to_owned(), rest));
            }
            if text.is_empty() {
                (text, path) = ("/".to_owned(), "/".to_owned());
            }
            let mut router = Router::default();
            router.insert(pattern(&text), ()).expect("nothing is there");
            prop_assert_eq!(router.at(&path), Match::Found { value: &(), params: expected });
        }

        #[test]
        fn no_input_panics(text in "[/:*%a-cé.?]{0,20}|\\PC{0,40}", path in "/[/%a-c0-9F]{0,20}|\\PC{0,40}") {
            let mut router = router(&["/", "/a/:b", "/:a/b", "/*c"]);
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = router.insert(pattern, "other");
            }
            let _ = router.at(&path);
        }
    }
}
