//! A hub in a cluster: the things that it tells its peers, and those that they do here.

use std::sync::Arc;

use bytes::Bytes;

use super::Hub;
use crate::connection_id::{ConnectionId, NodeId};
use crate::inbox::Cause;
use crate::peers::{Listed, NoticeFor, Peers};
use crate::presence::Meta;
use crate::recipients::Group;

/// Towards the other nodes.
impl Hub {
    /// Returns the peers, if a connection is one of another node.
    pub(super) fn peers_of(&self, id: ConnectionId) -> Option<&dyn Peers> {
        let peers = self.peers.as_deref()?;
        id.local_number().is_none().then_some(peers)
    }

    pub(super) fn tell_counted(&self, group: Group<'_>) {
        if let Some(peers) = &self.peers {
            peers.counted(group);
        }
    }

    pub(super) fn tell_listed(&self, room: &str, id: ConnectionId, has_ended: bool) {
        if let Some(peers) = &self.peers {
            peers.listed(room, id.number, has_ended);
        }
    }

    /// Waits until the messages of other nodes for a group are received, of which a connection has just become one.
    pub(crate) async fn open(&self, group: Group<'_>) {
        if let Some(wait) = self.peers.as_ref().and_then(|peers| peers.opening(group)) {
            wait.await;
        }
    }

    /// Takes a notice to connections of other nodes.
    pub fn post_elsewhere(&self, to: NoticeFor, cause: Option<&Cause>, payload: &Bytes, hops: u8) {
        if let Some(peers) = &self.peers {
            peers.notify(to, cause, payload, hops);
        }
    }

    /// Returns true if there are other nodes, whatever their number.
    pub fn is_shared(&self) -> bool {
        self.peers.is_some()
    }

    /// Returns true if a message of so many bytes would be taken to other nodes now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.has_room(bytes))
    }

    /// Waits until [`count_everywhere`](Hub::count_everywhere) knows a group.
    pub async fn ask(&self, group: Group<'_>) {
        if let Some(wait) = self.peers.as_ref().and_then(|peers| peers.asking(group)) {
            wait.await;
        }
    }

    /// Returns the number of a room's members, or of a user's connections, on all nodes. The part of other nodes may
    /// be a second old.
    pub fn count_everywhere(&self, group: Group<'_>) -> usize {
        self.count(group).saturating_add(self.count_of_others(group))
    }

    /// Returns at most `limit` members of a room or connections of a user on all nodes, in ascending order, beginning
    /// after `after`.
    pub async fn members_everywhere(
        &self,
        group: Group<'_>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Vec<ConnectionId> {
        let Some(peers) = &self.peers else { return self.members(group, after, limit) };
        let others = peers.members(group, after, limit);
        let own = NodeId::local();
        let mut ids = match after {
            Some(id) if id.node > own => Vec::new(),
            Some(id) if id.node == own => self.members(group, after, limit),
            _ => self.members(group, None, limit),
        };
        if let Some(others) = others {
            ids.extend(others.await);
            ids.sort_unstable();
        }
        ids.truncate(limit);
        ids
    }

    /// Returns the number of a room's members, or of a user's connections, on other nodes.
    pub fn count_of_others(&self, group: Group<'_>) -> usize {
        self.peers.as_ref().map_or(0, |peers| peers.count(group))
    }
}

/// From the other nodes.
impl Hub {
    /// Changes the place of another node's connection in the presence list of a room.
    pub fn list_here(&self, room: &Arc<str>, id: ConnectionId, listed: Listed) {
        match listed {
            Listed::Present(key, meta) => self.presence.track(room, id, &key, &meta),
            Listed::Absent => self.presence.untrack(room, id),
            Listed::Ended => self.presence.end(room, id),
            Listed::Unknown => self.presence.forget(room, id),
        }
    }

    /// Forgets the connections of other nodes in all presence lists.
    pub fn forget_others(&self) {
        self.presence.forget_others();
    }

    /// Returns the key and the metadata under which one of this node's connections is present in a room.
    pub fn listed_here(&self, room: &str, connection: u64) -> Option<(Arc<str>, Meta)> {
        self.presence.entry(room, ConnectionId::local(connection))
    }

    /// Returns the connections of this node that are present in a room, with keys and metadata.
    pub fn all_listed_here(&self, room: &str) -> Vec<(u64, Arc<str>, Meta)> {
        let entries = self.presence.entries(room).into_iter();
        let of_this_node = |(id, key, meta): (ConnectionId, Arc<str>, Meta)| {
            id.local_number().map(|number| (number, key, meta))
        };
        entries.filter_map(of_this_node).collect()
    }

    /// Returns the names of all rooms that have members on this node, and of all users that have connections.
    pub fn groups_here(&self) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let names = |rooms: Vec<Arc<crate::room::Room>>| {
            rooms.iter().map(|room| room.name().clone()).collect()
        };
        (names(self.rooms.page(None, usize::MAX)), names(self.users.page(None, usize::MAX)))
    }
}
