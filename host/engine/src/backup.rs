//! A whole copy of a folder, also while a host has it.
//!
//! The copy is made by SQLite's online backup inside of one transaction that reads. `VACUUM INTO` would be
//! one statement without news of its progress, and builds each table anew, which costs several times the CPU;
//! the online backup copies pages as they are, some at a time. Without a transaction around it, it would
//! begin again whenever the host writes, and never end under load.
//!
//! The copy has another name until it is on the disk itself and each of its records is checked.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::database::{COLUMNS, FILE, Row, WRITING, set_holder};
use crate::disk::make_private;
use crate::era::CHANGED;
use crate::error::{OpenError, Unavailable};
use crate::records::{Damaged, Kind};
use crate::stored::Stored;

/// Name of a copy that is not whole yet.
const PARTIAL: &str = "wharf.db.partial";

/// Pages that are copied between two reports: 4 MiB.
const PAGES: i32 = 1024;

/// Records that are checked between two reports.
const RECORDS: u64 = 4096;

/// Tries of a step while another program has the copy.
const TRIES: u32 = 100;

/// The progress of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The copy has this many bytes of all.
    Copied {
        /// Bytes that are copied.
        bytes: u64,
        /// Bytes of the whole copy.
        of: u64,
    },
    /// This many records of the copy are checked.
    Checked {
        /// Records that are checked.
        records: u64,
    },
}

/// A copy that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Number of records.
    pub records: u64,
    /// Number of channels that have some.
    pub channels: u64,
    /// Size of the copy, in bytes.
    pub bytes: u64,
}

/// The reason why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The folder has no database.
    #[error(
        "nothing is stored in the data folder {}; name another one with --data or --config",
        folder.display()
    )]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// The target has files already.
    #[error("the folder {} is not empty; name a new or an empty one", folder.display())]
    Taken {
        /// The target.
        folder: PathBuf,
    },
    /// The target has a copy that another backup has not ended.
    #[error(
        "the folder {} has a backup that is under way or was cut off; wait for it, or remove {PARTIAL} \
         in it",
        folder.display()
    )]
    CutOff {
        /// The target.
        folder: PathBuf,
    },
    /// The target cannot be written.
    #[error(
        "the backup in {} failed: {why}; nothing is left there. Make room or name another folder, and \
         begin again",
        folder.display()
    )]
    Failed {
        /// The target.
        folder: PathBuf,
        /// The reason, of the system or of the database.
        why: String,
    },
    /// The copy has damage, which mostly the folder itself has.
    #[error(
        "the copy of {} is not whole and was removed: {why}. `wharf data export` says whether the data \
         folder itself is damaged, and saves the rest with --skip-damaged",
        folder.display()
    )]
    Damaged {
        /// The folder that was copied.
        folder: PathBuf,
        /// The damage.
        why: String,
    },
}

/// Copies the database of the folder `from` into `to`, a new or an empty folder, and checks the copy.
/// `report` is called now and then.
///
/// # Errors
///
/// There is nothing to copy, the target is taken or cannot be written, or the copy has damage. Nothing is
/// left in the target.
pub fn backup(
    from: &Path,
    to: &Path,
    mut report: impl FnMut(Progress),
) -> Result<Copied, BackupError> {
    let nothing = || BackupError::Nothing { folder: from.to_owned() };
    let stored = Stored::open(from)?.ok_or_else(nothing)?;
    let target = Target::make(to)?;
    let failed = |error: Unavailable| target.failed(&error);
    copy(&stored, &target.partial(), &mut report).map_err(|error| failed(error.into()))?;
    // The host's log may shrink again from here on.
    drop(stored);
    let sync = || File::open(target.partial())?.sync_all();
    sync().map_err(|error| target.failed(&error))?;
    let (records, channels) = check(to, &mut report)
        .map_err(|why| BackupError::Damaged { folder: from.to_owned(), why: why.to_string() })?;
    let bytes = target.finish()?;
    Ok(Copied { records, channels, bytes })
}

/// A target while the copy is made. Dropping it removes what is there.
struct Target {
    folder: PathBuf,
    /// True if the folder was made for the copy.
    is_new: bool,
    /// Name of the copy that is not whole; `None` once it is.
    copy: Option<&'static str>,
}

impl Target {
    fn make(folder: &Path) -> Result<Target, BackupError> {
        let failed = |error: std::io::Error| BackupError::Failed {
            folder: folder.to_owned(),
            why: error.to_string(),
        };
        let is_new = !folder.try_exists().map_err(failed)?;
        make_private(folder).map_err(failed)?;
        // For this user alone, also in a folder that others may read. Of two backups one makes it.
        let mut options = File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(folder.join(PARTIAL));
        made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::CutOff { folder: folder.to_owned() },
            _ => failed(error),
        })?;
        let target = Target { folder: folder.to_owned(), is_new, copy: Some(PARTIAL) };
        match std::fs::read_dir(folder).map_err(failed)?.count() {
            1 => Ok(target),
            _ => Err(BackupError::Taken { folder: folder.to_owned() }),
        }
    }

    fn partial(&self) -> PathBuf {
        self.folder.join(PARTIAL)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> BackupError {
        BackupError::Failed { folder: self.folder.clone(), why: why.to_string() }
    }

    /// Gives the copy its name, and returns its size.
    fn finish(mut self) -> Result<u64, BackupError> {
        let mut named = || {
            let file = self.folder.join(FILE);
            if file.try_exists()? {
                return Err(std::io::Error::other("another program has put its data there"));
            }
            std::fs::rename(self.partial(), &file)?;
            self.copy = Some(FILE);
            File::open(&self.folder)?.sync_all()?;
            if let (true, Some(parent)) = (self.is_new, self.folder.canonicalize()?.parent()) {
                File::open(parent)?.sync_all()?;
            }
            Ok(std::fs::metadata(file)?.len())
        };
        let bytes = named().map_err(|error| self.failed(&error))?;
        self.copy = None;
        Ok(bytes)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(copy) = self.copy else {
            return;
        };
        // A file that cannot be removed is found by the next backup.
        let _ = std::fs::remove_file(self.folder.join(copy));
        if self.is_new {
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

/// Copies all pages.
fn copy(stored: &Stored, to: &Path, report: &mut impl FnMut(Progress)) -> rusqlite::Result<()> {
    let page_bytes: i64 =
        stored.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let bytes = |pages: i32| i64::from(pages).saturating_mul(page_bytes).cast_unsigned();
    let mut copy = Connection::open_with_flags(to, WRITING)?;
    // A copy that is cut off is never used, and the whole one is synced once.
    copy.pragma_update(None, "synchronous", "off")?;
    copy.pragma_update(None, "journal_mode", "off")?;
    let backup = Backup::new(&stored.connection, &mut copy)?;
    let mut tries = 0;
    loop {
        match backup.step(PAGES)? {
            StepResult::Done => break,
            StepResult::More => {
                let progress = backup.progress();
                let (of, left) = (progress.pagecount, progress.remaining);
                report(Progress::Copied { bytes: bytes(of - left), of: bytes(of) });
            }
            _ if tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
        }
    }
    drop(backup);
    drop(copy);
    // Without a log the copy is one file, which can be read where nothing can be written.
    let copy = Connection::open_with_flags(to, WRITING)?;
    copy.pragma_update(None, "synchronous", "off")?;
    copy.pragma_update(None, "journal_mode", "delete")?;
    // A host that has it goes back in time.
    set_holder(&copy, CHANGED)
}

/// Checks the copy's pages and records, and returns the numbers of its records and channels.
fn check(
    folder: &Path,
    report: &mut impl FnMut(Progress),
) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let copy = Stored::open_file(folder, PARTIAL)?.ok_or("the copy is empty")?;
    let connection = &copy.connection;
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(why)?;
    if found != "ok" {
        return Err(found.into());
    }
    let mut select = connection
        .prepare(&format!("SELECT {COLUMNS}, kind, channel FROM record ORDER BY channel"))
        .map_err(why)?;
    let mut rows = select.query([]).map_err(why)?;
    let (mut records, mut channels, mut last) = (0, 0, None);
    while let Some(row) = rows.next().map_err(why)? {
        let Row { key, is_damaged, .. } = Row::read(row, 0).map_err(why)?;
        if is_damaged {
            return Err(match Kind::numbered(row.get(5).map_err(why)?) {
                Some(kind) => Damaged { kind, key }.into(),
                None => "a record is damaged".into(),
            });
        }
        let channel: Option<i64> = row.get(6).map_err(why)?;
        channels += u64::from(channel != last);
        last = channel;
        records += 1;
        if records % RECORDS == 0 {
            report(Progress::Checked { records });
        }
    }
    Ok((records, channels))
}

fn why(error: rusqlite::Error) -> Unavailable {
    error.into()
}
