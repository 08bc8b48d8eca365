//! Standard output and standard error, which may be closed or full.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes the answer of a command. A reader that has read enough and gone, such as `head`, is not an
/// error.
///
/// # Errors
///
/// The text cannot be written, as on a full disk.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    finished(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a part of an answer that goes on. Returns false if the reader has gone.
///
/// # Errors
///
/// The text cannot be written, as on a full disk.
pub fn print_part(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => finished(written).map(|()| true),
    }
}

/// Returns the outcome of writing to standard output.
///
/// # Errors
///
/// Something could not be written, and somebody still wanted it.
pub fn finished(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output cannot be written to"),
    }
}

/// Tells why the program ends, or of what it does meanwhile, if standard error can be written to.
pub fn complain(error: impl Display) {
    let _ = writeln!(io::stderr(), "wharf: {error}");
}
