//! The source of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The place where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default, since no value was given.
    Default,
    /// A file, by its path.
    File(PathBuf),
    /// The environment, by the variable's name.
    Environment(String),
    /// A flag, by its name without the dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            // A line break in a path would end the comment that shows it.
            Source::File(path) => {
                f.write_str(&path.display().to_string().replace(char::is_control, "?"))
            }
            Source::Environment(variable) => f.write_str(variable),
            Source::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// The source of each value of a [`Config`](super::Config).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Returns the source of this key's value. A value of a channel has a key such as
    /// `channels.chat.settings.greeting`.
    pub fn of(&self, key: &str) -> &Source {
        self.0.get(key).unwrap_or(&Source::Default)
    }

    /// Returns the source of the first value of this table.
    pub(super) fn under(&self, table: &str) -> &Source {
        let first = self.0.range(format!("{table}.")..).next();
        let first = first.filter(|(key, _)| key.starts_with(table));
        first.map_or(&Source::Default, |(_, source)| source)
    }

    /// Notes the source of a value.
    pub(super) fn note(&mut self, key: &str, source: &Source) {
        self.0.insert(key.to_owned(), source.clone());
    }
}
