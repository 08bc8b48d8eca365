//! A channel's tables on this node: its connections and its rooms.
//!
//! The hub outlives generations: a reload does not touch it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::close::Reason;
use crate::outbound::{Drains, Outbound};
use crate::room::{Room, broadcast_to_several};

/// The connections and rooms of one channel.
#[derive(Debug)]
pub struct Hub {
    /// Every connection, as a room that has no name among the others.
    everyone: Room,
    rooms: RwLock<HashMap<Arc<str>, Arc<Room>>>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { everyone: Room::new(Arc::from("")), rooms: RwLock::default() }
    }
}

impl Hub {
    /// Add a connection, whose first effects are about to commit.
    pub fn connect(&self, number: u64, outbound: Arc<Outbound>) {
        self.everyone.add(number, outbound);
    }

    /// Forget a connection; it has left its rooms already.
    pub fn disconnect(&self, number: u64) {
        self.everyone.remove(number);
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.everyone.count()
    }

    /// How many rooms there are.
    pub fn rooms(&self) -> usize {
        self.rooms.read().len()
    }

    /// A connection's outbound, if it is open.
    pub fn find(&self, number: u64) -> Option<Arc<Outbound>> {
        self.everyone.find(number)
    }

    /// The room of that name, if it has members.
    pub fn room(&self, name: &str) -> Option<Arc<Room>> {
        self.rooms.read().get(name).cloned()
    }

    /// Make a connection a member, creating the room for the first one.
    pub fn join(&self, name: &Arc<str>, number: u64, outbound: &Arc<Outbound>) -> Arc<Room> {
        loop {
            let existing = self.room(name);
            let room = existing.unwrap_or_else(|| {
                let mut rooms = self.rooms.write();
                let room = rooms.entry(name.clone());
                room.or_insert_with(|| Arc::new(Room::new(name.clone()))).clone()
            });
            if room.add(number, outbound.clone()) {
                return room;
            }
            // It was dissolved between the look-up and now; the table has a new one or none.
        }
    }

    /// End a membership, and the room with its last member.
    pub fn leave(&self, room: &Arc<Room>, number: u64) {
        if room.remove(number) {
            let mut rooms = self.rooms.write();
            if room.dissolve_if_empty() {
                // The table may already name a successor of a room that was dissolved before.
                if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
                    rooms.remove(room.name());
                }
                if rooms.capacity() > 64 && rooms.len() * 4 < rooms.capacity() {
                    rooms.shrink_to_fit();
                }
            }
        }
    }

    /// Queue a frame for every member of a room except `skip`.
    pub fn broadcast_to_room(
        &self,
        name: &str,
        frame: &Bytes,
        skip: Option<u64>,
        drains: &mut Drains,
    ) {
        if let Some(room) = self.room(name) {
            room.broadcast(frame, skip, drains);
        }
    }

    /// Queue a frame for every member of several rooms except `skip`, once each.
    pub fn broadcast_to_rooms(
        &self,
        names: &[Arc<str>],
        frame: &Bytes,
        skip: Option<u64>,
        drains: &mut Drains,
    ) {
        let mut rooms: Vec<Arc<Room>> = names.iter().filter_map(|name| self.room(name)).collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms.dedup_by(|a, b| a.name() == b.name());
        broadcast_to_several(&rooms, frame, skip, drains);
    }

    /// Queue a frame for every connection of the channel except `skip`.
    pub fn broadcast_to_all(&self, frame: &Bytes, skip: Option<u64>, drains: &mut Drains) {
        self.everyone.broadcast(frame, skip, drains);
    }

    /// Ask every connection to end.
    pub fn end_all(&self, reason: Reason) {
        for outbound in self.everyone.outbounds() {
            outbound.end(reason);
        }
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
            let hub = Hub::default();
            let mut model: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join(number, room) => {
                        let name: Arc<str> = room.to_string().into();
                        hub.join(&name, number, &Outbound::new(10, 0));
                        model.entry(room).or_default().insert(number);
                    }
                    Step::Leave(number, room) => {
                        if let Some(room) = hub.room(&room.to_string()) {
                            hub.leave(&room, number);
                        }
                        model.entry(room).or_default().remove(&number);
                    }
                }
                model.retain(|_, members| !members.is_empty());
                prop_assert_eq!(hub.rooms(), model.len(), "empty rooms are forgotten");
                for (room, members) in &model {
                    let room = hub.room(&room.to_string()).expect("a room with members exists");
                    prop_assert_eq!(room.count(), members.len());
                    let all: Vec<u64> = members.iter().copied().collect();
                    prop_assert_eq!(room.page(None, 1000), all);
                }
            }
        }
    }
}
