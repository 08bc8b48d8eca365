//! Keep-alive: pings for silent clients, the end of those that stay silent, and the expiry of
//! tokens.

use std::future::Future;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::super::arrival::Arrival;
use super::super::heartbeat;
use super::Arrivals;
use wharf_contract::close::Reason;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::outbound::OutboundStatus;

/// Payload of keep-alive pings, which tells their pongs from others.
pub(super) const PAYLOAD: &[u8] = b"wharf-keep-alive";

impl Arrivals {
    /// Notes that the connection ends if its token has expired.
    pub(super) fn end_if_expired(&self) {
        if self.client.token_expires().is_some_and(|at| Instant::now() >= at) {
            self.client.outbound.end(Reason::TokenExpired);
        }
    }

    /// Waits for the token's expiry, which may have been moved since.
    pub(super) fn poll_expiry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.client.token_expires() else {
            return Poll::Pending;
        };
        let timer = self.expiry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// Notes whether a message has begun and is not whole, so that it gets its deadline.
    pub(super) fn note_beginning(&mut self, is_pending: bool) {
        let has_begun = match is_pending {
            true => self.input.has_begun(),
            // Control frames may come within a message.
            false => self.input.is_within_message(),
        };
        if !has_begun {
            self.begun = None;
        } else if self.begun.is_none() {
            let now = Instant::now();
            self.begun = Some(now);
            let deadline = now + self.config.message_timeout;
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
        }
    }

    /// Handles the timer: pings the client, and gives up on one that stays silent, accepts nothing of
    /// what it is sent, or does not end its message.
    pub(super) fn keep_alive(&mut self) -> Option<Arrival> {
        let now = Instant::now();
        let (interval, timeout) = (self.config.keep_alive_interval, self.config.keep_alive_timeout);
        if self.pinged.is_some_and(|pinged| self.last_heard >= pinged) {
            self.pinged = None;
        }
        let listens = self.listens();
        if !listens {
            // While reading is paused, silence proves nothing.
            self.last_heard = now;
            self.pinged = None;
            self.begun = self.begun.map(|_| now);
        }
        if let Some(pinged) = self.pinged
            && now >= pinged + timeout
        {
            let detail = format!("no answer to a ping within {timeout:?}");
            return Some(Arrival::Broken { reason: Reason::KeepAliveTimeout, detail });
        }
        let message_timeout = self.config.message_timeout;
        if let Some(begun) = self.begun
            && now >= begun + message_timeout
        {
            let detail = format!("a message was not whole after {message_timeout:?}");
            return Some(Arrival::Broken { reason: Reason::MessageTimeout, detail });
        }
        // A socket that accepts no bytes proves something also while reading is paused.
        let OutboundStatus { is_backed_up, written_bytes, .. } = self.client.outbound.status();
        self.stuck = match self.stuck {
            _ if !is_backed_up => None,
            Some((before, since)) if before == written_bytes => Some((before, since)),
            _ => Some((written_bytes, now)),
        };
        if self.stuck.is_some_and(|(_, since)| now >= since + timeout) {
            self.client.outbound.end(Reason::SlowConsumer);
            return Some(Arrival::Ended(Reason::SlowConsumer));
        }
        if now >= self.next_ping {
            self.next_ping = now + interval;
            // It would wait behind all the rest.
            if !is_backed_up {
                self.ping();
                if listens {
                    self.pinged.get_or_insert(now);
                }
            }
        }
        let others = [
            self.pinged.map(|pinged| pinged + timeout),
            self.begun.map(|begun| begun + message_timeout),
            self.stuck.map(|(_, since)| since + timeout),
        ];
        let next = others.into_iter().flatten().fold(self.next_ping, Instant::min);
        self.timer.as_mut().reset(next);
        None
    }

    fn ping(&self) {
        let ping = match self.heartbeats {
            true => Frame::encode(FrameKind::Text, heartbeat::PING),
            false => Frame::encode(FrameKind::Ping, PAYLOAD),
        };
        if self.client.outbound.push_control(&ping).wants_flush() {
            self.client.outbound.flush();
        }
    }
}
