//! The resources that the process uses, as the system sees them.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The resources in use. What the system does not tell is not there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// CPU time so far, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory in RAM, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Open files and sockets.
    pub(crate) open_files: Option<u64>,
    /// Files and sockets that may be open.
    pub(crate) max_files: Option<u64>,
}

impl Process {
    /// Asks the system.
    pub(crate) async fn read() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: resident_bytes(),
            open_files: open_files().await,
            max_files: getrlimit(Resource::Nofile).current,
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

async fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Linux tells the number as the size of the folder since 6.2.
    match fs::metadata(FOLDER).ok()?.len() {
        // There are as many entries as files, and other tasks must not wait for them.
        0 => {
            let count = || fs::read_dir(FOLDER).ok().map(|entries| entries.count() as u64);
            tokio::task::spawn_blocking(count).await.ok()?
        }
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_system_tells_what_the_process_uses() {
        let Process { cpu_seconds, resident_bytes, open_files, max_files } = Process::read().await;
        assert!(cpu_seconds > 0.0 && cpu_seconds < 1e6, "{cpu_seconds}");
        let resident = resident_bytes.expect("memory");
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
        let open = open_files.expect("files");
        assert!((3..100_000).contains(&open), "{open}");
        assert!(max_files.is_none_or(|max| max >= open), "{max_files:?}");
    }
}
