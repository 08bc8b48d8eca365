//! The number of system calls that a process makes, of every kind and in every thread.
//!
//! Counting slows a server down, so it is done in a short run beside the timed one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};
use tempfile::NamedTempFile;

use crate::report::Report;

/// The event that `perf` counts, which the kernel passes once for each call.
const EVENT: &str = "raw_syscalls:sys_enter";

/// The tool that can count on this machine, once that is known.
static TOOL: OnceLock<Option<Tool>> = OnceLock::new();

/// Factor by which the run beside the timed one is shorter.
const SHARE: u64 = 10;

/// The tool that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// `perf`: costs a server little, but is mostly allowed to root only.
    Perf,
    /// `strace`: needs no rights over a process of one's own, but stops it twice for each call.
    Strace,
}

/// A tool that is counting the system calls of a process.
struct Count {
    tool: Tool,
    child: Child,
    report: NamedTempFile,
}

/// Returns the number of system calls that a process makes for each unit of `exchange`, which is
/// told how many units to do, and returns how many it did. `NAN` if no tool on this machine can
/// count them.
///
/// # Errors
///
/// `exchange` fails, or the tool fails half way.
pub fn of_each(
    process: u32,
    timed: u64,
    exchange: impl FnOnce(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let works = |tool: &Tool| Count::start(*tool, process).and_then(Count::stop).is_ok();
    let tool = TOOL.get_or_init(|| [Tool::Perf, Tool::Strace].into_iter().find(works));
    let Some(tool) = *tool else {
        return Ok(f64::NAN);
    };
    let count = Count::start(tool, process)?;
    let exchanged = exchange(timed.div_ceil(SHARE))?;
    Ok(count.stop()? as f64 / exchanged as f64)
}

/// Reports which tool has counted, if that matters to the figures.
///
/// # Errors
///
/// The line cannot be written.
pub fn note(report: &mut Report) -> anyhow::Result<()> {
    match TOOL.get() {
        Some(Some(Tool::Strace)) => report.note(
            "system calls are counted with strace, which slows servers down so much that it \
             changes their number somewhat",
        ),
        Some(None) => {
            report.note("system calls are not counted: it takes perf, and mostly root, or strace")
        }
        Some(Some(Tool::Perf)) | None => Ok(()),
    }
}

impl Count {
    /// Begins to count. All calls from now on are counted.
    fn start(tool: Tool, process: u32) -> anyhow::Result<Count> {
        let report = NamedTempFile::new()?;
        let mut command = match tool {
            Tool::Perf => {
                let mut perf = Command::new("perf");
                // The tool waits for commands on its stdin, and acknowledges them on its stdout.
                perf.args(["stat", "--control", "fd:0,1", "--delay", "-1", "-x", ",", "-e", EVENT]);
                perf.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
                perf
            }
            Tool::Strace => {
                let mut strace = Command::new("strace");
                strace.args(["-c", "-f"]);
                strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
                strace
            }
        };
        command.arg("-o").arg(report.path()).arg("-p").arg(process.to_string());
        let child = command.spawn().with_context(|| format!("{tool:?} cannot be started"))?;
        // Dropping `count` ends the tool from here on.
        let mut count = Count { tool, child, report };
        match tool {
            Tool::Perf => count.command("enable")?,
            Tool::Strace => {
                // This line says that strace sees every thread.
                let stderr = count.child.stderr.as_mut().context("strace has no stderr")?;
                let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
                let is_attached = lines.any(|line| line.contains(" attached"));
                ensure!(is_attached, "strace may not watch the server");
            }
        }
        Ok(count)
    }

    /// Sends perf a command, and waits until it is acknowledged.
    fn command(&mut self, command: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("perf has no stdin")?;
        // One write, since perf acknowledges each read.
        stdin.write_all(format!("{command}\n").as_bytes()).context("perf has ended")?;
        let stdout = self.child.stdout.as_mut().context("perf has no stdout")?;
        // perf sends the zero byte at the end of a C string too.
        let mut answer = [0; 5];
        stdout.read_exact(&mut answer).context("perf has ended")?;
        match &answer {
            b"ack\n\0" => Ok(()),
            other => bail!("perf answers {:?}", String::from_utf8_lossy(other)),
        }
    }

    /// Returns the number of calls so far.
    fn stop(mut self) -> anyhow::Result<u64> {
        if self.tool == Tool::Perf {
            self.command("disable")?;
        }
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT)?;
        self.child.wait()?;
        let report = fs::read_to_string(self.report.path())?;
        let calls = match self.tool {
            Tool::Perf => in_perf(&report),
            Tool::Strace => Some(in_strace(&report)),
        };
        calls.with_context(|| format!("{:?} has not counted: {}", self.tool, report.trim()))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // Both calls fail only if the tool has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the count in the output of `perf stat -x ,`.
fn in_perf(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains(EVENT))?;
    match line.split(',').next()? {
        // The process has not run meanwhile.
        "<not counted>" => Some(0),
        count => count.parse().ok(),
    }
}

/// Returns the sum of the calls in the table of `strace -c`; zero if there were none.
fn in_strace(report: &str) -> u64 {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, calls, .., name] = cells[..] else {
            return None;
        };
        calls.parse::<u64>().ok().filter(|_| name != "total")
    };
    report.lines().filter_map(row).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_perf_is_the_first_cell() {
        let report = "# started on Mon\n\n12345,,raw_syscalls:sys_enter,987,100.00,,\n";
        assert_eq!(in_perf(report), Some(12345));
        assert_eq!(in_perf("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), Some(0));
        assert_eq!(in_perf("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(in_perf(""), None);
    }

    #[test]
    fn the_count_of_strace_is_the_sum_of_its_rows() {
        let report = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 75.00    0.000300           1       300           sendto
 25.00    0.000100           1       150        50 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000400           0       450        50 total
";
        assert_eq!(in_strace(report), 450);
        assert_eq!(in_strace(""), 0);
    }
}
