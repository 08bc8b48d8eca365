//! The logs of a channel, by room.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use wharf_contract::history::{HistoryRule, Retention, rule_of};
use wharf_engine::{Change, Kind, Records, Unavailable};

use super::log::{HistoryPage, RoomLog};
use super::position::Epoch;
use super::record::{Head, Kept, deletion, read_message};
use crate::shards::{SHARDS, shard_of};

/// Logs that are looked at in a row before other tasks get their turn.
const SWEPT_AT_ONCE: usize = 1024;

/// A clock: the time of day in milliseconds since 1970.
pub type TimeOfDay = Box<dyn Fn() -> u64 + Send + Sync>;

/// The logs of a channel's rooms.
pub(crate) struct Histories {
    rules: Vec<HistoryRule>,
    logs: [Mutex<BTreeMap<Arc<str>, Arc<RoomLog>>>; SHARDS],
    /// Size of all kept messages together, as it counts.
    pub(crate) bytes: Arc<AtomicUsize>,
    /// The bound of that.
    pub(crate) limit: usize,
    era: u64,
    clock: TimeOfDay,
    was_full: AtomicBool,
}

impl fmt::Debug for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histories").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The facts about a channel's or a room's history, as the operator sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFacts {
    /// Number of rooms that keep messages.
    pub rooms: usize,
    /// Number of kept messages.
    pub messages: usize,
    /// Size of the kept messages; each counts for 64 bytes more.
    pub bytes: usize,
}

/// The messages of one log, by their offsets.
type Messages = Vec<(u64, Kept)>;

impl Histories {
    /// Makes the table of a channel with these rules, whose messages have no more than `limit` bytes together.
    pub(crate) fn new(rules: Vec<HistoryRule>, limit: usize, clock: TimeOfDay) -> Histories {
        let (logs, bytes, was_full) = Default::default();
        Histories { rules, logs, bytes, limit, era: 0, clock, was_full }
    }

    /// Returns the time of day.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Returns true if there is a rule at all.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns true if a rule covers a room.
    pub(crate) fn covers(&self, room: &str) -> bool {
        rule_of(&self.rules, room).is_some()
    }

    /// Returns what a room keeps; `None` if no rule covers it.
    pub(crate) fn retention(&self, room: &str) -> Option<Retention> {
        rule_of(&self.rules, room).copied()
    }

    /// Returns the log of a room, if there is one.
    pub(crate) fn get(&self, room: &str) -> Option<Arc<RoomLog>> {
        shard_of(&self.logs, room.as_bytes()).lock().get(room).cloned()
    }

    /// Returns the log of a room, which is made if there is none. `None` if no rule covers the room.
    pub(crate) fn open(&self, room: &Arc<str>) -> Option<Arc<RoomLog>> {
        let mut logs = shard_of(&self.logs, room.as_bytes()).lock();
        if let Some(log) = logs.get(room) {
            return Some(log.clone());
        }
        let retention = *rule_of(&self.rules, room)?;
        // The standard library's hash keys are random and need no further dependency.
        let epoch = Epoch(RandomState::new().hash_one((&**room, self.now())));
        let log = Arc::new(RoomLog::new(room.clone(), retention, epoch, self.era));
        logs.insert(room.clone(), log.clone());
        Some(log)
    }

    /// Returns messages of a room; an empty page if it keeps none.
    pub(crate) fn page(&self, room: &str, before: Option<u64>, limit: usize) -> HistoryPage {
        let log = self.get(room);
        log.map(|log| log.page(before, limit, self.now())).unwrap_or_default()
    }

    /// Returns the names of at most `limit` rooms that keep messages, in ascending order, beginning after
    /// `after`.
    pub(crate) fn rooms(&self, after: Option<&str>, limit: usize) -> BTreeSet<Arc<str>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut first = BTreeSet::new();
        for shard in &self.logs {
            let logs = shard.lock();
            let from_start = logs.range::<str, _>((start, Bound::Unbounded));
            let with_messages = from_start.filter(|(_, log)| log.lock().size().1 > 0);
            first.extend(with_messages.take(limit).map(|(name, _)| name.clone()));
            while first.len() > limit {
                first.pop_last();
            }
        }
        first
    }

    /// Returns the facts about all rooms. It looks at each.
    pub(crate) fn facts(&self) -> HistoryFacts {
        let mut facts = HistoryFacts::default();
        for shard in &self.logs {
            let logs: Vec<_> = shard.lock().values().cloned().collect();
            for log in logs {
                let (bytes, messages) = log.lock().size();
                facts.rooms += usize::from(messages > 0);
                facts.messages += messages;
                facts.bytes += bytes;
            }
        }
        facts
    }

    /// Returns the facts about one room.
    pub(crate) fn facts_of(&self, room: &str) -> HistoryFacts {
        let (bytes, messages) = self.get(room).map_or((0, 0), |log| log.lock().size());
        HistoryFacts { rooms: usize::from(messages > 0), messages, bytes }
    }

    /// Returns true if as much is kept as may be, and was not when this was asked last.
    pub(crate) fn has_filled(&self) -> bool {
        // A log makes room for its newest message by dropping its own oldest ones, so that a full table is
        // rarely quite full.
        let is_full = self.bytes.load(Ordering::Relaxed) > self.limit - self.limit / 64;
        !self.was_full.swap(is_full, Ordering::Relaxed) && is_full
    }

    /// Takes over the recorded logs. Returns the deletions that today's rules require. It waits for the disk.
    pub(crate) fn load(&mut self, records: &Records) -> Result<Vec<Change>, Unavailable> {
        let strange = || Unavailable::new("a log has a form that this version does not know");
        self.era = records.era();
        let (mut heads, mut changes, mut is_strange) = (BTreeMap::new(), Vec::new(), false);
        records.load(Kind::Log, |key, record| match Head::read(&key, &record) {
            Some((room, head)) => _ = heads.insert(Arc::<str>::from(room), head),
            None => is_strange = true,
        })?;
        // Messages come room by room, in the order of their offsets.
        let mut messages = Messages::new();
        let mut current: Option<Arc<str>> = None;
        let mut finished: Vec<(Arc<str>, Messages)> = Vec::new();
        records.load(Kind::History, |key, record| {
            let Some((room, offset, kept)) = read_message(&key, record) else {
                is_strange = true;
                return;
            };
            if current.as_deref() != Some(room)
                && let Some(before) = current.replace(Arc::from(room))
            {
                finished.push((before, std::mem::take(&mut messages)));
            }
            messages.push((offset, kept));
        })?;
        finished.extend(current.map(|room| (room, messages)));
        if is_strange {
            return Err(strange());
        }
        let now = self.now();
        for (room, messages) in finished {
            let head = heads.remove(&room);
            changes.extend(self.take_over(room, head, messages, now));
        }
        for (room, head) in heads {
            changes.extend(self.take_over(room, Some(head), Messages::new(), now));
        }
        Ok(changes)
    }

    fn take_over(
        &mut self,
        room: Arc<str>,
        head: Option<Head>,
        messages: Messages,
        now: u64,
    ) -> Vec<Change> {
        let (Some(retention), Some(head)) = (rule_of(&self.rules, &room), head) else {
            // No rule covers the room any more.
            let gone = messages.iter().map(|(offset, _)| deletion(&room, *offset));
            return gone.chain([Head::change(&room, None)]).collect();
        };
        let total = &self.bytes;
        let (log, changes) =
            RoomLog::loaded(room.clone(), *retention, head, self.era, messages, now, total);
        shard_of(&self.logs, room.as_bytes()).lock().insert(room, Arc::new(log));
        changes
    }

    /// Drops messages that are too old, and logs without messages of rooms without members. Other tasks get
    /// their turn in between. `record` gets the deletions of records.
    pub(crate) async fn sweep(
        &self,
        has_members: impl Fn(&str) -> bool,
        record: impl Fn(Vec<Change>),
    ) {
        let now = self.now();
        for shard in &self.logs {
            let logs: Vec<_> = shard.lock().values().cloned().collect();
            for part in logs.chunks(SWEPT_AT_ONCE) {
                let mut changes = Vec::new();
                for log in part {
                    if log.expire(now, &self.bytes, &mut changes) && !has_members(log.name()) {
                        let mut logs = shard.lock();
                        if let Some(deletions) = log.end_if_empty() {
                            logs.remove(log.name());
                            changes.extend(deletions);
                        }
                    }
                }
                record(changes);
                tokio::task::yield_now().await;
            }
        }
    }
}
