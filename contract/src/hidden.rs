//! Texts that must never be shown, and their removal from other texts.

use std::borrow::Cow;
use std::fmt;

use crate::text::cut;

/// Replacement for a secret in a text.
pub const HIDDEN: &str = "***";

/// Shortest secret that is replaced in texts, in bytes. Shorter ones would match everywhere.
const MIN_HIDDEN_BYTES: usize = 4;

/// Texts that are replaced, the longest first: each secret, the lines of one that has several (a key
/// file, of which guests print a line at a time), and both as Rust's `{:?}` writes them.
#[derive(Clone, Default, PartialEq)]
pub struct HiddenTexts(Vec<Box<str>>);

impl fmt::Debug for HiddenTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl HiddenTexts {
    /// Makes the list of these secrets.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> HiddenTexts {
        let texts =
            secrets.into_iter().flat_map(|value| std::iter::once(value).chain(value.lines()));
        let long = texts.map(str::trim).filter(|text| text.len() >= MIN_HIDDEN_BYTES);
        let written = long.flat_map(|text| [text.to_owned(), text.escape_debug().to_string()]);
        let mut hidden: Vec<Box<str>> = written.map(String::into_boxed_str).collect();
        hidden.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        hidden.dedup();
        HiddenTexts(hidden)
    }

    /// Returns the first `limit` bytes of a text, in which `***` replaces each secret of at least 4
    /// bytes, without a character that the limit would cut in two. Costs nothing if there are no
    /// secrets.
    pub fn hide<'a>(&self, text: &'a str, limit: usize) -> Cow<'a, str> {
        let longest = self.longest();
        if longest == 0 {
            return Cow::Borrowed(cut(text, limit));
        }
        // A secret that crosses the limit must be found too, but a long text need not be searched
        // to its end. A text that the window may have cut in two behind the limit is not shown.
        let window = cut(text, limit.saturating_add(longest));
        let mut hidden = self.replace(window);
        if window.len() < text.len() {
            let whole = hidden.len().saturating_sub(longest - 1);
            hidden.truncate(hidden.floor_char_boundary(whole));
        }
        hidden.truncate(hidden.floor_char_boundary(limit));
        Cow::Owned(hidden)
    }

    /// Returns the size of the longest text that is replaced, in bytes; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.0.first().map_or(0, |text| text.len())
    }

    fn replace(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(&**secret) {
                text = text.replace(&**secret, HIDDEN);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_replaced_the_longer_one_first() {
        let secrets = HiddenTexts::of(["hunter", "hunter22", "abc"]);
        assert_eq!(secrets.hide("hunter22 hunter abc", 100), "*** *** abc");
    }

    #[test]
    fn the_lines_of_a_secret_and_its_literal_are_replaced_as_well() {
        let secrets = HiddenTexts::of(["first\"line\nsecond line\n"]);
        assert_eq!(secrets.hide("a second line", 100), "a ***");
        assert_eq!(secrets.hide(&format!("{:?}", "first\"line"), 100), "\"***\"");
        let literal = format!("{:?}", "first\"line\nsecond line");
        assert_eq!(secrets.hide(&literal, 100), "\"***\"");
    }

    proptest! {
        #[test]
        fn no_cut_leaves_a_part_of_a_secret(before in "é{0,40}", after in "x{0,60}", limit in 0usize..120) {
            let secrets = HiddenTexts::of(["hunter22secret"]);
            let text = format!("{before}hunter22secret{after}");
            let shown = secrets.hide(&text, limit);
            prop_assert!(shown.len() <= limit);
            prop_assert!(!shown.contains("hu"), "{}", shown);
        }
    }
}
