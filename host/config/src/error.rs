//! The reasons why a configuration cannot be used.

use std::path::PathBuf;

use crate::{Source, Stated, mistake};

/// The reason why a configuration cannot be used. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file does not exist, cannot be read, or is not TOML.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The mistake, with its line if that is known.
        reason: String,
    },
    /// An unknown key.
    #[error("{}", mistake::unknown_text(key, given, *nearest))]
    Unknown {
        /// The key, in lower case as in the file.
        key: String,
        /// Source of the key.
        given: Source,
        /// The most similar setting.
        nearest: Option<&'static str>,
    },
    /// A key that the table of a channel does not have.
    #[error("{}", mistake::unknown_in_table_text(key, given, *nearest, known))]
    UnknownInTable {
        /// The key with those of the tables around it.
        key: String,
        /// Source of the key.
        given: Source,
        /// The most similar key of the table.
        nearest: Option<&'static str>,
        /// The keys that the table has.
        known: &'static [&'static str],
    },
    /// A value in a channel's table that cannot be used. It may be a secret, so it is not repeated.
    #[error("{key} ({given}): {reason}")]
    Refused {
        /// The key with those of the tables around it.
        key: String,
        /// Source of the value.
        given: Source,
        /// The mistake, and the way to correct it.
        reason: String,
    },
    /// A value of the wrong type or outside its range.
    #[error("{stated} is not allowed: it must be {allowed}")]
    Invalid {
        /// The key, the value and its source.
        stated: Stated,
        /// The values that are allowed, in words.
        allowed: String,
    },
    /// Two values that are allowed alone, but not together.
    #[error("{small} must not be more than {large}: {reason}")]
    Contradiction {
        /// The value that is too large.
        small: Box<Stated>,
        /// The value that bounds it.
        large: Box<Stated>,
        /// The consequence.
        reason: &'static str,
    },
}
