//! The log: lines to standard error, from a thread of its own.

mod json;
mod tail;

use std::io::{self, IsTerminal, Stderr, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use wharf_config::{Config, LogFormat};
use wharf_server::log_tail::LogTail;

use json::JsonLines;
use tail::TailLayer;

/// Lines that may wait to be written while the reader of the log is slow. Further ones are dropped.
const BUFFERED_LINES: usize = 4096;

/// Time that the end of the process waits for a reader that has stopped reading.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Pause between two looks at the writing thread.
const PAUSE: Duration = Duration::from_millis(5);

/// The log while it is open. The remaining lines are written when it is dropped, unless nobody reads
/// them.
#[derive(Debug)]
pub struct Log {
    writing: Option<WorkerGuard>,
    is_stuck: Arc<AtomicBool>,
    tail: Option<Arc<LogTail>>,
}

impl Log {
    /// Opens the log. A slow reader does not block the server: lines that do not fit into the buffer
    /// are dropped.
    ///
    /// # Errors
    ///
    /// The log directives are wrong, or the system lets the host have no thread for the log.
    pub fn open(config: &Config) -> anyhow::Result<Log> {
        // A bare level is for this program. The libraries below it log only warnings and errors.
        let directives = match config.log.parse::<tracing::Level>() {
            Ok(level) => format!("warn,wharf={level}"),
            Err(_) => config.log.clone(),
        };
        let filter = EnvFilter::try_new(directives).context("the log directives are wrong")?;
        // The library would panic.
        thread::Builder::new().spawn(|| ()).context(
            "no thread can be started; allow the host more of them (ulimit -u, TasksMax, pids.max)",
        )?;
        let is_stuck = Arc::new(AtomicBool::new(false));
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(BUFFERED_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(Watched { out: io::stderr(), is_writing: is_stuck.clone() });
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        let lines = match config.log_format {
            LogFormat::Human => lines.with_ansi(wants_colours()).with_target(false).boxed(),
            LogFormat::Json => lines.event_format(JsonLines).boxed(),
        };
        // Nobody could read them without an operator.
        let tail = config.operator_token.is_some().then(|| Arc::new(LogTail::default()));
        let kept = tail.clone().map(TailLayer);
        tracing_subscriber::registry().with(filter).with(lines).with(kept).init();
        Ok(Log { writing: Some(guard), is_stuck, tail })
    }

    /// Returns the last lines of channels, which are kept for the operator.
    pub fn tail(&self) -> Option<Arc<LogTail>> {
        self.tail.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(guard) = self.writing.take() else { return };
        let until = Instant::now() + LAST_LINES;
        // The guard would complain on standard output, where nobody may read either.
        while self.is_stuck.load(Ordering::SeqCst) {
            if Instant::now() > until {
                std::mem::forget(guard);
                return;
            }
            thread::sleep(PAUSE);
        }
        let last = thread::spawn(move || drop(guard));
        while !last.is_finished() && Instant::now() < until {
            thread::sleep(PAUSE);
        }
    }
}

/// Standard error, with a note of a write that has not returned.
struct Watched {
    out: Stderr,
    is_writing: Arc<AtomicBool>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_writing.store(true, Ordering::SeqCst);
        let written = self.out.write(bytes);
        self.is_writing.store(false, Ordering::SeqCst);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns true for a terminal that shows colours to a user who wants them (<https://no-color.org>).
fn wants_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}
