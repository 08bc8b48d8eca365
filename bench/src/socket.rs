//! One client's connection to a server: the bytes to send, and those that have come.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::dialect::Dialect;
use crate::frame::{self, Opcode};

/// Mask of pongs, which are rare.
const PONG_MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// An open connection that never blocks.
pub struct Socket {
    stream: TcpStream,
    /// Bytes that the socket had no room for.
    unsent: Vec<u8>,
    /// The beginning of a frame of which the rest has not come.
    unparsed: Vec<u8>,
}

impl Socket {
    /// Opens a connection to a path and waits until messages may be sent.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened.
    pub fn open(
        address: SocketAddr,
        target: &str,
        dialect: Dialect,
        poll: &Poll,
        token: Token,
    ) -> anyhow::Result<Socket> {
        let opened = dialect.open(address, target)?;
        opened.stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(opened.stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, token, interest)?;
        Ok(Socket { stream, unsent: Vec::new(), unparsed: opened.early })
    }

    /// Adds a frame to what is written with the next flush.
    pub fn queue(&mut self, frame: &[u8]) {
        self.unsent.extend(frame);
    }

    /// Writes the waiting bytes. If the socket has no room, they wait for it to become writable.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot write"),
            }
        }
        Ok(())
    }

    /// Reads the bytes that have come, a buffer at a time, and hands each text to `take`, with the
    /// time at which it was read. Answers pings.
    ///
    /// # Errors
    ///
    /// The connection ends, the server breaks the protocol, or `take` fails.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8], Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read"),
            };
            let now = Instant::now();
            if self.unparsed.is_empty() {
                let parsed = self.parse(&buffer[..read], now, &mut take)?;
                self.unparsed.extend(&buffer[parsed..read]);
            } else {
                let mut bytes = std::mem::take(&mut self.unparsed);
                bytes.extend(&buffer[..read]);
                let parsed = self.parse(&bytes, now, &mut take)?;
                bytes.drain(..parsed);
                self.unparsed = bytes;
            }
            // A read that does not fill the buffer has emptied the socket: the next bytes make a
            // new event.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes whole frames. Returns their size in bytes.
    fn parse(
        &mut self,
        bytes: &[u8],
        now: Instant,
        take: &mut impl FnMut(&[u8], Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut parsed = 0;
        while let Some(frame) = frame::parse(&bytes[parsed..])? {
            parsed += frame.length;
            match frame.opcode {
                Opcode::Text => take(frame.payload, now)?,
                Opcode::Binary => bail!("a text message came as a binary one"),
                Opcode::Close => bail!("{}", frame::describe_close(frame.payload)),
                Opcode::Ping => {
                    self.queue(&frame::encode(Opcode::Pong, frame.payload, PONG_MASK));
                    self.flush()?;
                }
                Opcode::Pong => {}
            }
        }
        Ok(parsed)
    }
}
