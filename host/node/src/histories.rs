//! The logs of a channel's rooms on the engine, and this node's places in them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use wharf_cluster::{Bounds, LinkState, Slice};
use wharf_contract::history::Retention;
use wharf_hub::history::{Epoch, Position};
use wharf_hub::logs::{LogMessage, LogPart, Logs};
use wharf_hub::outbound::PendingWrites;
use wharf_hub::owners::Unavailable;
use wharf_hub::peers::Wait;

use crate::entry;
use crate::latch::Latch;
use crate::node::Shared;
use crate::topics::{Group, Topic};

/// Time for which a log is there beyond twice the age of its messages, if nothing is appended.
const IDLE: Duration = Duration::from_secs(3600);

/// Longest wait for a subscription, after which a join goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks for logs that are to be checked.
const LOOKING: Duration = Duration::from_secs(1);

/// Logs that are read at the same time.
const READ_AT_ONCE: usize = 32;

/// The logs that this node follows.
#[derive(Debug)]
pub(crate) struct Following {
    /// `None` once a log is followed, otherwise those who wait for it.
    logs: Mutex<HashMap<Group, Option<Latch>>>,
    look: Notify,
    reads: Semaphore,
}

impl Default for Following {
    fn default() -> Following {
        let (logs, look) = Default::default();
        Following { logs, look, reads: Semaphore::new(READ_AT_ONCE) }
    }
}

impl Following {
    /// Notes that a log is followed from now on.
    pub(crate) fn subscribed(&self, log: &Group) {
        let waiting = self.logs.lock().get_mut(log).and_then(Option::take);
        waiting.inspect(Latch::open);
    }

    /// Has the logs that are to be checked be looked for at once.
    pub(crate) fn look_soon(&self) {
        self.look.notify_one();
    }
}

/// The logs of one channel.
pub(crate) struct ChannelLogs {
    shared: Arc<Shared>,
    channel: Arc<str>,
    max_bytes: usize,
}

impl fmt::Debug for ChannelLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelLogs").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl ChannelLogs {
    pub(crate) fn new(shared: Arc<Shared>, channel: Arc<str>, max_bytes: usize) -> ChannelLogs {
        ChannelLogs { shared, channel, max_bytes }
    }

    fn group(&self, room: &str) -> Group {
        Group::room(&self.channel, &Arc::from(room))
    }

    fn name(&self, room: &str) -> String {
        Topic::Log(self.group(room)).name()
    }

    /// Returns the bounds of a log that keeps what a rule says.
    fn bounds(&self, retention: &Retention) -> Bounds {
        let age = Duration::from_millis(retention.age_ms);
        Bounds {
            messages: u32::try_from(retention.messages).unwrap_or(u32::MAX).max(1),
            bytes: retention.bytes.min(self.max_bytes).max(1) as u64,
            age: Some(age),
            idle: Some(age * 2 + IDLE),
        }
    }
}

fn unavailable(why: &wharf_cluster::Unavailable) -> Unavailable {
    Unavailable::new(&why.to_string())
}

fn place(position: wharf_cluster::Position) -> Position {
    Position { epoch: Epoch(position.epoch), offset: position.offset }
}

fn part(slice: Slice) -> LogPart {
    let Slice { epoch, first, last, entries } = slice;
    let entries = entries.into_iter();
    LogPart {
        last: Position { epoch: Epoch(epoch), offset: last },
        first,
        messages: entries.map(|it| (it.offset, entry::read(&it.entry))).collect(),
    }
}

impl Logs for ChannelLogs {
    fn failure(&self) -> Option<String> {
        match self.shared.engine.status().link {
            LinkState::Up => None,
            LinkState::Down(why) => Some(why.to_string()),
            LinkState::Closed => Some("the engine is closed".to_owned()),
        }
    }

    fn append(
        &self,
        room: &str,
        message: &LogMessage,
        retention: &Retention,
    ) -> Wait<Result<Position, Unavailable>> {
        let (shared, name) = (self.shared.clone(), self.name(room));
        let (entry, bounds) = (entry::encode(message), self.bounds(retention));
        Box::pin(async move {
            let appended = shared.engine.append(&name, entry, bounds).await;
            appended.map(place).map_err(|why| unavailable(&why))
        })
    }

    fn read(
        &self,
        room: &str,
        after: u64,
        messages: usize,
        bytes: usize,
    ) -> Wait<Result<LogPart, Unavailable>> {
        let (shared, name) = (self.shared.clone(), self.name(room));
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        Box::pin(async move {
            let read = shared.engine.read(&name, after, messages, bytes as u64).await;
            read.map(part).map_err(|why| unavailable(&why))
        })
    }

    fn read_last(
        &self,
        room: &str,
        messages: usize,
        bytes: usize,
    ) -> Wait<Result<LogPart, Unavailable>> {
        let (shared, name) = (self.shared.clone(), self.name(room));
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        Box::pin(async move {
            let read = shared.engine.read_last(&name, messages, bytes as u64).await;
            read.map(part).map_err(|why| unavailable(&why))
        })
    }

    fn follow(&self, room: &str) -> Option<Wait> {
        let group = self.group(room);
        let waiting = {
            let mut logs = self.shared.following.logs.lock();
            let state = logs.entry(group.clone()).or_insert_with(|| {
                self.shared.want(Topic::Log(group), true);
                Some(Latch::default())
            });
            state.clone()?
        };
        // Without a link it would be a wait for nothing.
        self.failure().is_none().then(|| -> Wait {
            Box::pin(async move {
                let _ = tokio::time::timeout(PATIENCE, waiting.opened()).await;
            })
        })
    }

    fn unfollow(&self, room: &str) {
        let group = self.group(room);
        let mut logs = self.shared.following.logs.lock();
        if logs.remove(&group).is_some() {
            self.shared.want(Topic::Log(group), false);
        }
    }
}

/// Handles an entry of a log that was appended.
pub(crate) async fn hear(
    shared: &Arc<Shared>,
    channel: &Arc<str>,
    room: &str,
    at: wharf_cluster::Position,
    entry: Bytes,
    writes: &mut PendingWrites,
) {
    let Some(hub) = shared.hub(channel) else { return };
    if hub.hear(room, place(at), entry::read(&entry), writes).await {
        // Missing messages are read beside what goes on.
        let (shared, room) = (shared.clone(), Box::<str>::from(room));
        tokio::spawn(async move {
            let _read = shared.following.reads.acquire().await;
            hub.catch_up_with(&room).await;
        });
    }
}

/// Checks this node's places in logs, until it is dropped: after a lost link, and those of which nothing is heard.
pub(crate) async fn check(shared: Arc<Shared>) {
    loop {
        let _ = tokio::time::timeout(LOOKING, shared.following.look.notified()).await;
        // Without a link there is nobody to ask.
        if shared.engine.status().link != LinkState::Up {
            continue;
        }
        let mut checks = JoinSet::new();
        for channel in shared.served() {
            let Some(hub) = shared.hub(&channel) else { continue };
            for room in hub.unchecked_logs() {
                if checks.len() >= READ_AT_ONCE {
                    checks.join_next().await;
                }
                let hub = hub.clone();
                checks.spawn(async move { hub.check_log(&room).await });
            }
        }
        checks.join_all().await;
    }
}
