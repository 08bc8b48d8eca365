//! One file: its state from outside, and reading it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wharf_contract::names::{MAX_CHANNEL_NAME_BYTES, is_channel};

use super::stem;
use crate::file_stamp::{FileStamp, open};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The state of a file without reading it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A file that can be read.
    File(FileStamp),
    /// An entry that cannot be a plugin, with the reason.
    Unfit(String),
}

impl Seen {
    /// Returns true if nothing but the inode's number differs.
    pub(super) fn is_like(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::File(one), Seen::File(other)) => one.is_like(other),
            _ => self == other,
        }
    }

    /// Returns the names of the properties in which another look at a file differs.
    pub(super) fn differences(&self, other: &Seen) -> String {
        match (self, other) {
            (Seen::File(one), Seen::File(other)) => one.differences(other),
            _ => "kind".to_owned(),
        }
    }

    /// Looks at the entry at `path`, following links; `None` if there is none.
    pub(super) fn look(path: &Path) -> Option<Seen> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Either there is no entry, or a link without a target.
                let link = fs::symlink_metadata(path).ok()?;
                let reason = match link.is_symlink() {
                    true => "it is a link to a file that does not exist".to_owned(),
                    // The entry has come in between.
                    false => error.to_string(),
                };
                return Some(Seen::Unfit(reason));
            }
            Err(error) => return Some(Seen::Unfit(format!("it cannot be looked at: {error}"))),
        };
        Some(match unfit(path, &metadata) {
            Some(reason) => Seen::Unfit(reason),
            None => Seen::File(FileStamp::of(&metadata)),
        })
    }
}

fn unfit(path: &Path, metadata: &Metadata) -> Option<String> {
    let name = stem(path.file_name().unwrap_or_default());
    if !is_channel(&name) {
        return Some(format!(
            "the file's name is the channel's, which must be 1 to {MAX_CHANNEL_NAME_BYTES} of \
             a to z, 0 to 9, `_` and `-`"
        ));
    }
    if metadata.is_dir() {
        return Some("it is a folder".to_owned());
    }
    if !metadata.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    let bytes = metadata.len();
    (bytes > MAX_FILE_BYTES)
        .then(|| format!("it is {bytes} bytes large; at most {MAX_FILE_BYTES} are read"))
}

/// The result of reading a file.
pub(super) enum Read {
    /// It is complete.
    Settled {
        /// Content.
        bytes: Arc<[u8]>,
        /// SHA-256 of the content.
        sha256: [u8; 32],
    },
    /// It is being written to, or has been replaced.
    Changed,
    /// It cannot be read.
    Failed(String),
}

/// Reads a file that looked like `stamp`, twice: it is complete only if both are the same.
pub(super) fn read(path: &Path, stamp: &FileStamp) -> Read {
    let read = || -> io::Result<Option<Vec<u8>>> {
        let file = open(path)?;
        if !is_still(&file, stamp)? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if !is_still(&file, stamp)? {
            return Ok(None);
        }
        match bytes.len() as u64 == stamp.bytes() {
            true => Ok(Some(bytes)),
            false => Err(io::Error::other("it is not as long as the file system says")),
        }
    };
    match (read(), read()) {
        (Ok(Some(first)), Ok(Some(second))) if first == second => {
            let sha256 = Sha256::digest(&first).into();
            Read::Settled { bytes: first.into(), sha256 }
        }
        (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            Read::Failed(format!("it cannot be read: {error}"))
        }
        _ => Read::Changed,
    }
}

fn is_still(file: &File, stamp: &FileStamp) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && FileStamp::of(&metadata).is_like(stamp))
}

/// Returns true if the entry is a mount of its own whose source was removed or replaced: the path goes
/// on showing the old file.
pub(super) fn is_stale_mount(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 0)
}
