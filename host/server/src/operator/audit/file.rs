//! The file of the audit log: lines of JSON, and one older file.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Line;

/// The name of the file in the data folder, and that of the one before it.
const CURRENT: &str = "audit.jsonl";
const OLDER: &str = "audit.1.jsonl";

/// Mode of the files: the host's user reads and writes, nobody else.
const MODE: u32 = 0o600;

/// Bytes that are read at a time, from the end of a file.
const BLOCK: usize = 64 * 1024;

/// The beginning of each line, before its number.
const ID: &[u8] = b"{\"id\":";

/// The file. It is opened for each write, so that one that was moved away or removed is made anew.
#[derive(Debug)]
pub(super) struct AuditFile {
    current: PathBuf,
    older: PathBuf,
    /// Size that the file may have.
    max_bytes: u64,
    /// True if a record counts as written when it is on the disk itself.
    is_synced_first: bool,
}

impl AuditFile {
    pub(super) fn new(folder: &Path, max_bytes: usize, is_synced_first: bool) -> AuditFile {
        let (current, older) = (folder.join(CURRENT), folder.join(OLDER));
        AuditFile { current, older, max_bytes: max_bytes as u64, is_synced_first }
    }

    /// Appends lines. A file that would become too large is the older one from then on.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, written or renamed. Some of the lines may have been written.
    pub(super) fn append(&self, lines: &[Line]) -> Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (mut file, size) = self.open()?;
            let mut text = Vec::new();
            if size > 0 && !ends_in_a_line(&file, size)? {
                // A crash has torn the last line, which stays as it is.
                text.push(b'\n');
            }
            let is_fresh = size == 0;
            let mut count = 0;
            for line in rest {
                let json = line.json();
                let next = size + (text.len() + json.len() + 1) as u64;
                // Even one line that is larger than the file may be is not lost.
                if next > self.max_bytes && !(is_fresh && count == 0) {
                    break;
                }
                text.extend_from_slice(json.as_bytes());
                text.push(b'\n');
                count += 1;
            }
            if count == 0 {
                drop(file);
                std::fs::rename(&self.current, &self.older)?;
                continue;
            }
            file.write_all(&text)?;
            if self.is_synced_first {
                file.sync_data()?;
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Has the system write the file to the disk itself.
    pub(super) fn sync(&self) -> Result<()> {
        match File::open(&self.current) {
            Ok(file) => file.sync_data(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens the file to append, and returns its size.
    fn open(&self) -> Result<(File, u64)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(MODE).open(&self.current)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(Error::other("it is no file"));
        }
        if facts.permissions().mode() & 0o777 != MODE {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        Ok((file, facts.len()))
    }

    /// Returns the number of the last record, 0 without one.
    pub(super) fn last_id(&self) -> u64 {
        let mut last = Vec::new();
        // A file that cannot be read has none; numbers are times, and come after it in any case.
        let _ = self.read_back(u64::MAX, 1, &mut last);
        last.first().map_or(0, |(id, _)| *id)
    }

    /// Adds the records before a number to `found`, at most `limit` of them, the newest first. Lines that are
    /// no records are passed over.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub(super) fn read_back(
        &self,
        before: u64,
        limit: usize,
        found: &mut Vec<(u64, Box<RawValue>)>,
    ) -> Result<()> {
        let (mut before, mut left) = (before, limit);
        // A file that becomes the older one meanwhile is read twice, and its records are known by then.
        for path in [&self.current, &self.older] {
            if left == 0 {
                break;
            }
            let file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            each_line_back(&file, |line| {
                if let Some((id, json)) = read_before(line, before) {
                    before = id;
                    found.push((id, json));
                    left -= 1;
                }
                left > 0
            })?;
        }
        Ok(())
    }
}

/// Returns a line's record, if it has one with a number below this one.
fn read_before(line: &[u8], before: u64) -> Option<(u64, Box<RawValue>)> {
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    // Most lines of a long file are passed over by the number at their beginning.
    let digits = line.strip_prefix(ID)?;
    let digits = digits.split(|byte| !byte.is_ascii_digit()).next()?;
    let id = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    if id >= before {
        return None;
    }
    let json: Box<RawValue> = serde_json::from_slice(line).ok()?;
    let read = serde_json::from_str::<Numbered>(json.get()).ok()?;
    (read.id == id).then_some((id, json))
}

fn ends_in_a_line(file: &File, size: u64) -> Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, size.saturating_sub(1))?;
    Ok(last == *b"\n")
}

/// Calls a function with each line of a file, the last one first, until it returns false.
fn each_line_back(file: &File, mut each: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut end = file.metadata()?.len();
    // The end of a line whose beginning has not been read yet.
    let mut rest = Vec::new();
    while end > 0 {
        let length = (BLOCK as u64).min(end);
        let start = end - length;
        let mut block = vec![0; usize::try_from(length).unwrap_or(BLOCK)];
        file.read_exact_at(&mut block, start)?;
        block.extend_from_slice(&rest);
        let mut text = &*block;
        while let Some(at) = text.iter().rposition(|byte| *byte == b'\n') {
            let (before, line) = text.split_at(at);
            let line = line.strip_prefix(b"\n").unwrap_or(line);
            if !line.is_empty() && !each(line) {
                return Ok(());
            }
            text = before;
        }
        // No record is as long as a block: a longer line is none of the log's.
        rest = if text.len() <= BLOCK { text.to_vec() } else { Vec::new() };
        end = start;
    }
    if !rest.is_empty() {
        each(&rest);
    }
    Ok(())
}
