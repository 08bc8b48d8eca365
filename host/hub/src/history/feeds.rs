//! The logs that this node follows in a cluster, by room.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::feed::Feed;
use super::log::Seen;
use crate::connection_id::NodeId;
use crate::logs::{Logs, Once};
use crate::shards::{SHARDS, shard_of};

/// Time after which the place in a log of which nothing is heard is compared with that of the log.
const SILENCE: Duration = Duration::from_secs(30);

/// Broadcasts to several rooms of which it is known who has got them. A connection in several of the rooms may get
/// one twice if as many others come in between.
const REMEMBERED: usize = 1024;

/// The logs of a cluster, and those of them that this node follows.
pub(crate) struct Feeds {
    /// The logs.
    pub(crate) logs: Arc<dyn Logs>,
    feeds: [Mutex<BTreeMap<Arc<str>, Arc<Feed>>>; SHARDS],
    /// Bytes of messages that wait for those before them.
    held: Arc<AtomicUsize>,
    last_once: AtomicU64,
    seen: Mutex<SeenOnce>,
}

#[derive(Default)]
struct SeenOnce {
    by_name: HashMap<Once, Seen>,
    order: VecDeque<Once>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").field("logs", &self.logs).finish_non_exhaustive()
    }
}

impl Feeds {
    /// Makes a table without feeds.
    pub(crate) fn new(logs: Arc<dyn Logs>) -> Feeds {
        let (feeds, held, last_once, seen) = Default::default();
        Feeds { logs, feeds, held, last_once, seen }
    }

    /// Returns the feed of a room, if there is one.
    pub(crate) fn get(&self, room: &str) -> Option<Arc<Feed>> {
        shard_of(&self.feeds, room.as_bytes()).lock().get(room).cloned()
    }

    /// Returns the feed of a room, which is made if there is none. The room must have a member, or a place for one.
    pub(crate) fn open(&self, room: &Arc<str>) -> Arc<Feed> {
        let mut feeds = shard_of(&self.feeds, room.as_bytes()).lock();
        let make = || Arc::new(Feed::new(room.clone(), self.held.clone()));
        feeds.entry(room.clone()).or_insert_with(make).clone()
    }

    /// Returns the name of a broadcast to several rooms.
    pub(crate) fn next_once(&self) -> Once {
        (NodeId::local().number(), self.last_once.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the connections that have got a broadcast to several rooms.
    pub(crate) fn seen(&self, once: Once) -> Seen {
        let mut seen = self.seen.lock();
        let SeenOnce { by_name, order } = &mut *seen;
        let of_once = by_name.entry(once).or_insert_with(|| {
            order.push_back(once);
            Seen::default()
        });
        let of_once = of_once.clone();
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            by_name.remove(&oldest);
        }
        of_once
    }

    /// Has the place in each log be compared with that of the log soon.
    pub(crate) fn check_all_soon(&self) {
        for shard in &self.feeds {
            shard.lock().values().for_each(|feed| feed.lock().check_soon());
        }
    }

    /// Returns the rooms whose place is to be compared with that of the log, or that have to be read.
    pub(crate) fn unchecked(&self) -> Vec<Arc<str>> {
        let now = Instant::now();
        let mut rooms = Vec::new();
        for shard in &self.feeds {
            let feeds = shard.lock();
            let is_due = |feed: &Feed| {
                let state = feed.lock();
                let is_silent = |at: Instant| now.saturating_duration_since(at) >= SILENCE;
                state.checked_at().is_none_or(is_silent) || state.wants_read()
            };
            let due = feeds.iter().filter(|(_, feed)| is_due(feed));
            rooms.extend(due.map(|(room, _)| room.clone()));
        }
        rooms
    }

    /// Drops the feeds of rooms without members, and places for them.
    pub(crate) fn sweep(&self, has_members: impl Fn(&str) -> bool) {
        for shard in &self.feeds {
            shard.lock().retain(|room, feed| {
                let is_kept = has_members(room);
                if !is_kept {
                    feed.lock().end();
                    // Under the lock, so that one who opens it again follows it after this.
                    self.logs.unfollow(room);
                }
                is_kept
            });
        }
    }
}
