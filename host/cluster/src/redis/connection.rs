//! A link to one server or to a Cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use super::names::{Part, channel_in_cluster, name};
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

    /// Publishes messages in their order.
    pub(super) async fn publish(&mut self, prefix: &str, batch: Vec<Message>) -> RedisResult<()> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        let (command, is_cluster) = (self.publish_command(), self.is_cluster());
        for Message { topic, message } in batch {
            let mut payload = Vec::with_capacity(1 + message.len());
            payload.push(b'p');
            payload.extend_from_slice(&message);
            let channel = match is_cluster {
                true => channel_in_cluster(prefix, &topic),
                false => name(prefix, 't', &topic),
            };
            pipeline.cmd(command).arg(channel).arg(payload).ignore();
        }
        pipeline.query_async::<()>(self).await
    }

    /// Subscribes to topics. Those on one server go in one command.
    pub(super) async fn subscribe(&mut self, prefix: &str, topics: &[Arc<str>]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.subscribe(channels(prefix, topics)).await,
            Connection::Cluster(connection) => {
                for channels in channels_in_cluster(prefix, topics) {
                    connection.ssubscribe(channels).await?;
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
                for channels in channels_in_cluster(prefix, topics) {
                    connection.sunsubscribe(channels).await?;
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

/// Returns the channels of topics in a Cluster, by server: the one of their messages, and those of the logs of their
/// names, which are where the logs are.
pub(super) fn channels_in_cluster(
    prefix: &str,
    topics: &[Arc<str>],
) -> impl Iterator<Item = Vec<String>> + use<> {
    let mut parts: BTreeMap<Option<Part>, Vec<String>> = BTreeMap::new();
    for topic in topics {
        parts.entry(None).or_default().push(channel_in_cluster(prefix, topic));
        parts.entry(Some(Part::of(topic))).or_default().push(name(prefix, 't', topic));
    }
    parts.into_values()
}
