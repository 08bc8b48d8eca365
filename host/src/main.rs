//! `wharf`: arguments → configuration → [`wharf_host::run`].

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use wharf_host::arguments::Command;
use wharf_host::config::{Config, LogFormat};

/// How long the runtime may take to end what is left when everything was asked to.
const LAST_MOMENT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match Command::from_process() {
        Command::Config(config, sources) => {
            print!("{}", config.effective(&sources));
            ExitCode::SUCCESS
        }
        Command::Serve(config, _) => match serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wharf: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    log_to_stderr(&config)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.workers > 0 {
        runtime.worker_threads(config.workers);
    }
    let runtime = runtime.enable_all().thread_name("worker").build()?;
    let served = runtime.block_on(async {
        let shutdown = shutdown()?;
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!("cannot listen on {}; choose another with --listen", config.listen)
        })?;
        wharf_host::run(config, listener, shutdown).await
    });
    runtime.shutdown_timeout(LAST_MOMENT);
    served
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    // A bare level is about this program; the libraries under it speak only of trouble.
    let directives = match config.log.parse::<tracing::Level>() {
        Ok(level) => format!("warn,wharf={level},wharf_host={level}"),
        Err(_) => config.log.clone(),
    };
    let filter = EnvFilter::try_new(directives).context("the log directives are wrong")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Human => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}

/// Completes at the first SIGINT or SIGTERM. A second one ends the process at once.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
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
    Ok(async move {
        let _ = signalled.await;
    })
}
