//! The limit of open files, which bounds a process's connections.

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a process may have open beside its connections; a generous estimate.
const OTHER_FILES: u64 = 100;

/// Raises the limit of open files of this process, which its servers inherit. Returns the flags of
/// `wharf serve` that allow as many connections.
///
/// # Errors
///
/// The machine allows fewer connections.
pub fn allow_connections(connections: u32) -> anyhow::Result<Vec<String>> {
    let wanted = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        ensure!(
            limit.maximum.is_none_or(|maximum| maximum >= wanted),
            "a process may have {} files open here, and this takes {wanted}: ask for fewer \
             connections, or raise the limit (`ulimit -Hn`)",
            limit.maximum.unwrap_or_default()
        );
        let raised = Rlimit { current: Some(wanted), ..limit };
        setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    }
    Ok(vec![format!("--max-connections={wanted}")])
}
