//! The values that must never be shown: a channel's secrets, and their removal from texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use wharf_contract::text::cut;

/// Replacement for a secret in a text.
pub(crate) const HIDDEN: &str = "***";

/// Shortest secret that is replaced in texts, in bytes. Shorter ones would match everywhere.
const MIN_HIDDEN_BYTES: usize = 4;

/// A value that is never shown: its `Debug` and `Display` are `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: Box<str>,
    origin: SecretOrigin,
}

/// The place where the operator keeps a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// The configuration itself.
    Plain,
    /// An environment variable, by its name.
    Environment(String),
    /// A file, by its path as given.
    File(PathBuf),
}

impl Secret {
    /// Makes a secret from its value and its origin.
    pub fn new(value: impl Into<Box<str>>, origin: SecretOrigin) -> Secret {
        Secret { value: value.into(), origin }
    }

    /// Returns the value. It must never be logged.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Returns the secret as it is written in a configuration file; a plain one is hidden.
    pub(crate) fn as_toml(&self) -> toml::Value {
        let reference = |key: &str, value: &str| {
            let value = toml::Value::String(value.to_owned());
            toml::Value::Table([(key.to_owned(), value)].into_iter().collect())
        };
        match &self.origin {
            SecretOrigin::Plain => toml::Value::String(HIDDEN.to_owned()),
            SecretOrigin::Environment(variable) => reference("env", variable),
            SecretOrigin::File(path) => reference("file", &path.to_string_lossy()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A channel's secrets by name, and the means to keep them out of its log.
#[derive(Clone, Default, PartialEq)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
    /// Texts that are replaced, the longest first: each secret, the lines of one that has several
    /// (a key file, of which guests print a line at a time), and both as Rust's `{:?}` writes them.
    hidden: Vec<Box<str>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.by_name).finish()
    }
}

impl Secrets {
    /// Returns the secret of that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// Returns all of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.by_name.iter().map(|(name, secret)| (name.as_str(), secret))
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
        self.hidden.first().map_or(0, |text| text.len())
    }

    fn replace(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.hidden {
            if text.contains(&**secret) {
                text = text.replace(&**secret, HIDDEN);
            }
        }
        text
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Secrets {
        let by_name: BTreeMap<_, _> = secrets.into_iter().collect();
        let values = by_name.values().map(Secret::expose);
        let texts = values.flat_map(|value| std::iter::once(value).chain(value.lines()));
        let long = texts.map(str::trim).filter(|text| text.len() >= MIN_HIDDEN_BYTES);
        let written = long.flat_map(|text| [text.to_owned(), text.escape_debug().to_string()]);
        let mut hidden: Vec<Box<str>> = written.map(String::into_boxed_str).collect();
        hidden.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        hidden.dedup();
        Secrets { by_name, hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets(values: &[&str]) -> Secrets {
        let secret = |value: &&str| {
            let name = format!("name{}", value.len());
            (name, Secret::new(*value, SecretOrigin::Plain))
        };
        values.iter().map(secret).collect()
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::new("hunter22", SecretOrigin::Plain);
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
        assert_eq!(secret.as_toml().to_string(), "\"***\"");
        assert!(!format!("{:?}", secrets(&["hunter22"])).contains("hunter"));
    }

    #[test]
    fn secrets_are_replaced_the_longer_one_first() {
        let secrets = secrets(&["hunter", "hunter22", "abc"]);
        assert_eq!(secrets.hide("hunter22 hunter abc", 100), "*** *** abc");
    }

    #[test]
    fn the_lines_of_a_secret_and_its_literal_are_replaced_as_well() {
        let secrets = secrets(&["first\"line\nsecond line\n"]);
        assert_eq!(secrets.hide("a second line", 100), "a ***");
        assert_eq!(secrets.hide(&format!("{:?}", "first\"line"), 100), "\"***\"");
        let literal = format!("{:?}", "first\"line\nsecond line");
        assert_eq!(secrets.hide(&literal, 100), "\"***\"");
    }

    proptest! {
        #[test]
        fn no_cut_leaves_a_part_of_a_secret(before in "é{0,40}", after in "x{0,60}", limit in 0usize..120) {
            let secrets = secrets(&["hunter22secret"]);
            let text = format!("{before}hunter22secret{after}");
            let shown = secrets.hide(&text, limit);
            prop_assert!(shown.len() <= limit);
            prop_assert!(!shown.contains("hu"), "{}", shown);
        }
    }
}
