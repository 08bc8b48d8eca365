//! Connections of a hub: their arrival, their end, and their memberships.
//!
//! Only a connection's own events, which run one at a time, change its memberships.

use std::sync::Arc;

use super::{Hub, ReservedPlace};
use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::inbox::Scope;
use crate::outbound::PendingWrites;
use crate::presence::Meta;
use crate::recipients::Group;
use crate::room::Room;

impl Hub {
    /// Adds a connection, whose first effects are about to commit.
    pub fn connect(&self, connection: &Arc<ConnectionRecord>) {
        self.everyone.add(connection.id, connection.outbound.clone());
        self.connections.insert(connection);
    }

    /// Removes a connection from its rooms, its user and the hub. Its record keeps its last
    /// memberships.
    pub fn remove(&self, connection: &ConnectionRecord) {
        let groups = connection.groups();
        for room in &groups.joined {
            self.presence.end(room.name(), connection.id);
            self.leave_room(room, connection.id);
            self.tell_listed(room.name(), connection.id, true);
            self.tell_counted(Group::Room(room.name()));
        }
        if let Some(user) = &groups.user {
            self.users.leave(user, connection.id);
            self.tell_counted(Group::User(user.name()));
        }
        self.everyone.remove(connection.id);
        self.connections.remove(connection.id);
        self.timers.cancel_all(&Scope::Connection(connection.id));
        self.rate_limits.end(connection.id.number);
    }

    /// Makes a connection a member of a room.
    pub fn join(&self, connection: &ConnectionRecord, name: &Arc<str>) {
        self.join_in_place(connection, name, None);
    }

    /// Makes a connection a member of a room, in its reserved place if it has one.
    pub(crate) fn join_in_place(
        &self,
        connection: &ConnectionRecord,
        name: &Arc<str>,
        place: Option<Box<ReservedPlace>>,
    ) {
        let joined = &mut connection.groups().joined;
        if !joined.iter().any(|room| room.name() == name) {
            let room = place.and_then(|place| place.occupy(connection));
            let join = || self.rooms.join(name, connection.id, &connection.outbound);
            joined.push(room.unwrap_or_else(join));
            self.tell_counted(Group::Room(name));
        }
    }

    /// Ends a membership, if there is one.
    pub fn leave(&self, connection: &ConnectionRecord, name: &str) {
        let joined = &mut connection.groups().joined;
        if let Some(at) = joined.iter().position(|room| &**room.name() == name) {
            let room = joined.remove(at);
            self.presence.leave(name, connection.id);
            self.leave_room(&room, connection.id);
            self.tell_listed(name, connection.id, false);
            self.tell_counted(Group::Room(name));
        }
    }

    /// Assigns a connection to a user, and removes it from another one.
    pub fn identify(&self, connection: &ConnectionRecord, user: &Arc<str>) {
        self.identify_in_place(connection, user, None);
    }

    /// Assigns a connection to a user, in its reserved place if it has one, and removes it from another
    /// one.
    pub(crate) fn identify_in_place(
        &self,
        connection: &ConnectionRecord,
        user: &Arc<str>,
        place: Option<Box<ReservedPlace>>,
    ) {
        let current = &mut connection.groups().user;
        if current.as_ref().is_some_and(|current| current.name() == user) {
            return;
        }
        let new = place.and_then(|place| place.occupy(connection));
        let join = || self.users.join(user, connection.id, &connection.outbound);
        let new = new.unwrap_or_else(join);
        if let Some(old) = current.replace(new) {
            self.users.leave(&old, connection.id);
            self.tell_counted(Group::User(old.name()));
        }
        self.tell_counted(Group::User(user));
    }

    /// Makes a connection present in a room that it is in.
    pub fn track(
        &self,
        connection: &ConnectionRecord,
        room: &Arc<str>,
        key: &Arc<str>,
        meta: &Meta,
    ) {
        // Only members may be present: leaving a room is what removes the entry.
        if connection.is_in(room) {
            self.presence.track(room, connection.id, key, meta);
            self.tell_listed(room, connection.id, false);
        }
    }

    /// Ends a connection's presence in a room.
    pub fn untrack(&self, connection: &ConnectionRecord, room: &str) {
        self.presence.untrack(room, connection.id);
        self.tell_listed(room, connection.id, false);
    }

    /// Sends a connection the list of a room that it is in, and from now on its changes.
    pub fn watch(
        &self,
        connection: &ConnectionRecord,
        room: &Arc<str>,
        writes: &mut PendingWrites,
    ) {
        if connection.is_in(room) {
            self.presence.watch(room, connection.id, &connection.outbound, writes);
        }
    }

    /// Stops sending a connection the changes of a room's list.
    pub fn unwatch(&self, connection: &ConnectionRecord, room: &str) {
        self.presence.unwatch(room, connection.id);
    }

    /// Ends a membership. A room that becomes empty is kept for a while if it has a state.
    fn leave_room(&self, room: &Arc<Room>, id: ConnectionId) {
        if self.rooms.leave(room, id) {
            self.states.emptied(room.name());
        }
    }

    /// Returns the number of connections.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Returns the number of rooms that have members, or places that events have reserved.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// Returns the number of users that have a connection, or places that events have reserved.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Returns true if a connection is open, or its node is there.
    pub fn is_connected(&self, id: ConnectionId) -> bool {
        match self.peers_of(id) {
            Some(peers) => peers.has(id.node),
            None => self.connections.with(id, |_| ()).is_some(),
        }
    }

    /// Returns the record of a connection, if it is open.
    pub fn connection(&self, id: ConnectionId) -> Option<Arc<ConnectionRecord>> {
        self.connections.with(id, Arc::clone)
    }

    /// Returns the records of at most `limit` connections in ascending order of their ids,
    /// beginning after `after`.
    pub fn connections(
        &self,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Vec<Arc<ConnectionRecord>> {
        self.connections.page(after, limit)
    }

    /// Returns the number of a room's members on this node, or of a user's connections on it.
    pub fn count(&self, group: Group<'_>) -> usize {
        self.group(group).map_or(0, |room| room.members.count())
    }

    /// Returns at most `limit` members of a room or connections of a user in ascending order,
    /// beginning after `after`; none after an id of another node.
    pub fn members(
        &self,
        group: Group<'_>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Vec<ConnectionId> {
        self.group(group).map(|room| room.members.page(after, limit)).unwrap_or_default()
    }

    pub(super) fn group(&self, group: Group<'_>) -> Option<Arc<Room>> {
        match group {
            Group::Room(name) => self.rooms.get(name),
            Group::User(name) => self.users.get(name),
        }
    }
}
