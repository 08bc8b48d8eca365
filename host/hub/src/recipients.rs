//! The connections that a frame is for, by what they have in common.

use std::sync::Arc;

use wharf_contract::effects::{ID_BYTES, label_bytes, name_bytes};

use crate::connection_id::ConnectionId;
use crate::outbound::Label;

/// Several connections of one channel, which are determined when the event commits.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// The members of a room.
    Room(Arc<str>),
    /// The members of several rooms.
    Rooms(Box<[Arc<str>]>),
    /// The connections of a user.
    User(Arc<str>),
    /// The connections of several users.
    Users(Box<[Arc<str>]>),
    /// Every connection.
    Everyone,
    /// Any other audience.
    Audience(Box<Audience>),
}

/// The members of some rooms, the connections of some users, or every connection; without the
/// excepted ones; and of those only the ones with certain labels.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// True if it has every connection of the channel.
    pub everyone: bool,
    /// Rooms whose members it has.
    pub rooms: Vec<Arc<str>>,
    /// Users whose connections it has.
    pub users: Vec<Arc<str>>,
    /// Connections that are left out.
    pub except: Vec<ConnectionId>,
    /// Users whose connections are left out.
    pub except_users: Vec<Arc<str>>,
    /// Labels that a connection must have, all of them.
    pub labels: Vec<Label>,
}

impl Recipients {
    /// Returns the size of its names, ids and labels, in bytes.
    pub fn name_bytes(&self) -> usize {
        let of = |names: &[Arc<str>]| names.iter().map(|name| name_bytes(name)).sum();
        match self {
            Recipients::Room(name) | Recipients::User(name) => name_bytes(name),
            Recipients::Rooms(names) | Recipients::Users(names) => of(names),
            Recipients::Everyone => 0,
            Recipients::Audience(audience) => {
                let Audience { rooms, users, except, except_users, labels, .. } = &**audience;
                let labels = labels.iter().map(|(name, value)| label_bytes(name, value));
                of(rooms)
                    + of(users)
                    + of(except_users)
                    + labels.sum::<usize>()
                    + except.len() * ID_BYTES
            }
        }
    }
}

impl Audience {
    /// Returns the simplest recipients that are these connections, and a connection that is left out of them. The
    /// members of rooms are found faster so, and [kept](crate::history) messages are for rooms as a whole.
    pub fn simplest(self) -> (Recipients, Option<ConnectionId>) {
        let are_rooms = !self.everyone && self.users.is_empty() && !self.rooms.is_empty();
        let are_all = self.labels.is_empty() && self.except_users.is_empty();
        if !are_rooms || !are_all || self.except.len() > 1 {
            return (Recipients::Audience(Box::new(self)), None);
        }
        let except = self.except.first().copied();
        match <[Arc<str>; 1]>::try_from(self.rooms) {
            Ok([room]) => (Recipients::Room(room), except),
            Err(rooms) => (Recipients::Rooms(rooms.into()), except),
        }
    }

    /// Returns true if it names no connections at all.
    pub fn is_empty(&self) -> bool {
        !self.everyone && self.rooms.is_empty() && self.users.is_empty()
    }
}

/// The members of a room, or the connections of a user.
#[derive(Clone, Copy, Debug)]
pub enum Group<'a> {
    /// A room, by its name.
    Room(&'a str),
    /// A user, by its name.
    User(&'a str),
}
