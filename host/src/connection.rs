//! The one task that runs a connection: `on-connect`, its events in the order of their arrival,
//! its end.
//!
//! A guest call runs in here: an instance is taken, called, its effects are committed, it is
//! given back. While a call waits, the socket is looked after: frames are written, control
//! frames are answered, a bounded number of messages is read ahead. What answers cause is
//! written when there is nothing more to read, so that a burst of messages is answered in one write.

mod wire;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::upgrade::OnUpgrade;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::channel::{Channel, Generation};
use crate::client::Client;
use crate::close::{MAX_REASON_BYTES, Reason, is_channel_code};
use crate::config::Config;
use crate::effects::Close;
use crate::host_calls::{Call, Phase, escape};
use crate::instance::{Event, Failure, FailureKind, Finished, Refusal};
use crate::outbound::{Drains, FrameKind, encode};
use crate::pool::Unavailable;

use wire::{Arrival, Wire};

/// Messages that a refusal by close code sends at most.
const MAX_REFUSAL_MESSAGES: usize = 16;

/// A connection that is about to open.
pub struct Opening {
    /// The host's configuration.
    pub config: Arc<Config>,
    /// The channel that its path belongs to.
    pub channel: Arc<Channel>,
    /// What the client asked for.
    pub client: Client,
    /// The upgraded socket, once the client has got its `101`.
    pub upgrade: OnUpgrade,
    /// Where the handshake waits for the answer.
    pub answer: oneshot::Sender<Answer>,
    /// Held for as long as the connection lives.
    pub permit: OwnedSemaphorePermit,
    /// Whether the host is shutting down, asked once the connection can be told of it.
    pub is_closing: Box<dyn Fn() -> bool + Send>,
}

/// What the handshake shall answer.
#[derive(Debug)]
pub enum Answer {
    /// `101`, with these headers of the channel's.
    Accept(Vec<(String, Vec<u8>)>),
    /// The channel's own response.
    Refuse {
        /// An HTTP status.
        status: u16,
        /// Headers as the guest gave them.
        headers: Vec<(String, Vec<u8>)>,
        /// The body.
        body: Vec<u8>,
    },
    /// 500: the guest failed.
    Failed,
    /// 503: the guest did not answer in time, or there was no instance for it.
    Unavailable,
}

/// Run a connection, from `on-connect` to its end.
pub async fn run(opening: Opening) {
    let Opening { config, channel, client, upgrade, answer, permit, is_closing } = opening;
    let client = Arc::new(client);
    let mut drains = Drains::default();
    // What happens once in a connection's life is boxed, here and below: its task must not carry
    // the room for it all the time.
    let accepted = match Box::pin(connect(&config, &channel, &client, &mut drains)).await {
        Ok(accepted) => accepted,
        Err(refusal) => {
            return Box::pin(refuse(refusal, answer, upgrade, &channel, client, config)).await;
        }
    };
    // The commit has made the connection visible: from here on it ends by `finish` alone.
    let connection = Connection { config, channel, client, session: accepted.session, drains };
    if is_closing() {
        connection.client.outbound.end(Reason::Shutdown);
    } else if connection.channel.is_removed() {
        connection.client.outbound.end(Reason::Removed);
    }
    connection.open(accepted.headers, accepted.close, answer, upgrade).await;
    drop(permit);
}

struct Accepted {
    session: Box<[u8]>,
    headers: Vec<(String, Vec<u8>)>,
    close: Option<Close>,
}

enum NotAccepted {
    Refused(Refusal),
    Failed,
    Unavailable,
}

/// Run `on-connect`, and commit what it did if it accepts.
async fn connect(
    config: &Config,
    channel: &Channel,
    client: &Arc<Client>,
    drains: &mut Drains,
) -> Result<Accepted, NotAccepted> {
    let generation = channel.current();
    let mut lease = match generation.pool.take(config.instance_wait).await {
        Ok(lease) => lease,
        Err(Unavailable::Exhausted) => {
            log_exhausted(channel, client);
            return Err(NotAccepted::Unavailable);
        }
        Err(Unavailable::Failed(failure)) => {
            log_failure(channel, &generation, client, "start", &failure);
            return Err(NotAccepted::Failed);
        }
    };
    let call = Call::new(client.clone(), Phase::Connecting);
    match lease.instance.connect(call).await {
        Ok(Finished { mut call, returned }) => {
            generation.pool.give_back(lease);
            let session = returned.map_err(NotAccepted::Refused)?;
            let hub = &channel.context.hub;
            hub.connect(client.id.number, client.outbound.clone());
            let close = call.commit(hub, drains);
            drains.drain().await;
            let headers = std::mem::take(&mut call.response_headers);
            Ok(Accepted { session: session.into(), headers, close })
        }
        Err(failure) => {
            log_failure(channel, &generation, client, "on-connect", &failure);
            match failure.kind {
                FailureKind::Deadline => Err(NotAccepted::Unavailable),
                _ => Err(NotAccepted::Failed),
            }
        }
    }
}

/// Answer a client that is not wanted. Nothing of the connection has been visible to anybody.
async fn refuse(
    refusal: NotAccepted,
    answer: oneshot::Sender<Answer>,
    upgrade: OnUpgrade,
    channel: &Channel,
    client: Arc<Client>,
    config: Arc<Config>,
) {
    let close = match refusal {
        NotAccepted::Failed => return drop(answer.send(Answer::Failed)),
        NotAccepted::Unavailable => return drop(answer.send(Answer::Unavailable)),
        NotAccepted::Refused(Refusal::Http(http)) => {
            let (status, headers, body) = (http.status, http.headers, http.body);
            return drop(answer.send(Answer::Refuse { status, headers, body }));
        }
        NotAccepted::Refused(Refusal::Close(close)) => close,
    };
    use crate::host_calls::bindings::wharf::channel::handshake::Message;
    if answer.send(Answer::Accept(Vec::new())).is_err() {
        return;
    }
    let Some(mut wire) = Wire::upgraded(upgrade, &client.outbound, &config).await else {
        return;
    };
    let mut drains = Drains::default();
    for message in close.messages.iter().take(MAX_REFUSAL_MESSAGES) {
        let frame = match message {
            Message::Text(text) => encode(FrameKind::Text, text.as_bytes()),
            Message::Binary(data) => encode(FrameKind::Binary, data),
        };
        drains.push(&client.outbound, frame);
    }
    let code = if is_channel_code(close.code) {
        close.code
    } else {
        let (channel, code) = (channel.name(), close.code);
        tracing::warn!(channel, code, "a refusal needs code 1000 or 3000 to 4999; 1008 sent");
        1008
    };
    let reason = &close.reason[..close.reason.floor_char_boundary(MAX_REASON_BYTES)];
    wire.begin_close(Some(code), reason);
    drains.drain_now();
    wire.finish_close(true).await;
    client.outbound.shut();
}

/// An accepted connection.
struct Connection {
    config: Arc<Config>,
    channel: Arc<Channel>,
    client: Arc<Client>,
    /// The author's state, as last committed.
    session: Box<[u8]>,
    /// Sockets that this task has promised to write.
    drains: Drains,
}

/// How a connection ends.
struct Ending {
    reason: Reason,
    /// The code and reason of the first close frame, sent or received.
    code: Option<u16>,
    text: String,
    /// A token and a sentence for guests that hear of failures.
    fault: Option<(&'static str, String)>,
    wire: WireEnd,
}

/// What remains to be done with the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WireEnd {
    /// Send a close frame and wait for the client's.
    Close,
    /// The client's close frame has been answered; only what is queued remains to be written.
    Answered,
    /// Send a close frame, but what comes from the client can no longer be understood.
    Broken,
    /// Nothing: it is gone.
    Gone,
}

impl Ending {
    fn of(reason: Reason) -> Ending {
        let wire = match reason {
            Reason::NetworkLost | Reason::KeepAliveTimeout => WireEnd::Gone,
            Reason::ProtocolError | Reason::InvalidUtf8 | Reason::MessageTooBig => WireEnd::Broken,
            _ => WireEnd::Close,
        };
        let text = match wire {
            WireEnd::Gone => String::new(),
            _ => reason.token().to_owned(),
        };
        Ending { reason, code: reason.code(), text, fault: None, wire }
    }

    fn asked_for(close: Close) -> Ending {
        let (code, text) = (Some(close.code), close.reason);
        Ending { code, text, ..Ending::of(Reason::ChannelClosed) }
    }

    fn of_failure(failure: &Failure) -> Ending {
        let fault = Some((failure.kind.token(), failure.detail.clone()));
        Ending { fault, ..Ending::of(Reason::GuestFailure) }
    }
}

impl Connection {
    /// Wait for the upgrade, serve, end.
    async fn open(
        mut self,
        headers: Vec<(String, Vec<u8>)>,
        close: Option<Close>,
        answer: oneshot::Sender<Answer>,
        upgrade: OnUpgrade,
    ) {
        if answer.send(Answer::Accept(headers)).is_err() {
            // The handshake was given up: whatever becomes of the socket, nobody is behind it.
            return Box::pin(self.finish(None, Ending::of(Reason::NetworkLost))).await;
        }
        let upgraded = Wire::upgraded(upgrade, &self.client.outbound, &self.config);
        let Some(mut wire) = Box::pin(upgraded).await else {
            return Box::pin(self.finish(None, Ending::of(Reason::NetworkLost))).await;
        };
        let ending = match close {
            Some(close) => Ending::asked_for(close),
            None => self.serve(&mut wire).await,
        };
        Box::pin(self.finish(Some(wire), ending)).await;
    }

    /// Handle events until something ends the connection.
    async fn serve(&mut self, wire: &mut Wire) -> Ending {
        loop {
            let ending = match self.next(wire).await {
                Arrival::Text(text) => self.handle(wire, Event::Text(&text)).await,
                Arrival::Binary(data) => self.handle(wire, Event::Binary(&data)).await,
                Arrival::Ping(data) => self.control(wire, Event::Ping(&data)).await,
                Arrival::Pong(data) => self.control(wire, Event::Pong(&data)).await,
                Arrival::Closed { code, reason } => Some(Ending {
                    code,
                    text: reason,
                    wire: WireEnd::Answered,
                    ..Ending::of(Reason::ClientClosed)
                }),
                Arrival::Broken { reason, detail } => {
                    let fault = reason.code().map(|_| (reason.token(), detail));
                    Some(Ending { fault, ..Ending::of(reason) })
                }
                Arrival::Ended(reason) => Some(Ending::of(reason)),
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    /// The next thing that happens. Before waiting for it, what has been promised is written.
    async fn next(&mut self, wire: &mut Wire) -> Arrival {
        if self.drains.is_urgent() {
            self.drains.drain().await;
        }
        let at_once = std::future::poll_fn(|cx| Poll::Ready(wire.poll_arrival(cx))).await;
        if let Poll::Ready(arrival) = at_once {
            return arrival;
        }
        if !self.drains.is_empty() {
            self.drains.drain().await;
        }
        std::future::poll_fn(|cx| wire.poll_arrival(cx)).await
    }

    /// Handle a ping or pong, if the channel wants to know of them.
    async fn control(&mut self, wire: &mut Wire, event: Event<'_>) -> Option<Ending> {
        let wanted = self.channel.current().pool.component().has_control_frames();
        if wanted { self.handle(wire, event).await } else { None }
    }

    /// Run an event's handler and commit what it did. `Some` if the connection ends with it.
    async fn handle(&mut self, wire: &mut Wire, event: Event<'_>) -> Option<Ending> {
        let generation = self.channel.current();
        let result = {
            let call = pin!(call(&self.config, &self.client, &generation, &self.session, &event));
            attend(call, wire, &mut self.drains).await
        };
        self.settle(&generation, event.name(), result)
    }

    /// Commit what a handler did, or note its failure.
    fn settle(
        &mut self,
        generation: &Generation,
        event: &'static str,
        result: Result<Finished<Option<Vec<u8>>>, Unavailable>,
    ) -> Option<Ending> {
        match result {
            Ok(Finished { mut call, returned }) => {
                if let Some(session) = returned {
                    self.session = session.into();
                }
                let close = call.commit(&self.channel.context.hub, &mut self.drains);
                close.map(Ending::asked_for)
            }
            Err(Unavailable::Exhausted) => {
                log_exhausted(&self.channel, &self.client);
                Some(Ending::of(Reason::Overload))
            }
            Err(Unavailable::Failed(failure)) => {
                log_failure(&self.channel, generation, &self.client, event, &failure);
                Some(Ending::of_failure(&failure))
            }
        }
    }

    /// End the connection: close frame, rooms, `on-close`, socket. `on-close` does not wait for
    /// the closing handshake.
    async fn finish(mut self, mut wire: Option<Wire>, mut ending: Ending) {
        // What earlier events caused must not wait for the handlers below.
        self.drains.drain().await;
        self.client.set_ending(ending.reason);
        self.log_ending(&ending);
        if let Some((code, detail)) = ending.fault.take() {
            self.fault(code, &detail).await;
        }
        let outbound = &self.client.outbound;
        let discard = ending.wire == WireEnd::Gone || ending.reason == Reason::SlowConsumer;
        outbound.refuse_messages(discard);
        if let Some(wire) = &mut wire {
            match ending.wire {
                WireEnd::Close | WireEnd::Broken => wire.begin_close(ending.code, &ending.text),
                WireEnd::Answered => wire.answer_close(),
                WireEnd::Gone => {}
            }
        }
        self.client.leave_all(&self.channel.context.hub);
        self.drains.drain().await;
        outbound.drain();
        let closing = async {
            if let Some(wire) = &mut wire
                && ending.wire != WireEnd::Gone
            {
                wire.finish_close(ending.wire == WireEnd::Close).await;
            }
            outbound.shut();
        };
        let event = Event::Close { code: ending.code, reason: &ending.text };
        let on_close = self.on_close(&event);
        tokio::join!(closing, on_close);
    }

    /// Tell a guest that wants to know what went wrong; what it does about it commits.
    async fn fault(&mut self, code: &str, detail: &str) {
        let generation = self.channel.current();
        if !generation.pool.component().has_faults() {
            return;
        }
        let event = Event::Fault { code, detail };
        let result = call(&self.config, &self.client, &generation, &self.session, &event).await;
        // The connection ends anyway, whatever the handler wishes.
        let _ = self.settle(&generation, event.name(), result);
    }

    async fn on_close(&self, event: &Event<'_>) {
        loop {
            let generation = self.channel.current();
            let result = call(&self.config, &self.client, &generation, &self.session, event).await;
            match result {
                Ok(Finished { mut call, .. }) => {
                    let mut drains = Drains::default();
                    let _ = call.commit(&self.channel.context.hub, &mut drains);
                    return drains.drain().await;
                }
                // It has not been started, and every connection's end is: wait on.
                Err(Unavailable::Exhausted) => log_exhausted(&self.channel, &self.client),
                Err(Unavailable::Failed(failure)) => {
                    let name = event.name();
                    return log_failure(&self.channel, &generation, &self.client, name, &failure);
                }
            }
        }
    }

    fn log_ending(&self, ending: &Ending) {
        let (channel, connection) = (self.channel.name(), self.client.id);
        let detail = ending.fault.as_ref().map(|(_, detail)| escape(detail));
        match ending.reason {
            Reason::SlowConsumer => tracing::warn!(
                channel,
                %connection,
                outbound_queue_bytes = self.config.outbound_queue_bytes,
                "slow consumer closed"
            ),
            Reason::KeepAliveTimeout => {
                tracing::info!(channel, %connection, "connection dropped: keep-alive timeout");
            }
            reason => tracing::debug!(
                channel,
                %connection,
                %reason,
                code = ending.code,
                detail,
                "connection ends"
            ),
        }
    }
}

/// Take an instance of the generation, run the handler, give the instance back.
async fn call(
    config: &Config,
    client: &Arc<Client>,
    generation: &Generation,
    session: &[u8],
    event: &Event<'_>,
) -> Result<Finished<Option<Vec<u8>>>, Unavailable> {
    let phase = match event {
        Event::Close { .. } => Phase::Closing,
        _ => Phase::Open,
    };
    let mut lease = generation.pool.take(config.instance_wait).await?;
    let call = Call::new(client.clone(), phase);
    let finished = lease.instance.handle(call, session, event).await;
    generation.pool.give_back(lease);
    finished.map_err(Unavailable::Failed)
}

/// Wait for a guest call. Most are finished when they are first polled; while one is not, the
/// socket is looked after.
async fn attend<F: Future>(
    mut call: Pin<&mut F>,
    wire: &mut Wire,
    drains: &mut Drains,
) -> F::Output {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // What earlier events caused must not wait for this one.
        drains.drain_now();
        wire.poll_ahead(cx);
        Poll::Pending
    })
    .await
}

fn log_failure(
    channel: &Channel,
    generation: &Generation,
    client: &Client,
    event: &str,
    failure: &Failure,
) {
    if channel.context.failure_budget.take() {
        tracing::error!(
            channel = channel.name(),
            generation = generation.number,
            connection = %client.id,
            event,
            kind = failure.kind.token(),
            detail = failure.detail,
            backtrace = failure.backtrace,
            "guest call failed"
        );
    }
}

fn log_exhausted(channel: &Channel, client: &Client) {
    if channel.context.failure_budget.take() {
        tracing::warn!(
            channel = channel.name(),
            connection = %client.id,
            "no free instance within instance_wait_ms; see max_instances_per_channel and \
             max_instances"
        );
    }
}
