//! The state of a file that is watched, and looks at small ones.
//!
//! All calls here block, for ever where a file system hangs: they belong to threads of their own or to
//! tokio's pool for blocking work.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Number of times that a file is read which changes meanwhile.
const ATTEMPTS: usize = 3;

/// The properties in which two versions of a file differ. The time of change is one of them, since
/// copying programs may set the time of modification to any value, and because permissions only
/// change the former.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    /// Some file systems, over networks or in user space, have another number at each look. So a
    /// file that differs only in this is read again, and does not count as changing.
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Returns the stamp of a file with this metadata.
    pub fn of(metadata: &Metadata) -> FileStamp {
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns true if nothing but the inode's number differs.
    pub fn is_like(&self, other: &FileStamp) -> bool {
        let of = |stamp: &FileStamp| (stamp.device, stamp.bytes, stamp.modified, stamp.changed);
        of(self) == of(other)
    }

    /// Returns the size of the file, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the names of the properties in which another stamp differs.
    pub(crate) fn differences(&self, other: &FileStamp) -> String {
        let differences = [
            (self.device != other.device, "device"),
            (self.inode != other.inode, "inode"),
            (self.bytes != other.bytes, "size"),
            (self.modified != other.modified, "time of modification"),
            (self.changed != other.changed, "time of change"),
        ];
        let names = differences.iter().filter(|(differs, _)| *differs).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Opens a file to read it, without waiting: if a pipe has taken its place, waiting for the pipe's writer
/// could take for ever.
///
/// # Errors
///
/// The errors are those of opening a file.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The result of a look at a small file.
#[derive(Debug)]
pub enum Look {
    /// It has the known stamp.
    Unchanged,
    /// It was read whole.
    Read(Vec<u8>, FileStamp),
    /// It cannot be read, for this reason. There is a stamp if it need not be tried again before the
    /// file changes.
    Failed(String, Option<FileStamp>),
}

/// Looks at a file of at most `max_bytes`, and reads it unless it has the known stamp.
pub fn look(path: &Path, known: Option<&FileStamp>, max_bytes: u64) -> Look {
    let failed = |error: io::Error| Look::Failed(error.to_string(), None);
    for _ in 0..ATTEMPTS {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return failed(error),
        };
        let stamp = FileStamp::of(&metadata);
        if Some(&stamp) == known {
            return Look::Unchanged;
        }
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Look::Failed(format!("it is {what}"), Some(stamp));
        }
        if metadata.len() > max_bytes {
            return Look::Failed(format!("it has more than {max_bytes} bytes"), Some(stamp));
        }
        let mut bytes = Vec::new();
        let read = open(path).and_then(|file| {
            (&file).take(max_bytes + 1).read_to_end(&mut bytes)?;
            Ok(FileStamp::of(&file.metadata()?))
        });
        match read {
            Ok(after) if after.is_like(&stamp) && bytes.len() as u64 == stamp.bytes => {
                return Look::Read(bytes, stamp);
            }
            // It has changed, so that the bytes may be a mixture.
            Ok(_) => {}
            Err(error) => return Look::Failed(error.to_string(), None),
        }
    }
    Look::Failed("it is being written to".to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_has_changed_and_what_is_no_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        assert!(
            matches!(look(&path, None, 10), Look::Failed(why, None) if why.contains("No such file"))
        );
        std::fs::write(&path, "one").expect("a file");
        let Look::Read(bytes, stamp) = look(&path, None, 10) else { panic!("it is there") };
        assert_eq!(bytes, b"one");
        assert!(matches!(look(&path, Some(&stamp), 10), Look::Unchanged));
        std::fs::write(folder.path().join("new"), "two").expect("a file");
        std::fs::rename(folder.path().join("new"), &path).expect("a file");
        assert!(matches!(look(&path, Some(&stamp), 10), Look::Read(bytes, _) if bytes == b"two"));
        assert!(
            matches!(look(&path, None, 2), Look::Failed(why, Some(_)) if why.contains("2 bytes"))
        );
        let folder = look(folder.path(), None, 10);
        assert!(matches!(folder, Look::Failed(why, Some(_)) if why == "it is a folder"));
    }
}
