//! Who a broadcast is for, where that takes more than a room and one to skip.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Hub;
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::{Drains, Label};
use crate::room::{Room, broadcast_where};

/// The members of some rooms, the connections of some users, or everybody; less some; of those
/// only the ones with certain labels. What that comes to is found when the event commits.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// Every connection of the channel.
    pub everyone: bool,
    /// The members of these rooms.
    pub rooms: Vec<Arc<str>>,
    /// The connections of these users.
    pub users: Vec<Arc<str>>,
    /// None of these connections.
    pub except: Vec<ConnectionId>,
    /// No connection of these users.
    pub except_users: Vec<Arc<str>>,
    /// Only connections with all of these labels.
    pub labels: Vec<Label>,
}

impl Audience {
    /// Whether nobody has been named.
    pub fn is_empty(&self) -> bool {
        !self.everyone && self.rooms.is_empty() && self.users.is_empty()
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms.iter().chain(&self.users).chain(&self.except_users)
    }

    /// How many connections have to be looked at, as things are; some of them several times.
    pub fn size(&self, hub: &Hub) -> usize {
        let members = |name| hub.rooms.get(name).map_or(0, |room| room.count());
        let connections = |user| hub.users.get(user).map_or(0, |user| user.count());
        let named = match self.everyone {
            true => hub.connections(),
            false => {
                let rooms = self.rooms.iter().map(|name| members(name)).sum::<usize>();
                rooms.saturating_add(self.users.iter().map(|user| connections(user)).sum())
            }
        };
        named.saturating_add(self.except_users.iter().map(|user| connections(user)).sum())
    }
}

impl Hub {
    /// Queue a frame for an audience, once for each connection in it. Returns for how many.
    pub fn broadcast(&self, audience: &Audience, frame: &Frame, drains: &mut Drains) -> usize {
        let mut except: BTreeSet<u64> =
            audience.except.iter().filter_map(|id| id.local_number()).collect();
        for user in &audience.except_users {
            if let Some(user) = self.users.get(user) {
                except.extend(user.page(None, usize::MAX).iter().map(|id| id.number));
            }
        }
        let rooms = self.rooms.several(&audience.rooms);
        let users = self.users.several(&audience.users);
        let named: Vec<&Room> = match audience.everyone {
            true => vec![&self.everyone],
            false => rooms.iter().chain(&users).map(|room| &**room).collect(),
        };
        broadcast_where(&named, frame, drains, |number, outbound| {
            !except.contains(&number)
                && (audience.labels.is_empty() || outbound.has_labels(&audience.labels))
        })
    }
}
