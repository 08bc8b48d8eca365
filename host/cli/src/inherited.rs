//! Sockets that a service manager has opened and passes on (`LISTEN_FDS`, as systemd does).

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::Context;
use rustix::io::{FdFlags, fcntl_setfd};

/// The first descriptor that is passed on.
const FIRST: RawFd = 3;

/// The variables, which are for this process alone.
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Takes the sockets that are meant for this process. `None` if there are none. Their variables are
/// taken out of the environment, and other programs do not inherit them.
///
/// Called once, before the process has a second thread.
///
/// # Errors
///
/// A descriptor that was announced is not open.
pub fn take() -> anyhow::Result<Option<Vec<OwnedFd>>> {
    let [process, count, _] = VARIABLES.map(|name| env::var(name).ok());
    for name in VARIABLES {
        if env::var_os(name).is_some() {
            #[expect(unsafe_code, reason = "the environment is shared with the C library")]
            // SAFETY: the process has no other thread that could read the environment meanwhile.
            unsafe {
                env::remove_var(name);
            }
        }
    }
    // A process that this one was started by may have been meant.
    if process.and_then(|id| id.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    let count: RawFd = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let sockets = (FIRST..FIRST.saturating_add(count)).map(owned);
    let sockets: Vec<OwnedFd> = sockets.collect::<anyhow::Result<_>>()?;
    Ok((!sockets.is_empty()).then_some(sockets))
}

fn owned(descriptor: RawFd) -> anyhow::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "a number is all that the service manager passes on")]
    // SAFETY: the descriptor is lent for this call, which fails if it is not open.
    let lent = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(lent, FdFlags::CLOEXEC)
        .with_context(|| format!("LISTEN_FDS announces descriptor {descriptor}"))?;
    #[expect(unsafe_code, reason = "a number is all that the service manager passes on")]
    // SAFETY: it is open, and by the protocol of `LISTEN_FDS` this process's own; nothing else has
    // been opened yet that could have the number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
