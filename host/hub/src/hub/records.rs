//! The records of a hub's connections, by number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::room::start_after;

/// Parts of the table, each with a lock of its own. Ascending numbers spread evenly over them.
const SHARDS: u64 = 32;

/// Records by number, in shards.
#[derive(Debug, Default)]
pub(super) struct Records {
    shards: [Mutex<BTreeMap<u64, Arc<ConnectionRecord>>>; SHARDS as usize],
    /// Number of records in all shards, readable without a lock.
    count: AtomicUsize,
}

impl Records {
    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds a record.
    pub(super) fn insert(&self, record: &Arc<ConnectionRecord>) {
        let number = record.id.number;
        if self.shard(number).lock().insert(number, record.clone()).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes the record of a connection, if there is one.
    pub(super) fn remove(&self, id: ConnectionId) {
        let removed = self.shard(id.number).lock().remove(&id.number);
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Calls a function with the record of a connection under the lock of its shard, if there is
    /// one.
    pub(super) fn with<R>(
        &self,
        id: ConnectionId,
        look: impl FnOnce(&Arc<ConnectionRecord>) -> R,
    ) -> Option<R> {
        let number = id.local_number()?;
        self.shard(number).lock().get(&number).map(look)
    }

    /// Returns at most `limit` records in ascending order, beginning after `after`.
    pub(super) fn page(
        &self,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Vec<Arc<ConnectionRecord>> {
        let Some(start) = start_after(after) else {
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for shard in &self.shards {
            numbers.extend(shard.lock().range(start..).take(limit).map(|(number, _)| *number));
        }
        numbers.sort_unstable();
        numbers.truncate(limit);
        // A connection that has gone meanwhile is left out.
        let record = |number: u64| self.with(ConnectionId::local(number), Arc::clone);
        numbers.into_iter().filter_map(record).collect()
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
    fn shard(&self, number: u64) -> &Mutex<BTreeMap<u64, Arc<ConnectionRecord>>> {
        &self.shards[(number % SHARDS) as usize]
    }
}
