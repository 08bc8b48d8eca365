//! A node of a [`Server`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::server::Server;
use crate::answer::Answer;
use crate::deliveries::Inbox;
use crate::engine::{Engine, LinkState, Status};
use crate::error::Unavailable;
use crate::keys::{Entry, Expected, IncrementError, Keys, PutError};
use crate::leases::{Fence, HeldBy, Leases};
use crate::logs::{Bounds, Logs, Position, Slice};
use crate::names::check_name;
use crate::outbox::Outbox;
use crate::tables::keys::Conflict;
use crate::topics::Topics;

/// A node of a [`Server`].
#[derive(Debug)]
pub struct Node {
    pub(super) server: Server,
    pub(super) number: u64,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Arc<Outbox>,
}

impl Engine for Node {
    fn status(&self) -> Status {
        let status = self.server.with(|shared| shared.status(self.number));
        status.unwrap_or_else(|| {
            let (published, dropped, _) = self.outbox.counters();
            let (received, overrun) = self.inbox.counters();
            Status {
                engine: "memory",
                server: "the memory of this process".to_owned(),
                link: LinkState::Closed,
                interruptions: 0,
                published,
                dropped,
                waiting_bytes: 0,
                received,
                overrun,
                topics: 0,
                round_trip: None,
            }
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.server.with(|shared| shared.detach(self.number));
        Box::pin(std::future::ready(()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.with(|shared| shared.detach(self.number));
    }
}

impl Topics for Node {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        self.outbox.put(topic, message)?;
        self.server.with(|shared| shared.send_waiting(self.number));
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.outbox.has_room(bytes)
    }

    fn subscribe(&self, topics: Vec<String>) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            topics.iter().try_for_each(|topic| check_name(topic))?;
            // They are remembered also while the link is cut: then nothing is received anyway.
            self.server.with(|shared| shared.subscribe(self.number, &topics));
            self.server.step(self.number, |_, _| ()).await
        })
    }

    fn unsubscribe(&self, topics: Vec<String>) {
        self.server.with(|shared| shared.unsubscribe(self.number, &topics));
    }
}

impl Logs for Node {
    fn append<'a>(
        &'a self,
        log: &'a str,
        entry: Bytes,
        bounds: Bounds,
    ) -> Answer<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            check_name(log)?;
            let step = self.server.step(self.number, |shared, now| {
                for name in shared.logs.ended(now, log) {
                    shared.logs.remove(&name);
                }
                let epoch = shared.random();
                let appended = shared.logs.append(now, log, entry.clone(), &bounds, epoch);
                shared.publish(log, &entry, Some(appended.position));
                appended.position
            });
            step.await
        })
    }

    fn read<'a>(
        &'a self,
        log: &'a str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(self.server.step(self.number, move |shared, now| {
            shared.logs.read(now, log, after, messages, bytes)
        }))
    }

    fn read_last<'a>(
        &'a self,
        log: &'a str,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(
            self.server.step(self.number, move |shared, now| {
                shared.logs.read_last(now, log, messages, bytes)
            }),
        )
    }

    fn remove<'a>(&'a self, log: &'a str) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(self.server.step(self.number, move |shared, now| {
            let has_ended = shared.logs.ended(now, log).iter().any(|name| name == log);
            shared.logs.remove(log).is_some() && !has_ended
        }))
    }
}

impl Keys for Node {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(self.server.step(self.number, move |shared, now| shared.keys.get(now, key)))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<u64, PutError>> {
        Box::pin(async move {
            check_name(key)?;
            let step = self
                .server
                .step(self.number, |shared, now| shared.keys.put(now, key, value, expected, ttl));
            step.await?.map_err(conflict)
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Expected,
    ) -> Answer<'a, Result<bool, PutError>> {
        Box::pin(async move {
            let step =
                self.server.step(self.number, |shared, now| shared.keys.delete(now, key, expected));
            step.await?.map_err(conflict)
        })
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<(i64, u64), IncrementError>> {
        Box::pin(async move {
            check_name(key)?;
            let step = self
                .server
                .step(self.number, |shared, now| shared.keys.increment(now, key, by, ttl));
            step.await?
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> Answer<'a, Result<Vec<(String, Entry)>, Unavailable>> {
        Box::pin(self.server.step(self.number, move |shared, now| {
            shared.keys.list(now, prefix, after, limit as usize)
        }))
    }
}

impl Leases for Node {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Result<Result<Fence, HeldBy>, Unavailable>> {
        Box::pin(async move {
            check_name(name)?;
            let step = self
                .server
                .step(self.number, |shared, now| shared.leases.acquire(now, name, holder, ttl));
            step.await
        })
    }

    fn renew<'a>(
        &'a self,
        name: &'a str,
        fence: Fence,
        ttl: Duration,
    ) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(
            self.server
                .step(self.number, move |shared, now| shared.leases.renew(now, name, fence, ttl)),
        )
    }

    fn release<'a>(&'a self, name: &'a str, fence: Fence) -> Answer<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            let step =
                self.server.step(self.number, |shared, _| shared.leases.release(name, fence));
            step.await.map(drop)
        })
    }
}

fn conflict(conflict: Conflict) -> PutError {
    PutError::Conflict { current: conflict.0 }
}
