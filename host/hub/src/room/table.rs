//! A table of rooms by name: a room is made for its first member and forgotten with its last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Room, broadcast_to_several};
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::{Drains, Outbound};

/// Rooms by name.
#[derive(Debug, Default)]
pub struct Rooms {
    by_name: RwLock<HashMap<Arc<str>, Arc<Room>>>,
}

impl Rooms {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The room of that name, if it has members.
    pub fn get(&self, name: &str) -> Option<Arc<Room>> {
        self.by_name.read().get(name).cloned()
    }

    /// At most `limit` rooms in ascending order of their names, those after `after`.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Room>> {
        let rooms = self.by_name.read();
        let mut first = BTreeMap::new();
        for (name, room) in rooms.iter().filter(|(name, _)| after.is_none_or(|a| &***name > a)) {
            // The table has no order; a page is kept small while it is looked through.
            let is_wanted =
                first.len() < limit || first.last_key_value().is_some_and(|(last, _)| name < *last);
            if is_wanted {
                first.insert(name, room);
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        first.into_values().cloned().collect()
    }

    /// Make a connection a member, creating the room for the first one.
    pub fn join(&self, name: &Arc<str>, id: ConnectionId, outbound: &Arc<Outbound>) -> Arc<Room> {
        loop {
            let existing = self.get(name);
            let room = existing.unwrap_or_else(|| {
                let mut rooms = self.by_name.write();
                let room = rooms.entry(name.clone());
                room.or_insert_with(|| Arc::new(Room::new(name.clone()))).clone()
            });
            if room.add(id, outbound.clone()) {
                return room;
            }
            // It was dissolved between the look-up and now; the table has a new one or none.
        }
    }

    /// End a membership, and the room with its last member. Whether it was the last.
    pub fn leave(&self, room: &Arc<Room>, id: ConnectionId) -> bool {
        if room.remove(id) {
            let mut rooms = self.by_name.write();
            if room.dissolve_if_empty() {
                // The table may already name a successor of a room that was dissolved before.
                if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
                    rooms.remove(room.name());
                }
                if rooms.capacity() > 64 && rooms.len() * 4 < rooms.capacity() {
                    rooms.shrink_to_fit();
                }
                return true;
            }
        }
        false
    }

    /// Queues a frame for every member of a room except one. Returns for how many.
    pub fn broadcast(
        &self,
        name: &str,
        frame: &Frame,
        except: Option<ConnectionId>,
        drains: &mut Drains,
    ) -> usize {
        self.get(name).map_or(0, |room| room.broadcast(frame, except, drains))
    }

    /// Queues a frame for every member of several rooms except one, once each. Returns for how many.
    pub fn broadcast_to_several(
        &self,
        names: &[Arc<str>],
        frame: &Frame,
        except: Option<ConnectionId>,
        drains: &mut Drains,
    ) -> usize {
        broadcast_to_several(&self.several(names), frame, except, drains)
    }

    /// The rooms of these names that have members, in ascending order of names without doubles.
    pub fn several(&self, names: &[Arc<str>]) -> Vec<Arc<Room>> {
        let mut rooms: Vec<Arc<Room>> = names.iter().filter_map(|name| self.get(name)).collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms.dedup_by(|a, b| a.name() == b.name());
        rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug)]
    enum Step {
        Join(u64, u8),
        Leave(u64, u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<bool>(), 0..6u64, 0..4u8);
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
        fn rooms_are_what_joins_and_leaves_make_them(steps in steps()) {
            let table = Rooms::default();
            let mut model: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join(number, room) => {
                        let name: Arc<str> = room.to_string().into();
                        table.join(&name, ConnectionId::local(number), &Outbound::new(10, 0));
                        model.entry(room).or_default().insert(number);
                    }
                    Step::Leave(number, room) => {
                        if let Some(room) = table.get(&room.to_string()) {
                            table.leave(&room, ConnectionId::local(number));
                        }
                        model.entry(room).or_default().remove(&number);
                    }
                }
                model.retain(|_, members| !members.is_empty());
                prop_assert_eq!(table.len(), model.len(), "empty rooms are forgotten");
                for (room, members) in &model {
                    let room = table.get(&room.to_string()).expect("a room with members exists");
                    prop_assert_eq!(room.count(), members.len());
                    let all: Vec<_> = members.iter().copied().map(ConnectionId::local).collect();
                    prop_assert_eq!(room.page(None, 1000), all);
                }
            }
        }
    }
}
