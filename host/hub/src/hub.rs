//! A channel's tables on this node: its connections, its rooms and its users.
//!
//! The hub outlives generations: a reload does not touch it. Its tables are its own; others have verbs.

mod channels;
mod delivery;
mod kept;
mod membership;
mod records;

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

use crate::frame::Frame;
use crate::inbox::Scope;
use crate::presence::{PresenceRooms, Timing};
use crate::room::{Members, Rooms};
use crate::room_state::RoomStates;
use crate::timer::Timers;

use records::Records;

pub use channels::Channels;
pub use delivery::Posting;

/// The connections, rooms and users of one channel.
#[derive(Debug)]
pub struct Hub {
    /// The rooms that have members.
    rooms: Rooms,
    /// The users that are online. A user is to the host what a room is, a named set of connections;
    /// that a connection has one user at most is its own affair.
    users: Rooms,
    /// Every connection, for what is for all of them.
    everyone: Members,
    /// Who is present in its rooms.
    presence: PresenceRooms,
    /// The records of all connections, for what is for one of them.
    records: Records,
    /// What is kept for rooms, and their events that wait.
    states: RoomStates,
    /// The timers of its connections, its rooms, and its own.
    timers: Timers,
    /// Hears what other channels publish here, besides the members.
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
    /// Makes a hub without connections.
    pub fn new(timing: Timing) -> Hub {
        Hub {
            rooms: Rooms::default(),
            users: Rooms::default(),
            everyone: Members::default(),
            presence: PresenceRooms::new(timing),
            records: Records::default(),
            states: RoomStates::default(),
            timers: Timers::default(),
            listener: OnceLock::new(),
        }
    }

    /// Sets who hears what other channels publish here; once.
    pub fn tell_of_publications(&self, listener: Box<dyn Publications>) {
        let _ = self.listener.set(listener);
    }

    /// Forgets what is kept for rooms that have had no members, events and timers for `grace`.
    pub fn sweep(&self, grace: Duration) {
        self.states.sweep(grace, |name| {
            self.rooms.get(name).is_some() || self.timers.has_any(&Scope::Room(name.clone()))
        });
    }
}
