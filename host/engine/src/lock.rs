//! The one process that has a data folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;

/// The lock of a folder. The system releases it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "its lock ends with it")] File);

impl FolderLock {
    /// Takes the lock of a folder.
    pub(crate) fn take(folder: &Path) -> Result<FolderLock, OpenError> {
        let unusable = |error: std::io::Error| OpenError::Unusable {
            folder: folder.to_owned(),
            why: error.to_string(),
        };
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Without a number the name of the folder has to do.
                let _ = file.take(64).read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(OpenError::Held { folder: folder.to_owned(), holder });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(unusable)?;
        Ok(FolderLock(file))
    }
}
