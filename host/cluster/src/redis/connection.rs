//! A link to one server or to a Cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use super::names::{Part, name};
use crate::outbox::Message;

/// A link to one server or to a Cluster. Cheap to clone.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Connection::Single(_) => "Single",
            Connection::Cluster(_) => "Cluster",
        })
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => {
                connection.req_packed_commands(pipeline, offset, count)
            }
            Connection::Cluster(connection) => {
                connection.req_packed_commands(pipeline, offset, count)
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}

impl Connection {
    /// Returns the command that publishes. In a Cluster, a message goes to one server and its replicas only.
    pub(super) fn publish_command(&self) -> &'static str {
        match self {
            Connection::Single(_) => "PUBLISH",
            Connection::Cluster(_) => "SPUBLISH",
        }
    }

    /// Publishes messages, those of one part in their order.
    pub(super) async fn publish(&self, prefix: &str, batch: Vec<Message>) -> RedisResult<()> {
        let mut pipelines: BTreeMap<Option<Part>, Pipeline> = BTreeMap::new();
        let command = self.publish_command();
        for message in batch {
            let part = self.is_cluster().then(|| Part::of(&message.topic));
            let mut payload = Vec::with_capacity(1 + message.message.len());
            payload.push(b'p');
            payload.extend_from_slice(&message.message);
            let channel = name(prefix, 't', &message.topic);
            let pipeline = pipelines.entry(part).or_default();
            pipeline.cmd(command).arg(channel).arg(payload).ignore();
        }
        let sent = pipelines.values().map(|pipeline| {
            let mut connection = self.clone();
            async move { pipeline.query_async::<()>(&mut connection).await }
        });
        join_all(sent).await.into_iter().collect()
    }

    /// Subscribes to topics. Those of one part go in one command.
    pub(super) async fn subscribe(&mut self, prefix: &str, topics: &[Arc<str>]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.subscribe(channels(prefix, topics)).await,
            Connection::Cluster(connection) => {
                for topics in by_part(topics) {
                    connection.ssubscribe(channels(prefix, &topics)).await?;
                }
                Ok(())
            }
        }
    }

    /// Ends subscriptions.
    pub(super) async fn unsubscribe(
        &mut self,
        prefix: &str,
        topics: &[Arc<str>],
    ) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => {
                connection.unsubscribe(channels(prefix, topics)).await
            }
            Connection::Cluster(connection) => {
                for topics in by_part(topics) {
                    connection.sunsubscribe(channels(prefix, &topics)).await?;
                }
                Ok(())
            }
        }
    }

    /// Returns true if it leads to a Cluster, where each pipeline is for one part.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Connection::Cluster(_))
    }
}

fn channels(prefix: &str, topics: &[Arc<str>]) -> Vec<String> {
    topics.iter().map(|topic| name(prefix, 't', topic)).collect()
}

fn by_part(topics: &[Arc<str>]) -> impl Iterator<Item = Vec<Arc<str>>> {
    let mut parts: BTreeMap<Part, Vec<Arc<str>>> = BTreeMap::new();
    for topic in topics {
        parts.entry(Part::of(topic)).or_default().push(topic.clone());
    }
    parts.into_values()
}
