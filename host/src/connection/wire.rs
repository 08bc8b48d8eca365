//! A connection's socket as its task sees it: what arrives, keep-alive, the closing handshake.
//!
//! tungstenite reads frames and decides what a client may do. What it wants to write itself
//! (pongs, close frames) goes into the outbound queue like everything else.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

use crate::close::Reason;
use crate::config::Config;
use crate::outbound::{FrameKind, Outbound, Pushed, Standing, encode};

/// What keep-alive pings carry, so that their pongs are told from others.
const KEEP_ALIVE_PAYLOAD: &[u8] = b"wharf-keep-alive";

/// How long to read on after a close frame to a client that broke the protocol, so that the
/// frame is not lost to a reset of the connection.
const LINGER: Duration = Duration::from_secs(1);

/// What has happened on a connection.
#[derive(Debug)]
pub(super) enum Arrival {
    Text(Utf8Bytes),
    Binary(Bytes),
    Ping(Bytes),
    /// A pong that is not the answer to a keep-alive ping.
    Pong(Bytes),
    /// The client's close frame; it has been answered.
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// The client broke a rule, or is gone.
    Broken {
        reason: Reason,
        detail: String,
    },
    /// Somebody asked for the end: the host, or the outbound queue.
    Ended(Reason),
}

impl Arrival {
    fn bytes(&self) -> usize {
        match self {
            Arrival::Text(text) => text.len(),
            Arrival::Binary(data) | Arrival::Ping(data) | Arrival::Pong(data) => data.len(),
            _ => 0,
        }
    }
}

/// A socket after its upgrade.
pub(super) struct Wire {
    reader: OwnedReadHalf,
    protocol: WebSocketContext,
    outbound: Arc<Outbound>,
    config: Arc<Config>,
    /// Read while a guest call was waiting.
    ahead: VecDeque<Arrival>,
    ahead_bytes: usize,
    /// Nothing more can be read.
    is_over: bool,
    /// This task has promised to drain the outbound.
    owes_drain: bool,
    timer: Pin<Box<Sleep>>,
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
        outbound: &Arc<Outbound>,
        config: &Arc<Config>,
    ) -> Option<Wire> {
        let upgraded = tokio::time::timeout(config.handshake_timeout, upgrade).await.ok()?.ok()?;
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
        let (reader, writer) = parts.io.into_inner().into_split();
        outbound.attach(writer);
        let settings = WebSocketConfig::default()
            .read_buffer_size(config.read_buffer_bytes)
            // What it writes goes straight into the outbound queue, which has a bound.
            .write_buffer_size(0)
            .max_write_buffer_size(config.outbound_queue_bytes)
            .max_message_size(Some(config.max_message_bytes))
            .max_frame_size(Some(config.max_frame_bytes.min(config.max_message_bytes)));
        let early = parts.read_buf.to_vec();
        let protocol = WebSocketContext::from_partially_read(early, Role::Server, Some(settings));
        let now = Instant::now();
        Some(Wire {
            reader,
            protocol,
            outbound: outbound.clone(),
            config: config.clone(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            is_over: false,
            owes_drain: true,
            timer: Box::pin(tokio::time::sleep_until(now + config.keep_alive_interval)),
            last_heard: now,
            pinged: None,
            written_bytes: None,
        })
    }

    /// The next thing that happens. Where nothing does, everything queued is being written and
    /// the task is woken for whatever comes.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let mut standing = self.outbound.standing();
        if standing.end.is_none() && standing.is_backed_up {
            // Answers cannot leave, so that nothing more may be asked: the client has to
            // read before we do.
            let idle = self.poll_idle(cx);
            standing = self.outbound.standing();
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
        if let Some(arrival) = self.ahead.pop_front() {
            self.ahead_bytes -= arrival.bytes();
            return Poll::Ready(arrival);
        }
        if let Poll::Ready(arrival) = self.poll_read(cx) {
            return Poll::Ready(arrival);
        }
        match standing.end {
            Some(reason) => Poll::Ready(Arrival::Ended(reason)),
            None => self.poll_idle(cx),
        }
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
                    self.ahead.push_back(arrival);
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
            self.outbound.drain();
        }
        // Registers this task; only then is it certain that no wish to end is missed.
        let _ = self.outbound.poll_drained(cx);
        if let Some(reason) = self.outbound.standing().end {
            return Poll::Ready(Arrival::Ended(reason));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Some(arrival) = self.keep_alive() {
                return Poll::Ready(arrival);
            }
        }
        Poll::Pending
    }

    /// Whether more is being read from the client.
    fn listens(&self) -> bool {
        !self.is_over
            && self.ahead.len() < self.config.read_ahead_messages
            && self.ahead_bytes < self.config.read_ahead_bytes
            && !self.outbound.standing().is_backed_up
    }

    /// The timer has fired: ping a silent client, give up on one that stays silent, or that
    /// takes nothing of what it is sent.
    fn keep_alive(&mut self) -> Option<Arrival> {
        let now = Instant::now();
        let (interval, timeout) = (self.config.keep_alive_interval, self.config.keep_alive_timeout);
        if !self.listens() {
            // Silence means nothing while nobody listens, but standing still does.
            self.last_heard = now;
            let Standing { is_backed_up, written_bytes, .. } = self.outbound.standing();
            if is_backed_up && self.written_bytes == Some(written_bytes) {
                self.outbound.end(Reason::SlowConsumer);
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
                let ping = encode(FrameKind::Ping, KEEP_ALIVE_PAYLOAD);
                if self.outbound.push_control(ping) == Pushed::Drain {
                    self.outbound.drain();
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
            let arrival = match self.with_stream(cx, |protocol, stream| protocol.read(stream)) {
                Ok(Message::Text(text)) => Arrival::Text(text),
                Ok(Message::Binary(data)) => Arrival::Binary(data),
                Ok(Message::Ping(data)) => Arrival::Ping(data),
                Ok(Message::Pong(data)) if data == KEEP_ALIVE_PAYLOAD => continue,
                Ok(Message::Pong(data)) => Arrival::Pong(data),
                Ok(Message::Close(frame)) => {
                    self.is_over = true;
                    // The answer is prepared and waits: messages that were read ahead are
                    // answered before it.
                    let (code, reason) = match frame {
                        Some(frame) => (Some(frame.code.into()), frame.reason.to_string()),
                        None => (None, String::new()),
                    };
                    Arrival::Closed { code, reason }
                }
                // Reading never yields raw frames.
                Ok(Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(error) => {
                    self.is_over = true;
                    Arrival::Broken { reason: reason(&error), detail: error.to_string() }
                }
            };
            return Poll::Ready(arrival);
        }
    }

    fn with_stream<R>(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut WebSocketContext, &mut Stream<'_, '_>) -> R,
    ) -> R {
        let mut stream = Stream {
            reader: &mut self.reader,
            outbound: &self.outbound,
            owes_drain: &mut self.owes_drain,
            heard: false,
            cx,
        };
        let result = work(&mut self.protocol, &mut stream);
        if stream.heard {
            self.last_heard = Instant::now();
        }
        result
    }

    /// Queue the answer to the client's close frame, behind all that was queued before.
    pub(super) fn answer_close(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.with_stream(&mut cx, |protocol, stream| protocol.flush(stream));
    }

    /// Queue a close frame. Nothing but control frames may follow it.
    pub(super) fn begin_close(&mut self, code: Option<u16>, reason: &str) {
        let frame = code.map(|code| CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::from(reason),
        });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.with_stream(&mut cx, |protocol, stream| protocol.close(stream, frame));
        self.outbound.refuse_messages(false);
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
                    self.outbound.drain();
                }
                match self.outbound.poll_drained(cx) {
                    Poll::Ready(()) if client_is_done => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            })
            .await;
        };
        if tokio::time::timeout(close_timeout, handshake).await.is_err() {
            return;
        }
        self.outbound.shut();
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

fn reason(error: &Error) -> Reason {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Reason::NetworkLost,
        Error::Protocol(_) => Reason::ProtocolError,
        Error::Utf8(_) => Reason::InvalidUtf8,
        Error::Capacity(_) => Reason::MessageTooBig,
        _ => Reason::NetworkLost,
    }
}

/// What tungstenite reads from and writes to: the socket on one side, the queue on the other.
struct Stream<'a, 'cx> {
    reader: &'a mut OwnedReadHalf,
    outbound: &'a Outbound,
    owes_drain: &'a mut bool,
    heard: bool,
    cx: &'a mut Context<'cx>,
}

impl io::Read for Stream<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        // Polling, unlike `try_read`, knows when a short read has emptied the socket, and saves
        // the system call that would only say so.
        match Pin::new(&mut *self.reader).poll_read(self.cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                self.heard |= !buffer.filled().is_empty();
                Ok(buffer.filled().len())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl io::Write for Stream<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.outbound.push_control(Bytes::copy_from_slice(bytes)) {
            Pushed::Drain => *self.owes_drain = true,
            // Refused means that the connection is ending for a reason that is noted already.
            Pushed::Queued | Pushed::Refused => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
