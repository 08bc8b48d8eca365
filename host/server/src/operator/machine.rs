//! The machine that the host runs on, as its system tells it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use wharf_config::Config;

use super::problem::OperatorAnswer;
use super::queries::check_no_query;
use crate::metrics::process::Process;

/// Returns the facts. Those that the system does not tell are `null`.
pub(super) async fn facts(config: &Arc<Config>, query: Option<&str>) -> OperatorAnswer {
    check_no_query(query)?;
    let Process { open_files, max_files, .. } = Process::read().await;
    let config = config.clone();
    // A disk may not answer, and other tasks must not wait for it.
    let system = move || {
        let disk = config.data.as_deref().and_then(disk);
        (load(), memory(), disk, threads())
    };
    let found = tokio::task::spawn_blocking(system).await;
    // It fails only by a panic, which the log has.
    let (load, memory, disk, threads) = found.unwrap_or_default();
    let answer = json!({
        "processors": std::thread::available_parallelism().ok().map(usize::from),
        "load": load,
        "memory": memory,
        "data": disk,
        "process": {
            "id": std::process::id(),
            "threads": threads,
            "open_files": open_files,
            "max_files": max_files,
        },
    });
    Ok((StatusCode::OK, answer.to_string().into()))
}

/// Returns the load of the last minute, five minutes and fifteen.
fn load() -> Option<Vec<f64>> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let numbers = text.split(' ').take(3).map(|number| number.parse().ok());
    numbers.collect()
}

fn memory() -> Option<Value> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| kibibytes(&text, name);
    Some(json!({ "total_bytes": of("MemTotal:")?, "available_bytes": of("MemAvailable:")? }))
}

fn threads() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

/// Returns a size in bytes of a list of sizes in kibibytes.
fn kibibytes(list: &str, name: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Returns the size of the disk with the data folder, and the part of it that the host may still fill.
fn disk(folder: &Path) -> Option<Value> {
    let facts = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.checked_mul(facts.f_frsize);
    Some(json!({ "total_bytes": bytes(facts.f_blocks)?, "free_bytes": bytes(facts.f_bavail)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_their_names() {
        let list = "MemTotal:       24576 kB\nMemAvailable:     512 kB\nHugePages_Total:       0\n";
        assert_eq!(kibibytes(list, "MemTotal:"), Some(24 << 20));
        assert_eq!(kibibytes(list, "HugePages_Total:"), None);
        assert_eq!(kibibytes(list, "SwapTotal:"), None);
    }
}
