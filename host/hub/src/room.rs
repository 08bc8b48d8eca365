//! A room: a named set of connections, and the one order in which they hear its broadcasts.
//!
//! The order is fixed by queueing to all members under the room's lock. Nothing is written to
//! a socket under it. Lock order: the hub's table of rooms, then rooms in ascending order of
//! their names, then users in ascending order of theirs, then an outbound's state.

mod table;

mod roster;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::{Drains, Outbound};
use roster::Roster;

pub use table::Rooms;

/// The longest name of a room, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a name is no name for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a room's name must not be empty")]
    Empty,
    /// The name is too long.
    #[error("a room's name has at most {MAX_NAME_BYTES} bytes, this one has {0}")]
    TooLong(usize),
}

/// Check a room's name: UTF-8 (which `str` is) of 1 to 255 bytes.
pub fn check_name(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        length if length > MAX_NAME_BYTES => Err(NameError::TooLong(length)),
        _ => Ok(()),
    }
}

/// The first number of a page of connections of this node; `None` if there is no such page.
pub fn start_after(after: Option<ConnectionId>) -> Option<u64> {
    match after {
        None => Some(0),
        Some(id) => Some(id.local_number()?.saturating_add(1)),
    }
}

/// A named set of connections of this node, inside a channel.
#[derive(Debug)]
pub struct Room {
    name: Arc<str>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    roster: Roster,
    /// The last member has left and the hub has forgotten this room; whoever still holds
    /// it must ask the hub for a new one.
    dissolved: bool,
}

impl Room {
    /// An empty room.
    pub fn new(name: Arc<str>) -> Room {
        Room { name, members: Mutex::default() }
    }

    /// The room's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Add a member. `false` if the room has been dissolved, and the member is not in it.
    pub fn add(&self, id: ConnectionId, outbound: Arc<Outbound>) -> bool {
        let mut members = self.members.lock();
        if members.dissolved {
            return false;
        }
        members.roster.insert(id.number, outbound);
        true
    }

    /// Remove a member. `true` if nobody is left.
    pub fn remove(&self, id: ConnectionId) -> bool {
        let mut members = self.members.lock();
        if let Some(number) = id.local_number() {
            members.roster.remove(number);
        }
        members.roster.len() == 0
    }

    /// Refuse new members for good, if there are none. For the hub, which forgets the room.
    pub fn dissolve_if_empty(&self) -> bool {
        let mut members = self.members.lock();
        members.dissolved = members.roster.len() == 0;
        members.dissolved
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.members.lock().roster.len()
    }

    /// The ids of at most `limit` members in ascending order, those after `after`. There are none
    /// after one of another node.
    pub fn page(&self, after: Option<ConnectionId>, limit: usize) -> Vec<ConnectionId> {
        let Some(start) = start_after(after) else {
            return Vec::new();
        };
        let members = self.members.lock();
        members.roster.page(start, limit).map(|(number, _)| ConnectionId::local(number)).collect()
    }

    /// A member's outbound.
    pub fn find(&self, id: ConnectionId) -> Option<Arc<Outbound>> {
        let number = id.local_number()?;
        self.members.lock().roster.get(number).cloned()
    }

    /// Every member's outbound.
    pub fn outbounds(&self) -> Vec<Arc<Outbound>> {
        let members = self.members.lock();
        let mut outbounds = Vec::with_capacity(members.roster.len());
        members.roster.for_each(|_, outbound| outbounds.push(outbound.clone()));
        outbounds
    }

    /// Returns the ids and outbounds of at most `limit` members in ascending order, those after `after`.
    pub fn members(
        &self,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Vec<(ConnectionId, Arc<Outbound>)> {
        let Some(start) = start_after(after) else {
            return Vec::new();
        };
        let members = self.members.lock();
        let page = members.roster.page(start, limit);
        page.map(|(number, outbound)| (ConnectionId::local(number), outbound.clone())).collect()
    }

    /// Queues a frame for every member except one. The caller drains when its locks are gone.
    /// Returns for how many.
    pub fn broadcast(
        &self,
        frame: &Frame,
        except: Option<ConnectionId>,
        drains: &mut Drains,
    ) -> usize {
        let except = except.and_then(ConnectionId::local_number);
        let mut queued = 0;
        let members = self.members.lock();
        members.roster.for_each(|number, outbound| {
            if except != Some(number) {
                queued += usize::from(drains.push(outbound, frame));
            }
        });
        queued
    }
}

/// Queues a frame for every member of several rooms except one, once each. `rooms` is in ascending
/// order of names without doubles, which keeps the order of locks. Returns for how many.
pub fn broadcast_to_several(
    rooms: &[Arc<Room>],
    frame: &Frame,
    except: Option<ConnectionId>,
    drains: &mut Drains,
) -> usize {
    debug_assert!(rooms.is_sorted_by(|a, b| a.name < b.name));
    let rooms: Vec<&Room> = rooms.iter().map(|room| &**room).collect();
    let except = except.and_then(ConnectionId::local_number);
    broadcast_where(&rooms, frame, drains, |number, _| except != Some(number))
}

/// Queue a frame for the members of several rooms that are wanted, once each. `rooms` is without
/// doubles and in the order of locks. Returns for how many it was queued.
pub fn broadcast_where(
    rooms: &[&Room],
    frame: &Frame,
    drains: &mut Drains,
    is_wanted: impl Fn(u64, &Outbound) -> bool,
) -> usize {
    let guards: Vec<MutexGuard<'_, Members>> =
        rooms.iter().map(|room| room.members.lock()).collect();
    let mut receivers: BTreeMap<u64, &Arc<Outbound>> = BTreeMap::new();
    for members in &guards {
        members.roster.for_each(|number, outbound| {
            // Most may not be wanted, and those that are may be in several rooms.
            if is_wanted(number, outbound) {
                receivers.insert(number, outbound);
            }
        });
    }
    let mut queued = 0;
    for outbound in receivers.into_values() {
        queued += usize::from(drains.push(outbound, frame));
    }
    queued
}
