//! The connections that a frame is for, by what they have in common.

use std::sync::Arc;

use wharf_contract::effects::{ID_BYTES, label_bytes, name_bytes};

use crate::connection_id::ConnectionId;
use crate::outbound::Label;

/// Several connections of one channel. They are found when the event commits.
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
    /// What takes more than that to say.
    Audience(Box<Audience>),
}

/// The members of some rooms, the connections of some users, or every connection; less some; of
/// those only the ones with certain labels.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// Every connection of the channel.
    pub everyone: bool,
    /// The members of these rooms.
    pub rooms: Vec<Arc<str>>,
    /// The connections of these users.
    pub users: Vec<Arc<str>>,
    /// None of these connections.
    pub except: Vec<ConnectionId>,
    /// No connection of these users.
    pub except_users: Vec<Arc<str>>,
    /// Only connections with all of these labels.
    pub labels: Vec<Label>,
}

impl Recipients {
    /// Returns the bytes that its names, ids and labels take.
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
    /// Returns whether it names no connections at all.
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
