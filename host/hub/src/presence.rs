//! Presence: the list of a room by key, its changes, and its watchers.
//!
//! A connection tracks itself in a room under a key, mostly a user's id, with metadata. The list
//! has one entry for each key, however many connections are behind it. The pure part is the
//! contract's [`Roster`], which is given the time. This module has the locks, the waiting tasks and
//! the watchers.
//!
//! Lock order: the table of rooms, then a room, then an outbound's state. Frames are queued under a
//! room's lock, so that all of its watchers see one order, and written when the lock is gone.

mod rooms;

pub use rooms::{Listener, PresenceRoom, PresenceRooms, PresenceTiming};
pub use wharf_contract::presence::{Diff, Entries, Meta};

use crate::connection_id::ConnectionId;

/// The list of one room, on the runtime's clock.
pub type Roster = wharf_contract::presence::Roster<ConnectionId, tokio::time::Instant>;

/// The changes that an event that has not committed yet makes about its own connection.
pub type OwnChanges = wharf_contract::presence::OwnChanges<ConnectionId>;
