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
pub struct Sources {
    by_key: BTreeMap<String, Source>,
    ignored: Vec<String>,
}

impl Sources {
    /// Returns the source of this key's value. A value of a channel has a key such as
    /// `channels.chat.settings.greeting`.
    pub fn of(&self, key: &str) -> &Source {
        self.by_key.get(key).unwrap_or(&Source::Default)
    }

    /// Returns the source of the first value of this table.
    pub(super) fn under(&self, table: &str) -> &Source {
        let first = self.by_key.range(format!("{table}.")..).next();
        let first = first.filter(|(key, _)| key.starts_with(table));
        first.map_or(&Source::Default, |(_, source)| source)
    }

    /// Notes the source of a value.
    pub(super) fn note(&mut self, key: &str, source: &Source) {
        self.by_key.insert(key.to_owned(), source.clone());
    }

    /// Notes a variable that begins like the host's and is not one of them.
    pub(super) fn note_ignored(&mut self, variable: &str) {
        self.ignored.push(variable.escape_debug().to_string());
    }

    /// Returns a sentence about the variables that begin like the host's, and name no setting and
    /// nothing similar; `None` if there are none.
    pub fn ignored(&self) -> Option<String> {
        let (first, others) = self.ignored.split_first()?;
        let names = others.iter().fold(first.clone(), |names, name| names + ", " + name);
        let verb =
            if others.is_empty() { "names no setting and is" } else { "name no setting and are" };
        Some(format!("{names} {verb} ignored; `wharf serve --help` lists all settings"))
    }
}
