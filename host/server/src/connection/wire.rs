//! A connection's socket as its task sees it: what arrives, keep-alive, the closing handshake.
//!
//! What the protocol wants to be written (pongs, pings, close frames) goes into the outbound queue
//! like everything else.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frame::Violation;
use super::input::{Input, Item, Payload, Refused};
use wharf_config::Config;
use wharf_hub::close::{MAX_REASON_BYTES, Reason};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::inbox::Posted;
use wharf_hub::outbound::{Pushed, Standing};
use wharf_hub::transport::{Reader, Transport};

/// What keep-alive pings carry, so that their pongs are told from others.
const KEEP_ALIVE_PAYLOAD: &[u8] = b"wharf-keep-alive";

/// How long to read on after a close frame to a client that broke the protocol, so that the
/// frame is not lost to a reset of the connection.
const LINGER: Duration = Duration::from_secs(1);

/// A close frame's code and reason.
type CloseFrame = Option<(u16, String)>;

/// What has happened on a connection.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A text message, if it is UTF-8.
    Text(Payload),
    Binary(Payload),
    Ping(Payload),
    /// A pong that is not the answer to a keep-alive ping.
    Pong(Payload),
    /// The client's close frame.
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// The client broke a rule, or is gone.
    Broken {
        reason: Reason,
        detail: String,
    },
    /// Another handler's event for this connection, or a timer's.
    Posted(Posted),
    /// Somebody asked for the end: the host, or the outbound queue.
    Ended(Reason),
}

impl Arrival {
    fn bytes(&self) -> usize {
        match self {
            Arrival::Text(data)
            | Arrival::Binary(data)
            | Arrival::Ping(data)
            | Arrival::Pong(data) => data.len(),
            _ => 0,
        }
    }

    /// The same without a block for reading around it.
    fn into_owned(self) -> Arrival {
        match self {
            Arrival::Text(data) => Arrival::Text(data.into_owned()),
            Arrival::Binary(data) => Arrival::Binary(data.into_owned()),
            Arrival::Ping(data) => Arrival::Ping(data.into_owned()),
            Arrival::Pong(data) => Arrival::Pong(data.into_owned()),
            other => other,
        }
    }
}

/// A socket after its upgrade.
pub(super) struct Wire {
    reader: Reader,
    input: Input,
    client: Arc<ConnectionRecord>,
    config: Arc<Config>,
    /// Read while a guest call was waiting.
    ahead: VecDeque<Arrival>,
    ahead_bytes: usize,
    /// Nothing more can be read.
    is_over: bool,
    /// The client's close frame, until it is answered.
    unanswered_close: Option<Box<CloseFrame>>,
    /// The client's close frame has been read.
    client_has_closed: bool,
    /// A close frame has been queued.
    has_closed: bool,
    /// This task has promised to drain the outbound.
    owes_drain: bool,
    /// What came last was posted: the client's turn is next, so that neither starves the other.
    posted_was_last: bool,
    timer: Pin<Box<Sleep>>,
    /// Fires when the client's token expires; made where there is a token only.
    expiry: Option<Pin<Box<Sleep>>>,
    last_heard: Instant,
    /// When the keep-alive ping was sent that nothing has been heard after yet.
    pinged: Option<Instant>,
    /// What had been written when the timer last fired with too much waiting.
    written_bytes: Option<u64>,
}

impl Wire {
    /// Wait until the client has got its `101`, and take the socket over. `None` if it is gone.
    pub(super) async fn upgraded(
        upgrade: OnUpgrade,
        client: &Arc<ConnectionRecord>,
        config: &Arc<Config>,
    ) -> Option<Wire> {
        let upgraded = tokio::time::timeout(config.handshake_timeout, upgrade).await.ok()?.ok()?;
        let parts = upgraded.downcast::<TokioIo<Transport>>().ok()?;
        let (reader, writer) = parts.io.into_inner().into_split();
        client.outbound.attach(writer);
        let input = Input::new(config, &parts.read_buf);
        let now = Instant::now();
        Some(Wire {
            reader,
            input,
            client: client.clone(),
            config: config.clone(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            is_over: false,
            unanswered_close: None,
            client_has_closed: false,
            has_closed: false,
            owes_drain: true,
            posted_was_last: false,
            timer: Box::pin(tokio::time::sleep_until(now + config.keep_alive_interval)),
            expiry: None,
            last_heard: now,
            pinged: None,
            written_bytes: None,
        })
    }

    /// The next thing that happens. Where nothing does, everything queued is being written and
    /// the task is woken for whatever comes.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        self.end_if_expired();
        let mut standing = self.client.outbound.standing();
        if standing.end.is_none() && standing.is_backed_up {
            // Answers cannot leave, so that nothing more may be asked: the client has to
            // read before we do.
            let idle = self.poll_idle(cx);
            standing = self.client.outbound.standing();
            match idle {
                Poll::Ready(Arrival::Ended(_)) => {}
                Poll::Ready(arrival) => return Poll::Ready(arrival),
                Poll::Pending if standing.is_backed_up => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        match standing.end {
            // The way out is lost. What has arrived on the way in comes first, so that no message
            // and no close frame is forgotten which the client managed to send.
            Some(Reason::NetworkLost) => {}
            Some(reason) => return Poll::Ready(Arrival::Ended(reason)),
            None => {}
        }
        if let Poll::Ready(arrival) = self.poll_next(cx, standing.has_posted) {
            return Poll::Ready(arrival);
        }
        match standing.end {
            Some(reason) => Poll::Ready(Arrival::Ended(reason)),
            None => match self.poll_idle(cx) {
                // Posted before this task was registered to be woken for it.
                Poll::Pending if self.client.outbound.standing().has_posted => {
                    self.poll_next(cx, true)
                }
                idle => idle,
            },
        }
    }

    /// What has arrived already, or can be read at once.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        // Whoever owes a drain is the only one to write; answers must not wait for the burst's end.
        if std::mem::take(&mut self.owes_drain) {
            self.client.outbound.drain();
        }
        // A client that never stops sending is not waited for.
        self.end_if_expired();
        let standing = self.client.outbound.standing();
        if standing.end.is_some() || standing.is_backed_up {
            // Decided where the task may wait.
            return Poll::Pending;
        }
        self.poll_next(cx, standing.has_posted)
    }

    /// What was posted and what the client has sent, in turns where there are both.
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

    /// What was read ahead, then what can be read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        if let Some(arrival) = self.ahead.pop_front() {
            self.ahead_bytes -= arrival.bytes();
            return Poll::Ready(arrival);
        }
        self.poll_read(cx)
    }

    /// The close frame that has been read, but whose turn has not come.
    pub(super) fn close_ahead(&self) -> Option<(Option<u16>, &str)> {
        self.ahead.iter().find_map(|arrival| match arrival {
            Arrival::Closed { code, reason } => Some((*code, reason.as_str())),
            _ => None,
        })
    }

    /// While a guest call waits: write, answer, read ahead as far as allowed.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        if !self.listens() && self.poll_idle(cx).is_ready() {
            // It is asked for again when the call has returned.
            return;
        }
        while self.listens() {
            match self.poll_read(cx) {
                Poll::Ready(arrival) => {
                    self.ahead_bytes += arrival.bytes();
                    self.ahead.push_back(arrival.into_owned());
                }
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(arrival) = self.poll_idle(cx)
            && !matches!(arrival, Arrival::Ended(_))
        {
            self.is_over = true;
            self.ahead.push_back(arrival);
        }
    }

    /// Write what waits, keep the connection alive, notice its end.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        if std::mem::take(&mut self.owes_drain) {
            self.client.outbound.drain();
        }
        // Registers this task; only then is it certain that no wish to end is missed.
        let _ = self.client.outbound.poll_drained(cx);
        if self.poll_expiry(cx).is_ready() {
            self.client.outbound.end(Reason::TokenExpired);
        }
        if let Some(reason) = self.client.outbound.standing().end {
            return Poll::Ready(Arrival::Ended(reason));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(arrival) = self.keep_alive() {
                return Poll::Ready(arrival);
            }
        }
        Poll::Pending
    }

    /// Note that the connection ends if its token has expired.
    fn end_if_expired(&self) {
        if self.client.token_expires().is_some_and(|at| Instant::now() >= at) {
            self.client.outbound.end(Reason::TokenExpired);
        }
    }

    /// Wait for the token's expiry, which may have been moved since.
    fn poll_expiry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.client.token_expires() else {
            return Poll::Pending;
        };
        let timer = self.expiry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// Whether more is being read from the client.
    fn listens(&self) -> bool {
        !self.is_over
            && self.ahead.len() < self.config.read_ahead_messages
            && self.ahead_bytes < self.config.read_ahead_bytes
            && !self.client.outbound.standing().is_backed_up
    }

    /// The timer has fired: ping a silent client, give up on one that stays silent, or that
    /// takes nothing of what it is sent.
    fn keep_alive(&mut self) -> Option<Arrival> {
        let now = Instant::now();
        let (interval, timeout) = (self.config.keep_alive_interval, self.config.keep_alive_timeout);
        if !self.listens() {
            // Silence means nothing while nobody listens, but standing still does.
            self.last_heard = now;
            let Standing { is_backed_up, written_bytes, .. } = self.client.outbound.standing();
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
                let ping = Frame::encode(FrameKind::Ping, KEEP_ALIVE_PAYLOAD);
                if self.client.outbound.push_control(&ping) == Pushed::Drain {
                    self.client.outbound.drain();
                }
                now + timeout
            }
            None => self.last_heard + interval,
        };
        self.timer.as_mut().reset(next);
        None
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        if self.is_over {
            return Poll::Pending;
        }
        loop {
            let mut heard = false;
            let polled = self.input.poll_next(Pin::new(&mut self.reader), cx, &mut heard);
            if heard {
                self.last_heard = Instant::now();
            }
            let arrival = match ready!(polled) {
                Ok(Some(Item::Text(data))) => Arrival::Text(data),
                Ok(Some(Item::Binary(data))) => Arrival::Binary(data),
                Ok(Some(Item::Ping(data))) => {
                    self.push_control(Frame::encode(FrameKind::Pong, &data));
                    Arrival::Ping(data)
                }
                Ok(Some(Item::Pong(data))) if *data == *KEEP_ALIVE_PAYLOAD => continue,
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
                Err(Refused::Io(error)) => self.broken(Reason::NetworkLost, error.to_string()),
                Err(Refused::Violation(Violation { reason, detail })) => {
                    self.broken(reason, detail.to_owned())
                }
            };
            return Poll::Ready(arrival);
        }
    }

    fn broken(&mut self, reason: Reason, detail: String) -> Arrival {
        self.is_over = true;
        Arrival::Broken { reason, detail }
    }

    /// Queue a control frame. Refused means that the connection is ending for a reason that is
    /// noted already.
    fn push_control(&mut self, frame: Frame) {
        if self.client.outbound.push_control(&frame) == Pushed::Drain {
            self.owes_drain = true;
        }
    }

    /// Queue the answer to the client's close frame, with its code and reason as RFC 6455, 5.5.1
    /// has it, behind all that was queued before.
    pub(super) fn answer_close(&mut self) {
        if let Some(close) = self.unanswered_close.take() {
            let close = close.as_ref().as_ref();
            self.push_close(close.map(|(code, reason)| (*code, reason.as_str())));
        }
    }

    /// Queue a close frame. Nothing but control frames may follow it.
    pub(super) fn begin_close(&mut self, code: Option<u16>, reason: &str) {
        self.push_close(code.map(|code| (code, reason)));
        self.client.outbound.refuse_messages(false);
    }

    fn push_close(&mut self, close: Option<(u16, &str)>) {
        if std::mem::replace(&mut self.has_closed, true) {
            return;
        }
        let mut payload = Vec::new();
        if let Some((code, reason)) = close {
            payload.extend_from_slice(&code.to_be_bytes());
            let end = reason.floor_char_boundary(MAX_REASON_BYTES);
            payload.extend_from_slice(&reason.as_bytes()[..end]);
        }
        self.push_control(Frame::encode(FrameKind::Close, &payload));
    }

    /// Write what is queued and, where the client can still be understood and has not sent its
    /// close frame, wait for that; `close_timeout_ms` at most. Then the stream is ended, and what the
    /// client may have sent meanwhile is read away, so that it gets to see our last frames.
    pub(super) async fn finish_close(&mut self, wait_for_client: bool) {
        let close_timeout = self.config.close_timeout;
        let handshake = async {
            let mut client_is_done = !wait_for_client;
            std::future::poll_fn(|cx| {
                while !client_is_done {
                    match self.poll_read(cx) {
                        Poll::Ready(Arrival::Closed { .. } | Arrival::Broken { .. }) => {
                            client_is_done = true;
                        }
                        Poll::Ready(_) => {}
                        Poll::Pending if self.is_over => client_is_done = true,
                        Poll::Pending => break,
                    }
                }
                if std::mem::take(&mut self.owes_drain) {
                    self.client.outbound.drain();
                }
                match self.client.outbound.poll_drained(cx) {
                    Poll::Ready(()) if client_is_done => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            })
            .await;
        };
        if tokio::time::timeout(close_timeout, handshake).await.is_err() {
            return;
        }
        if self.client_has_closed {
            // It sends nothing any more, so that there is nothing to lose our last frames to.
            self.client.outbound.release();
            return;
        }
        self.client.outbound.shut();
        let linger = LINGER.min(close_timeout);
        let _ = tokio::time::timeout(linger, self.read_away()).await;
    }

    /// Read and forget until the client ends the stream.
    async fn read_away(&mut self) {
        let mut scratch = vec![0; 4096];
        std::future::poll_fn(|cx| {
            loop {
                let mut buffer = ReadBuf::new(&mut scratch);
                match Pin::new(&mut self.reader).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}
