//! The rows of the records.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::disk::Durability;
use crate::era;
use crate::error::{OpenError, Unavailable, reason};
use crate::records::{Change, Damaged, Kind, Record};

/// The name of the file in the data folder.
pub(crate) const FILE: &str = "wharf.db";

/// The format that this version writes. Each change of the tables is a new one, with a step in
/// [`MIGRATIONS`].
pub(crate) const FORMAT: i64 = 2;

/// The statements that make each format from the one before, beginning with an empty file.
const MIGRATIONS: [&str; FORMAT as usize] = [
    "
    CREATE TABLE channel (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE record (
        channel INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (channel, kind, key)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
",
];

/// The mark of a file of this program ("wrf1"), in the field that SQLite has for it.
const APPLICATION: i64 = 0x7772_6631;

/// The columns of a [`Row`].
pub(crate) const COLUMNS: &str = "key, value, version, expires_at, checksum";

/// Time to wait for another program, which has the database for a moment only.
const BUSY: Duration = Duration::from_millis(500);

/// Flags of a connection that reads only. One thread at a time uses it, and a name is a path.
pub(crate) const READING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Flags of a connection that writes, and makes the file.
pub(crate) const WRITING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Pages of the log after which they are moved into the file: 16 MiB. More make moving rarer and
/// the next start slower.
const CHECKPOINT_PAGES: i64 = 4096;

/// A connection to the database.
#[derive(Debug)]
pub(crate) struct Database(Connection);

impl Database {
    /// Opens the database in a folder; makes it, or brings it to the current format.
    pub(crate) fn open(folder: &Path, durability: Durability) -> Result<Database, OpenError> {
        let (mut connection, format) = connect(folder, FILE, WRITING)?;
        let prepared = configure(&connection, durability)
            .and_then(|()| bring_to_format(&mut connection, format));
        prepared.map_err(|error| unusable(folder, &error))?;
        Ok(Database(connection))
    }

    /// Opens another connection to a database that [`open`](Database::open) has opened.
    pub(crate) fn open_again(folder: &Path, durability: Durability) -> Result<Database, OpenError> {
        let opened = Connection::open_with_flags(folder.join(FILE), WRITING)
            .and_then(|connection| configure(&connection, durability).map(|()| connection));
        opened.map(Database).map_err(|error| unusable(folder, &error))
    }

    /// Returns the connection, for statements of the operator.
    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }

    /// Returns the number of a channel, which it gets if it has none.
    pub(crate) fn channel(&self, name: &str) -> Result<i64, Unavailable> {
        let known = self
            .0
            .query_row("SELECT number FROM channel WHERE name = ?1", [name], |row| row.get(0))
            .optional()?;
        if let Some(number) = known {
            return Ok(number);
        }
        self.0.execute("INSERT INTO channel (name) VALUES (?1)", [name])?;
        Ok(self.0.last_insert_rowid())
    }

    /// Takes the folder over from its last holder. Returns the number of the [era](era): a new one, if
    /// records may have been lost.
    pub(crate) fn begin_era(&mut self, durability: Durability) -> Result<u64, Unavailable> {
        // A holder that is lost itself could not be missed at the next start.
        self.0.pragma_update(None, "synchronous", "full")?;
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = |name: &str| {
            let mut select = transaction.prepare("SELECT value FROM meta WHERE name = ?1")?;
            select.query_row([name], |row| row.get::<_, String>(0)).optional()
        };
        let before = value(era::HOLDER)?.unwrap_or_else(|| era::NOBODY.to_owned());
        let last = value(era::ERA)?.and_then(|number| number.parse::<u64>().ok());
        let more = u64::from(era::may_have_lost(&before));
        let number = last.unwrap_or_default().saturating_add(more);
        for (name, value) in
            [(era::HOLDER, era::holder(durability)), (era::ERA, number.to_string())]
        {
            transaction.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [name, &value])?;
        }
        transaction.commit()?;
        self.0.pragma_update(None, "synchronous", synchronous(durability))?;
        Ok(number)
    }

    /// Notes that the folder was closed in order, with all its records.
    pub(crate) fn end_era(&mut self) -> Result<(), Unavailable> {
        Ok(set_holder(&self.0, era::NOBODY)?)
    }

    /// Makes changes, all or none.
    pub(crate) fn write(&mut self, changes: &[(i64, Change)]) -> Result<(), Unavailable> {
        let written = self.write_all(changes);
        if written.is_err() && !self.0.is_autocommit() {
            // It fails only where the transaction is over already.
            let _ = self.0.execute_batch("ROLLBACK");
        }
        Ok(written?)
    }

    /// Makes changes in a transaction, which is left open if one of them fails. All statements are kept
    /// compiled: there are hundreds of groups a second.
    fn write_all(&mut self, changes: &[(i64, Change)]) -> rusqlite::Result<()> {
        self.0.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        // In a table whose only index is its key this takes three quarters of the time of an upsert.
        let mut insert = self
            .0
            .prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let mut delete = self
            .0
            .prepare_cached("DELETE FROM record WHERE channel = ?1 AND kind = ?2 AND key = ?3")?;
        for (channel, Change { kind, key, to }) in changes {
            match to {
                Some(record) => put(&mut insert, *channel, *kind, key, record)?,
                None => delete.execute(params![channel, *kind as u8, &**key])?,
            };
        }
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Writes something that changes nothing, to see if writing is possible.
    pub(crate) fn probe(&mut self) -> Result<(), Unavailable> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        Ok(transaction.commit()?)
    }

    /// Reads all records of a kind of a channel, in the order of their keys.
    pub(crate) fn load(
        &self,
        channel: i64,
        kind: Kind,
        mut each: impl FnMut(Bytes, Record),
    ) -> Result<(), Unavailable> {
        let mut select = self.0.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM record WHERE channel = ?1 AND kind = ?2 ORDER BY key"
        ))?;
        let mut rows = select.query(params![channel, kind as u8])?;
        while let Some(row) = rows.next()? {
            let Row { key, record, is_damaged } = Row::read(row, 0)?;
            if is_damaged {
                let what = Damaged { kind, key };
                let why = format!("{what}; restore a backup, or set the file aside");
                return Err(Unavailable::new(&why));
            }
            each(key, record);
        }
        Ok(())
    }
}

/// Sets who has the folder open.
pub(crate) fn set_holder(connection: &Connection, holder: &str) -> rusqlite::Result<()> {
    let values = [era::HOLDER, holder];
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", values)?;
    Ok(())
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::EachGroup => "full",
        Durability::Every(_) | Durability::Never => "normal",
    }
}

/// Opens a database in a folder, if this version can read it, with the format that it has; 0 for one
/// without tables.
pub(crate) fn connect(
    folder: &Path,
    file: &str,
    flags: OpenFlags,
) -> Result<(Connection, i64), OpenError> {
    let unusable = |error: rusqlite::Error| unusable(folder, &error);
    let file = folder.join(file);
    let connection = Connection::open_with_flags(&file, flags).map_err(unusable)?;
    connection.busy_timeout(BUSY).map_err(unusable)?;
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let format = pragma("user_version").map_err(unusable)?;
    let application = pragma("application_id").map_err(unusable)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(unusable)?;
    if application != APPLICATION && (tables > 0 || format > 0) {
        return Err(OpenError::Foreign { file });
    }
    if format > FORMAT {
        let folder = folder.to_owned();
        return Err(OpenError::Newer { folder, found: format, known: FORMAT });
    }
    Ok((connection, format))
}

fn configure(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // With NORMAL the log is written to the disk before pages are moved from it, so that a loss of power
    // costs its end at most.
    connection.pragma_update(None, "synchronous", synchronous(durability))?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Makes the tables of the current format. It writes even if they are there, so that a folder that cannot be
/// written is found at the start.
fn bring_to_format(connection: &mut Connection, format: i64) -> rusqlite::Result<()> {
    let known = usize::try_from(format).unwrap_or_default();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for statements in MIGRATIONS.iter().skip(known) {
        transaction.execute_batch(statements)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// Returns the error of a folder whose database cannot be opened.
pub(crate) fn unusable(folder: &Path, error: &rusqlite::Error) -> OpenError {
    OpenError::Unusable { folder: folder.to_owned(), why: reason(error) }
}

/// A row of the table of records, without its channel and kind.
pub(crate) struct Row {
    pub(crate) key: Bytes,
    pub(crate) record: Record,
    /// True if its checksum is not that of its content.
    pub(crate) is_damaged: bool,
}

impl Row {
    /// Reads the columns from `first` on, which are [`COLUMNS`].
    pub(crate) fn read(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Row> {
        let key: Vec<u8> = row.get(first)?;
        let record = Record {
            value: row.get::<_, Vec<u8>>(first + 1)?.into(),
            version: row.get::<_, i64>(first + 2)?.cast_unsigned(),
            expires_at: row.get::<_, Option<i64>>(first + 3)?.map(i64::cast_unsigned),
        };
        let is_damaged = i64::from(checksum(&key, &record)) != row.get::<_, i64>(first + 4)?;
        Ok(Row { key: key.into(), record, is_damaged })
    }
}

/// Writes a row; with "INSERT OR REPLACE INTO" or the like before it.
pub(crate) fn put(
    statement: &mut rusqlite::Statement<'_>,
    channel: i64,
    kind: Kind,
    key: &[u8],
    record: &Record,
) -> rusqlite::Result<usize> {
    statement.execute(params![
        channel,
        kind as u8,
        key,
        &*record.value,
        record.version.cast_signed(),
        record.expires_at.map(u64::cast_signed),
        checksum(key, record),
    ])
}

/// Returns the checksum of a record: damage to a value need not damage the database.
fn checksum(key: &[u8], record: &Record) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key);
    sum.update(&record.value);
    sum.update(&record.version.to_le_bytes());
    sum.update(&record.expires_at.unwrap_or_default().to_le_bytes());
    sum.finalize()
}
