//! Tables of rooms by name: a room is made for its first member and dropped with its last.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::Room;
use crate::connection_id::ConnectionId;
use crate::outbound::Outbound;

/// Parts of a table, each with a lock of its own.
const SHARDS: usize = 32;

/// Rooms by name. The order within a shard makes pages cheap, however many rooms there are.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    shards: [RwLock<BTreeMap<Arc<str>, Arc<Room>>>; SHARDS],
    /// Number of rooms in all shards, readable without a lock.
    count: AtomicUsize,
}

impl Rooms {
    /// Returns the number of rooms.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the room of that name, if it has members.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Room>> {
        self.shard(name).read().get(name).cloned()
    }

    /// Returns at most `limit` rooms in ascending order of their names, beginning after `after`.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Room>> {
        let start = match after {
            Some(name) => Bound::Excluded(name),
            None => Bound::Unbounded,
        };
        let mut first = BTreeMap::new();
        for shard in &self.shards {
            let rooms = shard.read();
            for (name, room) in rooms.range::<str, _>((start, Bound::Unbounded)) {
                if first.len() >= limit {
                    match first.last_entry() {
                        Some(last) if name < last.key() => drop(last.remove()),
                        // The rooms after it in this shard are not on the page either.
                        _ => break,
                    }
                }
                first.insert(name.clone(), room.clone());
            }
        }
        first.into_values().collect()
    }

    /// Makes a connection a member, and makes the room for the first one.
    pub(crate) fn join(
        &self,
        name: &Arc<str>,
        id: ConnectionId,
        outbound: &Arc<Outbound>,
    ) -> Arc<Room> {
        loop {
            let room = self.get(name).unwrap_or_else(|| self.open(name));
            if room.members.add(id, outbound.clone()) {
                return room;
            }
            // The room was dissolved between the look-up and now; the table has a new one or none.
        }
    }

    fn open(&self, name: &Arc<str>) -> Arc<Room> {
        let mut rooms = self.shard(name).write();
        let room = rooms.entry(name.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Room::new(name.clone()))
        });
        room.clone()
    }

    /// Ends a membership, and the room with its last member. Returns true if it was the last.
    pub(crate) fn leave(&self, room: &Arc<Room>, id: ConnectionId) -> bool {
        if room.members.remove(id) {
            let mut rooms = self.shard(room.name()).write();
            if room.members.dissolve_if_empty() {
                // The table may already have a successor of a room that was dissolved before.
                if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
                    rooms.remove(room.name());
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    /// Returns the rooms of these names that have members, in ascending order of names without
    /// duplicates.
    pub(crate) fn several(&self, names: &[Arc<str>]) -> Vec<Arc<Room>> {
        let mut rooms: Vec<Arc<Room>> = names.iter().filter_map(|name| self.get(name)).collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms.dedup_by(|a, b| a.name() == b.name());
        rooms
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
    fn shard(&self, name: &str) -> &RwLock<BTreeMap<Arc<str>, Arc<Room>>> {
        // Names mostly differ in their last bytes, which is enough to spread them.
        let tail = name.as_bytes().last_chunk::<8>().map_or(name.as_bytes(), |tail| tail);
        let word = tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHARDS.ilog2());
        &self.shards[hash as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Step {
        Join(u64, u8),
        Leave(u64, u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<bool>(), 0..6u64, 0..10u8);
        let step =
            step.prop_map(
                |(join, number, room)| {
                    if join { Step::Join(number, room) } else { Step::Leave(number, room) }
                },
            );
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn rooms_are_what_joins_and_leaves_make_them(
            steps in steps(),
            after in proptest::option::of(0..12u8),
            limit in 0..12usize,
        ) {
            let after: Option<Arc<str>> = after.map(|room| room.to_string().into());
            let table = Rooms::default();
            let mut model: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join(number, room) => {
                        let name: Arc<str> = room.to_string().into();
                        table.join(&name, ConnectionId::local(number), &Outbound::new(10, Default::default()));
                        model.entry(room.to_string()).or_default().insert(number);
                    }
                    Step::Leave(number, room) => {
                        if let Some(room) = table.get(&room.to_string()) {
                            table.leave(&room, ConnectionId::local(number));
                        }
                        model.entry(room.to_string()).or_default().remove(&number);
                    }
                }
                model.retain(|_, members| !members.is_empty());
                prop_assert_eq!(table.len(), model.len(), "empty rooms are forgotten");
                let page: Vec<Arc<str>> =
                    table.page(after.as_deref(), limit).iter().map(|room| room.name().clone()).collect();
                let expected = model.keys().map(|room| Arc::<str>::from(&**room));
                let expected = expected.filter(|name| after.as_ref().is_none_or(|after| name > after));
                prop_assert_eq!(page, expected.take(limit).collect::<Vec<_>>());
                for (room, members) in &model {
                    let room = table.get(room).expect("a room with members exists");
                    prop_assert_eq!(room.members.count(), members.len());
                    let all: Vec<_> = members.iter().copied().map(ConnectionId::local).collect();
                    prop_assert_eq!(room.members.page(None, 1000), all);
                }
            }
        }
    }
}
