//! The fuzz target `patterns`: lines of patterns, and a path as the last.

use super::*;
use crate::pattern::PatternError;

/// Returns a router with this pattern only.
fn alone(pattern: &str) -> Router<()> {
    let mut router = Router::default();
    let pattern = Pattern::parse(pattern).expect("it was a pattern before");
    router.insert(pattern, ()).expect("there is no other");
    router
}

/// Checks that a router finds what one of its patterns alone would find, and something if any of them
/// does.
#[test]
fn fuzz_patterns() {
    let words = ["/:", "/:room_id", "/*rest", "/", "\n/", "%2F", "%C3%A9", "é", "%", "//"];
    wharf_fuzz::run("patterns", &words.map(str::as_bytes), |input| {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.lines().rev();
        let path = lines.next().unwrap_or_default();
        let mut router = Router::default();
        let mut parsed = Vec::new();
        for line in lines {
            parsed.push(match Pattern::parse(line).map(|pattern| router.insert(pattern, line)) {
                Ok(inserted) => inserted.is_ok().to_string(),
                Err(PatternError::BadCharacter { .. }) => "character".to_owned(),
                Err(error) => error.to_string().split(' ').take(3).collect(),
            });
        }
        let there: Vec<&str> = router.entries.iter().map(|(_, line)| *line).collect();
        let found = match router.at(path) {
            Match::Found { value, params } => {
                let names = params.len();
                assert_eq!(alone(value).at(path), Match::Found { value: &(), params });
                Some(names)
            }
            Match::NotFound => {
                let fits = |line: &&&str| matches!(alone(line).at(path), Match::Found { .. });
                assert_eq!(there.iter().find(fits), None);
                None
            }
            Match::BadEncoding => Some(usize::MAX),
        };
        parsed.dedup();
        (parsed, found)
    });
}
