//! The trial of this machine at the start, which finds the settings to run plugins with.
//!
//! Service managers, kernels and emulators forbid things that compiled code needs. Found out once at
//! the start, each is one line with its cause, in place of an error for every plugin.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use wharf_runtime::plugin::Machine;

/// Name of the hidden command for a process that may die of it. Its flags are
/// [`Machine::SETTINGS`].
pub const COMMAND: &str = "try-machine";

/// Time for the trial. Emulated processors compile a hundred times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at the trial's process.
const PAUSE: Duration = Duration::from_millis(1);

/// The outcome of a trial in a process of its own.
enum Outcome {
    Passed,
    /// The reason in one line.
    Failed(String),
    /// The process was ended by a signal.
    Died(i32),
}

/// Finds the settings with which this machine can run plugins.
///
/// # Errors
///
/// It can run none: the cause, and a remedy.
pub fn examine() -> anyhow::Result<Machine> {
    let scarce_addresses = address_space().is_some();
    if let Some(bytes) = address_space() {
        tracing::warn!(
            bytes,
            "address space is limited (ulimit -v, LimitAS): plugins are compiled to take little of \
             it, which makes them slower; without a limit they are fast"
        );
    }
    let mut machine = Machine { scarce_addresses, ..Machine::default() };
    match trial(machine) {
        Ok(Outcome::Passed) => {}
        Ok(Outcome::Failed(reason)) => return Err(cannot(&reason)),
        Ok(Outcome::Died(signal)) => {
            machine.without_signals = true;
            match trial(machine) {
                Ok(Outcome::Passed) => tracing::warn!(
                    signal,
                    "a trap of a plugin ends a process here, as under some emulators: plugins are \
                     compiled with checks of their own, which makes them slower"
                ),
                Ok(Outcome::Failed(reason)) => return Err(cannot(&reason)),
                Ok(Outcome::Died(signal)) => {
                    return Err(cannot(&format!("a process is ended by signal {signal}")));
                }
                Err(error) => return Err(error),
            }
        }
        // If no process can be started, the first trap will show it.
        Err(error) => tracing::debug!(error = format!("{error:#}"), "traps are not tried out"),
    }
    // Limits need not be inherited by the other process.
    machine.try_call().map_err(|reason| cannot(&reason))?;
    Ok(machine)
}

/// Performs the hidden command: a call and a trap, in a process that may die of them.
///
/// # Errors
///
/// The machine cannot run plugins.
pub fn try_out(machine: Machine) -> anyhow::Result<()> {
    machine.try_call().and_then(|()| machine.try_trap()).map_err(anyhow::Error::msg)
}

fn trial(machine: Machine) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("the program's file is unknown")?;
    let mut command = Command::new(program);
    command.arg(COMMAND).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.args(machine.settings().map(|name| format!("--{name}")));
    let mut child = command.spawn().context("no process can be started")?;
    let status = match ended(&mut child)? {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?;
            bail!("the trial has not ended within {LIMIT:?}");
        }
    };
    if let Some(signal) = status.signal() {
        return Ok(Outcome::Died(signal));
    }
    // An emulator can end itself instead, with the code that a shell has for the signal.
    match status.code() {
        Some(0) => Ok(Outcome::Passed),
        Some(code @ 129..=159) => Ok(Outcome::Died(code - 128)),
        _ => {
            let mut reason = String::new();
            child.stderr.take().map(|mut text| text.read_to_string(&mut reason)).transpose()?;
            let reason = reason.trim().trim_start_matches("wharf: ");
            Ok(Outcome::Failed(reason.lines().last().unwrap_or_default().to_owned()))
        }
    }
}

/// Waits for a process. `None` if it is still running at the limit.
fn ended(child: &mut Child) -> anyhow::Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > LIMIT {
            return Ok(None);
        }
        // The standard library has no wait with a limit.
        thread::sleep(PAUSE);
    }
}

/// Returns the limit of address space, in bytes, if there is one.
fn address_space() -> Option<u64> {
    let limit = rlimit::Resource::AS.get_soft().ok()?;
    (limit != rlimit::INFINITY).then_some(limit)
}

fn cannot(reason: &str) -> anyhow::Error {
    let remedy = if reason.contains("executable") || reason.contains("Permission denied") {
        "allow it to make memory executable: MemoryDenyWriteExecute=no in a unit of systemd, execmem \
         with SELinux, mprotect in a seccomp filter"
    } else if reason.contains("Cannot allocate memory") || reason.contains("os error 12") {
        "allow it more memory or address space (ulimit -v, LimitAS, the container's limit)"
    } else {
        "see the limits of its service manager and container"
    };
    anyhow::anyhow!("this machine cannot run plugins: {reason}; {remedy}")
}
