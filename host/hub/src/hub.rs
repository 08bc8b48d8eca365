//! A channel's tables on this node: its connections, its rooms and its users.
//!
//! The hub outlives generations: a reload does not touch it.

mod channels;
mod delivery;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::client::Client;
use crate::close::{Close, Reason};
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::{Drains, Outbound};
use crate::presence::{PresenceRooms, Timing};
use crate::room::{Room, Rooms, start_after};
use crate::room_state::RoomStates;
use crate::timer::{Scope, Timers};

pub use channels::Channels;

/// The connections, rooms and users of one channel.
#[derive(Debug)]
pub struct Hub {
    /// The rooms that have members.
    pub rooms: Rooms,
    /// The users that are online. A user is to the host what a room is, a named set of connections;
    /// that a connection has one user at most is its own affair.
    pub users: Rooms,
    /// Every connection, as a room that has no name among the others.
    everyone: Room,
    /// Who is present in its rooms.
    pub presence: PresenceRooms,
    /// What is known of each, by number: for whoever looks at them from outside.
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    /// What is kept for rooms, and their events that wait.
    pub states: RoomStates,
    /// The timers of its connections, its rooms, and its own.
    pub timers: Timers,
    /// Whoever hears what other channels publish here, besides the members.
    listener: OnceLock<Box<dyn Publications>>,
}

/// Hears what other channels publish to the rooms of one.
pub trait Publications: Debug + Send + Sync {
    /// This was published.
    fn published(&self, room: &str, frame: &Frame);
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::new(Timing::default())
    }
}

impl Hub {
    /// No connections yet.
    pub fn new(timing: Timing) -> Hub {
        let everyone = Room::new(Arc::from(""));
        Hub {
            rooms: Rooms::default(),
            users: Rooms::default(),
            everyone,
            presence: PresenceRooms::new(timing),
            clients: Mutex::default(),
            states: RoomStates::default(),
            timers: Timers::default(),
            listener: OnceLock::new(),
        }
    }

    /// Say who hears what other channels publish here; once.
    pub fn tell_of_publications(&self, listener: Box<dyn Publications>) {
        let _ = self.listener.set(listener);
    }

    /// Queue another channel's frame for the members of a room.
    pub fn publish(&self, room: &str, frame: &Frame, drains: &mut Drains) {
        if let Some(listener) = self.listener.get() {
            listener.published(room, frame);
        }
        self.rooms.broadcast(room, frame, None, drains);
    }

    /// Add a connection, whose first effects are about to commit.
    pub fn connect(&self, client: &Arc<Client>) {
        self.everyone.add(client.id, client.outbound.clone());
        self.clients.lock().insert(client.id.number, client.clone());
    }

    /// Forget a connection; it has left its rooms already.
    pub fn disconnect(&self, id: ConnectionId) {
        self.everyone.remove(id);
        self.clients.lock().remove(&id.number);
        self.timers.cancel_all(&Scope::Connection(id));
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.everyone.count()
    }

    /// A connection's outbound, if it is open.
    pub fn find(&self, id: ConnectionId) -> Option<Arc<Outbound>> {
        self.everyone.find(id)
    }

    /// What is known of a connection, if it is open.
    pub fn client(&self, id: ConnectionId) -> Option<Arc<Client>> {
        self.clients.lock().get(&id.local_number()?).cloned()
    }

    /// The same of at most `limit` connections in ascending order of their ids, those after `after`.
    pub fn clients(&self, after: Option<ConnectionId>, limit: usize) -> Vec<Arc<Client>> {
        let Some(start) = start_after(after) else {
            return Vec::new();
        };
        self.clients.lock().range(start..).take(limit).map(|(_, client)| client.clone()).collect()
    }

    /// End a membership. A room that becomes empty by it is kept for a while if it has a state.
    pub fn leave_room(&self, room: &Arc<Room>, id: ConnectionId) {
        if self.rooms.leave(room, id) {
            self.states.emptied(room.name());
        }
    }

    /// Ask the connections that a user has now to close.
    pub fn disconnect_user(&self, user: &str, close: &Close) {
        if let Some(user) = self.users.get(user) {
            for outbound in user.outbounds() {
                outbound.close(close.clone());
            }
        }
    }

    /// Forget what is kept for rooms that have had no members, events and timers for `grace`.
    pub fn sweep(&self, grace: Duration) {
        self.states.sweep(grace, |name| {
            self.rooms.get(name).is_some() || self.timers.has_any(&Scope::Room(name.clone()))
        });
    }

    /// Ask every connection to end.
    pub fn end_all(&self, reason: Reason) {
        for outbound in self.everyone.outbounds() {
            outbound.end(reason);
        }
    }
}
