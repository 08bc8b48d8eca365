//! The signals that end a server.

use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Completes at the first signal that asks for an end.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The number of SIGXFSZ on Linux, which the standard names have not.
const FILE_SIZE_EXCEEDED: SignalKind = SignalKind::from_raw(25);

/// Completes at the first SIGINT, SIGTERM or SIGHUP. A second one ends the process at once, with the
/// exit code that shells have for the signal.
///
/// SIGHUP comes when a terminal is closed. It is left alone if it was ignored at the start, as by
/// `nohup`. SIGXFSZ is ignored from now on: a file that the system allows no more bytes is an error
/// like any other.
///
/// # Errors
///
/// The system refuses a handler.
pub fn shutdown() -> anyhow::Result<Shutdown> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = match is_ignored(SignalKind::hangup()) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    // The handler does nothing, but takes the place of the default, which ends the process.
    drop(signal(FILE_SIZE_EXCEEDED));
    let (first, signalled) = oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                () = received(&mut hang_up) => SignalKind::hangup(),
            };
            match first.take() {
                Some(first) => {
                    tracing::info!(signal = kind.as_raw_value(), "asked to stop");
                    let _ = first.send(());
                }
                None => std::process::exit(128 + kind.as_raw_value()),
            }
        }
    });
    Ok(Box::pin(async move {
        let _ = signalled.await;
    }))
}

/// Completes when a signal comes; never without one.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns true if this process was started with the signal ignored, as far as the system tells.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let number = u32::try_from(kind.as_raw_value()).unwrap_or(0);
    number > 0 && mask.checked_shr(number - 1).is_some_and(|mask| mask & 1 == 1)
}
