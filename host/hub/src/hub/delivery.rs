//! Frames on their way from the hub to connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Hub;
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::Drains;
use crate::recipients::{Audience, Recipients};
use crate::room::{Room, broadcast_where};

impl Hub {
    /// Queues a frame for recipients except one of them, once for each. Returns for how many.
    pub async fn deliver(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        drains: &mut Drains,
    ) -> usize {
        match to {
            Recipients::Room(name) => self.rooms.broadcast(name, frame, except, drains),
            Recipients::Rooms(names) => {
                self.rooms.broadcast_to_several(names, frame, except, drains)
            }
            Recipients::User(user) => self.users.broadcast(user, frame, except, drains),
            Recipients::Users(users) => {
                self.users.broadcast_to_several(users, frame, except, drains)
            }
            Recipients::Everyone => self.everyone.broadcast(frame, except, drains),
            Recipients::Audience(audience) => self.deliver_to(audience, frame, except, drains),
        }
    }

    fn deliver_to(
        &self,
        audience: &Audience,
        frame: &Frame,
        except: Option<ConnectionId>,
        drains: &mut Drains,
    ) -> usize {
        let except = audience.except.iter().copied().chain(except);
        let mut except: BTreeSet<u64> = except.filter_map(ConnectionId::local_number).collect();
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

    /// Returns how many connections a delivery looks at, as things are. A connection that is named
    /// several times counts as often.
    pub fn reach(&self, to: &Recipients) -> usize {
        let members = |name: &str| self.rooms.get(name).map_or(0, |room| room.count());
        let connections = |user: &str| self.users.get(user).map_or(0, |user| user.count());
        let all = |names: &[Arc<str>], count: &dyn Fn(&str) -> usize| {
            names.iter().fold(0, |sum: usize, name| sum.saturating_add(count(name)))
        };
        match to {
            Recipients::Room(name) => members(name),
            Recipients::Rooms(names) => all(names, &members),
            Recipients::User(user) => connections(user),
            Recipients::Users(users) => all(users, &connections),
            Recipients::Everyone => self.connections(),
            Recipients::Audience(audience) => {
                let named = match audience.everyone {
                    true => self.connections(),
                    false => all(&audience.rooms, &members)
                        .saturating_add(all(&audience.users, &connections)),
                };
                named.saturating_add(all(&audience.except_users, &connections))
            }
        }
    }
}
