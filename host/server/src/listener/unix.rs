//! Unix sockets: the file of one, which its host makes and removes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::{UnixListener, UnixSocket};

/// The file of a socket. It is removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    id: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), id: id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // If it cannot be removed, the next host finds that nobody listens there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Makes a socket at this path and listens. A file that a host has left behind is replaced.
///
/// # Errors
///
/// Somebody listens there, the path is another file's, or the system refuses.
pub(super) fn bind(path: &Path, backlog: u32) -> anyhow::Result<(UnixListener, SocketFile)> {
    let failed = || format!("cannot listen on unix:{}", path.display());
    let bind = || {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path).map(|()| socket)
    };
    let socket = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).with_context(failed)?;
            bind()
        }
        other => other,
    };
    let socket = socket.with_context(failed)?;
    let file = SocketFile::of(path).with_context(failed)?;
    Ok((socket.listen(backlog).with_context(failed)?, file))
}

/// Removes the file of a socket on which nobody listens.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        bail!("the path is that of a file which is no socket");
    }
    // A socket that waits would wait for a host whose backlog is full.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => Ok(fs::remove_file(path)?),
        Ok(()) | Err(Errno::AGAIN) => bail!("another process listens there"),
        Err(error) => Err(error).context("the path is taken, perhaps by another process"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_without_a_listener_is_replaced_and_the_file_goes_with_its_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wharf.sock");
        let (listener, file) = bind(&path, 16).expect("a socket");
        let error = bind(&path, 16).expect_err("it is in use");
        assert!(format!("{error:#}").ends_with("another process listens there"), "{error:#}");
        fs::remove_file(&path).expect("somebody removes it");
        let (newer, newer_file) = bind(&path, 16).expect("the path is free");
        drop(file);
        drop(listener);
        assert!(path.exists(), "the file is another's now");
        drop(newer);
        let (_newest, newest_file) = bind(&path, 16).expect("nobody listens");
        drop(newest_file);
        assert!(!path.exists());
        drop(newer_file);
        fs::write(&path, "text").expect("a file");
        let error = bind(&path, 16).expect_err("it is no socket");
        assert!(format!("{error:#}").contains("no socket"), "{error:#}");
        assert_eq!(fs::read_to_string(&path).expect("it is untouched"), "text");
    }
}
