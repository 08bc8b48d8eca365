//! The load of rooms: members that each receive every message of their room, and senders among
//! them, in closed loop (a fixed number of messages in flight) or open loop (a fixed rate).
//!
//! Every delivery is checked with one comparison. The first member that receives a message puts it
//! into its room's [`Log`], and every other member must receive the same message at the same place.
//! So a message that is lost, doubled, or in another order for some member is an error.

pub mod log;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::{Events, Poll, Token};

use crate::dialect::Dialect;
use crate::message::{Messages, STAMP_BYTES};
use crate::socket::Socket;
use log::Log;

/// Silence after which outstanding deliveries count as lost.
const STALL: Duration = Duration::from_secs(10);

/// Size of the read buffer, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// The size of a crowd and its messages.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of rooms.
    pub rooms: usize,
    /// Members of each room.
    pub members: usize,
    /// Members of each room that send.
    pub senders: usize,
    /// Size of a message, in bytes.
    pub size: usize,
    /// The protocol around a message.
    pub dialect: Dialect,
}

impl Plan {
    /// Returns a plan of connections that each hear their own messages only.
    pub fn alone(connections: u32) -> Plan {
        Plan {
            rooms: connections as usize,
            members: 1,
            senders: 1,
            size: 4 * STAMP_BYTES,
            dialect: Dialect::Plain,
        }
    }
}

/// The rule for when the next message is sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each sender has a fixed number of messages in flight; the next follows when one has arrived.
    Closed {
        /// Messages of each sender.
        in_flight: usize,
        /// The condition under which a message has arrived.
        arrived: Arrived,
    },
    /// A fixed number of messages a second over all senders together, at the pace of the clock.
    Open {
        /// Messages a second.
        rate: f64,
    },
}

/// The condition under which a message has arrived, in closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrived {
    /// All members have the message
    All,
    /// The sender has its own copy
    Own,
}

/// The result of a round.
pub struct Round {
    /// Time from the first message to the last delivery.
    pub elapsed: Duration,
    /// Latency of each delivery in nanoseconds, sorted: from sending or, in open loop, from the
    /// time when the message was due.
    pub latencies: Vec<u32>,
    /// Samples of an open loop, if asked for: for each delivery, in order of arrival, the time when
    /// its message was due, and its latency.
    pub samples: Vec<(Instant, u32)>,
    /// The longest delay of a message of an open loop that this program itself caused.
    pub latest_send: Duration,
}

/// Open connections to one server.
pub struct Crowd {
    plan: Plan,
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    /// The rooms' logs, one a room.
    logs: Vec<Log>,
    scratch: Vec<u8>,
}

struct Member {
    socket: Socket,
    messages: Messages,
    room: usize,
    /// Number of messages that the member has sent.
    sent: u64,
    /// The member's place in its room's log.
    position: usize,
}

/// A round that is not over.
struct Running {
    begun: Instant,
    pace: Pace,
    /// Messages that have not been sent yet.
    unsent: u64,
    /// Deliveries that have not come yet.
    missing: u64,
    latencies: Vec<u32>,
    samples: Vec<(Instant, u32)>,
    /// Senders that may send again.
    ready: Vec<usize>,
}

impl Crowd {
    /// Opens the connections, one after the other. `target` makes a path of a room's number.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened.
    pub fn open(
        address: SocketAddr,
        plan: Plan,
        target: impl Fn(usize) -> String,
    ) -> anyhow::Result<Crowd> {
        Crowd::open_at(|_| address, plan, target)
    }

    /// Opens connections like [`open`](Crowd::open), each at the address for its number. The members of all rooms take turns: the
    /// senders come first.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened.
    pub fn open_at(
        address: impl Fn(usize) -> SocketAddr,
        plan: Plan,
        target: impl Fn(usize) -> String,
    ) -> anyhow::Result<Crowd> {
        let poll = Poll::new()?;
        let count = plan.rooms * plan.members;
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            // Neighbours are in different rooms, so that the senders' turns are as well.
            let room = number % plan.rooms;
            let address = address(number);
            let socket = Socket::open(address, &target(room), plan.dialect, &poll, Token(number))
                .with_context(|| format!("connection {} of {count}", number + 1))?;
            let messages = Messages::speaking(plan.dialect, number, plan.size);
            members.push(Member { socket, messages, room, sent: 0, position: 0 });
        }
        let logs = (0..plan.rooms).map(|_| Log::new(plan.members)).collect();
        Ok(Crowd {
            plan,
            poll,
            events: Events::with_capacity(1024),
            members,
            logs,
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Returns the number of members that send; they are the first.
    fn senders(&self) -> usize {
        self.plan.rooms * self.plan.senders
    }

    /// Sends `messages` messages over all senders together, and waits for all deliveries. Keeps the
    /// samples of an open loop only if `keep_samples` is set.
    ///
    /// # Errors
    ///
    /// A message is lost, doubled, changed, or in different orders, or a connection ends.
    pub fn run(&mut self, messages: u64, pace: Pace, keep_samples: bool) -> anyhow::Result<Round> {
        let deliveries = messages * self.plan.members as u64;
        for log in &mut self.logs {
            log.clear();
        }
        for member in &mut self.members {
            member.position = 0;
        }
        let mut round = Running {
            begun: Instant::now(),
            pace,
            unsent: messages,
            missing: deliveries,
            latencies: Vec::with_capacity(usize::try_from(deliveries)?),
            samples: Vec::with_capacity(if keep_samples {
                usize::try_from(deliveries)?
            } else {
                0
            }),
            ready: Vec::new(),
        };
        let latest_send = match pace {
            Pace::Closed { in_flight, .. } => {
                self.run_closed(&mut round, in_flight)?;
                Duration::ZERO
            }
            Pace::Open { rate } => self.run_open(&mut round, messages, rate)?,
        };
        let elapsed = round.begun.elapsed();
        // A surplus delivery may be here already; a late one is met in the next round.
        for number in 0..self.members.len() {
            self.read(number, &mut round)?;
        }
        let mut latencies = round.latencies;
        latencies.sort_unstable();
        Ok(Round { elapsed, latencies, samples: round.samples, latest_send })
    }

    fn run_closed(&mut self, round: &mut Running, in_flight: usize) -> anyhow::Result<()> {
        for sender in 0..self.senders() {
            for _ in 0..in_flight {
                self.queue(sender, round, round.begun);
            }
            self.flush(sender)?;
        }
        while round.missing > 0 {
            self.poll(Some(STALL))?;
            ensure!(
                !self.events.is_empty(),
                "{} deliveries did not come within {STALL:?}",
                round.missing
            );
            self.attend(round)?;
            let now = Instant::now();
            // The messages of all senders that became free together are written together, in order.
            let ready = std::mem::take(&mut round.ready);
            for sender in &ready {
                self.queue(*sender, round, now);
            }
            for sender in &ready {
                self.flush(*sender)?;
            }
            round.ready = ready;
            round.ready.clear();
        }
        Ok(())
    }

    fn run_open(
        &mut self,
        round: &mut Running,
        messages: u64,
        rate: f64,
    ) -> anyhow::Result<Duration> {
        let due = |number: u64| round.begun + Duration::from_secs_f64(number as f64 / rate);
        let due: Vec<Instant> = (0..messages).map(due).collect();
        let mut sent = 0;
        let mut latest_send = Duration::ZERO;
        let mut last_progress = round.begun;
        let mut missing = round.missing;
        while round.missing > 0 {
            let now = Instant::now();
            while due.get(sent).is_some_and(|due| *due <= now) {
                let sender = sent % self.senders();
                self.queue(sender, round, due[sent]);
                self.flush(sender)?;
                latest_send = latest_send.max(now.duration_since(due[sent]));
                sent += 1;
            }
            // The kernel's timeouts are too coarse for a schedule in microseconds; the generator
            // has its core for itself.
            self.poll(Some(Duration::ZERO))?;
            self.attend(round)?;
            if round.missing < missing || sent < due.len() {
                (missing, last_progress) = (round.missing, now);
            }
            ensure!(
                now.duration_since(last_progress) < STALL,
                "{missing} deliveries did not come within {STALL:?}"
            );
        }
        Ok(latest_send)
    }

    fn poll(&mut self, limit: Option<Duration>) -> anyhow::Result<()> {
        loop {
            match self.poll.poll(&mut self.events, limit) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.context("cannot poll"),
            }
        }
    }

    fn attend(&mut self, round: &mut Running) -> anyhow::Result<()> {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.flush(number)?;
            }
            if event.is_readable() {
                self.read(number, round)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Adds a sender's next message to what it writes with its next flush.
    fn queue(&mut self, sender: usize, round: &mut Running, at: Instant) {
        if round.unsent == 0 {
            return;
        }
        round.unsent -= 1;
        let member = &mut self.members[sender];
        member.socket.queue(member.messages.frame(member.sent));
        self.logs[member.room].sent(sender, member.sent, at);
        member.sent += 1;
    }

    fn flush(&mut self, number: usize) -> anyhow::Result<()> {
        self.members[number].socket.flush().with_context(|| format!("connection {number}"))
    }

    fn read(&mut self, number: usize, round: &mut Running) -> anyhow::Result<()> {
        let member = &mut self.members[number];
        let log = &mut self.logs[member.room];
        member
            .read(number, &mut self.scratch, log, round)
            .with_context(|| format!("connection {number}"))
    }
}

impl Member {
    fn read(
        &mut self,
        number: usize,
        scratch: &mut [u8],
        log: &mut Log,
        round: &mut Running,
    ) -> anyhow::Result<()> {
        let Member { socket, messages, position, .. } = self;
        socket.read(scratch, |text, now| {
            let Some(message) = messages.within(text) else {
                return Ok(());
            };
            let delivery = log.deliver(*position, message, messages)?;
            *position += 1;
            ensure!(round.missing > 0, "more deliveries came than were due");
            round.missing -= 1;
            let latency = now.saturating_duration_since(delivery.sent_at);
            let latency = u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX);
            round.latencies.push(latency);
            if round.samples.capacity() > 0 {
                round.samples.push((delivery.sent_at, latency));
            }
            if let Pace::Closed { arrived, .. } = round.pace {
                let is_free = match arrived {
                    Arrived::All => delivery.is_last,
                    Arrived::Own => delivery.sender == number,
                };
                if is_free {
                    round.ready.push(delivery.sender);
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
