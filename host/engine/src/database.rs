//! The rows of the records.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::disk::Durability;
use crate::era;
use crate::error::{OpenError, Unavailable, reason};
use crate::records::{Change, Kind, Record};

/// The name of the file in the data folder.
pub(crate) const FILE: &str = "wharf.db";

/// The format that this version writes. Each change of the tables is a new one, with a step in
/// [`MIGRATIONS`].
const FORMAT: i64 = 2;

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

/// Marks the file as one of this program ("wrf1"), in the field that SQLite has for it.
const APPLICATION: i64 = 0x7772_6631;

/// Pages of the log after which they are moved into the file: 16 MiB. More make moving rarer and
/// the next start slower.
const CHECKPOINT_PAGES: i64 = 4096;

/// A connection to the database.
pub(crate) struct Database(Connection);

impl Database {
    /// Opens the database in a folder; makes it, or brings it to the current format.
    pub(crate) fn open(folder: &Path, durability: Durability) -> Result<Database, OpenError> {
        let unusable = |error: rusqlite::Error| OpenError::Unusable {
            folder: folder.to_owned(),
            why: reason(&error),
        };
        let file = folder.join(FILE);
        let mut connection = Connection::open(&file).map_err(unusable)?;
        let pragma = |connection: &Connection, name: &str| {
            connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        let format = pragma(&connection, "user_version").map_err(unusable)?;
        let application = pragma(&connection, "application_id").map_err(unusable)?;
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
        Database::prepare(&mut connection, format, durability).map_err(unusable)?;
        Ok(Database(connection))
    }

    fn prepare(
        connection: &mut Connection,
        format: i64,
        durability: Durability,
    ) -> rusqlite::Result<()> {
        // Another program has it for a moment only, as a backup does.
        connection.busy_timeout(Duration::from_millis(500))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // With NORMAL the log is written to the disk before pages are moved from it, so that a loss of power
        // costs its end at most.
        connection.pragma_update(None, "synchronous", synchronous(durability))?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        let known = usize::try_from(format).unwrap_or_default();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for statements in MIGRATIONS.iter().skip(known) {
            transaction.execute_batch(statements)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
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
        let values = [era::HOLDER, era::NOBODY];
        self.0.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", values)?;
        Ok(())
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
        let mut put = self
            .0
            .prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let mut delete = self
            .0
            .prepare_cached("DELETE FROM record WHERE channel = ?1 AND kind = ?2 AND key = ?3")?;
        for (channel, Change { kind, key, to }) in changes {
            let (kind, key) = (*kind as u8, &**key);
            match to {
                Some(record) => put.execute(params![
                    channel,
                    kind,
                    key,
                    &*record.value,
                    record.version.cast_signed(),
                    record.expires_at.map(u64::cast_signed),
                    checksum(key, record),
                ])?,
                None => delete.execute(params![channel, kind, key])?,
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
        let mut select = self.0.prepare_cached(
            "SELECT key, value, version, expires_at, checksum FROM record \
             WHERE channel = ?1 AND kind = ?2 ORDER BY key",
        )?;
        let mut rows = select.query(params![channel, kind as u8])?;
        while let Some(row) = rows.next()? {
            let key: Vec<u8> = row.get(0)?;
            let record = Record {
                value: row.get::<_, Vec<u8>>(1)?.into(),
                version: row.get::<_, i64>(2)?.cast_unsigned(),
                expires_at: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            };
            if checksum(&key, &record) != row.get::<_, u32>(4)? {
                let key = String::from_utf8_lossy(&key);
                let why = format!(
                    "a record is damaged ({kind:?} {key:?}); restore a backup, or set the file aside"
                );
                return Err(Unavailable::new(&why));
            }
            each(key.into(), record);
        }
        Ok(())
    }
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::EachGroup => "full",
        Durability::Every(_) | Durability::Never => "normal",
    }
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
