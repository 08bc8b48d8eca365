//! A connection that comes, stays or not, and goes, without blocking others.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::frame::{self, Opcode};
use crate::handshake;

/// Status 1000, as a browser sends it when a page is left.
const CLOSE: [u8; 2] = 1000u16.to_be_bytes();
const MASK: [u8; 4] = [0x3c, 0x91, 0x5e, 0x07];

/// One connection from beginning to end.
pub struct Visitor {
    stream: TcpStream,
    begun: Instant,
    step: Step,
    /// Received bytes that do not make a whole frame yet.
    received: Vec<u8>,
}

/// The progress of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no connection yet.
    Connecting,
    /// The request is on its way, or the answer to it.
    Asking,
    /// The 101 has come.
    Inside,
    /// The close frame is on its way, or the answer to it.
    Leaving,
    /// The close frame has been answered.
    Gone,
}

impl Visitor {
    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// The system has no more files or ports.
    pub fn connect(address: SocketAddr, poll: &Poll, token: Token) -> anyhow::Result<Visitor> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, token, interest)?;
        Ok(Visitor { stream, begun, step: Step::Connecting, received: Vec::with_capacity(512) })
    }

    /// Returns its progress.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Returns the time since it began to connect.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Goes as far as it can without leaving, and hands texts to `take`.
    ///
    /// # Errors
    ///
    /// The visitor is refused, not closed as it should be, or `take` fails.
    pub fn attend(
        &mut self,
        request: &str,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.step == Step::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error).context("cannot connect");
            }
            match self.stream.write(request.as_bytes()) {
                Ok(written) => ensure!(written == request.len(), "the request does not fit"),
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(error).context("cannot write the request"),
            }
            self.step = Step::Asking;
            // The answer will be an event of its own.
            return Ok(());
        }
        let mut chunk = [0; 4096];
        loop {
            let read = match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the server hung up without a close frame"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read"),
            };
            self.received.extend(&chunk[..read]);
            if self.step == Step::Asking {
                let Some(end) = self.received.windows(4).position(|end| end == b"\r\n\r\n") else {
                    continue;
                };
                handshake::check(&String::from_utf8_lossy(&self.received[..end + 4]))?;
                self.received.drain(..end + 4);
                self.step = Step::Inside;
            }
            while let Some(frame) = frame::parse(&self.received)? {
                match frame.opcode {
                    Opcode::Close => {
                        let is_answer = self.step == Step::Leaving
                            && frame.payload.get(..2).is_none_or(|code| code == CLOSE);
                        ensure!(is_answer, "{}", frame::describe_close(frame.payload));
                        self.step = Step::Gone;
                        return Ok(());
                    }
                    Opcode::Text => take(frame.payload)?,
                    Opcode::Binary => bail!("a text message came as a binary one"),
                    // No visitor stays long enough to have to answer.
                    Opcode::Ping | Opcode::Pong => {}
                }
                let length = frame.length;
                self.received.drain(..length);
            }
            if read < chunk.len() {
                return Ok(());
            }
        }
    }

    /// Sends the close frame.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn leave(&mut self) -> anyhow::Result<()> {
        let close = frame::encode(Opcode::Close, &CLOSE, MASK);
        self.stream.write_all(&close).context("cannot write the close frame")?;
        self.step = Step::Leaving;
        Ok(())
    }

    /// Ends the connection by a reset, since nothing more is expected. Otherwise the port would be
    /// taken for a minute, and the number of ports is limited.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn reset(self) -> anyhow::Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }
}

/// Returns true while a connection is still being made.
fn is_not_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
