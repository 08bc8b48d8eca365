//! The engine on disk.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use wharf_engine::Written;

use super::changes;
use super::tables::Recorded;
use crate::answer::Answer;
use crate::configuration::Limits;
use crate::deliveries::{Deliveries, Inbox};
use crate::engine::{Engine, LinkState, Status};
use crate::error::Unavailable;
use crate::keys::{Entry, Expected, IncrementError, Keys, PutError};
use crate::leases::{Fence, HeldBy, Leases};
use crate::logs::{Bounds, Logs, Position, Slice};
use crate::names::check_name;
use crate::random::random;
use crate::tables::keys::{Conflict, KeyTable};
use crate::tables::leases::LeaseTable;
use crate::tables::logs::LogTable;
use crate::topics::Topics;

/// The engine on disk.
#[derive(Debug)]
pub struct Disk {
    disk: Arc<wharf_engine::Disk>,
    keys: Recorded<KeyTable>,
    logs: Recorded<LogTable>,
    leases: Recorded<LeaseTable>,
    shared: Arc<Shared>,
}

/// The part that the task which publishes entries has too.
#[derive(Debug)]
struct Shared {
    inbox: Arc<Inbox>,
    state: Mutex<State>,
    appended: Notify,
}

#[derive(Debug, Default)]
struct State {
    topics: HashSet<Arc<str>>,
    published: u64,
    is_closed: bool,
    /// Entries that are published when they are written.
    unwritten: VecDeque<Unwritten>,
}

#[derive(Debug)]
struct Unwritten {
    written: Written,
    log: String,
    entry: Bytes,
    position: Position,
}

/// Opens the engine over a folder. It needs a runtime of tokio.
pub(super) fn open(
    disk: &Arc<wharf_engine::Disk>,
    limits: &Limits,
) -> Result<(Disk, Deliveries), Unavailable> {
    let (inbox, deliveries) = Inbox::new(limits.inbox_bytes);
    let keys = Recorded::<KeyTable>::load(disk.records(changes::KEYS)?)?;
    let leases = Recorded::<LeaseTable>::load(disk.records(changes::LEASES)?)?;
    let mut failure = None;
    let epoch = || {
        random().unwrap_or_else(|why| {
            failure = Some(why);
            1
        })
    };
    let logs = Recorded::<LogTable>::load(disk.records(changes::LOGS)?, epoch)?;
    if let Some(why) = failure {
        return Err(why);
    }
    let shared = Arc::new(Shared { inbox, state: Mutex::default(), appended: Notify::new() });
    tokio::spawn(publish_written(shared.clone()));
    Ok((Disk { disk: disk.clone(), keys, logs, leases, shared }, deliveries))
}

/// Publishes entries in the order of their offsets, when they are written. Ends with the engine.
async fn publish_written(shared: Arc<Shared>) {
    loop {
        let appended = shared.appended.notified();
        let front = {
            let state = shared.state.lock();
            if state.is_closed {
                return;
            }
            state.unwritten.front().map(|unwritten| unwritten.written.clone())
        };
        let Some(written) = front else {
            appended.await;
            continue;
        };
        let is_written = written.wait().await.is_ok();
        let mut state = shared.state.lock();
        if let Some(Unwritten { log, entry, position, .. }) = state.unwritten.pop_front()
            && is_written
            && let Some(topic) = state.topics.get(log.as_str())
        {
            shared.inbox.message(topic.clone(), entry, Some(position), None);
        }
    }
}

impl Disk {
    fn check(&self, name: &str) -> Result<(), Unavailable> {
        check_name(name)?;
        match self.shared.state.lock().is_closed {
            true => Err(Unavailable::closed()),
            false => Ok(()),
        }
    }

    fn end(&self) {
        self.shared.state.lock().is_closed = true;
        self.shared.appended.notify_one();
        self.shared.inbox.end();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.end();
    }
}

impl Engine for Disk {
    fn status(&self) -> Status {
        let state = self.shared.state.lock();
        let (received, overrun) = self.shared.inbox.counters();
        Status {
            engine: "disk",
            server: "the data folder".to_owned(),
            link: match (state.is_closed, self.disk.failure()) {
                (true, _) => LinkState::Closed,
                (false, Some(why)) => LinkState::Down(why.into()),
                (false, None) => LinkState::Up,
            },
            interruptions: 0,
            published: state.published,
            dropped: 0,
            waiting_bytes: 0,
            received,
            overrun,
            topics: state.topics.len(),
            round_trip: None,
        }
    }

    fn close(&self) -> Answer<'_, ()> {
        self.end();
        Box::pin(std::future::ready(()))
    }
}

impl Topics for Disk {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        self.check(topic)?;
        let mut state = self.shared.state.lock();
        state.published += 1;
        if let Some(topic) = state.topics.get(topic) {
            self.shared.inbox.message(topic.clone(), message, None, None);
        }
        Ok(())
    }

    fn has_room(&self, _: usize) -> bool {
        // Nothing waits: there are no other nodes.
        true
    }

    fn subscribe(&self, topics: Vec<String>) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            topics.iter().try_for_each(|topic| self.check(topic))?;
            self.shared.state.lock().topics.extend(topics.into_iter().map(Arc::from));
            Ok(())
        })
    }

    fn unsubscribe(&self, topics: Vec<String>) {
        let mut state = self.shared.state.lock();
        topics.iter().for_each(|topic| drop(state.topics.take(topic.as_str())));
    }
}

impl Logs for Disk {
    fn append<'a>(
        &'a self,
        log: &'a str,
        entry: Bytes,
        bounds: Bounds,
    ) -> Answer<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            self.check(log)?;
            let epoch = random()?;
            let (position, written) = {
                // Queued under one lock, so that entries are published in the order of their offsets.
                let mut state = self.shared.state.lock();
                let (position, written) = self.logs.append(log, &entry, &bounds, epoch)?;
                if let Some(written) = written.clone() {
                    let log = log.to_owned();
                    state.unwritten.push_back(Unwritten { written, log, entry, position });
                }
                (position, written)
            };
            self.shared.appended.notify_one();
            if let Some(written) = written {
                written.wait().await?;
            }
            Ok(position)
        })
    }

    fn read<'a>(
        &'a self,
        log: &'a str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(async move {
            self.check(log)?;
            self.logs.read(|table, now| table.read(now, log, after, messages, bytes)).await
        })
    }

    fn read_last<'a>(
        &'a self,
        log: &'a str,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(async move {
            self.check(log)?;
            self.logs.read(|table, now| table.read_last(now, log, messages, bytes)).await
        })
    }

    fn remove<'a>(&'a self, log: &'a str) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            self.check(log)?;
            self.logs.remove(log).await
        })
    }
}

impl Keys for Disk {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move {
            self.check(key)?;
            self.keys.read(|table, now| table.get(now, key)).await
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<u64, PutError>> {
        Box::pin(async move {
            self.check(key)?;
            let change = |table: &mut KeyTable, now| table.put(now, key, value, expected, ttl);
            self.keys.change(key, change).await?.map_err(conflict)
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Expected,
    ) -> Answer<'a, Result<bool, PutError>> {
        Box::pin(async move {
            self.check(key)?;
            let change = |table: &mut KeyTable, now| table.delete(now, key, expected);
            self.keys.change(key, change).await?.map_err(conflict)
        })
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<(i64, u64), IncrementError>> {
        Box::pin(async move {
            self.check(key)?;
            let change = |table: &mut KeyTable, now| table.increment(now, key, by, ttl);
            self.keys.change(key, change).await?
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> Answer<'a, Result<Vec<(String, Entry)>, Unavailable>> {
        Box::pin(async move {
            let read = self.keys.read(|table, now| table.list(now, prefix, after, limit as usize));
            read.await
        })
    }
}

impl Leases for Disk {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Result<Result<Fence, HeldBy>, Unavailable>> {
        Box::pin(async move {
            self.check(name)?;
            self.leases.change(name, |table, now| table.acquire(now, name, holder, ttl)).await
        })
    }

    fn renew<'a>(
        &'a self,
        name: &'a str,
        fence: Fence,
        ttl: Duration,
    ) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            self.check(name)?;
            self.leases.change(name, |table, now| table.renew(now, name, fence, ttl)).await
        })
    }

    fn release<'a>(&'a self, name: &'a str, fence: Fence) -> Answer<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            self.check(name)?;
            self.leases.change(name, |table, _| table.release(name, fence)).await.map(drop)
        })
    }
}

fn conflict(conflict: Conflict) -> PutError {
    PutError::Conflict { current: conflict.0 }
}
