//! A server's process: its start and end, its CPU time and its memory.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::cores;
use crate::report::ReaderGone;
use crate::system_calls;

/// Time limit for a server to say where it listens. A host compiles its plugins before that.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Number of the last lines of a server's log that an error quotes.
const LOG_LINES: usize = 10;

/// Name of [`Launch`] on the command line.
const LAUNCH: &str = "launch";

/// A running server. It is killed when this is dropped.
pub struct Process {
    name: &'static str,
    child: Child,
    log: Arc<Mutex<Log>>,
    address: SocketAddr,
    started_in: Duration,
}

/// The part of a server's log that has been read.
#[derive(Default)]
struct Log {
    /// The last lines.
    lines: VecDeque<String>,
    /// Times when a host said that it had loaded a plugin, with the plugin's generation.
    loads: Vec<(u64, Instant)>,
}

impl Process {
    /// Starts a server, on one core if one is given, and waits until it logs, as a line of JSON on
    /// stderr, the message `listening` with an `address`.
    ///
    /// The server gets no `WHARF_…` variable, so that it has the settings that the report names.
    ///
    /// # Errors
    ///
    /// The server cannot be started, ends, or is silent. The error has the last lines of its log.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[OsString],
        folder: &Path,
        core: Option<usize>,
    ) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(LAUNCH);
        let only = core.map(|core| [core]);
        // The cores of this process, since this thread may have pinned itself to one.
        let cores = only.as_ref().map_or(cores::allowed(), |core| &core[..]);
        for core in cores {
            command.arg("--core").arg(core.to_string());
        }
        command.arg("--").arg(program).args(arguments);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("WHARF_") {
                command.env_remove(variable);
            }
        }
        let begun = Instant::now();
        let mut child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stderr = child.stderr.take();
        let log = Arc::new(Mutex::new(Log::default()));
        let (found, address) = mpsc::channel();
        let reading = log.clone();
        // The pipe is read until its end: a server must never wait for this program to read its
        // log.
        thread::spawn(move || {
            if let Some(stderr) = stderr {
                read_log(stderr, &reading, &found);
            }
        });
        let address_so_far = SocketAddr::from(([0; 4], 0));
        let mut process =
            Process { name, child, log, address: address_so_far, started_in: Duration::ZERO };
        process.address = address.recv_timeout(START_LIMIT).map_err(|error| {
            let what = match error {
                RecvTimeoutError::Timeout => "does not say where it listens",
                RecvTimeoutError::Disconnected => "ended before it listened",
            };
            process.explain(anyhow!("{name} {what}"))
        })?;
        process.started_in = begun.elapsed();
        Ok(process)
    }

    /// Returns the address at which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the time from the start of the process to the line that names its address.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Returns the time when the host said that it had loaded a plugin's generation of that number.
    /// If several plugins have, it is the last time.
    pub fn loaded_at(&self, generation: u64) -> Option<Instant> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let load = log.loads.iter().rfind(|(number, _)| *number == generation);
        load.map(|(_, at)| *at)
    }

    /// Returns the number of system calls that the process makes for each unit of `exchange`; see
    /// [`system_calls::of_each`].
    ///
    /// # Errors
    ///
    /// `exchange` fails, or counting fails half way.
    pub fn system_calls_each(
        &self,
        timed: u64,
        exchange: impl FnOnce(u64) -> anyhow::Result<u64>,
    ) -> anyhow::Result<f64> {
        system_calls::of_each(self.child.id(), timed, exchange)
    }

    /// Returns the CPU time so far, of every thread.
    pub fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        CpuTime::read(self.child.id()).map_err(|error| self.explain(error))
    }

    /// Returns the number of times that threads of the process have waited and were woken, so far.
    pub fn wake_ups(&self) -> anyhow::Result<u64> {
        let folder = format!("/proc/{}/task", self.child.id());
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))?;
        let status = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("status")).ok();
        let statuses = entries.map_while(Result::ok).filter_map(status);
        Ok(statuses.filter_map(|status| voluntary_switches(&status)).sum())
    }

    /// Returns the resident memory in bytes once it is stable: two readings a while apart differ by
    /// less than a thousandth. After 5 seconds the last reading is returned as it is.
    pub fn settled_memory(&self) -> anyhow::Result<u64> {
        const APART: Duration = Duration::from_millis(200);
        let begun = Instant::now();
        let mut before = self.memory()?;
        loop {
            thread::sleep(APART);
            let now = self.memory()?;
            if now.abs_diff(before) < now / 1000 || begun.elapsed() > Duration::from_secs(5) {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Returns the things of the system that the process holds once its memory is stable, as
    /// [`settled_memory`](Process::settled_memory) waits for it.
    ///
    /// # Errors
    ///
    /// The process has ended, or belongs to another user.
    pub fn settled_footprint(&self) -> anyhow::Result<Footprint> {
        let resident_bytes = self.settled_memory()?;
        let folder = format!("/proc/{}/fd", self.child.id());
        let descriptors = fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))?;
        let file = format!("/proc/{}/maps", self.child.id());
        let maps = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Ok(Footprint {
            resident_bytes,
            descriptors: descriptors.count(),
            mappings: maps.lines().count(),
        })
    }

    /// Returns the resident memory, in bytes. The sums of `smaps_rollup` are exact; those of
    /// `statm` lag behind by some pages a thread.
    fn memory(&self) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/smaps_rollup", self.child.id());
        fs::read_to_string(&file)
            .with_context(|| format!("cannot read {file}"))
            .and_then(|text| {
                resident_bytes(&text).with_context(|| format!("{file} has no line Rss"))
            })
            .map_err(|error| self.explain(error))
    }

    /// Adds the last lines of the server's log to an error.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.lines.is_empty() || error.is::<ReaderGone>() {
            return error;
        }
        let lines: Vec<&str> = log.lines.iter().map(String::as_str).collect();
        let name = self.name;
        anyhow!("{error:#}\nThe last lines of {name}'s log:\n  {}", lines.join("\n  "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has nothing to lose. Both calls fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The things of the system that a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Number of open descriptors.
    pub descriptors: usize,
    /// Number of mappings of memory.
    pub mappings: usize,
}

/// Keeps the last lines, and reports the address when it comes.
fn read_log(stderr: ChildStderr, log: &Mutex<Log>, found: &mpsc::Sender<SocketAddr>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(address) = listening_address(&line) {
            let _ = found.send(address);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = loaded_generation(&line) {
            log.loads.push((generation, Instant::now()));
        }
        if log.lines.len() == LOG_LINES {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
    }
}

/// Returns the address in a line of JSON that says that a server listens.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line.get("message")?.as_str()? != "listening" {
        return None;
    }
    line.get("address")?.as_str()?.parse().ok()
}

/// Returns the generation in a line of JSON that says that a plugin has been loaded.
fn loaded_generation(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_load = ["plugin loaded", "plugin swapped"].contains(&line.get("message")?.as_str()?);
    line.get("generation")?.as_u64().filter(|_| is_load)
}

/// Returns the resident bytes in the text of a `smaps_rollup`.
fn resident_bytes(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns the number of times that a thread has waited, from the text of its `status`.
fn voluntary_switches(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// The CPU time of a process, in nanoseconds for each thread: the first figure of its
/// `schedstat`. (`stat` counts in ticks of 10 ms.)
pub struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    fn read(process: u32) -> anyhow::Result<CpuTime> {
        let folder = format!("/proc/{process}/task");
        let mut threads = BTreeMap::new();
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))?;
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            // A thread may end between being listed and being read.
            let Ok(text) = fs::read_to_string(format!("{folder}/{name}/schedstat")) else {
                continue;
            };
            let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
            if let (Ok(thread), Some(nanoseconds)) = (name.parse(), nanoseconds) {
                threads.insert(thread, nanoseconds);
            }
        }
        if threads.is_empty() {
            bail!(
                "{folder} has no schedstat: this needs Linux with scheduler statistics \
                 (CONFIG_SCHED_INFO)"
            );
        }
        Ok(CpuTime(threads))
    }

    /// Returns the time of the calling thread, as of its last switch or tick of the scheduler.
    pub fn of_this_thread() -> anyhow::Result<CpuTime> {
        let file = "/proc/thread-self/schedstat";
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
        let nanoseconds = nanoseconds.with_context(|| format!("{file} is not understood"))?;
        Ok(CpuTime(BTreeMap::from([(0, nanoseconds)])))
    }

    /// Returns the time that has been used since an earlier reading. The time of a thread that has
    /// ended since is not known any more.
    pub fn since(&self, earlier: &CpuTime) -> Duration {
        let used = self.0.iter().map(|(thread, now)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        Duration::from_nanos(used.sum())
    }
}

/// The options for becoming another program. The step in between lets the program's first
/// instruction run on the right core already, and ties its life to this process.
#[derive(clap::Args)]
pub struct Launch {
    /// A core to run on; may be repeated
    #[arg(long)]
    core: Vec<usize>,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

impl Launch {
    /// Becomes the program. Returns only if that fails.
    pub fn exec(&self) -> anyhow::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{PTracer, Signal};
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // Lets this program count the system calls of its child on machines that allow tracing
            // only to parents. It fails on machines where tracing needs no permission.
            let _ = rustix::process::set_ptracer(PTracer::Any);
        }
        if !self.core.is_empty() {
            cores::stay_on(&self.core)?;
        }
        let (program, arguments) = self.command.split_first().context("no program is named")?;
        let error = Command::new(program).args(arguments).exec();
        Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_says_listening() {
        let line = r#"{"level":"INFO","message":"listening","address":"127.0.0.1:4321"}"#;
        assert_eq!(listening_address(line), Some(SocketAddr::from(([127, 0, 0, 1], 4321))));
        for other in [
            r#"{"level":"INFO","message":"stopped","address":"127.0.0.1:4321"}"#,
            r#"{"level":"INFO","message":"listening"}"#,
            "listening on 127.0.0.1:4321",
            "",
        ] {
            assert_eq!(listening_address(other), None, "{other}");
        }
    }

    #[test]
    fn the_generation_is_read_from_the_line_that_says_loaded() {
        for message in ["plugin loaded", "plugin swapped"] {
            let line = format!(r#"{{"message":"{message}","channel":"echo","generation":3}}"#);
            assert_eq!(loaded_generation(&line), Some(3));
        }
        assert_eq!(loaded_generation(r#"{"message":"plugin removed","generation":3}"#), None);
        assert_eq!(loaded_generation("plugin loaded"), None);
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        let text = "5600-7fff ---p 00000000 00:00 0   [rollup]\nRss:        1736 kB\nPss: 3 kB\n";
        assert_eq!(resident_bytes(text), Some(1736 * 1024));
        assert_eq!(resident_bytes("Pss: 3 kB\n"), None);
    }

    #[test]
    fn wake_ups_are_the_voluntary_switches() {
        let status = "Name:\twharf\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(voluntary_switches(status), Some(17));
        assert_eq!(voluntary_switches("Name:\twharf\n"), None);
    }

    #[test]
    fn cpu_time_counts_new_threads_and_forgets_ended_ones() {
        let before = CpuTime(BTreeMap::from([(1, 100), (2, 500)]));
        let after = CpuTime(BTreeMap::from([(1, 150), (3, 7)]));
        assert_eq!(after.since(&before), Duration::from_nanos(57));
    }

    #[test]
    fn cpu_time_of_a_process_grows_with_its_work() {
        let own = std::process::id();
        let before = CpuTime::read(own).expect("a reading");
        let mut after = before.since(&before);
        assert_eq!(after, Duration::ZERO);
        let begun = Instant::now();
        while after == Duration::ZERO && begun.elapsed() < Duration::from_secs(10) {
            std::hint::black_box((0..100_000u64).sum::<u64>());
            after = CpuTime::read(own).expect("a reading").since(&before);
        }
        assert!(after > Duration::ZERO);
    }
}
