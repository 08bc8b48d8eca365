//! Servers that a test starts for itself, and ends by the number of their process.

pub mod nats;
pub mod redis;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest time for a server to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server's process. It ends with this value.
pub struct Server {
    pub port: u16,
    pub folder: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts a server. Its arguments follow from its port and its folder.
    pub fn start(variable: &str, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Server {
        let program = std::env::var_os(variable).filter(|program| !program.is_empty());
        let program = program.unwrap_or_else(|| {
            panic!(
                "{variable} names no program of a server; `cargo xtask test` finds or installs one"
            )
        });
        let mut last = None;
        // Another program may take a free port before the server does.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            let arguments = arguments(port, folder.path());
            let program = PathBuf::from(&program);
            let server = Server { port, folder, program, arguments, child: Mutex::new(None) };
            match server.try_start() {
                Ok(()) => return server,
                Err(why) => last = Some(why),
            }
        }
        panic!("the server does not start: {last:?}");
    }

    fn try_start(&self) -> Result<(), String> {
        let log = self.folder.path().join("log");
        let file = std::fs::File::options().create(true).append(true).open(&log);
        let file = file.expect("a log");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn();
        let mut child = child.map_err(|e| format!("{}: {e}", self.program.display()))?;
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("it ended with {status}: {log}"));
            }
            if TcpStream::connect(address(self.port)).is_ok() {
                *self.child.lock().expect("a lock") = Some(child);
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let _ = (child.kill(), child.wait());
                return Err("it does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process, which has no time to say goodbye.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().expect("a lock").take() {
            let _ = (child.kill(), child.wait());
        }
    }

    /// Starts the server again on its port.
    pub fn restart(&self) {
        self.try_start().expect("a server");
    }

    /// Stops the process, or lets it go on.
    pub fn pause(&self, is_paused: bool) {
        let child = self.child.lock().expect("a lock");
        let number = child.as_ref().expect("a process").id();
        let pid = Pid::from_raw(i32::try_from(number).expect("a number")).expect("a process");
        let signal = if is_paused { Signal::STOP } else { Signal::CONT };
        kill_process(pid, signal).expect("a signal");
        // The signal reaches all threads a little later.
        let begun = Instant::now();
        let is_stopped = || {
            let status = std::fs::read_to_string(format!("/proc/{number}/status"));
            status.is_ok_and(|status| status.contains("State:\tT"))
        };
        while is_stopped() != is_paused {
            assert!(begun.elapsed() < PATIENCE, "the process does not obey");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the folder with a certificate for 127.0.0.1 and `localhost`, `server.pem`, its key, and its authority.
pub fn certificates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../certificates")
}

/// Returns a port of the loopback address that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(address(0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
