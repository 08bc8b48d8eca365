//! Places that an event reserves in a room, or among the connections of a user, until it commits.
//!
//! A place counts as a member from the call on, so that the call can say at once that there is one,
//! and the commit cannot fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Hub;
use crate::connection::ConnectionRecord;
use crate::room::{Room, Rooms};

/// The kind of a group of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// A room.
    Room,
    /// A user.
    User,
}

/// A reserved place. Dropping it gives it back.
pub struct ReservedPlace {
    hub: Arc<Hub>,
    kind: GroupKind,
    /// The room; `None` once the place is occupied.
    room: Option<Arc<Room>>,
}

impl fmt::Debug for ReservedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReservedPlace").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl ReservedPlace {
    /// Makes a connection a member in this place.
    pub(super) fn occupy(mut self, connection: &ConnectionRecord) -> Option<Arc<Room>> {
        let room = self.room.take()?;
        room.members.occupy(connection.id, connection.outbound.clone());
        Some(room)
    }
}

impl Drop for ReservedPlace {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.hub.groups_of(self.kind).release(&room)
            && self.kind == GroupKind::Room
        {
            self.hub.states.emptied(room.name());
        }
    }
}

impl Hub {
    fn groups_of(&self, kind: GroupKind) -> &Rooms {
        match kind {
            GroupKind::Room => &self.rooms,
            GroupKind::User => &self.users,
        }
    }

    /// Reserves a place for a connection in a room that has fewer members than `limit`, or for one of
    /// a user with fewer connections. Reserved places count as members; `own` members and places
    /// of the same connection do not.
    pub fn reserve(
        self: &Arc<Hub>,
        kind: GroupKind,
        name: &Arc<str>,
        limit: usize,
        own: usize,
    ) -> Option<Box<ReservedPlace>> {
        let room = self.groups_of(kind).reserve(name, limit, own)?;
        Some(Box::new(ReservedPlace { hub: self.clone(), kind, room: Some(room) }))
    }
}

/// The places that an event has reserved since its last commit, and that wait for the next one.
#[derive(Debug, Default)]
pub(crate) struct PlaceCounts(BTreeMap<(GroupKind, Arc<str>), usize>);

impl PlaceCounts {
    /// Counts one more.
    pub(crate) fn note(&mut self, kind: GroupKind, name: &Arc<str>) {
        *self.0.entry((kind, name.clone())).or_default() += 1;
    }

    /// Returns the number of places in a group.
    pub(crate) fn of(&self, kind: GroupKind, name: &Arc<str>) -> usize {
        self.0.get(&(kind, name.clone())).copied().unwrap_or_default()
    }
}
