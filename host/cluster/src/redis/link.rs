//! The link: the tasks that watch it, make it again, and send what waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, RedisError, ScriptInvocation, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connect::{Connections, Receiver, connect};
use super::connection::Connection;
use super::failure::unavailable;
use super::names::{Part, name, topic};
use crate::configuration::{Configuration, Limits, RedisAddress};
use crate::deliveries::{Deliveries, Inbox};
use crate::error::{Reason, Unavailable};
use crate::logs::Position;
use crate::outbox::{Message, Outbox};
use crate::subscriptions::Subscriptions;

/// Most topics in one command.
const BATCH: usize = 512;

/// Shortest and longest time between two tries to make the link.
const RETRIES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// All that the tasks of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    address: RedisAddress,
    pub(super) prefix: String,
    limits: Limits,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Subscriptions,
    link: watch::Sender<Result<Connection, Unavailable>>,
    /// The link once more, for the task that sends: it is told of it last.
    sending: watch::Sender<Result<Connection, Unavailable>>,
    server: Mutex<String>,
    interruptions: AtomicU64,
    /// Number of the link that was begun last. An older one may still tell of its end.
    generation: AtomicU64,
    /// The reason for which the link must be made again.
    doubt: Mutex<Option<Unavailable>>,
    doubted: Notify,
}

impl Shared {
    /// Makes the first link, and starts the tasks.
    pub(super) async fn start(
        address: &RedisAddress,
        configuration: &Configuration,
    ) -> Result<(Arc<Shared>, Deliveries), Unavailable> {
        let limits = configuration.limits.clone();
        let (inbox, deliveries) = Inbox::new(limits.inbox_bytes);
        let shared = Arc::new(Shared {
            address: address.clone(),
            prefix: configuration.prefix.clone(),
            outbox: Outbox::new(&limits),
            limits,
            inbox,
            subscriptions: Subscriptions::new(),
            link: watch::Sender::new(Err(Unavailable::link_lost())),
            sending: watch::Sender::new(Err(Unavailable::link_lost())),
            server: Mutex::default(),
            interruptions: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            doubt: Mutex::default(),
            doubted: Notify::new(),
        });
        let first = connect(&shared.address, &shared.limits, shared.receiver()).await?;
        shared.up(&first);
        shared.set_up(&first.commands);
        tokio::spawn(watch_link(shared.clone(), first));
        tokio::spawn(send_waiting(shared.clone()));
        Ok((shared, deliveries))
    }

    /// Returns the link for commands.
    pub(super) fn commands(&self) -> Result<Connection, Unavailable> {
        self.link.borrow().clone()
    }

    /// Calls a script.
    pub(super) async fn call(&self, call: &ScriptInvocation<'_>) -> Result<Value, Unavailable> {
        let mut connection = self.commands()?;
        let answer: Result<Value, RedisError> = call.invoke_async(&mut connection).await;
        answer.map_err(|error| self.failed(&error))
    }

    /// Returns the reason of an error, and has the link made again where that may help.
    pub(super) fn failed(&self, error: &RedisError) -> Unavailable {
        let why = unavailable(error);
        let is_moved = matches!(error.code(), Some("MOVED" | "ASK" | "CLUSTERDOWN"));
        if is_moved || matches!(why.reason(), Reason::LinkLost | Reason::ReadOnly) {
            self.doubt(why.clone());
        }
        why
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
        if self.commands().is_ok() {
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

    fn up(&self, connections: &Connections) {
        self.server.lock().clone_from(&connections.server);
        self.subscriptions.link_up();
    }

    /// Tells all of a link, the receiver before the sender: a node would else receive what it has sent meanwhile
    /// before it knows of the return.
    fn set_up(&self, link: &Connection) {
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

    /// Returns the function that gets what the server sends on a new link. It never waits.
    fn receiver(self: &Arc<Shared>) -> Receiver {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        // The link must not keep the engine alive that has it.
        let shared = Arc::downgrade(self);
        Arc::new(move |info| {
            let shared = shared.upgrade();
            let is_current =
                |shared: &Arc<Shared>| shared.generation.load(Ordering::Relaxed) == generation;
            if let Some(shared) = shared.filter(is_current) {
                shared.receive(info);
            }
        })
    }

    fn receive(&self, info: PushInfo) {
        match info.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = info.data.into_iter();
                let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
                    (data.next(), data.next())
                else {
                    return;
                };
                let topic = topic(&self.prefix, &channel);
                let Some(topic) = topic.and_then(|topic| self.subscriptions.wanted(topic)) else {
                    return;
                };
                match read_payload(payload.into()) {
                    Some((message, position)) => {
                        self.inbox.message(topic, message, position, None);
                    }
                    None => tracing::debug!("a message of an unknown form was ignored"),
                }
            }
            PushKind::Disconnection => self.doubt(Unavailable::link_lost()),
            // A server that gives a slot away ends its subscriptions.
            PushKind::SUnsubscribe => {
                let channel = info.data.into_iter().next();
                if let Some(Value::BulkString(channel)) = channel
                    && topic(&self.prefix, &channel)
                        .is_some_and(|topic| self.subscriptions.wanted(topic).is_some())
                {
                    self.doubt(Unavailable::link_lost());
                }
            }
            _ => {}
        }
    }
}

/// Sets a link, unless the engine was closed.
fn set(link: &watch::Sender<Result<Connection, Unavailable>>, to: Result<Connection, Unavailable>) {
    link.send_if_modified(|current| {
        let is_open = !matches!(current, Err(why) if why.reason() == Reason::Closed);
        if is_open {
            *current = to;
        }
        is_open
    });
}

/// Reads a message: `p` and a plain one, or `e`, the epoch, the offset and an entry.
fn read_payload(payload: bytes::Bytes) -> Option<(bytes::Bytes, Option<Position>)> {
    match payload.first()? {
        b'p' => Some((payload.slice(1..), None)),
        b'e' => {
            let mut parts = payload.get(1..)?.splitn(3, |byte| *byte == b':');
            let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
            let (epoch, offset) = (number()?, number()?);
            let entry = payload.slice_ref(parts.next()?);
            Some((entry, Some(Position { epoch, offset })))
        }
        _ => None,
    }
}

/// Watches the link, and makes it again, until the engine is closed.
async fn watch_link(shared: Arc<Shared>, first: Connections) {
    let mut connections = first;
    loop {
        let (why, last_answer) = serve(&shared, connections).await;
        if shared.is_closed() {
            return;
        }
        shared.set_down(&why);
        shared.inbox.interrupt(last_answer);
        shared.interruptions.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(reason = why.to_string(), "the link to Redis is down");
        connections = match make_again(&shared).await {
            Some(connections) => connections,
            None => return,
        };
        shared.up(&connections);
    }
}

/// Serves a link until it breaks. Returns the reason, and the time up to which it was well.
async fn serve(shared: &Shared, connections: Connections) -> (Unavailable, Instant) {
    let Connections { commands, mut subscriber, .. } = connections;
    let mut last_answer = Instant::now();
    let mut pings = tokio::time::interval(shared.limits.timeout / 2);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_restored = false;
    loop {
        let round = shared.subscriptions.begin();
        let outcome = change(shared, &mut subscriber, &round.add, &round.remove).await;
        shared.subscriptions.end(round, &outcome);
        if let Err(why) = outcome {
            return (why, last_answer);
        }
        if !std::mem::replace(&mut is_restored, true) {
            shared.set_up(&commands);
        }
        tokio::select! {
            () = shared.subscriptions.changed.notified() => {}
            () = shared.doubted.notified() => {
                if let Some(why) = shared.doubt.lock().take() {
                    return (why, last_answer);
                }
            }
            _ = pings.tick() => {
                let asked = Instant::now();
                let (one, two) = (ping(commands.clone()), ping(subscriber.clone()));
                let answers = tokio::time::timeout(shared.limits.timeout, async {
                    let (one, two) = tokio::join!(one, two);
                    one.and(two)
                });
                match answers.await {
                    Ok(Ok(())) => last_answer = asked,
                    Ok(Err(error)) => return (unavailable(&error), last_answer),
                    Err(_) => return (Unavailable::timed_out(), last_answer),
                }
            }
        }
    }
}

async fn ping(mut connection: Connection) -> Result<(), RedisError> {
    redis::cmd("PING").query_async::<Value>(&mut connection).await.map(drop)
}

/// Adds and removes subscriptions.
async fn change(
    shared: &Shared,
    subscriber: &mut Connection,
    add: &[Arc<str>],
    remove: &[Arc<str>],
) -> Result<(), Unavailable> {
    for topics in add.chunks(BATCH) {
        let added = subscriber.subscribe(&shared.prefix, topics).await;
        added.map_err(|error| unavailable(&error))?;
    }
    for topics in remove.chunks(BATCH) {
        let removed = subscriber.unsubscribe(&shared.prefix, topics).await;
        removed.map_err(|error| unavailable(&error))?;
    }
    Ok(())
}

/// Makes the link again; `None` when the engine is closed.
async fn make_again(shared: &Arc<Shared>) -> Option<Connections> {
    let mut pause = RETRIES.0;
    loop {
        // The doubt was about the link before.
        shared.doubt.lock().take();
        if shared.is_closed() {
            return None;
        }
        match connect(&shared.address, &shared.limits, shared.receiver()).await {
            Ok(connections) => {
                tracing::info!("the link to Redis is back");
                return Some(connections);
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
        let mut connection = match current {
            Ok(connection) => connection,
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
            drop(connection);
            filled.await;
            continue;
        }
        let count = batch.len();
        if let Err(error) = send(&shared, &mut connection, batch).await {
            // Some may have been sent; nothing is sent twice.
            shared.outbox.lost(count);
            let why = shared.failed(&error);
            tracing::debug!(reason = why.to_string(), "messages were not sent");
            tokio::time::sleep(RETRIES.0).await;
        }
    }
}

async fn send(
    shared: &Shared,
    connection: &mut Connection,
    batch: Vec<Message>,
) -> Result<(), RedisError> {
    let mut pipelines: BTreeMap<Option<Part>, redis::Pipeline> = BTreeMap::new();
    let command = connection.publish_command();
    for message in batch {
        let part = connection.is_cluster().then(|| Part::of(&message.topic));
        let mut payload = Vec::with_capacity(1 + message.message.len());
        payload.push(b'p');
        payload.extend_from_slice(&message.message);
        let channel = name(&shared.prefix, 't', &message.topic);
        let pipeline = pipelines.entry(part).or_default();
        pipeline.cmd(command).arg(channel).arg(payload).ignore();
    }
    let sent = pipelines.values().map(|pipeline| {
        let mut connection = connection.clone();
        async move { pipeline.query_async::<()>(&mut connection).await }
    });
    join_all(sent).await.into_iter().collect()
}
