//! The load of a chat: members that stay and speak in turn, and visitors that come, listen and go.
//!
//! Messages leave on schedule, and so do visitors; nothing waits for them. A member's messages are
//! checked as they come, a visitor's when all members have everything.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::{Events, Poll, Token};

use crate::crowd::log::{Log, Stamp};
use crate::dialect::Dialect;
use crate::handshake;
use crate::message::Messages;
use crate::socket::Socket;
use crate::visitor::{Step, Visitor};

/// Silence after which outstanding deliveries count as lost.
const STALL: Duration = Duration::from_secs(10);

/// Size of the read buffer, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// The size of a chat and its pace.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of rooms, each with one seat for visitors.
    pub rooms: usize,
    /// Members of each room that stay.
    pub members: usize,
    /// Size of a message, in bytes.
    pub size: usize,
    /// Size of a typing notice, in bytes.
    pub typing_size: usize,
    /// Messages a second over all members.
    pub rate: f64,
    /// Visitors that come in a second, over all rooms.
    pub visits: f64,
}

/// The result of a round.
pub struct Round {
    /// Time from the first message to the last delivery.
    pub elapsed: Duration,
    /// Latency of each delivery to a member, in nanoseconds, sorted. It counts from the time when
    /// the message was due.
    pub latencies: Vec<u32>,
    /// Number of deliveries to visitors.
    pub overheard: u64,
    /// Number of visitors that came and went.
    pub visits: u64,
    /// The longest delay of a message that this program itself caused.
    pub latest_send: Duration,
}

/// Open connections to one server.
pub struct Party {
    plan: Plan,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    /// The rooms' seats for visitors.
    seats: Vec<Option<Seat>>,
    logs: Vec<Log>,
    /// The text that all messages have in common, which deliveries are compared with.
    speech: Messages,
    typing: Messages,
    buffer: Vec<u8>,
}

struct Member {
    socket: Socket,
    speech: Messages,
    typing: Messages,
    room: usize,
    /// Number of messages that the member has sent.
    sent: u64,
    /// The member's place in its room's log.
    position: usize,
}

/// A visitor in its room.
struct Seat {
    visitor: Visitor,
    /// Number of messages that had been sent to the room when the visitor was inside.
    since: u64,
    received: Vec<Stamp>,
}

/// A round that is not over.
struct Running {
    missing: u64,
    latencies: Vec<u32>,
    /// Rooms of visitors that are gone, with the data for their check.
    visits: Vec<(usize, u64, Vec<Stamp>)>,
}

/// Returns the path of a room.
fn target(room: usize) -> String {
    format!("/room/{room}")
}

impl Party {
    /// Opens the members' connections, one after the other.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened.
    pub fn open(address: SocketAddr, plan: Plan) -> anyhow::Result<Party> {
        let poll = Poll::new()?;
        let count = plan.rooms * plan.members;
        let member = |number: usize| {
            // Neighbours are in different rooms, so that the turns are as well.
            let room = number % plan.rooms;
            let socket = Socket::open(address, &target(room), Dialect::Plain, &poll, Token(number))
                .with_context(|| format!("connection {} of {count}", number + 1))?;
            let speech = Messages::new(number, plan.size);
            let typing = Messages::new(number, plan.typing_size);
            Ok(Member { socket, speech, typing, room, sent: 0, position: 0 })
        };
        let members = (0..count).map(member).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Party {
            plan,
            address,
            poll,
            events: Events::with_capacity(1024),
            members,
            seats: (0..plan.rooms).map(|_| None).collect(),
            logs: (0..plan.rooms).map(|_| Log::new(plan.members)).collect(),
            speech: Messages::new(0, plan.size),
            typing: Messages::new(0, plan.typing_size),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Sends `messages` messages over all members, lets visitors come and go meanwhile, and waits
    /// for all deliveries and until the last visitor has gone.
    ///
    /// # Errors
    ///
    /// A message is lost, doubled, changed, or in different orders, or a connection fails.
    pub fn run(&mut self, messages: u64) -> anyhow::Result<Round> {
        self.logs.iter_mut().for_each(Log::clear);
        self.members.iter_mut().for_each(|member| member.position = 0);
        let missing = messages * self.plan.members as u64;
        let mut round = Running {
            missing,
            latencies: Vec::with_capacity(usize::try_from(missing)?),
            visits: Vec::new(),
        };
        let begun = Instant::now();
        let due = |number: u64, rate: f64| begun + Duration::from_secs_f64(number as f64 / rate);
        // Each visitor takes two turns: it comes and it goes.
        let (mut sent, mut turns) = (0, 0);
        let mut latest_send = Duration::ZERO;
        let mut last_progress = begun;
        while round.missing > 0 {
            let now = Instant::now();
            while sent < messages && due(sent, self.plan.rate) <= now {
                let due = due(sent, self.plan.rate);
                self.send((sent % self.members.len() as u64) as usize, due)?;
                latest_send = latest_send.max(now.duration_since(due));
                sent += 1;
                last_progress = now;
            }
            if sent < messages && due(turns, 2.0 * self.plan.visits) <= now {
                self.take_turn((turns % self.plan.rooms as u64) as usize)?;
                turns += 1;
            }
            let before = round.missing;
            // The kernel's timeouts are too coarse for a schedule in microseconds; the generator
            // has its core for itself.
            self.attend(&mut round, Duration::ZERO)?;
            if round.missing < before {
                last_progress = now;
            }
            ensure!(
                now.duration_since(last_progress) < STALL,
                "{} deliveries did not come within {STALL:?}",
                round.missing
            );
        }
        let elapsed = begun.elapsed();
        self.see_off(&mut round)?;
        for (room, since, received) in &round.visits {
            self.logs[*room]
                .check_visit(*since, received)
                .with_context(|| format!("a visitor of room {room}"))?;
        }
        let mut latencies = round.latencies;
        latencies.sort_unstable();
        let overheard = round.visits.iter().map(|(_, _, received)| received.len() as u64).sum();
        let visits = round.visits.len() as u64;
        Ok(Round { elapsed, latencies, overheard, visits, latest_send })
    }

    /// Sends a member's next message: a notice that it types, its text, and a notice that it stops,
    /// in turn.
    fn send(&mut self, number: usize, due: Instant) -> anyhow::Result<()> {
        let member = &mut self.members[number];
        let messages = if member.sent % 3 == 1 { &mut member.speech } else { &mut member.typing };
        member.socket.queue(messages.frame(member.sent));
        self.logs[member.room].sent(number, member.sent, due);
        member.sent += 1;
        member.socket.flush().with_context(|| format!("connection {number}"))
    }

    /// Lets a visitor come to a room or leave it. A visitor that is on its way in or out is left
    /// alone.
    fn take_turn(&mut self, room: usize) -> anyhow::Result<()> {
        match &mut self.seats[room] {
            Some(seat) if seat.visitor.step() == Step::Inside => seat.visitor.leave(),
            Some(_) => Ok(()),
            None => {
                let token = Token(self.members.len() + room);
                let visitor = Visitor::connect(self.address, &self.poll, token)?;
                self.seats[room] = Some(Seat { visitor, since: 0, received: Vec::new() });
                Ok(())
            }
        }
    }

    /// Waits until every visitor has gone.
    fn see_off(&mut self, round: &mut Running) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.seats.iter().any(Option::is_some) {
            for seat in self.seats.iter_mut().flatten() {
                if seat.visitor.step() == Step::Inside {
                    seat.visitor.leave()?;
                }
            }
            self.attend(round, Duration::from_millis(100))?;
            ensure!(begun.elapsed() < STALL, "a visitor had not gone after {STALL:?}");
        }
        Ok(())
    }

    fn attend(&mut self, round: &mut Running, limit: Duration) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(limit)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("cannot poll")?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let number = event.token().0;
            match number.checked_sub(self.members.len()) {
                Some(room) => {
                    self.attend_visitor(room, round)
                        .with_context(|| format!("a visitor of room {room}"))?;
                }
                None => self
                    .attend_member(number, event, round)
                    .with_context(|| format!("connection {number}"))?,
            }
        }
        self.events = events;
        Ok(())
    }

    fn attend_member(
        &mut self,
        number: usize,
        event: &mio::event::Event,
        round: &mut Running,
    ) -> anyhow::Result<()> {
        let Member { socket, room, position, speech, typing, .. } = &mut self.members[number];
        if event.is_writable() {
            socket.flush()?;
        }
        let log = &mut self.logs[*room];
        socket.read(&mut self.buffer, |text, now| {
            let any = if text.len() == typing.size() { &*typing } else { &*speech };
            let delivery = log.deliver(*position, text, any)?;
            *position += 1;
            ensure!(round.missing > 0, "more deliveries came than were due");
            round.missing -= 1;
            let latency = now.saturating_duration_since(delivery.sent_at).as_nanos();
            round.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
            Ok(())
        })
    }

    fn attend_visitor(&mut self, room: usize, round: &mut Running) -> anyhow::Result<()> {
        let Some(Seat { visitor, since, received }) = &mut self.seats[room] else {
            return Ok(());
        };
        let (speech, typing) = (&self.speech, &self.typing);
        let was_inside = visitor.step() == Step::Inside;
        let request = handshake::request(self.address, &target(room));
        visitor.attend(&request, |text| {
            let any = if text.len() == typing.size() { typing } else { speech };
            let (stamp, filler) =
                text.split_first_chunk().context("a message came that was never sent")?;
            ensure!(filler == any.filler(), "a message came changed");
            received.push(*stamp);
            Ok(())
        })?;
        if !was_inside && visitor.step() == Step::Inside {
            // Every message sent from now on must reach the visitor.
            *since = self.logs[room].sent_so_far();
        }
        if visitor.step() == Step::Gone
            && let Some(seat) = self.seats[room].take()
        {
            seat.visitor.reset()?;
            round.visits.push((room, seat.since, seat.received));
        }
        Ok(())
    }
}
