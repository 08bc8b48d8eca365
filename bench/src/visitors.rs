//! Connections that come, are answered, and go.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::{Events, Poll, Token};

use crate::handshake;
use crate::visitor::{Step, Visitor};

/// Silence after which a connection counts as refused.
const STALL: Duration = Duration::from_secs(10);

/// Opens and closes connections, a fixed number at a time.
pub struct Visitors {
    address: SocketAddr,
    request: String,
    poll: Poll,
    events: Events,
    /// Places for the connections that may be open.
    places: Vec<Option<Visitor>>,
}

/// The result of a round.
pub struct Round {
    /// Time from the first connection to the end of the last.
    pub elapsed: Duration,
    /// Time from connecting to the 101 of each connection, in nanoseconds, sorted.
    pub latencies: Vec<u32>,
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
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            places: (0..at_once).map(|_| None).collect(),
        })
    }

    /// Lets `connections` visitors come and go.
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
                visitor
                    .attend(&self.request, |_| Ok(()))
                    .with_context(|| format!("connection {closed} of {connections}"))?;
                if visitor.step() == Step::Inside {
                    latencies.push(u32::try_from(visitor.age().as_nanos()).unwrap_or(u32::MAX));
                    visitor.leave()?;
                }
                if visitor.step() == Step::Gone {
                    if let Some(visitor) = self.places[place].take() {
                        visitor.reset()?;
                    }
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
        let visitor = Visitor::connect(self.address, &self.poll, Token(place))?;
        self.places[place] = Some(visitor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Starts a server that answers every connection with the handshake and then with these bytes.
    fn serve(after_close: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                handshake::accept(&mut stream);
                stream.read_exact(&mut [0; 8]).expect("a close frame");
                // The client may be gone already; the test is about its result.
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
