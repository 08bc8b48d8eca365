//! The records of a folder as the operator reads them: those of one moment, also while a host has the
//! folder.
//!
//! The host is not disturbed: a reader takes no lock that its writer waits for. What the host writes
//! meanwhile stays in the log of the database, which grows until the reader has ended.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::database::{COLUMNS, FILE, FORMAT, READING, Row, connect, unusable};
use crate::error::{OpenError, Unavailable};
use crate::records::{Kind, Record};

/// The records of a folder at one moment: at that of [`open`](Stored::open).
#[derive(Debug)]
pub struct Stored {
    /// In a transaction that reads.
    pub(crate) connection: Connection,
}

/// The number and size of the records of one kind of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The channel.
    pub channel: String,
    /// The kind; `None` for one that this version does not know.
    pub kind: Option<Kind>,
    /// Number of records.
    pub records: u64,
    /// Size of their keys and values, in bytes.
    pub bytes: u64,
}

/// A record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The kind.
    pub kind: Kind,
    /// The key within the kind.
    pub key: Bytes,
    /// The content.
    pub record: Record,
    /// True if the checksum is not that of the content.
    pub is_damaged: bool,
}

impl Stored {
    /// Opens the records of a folder. `None` if there is no database.
    ///
    /// # Errors
    ///
    /// Another version or another program has written it, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Option<Stored>, OpenError> {
        Stored::open_file(folder, FILE)
    }

    pub(crate) fn open_file(folder: &Path, file: &str) -> Result<Option<Stored>, OpenError> {
        let there = folder.join(file).try_exists().map_err(|error| OpenError::Unusable {
            folder: folder.to_owned(),
            why: error.to_string(),
        })?;
        if !there {
            return Ok(None);
        }
        let (connection, format) = connect(folder, file, READING)?;
        match format {
            // A host is just making it.
            0 => return Ok(None),
            FORMAT => {}
            found => {
                let folder = folder.to_owned();
                return Err(OpenError::Older { folder, found, known: FORMAT });
            }
        }
        // The moment is that of the first read of the transaction.
        connection
            .pragma_update(None, "cell_size_check", true)
            .and_then(|()| connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema"))
            .map_err(|error| unusable(folder, &error))?;
        Ok(Some(Stored { connection }))
    }

    /// Returns the format of the folder.
    pub fn format(&self) -> i64 {
        FORMAT
    }

    /// Returns the names of all channels that have ever kept something, in their order.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub fn channels(&self) -> Result<Vec<String>, Unavailable> {
        Ok(self.numbers()?.into_iter().map(|(name, _)| name).collect())
    }

    /// Returns the channels with their numbers, in the order of their names.
    fn numbers(&self) -> Result<Vec<(String, i64)>, Unavailable> {
        let mut select =
            self.connection.prepare("SELECT name, number FROM channel ORDER BY name")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Counts the records by channel and kind, in the order of both.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub fn counts(&self) -> Result<Vec<Count>, Unavailable> {
        counts(&self.connection)
    }

    /// Reads records in the order of their channels, kinds and keys: those of one channel, of one kind,
    /// or all. Damaged ones are among them.
    ///
    /// # Errors
    ///
    /// The database cannot be read, it has records of a kind that this version does not know, or `each`
    /// has failed.
    pub fn read<E: From<Unavailable>>(
        &self,
        channel: Option<&str>,
        kind: Option<Kind>,
        mut each: impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut select = self
            .connection
            .prepare(&format!(
                "SELECT {COLUMNS}, kind FROM record \
                 WHERE channel = ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY kind, key"
            ))
            .map_err(Unavailable::from)?;
        for (name, number) in self.numbers()? {
            if channel.is_some_and(|channel| channel != name) {
                continue;
            }
            let of_kind = kind.map(|kind| kind as u8);
            let mut rows = select.query(params![number, of_kind]).map_err(Unavailable::from)?;
            while let Some(row) = rows.next().map_err(Unavailable::from)? {
                let number: u8 = row.get(5).map_err(Unavailable::from)?;
                let kind = Kind::numbered(number).ok_or_else(|| unknown_kind(&name, number))?;
                let Row { key, record, is_damaged } =
                    Row::read(row, 0).map_err(Unavailable::from)?;
                each(Entry { channel: &name, kind, key, record, is_damaged })?;
            }
        }
        Ok(())
    }
}

fn unknown_kind(channel: &str, number: u8) -> Unavailable {
    Unavailable::new(&format!(
        "channel {channel} has records of kind {number}, which this version of wharf does not know; \
         use the version that wrote them"
    ))
}

/// Counts the records by channel and kind, in the order of both.
pub(crate) fn counts(connection: &Connection) -> Result<Vec<Count>, Unavailable> {
    let mut select = connection.prepare(
        "SELECT channel.name, kind, count(*), sum(length(key) + length(value)) \
         FROM record JOIN channel ON channel.number = record.channel \
         GROUP BY record.channel, kind ORDER BY channel.name, kind",
    )?;
    let rows = select.query_map([], |row| {
        Ok(Count {
            channel: row.get(0)?,
            kind: Kind::numbered(row.get(1)?),
            records: row.get::<_, i64>(2)?.cast_unsigned(),
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the size of all files in a folder, in bytes. What cannot be read counts as nothing.
pub fn bytes_on_disk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}
