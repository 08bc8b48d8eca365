//! The one task that runs a connection: `on-connect`, its events in the order of their arrival,
//! its end.
//!
//! A guest call runs in here: an instance is taken, called, its effects are committed, and it is
//! given back. While a call waits, this task looks after the socket: frames are written, control
//! frames are answered, a bounded number of messages is read ahead. Frames of answers are written
//! when there is nothing more to read, so that a burst of messages is answered in one write.

mod arrival;
mod arrivals;
mod call;
mod ending;
mod frame;
pub mod heartbeat;
mod input;
mod lines;
mod pace;
mod place;
pub mod positions;
mod turn;

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

use wharf_config::Config;
use wharf_contract::close::{Close, FALLBACK_CODE, MAX_REASON_BYTES, Reason, is_channel_code};
use wharf_contract::fault::Fault;
use wharf_contract::handshake::MAX_REFUSAL_MESSAGES;
use wharf_contract::text::{cut, escape};
use wharf_hub::client_bytes::{self, Share};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::inbox::Posted;
use wharf_hub::outbound::PendingWrites;
use wharf_runtime::channel::Channel;
use wharf_runtime::event_kind::EventKind;
use wharf_runtime::guest_call::{About, CallError, GuestCall, Patience};
use wharf_runtime::host_calls::{Call, Phase, unavailable};
use wharf_runtime::instance::{Event, Finished, GuestRefusal};
use wharf_runtime::log_budget::LogBudget;

use crate::admission::Permit;
use arrival::Arrival;
use arrivals::Arrivals;
use call::{attend, start};
use ending::{Ending, StreamEnd};
use lines::{log_exhausted, log_panic};
use pace::Pace;
use place::InHub;

pub use input::count_messages;

/// A connection that is about to open.
pub struct Opening {
    /// Configuration of the host.
    pub config: Arc<Config>,
    /// Channel of its path.
    pub channel: Arc<Channel>,
    /// Record with the client's request.
    pub client: ConnectionRecord,
    /// Upgraded socket, once the client has got its `101`.
    pub upgrade: OnUpgrade,
    /// Sender of the answer, for which the handshake waits.
    pub answer: oneshot::Sender<HandshakeAnswer>,
    /// Permit, held for as long as the connection lives.
    pub permit: Permit,
    /// Returns true if the host is shutting down; called once the connection can be told of it.
    pub is_closing: Box<dyn Fn() -> bool + Send>,
    /// Budget of the log lines about clients that are cut.
    pub log_lines: Arc<LogBudget>,
    /// True if the client asks for [heartbeats in messages](heartbeat).
    pub heartbeats: bool,
}

/// The answer of the handshake.
#[derive(Debug)]
pub enum HandshakeAnswer {
    /// `101`, with these headers of the channel's.
    Accept(Vec<(String, Vec<u8>)>),
    /// The channel's own response.
    Refuse {
        /// HTTP status.
        status: u16,
        /// Headers as the guest gave them.
        headers: Vec<(String, Vec<u8>)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Status 500: the guest failed.
    Failed,
    /// Status 503: the guest did not answer in time, or there was no instance for it.
    Unavailable,
}

/// Runs a connection, from `on-connect` to its end.
pub async fn run(opening: Box<Opening>) {
    // Steps that happen once in a connection's life are boxed, here and below: its task must not
    // carry the room for them all the time.
    let Some((mut connection, mut arrivals, close)) = Box::pin(open(opening)).await else {
        return;
    };
    let ending = match close {
        Some(close) => Ending::asked_for(*close),
        None => match AssertUnwindSafe(connection.serve(&mut arrivals)).catch_unwind().await {
            Ok(ending) => ending,
            Err(_) => {
                log_panic(&connection.channel, &connection.client);
                Ending::of(Reason::GuestFailure)
            }
        },
    };
    finish(connection, Some(arrivals), ending).await;
}

/// Ends a connection. A panic of the host in one of the steps skips the others, but not the end.
/// Boxed at once, see above.
fn finish(
    connection: Connection,
    arrivals: Option<Arrivals>,
    ending: Ending,
) -> Pin<Box<impl Future<Output = ()>>> {
    Box::pin(async move {
        let (channel, client) = (connection.channel.clone(), connection.client.clone());
        let steps = AssertUnwindSafe(connection.finish(arrivals, ending));
        if steps.catch_unwind().await.is_err() {
            log_panic(&channel, &client);
        }
    })
}

/// Asks the channel, and takes the socket over from HTTP. `None` if there is no connection: it is
/// refused, or has ended already.
async fn open(opening: Box<Opening>) -> Option<(Connection, Arrivals, Option<Box<Close>>)> {
    let Opening { config, channel, client, upgrade, answer, permit, .. } = *opening;
    let Opening { is_closing, log_lines, heartbeats, .. } = *opening;
    let client = Arc::new(client);
    let mut writes = PendingWrites::of(&client.outbound);
    let connecting = AssertUnwindSafe(connect(&channel, &client, &mut writes));
    let accepted = match connecting.catch_unwind().await {
        Ok(Ok(accepted)) => accepted,
        panicked_or_refused => {
            let refusal = match panicked_or_refused {
                Ok(Err(refusal)) => refusal,
                _ => {
                    log_panic(&channel, &client);
                    // It may have been partly visible.
                    channel.context.hub.remove(&client);
                    NotAccepted::Failed
                }
            };
            refuse(refusal, answer, upgrade, &channel, client, config).await;
            return None;
        }
    };
    // The commit has made the connection visible: from here on only `finish` ends it.
    let (session, share) = (accepted.session, accepted.share);
    let place = InHub::of(&channel.context.hub, &client);
    let connection =
        Connection { channel, client, session, share, writes, log_lines, place, _permit: permit };
    if is_closing() {
        connection.client.outbound.end(Reason::Shutdown);
    } else if connection.channel.is_removed() {
        connection.client.outbound.end(Reason::Removed);
    }
    let arrivals = match answer.send(HandshakeAnswer::Accept(accepted.headers)) {
        Ok(()) => {
            let Connection { client, channel, .. } = &connection;
            let pace = Pace::of(channel.context.own.max_messages_per_second(&config));
            Arrivals::upgraded(upgrade, client, &config, pace, heartbeats).await
        }
        // The handshake was given up: there is no client behind the socket.
        Err(_) => None,
    };
    match arrivals {
        // Boxed, because the connection's task holds it for as long as it lives.
        Some(arrivals) => Some((connection, arrivals, accepted.close.map(Box::new))),
        None => {
            finish(connection, None, Ending::of(Reason::NetworkLost)).await;
            None
        }
    }
}

struct Accepted {
    session: Box<[u8]>,
    share: Share,
    headers: Vec<(String, Vec<u8>)>,
    close: Option<Close>,
}

enum NotAccepted {
    Refused(GuestRefusal),
    Failed,
    Unavailable,
}

/// Runs `on-connect`, and commits its effects if it accepts.
async fn connect(
    channel: &Channel,
    client: &Arc<ConnectionRecord>,
    writes: &mut PendingWrites,
) -> Result<Accepted, NotAccepted> {
    let about = About::Connection(client);
    let patience = Patience::Bounded;
    let guest_call = GuestCall { channel, about, event: EventKind::Connect, patience };
    let connected = guest_call
        .run(async |instance| instance.connect(Call::new(client.clone(), Phase::Connecting)).await)
        .await;
    match connected {
        Ok(Finished { mut call, returned }) => {
            let session: Box<[u8]> = returned.map_err(NotAccepted::Refused)?.into();
            let mut share = Share::default();
            if !share.cover(client.kept_bytes() + session.len()) {
                log_exhausted(channel, client);
                return Err(NotAccepted::Unavailable);
            }
            channel.context.ports.sessions.committed(client, &session);
            channel.context.session_sample.note(&session);
            let hub = &channel.context.hub;
            hub.connect(client);
            let close = call.commit(hub, writes).await.unwrap_or_else(|_| Some(unavailable()));
            writes.write().await;
            let headers = std::mem::take(&mut call.response_headers);
            Ok(Accepted { session, share, headers, close })
        }
        Err(CallError::Exhausted(_)) => Err(NotAccepted::Unavailable),
        Err(CallError::Failed { failure, .. }) if failure.kind == Fault::Deadline => {
            Err(NotAccepted::Unavailable)
        }
        Err(CallError::NotStarted { .. } | CallError::Failed { .. }) => Err(NotAccepted::Failed),
    }
}

/// Answers a refused client. No part of the connection has been visible.
async fn refuse(
    refusal: NotAccepted,
    answer: oneshot::Sender<HandshakeAnswer>,
    upgrade: OnUpgrade,
    channel: &Channel,
    client: Arc<ConnectionRecord>,
    config: Arc<Config>,
) {
    channel.context.hub.forget_refused(&client);
    let close = match refusal {
        NotAccepted::Failed => return drop(answer.send(HandshakeAnswer::Failed)),
        NotAccepted::Unavailable => return drop(answer.send(HandshakeAnswer::Unavailable)),
        NotAccepted::Refused(GuestRefusal::Http(http)) => {
            let (status, headers, body) = (http.status, http.headers, http.body);
            return drop(answer.send(HandshakeAnswer::Refuse { status, headers, body }));
        }
        NotAccepted::Refused(GuestRefusal::Close(close)) => close,
    };
    use wharf_runtime::host_calls::bindings::wharf::channel::handshake::Message;
    if answer.send(HandshakeAnswer::Accept(Vec::new())).is_err() {
        return;
    }
    let Some(mut arrivals) = Arrivals::upgraded(upgrade, &client, &config, None, false).await
    else {
        return;
    };
    let mut writes = PendingWrites::of(&client.outbound);
    let mut unsent = close.messages.len().saturating_sub(MAX_REFUSAL_MESSAGES);
    for message in close.messages.iter().take(MAX_REFUSAL_MESSAGES) {
        let (kind, data) = match message {
            Message::Text(text) => (FrameKind::Text, text.as_bytes()),
            Message::Binary(data) => (FrameKind::Binary, data.as_slice()),
        };
        let fits = data.len() <= config.max_outbound_message_bytes;
        if !fits || !writes.push(&client.outbound, &Frame::encode(kind, data)) {
            unsent += 1;
        }
    }
    if unsent > 0 && channel.context.failure_budget.take() {
        tracing::warn!(
            channel = channel.name(),
            unsent,
            "a refusal sends at most {MAX_REFUSAL_MESSAGES} messages, each within \
             max_outbound_message_bytes and all within outbound_queue_bytes"
        );
    }
    let code = if is_channel_code(close.code) {
        close.code
    } else {
        if channel.context.failure_budget.take() {
            let (channel, code) = (channel.name(), close.code);
            tracing::warn!(
                channel,
                code,
                "a refusal needs code 1000 or 3000 to 4999; {FALLBACK_CODE} sent"
            );
        }
        FALLBACK_CODE
    };
    let reason = cut(&close.reason, MAX_REASON_BYTES);
    arrivals.begin_close(Some(code), reason);
    writes.write_now();
    arrivals.finish_close(true).await;
    client.outbound.shut();
}

/// An accepted connection.
struct Connection {
    channel: Arc<Channel>,
    client: Arc<ConnectionRecord>,
    /// State of the author, as last committed.
    session: Box<[u8]>,
    /// The counted part of the session, the request and the token.
    share: Share,
    /// Sockets that this task has promised to write.
    writes: PendingWrites,
    log_lines: Arc<LogBudget>,
    place: InHub,
    _permit: Permit,
}

impl Connection {
    /// Handles events until something ends the connection.
    async fn serve(&mut self, arrivals: &mut Arrivals) -> Ending {
        loop {
            let first = std::future::poll_fn(|cx| arrivals.poll_arrival(cx)).await;
            // The future is boxed, because most connections wait most of the time, and need not
            // hold the room for a guest call then.
            if let Some(ending) = Box::pin(self.burst(arrivals, first)).await {
                return ending;
            }
        }
    }

    /// Handles arrivals until there are no more, and writes their effects. `Some` if the connection
    /// ends with one.
    async fn burst(&mut self, arrivals: &mut Arrivals, first: Arrival) -> Option<Ending> {
        let mut arrival = first;
        loop {
            let ending = match arrival {
                Arrival::Text(data) => match std::str::from_utf8(&data) {
                    Ok(text) => {
                        self.channel.context.counters.received(text.len());
                        self.handle(arrivals, Event::Text(text)).await
                    }
                    Err(_) => Some(Ending::of_violation(
                        Reason::InvalidUtf8,
                        "a text message that is not UTF-8".to_owned(),
                    )),
                },
                Arrival::Binary(data) => {
                    self.channel.context.counters.received(data.len());
                    self.handle(arrivals, Event::Binary(&data)).await
                }
                Arrival::Ping(data) => self.control(arrivals, Event::Ping(&data)).await,
                Arrival::Pong(data) => self.control(arrivals, Event::Pong(&data)).await,
                Arrival::Closed { code, reason } => Some(Ending {
                    code,
                    text: reason,
                    stream: StreamEnd::Answered,
                    ..Ending::of(Reason::ClientClosed)
                }),
                Arrival::Broken { reason: Reason::Overload, detail } => {
                    if self.log_lines.take() {
                        let (channel, connection) =
                            (self.channel.name(), self.client.id.to_string());
                        tracing::warn!(channel, connection, "connection closed: {detail}");
                    }
                    Some(Ending::of(Reason::Overload))
                }
                Arrival::Broken { reason, detail } => Some(Ending::of_violation(reason, detail)),
                Arrival::Ended(reason) => Some(match self.client.outbound.take_close() {
                    Some(close) => Ending::asked_for(close),
                    None => Ending::of(reason),
                }),
                Arrival::Posted(posted) => self.posted(arrivals, posted).await,
            };
            if ending.is_some() {
                return ending;
            }
            let next = std::future::poll_fn(|cx| Poll::Ready(arrivals.poll_more(cx))).await;
            match next {
                Poll::Ready(next) => arrival = next,
                Poll::Pending => break,
            }
        }
        if self.writes.reaches_many() {
            // Other ready tasks may have frames for the same receivers: all of them then go out in
            // one write to each.
            tokio::task::yield_now().await;
        }
        self.writes.write().await;
        None
    }

    /// Handles a ping or pong, if the channel has a handler for it.
    async fn control(&mut self, arrivals: &mut Arrivals, event: Event<'_>) -> Option<Ending> {
        let wanted = self.channel.current().pool.component().exports().control_frames;
        if wanted { self.handle(arrivals, event).await } else { None }
    }

    /// Handles a posted event of this connection, or a timer.
    async fn posted(&mut self, arrivals: &mut Arrivals, posted: Posted) -> Option<Ending> {
        match posted {
            Posted::Event { cause, payload, hops, .. } => {
                self.handle(arrivals, Event::Notice { cause, payload: &payload, hops }).await
            }
            Posted::SessionWanted(answer) => {
                // The operator may have given up.
                let _ = answer.send(self.session.clone());
                None
            }
            // Only events of rooms are waited for.
            Posted::Awaited(_) | Posted::TimerChange(_) | Posted::Orphaned => None,
            Posted::Timer(firing) => {
                let begun = self.channel.context.hub.begin_timer(&firing)?;
                let payload = &begun.payload;
                let name = &firing.name;
                self.handle(arrivals, Event::Timer { name, payload }).await
            }
        }
    }

    /// Runs an event's handler and commits its effects. `Some` if the connection ends with it.
    async fn handle(&mut self, arrivals: &mut Arrivals, event: Event<'_>) -> Option<Ending> {
        let answered = {
            let call = pin!(start(&self.channel, &self.client, &self.session, &event));
            attend(call, arrivals, &mut self.writes).await
        };
        self.settle(answered).await
    }

    /// Commits the effects of a handler. `Some` if the connection ends with it.
    async fn settle(
        &mut self,
        answered: Result<Finished<Option<Vec<u8>>>, CallError>,
    ) -> Option<Ending> {
        match answered {
            Ok(Finished { mut call, returned }) => {
                let hub = &self.channel.context.hub;
                // Before the session: an event that cannot be recorded has changed nothing.
                if call.record(hub).await.is_err() {
                    return Some(Ending::asked_for(unavailable()));
                }
                if let Some(session) = returned {
                    if !self.share.cover(self.client.kept_bytes() + session.len()) {
                        log_exhausted(&self.channel, &self.client);
                        return Some(Ending::of(Reason::Overload));
                    }
                    self.channel.context.ports.sessions.committed(&self.client, &session);
                    self.session = session.into();
                }
                let close = call.perform(hub, &mut self.writes).await;
                close.map(Ending::asked_for)
            }
            Err(CallError::Exhausted(_)) => Some(Ending::of(Reason::Overload)),
            Err(CallError::NotStarted { failure, .. } | CallError::Failed { failure, .. }) => {
                Some(Ending::of_failure(&failure))
            }
        }
    }

    /// Ends the connection: close frame, rooms, `on-close`, socket. `on-close` does not wait for
    /// the closing handshake.
    async fn finish(mut self, mut arrivals: Option<Arrivals>, mut ending: Ending) {
        // Effects of earlier events must not wait for the handlers below.
        self.writes.write().await;
        if let Some((code, text)) = arrivals.as_ref().and_then(Arrivals::close_ahead) {
            // The client had closed before the host: its code is the first.
            ending.code = code;
            ending.text = text.to_owned();
            if ending.reason == Reason::ChannelClosed {
                ending.reason = Reason::ClientClosed;
            }
            if ending.stream == StreamEnd::Close {
                ending.stream = StreamEnd::Answered;
            }
        }
        self.client.set_ending(ending.reason);
        self.channel.context.counters.closed(ending.reason);
        self.log_ending(&ending);
        if let Some((code, detail)) = ending.fault.take() {
            self.fault(code, &detail).await;
        }
        let outbound = &self.client.outbound;
        let discard = ending.stream == StreamEnd::Gone || ending.reason == Reason::SlowConsumer;
        outbound.refuse_messages(discard);
        if let Some(arrivals) = &mut arrivals {
            match ending.stream {
                StreamEnd::Close | StreamEnd::Broken => {
                    arrivals.begin_close(ending.code, &ending.text)
                }
                StreamEnd::Answered => arrivals.answer_close(),
                StreamEnd::Gone => {}
            }
        }
        self.place.leave();
        self.writes.write().await;
        outbound.flush();
        let closing = async {
            // The arrivals are dropped here: the socket must not stay open until `on-close` has had
            // its turn.
            if let Some(mut arrivals) = arrivals
                && ending.stream != StreamEnd::Gone
            {
                arrivals.finish_close(ending.stream == StreamEnd::Close).await;
            }
            outbound.shut();
        };
        let event = Event::Close { code: ending.code, reason: &ending.text };
        let on_close = self.on_close(&event);
        tokio::join!(closing, on_close);
    }

    /// Tells a guest with a handler for faults the failure; its effects commit.
    async fn fault(&mut self, code: &str, detail: &str) {
        if !self.channel.current().pool.component().exports().faults {
            return;
        }
        let event = Event::Fault { code, detail };
        let answered = start(&self.channel, &self.client, &self.session, &event).await;
        // The connection ends anyway, whatever the handler asks for.
        let _ = self.settle(answered).await;
    }

    /// Runs `on-close`: once, and waits for an instance as long as it takes.
    async fn on_close(&self, event: &Event<'_>) {
        let answered = start(&self.channel, &self.client, &self.session, event).await;
        if let Ok(Finished { mut call, .. }) = answered {
            let mut writes = PendingWrites::default();
            let _ = call.commit(&self.channel.context.hub, &mut writes).await;
            writes.write().await;
        }
    }

    fn log_ending(&self, ending: &Ending) {
        let (channel, id) = (self.channel.name(), self.client.id);
        let config = &self.channel.context.config;
        // The texts are made in the lines, which are mostly not wanted.
        match ending.reason {
            Reason::SlowConsumer => {
                if self.log_lines.take() {
                    tracing::warn!(
                        channel,
                        connection = id.to_string(),
                        outbound_queue_bytes = config.outbound_queue_bytes,
                        client_bytes = client_bytes::counted(),
                        max_client_bytes = config.max_client_bytes,
                        "slow consumer closed"
                    );
                }
            }
            Reason::KeepAliveTimeout => {
                if self.log_lines.take() {
                    let connection = id.to_string();
                    tracing::info!(channel, connection, "connection dropped: keep-alive timeout");
                }
            }
            reason => tracing::debug!(
                channel,
                connection = id.to_string(),
                reason = reason.to_string(),
                code = ending.code,
                detail = ending.fault.as_ref().map(|(_, detail)| escape(detail)),
                "connection ends"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_output<A, F>(_: fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of connections wait at a time, each in one of these.
    #[test]
    fn a_waiting_connection_holds_no_room_for_what_happens_once() {
        let size = size_of_output(run);
        // With 8 bytes more the task would take 768 bytes of memory in place of 640.
        assert!(size <= 536, "{size} bytes");
    }
}
