//! A connection's incoming side: messages, control frames, posted events, the wish to end.
//!
//! Frames that the protocol requires (pongs, pings, close frames) go into the outbound queue like
//! all others.

mod closing;
mod keep_alive;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use super::arrival::Arrival;
use super::frame::Violation;
use super::heartbeat;
use super::input::{Input, InputEnd, Item};
use super::pace::Pace;
use super::turn::Turn;
use wharf_config::Config;
use wharf_contract::close::Reason;
use wharf_hub::client_bytes::Share;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::transport::{Reader, Transport};
use wharf_metrics::limits::Limit;

/// A close frame's code and reason.
type CloseFrame = Option<(u16, String)>;

/// The incoming side of an upgraded connection.
pub(super) struct Arrivals {
    reader: Reader,
    input: Input,
    client: Arc<ConnectionRecord>,
    config: Arc<Config>,
    /// Pace of the messages, if it is limited.
    pace: Option<Box<Pace>>,
    /// Arrivals that were read while a guest call was waiting, or before their time.
    ahead: VecDeque<Arrival>,
    ahead_bytes: usize,
    /// Bytes of the arrival that is being handled.
    in_hand: usize,
    /// The part of all these bytes, and of an unfinished message, in the sum of all clients.
    share: Share,
    /// Work that may be done before others get their turn.
    turn: Turn,
    /// True if nothing more can be read.
    is_over: bool,
    /// The client's close frame, until it is answered.
    unanswered_close: Option<Box<CloseFrame>>,
    /// True if the client's close frame has been read.
    client_has_closed: bool,
    /// True if a close frame has been queued.
    has_closed: bool,
    /// True if pings and their answers are messages, as the client has asked.
    heartbeats: bool,
    /// True if this task has promised to flush the outbound queue.
    owes_drain: bool,
    /// True if the last arrival was posted: the client's turn is next, so that neither starves the
    /// other.
    posted_was_last: bool,
    /// Timer for the earliest of the times below.
    timer: Pin<Box<Sleep>>,
    /// Timer for the expiry of the client's token; `None` without a token.
    expiry: Option<Pin<Box<Sleep>>>,
    last_heard: Instant,
    /// Time of the next keep-alive ping.
    next_ping: Instant,
    /// Time of the first keep-alive ping after which nothing has been heard.
    pinged: Option<Instant>,
    /// Time since which a message of the client is not whole.
    begun: Option<Instant>,
    /// Bytes that were written when too much waited, and the time since which there were no more.
    stuck: Option<(u64, Instant)>,
}

impl Arrivals {
    /// Waits until the client has got its `101`, and takes the socket over. `None` if the client is
    /// gone.
    pub(super) async fn upgraded(
        upgrade: OnUpgrade,
        client: &Arc<ConnectionRecord>,
        config: &Arc<Config>,
        pace: Option<Box<Pace>>,
        heartbeats: bool,
    ) -> Option<Arrivals> {
        let upgraded = tokio::time::timeout(config.handshake_timeout, upgrade).await.ok()?.ok()?;
        let parts = upgraded.downcast::<TokioIo<Transport>>().ok()?;
        let (reader, writer) = parts.io.into_inner().into_split();
        client.outbound.attach(writer);
        if heartbeats {
            client.outbound.push_control(&Frame::encode(FrameKind::Text, heartbeat::PING));
        }
        let input = Input::new(config, &parts.read_buf);
        let now = Instant::now();
        Some(Arrivals {
            reader,
            input,
            client: client.clone(),
            config: config.clone(),
            pace,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            in_hand: 0,
            share: Share::default(),
            turn: Turn::new(),
            is_over: false,
            unanswered_close: None,
            client_has_closed: false,
            has_closed: false,
            heartbeats,
            owes_drain: true,
            posted_was_last: false,
            timer: Box::pin(tokio::time::sleep_until(now + config.keep_alive_interval)),
            expiry: None,
            last_heard: now,
            next_ping: now + config.keep_alive_interval,
            pinged: None,
            begun: None,
            stuck: None,
        })
    }

    /// Returns the next arrival. While there is none, everything queued is being written, and the
    /// task is woken for whatever comes.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let polled = match self.turn.is_over() {
            true => Poll::Pending,
            false => self.poll_arrival_in_turn(cx),
        };
        if polled.is_pending() {
            self.end_turn(cx);
        }
        polled
    }

    /// Begins a new turn, for a task that lets others have theirs now.
    fn end_turn(&mut self, cx: &mut Context<'_>) {
        if std::mem::replace(&mut self.turn, Turn::new()).is_over() {
            cx.waker().wake_by_ref();
        }
    }

    fn poll_arrival_in_turn(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        self.end_if_expired();
        let mut status = self.client.outbound.status();
        if status.end.is_none() && status.is_backed_up {
            // Answers cannot leave, so nothing more may be asked: the client has to read before
            // this task reads on.
            let idle = self.poll_idle(cx);
            status = self.client.outbound.status();
            match idle {
                Poll::Ready(Arrival::Ended(_)) => {}
                Poll::Ready(arrival) => return Poll::Ready(arrival),
                Poll::Pending if status.is_backed_up => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        match status.end {
            // The way out is lost. Everything that has arrived comes first, so that no message and
            // no close frame of the client is lost.
            Some(Reason::NetworkLost) => {}
            Some(reason) => return Poll::Ready(Arrival::Ended(reason)),
            None => {}
        }
        if let Poll::Ready(arrival) = self.poll_next(cx, status.has_posted) {
            return Poll::Ready(arrival);
        }
        match status.end {
            Some(reason) => Poll::Ready(Arrival::Ended(reason)),
            None => match self.poll_idle(cx) {
                // It was posted before this task was registered to be woken for it.
                Poll::Pending if self.client.outbound.status().has_posted => {
                    self.poll_next(cx, true)
                }
                idle => idle,
            },
        }
    }

    /// Returns an arrival that is here already, or can be read at once.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        // The task that owes a flush is the only one to write; answers must not wait for the
        // burst's end.
        if std::mem::take(&mut self.owes_drain) {
            self.client.outbound.flush();
        }
        // The token of a client that never stops sending must expire too.
        self.end_if_expired();
        let status = self.client.outbound.status();
        if status.end.is_some() || status.is_backed_up {
            // `poll_arrival`, where the task may wait, decides this.
            return Poll::Pending;
        }
        self.poll_next(cx, status.has_posted)
    }

    /// Returns a posted event or one of the client, in turns if there are both.
    fn poll_next(&mut self, cx: &mut Context<'_>, has_posted: bool) -> Poll<Arrival> {
        if !has_posted {
            return self.poll_input(cx);
        }
        if std::mem::take(&mut self.posted_was_last)
            && let Poll::Ready(arrival) = self.poll_input(cx)
        {
            return Poll::Ready(arrival);
        }
        match self.client.outbound.next_posted() {
            Some(posted) => {
                self.posted_was_last = true;
                Poll::Ready(Arrival::Posted(posted))
            }
            None => self.poll_input(cx),
        }
    }

    /// Returns an arrival that was read ahead, then one that can be read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        self.in_hand = 0;
        if self.ahead.front().is_some_and(Arrival::is_message) && self.poll_pace(cx).is_pending() {
            self.read_ahead(cx);
            return Poll::Pending;
        }
        if let Some(arrival) = self.ahead.pop_front() {
            self.in_hand = arrival.bytes();
            self.ahead_bytes -= self.in_hand;
            return Poll::Ready(arrival);
        }
        let arrival = ready!(self.poll_read(cx));
        if arrival.is_message() && self.poll_pace(cx).is_pending() {
            Limit::MaxMessagesPerSecond.reached();
            self.keep_ahead(arrival);
            self.read_ahead(cx);
            return Poll::Pending;
        }
        self.in_hand = arrival.bytes();
        Poll::Ready(arrival)
    }

    /// Takes the turn of a message, where there are only so many in a second. A client that sends
    /// nothing more has its last ones handled at once.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_early = self.pace.as_mut().is_some_and(|pace| pace.poll_take(cx).is_pending());
        match is_early && !self.is_over && self.client.outbound.status().end.is_none() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Reads as far as allowed before the arrivals have their turns.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.listens() {
            match self.poll_read(cx) {
                Poll::Ready(arrival) => self.keep_ahead(arrival),
                Poll::Pending => break,
            }
        }
    }

    fn keep_ahead(&mut self, arrival: Arrival) {
        self.ahead_bytes += arrival.bytes();
        self.ahead.push_back(arrival.into_owned());
    }

    /// Returns the close frame that has been read, but whose turn has not come.
    pub(super) fn close_ahead(&self) -> Option<(Option<u16>, &str)> {
        self.ahead.iter().find_map(|arrival| match arrival {
            Arrival::Closed { code, reason } => Some((*code, reason.as_str())),
            _ => None,
        })
    }

    /// Looks after the socket while a guest call waits: writes, answers, and reads ahead as far as
    /// allowed.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        if !self.listens() && self.poll_idle(cx).is_ready() {
            // `poll_arrival` asks for the end when the call has returned.
            return;
        }
        self.read_ahead(cx);
        if let Poll::Ready(arrival) = self.poll_idle(cx)
            && !matches!(arrival, Arrival::Ended(_))
        {
            self.is_over = true;
            self.ahead.push_back(arrival);
        }
        self.end_turn(cx);
    }

    /// Writes the queue, keeps the connection alive, and notices its end.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        if std::mem::take(&mut self.owes_drain) {
            self.client.outbound.flush();
        }
        // This registers the task; only then is it certain that no wish to end is missed.
        let _ = self.client.outbound.poll_flushed(cx);
        if self.poll_expiry(cx).is_ready() {
            self.client.outbound.end(Reason::TokenExpired);
        }
        if let Some(reason) = self.client.outbound.status().end {
            return Poll::Ready(Arrival::Ended(reason));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(arrival) = self.keep_alive() {
                return Poll::Ready(arrival);
            }
        }
        Poll::Pending
    }

    /// Returns true while more is being read from the client.
    fn listens(&self) -> bool {
        !self.is_over
            && self.ahead.len() < self.config.read_ahead_messages
            && self.ahead_bytes < self.config.read_ahead_bytes
            && !self.client.outbound.status().is_backed_up
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        if self.is_over {
            return Poll::Pending;
        }
        loop {
            let mut heard = false;
            let (reader, turn) = (Pin::new(&mut self.reader), &mut self.turn);
            let polled = self.input.poll_next(reader, cx, &mut heard, turn);
            if heard {
                self.last_heard = Instant::now();
            }
            self.note_beginning(polled.is_pending());
            if polled.is_pending() && !self.is_covered(0) {
                return Poll::Ready(self.too_much());
            }
            let arrival = match ready!(polled) {
                Ok(Some(Item::Text(data))) if self.is_heartbeat(&data) => continue,
                Ok(Some(Item::Text(data))) => Arrival::Text(data),
                Ok(Some(Item::Binary(data))) => Arrival::Binary(data),
                Ok(Some(Item::Ping(data))) => {
                    self.push_control(Frame::encode(FrameKind::Pong, &data));
                    Arrival::Ping(data)
                }
                Ok(Some(Item::Pong(data))) if *data == *keep_alive::PAYLOAD => continue,
                Ok(Some(Item::Pong(data))) => Arrival::Pong(data),
                Ok(Some(Item::Close(close))) => {
                    self.is_over = true;
                    self.client_has_closed = true;
                    // The answer waits until messages that were read ahead are answered.
                    self.unanswered_close = Some(Box::new(close.clone()));
                    let (code, reason) = match close {
                        Some((code, reason)) => (Some(code), reason),
                        None => (None, String::new()),
                    };
                    Arrival::Closed { code, reason }
                }
                Ok(None) => {
                    let detail = "the stream has ended without a close frame".to_owned();
                    self.broken(Reason::NetworkLost, detail)
                }
                Err(InputEnd::Io(error)) => self.broken(Reason::NetworkLost, error.to_string()),
                Err(InputEnd::Violation(Violation { reason, detail })) => {
                    self.broken(reason, detail.to_owned())
                }
            };
            if !self.is_covered(arrival.bytes()) {
                return Poll::Ready(self.too_much());
            }
            return Poll::Ready(arrival);
        }
    }

    /// Answers a heartbeat. Returns false for any other message.
    fn is_heartbeat(&mut self, data: &[u8]) -> bool {
        if !self.heartbeats || (data != heartbeat::PING && data != heartbeat::PONG) {
            return false;
        }
        // No message may follow a close frame.
        if data == heartbeat::PING && !self.has_closed {
            self.push_control(Frame::encode(FrameKind::Text, heartbeat::PONG));
        }
        true
    }

    /// Returns true if all clients together may make the host hold as much of this one as it does
    /// now, with an arrival of so many bytes.
    fn is_covered(&mut self, bytes: usize) -> bool {
        let held = self.input.held_bytes() + self.ahead_bytes + self.in_hand + bytes;
        self.share.cover(held)
    }

    fn too_much(&mut self) -> Arrival {
        let limit = self.config.max_client_bytes;
        Limit::MaxClientBytes.reached();
        let detail = format!("clients make the host hold max_client_bytes ({limit}) together");
        self.input.give_up();
        self.share.cover(self.ahead_bytes + self.in_hand);
        self.broken(Reason::Overload, detail)
    }

    fn broken(&mut self, reason: Reason, detail: String) -> Arrival {
        self.is_over = true;
        Arrival::Broken { reason, detail }
    }

    /// Queues a control frame. A refusal means that the connection is ending for a reason that is
    /// noted already.
    fn push_control(&mut self, frame: Frame) {
        if self.client.outbound.push_control(&frame).wants_flush() {
            self.owes_drain = true;
        }
    }
}
