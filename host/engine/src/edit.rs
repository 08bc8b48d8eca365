//! The operator's changes of a folder that no host has, which are made as a whole.

use std::path::Path;

use crate::database::{Database, put, set_holder};
use crate::disk::{Durability, make_private};
use crate::era::CHANGED;
use crate::error::{OpenError, Unavailable};
use crate::lock::FolderLock;
use crate::records::{Kind, Record};
use crate::stored::{Count, counts};

/// Changes of a folder, under its lock. They are one transaction: dropping them before
/// [`commit`](Edit::commit), the death of the process, or a failure undoes all.
#[derive(Debug)]
pub struct Edit {
    // Closed before the lock is released.
    database: Database,
    _lock: FolderLock,
}

impl Edit {
    /// Begins to change a folder, which is made if there is none.
    ///
    /// # Errors
    ///
    /// Another process has the folder, a newer version has written it, or it cannot be used.
    pub fn begin(folder: &Path) -> Result<Edit, OpenError> {
        make_private(folder).map_err(|error| OpenError::Unusable {
            folder: folder.to_owned(),
            why: error.to_string(),
        })?;
        let lock = FolderLock::take(folder)?;
        let database = Database::open(folder, Durability::EachGroup)?;
        database.connection().execute_batch("BEGIN IMMEDIATE").map_err(|error| {
            let why = Unavailable::from(error).to_string();
            OpenError::Unusable { folder: folder.to_owned(), why }
        })?;
        Ok(Edit { database, _lock: lock })
    }

    /// Counts the records by channel and kind, in the order of both.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub fn counts(&self) -> Result<Vec<Count>, Unavailable> {
        counts(self.database.connection())
    }

    /// Returns the number of a channel for [`insert`](Edit::insert).
    ///
    /// # Errors
    ///
    /// The database cannot be read or written.
    pub fn channel(&mut self, name: &str) -> Result<i64, Unavailable> {
        self.database.channel(name)
    }

    /// Adds a record. Returns false if there is one of this key; it stays as it is.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub fn insert(
        &mut self,
        channel: i64,
        kind: Kind,
        key: &[u8],
        record: &Record,
    ) -> Result<bool, Unavailable> {
        let mut insert = self
            .database
            .connection()
            .prepare_cached("INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        Ok(put(&mut insert, channel, kind, key, record)? > 0)
    }

    /// Removes a channel with all of its records.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub fn remove(&mut self, channel: &str) -> Result<(), Unavailable> {
        let connection = self.database.connection();
        connection.execute(
            "DELETE FROM record WHERE channel = (SELECT number FROM channel WHERE name = ?1)",
            [channel],
        )?;
        connection.execute("DELETE FROM channel WHERE name = ?1", [channel])?;
        Ok(())
    }

    /// Makes all changes. They are on the disk itself when this returns.
    ///
    /// # Errors
    ///
    /// The database cannot be written; nothing has changed.
    pub fn commit(self) -> Result<(), Unavailable> {
        let connection = self.database.connection();
        set_holder(connection, CHANGED)?;
        Ok(connection.execute_batch("COMMIT")?)
    }
}
