//! A room: a named set of connections, and the one order in which they get its broadcasts.
//!
//! [`members`] holds the two promises about that: all members of a room get its broadcasts in one
//! order, and a broadcast reaches the members that were there when it began. [`walk`] keeps them for
//! rooms that are too large to be reached in one piece. Nothing is written to a socket under a room's
//! lock, and no task holds one while it waits.
//!
//! Lock order: a connection's groups, then the hub's table of rooms, then rooms in ascending order of
//! their names, then users in ascending order of theirs, then an outbound's state.

mod members;
mod roster;
mod table;
mod walk;

use std::sync::Arc;

pub(crate) use members::{Members, start_after};
pub(crate) use table::Rooms;
pub(crate) use walk::broadcast;

/// The longest name of a room, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The reason why a name is no name for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a room's name must not be empty")]
    Empty,
    /// The name is too long.
    #[error("a room's name has at most {MAX_NAME_BYTES} bytes, this one has {0}")]
    TooLong(usize),
}

/// Checks a room's name: UTF-8 (which `str` is) of 1 to 255 bytes.
pub fn check_name(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        length if length > MAX_NAME_BYTES => Err(NameError::TooLong(length)),
        _ => Ok(()),
    }
}

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
