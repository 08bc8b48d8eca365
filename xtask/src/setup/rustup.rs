//! The first way to the target, which works on most machines: rustup downloads it.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Outcome, is_installed, run_within};
use crate::workspace::GUEST_TARGET;

/// Time limit for the whole download, about 20 MB. A network that swallows packets would hold
/// rustup much longer, since it tries again.
const LIMIT: Duration = Duration::from_secs(300);

/// Seconds without an answer after which rustup gives up a transfer; its own default is 180.
const SILENCE_SECONDS: &str = "20";

/// Has rustup add the target to the toolchain in use.
pub fn install() -> Outcome {
    if !is_installed("rustup") {
        return Err("rustup is not installed".to_owned());
    }
    let mut command = Command::new("rustup");
    command
        .args(["target", "add", GUEST_TARGET])
        .stdin(Stdio::null())
        // A failure here is not a defect of rustup; its stack would bury the reason.
        .env("RUST_BACKTRACE", "0");
    for (name, value) in [("RUSTUP_DOWNLOAD_TIMEOUT", SILENCE_SECONDS), ("RUSTUP_MAX_RETRIES", "1")]
    {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    run_within(&mut command, LIMIT)
}
