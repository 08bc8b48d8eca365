//! The values that must never be shown: a channel's secrets, and their removal from texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use wharf_contract::hidden::{HIDDEN, HiddenTexts};

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
    hidden: HiddenTexts,
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

    /// Returns the first `limit` bytes of a text, in which `***` replaces each secret.
    pub fn hide<'a>(&self, text: &'a str, limit: usize) -> Cow<'a, str> {
        self.hidden.hide(text, limit)
    }

    /// Returns the size of the longest text that is replaced, in bytes; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.hidden.longest()
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Secrets {
        let by_name: BTreeMap<_, _> = secrets.into_iter().collect();
        let hidden = HiddenTexts::of(by_name.values().map(Secret::expose));
        Secrets { by_name, hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
