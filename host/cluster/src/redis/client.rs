//! The client of Redis: the two connections of a link, and the messages that come in.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, RedisError, ScriptInvocation, Value};

use super::connect::{Receiver, connect};
use super::connection::{Connection, channels_in_cluster};
use super::failure::unavailable;
use super::names::topic;
use crate::configuration::{Limits, RedisAddress};
use crate::error::{Reason, Unavailable};
use crate::link::{Client, Events, Link, Opened};
use crate::logs::Position;
use crate::outbox::Message;

/// Most topics in one command.
const BATCH: usize = 512;

/// The client of Redis.
#[derive(Debug)]
pub(super) struct RedisClient {
    pub(super) address: RedisAddress,
    pub(super) prefix: String,
    pub(super) limits: Limits,
    /// Channels of a Cluster that this node leaves, until the server has said so.
    leaving: Mutex<HashSet<String>>,
}

impl RedisClient {
    pub(super) fn new(address: &RedisAddress, prefix: &str, limits: &Limits) -> RedisClient {
        RedisClient {
            address: address.clone(),
            prefix: prefix.to_owned(),
            limits: limits.clone(),
            leaving: Mutex::default(),
        }
    }
}

impl Client for RedisClient {
    type Connection = Connection;
    type Receiver = Connection;
    const ENGINE: &'static str = "redis";
    const NAME: &'static str = "Redis";

    async fn open(&self, events: Events<RedisClient>) -> Result<Opened<RedisClient>, Unavailable> {
        self.leaving.lock().clear();
        connect(self, receiver(events)).await
    }

    async fn change(
        link: &Link<RedisClient>,
        receiver: &mut Connection,
        add: &[Arc<str>],
        remove: &[Arc<str>],
    ) -> Result<(), Unavailable> {
        let prefix = &link.client.prefix;
        for topics in add.chunks(BATCH) {
            let added = receiver.subscribe(prefix, topics).await;
            added.map_err(|error| unavailable(&error))?;
        }
        for topics in remove.chunks(BATCH) {
            if receiver.is_cluster() {
                let channels = channels_in_cluster(prefix, topics).flatten();
                link.client.leaving.lock().extend(channels);
            }
            let removed = receiver.unsubscribe(prefix, topics).await;
            removed.map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }

    async fn ask(
        _: &Arc<Link<RedisClient>>,
        connection: &Connection,
        receiver: &mut Connection,
    ) -> Result<(), Unavailable> {
        let (one, two) = tokio::join!(ping(connection.clone()), ping(receiver.clone()));
        one.and(two).map_err(|error| unavailable(&error))
    }

    async fn send(
        link: &Link<RedisClient>,
        mut connection: Connection,
        batch: Vec<Message>,
    ) -> Result<(), Unavailable> {
        let sent = connection.publish(&link.client.prefix, batch).await;
        sent.map_err(|error| link.failed(&error))
    }
}

impl Link<RedisClient> {
    /// Calls a script.
    pub(super) async fn call(&self, call: &ScriptInvocation<'_>) -> Result<Value, Unavailable> {
        let mut connection = self.connection()?;
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

    fn receive(&self, info: PushInfo) {
        let prefix = &self.client.prefix;
        match info.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = info.data.into_iter();
                let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
                    (data.next(), data.next())
                else {
                    return;
                };
                let topic = topic(prefix, &channel);
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
                    && let Ok(channel) = String::from_utf8(channel)
                    && !self.client.leaving.lock().remove(&channel)
                {
                    self.doubt(Unavailable::link_lost());
                }
            }
            _ => {}
        }
    }
}

/// Returns the function that gets what the server sends on a new connection. It never waits.
fn receiver(events: Events<RedisClient>) -> Receiver {
    Arc::new(move |info| {
        if let Some(link) = events.link() {
            link.receive(info);
        }
    })
}

async fn ping(mut connection: Connection) -> Result<(), RedisError> {
    redis::cmd("PING").query_async::<Value>(&mut connection).await.map(drop)
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
