//! The real server: a `wharf` process in a folder of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, Rejected};
use crate::folder::folder;
use crate::log::{Line, Log};
use crate::raw::Raw;
use crate::{PATIENCE, artefacts, eventually};

/// A running server. Dropping it kills the process. If a test is panicking, the end of the server's
/// log is printed.
#[derive(Debug)]
pub struct Wharf {
    child: Child,
    /// Address on which it listens.
    pub address: SocketAddr,
    /// The server's log.
    pub log: Log,
    /// Its working directory, with the plugin folder in it.
    folder: TempDir,
}

/// The end of a server.
#[derive(Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// Time from the signal to the end.
    pub took: Duration,
}

impl Wharf {
    /// Starts a server with these plugins or fixtures, and waits until it listens. `flags` are
    /// added to its command line; each may be written as `--flag value`.
    pub async fn start(plugins: &[&str], flags: &[&str]) -> Wharf {
        Wharf::start_in(folder(plugins), flags).await
    }

    /// Starts a server in a prepared folder, with a `plugins` folder in it.
    pub async fn start_in(folder: TempDir, flags: &[&str]) -> Wharf {
        Wharf::start_under(&[], folder, flags).await
    }

    /// Starts a server like [`Wharf::start_in`], by a program that becomes the server with its last
    /// arguments, such as `env HOME=…`.
    pub async fn start_under(wrapper: &[&str], folder: TempDir, flags: &[&str]) -> Wharf {
        let mut command = serve_under(wrapper, folder.path(), flags);
        let mut child = command.spawn().expect("the server starts");
        let log = Log::collect(child.stderr.take().expect("standard error is a pipe"));
        let mut wharf =
            Wharf { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log, folder };
        let line = wharf.log.wait_for("an address", |line| line.text.contains("listening")).await;
        wharf.address = address(&line);
        wharf
    }

    /// Starts a server like [`Wharf::start_in`], and does not wait until it has loaded its plugins. Its
    /// address is chosen here, since it announces it only then.
    pub async fn start_early(folder: TempDir, flags: &[&str]) -> Wharf {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let listen = format!("--listen {address}");
        let mut command = serve_under(&[], folder.path(), &[flags, &[&listen]].concat());
        let mut child = command.spawn().expect("the server starts");
        let log = Log::collect(child.stderr.take().expect("standard error is a pipe"));
        eventually("the server to listen", async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Wharf { child, address, log, folder }
    }

    /// Starts a server like [`Wharf::start_in`], whose log is read no further than to its address.
    pub async fn start_unread(folder: TempDir, flags: &[&str]) -> Wharf {
        let mut command = serve_under(&[], folder.path(), flags);
        // As where both go to one pipe: a complaint about one must not wait for the other.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer.try_clone().expect("a copy")).stderr(writer);
        let child = command.spawn().expect("the server starts");
        // The command holds the other end of the pipe too.
        drop(command);
        let log = Log::collect_to(reader, |line| line.text.contains("listening"));
        let line = log.wait_for("an address", |line| line.text.contains("listening")).await;
        Wharf { child, address: address(&line), log, folder }
    }

    /// Returns a URL of this server.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Connects a client, which must be accepted.
    pub async fn connect(&self, path: &str) -> Client {
        Client::connect(self.address, path).await
    }

    /// Connects a client with further headers; it may be refused.
    pub async fn try_connect(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Client, Rejected> {
        Client::try_connect(self.address, path, headers).await
    }

    /// Opens a TCP connection, and nothing more.
    pub async fn raw(&self) -> Raw {
        Raw::open(self.address).await
    }

    /// Opens a TCP connection and upgrades it by hand.
    pub async fn raw_websocket(&self, path: &str) -> Raw {
        let mut raw = self.raw().await;
        raw.upgrade(path).await;
        raw
    }

    /// Returns the path of a plugin's file, which need not exist.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.folder.path().join("plugins").join(format!("{name}.wasm"))
    }

    /// Returns the working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts bytes into the plugin folder like a careful operator: under another name first, then by
    /// rename.
    pub fn install(&self, name: &str, bytes: &[u8]) {
        let path = self.plugin(name);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes).expect("a plugin is written");
        std::fs::rename(&partial, &path).expect("a plugin is renamed");
    }

    /// Installs bytes as a plugin and waits until the server has them in service. Returns the line
    /// about it.
    pub async fn swap(&self, name: &str, bytes: &[u8]) -> Line {
        let start = self.log.len();
        self.install(name, bytes);
        self.in_service_after(start, name).await
    }

    /// Waits for the line about a plugin that was taken into service, after the first `start` lines
    /// of the log.
    pub async fn in_service_after(&self, start: usize, name: &str) -> Line {
        let what = format!("{name} loaded or swapped");
        let is_news = |line: &Line| {
            (line.says("plugin swapped") || line.says("plugin loaded"))
                && line.str("channel") == name
        };
        self.log.wait_for_after(start, &what, is_news).await
    }

    /// Waits for the line about a refused plugin, after the first `start` lines of the log.
    pub async fn refused_after(&self, start: usize, name: &str) -> Line {
        let what = format!("{name} refused");
        let is_refusal = |line: &Line| line.begins("plugin refused") && line.str("channel") == name;
        self.log.wait_for_after(start, &what, is_refusal).await
    }

    /// Sends the process a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .expect("kill runs");
        assert!(status.success(), "kill -{name} failed");
    }

    /// Stops the process until it gets the signal `CONT`, and waits until none of its threads runs any more.
    pub async fn stand_still(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status"));
            // A thread that has just ended has no status any more.
            status.map_or(true, |status| status.contains("State:\tT"))
        };
        eventually("the process to stand still", async || {
            let mut tasks = std::fs::read_dir(&tasks).expect("the process is there").flatten();
            tasks.all(is_stopped).then_some(())
        })
        .await;
    }

    /// Ends the process at once, as `kill -9` does, if it has not ended yet. Its folder stays.
    pub fn kill(&mut self) {
        // There is nothing to kill if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again in its folder, once it has ended, and waits until it listens.
    pub async fn start_again(&mut self, flags: &[&str]) {
        self.start_again_under(&[], flags).await;
    }

    /// Starts the server again like [`Wharf::start_again`], by a program as for [`Wharf::start_under`].
    pub async fn start_again_under(&mut self, wrapper: &[&str], flags: &[&str]) {
        assert!(!self.is_running(), "it still runs");
        let mut command = serve_under(wrapper, self.folder.path(), flags);
        self.child = command.spawn().expect("the server starts");
        self.log = Log::collect(self.child.stderr.take().expect("standard error is a pipe"));
        let line = self.log.wait_for("an address", |line| line.text.contains("listening")).await;
        self.address = address(&line);
    }

    /// Waits for the process to end by itself.
    pub async fn stopped(&mut self) -> Stopped {
        let begun = Instant::now();
        let status = eventually("the server to end", async || {
            self.child.try_wait().expect("the process can be waited for")
        })
        .await;
        Stopped { status, took: begun.elapsed() }
    }

    /// Returns true while the process is running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_none()
    }

    /// Returns the process's resident memory, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the process is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: usize = kibibytes.expect("a size").trim().parse().expect("a number");
        kibibytes * 1024
    }

    /// Returns the number of the process's open files.
    pub fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.expect("the process is running").count()
    }

    /// Returns the number of its mappings of memory.
    pub fn mappings(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id()));
        maps.expect("the process is running").lines().count()
    }

    /// Returns how often threads of the process have gone to sleep during `time`, and so, with it, have
    /// woken up. Threads that end meanwhile do not count.
    pub async fn wake_ups_in(&self, time: Duration) -> u64 {
        let before = self.wake_ups();
        tokio::time::sleep(time).await;
        let more = |(thread, count)| count - before.get(&thread).copied().unwrap_or(0);
        self.wake_ups().into_iter().map(more).sum()
    }

    /// Returns how often each thread of the process has gone to sleep, by the thread's number.
    fn wake_ups(&self) -> BTreeMap<OsString, u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.expect("the process is running").flatten();
        let wake_ups = threads.filter_map(|thread| {
            // A thread that has just ended has no status any more.
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let mut lines = status.lines();
            let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let count = count.expect("a count").trim().parse().expect("a number");
            Some((thread.file_name(), count))
        });
        wake_ups.collect()
    }

    /// Returns the CPU time that the process has used, in all of its threads.
    pub fn cpu_time(&self) -> Duration {
        /// Linux counts it for other processes in hundredths of a second, with any clock of its
        /// own.
        const UNIT: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .expect("the process is running");
        // The second field is a name in parentheses, with any characters in it. The 14th and 15th
        // are the time in the program and in the kernel.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let times = fields.split(' ').skip(11).take(2);
        UNIT * times.map(|time| time.parse::<u32>().expect("a number")).sum()
    }
}

impl Drop for Wharf {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.log.print_tail("the server's log");
        }
    }
}

/// Makes the command of a server.
fn serve_under(wrapper: &[&str], folder: &Path, flags: &[&str]) -> Command {
    let mut command = command_under(wrapper, folder);
    command.arg("serve");
    let defaults =
        [("--plugins", "plugins"), ("--listen", "127.0.0.1:0"), ("--log-format", "json")];
    for (flag, value) in defaults {
        if !flags.iter().any(|given| given.starts_with(flag)) {
            command.args([flag, value]);
        }
    }
    for flag in flags {
        match flag.split_once(' ') {
            Some((flag, value)) => command.args([flag, value]),
            None => command.arg(flag),
        };
    }
    command
}

/// Makes a command for the binary in a folder of its own, without the environment of the tests, but with
/// the cache of compiled plugins that they share.
pub(crate) fn command(folder: &Path) -> Command {
    command_under(&[], folder)
}

fn command_under(wrapper: &[&str], folder: &Path) -> Command {
    let mut command = match wrapper {
        [] => Command::new(artefacts::binary()),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(artefacts::binary());
            command
        }
    };
    command
        .current_dir(folder)
        .env_clear()
        .env("WHARF_CACHE", artefacts::compiled_plugins())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Returns the first address in the line that announces them, in either format of log lines.
pub(crate) fn address(line: &Line) -> SocketAddr {
    let text = match line.str("address") {
        "" => line.text.split("address=").nth(1).and_then(|rest| rest.split(' ').next()),
        address => Some(address),
    };
    // Of several addresses it is the first.
    let first = text.and_then(|text| text.split(',').next());
    first.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line}"))
}

/// Runs the binary to its end in an empty folder, without the environment of the tests.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run_in(folder.path(), arguments, environment)
}

/// Returns a program for [`Wharf::start_under`] that runs a script in a namespace of mounts of its own
/// first. The script ends with `exec "$0" "$@"`. It needs no rights, but user namespaces.
pub fn mounts(script: &str) -> [&str; 7] {
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
}

/// Runs the binary to its end in this folder.
pub fn run_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = command(folder);
    command.stdout(Stdio::piped()).args(arguments).envs(environment.iter().copied());
    let child = command.spawn().expect("the binary runs");
    let id = child.id();
    // Its output is read while it runs: a pipe takes no more than 64 KiB.
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("its output can be read"),
        Err(_) => {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            panic!("{arguments:?} has not ended in {PATIENCE:?}");
        }
    }
}
