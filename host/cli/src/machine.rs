//! The trial of this machine at the start, which finds the settings to run plugins with.
//!
//! Service managers, kernels and emulators forbid things that compiled code needs. Found out once at
//! the start, each is one line with its cause, in place of an error for every plugin.

use std::io::{PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use wharf_runtime::plugin::Machine;

/// Time for one trial. Emulated processors compile a hundred times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at the trial's process.
const PAUSE: Duration = Duration::from_millis(1);

/// The findings about this machine, for the log and the compiler.
#[derive(Debug)]
pub struct Examined {
    machine: Machine,
    /// The limit of address space, in bytes, if there is one.
    address_space: Option<u64>,
    /// The last trial; an error if there could be none.
    trial: anyhow::Result<Outcome>,
    /// The reason for which traps are not left to signals.
    without_signals: Option<String>,
}

/// The outcome of a trial in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The reason in one line.
    Failed(String),
    /// The process was ended by a signal.
    Died(i32),
}

/// Finds the settings with which this machine can run plugins. To be called before there are other
/// threads: the trials are in copies of this process.
pub fn examine() -> Examined {
    let address_space = address_space();
    let scarce_addresses = address_space.is_some();
    let is_emulated = is_emulated();
    let mut machine = Machine { scarce_addresses, without_signals: is_emulated };
    let mut without_signals = is_emulated.then(|| "the processor is emulated by QEMU".to_owned());
    let mut trial = try_in_copy(machine);
    if let (Ok(Outcome::Died(signal)), false) = (&trial, is_emulated) {
        without_signals = Some(format!("a trap ends a process here, by signal {signal}"));
        machine.without_signals = true;
        trial = try_in_copy(machine);
    }
    Examined { machine, address_space, trial, without_signals }
}

/// Returns true if the processor is emulated by QEMU. As an emulator of single programs it aligns the
/// stack of a signal's handler wrongly, so that some traps end the process and others do not.
fn is_emulated() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let hypervisor = std::arch::x86_64::__cpuid(0x4000_0000);
        let name = [hypervisor.ebx, hypervisor.ecx, hypervisor.edx].map(u32::to_le_bytes);
        name.as_flattened() == b"TCGTCGTCGTCG"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Examined {
    /// Tells the operator of the findings, and returns the settings.
    ///
    /// # Errors
    ///
    /// The machine can run no plugins: the cause, and a remedy.
    pub fn machine(self) -> anyhow::Result<Machine> {
        let Examined { machine, address_space, trial, without_signals } = self;
        if let Some(bytes) = address_space {
            tracing::warn!(
                bytes,
                "address space is limited (ulimit -v, LimitAS): plugins are compiled to take little of \
                 it, which makes them slower; without a limit they are fast"
            );
        }
        match trial {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::Failed(reason)) => return Err(cannot(&reason)),
            Ok(Outcome::Died(signal)) => {
                return Err(cannot(&format!("a process is ended by signal {signal}")));
            }
            // If no process can be started, the first trap will show it.
            Err(error) => tracing::debug!(error = format!("{error:#}"), "traps are not tried out"),
        }
        if let Some(reason) = without_signals {
            tracing::warn!(
                reason,
                "signals do not report traps of plugins here: plugins are compiled with checks of their own, \
                 which makes them slower"
            );
        }
        // Limits need not be inherited by the copies.
        machine.try_call().map_err(|reason| cannot(&reason))?;
        Ok(machine)
    }
}

/// Tries a call and a trap in a copy of this process, which may die of them. Another program would not
/// do: an emulator of single programs is not there for those that they start.
fn try_in_copy(machine: Machine) -> anyhow::Result<Outcome> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    ensure!(threads == 1, "there are {threads} threads");
    let (mut reader, writer) = std::io::pipe().context("no pipe can be made")?;
    #[expect(unsafe_code, reason = "the standard library starts other programs only")]
    // SAFETY: there are no other threads, so that the copy may do all that this process may.
    let copy = unsafe { libc::fork() };
    match copy {
        -1 => Err(std::io::Error::last_os_error()).context("no process can be started"),
        0 => end_copy(machine, writer),
        copy => {
            drop(writer);
            let status = wait_for(copy)?;
            if libc::WIFSIGNALED(status) {
                return Ok(Outcome::Died(libc::WTERMSIG(status)));
            }
            match libc::WEXITSTATUS(status) {
                0 => Ok(Outcome::Passed),
                // An emulator can end itself instead, with the code that a shell has for the signal.
                code @ 129..=159 => Ok(Outcome::Died(code - 128)),
                _ => {
                    let mut reason = String::new();
                    reader.read_to_string(&mut reason)?;
                    Ok(Outcome::Failed(reason))
                }
            }
        }
    }
}

/// Performs the trial, and ends the process without the steps that belong to the original.
fn end_copy(machine: Machine, mut writer: PipeWriter) -> ! {
    // If it dies, it need not leave a file behind.
    let _ = rlimit::Resource::CORE.set(0, 0);
    let tried = AssertUnwindSafe(|| machine.try_call().and_then(|()| machine.try_trap()));
    let tried = catch_unwind(tried).unwrap_or_else(|_| Err("the compiler panicked".to_owned()));
    if let Err(reason) = &tried {
        let _ = writer.write_all(reason.as_bytes());
    }
    #[expect(
        unsafe_code,
        reason = "`exit` of the standard library runs what the original registered"
    )]
    // SAFETY: the call has no requirements.
    unsafe {
        libc::_exit(i32::from(tried.is_err()))
    }
}

/// Waits for a copy of this process, and returns its status. Ends it at the limit.
fn wait_for(copy: libc::pid_t) -> anyhow::Result<libc::c_int> {
    let begun = Instant::now();
    let mut is_killed = false;
    loop {
        let mut status = 0;
        #[expect(unsafe_code, reason = "the standard library waits for its own processes only")]
        // SAFETY: the pointer is to a value that the call may write to.
        let ended = unsafe { libc::waitpid(copy, &raw mut status, libc::WNOHANG) };
        match ended {
            0 if begun.elapsed() > LIMIT && !is_killed => {
                is_killed = true;
                #[expect(unsafe_code, reason = "as above")]
                // SAFETY: the process has not been waited for, so that its number is its own.
                unsafe {
                    libc::kill(copy, libc::SIGKILL);
                }
            }
            0 => thread::sleep(PAUSE),
            -1 => bail!("the trial is lost: {}", std::io::Error::last_os_error()),
            _ if is_killed => bail!("the trial has not ended within {LIMIT:?}"),
            _ => return Ok(status),
        }
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
