//! A private folder of compiled plugins, so that each is compiled once.
//!
//! The content is run as native code, with all rights of the host. So it is only taken from a
//! folder that belongs to the user of the host and that no other user can write to, from files of
//! which the same holds, and only if it is, byte for byte, the code that a host has put there. A
//! file that was cut off or has rotted counts as missing.
//!
//! Hosts of several versions may share the folder, at the same time, without any lock. An entry is
//! written under a name of its own and then renamed, so that it is there completely or not at all,
//! and it never changes afterwards. A plugin can be served without the cache: a failure costs a
//! compilation and at most a line in the log.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// First bytes of every entry. The last one counts up when the form of entries changes.
const MAGIC: &[u8; 8] = b"wharf\0c\x01";
/// Size of magic, key, SHA-256 of the body and length of the body.
const HEADER_BYTES: usize = 8 + 32 + 32 + 8;
/// Ending of the names of entries, after the key.
const ENTRY: &str = ".native";
/// Ending of the names of notes about the last good code of a channel, after their key.
const NOTE: &str = ".last";
/// Largest number of such notes.
const MAX_NOTES: usize = 1_000;
/// Ending of the names of files that are being written.
const PARTIAL: &str = ".partial";
/// Largest number of entries in the folder, whatever their size: more than any host has at the same
/// time, and few enough to list.
const MAX_ENTRIES: usize = 10_000;
/// Age of a partial file after which its writer must have crashed.
const STALE: Duration = Duration::from_secs(60 * 60);

/// The key of an entry: the hash of everything that its code depends on.
pub type EntryKey = [u8; 32];

/// The place of a channel: a plugin folder, and the channel's name.
#[derive(Clone, Debug)]
pub(crate) struct LastGood {
    pub(crate) folder: PathBuf,
    pub(crate) channel: String,
}

impl LastGood {
    /// Returns the key of the note about this place, which is that of no code.
    fn key(&self) -> EntryKey {
        let folder = self.folder.as_os_str().as_encoded_bytes();
        let note = Sha256::new().chain_update(b"last good\0").chain_update(folder);
        note.chain_update(b"\0").chain_update(self.channel.as_bytes()).finalize().into()
    }
}

/// The folder.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    /// Counter that makes the names of partial files differ.
    writes: AtomicU64,
    /// Last warning, so that it is written once and not for every plugin.
    warned: Mutex<String>,
}

/// Native code that the cache vouches for: only the cache can make one.
#[derive(Debug)]
pub struct NativeCode(Vec<u8>);

impl NativeCode {
    /// Returns the code as it was handed to [`Cache::put`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The reason why the cache has no code.
#[derive(Debug)]
enum Trouble {
    /// There is no such entry.
    Absent,
    /// The entry is not what was put there, or it cannot be read.
    Broken(String),
    /// The folder is not safe, which the operator should know.
    Unfit(String),
}

impl Cache {
    /// Makes a cache in this folder, of at most `max_bytes`. The folder is made for the first
    /// entry, and not looked at before.
    pub fn new(folder: PathBuf, max_bytes: usize) -> Cache {
        Cache {
            folder,
            max_bytes: max_bytes as u64,
            writes: AtomicU64::new(0),
            warned: Mutex::default(),
        }
    }

    /// Returns the code under this key, if it is there and can be trusted. Reads files.
    pub fn get(&self, key: &EntryKey) -> Option<NativeCode> {
        match self.read(key, ENTRY) {
            Ok(code) => return Some(NativeCode(code)),
            Err(Trouble::Absent) => {}
            Err(Trouble::Broken(reason)) => {
                let entry = self.entry(key);
                let entry = entry.display();
                tracing::debug!(entry = entry.to_string(), reason, "a cached plugin is not usable");
            }
            Err(Trouble::Unfit(reason)) => self.warn(&reason),
        }
        None
    }

    /// Returns true if there is an entry under this key.
    pub(crate) fn has(&self, key: &EntryKey) -> bool {
        self.entry(key).exists()
    }

    /// Keeps code under this key, in place of an earlier entry. If there is too much, removes the
    /// entries that have not been used for the longest time. Writes and lists files.
    pub fn put(&self, key: &EntryKey, code: &[u8]) {
        let bytes = code.len() as u64 + HEADER_BYTES as u64;
        if bytes > self.max_bytes {
            let limit = self.max_bytes;
            tracing::debug!(bytes, limit, "a compiled plugin is larger than max_cache_bytes");
            return;
        }
        match self.write(key, ENTRY, code) {
            Ok(()) => {
                let entry = self.entry(key);
                tracing::debug!(entry = entry.display().to_string(), "compiled plugin kept");
            }
            Err(Trouble::Unfit(reason)) => return self.warn(&reason),
            Err(Trouble::Broken(_) | Trouble::Absent) => return,
        }
        if let Err(error) = self.prune() {
            self.warn(&format!("it cannot be cleaned up: {error}"));
        }
    }

    /// Returns the hash of the last good file of a channel, if it is known. Reads files.
    pub(crate) fn last_good(&self, place: &LastGood) -> Option<[u8; 32]> {
        self.read(&place.key(), NOTE).ok()?.try_into().ok()
    }

    /// Notes the hash of the last good file of a channel, or that there is none. Writes files. Without
    /// the note, bad code that is there at a start is served by nothing: a failure is not worth a
    /// warning that entries would not have as well.
    pub(crate) fn note_last_good(&self, place: &LastGood, sha256: Option<&[u8; 32]>) {
        let key = place.key();
        match sha256 {
            Some(sha256) if self.last_good(place).as_ref() == Some(sha256) => {}
            Some(sha256) => {
                if let Err(Trouble::Unfit(reason)) = self.write(&key, NOTE, sha256) {
                    self.warn(&reason);
                }
            }
            None => drop(remove(&self.path(&key, NOTE))),
        }
    }

    fn entry(&self, key: &EntryKey) -> PathBuf {
        self.path(key, ENTRY)
    }

    fn path(&self, key: &EntryKey, ending: &str) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name + ending)
    }

    fn read(&self, key: &EntryKey, ending: &str) -> Result<Vec<u8>, Trouble> {
        self.check_folder()?;
        let path = self.path(key, ending);
        let broken = |error: io::Error| Trouble::Broken(error.to_string());
        // If the file is a pipe, opening it must not wait for its writer.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Absent),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(Trouble::Unfit(format!("its entry {} is a link", path.display())));
            }
            Err(error) => return Err(broken(error)),
        };
        // The metadata is that of the open file, so that a change of the folder since the look at
        // it does not matter.
        let metadata = file.metadata().map_err(broken)?;
        if !metadata.is_file() {
            return Err(Trouble::Broken("it is not a file".to_owned()));
        }
        if let Some(reason) = distrust(&metadata) {
            return Err(Trouble::Unfit(format!("its entry {} {reason}", path.display())));
        }
        let bytes = metadata.len();
        // The limit is the largest file that this host would write, so that no more than that is
        // ever read.
        if bytes < HEADER_BYTES as u64 || bytes > self.max_bytes {
            return Err(Trouble::Broken(format!("it is {bytes} bytes large")));
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(broken)?;
        let mut body = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) - HEADER_BYTES);
        (&file).take(self.max_bytes).read_to_end(&mut body).map_err(broken)?;
        if header != self::header(key, &body) {
            return Err(Trouble::Broken("it is not what was put there".to_owned()));
        }
        // The time of its last use. If it cannot be set, entries go by age.
        let _ = file.set_modified(SystemTime::now());
        Ok(body)
    }

    fn write(&self, key: &EntryKey, ending: &str, code: &[u8]) -> Result<(), Trouble> {
        if let Err(Trouble::Absent) = self.check_folder() {
            // Missing folders above it are made for this user alone as well.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
            made.map_err(|error| Trouble::Unfit(format!("it cannot be made: {error}")))?;
        }
        self.check_folder()?;
        let partial = self.folder.join(self.partial());
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&partial)?;
            file.write_all(&header(key, code))?;
            file.write_all(code)?;
            // The file is not forced to the disk: its hash detects one that a crash of the system
            // left half done.
            fs::rename(&partial, self.path(key, ending))
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&partial);
            Trouble::Unfit(format!("it cannot be written to: {error}"))
        })
    }

    /// Returns a name that no other writer has: processes in containers may share a number.
    fn partial(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        format!(".{}-{write}-{}{PARTIAL}", std::process::id(), now.as_nanos())
    }

    fn check_folder(&self) -> Result<(), Trouble> {
        let metadata = match fs::symlink_metadata(&self.folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Absent),
            Err(error) => {
                return Err(Trouble::Unfit(format!("it cannot be looked at: {error}")));
            }
        };
        let reason = match metadata.file_type() {
            kind if kind.is_symlink() => Some("is a link"),
            kind if !kind.is_dir() => Some("is no folder"),
            _ => distrust(&metadata),
        };
        match reason {
            Some(reason) => Err(Trouble::Unfit(format!("it {reason}"))),
            None => Ok(()),
        }
    }

    /// Removes the least recently used entries until the rest fits, and the files that crashed
    /// writers have left. Other files are left alone.
    fn prune(&self) -> io::Result<()> {
        let (mut entries, mut notes) = (Vec::new(), Vec::new());
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            // Another host may have removed it just now.
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            let used = metadata.modified().unwrap_or(UNIX_EPOCH);
            match file.file_name().to_str() {
                Some(name) if is_named(name, ENTRY) => {
                    entries.push((used, metadata.len(), file.path()))
                }
                Some(name) if is_named(name, NOTE) => notes.push((used, file.path())),
                Some(name) if is_partial(name) && used.elapsed().is_ok_and(|age| age > STALE) => {
                    remove(&file.path())?;
                }
                _ => {}
            }
        }
        notes.sort_unstable();
        let surplus = notes.len().saturating_sub(MAX_NOTES);
        notes.iter().take(surplus).try_for_each(|(_, path)| remove(path))?;
        entries.sort_unstable();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = entries.len();
        for (_, its_bytes, path) in entries {
            if bytes <= self.max_bytes && count <= MAX_ENTRIES {
                break;
            }
            remove(&path)?;
            (bytes, count) = (bytes - its_bytes, count - 1);
            let entry = path.display();
            tracing::debug!(entry = entry.to_string(), "a cached plugin was removed to make room");
        }
        Ok(())
    }

    fn warn(&self, reason: &str) {
        let mut warned = self.warned.lock();
        if *warned != reason {
            reason.clone_into(&mut warned);
            tracing::warn!(
                folder = self.folder.display().to_string(),
                reason,
                "the cache of compiled plugins cannot be used as it is, so that plugins are \
                 compiled instead; fix the folder, name another with --cache (a folder inside this one \
                 that is not there yet will do: the host makes it), or none with --cache=''"
            );
        }
    }
}

/// Returns the first bytes of an entry. They name its key, so that no entry can pass for another.
fn header(key: &EntryKey, body: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let hash = Sha256::digest(body);
    let length = (body.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [MAGIC, key, &hash, &length];
    let bytes = parts.iter().flat_map(|part| part.iter());
    header.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    header
}

/// Returns the reason why another user could have written a file or a folder, if there is one.
fn distrust(metadata: &Metadata) -> Option<&'static str> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Some("belongs to another user than the host runs as");
    }
    (metadata.mode() & 0o022 != 0).then_some("can be written to by others (chmod go-w)")
}

fn is_named(name: &str, ending: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.strip_suffix(ending).is_some_and(|key| key.len() == 64 && key.bytes().all(is_hex))
}

fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(PARTIAL)
}

/// Removes a file, unless another host has done so already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
