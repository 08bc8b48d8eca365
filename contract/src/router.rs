//! From a request's path to the value of its pattern.
//!
//! If several patterns match, the most specific one wins, segment by segment from the left: literal
//! text before `:name` before `*name`. A choice that leads nowhere is taken back: beside
//! `/chat/new`, the pattern `/chat/:id/log` still gets `/chat/new/log`.
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

use crate::pattern::{Pattern, Segment};

/// Two patterns that match exactly the same paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The pattern that was refused.
    pub pattern: Pattern,
    /// The pattern that was there.
    pub existing: Pattern,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the path {} is taken by {}", self.pattern, self.existing)
    }
}

impl std::error::Error for Conflict {}

/// Patterns, each with a value. Built from a list, then only read.
#[derive(Clone, Debug)]
pub struct Router<T> {
    entries: Vec<(Pattern, T)>,
    /// The first is the root.
    nodes: Vec<Node>,
}

/// The continuations of a certain beginning of a path, by indices into `nodes` and `entries`.
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

/// The result of looking a path up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'a, T> {
    /// A pattern fits.
    Found {
        /// The value of the pattern that matches best.
        value: &'a T,
        /// The parameters by name, percent-decoded, in the order of the pattern.
        params: Vec<(String, String)>,
    },
    /// No pattern fits.
    NotFound,
    /// The path has a broken percent escape, or one that makes no UTF-8: a bad request.
    BadEncoding,
}

impl<T> Router<T> {
    /// Adds a pattern.
    ///
    /// # Errors
    ///
    /// A pattern that is there already, perhaps with other parameter names. Nothing is added then.
    #[expect(
        clippy::indexing_slicing,
        reason = "numbers of nodes and entries are places in lists that only grow"
    )]
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

    /// Returns the value of the pattern that another one conflicts with.
    pub fn holder(&self, conflict: &Conflict) -> Option<&T> {
        let found = self.entries.iter().find(|(pattern, _)| *pattern == conflict.existing);
        found.map(|(_, value)| value)
    }

    /// Finds the pattern for a path as the client sent it: percent-encoded, without the query.
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
        let mut segments = segments.into_iter();
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(_) => drop(segments.next()),
                Segment::Parameter(name) => {
                    params.extend(segments.next().map(|text| (name.clone(), text.into_owned())));
                }
                Segment::Rest(name) => {
                    params.push((name.clone(), segments.as_slice().join("/")));
                }
            }
        }
        Match::Found { value, params }
    }

    /// Returns the entry for the rest of a path. Each node is visited at most once, since there is
    /// one way to it: no path takes longer than looking at every pattern.
    fn find(&self, node: usize, segments: &[Cow<'_, str>]) -> Option<usize> {
        let node = self.nodes.get(node)?;
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

/// Decodes the percent escapes of a segment; `None` if it has a broken escape, or one that makes no
/// UTF-8. A `+` stays as it is.
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
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

    /// Returns the pattern that a path leads to and its parameters, as `/a/:b b=1`.
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
    fn only_whole_escapes_of_utf_8_are_decoded() {
        assert_eq!(decode("plain+text").as_deref(), Some("plain+text"));
        assert_eq!(decode("%41%c3%A9").as_deref(), Some("Aé"));
        for broken in ["%", "%4", "%zz", "%ff", "a%+1", "%%41"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
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
            let encode = |text: &str| {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
            };
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
