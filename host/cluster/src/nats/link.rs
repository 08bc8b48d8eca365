//! The link: the tasks that watch it, make it again, receive, and send what waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError, Subscriber};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clock::Clock;
use super::failure::not_connected;
use super::frame;
use super::jetstream::JetStream;
use super::names::token;
use super::probe::Probe;
use crate::configuration::{Configuration, Limits, NatsAddress, NatsLogin, shown};
use crate::deliveries::{Deliveries, Inbox};
use crate::error::{Reason, Unavailable};
use crate::outbox::{Message, Outbox};
use crate::subscriptions::Subscriptions;

/// Shortest and longest time between two tries to make the link.
const RETRIES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The oldest version: the first one that lets single messages expire, and that answers with many at a time.
const OLDEST: (u64, u64) = (2, 11);

/// Messages of one topic that the client keeps until they are taken. It drops what is beyond, and says so.
const TOPIC_CAPACITY: usize = 8_192;

/// Bytes that a message has beside what the caller gave.
const MARGIN: usize = 512;

/// All that the tasks of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    address: NatsAddress,
    pub(super) prefix: String,
    pub(super) keys_stream: String,
    pub(super) logs_stream: String,
    limits: Limits,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Subscriptions,
    pub(super) clock: Clock,
    link: watch::Sender<Result<Client, Unavailable>>,
    /// The link once more, for the task that sends: it is told of it last.
    sending: watch::Sender<Result<Client, Unavailable>>,
    server: Mutex<String>,
    max_payload: AtomicUsize,
    interruptions: AtomicU64,
    /// Number of the link that was begun last. An older one may still tell of its end.
    generation: AtomicU64,
    /// The reason for which the link must be made again.
    doubt: Mutex<Option<Unavailable>>,
    doubted: Notify,
    /// The last thing that the server did not permit.
    forbidden: Mutex<Option<(Instant, String)>>,
}

impl Shared {
    /// Makes the first link, and starts the tasks.
    pub(super) async fn start(
        address: &NatsAddress,
        configuration: &Configuration,
    ) -> Result<(Arc<Shared>, Deliveries), Unavailable> {
        let limits = configuration.limits.clone();
        let prefix = configuration.prefix.clone();
        let (inbox, deliveries) = Inbox::new(limits.inbox_bytes);
        let shared = Arc::new(Shared {
            address: address.clone(),
            keys_stream: format!("WHARF_{prefix}_KEYS"),
            logs_stream: format!("WHARF_{prefix}_LOGS"),
            prefix,
            outbox: Outbox::new(&limits),
            limits,
            inbox,
            subscriptions: Subscriptions::new(),
            clock: Clock::default(),
            link: watch::Sender::new(Err(Unavailable::link_lost())),
            sending: watch::Sender::new(Err(Unavailable::link_lost())),
            server: Mutex::default(),
            max_payload: AtomicUsize::new(1 << 20),
            interruptions: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            doubt: Mutex::default(),
            doubted: Notify::new(),
            forbidden: Mutex::default(),
        });
        let first = shared.connect().await?;
        shared.subscriptions.link_up();
        shared.set_up(&first);
        tokio::spawn(watch_link(shared.clone(), first));
        tokio::spawn(send_waiting(shared.clone()));
        Ok((shared, deliveries))
    }

    /// Returns the client.
    pub(super) fn client(&self) -> Result<Client, Unavailable> {
        self.link.borrow().clone()
    }

    /// Returns JetStream by the link.
    pub(super) fn jetstream(&self) -> Result<JetStream, Unavailable> {
        Ok(JetStream { client: self.client()?, timeout: self.limits.timeout })
    }

    /// Looks at the outcome of a step: one that the server has forbidden seems to have no answer.
    pub(super) fn seen<T>(&self, outcome: Result<T, Unavailable>) -> Result<T, Unavailable> {
        let why = match outcome {
            Ok(done) => return Ok(done),
            Err(why) => why,
        };
        let is_forbidden = |at: Instant| at.elapsed() <= self.limits.timeout * 2;
        match &*self.forbidden.lock() {
            Some((at, text)) if why.reason() == Reason::TimedOut && is_forbidden(*at) => {
                Err(Unavailable::new(
                    Reason::NotPermitted,
                    &format!("NATS does not permit it ({text})"),
                ))
            }
            _ => Err(why),
        }
    }

    /// Returns the largest message, in bytes.
    pub(super) fn max_message(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed).saturating_sub(MARGIN)
    }

    pub(super) fn server(&self) -> String {
        self.server.lock().clone()
    }

    pub(super) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    /// Sends what waits, and ends the tasks.
    pub(super) async fn close(&self) {
        self.outbox.close();
        let emptied = self.outbox.emptied.notified();
        self.outbox.filled.notify_one();
        if self.client().is_ok() {
            let _ = tokio::time::timeout(self.limits.timeout, emptied).await;
        }
        self.end();
    }

    /// Ends the tasks.
    pub(super) fn end(&self) {
        self.outbox.close();
        drop(self.link.send_replace(Err(Unavailable::closed())));
        drop(self.sending.send_replace(Err(Unavailable::closed())));
        self.subscriptions.link_down(&Unavailable::closed());
        self.doubt(Unavailable::closed());
        self.outbox.filled.notify_one();
        self.inbox.end();
    }

    fn is_closed(&self) -> bool {
        matches!(&*self.link.borrow(), Err(why) if why.reason() == Reason::Closed)
    }

    fn doubt(&self, why: Unavailable) {
        self.doubt.lock().get_or_insert(why);
        self.doubted.notify_one();
    }

    /// Tells all of a link, the receiver before the sender: a node would else receive what it has sent meanwhile
    /// before it knows of the return.
    fn set_up(&self, link: &Client) {
        set(&self.link, Ok(link.clone()));
        self.inbox.restore();
        set(&self.sending, Ok(link.clone()));
    }

    /// Tells all that there is no link.
    fn set_down(&self, why: &Unavailable) {
        set(&self.sending, Err(why.clone()));
        set(&self.link, Err(why.clone()));
        self.subscriptions.link_down(why);
    }

    /// Makes a link, checks the server, and makes the streams that are missing.
    async fn connect(self: &Arc<Shared>) -> Result<Client, Unavailable> {
        let scheme = if self.address.tls.is_some() { "tls" } else { "nats" };
        let servers = self.address.servers.iter();
        let servers: Vec<String> = servers
            .map(|server| format!("{scheme}://{}", shown(std::slice::from_ref(server))))
            .collect();
        let options = self.options().await?;
        let connected = tokio::time::timeout(self.limits.timeout * 2, options.connect(servers));
        let client = connected.await.map_err(|_| Unavailable::timed_out())?;
        let client = client.map_err(|error| not_connected(&error))?;
        let info = client.server_info();
        let mut numbers = info.version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            let version: String = info.version.chars().take(20).collect();
            return Err(Unavailable::new(
                Reason::TooOld,
                &format!("the server is nats-server {version}, and at least 2.11 is needed"),
            ));
        }
        let jetstream = JetStream { client: client.clone(), timeout: self.limits.timeout };
        let ready = async {
            jetstream.check().await?;
            jetstream.ensure(&self.keys_stream, &self.keys_settings()).await?;
            jetstream.ensure(&self.logs_stream, &self.logs_settings()).await?;
            jetstream.time(&self.keys_stream).await
        };
        self.clock.told(self.seen(ready.await)?);
        self.max_payload.store(info.max_payload, Ordering::Relaxed);
        let place = shown(&[(info.host, info.port)]);
        *self.server.lock() = format!("nats-server {} at {place}", info.version);
        Ok(client)
    }

    async fn options(self: &Arc<Shared>) -> Result<ConnectOptions, Unavailable> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        // The link must not keep the engine alive that has it.
        let shared = Arc::downgrade(self);
        let mut options = ConnectOptions::new()
            .name("wharf")
            .connection_timeout(self.limits.timeout)
            .request_timeout(Some(self.limits.timeout))
            .ping_interval(self.limits.timeout)
            .subscription_capacity(TOPIC_CAPACITY)
            // It is asked before the first try, too.
            .reconnect_delay_callback(|tries| {
                let tries = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
                RETRIES.0.saturating_mul(tries).min(RETRIES.1)
            })
            .event_callback(move |event| {
                let shared = shared.upgrade();
                let is_current =
                    |shared: &Arc<Shared>| shared.generation.load(Ordering::Relaxed) == generation;
                if let Some(shared) = shared.filter(is_current) {
                    shared.notice(event);
                }
                std::future::ready(())
            });
        options = match &self.address.login {
            NatsLogin::Nobody => options,
            NatsLogin::User(user, password) => {
                options.user_and_password(user.clone(), password.reveal().to_owned())
            }
            NatsLogin::Token(token) => options.token(token.reveal().to_owned()),
            NatsLogin::File(file) => options.credentials_file(file).await.map_err(|error| {
                Unavailable::new(
                    Reason::Other,
                    &format!("{} cannot be used: {error}", file.display()),
                )
            })?,
        };
        if let Some(tls) = &self.address.tls {
            options = options.require_tls(true);
            if let Some(file) = &tls.authorities {
                options = options.add_root_certificates(file.clone());
            }
        }
        Ok(options)
    }

    /// Notes an event of the client. It never waits.
    fn notice(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                self.doubt(Unavailable::link_lost());
            }
            // The client has dropped messages.
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                self.inbox.missed();
            }
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") =>
            {
                let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
                *self.forbidden.lock() = Some((Instant::now(), text));
            }
            _ => {}
        }
    }

    fn keys_settings(&self) -> Value {
        let prefix = &self.prefix;
        json!({
            "name": self.keys_stream,
            "subjects": [format!("{prefix}.k.>"), format!("{prefix}.e.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": 1,
            "max_msg_size": -1,
            "num_replicas": self.address.replicas,
            "duplicate_window": 1_000_000_000,
            "allow_direct": false,
            "allow_msg_ttl": true,
        })
    }

    fn logs_settings(&self) -> Value {
        let prefix = &self.prefix;
        json!({
            "name": self.logs_stream,
            "subjects": [format!("{prefix}.l.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "num_replicas": self.address.replicas,
            "duplicate_window": 1_000_000_000,
            "allow_direct": true,
            "allow_msg_ttl": true,
            "republish": { "src": format!("{prefix}.l.>"), "dest": format!("{prefix}.t.>") },
        })
    }
}

/// Sets a link, unless the engine was closed.
fn set(link: &watch::Sender<Result<Client, Unavailable>>, to: Result<Client, Unavailable>) {
    link.send_if_modified(|current| {
        let is_open = !matches!(current, Err(why) if why.reason() == Reason::Closed);
        if is_open {
            *current = to;
        }
        is_open
    });
}

/// Watches the link, and makes it again, until the engine is closed.
async fn watch_link(shared: Arc<Shared>, first: Client) {
    let mut client = first;
    loop {
        let (why, last_answer) = serve(&shared, client).await;
        if shared.is_closed() {
            return;
        }
        shared.set_down(&why);
        shared.inbox.interrupt(last_answer);
        shared.interruptions.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(reason = why.to_string(), "the link to NATS is down");
        client = match make_again(&shared).await {
            Some(client) => client,
            None => return,
        };
        shared.subscriptions.link_up();
    }
}

/// A topic that is subscribed to. Dropping it ends the subscription.
struct Receiving(JoinHandle<()>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves a link until it breaks. Returns the reason, and the time up to which it was well.
async fn serve(shared: &Arc<Shared>, client: Client) -> (Unavailable, Instant) {
    let mut last_answer = Instant::now();
    let mut pings = tokio::time::interval(shared.limits.timeout / 2);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut topics: HashMap<Arc<str>, Receiving> = HashMap::new();
    let mut is_restored = false;
    let probe = Probe::new(&shared.prefix, &client);
    let mut probe = match tokio::time::timeout(shared.limits.timeout, probe).await {
        Ok(Ok(probe)) => probe,
        Ok(Err(why)) => return (why, last_answer),
        Err(_) => return (Unavailable::timed_out(), last_answer),
    };
    loop {
        let round = shared.subscriptions.begin();
        for topic in &round.remove {
            topics.remove(topic);
        }
        let outcome = tokio::select! {
            why = doubted(shared) => Err(why),
            outcome = add(shared, &client, &mut probe, &round.add, &mut topics) => outcome,
        };
        shared.subscriptions.end(round, &outcome);
        if let Err(why) = outcome {
            return (why, last_answer);
        }
        if !std::mem::replace(&mut is_restored, true) {
            shared.set_up(&client);
        }
        tokio::select! {
            () = shared.subscriptions.changed.notified() => {}
            why = doubted(shared) => return (why, last_answer),
            _ = pings.tick() => {
                let asked = Instant::now();
                // The client does not end a wait by itself when the link breaks.
                let answered = tokio::select! {
                    why = doubted(shared) => Err(why),
                    answered = probe.answered(shared.limits.timeout) => answered,
                };
                match answered {
                    Ok(()) => last_answer = asked,
                    Err(why) => return (why, last_answer),
                }
                tokio::spawn(ask_time(shared.clone()));
            }
        }
    }
}

/// Waits for a reason to make the link again.
async fn doubted(shared: &Shared) -> Unavailable {
    loop {
        shared.doubted.notified().await;
        if let Some(why) = shared.doubt.lock().take() {
            return why;
        }
    }
}

/// Asks for the server's time. Its failure is that of the next step which needs JetStream.
async fn ask_time(shared: Arc<Shared>) {
    if let Ok(jetstream) = shared.jetstream()
        && let Ok(time) = jetstream.time(&shared.keys_stream).await
    {
        shared.clock.told(time);
    }
}

/// Subscribes to topics, and waits until the server knows them.
async fn add(
    shared: &Arc<Shared>,
    client: &Client,
    probe: &mut Probe,
    add: &[Arc<str>],
    topics: &mut HashMap<Arc<str>, Receiving>,
) -> Result<(), Unavailable> {
    if add.is_empty() {
        return Ok(());
    }
    for topic in add {
        let subject = format!("{}.t.{}", shared.prefix, token(topic));
        let subscribing = tokio::time::timeout(shared.limits.timeout, client.subscribe(subject));
        let subscriber = subscribing.await.map_err(|_| Unavailable::timed_out())?;
        let subscriber = subscriber.map_err(|_| Unavailable::link_lost())?;
        let task = tokio::spawn(receive(shared.inbox.clone(), topic.clone(), subscriber));
        topics.insert(topic.clone(), Receiving(task));
    }
    probe.answered(shared.limits.timeout).await
}

/// Takes the messages of a topic. The inbox is bounded, so that this task is never slow.
async fn receive(inbox: Arc<Inbox>, topic: Arc<str>, mut subscriber: Subscriber) {
    while let Some(message) = subscriber.next().await {
        match frame::read_message(message.payload) {
            Some((message, position)) => inbox.message(topic.clone(), message, position, None),
            None => tracing::debug!("a message of an unknown form was ignored"),
        }
    }
}

/// Makes the link again; `None` when the engine is closed.
async fn make_again(shared: &Arc<Shared>) -> Option<Client> {
    let mut pause = RETRIES.0;
    loop {
        // The doubt was about the link before.
        shared.doubt.lock().take();
        if shared.is_closed() {
            return None;
        }
        match shared.connect().await {
            Ok(client) => {
                tracing::info!("the link to NATS is back");
                return Some(client);
            }
            Err(why) => {
                shared.set_down(&why);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRIES.1);
    }
}

/// Sends what waits in the outbox, while the link stands.
async fn send_waiting(shared: Arc<Shared>) {
    let mut link = shared.sending.subscribe();
    loop {
        let filled = shared.outbox.filled.notified();
        let current = link.borrow_and_update().clone();
        let client = match current {
            Ok(client) => client,
            Err(why) if why.reason() == Reason::Closed => return,
            Err(_) => {
                // They wait in the outbox, where they are bounded.
                if link.changed().await.is_err() {
                    return;
                }
                continue;
            }
        };
        let batch = shared.outbox.take();
        if batch.is_empty() {
            // A link that breaks meanwhile is not kept.
            drop(client);
            filled.await;
            continue;
        }
        let count = batch.len();
        if let Err(why) = send(&shared, &client, batch).await {
            // Some may have been sent; nothing is sent twice.
            shared.outbox.lost(count);
            tracing::debug!(reason = why.to_string(), "messages were not sent");
            tokio::time::sleep(RETRIES.0).await;
        }
    }
}

async fn send(shared: &Shared, client: &Client, batch: Vec<Message>) -> Result<(), Unavailable> {
    let sending = async {
        for message in batch {
            let subject = format!("{}.t.{}", shared.prefix, token(&message.topic));
            let sent = client.publish(subject, frame::plain(&message.message)).await;
            sent.map_err(|_| Unavailable::link_lost())?;
        }
        // They have left this process then.
        client.flush().await.map_err(|_| Unavailable::link_lost())
    };
    let sent = tokio::time::timeout(shared.limits.timeout, sending).await;
    sent.map_err(|_| Unavailable::timed_out())?
}
