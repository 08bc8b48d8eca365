//! A room: a named set of connections, and the one order in which they get its broadcasts.
//!
//! `members` keeps the two promises about that: all members of a room get its broadcasts in one
//! order, and a broadcast reaches the members that were there when it began. `walk` keeps them
//! for rooms that are too large to be reached in one piece. No socket is written under a room's
//! lock, and no task holds such a lock while it waits.
//!
//! Lock order: a connection's groups, then the hub's table of rooms, then rooms in ascending order of
//! their names, then users in ascending order of theirs, then an outbound's state.

mod member_list;
mod members;
mod reservations;
mod table;
mod walk;

use std::sync::Arc;

pub(crate) use members::{Announce, Members, start_after};
pub(crate) use table::Rooms;
pub(crate) use walk::{broadcast, broadcast_in_turn};

/// A named set of connections of this node, inside a channel.
#[derive(Debug)]
pub(crate) struct Room {
    name: Arc<str>,
    /// The connections.
    pub(crate) members: Members,
}

impl Room {
    /// Makes an empty room.
    pub(crate) fn new(name: Arc<str>) -> Room {
        Room { name, members: Members::default() }
    }

    /// Returns the room's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests that a room, of which there may be as many as connections, stays small.
    #[test]
    fn a_room_holds_no_memory_for_what_only_large_ones_need() {
        assert!(size_of::<Room>() <= 56, "{} bytes", size_of::<Room>());
    }
}
