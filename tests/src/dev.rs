//! `wharf dev`, from an author's point of view.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::artefacts;
use crate::log::{Line, Log};
use crate::server::{address, command};

/// Longest time for a build of a plugin, the first time with all dependencies, on two cores that
/// other tests use as well.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

/// A running `wharf dev`. Dropping it kills the process.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    /// Address on which it listens.
    pub address: SocketAddr,
    /// Its lines about each build.
    pub progress: Log,
    /// Log of the server, and output of cargo.
    pub log: Log,
    /// Number of lines of both up to the last one that a test has waited for: the next event may have
    /// the same words.
    seen: [AtomicUsize; 2],
}

impl Dev {
    /// Starts it in a crate's folder, and waits until the crate is built and the server listens.
    pub async fn start(folder: &Path) -> Dev {
        Dev::start_for(folder, &[], None).await
    }

    /// Starts it for these crates, with this file as its standard error.
    pub async fn start_for(folder: &Path, crates: &[&str], log: Option<&Path>) -> Dev {
        let mut command = command(folder);
        command
            .args(["dev", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(crates)
            .stdout(Stdio::piped())
            .env("CARGO_TARGET_DIR", artefacts::author_cache());
        for variable in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        if let Some(log) = log {
            command.stderr(File::create(log).expect("a file"));
        }
        let mut child = command.spawn().expect("it starts");
        let progress = Log::collect(child.stdout.take().expect("standard output is a pipe"));
        let log = match log {
            Some(log) => Log::collect(Growing(File::open(log).expect("a file"))),
            None => Log::collect(child.stderr.take().expect("standard error is a pipe")),
        };
        let address_so_far = SocketAddr::from(([127, 0, 0, 1], 0));
        let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let mut dev = Dev { child, address: address_so_far, progress, log, seen };
        let line = dev.logged("listening").await;
        dev.address = address(&line);
        dev
    }

    /// Waits for the next line about builds with all of these words in it.
    pub async fn tells(&self, words: &[&str]) -> Line {
        let is_it = |line: &Line| words.iter().all(|word| line.text.contains(word));
        self.wait(&self.progress, &self.seen[0], &format!("{words:?}"), is_it).await
    }

    /// Waits for the next line of the log with this in it.
    pub async fn logged(&self, text: &str) -> Line {
        self.wait(&self.log, &self.seen[1], text, |line| line.text.contains(text)).await
    }

    async fn wait(
        &self,
        log: &Log,
        seen: &AtomicUsize,
        what: &str,
        is_it: impl Fn(&Line) -> bool,
    ) -> Line {
        let waiting = async {
            loop {
                let start = seen.load(Ordering::Relaxed);
                let mut lines = log.lines().into_iter().enumerate().skip(start);
                if let Some((at, line)) = lines.find(|(_, line)| is_it(line)) {
                    seen.store(at + 1, Ordering::Relaxed);
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(BUILD_PATIENCE, waiting).await {
            Ok(line) => line,
            Err(_) => panic!("waited {BUILD_PATIENCE:?} for {what}"),
        }
    }

    /// Interrupts it, as Ctrl-C does, and waits for its end. Returns its exit code.
    pub async fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let status = std::process::Command::new("kill").args(["-INT", &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -INT");
        let ended = crate::eventually("the end", async || {
            self.child.try_wait().expect("the process can be waited for")
        });
        ended.await.code()
    }
}

/// A file that another process writes.
struct Growing(File);

impl Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into) {
                // The end for now.
                Ok(0) => std::thread::sleep(Duration::from_millis(20)),
                other => return other,
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // There is nothing to kill if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.progress.print_tail("what it told");
            self.log.print_tail("its log");
        }
    }
}
