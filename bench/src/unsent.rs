//! What a client has to send and its socket had no room for.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use mio::net::TcpStream;

/// Writes what waits. What the socket has no room for waits for it to become writable.
///
/// # Errors
///
/// The connection is lost.
pub fn write_unsent(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> anyhow::Result<()> {
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(written) => drop(unsent.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot write"),
        }
    }
    Ok(())
}
