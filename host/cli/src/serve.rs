//! The surroundings of a server: its runtime, its log, its signals.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use wharf_config::{Config, LogFormat};
use wharf_server::listener::Listener;
use wharf_server::operator::MAX_CONNECTIONS;
use wharf_server::server::MAX_PENDING;

/// Lines that may wait to be written while the reader of the log is slow. Further ones are dropped.
const BUFFERED_LINES: usize = 4096;

/// Open files that are not connections: the log, plugins being read, the runtime's own.
const FILES_BESIDE_CONNECTIONS: u64 = 100;

/// Time limit for the runtime to end the tasks that are left after the shutdown.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Completes at the first signal that asks for an end.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `server` with the configuration's listener until it ends.
pub fn serve<S, F>(config: Config, server: S) -> anyhow::Result<()>
where
    S: FnOnce(Config, Listener, Shutdown) -> F,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let _writing = log_to_stderr(&config)?;
    raise_open_files(&config);
    let runtime = runtime(&config)?;
    let served = runtime.block_on(async {
        let shutdown = shutdown()?;
        let listener = Listener::bind(&config.listen, "channels").with_context(|| {
            format!("no address for clients ({}); choose another with --listen", config.listen)
        })?;
        // The server runs on a worker, like all tasks that it starts: accepting a connection should
        // not have to wake another thread for it.
        tokio::spawn(server(config, listener, shutdown)).await?
    });
    end(runtime);
    served
}

/// Builds the runtime of a server.
pub fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.workers > 0 {
        runtime.worker_threads(config.workers);
    }
    Ok(runtime.enable_all().thread_name("worker").build()?)
}

/// Ends a runtime. Does not wait for a plugin that is still being compiled.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST_MOMENT);
}

/// Logs from a thread of its own, so that a slow reader of the log does not block the server. Lines
/// that do not fit into the buffer are dropped. The guard writes the remaining lines when it is
/// dropped.
fn log_to_stderr(config: &Config) -> anyhow::Result<WorkerGuard> {
    // A bare level is for this program. The libraries below it log only warnings and errors.
    let directives = match config.log.parse::<tracing::Level>() {
        Ok(level) => format!("warn,wharf={level}"),
        Err(_) => config.log.clone(),
    };
    let filter = EnvFilter::try_new(directives).context("the log directives are wrong")?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match config.log_format {
        LogFormat::Human => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(guard)
}

/// Raises the limit of open files to the one that the system allows, since every connection is an
/// open file. Warns if that is too little.
fn raise_open_files(config: &Config) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            let sockets = config.max_connections + MAX_PENDING + MAX_CONNECTIONS;
            let needed = sockets as u64 + FILES_BESIDE_CONNECTIONS;
            if limit < needed {
                tracing::warn!(
                    limit,
                    max_connections = config.max_connections,
                    "the system allows fewer open files than max_connections needs; raise it \
                     (ulimit -n {needed}, or LimitNOFILE) or lower max_connections"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// Completes at the first SIGINT or SIGTERM. A second one ends the process at once.
fn shutdown() -> anyhow::Result<Shutdown> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (first, signalled) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match first.take() {
                Some(first) => drop(first.send(())),
                None => std::process::exit(130),
            }
        }
    });
    Ok(Box::pin(async move {
        let _ = signalled.await;
    }))
}
