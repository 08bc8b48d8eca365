//! The table of deployed code: one record, for all channels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest one that it reads.
pub const FORMAT: u64 = 1;

/// Channels of a table, at most. The record stays far below the largest value of an engine.
pub const MAX_CHANNELS: usize = 1000;

/// The code that the cluster runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The format.
    pub format: u64,
    /// Number of the table: one more with each change; 0 before the first one.
    pub number: u64,
    /// The channels with deployed code, by name.
    #[serde(default)]
    pub channels: BTreeMap<String, Deployed>,
}

/// The code of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The code that serves.
    pub current: Version,
    /// The code before it, which a rollback brings back.
    #[serde(default)]
    pub previous: Option<Version>,
}

/// A file that was deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// Time of the deployment or the rollback, in milliseconds since 1970.
    #[serde(default)]
    pub at_ms: u64,
    /// The person who has asked for it, as the client names it.
    #[serde(default)]
    pub by: String,
    /// Name of the node that was asked.
    #[serde(default)]
    pub node: String,
}

/// The reason why a table cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableTable {
    /// A newer version has written it.
    #[error(
        "a newer version of wharf has written the table of deployed code (format {0}, and this version reads {FORMAT}); \
         update this host"
    )]
    Format(u64),
    /// It is damaged.
    #[error("the table of deployed code is damaged: {0}")]
    Damaged(String),
}

/// The reason why a table cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// The channel has no deployed code.
    #[error("nothing was deployed to the channel {0}")]
    NotDeployed(String),
    /// There is no code before the present one.
    #[error(
        "the channel {0} has no code before the present one; withdraw it to serve the file of the plugin folder"
    )]
    NoPrevious(String),
    /// There are too many channels.
    #[error("code of {MAX_CHANNELS} channels is deployed already; withdraw some of them")]
    Full,
}

impl Default for Table {
    fn default() -> Table {
        Table { format: FORMAT, number: 0, channels: BTreeMap::new() }
    }
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    ///
    /// It is damaged, or of a newer version.
    pub fn read(bytes: &[u8]) -> Result<Table, UnreadableTable> {
        #[derive(Deserialize)]
        struct OfAnyFormat {
            format: u64,
        }
        let damaged = |why: serde_json::Error| UnreadableTable::Damaged(why.to_string());
        let OfAnyFormat { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(UnreadableTable::Format(format));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Returns the bytes of the table.
    pub fn write(&self) -> Vec<u8> {
        // Texts and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the hash of the code that a channel runs, if it was deployed.
    pub fn code(&self, channel: &str) -> Option<&str> {
        self.channels.get(channel).map(|deployed| &*deployed.current.sha256)
    }

    /// Returns the table after a deployment. Code that serves already keeps the code before it.
    ///
    /// # Errors
    ///
    /// There are too many channels.
    pub fn with(&self, channel: &str, version: Version) -> Result<Table, Unchanged> {
        let mut table = self.next();
        let before = table.channels.remove(channel);
        if before.is_none() && table.channels.len() >= MAX_CHANNELS {
            return Err(Unchanged::Full);
        }
        let previous = before.and_then(|before| match before.current.sha256 == version.sha256 {
            true => before.previous,
            false => Some(before.current),
        });
        table.channels.insert(channel.to_owned(), Deployed { current: version, previous });
        Ok(table)
    }

    /// Returns the code before the present one.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn previous(&self, channel: &str) -> Result<&Version, Unchanged> {
        let deployed = self.channels.get(channel);
        let deployed = deployed.ok_or_else(|| Unchanged::NotDeployed(channel.to_owned()))?;
        deployed.previous.as_ref().ok_or_else(|| Unchanged::NoPrevious(channel.to_owned()))
    }

    /// Returns the table without a channel, which its file in the plugin folder serves again.
    ///
    /// # Errors
    ///
    /// The channel has no deployed code.
    pub fn without(&self, channel: &str) -> Result<Table, Unchanged> {
        let mut table = self.next();
        let removed = table.channels.remove(channel);
        removed.map(|_| table).ok_or_else(|| Unchanged::NotDeployed(channel.to_owned()))
    }

    /// Returns the hashes of all files that the table names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let versions = self.channels.values().flat_map(|deployed| {
            [Some(&deployed.current), deployed.previous.as_ref()].into_iter().flatten()
        });
        versions.map(|version| &*version.sha256)
    }

    fn next(&self) -> Table {
        Table { number: self.number + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(sha256: &str) -> Version {
        Version {
            sha256: sha256.to_owned(),
            bytes: 7,
            at_ms: 1,
            by: "ann@laptop".to_owned(),
            node: "wharf-1".to_owned(),
        }
    }

    #[test]
    fn a_rollback_brings_the_code_before_back_and_a_second_one_the_newer_again() {
        let table = Table::default().with("chat", version("one")).expect("there is room");
        assert_eq!(table.previous("chat"), Err(Unchanged::NoPrevious("chat".to_owned())));
        let table = table.with("chat", version("two")).expect("there is room");
        let one = table.previous("chat").expect("code before it").clone();
        let table = table.with("chat", one).expect("there is room");
        assert_eq!((table.code("chat"), table.number), (Some("one"), 3));
        assert_eq!(table.previous("chat").map(|it| &*it.sha256), Ok("two"));
    }

    #[test]
    fn code_that_is_deployed_again_keeps_the_code_before_it() {
        let table = Table::default().with("chat", version("one")).expect("there is room");
        let table = table.with("chat", version("two")).expect("there is room");
        let again = table.with("chat", version("two")).expect("there is room");
        assert_eq!(again.previous("chat").map(|it| &*it.sha256), Ok("one"));
        assert_eq!(again.files().collect::<Vec<_>>(), ["two", "one"]);
    }

    #[test]
    fn a_table_is_read_as_it_was_written_and_one_of_a_newer_version_is_refused() {
        // A change of this text is a change of the format.
        let kept = r#"{"format":1,"number":2,"channels":{"chat":{"current":{"sha256":"two","bytes":7,"at_ms":1,"by":"ann@laptop","node":"wharf-1"},"previous":null}}}"#;
        let mut table = Table::default().with("chat", version("two")).expect("there is room");
        table.number = 2;
        assert_eq!(String::from_utf8_lossy(&table.write()), kept);
        assert_eq!(Table::read(kept.as_bytes()), Ok(table));
        let newer = br#"{"format": 2, "channels": []}"#;
        assert_eq!(Table::read(newer), Err(UnreadableTable::Format(2)));
        assert!(matches!(Table::read(b"{"), Err(UnreadableTable::Damaged(_))));
    }

    #[test]
    fn a_full_table_takes_code_of_channels_that_it_has() {
        let mut table = Table::default();
        for number in 0..MAX_CHANNELS {
            table = table.with(&format!("channel-{number}"), version("one")).expect("room");
        }
        assert_eq!(table.with("one-more", version("one")), Err(Unchanged::Full));
        let table = table.with("channel-0", version("two")).expect("it is there already");
        assert!(table.write().len() < 900 << 10, "{}", table.write().len());
        assert!(table.without("channel-0").expect("it is there").code("channel-0").is_none());
    }
}
