//! The reasons for which a folder cannot be used, or a write fails.

use std::path::PathBuf;
use std::sync::Arc;

/// The reason why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by {holder}; stop it, or set `data` to another folder",
        folder.display()
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The other process, as "process 4711", or as much as is known of it.
        holder: String,
    },
    /// A newer version of the host has written it.
    #[error(
        "the data folder {} has format {found}, and this version of wharf knows formats up to \
         {known}; run the version that wrote it, or set `data` to another folder",
        folder.display()
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Format of the folder.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// An older version of the host has written it, and only a host brings it to the format of this one.
    #[error(
        "the data folder {} has format {found}, and this version of wharf reads format {known}; start \
         `wharf serve` with it once, or use the version that wrote it",
        folder.display()
    )]
    Older {
        /// The folder.
        folder: PathBuf,
        /// Format of the folder.
        found: i64,
        /// The format that this version reads.
        known: i64,
    },
    /// The file in it is of another program.
    #[error(
        "{} is a database of another program; set `data` to another folder",
        file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The folder or a file in it cannot be made, read or written.
    #[error(
        "the data folder {} cannot be used: {why}; mend it, set `data` to another folder, or set it \
         to \"\" to keep everything in memory",
        folder.display()
    )]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// The reason, of the system or of the database.
        why: String,
    },
}

/// The reason why records cannot be read or written at present. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(Arc<str>);

impl Unavailable {
    /// Makes the reason from a sentence without a full stop.
    pub fn new(why: &str) -> Unavailable {
        Unavailable(Arc::from(why))
    }
}

impl From<rusqlite::Error> for Unavailable {
    fn from(error: rusqlite::Error) -> Unavailable {
        Unavailable::new(&reason(&error))
    }
}

/// Returns the reason in words that name the mend, where there is one.
pub(crate) fn reason(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    let text = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::ReadOnly) => "the disk or the file is read-only",
        Some(ErrorCode::DatabaseCorrupt) => {
            "the database is damaged; restore a backup, or set the file aside"
        }
        Some(ErrorCode::NotADatabase) => "the file is no database",
        Some(ErrorCode::PermissionDenied) => "access is denied",
        Some(ErrorCode::CannotOpen) => "the file cannot be opened",
        Some(ErrorCode::SystemIoFailure) => return format!("the disk has failed: {error}"),
        _ => return error.to_string(),
    };
    text.to_owned()
}
