//! The one process that has a data folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::OpenError;

/// Name of the file that is locked, and has the number of the process.
const FILE: &str = "lock";

/// Time for which a lock that is held is tried again. [`holder`] has it for a moment, and must not keep a
/// host from starting.
const MOMENT: Duration = Duration::from_millis(100);

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
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(folder.join(FILE)).map_err(unusable)?;
        let until = Instant::now() + MOMENT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(MOMENT / 10);
                }
                Err(Errno::WOULDBLOCK) => {
                    let (folder, holder) = (folder.to_owned(), named_in(&file));
                    return Err(OpenError::Held { folder, holder });
                }
                Err(errno) => return Err(unusable(errno.into())),
            }
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

/// Returns the process that has a folder, as "process 4711" or as much as is known of it; `None` if none
/// has it, or if that cannot be found out.
pub fn holder(folder: &Path) -> Option<String> {
    let file = File::open(folder.join(FILE)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(named_in(&file)),
        // The lock ends with the file.
        Ok(()) | Err(_) => None,
    }
}

/// Returns the process that a lock file names. Without a number the name of the folder has to do.
fn named_in(file: &File) -> String {
    let mut holder = String::new();
    let _ = file.take(64).read_to_string(&mut holder);
    match holder.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    }
}
