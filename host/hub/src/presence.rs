//! Who is in a room, by key: the list, what changes about it, and who is told.
//!
//! A connection tracks itself in a room under a key, a user's id mostly, with something to say of
//! itself. The list has one entry for each key, however many connections are behind it. What is
//! pure about that is in the contract's [`Roster`], which is given the time; here are the locks, the tasks that
//! wait, and those who are told.
//!
//! Lock order: the table of rooms, then a room, then an outbound's state. Frames are queued under a
//! room's lock, so that all of its watchers see one order, and written when the lock is gone.

mod rooms;

pub use rooms::{Listener, PresenceRoom, PresenceRooms, Timing};
pub use wharf_contract::presence::{Diff, Entries, Meta};

use crate::connection_id::ConnectionId;

/// The list of one room, on the runtime's clock.
pub type Roster = wharf_contract::presence::Roster<ConnectionId, tokio::time::Instant>;

/// The changes that an event that has not committed yet makes about its own connection.
pub type Own = wharf_contract::presence::Own<ConnectionId>;
