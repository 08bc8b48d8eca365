//! The load of echoes: connections that send messages, keep a fixed number of them in flight, and
//! check every echo.
//!
//! It has one thread, one epoll and no runtime, and encodes its messages before the round. The
//! generator must have time left on its core, or the measurement is of the generator.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::{Events, Poll, Token};

use crate::dialect::Dialect;
use crate::message::Messages;
use crate::socket::Socket;

/// Silence after which messages in flight count as lost.
const STALL: Duration = Duration::from_secs(10);

/// Size of the read buffer, in bytes. One connection mostly has less than that in flight.
const READ_BYTES: usize = 64 * 1024;

/// Open connections to one server.
pub struct Generator {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    scratch: Vec<u8>,
}

/// The result of a round.
pub struct Round {
    /// Time from the first message sent to the last echo.
    pub elapsed: Duration,
    /// Time from sending to echo of each message, in nanoseconds, sorted.
    pub latencies: Vec<u32>,
}

struct Connection {
    socket: Socket,
    messages: Messages,
    /// The number of the next message to send.
    next: u64,
    /// The number of the next echo.
    due: u64,
    /// Times when the messages in flight were sent, oldest first.
    sent_at: VecDeque<Instant>,
}

impl Generator {
    /// Opens connections to a path, one after the other, for messages of `size` bytes.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened.
    pub fn open(
        address: SocketAddr,
        target: &str,
        dialect: Dialect,
        connections: usize,
        size: usize,
    ) -> anyhow::Result<Generator> {
        let messages = |number| Messages::speaking(dialect, number, size);
        Generator::open_each(address, |_| target.to_owned(), connections, messages)
    }

    /// Opens connections like [`open`](Self::open), with a path and messages for each connection's
    /// number.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened.
    pub fn open_each(
        address: SocketAddr,
        target: impl Fn(usize) -> String,
        connections: usize,
        messages: impl Fn(usize) -> Messages,
    ) -> anyhow::Result<Generator> {
        let poll = Poll::new()?;
        let open = |number| {
            let messages = messages(number);
            let dialect = messages.dialect();
            let socket = Socket::open(address, &target(number), dialect, &poll, Token(number))
                .with_context(|| format!("connection {} of {connections}", number + 1))?;
            Ok(Connection { socket, messages, next: 0, due: 0, sent_at: VecDeque::new() })
        };
        let connections = (0..connections).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Generator {
            poll,
            events: Events::with_capacity(1024),
            connections,
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Sends `messages` messages over all connections together, at most `in_flight` at a time on
    /// each, and waits until all have come back.
    ///
    /// # Errors
    ///
    /// A message is lost, doubled, overtaken or changed, or a connection ends.
    pub fn run(&mut self, messages: u64, in_flight: usize) -> anyhow::Result<Round> {
        let mut round =
            Running { unsent: messages, latencies: Vec::with_capacity(usize::try_from(messages)?) };
        let begun = Instant::now();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            connection
                .send(&mut round, in_flight, begun)
                .with_context(|| format!("connection {number}"))?;
        }
        let wanted = usize::try_from(messages)?;
        while round.latencies.len() < wanted {
            match self.poll.poll(&mut self.events, Some(STALL)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            ensure!(
                !self.events.is_empty(),
                "{} of {messages} messages did not come back within {STALL:?}",
                wanted - round.latencies.len()
            );
            for event in &self.events {
                let number = event.token().0;
                let connection = &mut self.connections[number];
                connection
                    .attend(event, &mut self.scratch, &mut round)
                    .with_context(|| format!("connection {number}"))?;
            }
        }
        let elapsed = begun.elapsed();
        for (number, connection) in self.connections.iter_mut().enumerate() {
            // A surplus echo may be here already; a late one is met in the next round.
            connection
                .read(&mut self.scratch, &mut round)
                .with_context(|| format!("connection {number}, after its last echo"))?;
        }
        let mut latencies = round.latencies;
        latencies.sort_unstable();
        Ok(Round { elapsed, latencies })
    }
}

/// A round that is not over.
struct Running {
    /// Messages that no connection has taken yet.
    unsent: u64,
    latencies: Vec<u32>,
}

impl Connection {
    fn attend(
        &mut self,
        event: &mio::event::Event,
        scratch: &mut [u8],
        round: &mut Running,
    ) -> anyhow::Result<()> {
        if event.is_writable() {
            self.socket.flush()?;
        }
        if event.is_readable() {
            let echoes = self.read(scratch, round)?;
            self.send(round, echoes, Instant::now())?;
        }
        Ok(())
    }

    /// Sends at most `count` further messages, in one write.
    fn send(&mut self, round: &mut Running, count: usize, now: Instant) -> anyhow::Result<()> {
        for _ in 0..count {
            if round.unsent == 0 {
                break;
            }
            round.unsent -= 1;
            self.socket.queue(self.messages.frame(self.next));
            self.next += 1;
            self.sent_at.push_back(now);
        }
        self.socket.flush()
    }

    /// Reads and checks the echoes that have come. Returns their number.
    fn read(&mut self, scratch: &mut [u8], round: &mut Running) -> anyhow::Result<usize> {
        let Connection { socket, messages, due, sent_at, .. } = self;
        let mut echoes = 0;
        socket.read(scratch, |text, now| {
            let Some(message) = messages.within(text) else {
                return Ok(());
            };
            messages.check(message, *due)?;
            let Some(sent_at) = sent_at.pop_front() else {
                bail!("message {due} came back before it was sent");
            };
            *due += 1;
            echoes += 1;
            let latency = now.duration_since(sent_at).as_nanos();
            round.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
            Ok(())
        })?;
        Ok(echoes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::handshake;

    /// Starts a server for one connection that answers the handshake and then every message.
    /// `answer` gets a message and its number, and returns the messages to send.
    fn serve(answer: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            handshake::accept(&mut stream);
            for number in 0.. {
                // A client's frame of less than 126 bytes: 2 of header, 4 of mask.
                let mut header = [0; 6];
                if stream.read_exact(&mut header).is_err() {
                    return;
                }
                let mut payload = vec![0; usize::from(header[1] & 0x7F)];
                stream.read_exact(&mut payload).expect("a payload");
                for (byte, mask) in payload.iter_mut().zip(header[2..].iter().cycle()) {
                    *byte ^= mask;
                }
                for message in answer(&payload, number) {
                    let frame = [&[0x81, message.len() as u8], &message[..]].concat();
                    if stream.write_all(&frame).is_err() {
                        return;
                    }
                }
            }
        });
        address
    }

    /// Returns the error of a round of 10 messages, 2 in flight.
    fn failure(answer: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> String {
        let mut generator =
            Generator::open(serve(answer), "/echo", Dialect::Plain, 1, 32).expect("open");
        let error = match generator.run(10, 2) {
            Err(error) => error,
            // An echo that is too late for one round must fail in the next.
            Ok(_) => generator.run(10, 2).err().expect("a wrong echo"),
        };
        format!("{error:#}")
    }

    #[test]
    fn every_message_of_a_round_is_echoed_and_timed() {
        let address = serve(|message, _| vec![message.to_vec()]);
        let mut generator = Generator::open(address, "/echo", Dialect::Plain, 1, 32).expect("open");
        for _ in 0..2 {
            let round = generator.run(25, 4).expect("a round");
            assert_eq!(round.latencies.len(), 25);
            assert!(round.latencies.is_sorted());
            let longest = Duration::from_nanos((*round.latencies.last().expect("one")).into());
            assert!(longest <= round.elapsed);
        }
    }

    #[test]
    fn a_doubled_message_is_an_error() {
        let error = failure(|message, number| match number {
            5 => vec![message.to_vec(), message.to_vec()],
            _ => vec![message.to_vec()],
        });
        assert!(error.contains("message 5 came back twice"), "{error}");
    }

    #[test]
    fn a_message_doubled_at_the_end_of_a_round_is_an_error() {
        let error = failure(|message, number| match number {
            9 => vec![message.to_vec(), message.to_vec()],
            _ => vec![message.to_vec()],
        });
        assert!(error.contains("message 9 came back twice"), "{error}");
    }

    #[test]
    fn a_lost_message_is_an_error() {
        let error = failure(|message, number| match number {
            3 => vec![],
            _ => vec![message.to_vec()],
        });
        assert!(error.contains("message 3 was lost"), "{error}");
    }

    #[test]
    fn a_changed_message_is_an_error() {
        let error = failure(|message, _| vec![message.to_ascii_uppercase()]);
        assert!(error.contains("message 0 came back changed"), "{error}");
    }
}
