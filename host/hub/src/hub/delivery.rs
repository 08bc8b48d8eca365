//! The deliveries to other connections, rooms and channels: frames, closes, notices, posts.
//!
//! There is no other way from one connection's event to another connection. So everything that all
//! nodes of a cluster have to hear of passes through here: [peers](crate::peers) take the arguments of
//! these functions, which are ids, names and encoded frames, to the other nodes, which call the functions
//! whose names end in `here`.
//!
//! A frame or a close that finds no receiver is dropped. A place for a notice or a post is taken
//! when a handler calls, and filled when its event commits, so that an accepted post cannot be
//! refused.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Hub;
use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::inbox::{Cause, InboxLimits, NoPlace, Outcome, Place};
use crate::outbound::{Outbound, PendingWrites};
use crate::recipients::{Audience, Group, Recipients};
use crate::room::{Announce, Members, Room, broadcast};
use wharf_contract::close::{Close, Reason};
use wharf_engine::Unavailable;

/// Inboxes that are filled, or connections that are closed, in a row before other tasks get their
/// turn.
const VISITS_PER_TURN: usize = 1024;

/// Rooms of a sender that are compared by name before a room is looked up in the table.
const ROOMS_LOOKED_THROUGH: usize = 8;

/// The inboxes of a room's members or of a user's connections.
#[derive(Debug, Default)]
pub struct Posting {
    /// Places in the inboxes that have room.
    pub places: Vec<Place>,
    /// Connections whose inbox is full. They are ended, like a connection that does not read: one
    /// must not keep the others from getting the notice, nor miss it and go on.
    pub full: Vec<Arc<Outbound>>,
}

/// Frames.
impl Hub {
    /// Queues a frame for one connection, or takes it to the connection's node. Returns true if it was queued.
    pub fn send_to(&self, to: ConnectionId, frame: &Frame, writes: &mut PendingWrites) -> bool {
        if let Some(peers) = self.peers_of(to) {
            peers.send_to(to, frame);
            return true;
        }
        self.connections.with(to, |record| writes.push(&record.outbound, frame)).unwrap_or(false)
    }

    /// Queues a frame for recipients except one of them, once for each, on all nodes. Returns the number of those of
    /// this node.
    ///
    /// Deliveries to a room reach all of its members in one order: the next one begins when this
    /// one is over. `from` is the connection whose event it is, if there is one.
    pub async fn deliver(
        &self,
        from: Option<&ConnectionRecord>,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
    ) -> usize {
        match &self.peers {
            None => self.deliver_announced(from, to, frame, except, writes, None).await,
            Some(peers) => {
                let announce = || peers.deliver(to, frame, except);
                // Boxed, so that the future of every commit is not as large as this one.
                let delivery =
                    self.deliver_announced(from, to, frame, except, writes, Some(&announce));
                Box::pin(delivery).await
            }
        }
    }

    /// Queues a frame of another node for the recipients on this one.
    pub async fn deliver_here(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
    ) -> usize {
        let queued = self.deliver_announced(None, to, frame, except, writes, None).await;
        self.note_sent(writes);
        queued
    }

    async fn deliver_announced(
        &self,
        from: Option<&ConnectionRecord>,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
        announce: Announce<'_>,
    ) -> usize {
        // A connection of another node is not among the members.
        let number = except.and_then(ConnectionId::local_number);
        let of_room = |room: Option<Arc<Room>>, writes: &mut PendingWrites| match room {
            Some(room) => room.members.broadcast_at_once(frame, number, writes, announce),
            None => {
                if let Some(announce) = announce {
                    announce();
                }
                Some(0)
            }
        };
        let queued = match to {
            Recipients::Room(name) => {
                // Mostly it is a room of the sender, which needs no look-up in the table.
                let of_sender = from.and_then(|from| {
                    let groups = from.groups();
                    let mut first = groups.joined.iter().take(ROOMS_LOOKED_THROUGH);
                    let room = first.find(|room| room.name() == name)?;
                    room.members.broadcast_at_once(frame, number, writes, announce)
                });
                of_sender.or_else(|| of_room(self.rooms.get(name), writes))
            }
            Recipients::User(user) => of_room(self.users.get(user), writes),
            Recipients::Everyone => {
                self.everyone.broadcast_at_once(frame, number, writes, announce)
            }
            Recipients::Rooms(_) | Recipients::Users(_) | Recipients::Audience(_) => None,
        };
        let queued = match queued {
            Some(queued) => queued,
            // Boxed, so that the future of every commit is not as large as this one.
            None => Box::pin(self.deliver_in_turn(to, frame, except, writes, announce)).await,
        };
        self.sent.broadcast(queued);
        queued
    }

    async fn deliver_in_turn(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
        announce: Announce<'_>,
    ) -> usize {
        let number = except.and_then(ConnectionId::local_number);
        let is_wanted = |known: u64, _: &Outbound| number != Some(known);
        let (rooms, users) = match to {
            Recipients::Room(name) => (self.rooms.several(std::slice::from_ref(name)), Vec::new()),
            Recipients::Rooms(names) => (self.rooms.several(names), Vec::new()),
            Recipients::User(user) => (Vec::new(), self.users.several(std::slice::from_ref(user))),
            Recipients::Users(users) => (Vec::new(), self.users.several(users)),
            Recipients::Everyone => {
                return broadcast(&[&self.everyone], frame, writes, announce, is_wanted).await;
            }
            Recipients::Audience(audience) => {
                return self.deliver_to_audience(audience, frame, except, writes, announce).await;
            }
        };
        let named: Vec<&Members> = rooms.iter().chain(&users).map(|room| &room.members).collect();
        broadcast(&named, frame, writes, announce, is_wanted).await
    }

    async fn deliver_to_audience(
        &self,
        audience: &Audience,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
        announce: Announce<'_>,
    ) -> usize {
        let except = audience.except.iter().copied().chain(except);
        let mut except: BTreeSet<u64> = except.filter_map(ConnectionId::local_number).collect();
        for user in &audience.except_users {
            if let Some(user) = self.users.get(user) {
                except.extend(user.members.iter().map(|(id, _)| id.number));
            }
        }
        let rooms = self.rooms.several(&audience.rooms);
        let users = self.users.several(&audience.users);
        let named: Vec<&Members> = match audience.everyone {
            true => vec![&self.everyone],
            false => rooms.iter().chain(&users).map(|room| &room.members).collect(),
        };
        broadcast(&named, frame, writes, announce, |number, outbound| {
            !except.contains(&number)
                && (audience.labels.is_empty() || outbound.has_labels(&audience.labels))
        })
        .await
    }

    /// Returns the number of connections that a delivery visits at present. A connection that is
    /// named several times counts as often.
    pub fn reach(&self, to: &Recipients) -> usize {
        let members = |name: &str| self.rooms.get(name).map_or(0, |room| room.members.count());
        let connections = |user: &str| self.users.get(user).map_or(0, |user| user.members.count());
        let all = |names: &[Arc<str>], count: &dyn Fn(&str) -> usize| {
            names.iter().fold(0, |sum: usize, name| sum.saturating_add(count(name)))
        };
        match to {
            Recipients::Room(name) => members(name),
            Recipients::Rooms(names) => all(names, &members),
            Recipients::User(user) => connections(user),
            Recipients::Users(users) => all(users, &connections),
            Recipients::Everyone => self.connection_count(),
            Recipients::Audience(audience) => {
                let named = match audience.everyone {
                    true => self.connection_count(),
                    false => all(&audience.rooms, &members)
                        .saturating_add(all(&audience.users, &connections)),
                };
                named.saturating_add(all(&audience.except_users, &connections))
            }
        }
    }
}

/// Frames of other channels.
impl Hub {
    /// Queues another channel's frame for the members of a room. Returns their number.
    pub async fn publish(
        &self,
        room: &Arc<str>,
        frame: &Frame,
        writes: &mut PendingWrites,
    ) -> usize {
        self.publications.published(room, frame);
        let to = Recipients::Room(room.clone());
        if !self.histories.covers(room) {
            return self.deliver(None, &to, frame, None, writes).await;
        }
        // One that cannot be recorded does not happen; the reason is in the log.
        self.publish_kept(to, frame.clone(), writes).await.unwrap_or_default()
    }

    /// Publishes to a room that keeps messages. Boxed with a type of its own: the commit of an event waits for this, and
    /// this for a commit.
    fn publish_kept<'a>(
        &'a self,
        to: Recipients,
        frame: Frame,
        writes: &'a mut PendingWrites,
    ) -> Pin<Box<dyn Future<Output = Result<usize, Unavailable>> + Send + 'a>> {
        Box::pin(self.broadcast_kept(to, frame, None, writes))
    }
}

/// Closes.
impl Hub {
    /// Asks a connection to close. Returns true if it is open, or on another node.
    pub fn disconnect(&self, id: ConnectionId, close: &Close) -> bool {
        if let Some(peers) = self.peers_of(id) {
            peers.disconnect(id, close);
            return true;
        }
        let outbound = self.outbound(id);
        if let Some(outbound) = &outbound {
            outbound.close(close.clone());
        }
        outbound.is_some()
    }

    /// Asks all present connections of a user to close, on all nodes. Other tasks get their turn in between.
    /// Returns the number of those of this node.
    pub async fn disconnect_user(&self, user: &str, close: &Close) -> usize {
        if let Some(peers) = &self.peers {
            peers.disconnect_user(user, close);
        }
        self.disconnect_user_here(user, close).await
    }

    /// Asks all present connections that a user has on this node to close. Returns their number.
    pub async fn disconnect_user_here(&self, user: &str, close: &Close) -> usize {
        match self.users.get(user) {
            Some(user) => visit(&user.members, |outbound| outbound.close(close.clone())).await,
            None => 0,
        }
    }

    /// Asks every present connection to end, at this pace. Other tasks get their turn in between.
    pub async fn end_all(&self, pace: &mut EndPace, reason: Reason) {
        let was_there = ConnectionId::all_until_now();
        for (_, outbound) in self.everyone.iter().take_while(|(id, _)| was_there(*id)) {
            pace.next().await;
            outbound.end(reason);
        }
    }
}

/// Time between two batches of connections that are ended.
const END_PAUSE: Duration = Duration::from_millis(100);

/// The pace at which connections of all channels are ended.
#[derive(Debug)]
pub struct EndPace {
    batch: usize,
    /// Connections that may be ended before the next pause.
    left: usize,
}

impl EndPace {
    /// Makes a pace without pauses, at which other tasks have their turns all the same.
    pub fn at_once() -> EndPace {
        EndPace::per_second(usize::MAX)
    }

    /// Makes a pace of so many connections in a second, of which the first come at once.
    pub fn per_second(connections: usize) -> EndPace {
        let batches = (Duration::from_secs(1).as_millis() / END_PAUSE.as_millis()) as usize;
        let batch = connections.div_ceil(batches).max(1);
        EndPace { batch, left: batch }
    }

    async fn next(&mut self) {
        if self.left == 0 {
            tokio::time::sleep(END_PAUSE).await;
            self.left = self.batch;
        }
        self.left -= 1;
        if self.left.is_multiple_of(VISITS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}

/// Visits the members that are there now, and lets other tasks run in between. Returns their number.
async fn visit(members: &Members, act: impl Fn(&Outbound)) -> usize {
    let was_there = ConnectionId::all_until_now();
    let mut visited = 0;
    for (id, outbound) in members.iter() {
        if !was_there(id) {
            break;
        }
        act(&outbound);
        visited += 1;
        if visited % VISITS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    visited
}

/// Notices, and events of rooms.
impl Hub {
    /// Takes a place for a notice in a connection's inbox.
    ///
    /// # Errors
    ///
    /// There is no place, or no such connection, which includes one that has just ended.
    pub fn notice_place(
        &self,
        to: ConnectionId,
        bytes: usize,
        limits: InboxLimits,
    ) -> Result<Place, NoPlace> {
        Place::take(self.outbound(to).ok_or(NoPlace::Closed)?, bytes, limits)
    }

    /// Takes places for a notice in the inboxes of a room's members or of a user's connections,
    /// without the excepted ones.
    pub async fn notice_places(
        &self,
        to: Group<'_>,
        except: &[ConnectionId],
        bytes: usize,
        limits: InboxLimits,
    ) -> Posting {
        let mut posting = Posting::default();
        let Some(room) = self.group(to) else {
            return posting;
        };
        for (at, (id, outbound)) in room.members.iter().enumerate() {
            if !except.contains(&id) {
                posting.take_place(outbound, bytes, limits);
            }
            if at % VISITS_PER_TURN == VISITS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        posting
    }

    pub(super) fn outbound(&self, id: ConnectionId) -> Option<Arc<Outbound>> {
        self.connections.with(id, |record| record.outbound.clone())
    }

    /// Posts an event into an inbox.
    pub fn post(&self, place: Place, cause: Option<Arc<Cause>>, payload: Bytes, hops: u8) {
        place.fill(cause, payload, hops);
    }

    /// Posts an event of the operator's into a room's inbox. Returns the receiver of its outcome.
    pub fn post_awaited(
        &self,
        place: Place,
        payload: Bytes,
        hops: u8,
    ) -> oneshot::Receiver<Outcome> {
        place.fill_awaited(payload, hops)
    }

    /// Posts one event into several inboxes, and ends the connections whose inbox is full. Returns
    /// the number of inboxes.
    pub async fn post_to_several(
        &self,
        posting: Posting,
        cause: Option<Arc<Cause>>,
        payload: &Bytes,
        hops: u8,
    ) -> usize {
        let count = posting.places.len();
        for (at, place) in posting.places.into_iter().enumerate() {
            place.fill(cause.clone(), payload.clone(), hops);
            if at % VISITS_PER_TURN == VISITS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        for outbound in posting.full {
            outbound.end(Reason::Overload);
        }
        count
    }
}

impl Posting {
    /// Takes a place in one more inbox.
    pub fn take_place(&mut self, to: Arc<Outbound>, bytes: usize, limits: InboxLimits) {
        match Place::take(to.clone(), bytes, limits) {
            Ok(place) => self.places.push(place),
            Err(NoPlace::Full | NoPlace::ChannelFull) => self.full.push(to),
            // The connection has ended since the room was visited.
            Err(NoPlace::Closed) => {}
        }
    }
}
