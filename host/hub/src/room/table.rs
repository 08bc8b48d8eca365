//! Tables of rooms by name: a room is made for its first member and dropped with its last.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::Room;
use crate::connection_id::ConnectionId;
use crate::outbound::Outbound;
use crate::shards::{SHARDS, shard_of};

/// Rooms by name. The order within a shard makes pages cheap, however many rooms there are.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    shards: [RwLock<BTreeMap<Arc<str>, Arc<Room>>>; SHARDS],
    /// Number of rooms in all shards, readable without a lock.
    count: AtomicUsize,
}

impl Rooms {
    /// Returns the number of rooms, with those in which places are only reserved.
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
            let from_start = rooms.range::<str, _>((start, Bound::Unbounded));
            // A room in which places are only reserved has no members yet.
            for (name, room) in from_start.filter(|(_, room)| room.members.count() > 0) {
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

    /// Reserves a place for a connection in a room in which fewer than `limit` others are members or
    /// have a place, and makes the room for the first one.
    pub(crate) fn reserve(
        &self,
        name: &Arc<str>,
        id: ConnectionId,
        limit: usize,
    ) -> Option<Arc<Room>> {
        if limit == 0 {
            return None;
        }
        loop {
            let room = self.get(name).unwrap_or_else(|| self.open(name));
            match room.members.reserve(id, limit) {
                Some(true) => return Some(room),
                // The others that are in it, or have reserved places, are what ends the room.
                Some(false) => return None,
                // Dissolved, as in `join`.
                None => {}
            }
        }
    }

    /// Gives a connection's reserved place back, and ends the room if it was the last one and there are
    /// no members. Returns true if it was.
    pub(crate) fn release(&self, room: &Arc<Room>, id: ConnectionId) -> bool {
        room.members.release(id) && self.dissolve(room)
    }

    /// Ends a membership, and the room with its last member. Returns true if it was the last.
    pub(crate) fn leave(&self, room: &Arc<Room>, id: ConnectionId) -> bool {
        room.members.remove(id) && self.dissolve(room)
    }

    /// Drops a room, if it has neither members nor reserved places. Returns true if it has not.
    fn dissolve(&self, room: &Arc<Room>) -> bool {
        let mut rooms = self.shard(room.name()).write();
        if !room.members.dissolve_if_empty() {
            return false;
        }
        // The table may already have a successor of a room that was dissolved before.
        if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
            rooms.remove(room.name());
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Returns the rooms of these names that have members, in ascending order of names without
    /// duplicates.
    pub(crate) fn several(&self, names: &[Arc<str>]) -> Vec<Arc<Room>> {
        let mut rooms: Vec<Arc<Room>> = names.iter().filter_map(|name| self.get(name)).collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms.dedup_by(|a, b| a.name() == b.name());
        rooms
    }

    fn shard(&self, name: &str) -> &RwLock<BTreeMap<Arc<str>, Arc<Room>>> {
        shard_of(&self.shards, name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn outbound() -> Arc<Outbound> {
        Outbound::new(10, Default::default())
    }

    #[test]
    fn a_reserved_place_keeps_a_room_and_is_a_membership_or_is_given_back() {
        let (table, name) = (Rooms::default(), Arc::<str>::from("room"));
        let [ann, bob, eve] = [1, 2, 3].map(ConnectionId::local);
        let reserve = |id, limit| table.reserve(&name, id, limit);
        assert!(reserve(ann, 0).is_none() && table.len() == 0);
        let room = reserve(ann, 2).expect("the first place");
        let second = reserve(bob, 2).expect("the second place");
        assert!(reserve(eve, 2).is_none());
        assert_eq!(
            (room.members.count(), table.page(None, 9).len()),
            (0, 0),
            "nobody is there yet"
        );
        room.members.occupy(ann, outbound());
        assert_eq!((room.members.count(), table.page(None, 9).len()), (1, 1));
        assert!(reserve(eve, 2).is_none(), "a member and a place");
        assert!(!table.leave(&room, ann), "a place is still reserved");
        assert!(Arc::ptr_eq(&table.join(&name, eve, &outbound()), &second));
        assert!(!table.release(&second, bob));
        assert!(table.leave(&room, eve));
        assert_eq!(table.len(), 0);
        let another = reserve(ann, 1).expect("a new room");
        assert!(!Arc::ptr_eq(&another, &room));
        assert!(table.release(&another, ann));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_connection_counts_once_however_many_places_are_reserved_for_it() {
        let (table, name) = (Rooms::default(), Arc::<str>::from("room"));
        let [ann, bob, eve] = [1, 2, 3].map(ConnectionId::local);
        let reserve = |id, limit| table.reserve(&name, id, limit);
        let room = reserve(ann, 2).expect("the first place");
        assert!(reserve(ann, 2).is_some() && reserve(ann, 1).is_some(), "it is in its own way");
        assert!(reserve(bob, 2).is_some());
        // A member that is about to leave and to come back, as well.
        room.members.occupy(ann, outbound());
        assert!(reserve(eve, 2).is_none() && reserve(eve, 3).is_some());
        assert!(!table.release(&room, eve));
        // It leaves and comes back, and its place is nobody else's meanwhile.
        assert!(!table.leave(&room, ann));
        assert!(reserve(eve, 2).is_none());
        room.members.occupy(ann, outbound());
        assert!(!table.release(&room, ann) && !table.release(&room, bob));
        assert!(reserve(eve, 2).is_some());
        assert!(!table.leave(&room, ann));
        assert!(table.release(&room, eve));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn of_many_threads_no_more_get_a_place_than_there_are() {
        let table = Rooms::default();
        for round in 0..200_u64 {
            let name: Arc<str> = round.to_string().into();
            let begin = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let (table, name, begin) = (&table, &name, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        let id = ConnectionId::local(number);
                        if let Some(room) = table.reserve(name, id, 3) {
                            match number % 2 {
                                0 => room.members.occupy(id, outbound()),
                                _ => _ = table.release(&room, id),
                            }
                        }
                        let count = table.get(name).map_or(0, |room| room.members.count());
                        assert!(count <= 3, "{count} members");
                    });
                }
            });
            let room = table.get(&name);
            for id in room.iter().flat_map(|room| room.members.page(None, 9)) {
                room.iter().for_each(|room| _ = table.leave(room, id));
            }
            assert_eq!(table.len(), 0);
        }
    }

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
                        table.join(&name, ConnectionId::local(number), &outbound());
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
