//! Who is in a room, by key: the list, what changes about it, and who is told.
//!
//! A connection tracks itself in a room under a key, a user's id mostly, with something to say of
//! itself. The list has one entry for each key, however many connections are behind it. What is
//! pure about that is in [`Roster`], which is given the time; here are the locks, the tasks that
//! wait, and those who are told.
//!
//! Lock order: the table of rooms, then a room, then an outbound's state. Frames are queued under a
//! room's lock, so that all of its watchers see one order, and written when the lock is gone.

mod messages;
mod rooms;
mod roster;

pub use messages::{Diff, Entries, Meta};
pub use rooms::{Listener, PresenceRoom, PresenceRooms, Timing};
pub use roster::{Own, Roster};
