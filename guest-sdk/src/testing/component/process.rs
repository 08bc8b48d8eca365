//! The process of a component's host: its start, its commands, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wharf_contract::kit::{Command as Wanted, Ready, Reply};

/// Variable that names the binary of the host.
pub(crate) const HOST: &str = "WHARF_TEST_HOST";

/// Binary of the host if the variable is not set, looked for on the `PATH`.
const DEFAULT_HOST: &str = "wharf";

/// Longest time that a test waits for an answer. Compiling a large component on a busy machine
/// takes a part of it.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Longest time that a host which has nothing more to do takes to end.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Interval at which it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// A running host. Dropping it ends it.
pub(crate) struct Process {
    binary: PathBuf,
    child: Child,
    /// Standard input; taken to end the process.
    input: Option<ChildStdin>,
    /// Lines of its standard output.
    output: Receiver<String>,
    /// Thread that collects its standard error.
    complaints: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts a host with a component.
    #[track_caller]
    pub(crate) fn start(component: &Path) -> Self {
        let binary = std::env::var_os(HOST).map_or_else(|| DEFAULT_HOST.into(), PathBuf::from);
        let shown = binary.display();
        let spawned = Command::new(&binary)
            .arg("test-host")
            .arg(component)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!(
                "the host {shown} cannot be started ({error}): run the tests by `wharf test`, or \
                 name the binary `wharf` in the variable {HOST}"
            )
        });
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output is a pipe");
        let mut errors = child.stderr.take().expect("standard error is a pipe");
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // The part that could be read is shown.
            let _ = errors.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        // An answer that nobody waits for any more holds nobody up.
        let (lines, output_lines) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let (output, complaints) = (output_lines, Some(complaints));
        let mut process = Self { binary, child, input, output, complaints };
        process.check_version();
        process
    }

    #[track_caller]
    fn check_version(&mut self) {
        let own = env!("CARGO_PKG_VERSION");
        let Ready { wharf: theirs } = self.read();
        if theirs != own {
            let host = self.binary.display();
            panic!(
                "the SDK of these tests is Wharf {own}, and the host {host} is Wharf {theirs}: \
                 they must be of one version; take the `vendor` folder of a crate that this \
                 host's `wharf new` makes, or run the tests with the other `wharf`"
            );
        }
    }

    /// Sends a command. Returns the whole reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, wanted: &Wanted) -> Reply {
        let line = serde_json::to_string(wanted).expect("a command can be written as JSON");
        let input = self.input.as_mut().expect("it is open until the process is dropped");
        // A process that has died does not answer, which is noticed below.
        let _ = writeln!(input, "{line}").and_then(|()| input.flush());
        self.read()
    }

    #[track_caller]
    fn read<T: DeserializeOwned>(&mut self) -> T {
        match self.output.recv_timeout(LONGEST_WAIT) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(value) => value,
                Err(error) => self.has_died(&format!("It said ({error}): {line}")),
            },
            Err(RecvTimeoutError::Timeout) => {
                self.has_died(&format!("It has not answered within {LONGEST_WAIT:?}."))
            }
            Err(RecvTimeoutError::Disconnected) => self.has_died(""),
        }
    }

    #[track_caller]
    fn has_died(&mut self, said: &str) -> ! {
        let _ = self.child.kill();
        let status = self.child.wait();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let complaints = self.complaints.take().and_then(|complaints| complaints.join().ok());
        let host = self.binary.display();
        panic!(
            "the host {host} has died ({status}). {said}\n{}",
            complaints.unwrap_or_default().trim_end()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when there are no more commands.
        drop(self.input.take());
        let begun = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begun.elapsed() > LONGEST_END {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(LOOK);
        }
        if let Some(complaints) = self.complaints.take()
            && let Ok(complaints) = complaints.join()
        {
            // Tests that fail show it.
            eprint!("{complaints}");
        }
    }
}
