//! Connections that come, are answered, and go.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::frame::{self, Opcode};
use crate::handshake;

/// Silence after which a connection counts as refused.
const STALL: Duration = Duration::from_secs(10);

/// Status 1000, as a page that is left sends it.
const CLOSE: [u8; 2] = 1000u16.to_be_bytes();
const MASK: [u8; 4] = [0x3c, 0x91, 0x5e, 0x07];

/// Opens and closes connections, so many at a time.
pub struct Visitors {
    address: SocketAddr,
    request: String,
    close: Vec<u8>,
    poll: Poll,
    events: Events,
    /// One place for each connection that may be open.
    places: Vec<Option<Visitor>>,
}

/// What a round comes to.
pub struct Round {
    /// From the first connection to the last's end.
    pub elapsed: Duration,
    /// From connecting to the 101, in nanoseconds, sorted.
    pub latencies: Vec<u32>,
}

struct Visitor {
    stream: TcpStream,
    begun: Instant,
    step: Step,
    /// What has come and is not understood yet.
    received: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Connecting,
    Asking,
    Leaving,
    Gone,
}

impl Visitors {
    /// Prepares connections to a path.
    ///
    /// # Errors
    ///
    /// The system has no more files.
    pub fn new(address: SocketAddr, target: &str, at_once: usize) -> anyhow::Result<Visitors> {
        Ok(Visitors {
            address,
            request: handshake::request(address, target),
            close: frame::encode(Opcode::Close, &CLOSE, MASK),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            places: (0..at_once).map(|_| None).collect(),
        })
    }

    /// Lets so many come and go.
    ///
    /// # Errors
    ///
    /// A connection is refused, or not closed as it should be.
    pub fn run(&mut self, connections: u32) -> anyhow::Result<Round> {
        let wanted = connections as usize;
        let mut latencies = Vec::with_capacity(wanted);
        let begun = Instant::now();
        let mut opened = 0;
        let mut closed = 0;
        for place in 0..self.places.len().min(wanted) {
            self.open(place)?;
            opened += 1;
        }
        while closed < wanted {
            match self.poll.poll(&mut self.events, Some(STALL)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            ensure!(
                !self.events.is_empty(),
                "{} connections were not answered or closed within {STALL:?}",
                opened - closed
            );
            let places: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for place in places {
                let Some(visitor) = &mut self.places[place] else {
                    continue;
                };
                let before = visitor.step;
                visitor
                    .attend(&self.request, &self.close)
                    .with_context(|| format!("connection {closed} of {connections}"))?;
                if before == Step::Asking && visitor.step != Step::Asking {
                    let latency = visitor.begun.elapsed().as_nanos();
                    latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                }
                if visitor.step == Step::Gone {
                    // A reset, since nothing more is expected: otherwise the port would be taken
                    // for a minute, and there are only so many.
                    rustix::net::sockopt::set_socket_linger(&visitor.stream, Some(Duration::ZERO))?;
                    self.places[place] = None;
                    closed += 1;
                    if opened < wanted {
                        self.open(place)?;
                        opened += 1;
                    }
                }
            }
        }
        latencies.sort_unstable();
        Ok(Round { elapsed: begun.elapsed(), latencies })
    }

    fn open(&mut self, place: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.address).context("cannot connect")?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest)?;
        let received = Vec::with_capacity(512);
        self.places[place] = Some(Visitor { stream, begun, step: Step::Connecting, received });
        Ok(())
    }
}

impl Visitor {
    /// Goes as far as it can.
    fn attend(&mut self, request: &str, close: &[u8]) -> anyhow::Result<()> {
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
                self.stream.write_all(close).context("cannot write the close frame")?;
                self.step = Step::Leaving;
            }
            while let Some(frame) = frame::parse(&self.received)? {
                if frame.opcode == Opcode::Close {
                    ensure!(
                        frame.payload.get(..2).is_none_or(|code| code == CLOSE),
                        "{}",
                        frame::describe_close(frame.payload)
                    );
                    self.step = Step::Gone;
                    return Ok(());
                }
                let length = frame.length;
                self.received.drain(..length);
            }
            if read < chunk.len() {
                return Ok(());
            }
        }
    }
}

/// Whether a connection is still being made.
fn is_not_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers every connection with the handshake and then with these bytes.
    fn serve(after_close: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                handshake::accept(&mut stream);
                stream.read_exact(&mut [0; 8]).expect("a close frame");
                // The client may be gone already; it is what it makes of this that is tested.
                let _ = stream.write_all(after_close);
            }
        });
        address
    }

    #[test]
    fn all_come_are_answered_and_go() {
        let address = serve(&[0x88, 0x02, 0x03, 0xE8]);
        let mut visitors = Visitors::new(address, "/echo", 3).expect("visitors");
        for _ in 0..2 {
            let round = visitors.run(10).expect("a round");
            assert_eq!(round.latencies.len(), 10);
        }
    }

    #[test]
    fn a_close_for_another_reason_is_an_error() {
        let address = serve(&[0x88, 0x02, 0x03, 0xF5]);
        let mut visitors = Visitors::new(address, "/echo", 1).expect("visitors");
        let error = visitors.run(1).err().expect("refused");
        assert!(format!("{error:#}").contains("1013"), "{error:#}");
    }

    #[test]
    fn an_end_without_a_close_frame_is_an_error() {
        let mut visitors = Visitors::new(serve(b""), "/echo", 1).expect("visitors");
        assert!(visitors.run(1).is_err());
    }
}
