//! Places that an event reserves in a room, or among the connections of a user, until it commits.
//!
//! A place counts as a member from the call on, so that the call can say at once that there is one,
//! and the commit cannot fail. A connection counts once, also while it leaves and comes back: what
//! keeps others out are connections.

use std::fmt;
use std::sync::Arc;

use super::Hub;
use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::room::{Room, Rooms};

/// The kind of a group of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    connection: ConnectionId,
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
        debug_assert_eq!(connection.id, self.connection);
        let room = self.room.take()?;
        room.members.occupy(connection.id, connection.outbound.clone());
        Some(room)
    }
}

impl Drop for ReservedPlace {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.hub.groups_of(self.kind).release(&room, self.connection)
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

    /// Reserves a place for a connection in a room, or among the connections of a user, if fewer than
    /// `limit` others are there or have one.
    pub fn reserve(
        self: &Arc<Hub>,
        kind: GroupKind,
        name: &Arc<str>,
        connection: ConnectionId,
        limit: usize,
    ) -> Option<Box<ReservedPlace>> {
        let room = self.groups_of(kind).reserve(name, connection, limit)?;
        Some(Box::new(ReservedPlace { hub: self.clone(), kind, connection, room: Some(room) }))
    }
}
