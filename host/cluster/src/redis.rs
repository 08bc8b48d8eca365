//! Redis 6.2 or later, Redis 7 for Cluster, or Valkey: a single server, Sentinel, or Cluster.
//!
//! A node has two links: one for commands, which many tasks share and which sends them in pipelines, and one on which
//! messages come in. One task watches both, and makes them again. Steps that must be atomic are scripts.
//!
//! All names begin with the prefix and the number of one of 32 parts in braces, as `wharf:{7}:k:NAME`, so that what a
//! script touches is on one server of a Cluster. Which part it is follows from the name alone. There:
//!
//! | name | content |
//! | --- | --- |
//! | `k:NAME` | a record: a hash of the value `d` and the version `v` |
//! | `i`, `x` | the names of the records, sorted; the names with the times at which they expire |
//! | `l:NAME`, `m:NAME` | the entries of a log, each with its time; its epoch `e`, last offset `o`, bytes `b` and age `a` |
//! | `e:NAME` | a lease: a hash of the holder `h` and the fencing number `f` |
//! | `v` | the last version and fencing number that was given |
//! | `t:TOPIC` | the channel of a topic |
//!
//! In a Cluster, the messages on topics go by channels `wharf:{wharf}:t:TOPIC` instead, with the prefix in braces: one server
//! has them all, so that what one node publishes keeps its order. `t:TOPIC` has only the entries of logs there.
//!
//! A Cluster moves slots while it is in use; a step that meets a move is refused once, and the links are made again.

mod answer;
mod client;
mod connect;
mod connection;
mod failure;
mod keys;
mod leases;
mod logs;
mod names;
mod scripts;
mod topics;

use std::sync::Arc;

use crate::answer::Answer;
use crate::configuration::{Configuration, RedisAddress, shown};
use crate::deliveries::Deliveries;
use crate::engine::{Engine, Status};
use crate::error::OpenError;
use crate::link::Link;
use client::RedisClient;
use scripts::Scripts;

/// The engine in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Arc<Link<RedisClient>>,
    scripts: Scripts,
}

/// Opens the engine.
///
/// # Errors
///
/// The server cannot be used; the reason names the fix.
pub async fn open(
    address: &RedisAddress,
    configuration: &Configuration,
) -> Result<(Redis, Deliveries), OpenError> {
    let unavailable = |why| OpenError::Unavailable { server: shown(&address.servers), why };
    let limits = &configuration.limits;
    let client = RedisClient::new(address, &configuration.prefix, limits);
    let (link, deliveries) = Link::start(client, limits).await.map_err(unavailable)?;
    Ok((Redis { link, scripts: Scripts::new() }, deliveries))
}

impl Engine for Redis {
    fn status(&self) -> Status {
        self.link.status()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(self.link.close())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.link.end();
    }
}
