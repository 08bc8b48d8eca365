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

    /// Handles the timer: pings a silent client, and gives up on one that stays silent, or that
    /// accepts nothing of what it is sent.
    pub(super) fn keep_alive(&mut self) -> Option<Arrival> {
        let now = Instant::now();
        let (interval, timeout) = (self.config.keep_alive_interval, self.config.keep_alive_timeout);
        if !self.listens() {
            // While reading is paused, silence proves nothing; a socket that accepts no bytes does.
            self.last_heard = now;
            let OutboundStatus { is_backed_up, written_bytes, .. } = self.client.outbound.status();
            if is_backed_up && self.written_bytes == Some(written_bytes) {
                self.client.outbound.end(Reason::SlowConsumer);
                return Some(Arrival::Ended(Reason::SlowConsumer));
            }
            self.written_bytes = is_backed_up.then_some(written_bytes);
            self.timer.as_mut().reset(now + timeout);
            return None;
        }
        self.written_bytes = None;
        if self.pinged.is_some_and(|pinged| self.last_heard >= pinged) {
            self.pinged = None;
        }
        let next = match self.pinged {
            Some(pinged) if now >= pinged + timeout => {
                let reason = Reason::KeepAliveTimeout;
                let detail = format!("no answer to a ping within {timeout:?}");
                return Some(Arrival::Broken { reason, detail });
            }
            Some(pinged) => pinged + timeout,
            None if now >= self.last_heard + interval => {
                self.pinged = Some(now);
                let ping = match self.heartbeats {
                    true => Frame::encode(FrameKind::Text, heartbeat::PING),
                    false => Frame::encode(FrameKind::Ping, PAYLOAD),
                };
                if self.client.outbound.push_control(&ping).wants_flush() {
                    self.client.outbound.flush();
                }
                now + timeout
            }
            None => self.last_heard + interval,
        };
        self.timer.as_mut().reset(next);
        None
    }
}
