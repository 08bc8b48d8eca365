//! The effects that a handler has recorded, until the event commits or fails.
//!
//! Each effect is checked when it is recorded, so that a commit cannot fail. A receiver that
//! overruns its outbound queue at the commit is ended; others are not affected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf_contract::CallRefusal;
use wharf_contract::close::Close;
use wharf_contract::effects::{EffectLimits, Recorded, label_bytes, name_bytes};

use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::history::Position;
use crate::hub::{Hub, KeptIn, Posting, ReservedPlace};
use crate::inbox::{Cause, Place, Scope};
use crate::outbound::{Label, PendingWrites};
use crate::owners::TimerChange;
use crate::peers::NoticeFor;
use crate::presence::Meta;
use crate::recipients::{Group, Recipients};
use crate::timer::NewTimer;

/// One effect of a handler.
#[derive(Debug)]
pub enum Effect {
    /// Queue a frame for the event's own connection.
    Send(Frame),
    /// Queue a frame for another connection.
    SendTo(ConnectionId, Frame),
    /// Queue a frame for several connections.
    Broadcast {
        /// The connections.
        to: Recipients,
        /// The frame.
        frame: Frame,
        /// A connection that is left out, even if it is one of them.
        except: Option<ConnectionId>,
        /// The places in the logs of rooms that keep it, once it is recorded.
        kept: Option<Box<KeptIn>>,
    },
    /// Become a member, in this place if one is reserved.
    Join(Arc<str>, Option<Box<ReservedPlace>>),
    /// End a membership.
    Leave(Arc<str>),
    /// Assign the event's own connection to a user, in this place if one is reserved.
    Identify(Arc<str>, Option<Box<ReservedPlace>>),
    /// Label the event's own connection.
    SetLabel(Box<Label>),
    /// Remove a label of the event's own connection.
    ClearLabel(Box<str>),
    /// Be present in a room.
    Track(Box<Track>),
    /// End the presence in a room.
    Untrack(Arc<str>),
    /// Send the list of a room to the event's own connection, and from then on its changes.
    Watch(Arc<str>),
    /// Stop sending the changes of a list.
    Unwatch(Arc<str>),
    /// Close another connection.
    Disconnect(ConnectionId, Box<Close>),
    /// Close the connections of a user.
    DisconnectUser(Arc<str>, Box<Close>),
    /// Post an event into a connection's inbox, or a room's.
    Post(Place, Bytes),
    /// Post one event into several inboxes, and end those whose inbox is full.
    PostToSeveral(Box<Posting>, Bytes),
    /// Post one event to connections of other nodes.
    PostElsewhere(Box<NoticeFor>, Bytes),
    /// Set a timer.
    SetTimer(Box<NewTimer>),
    /// Cancel a timer.
    CancelTimer(Box<(Scope, Arc<str>)>),
    /// Queue a frame for the members of a room of another channel.
    Publish(Box<(Arc<Hub>, Arc<str>)>, Frame),
}

/// The presence of the event's own connection in a room.
#[derive(Clone, Debug)]
pub struct Track {
    /// The room.
    pub room: Arc<str>,
    /// Key of the entry.
    pub key: Arc<str>,
    /// Metadata.
    pub meta: Meta,
}

impl Effect {
    fn payload_bytes(&self) -> usize {
        match self {
            Effect::Send(frame)
            | Effect::SendTo(_, frame)
            | Effect::Broadcast { frame, .. }
            | Effect::Publish(_, frame) => frame.payload_bytes(),
            Effect::Post(_, payload)
            | Effect::PostToSeveral(_, payload)
            | Effect::PostElsewhere(_, payload) => payload.len(),
            Effect::SetTimer(timer) => timer.payload.len(),
            Effect::Track(track) => track.meta.len(),
            _ => 0,
        }
    }

    fn name_bytes(&self) -> usize {
        match self {
            Effect::Broadcast { to, .. } => to.name_bytes(),
            Effect::Join(name, _)
            | Effect::Leave(name)
            | Effect::Identify(name, _)
            | Effect::Untrack(name)
            | Effect::Watch(name)
            | Effect::Unwatch(name)
            | Effect::DisconnectUser(name, _) => name_bytes(name),
            Effect::Publish(to, _) => name_bytes(&to.1),
            Effect::SetLabel(label) => label_bytes(&label.0, &label.1),
            Effect::Track(track) => name_bytes(&track.room) + name_bytes(&track.key),
            Effect::ClearLabel(name) => name_bytes(name),
            _ => 0,
        }
    }

    fn is_broadcast(&self) -> bool {
        matches!(self, Effect::Broadcast { .. } | Effect::PostToSeveral(..) | Effect::Publish(..))
    }

    /// Returns true if other nodes of a cluster have to hear of it.
    fn leaves(&self, hub: &Hub) -> bool {
        let is_elsewhere = |id: &ConnectionId| id.local_number().is_none();
        hub.is_shared()
            && match self {
                Effect::SendTo(id, _) | Effect::Disconnect(id, _) => is_elsewhere(id),
                Effect::Broadcast { .. }
                | Effect::Publish(..)
                | Effect::DisconnectUser(..)
                | Effect::PostToSeveral(..) => true,
                // One to a group follows that to its members here, which was asked for.
                Effect::PostElsewhere(to, _) => matches!(**to, NoticeFor::Connection(_)),
                // That of a room whose owner is another node.
                Effect::Post(place, _) => place.is_elsewhere(),
                _ => false,
            }
    }

    /// Returns the number of connections that a broadcast reaches at present. A connection in
    /// several rooms counts several times.
    fn receivers(&self, hub: &Hub) -> usize {
        match self {
            Effect::Broadcast { to, .. } => hub.reach(to),
            Effect::PostToSeveral(posting, _) => posting.places.len(),
            Effect::Publish(to, _) => to.0.count(Group::Room(&to.1)),
            _ => 0,
        }
    }
}

/// The effects of one event, in the order recorded.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    recorded: Recorded,
    close: Option<Close>,
    /// Boxed: few events change memberships or timers.
    noted: Option<Box<Noted>>,
    /// The `ref` of the message that is handled, as JSON, which posts carry on.
    reference: Option<Arc<str>>,
}

/// The state in which the effects leave memberships and timers. Without it an event with many joins
/// would look through all of them for each.
#[derive(Debug, Default)]
struct Noted {
    /// The last join or leave of each room: true for a join.
    memberships: BTreeMap<Arc<str>, bool>,
    /// Number of the connection's rooms after the event, less that before it.
    more_rooms: isize,
    /// The last change of each timer: true if it is set.
    timers: BTreeMap<(Scope, Arc<str>), bool>,
    /// Number of each scope's timers after the event, less that before it.
    more_timers: BTreeMap<Scope, isize>,
}

impl Effects {
    /// Makes the effects of something that is no event, which have no limits.
    pub(crate) fn of(effect: Effect) -> Effects {
        Effects { list: vec![effect], ..Effects::default() }
    }

    /// Records an effect.
    ///
    /// # Errors
    ///
    /// `too-many-effects`, or `cluster-queue-full`; nothing has changed.
    pub fn record(
        &mut self,
        effect: Effect,
        hub: &Hub,
        limits: EffectLimits,
    ) -> Result<(), CallRefusal> {
        let (payload, names) = (effect.payload_bytes(), effect.name_bytes());
        let receivers = effect.is_broadcast().then_some(|| effect.receivers(hub));
        let recorded = self.recorded.with(payload, names, receivers, limits);
        let recorded = recorded.ok_or_else(|| limits.exceeded())?;
        // Earlier messages of the event wait for its end, and are not in the queue yet.
        if effect.leaves(hub) && !hub.has_room(recorded.payload_bytes + recorded.name_bytes) {
            return Err(CallRefusal::ClusterQueueFull);
        }
        self.recorded = recorded;
        self.note(&effect);
        self.list.push(effect);
        Ok(())
    }

    /// Notes the state in which an effect leaves a membership or a timer.
    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Join(room, _) => drop(self.noted().memberships.insert(room.clone(), true)),
            Effect::Leave(room) => drop(self.noted().memberships.insert(room.clone(), false)),
            Effect::SetTimer(timer) => {
                let key = (timer.scope.clone(), timer.name.clone());
                self.noted().timers.insert(key, true);
            }
            Effect::CancelTimer(timer) => {
                self.noted().timers.insert((**timer).clone(), false);
            }
            _ => {}
        }
    }

    fn noted(&mut self) -> &mut Noted {
        self.noted.get_or_insert_default()
    }

    /// Records the wish to close; the first one stays.
    pub fn record_close(&mut self, close: Close) {
        self.close.get_or_insert(close);
    }

    /// Returns the result of the recorded joins and leaves for a membership: `Some(true)` joined,
    /// `Some(false)` left, `None` untouched.
    pub fn membership(&self, room: &str) -> Option<bool> {
        self.noted.as_ref()?.memberships.get(room).copied()
    }

    /// Counts a recorded join of a room that the connection was not in (1), or a recorded leave of
    /// one that it was in (-1).
    pub fn count_room(&mut self, change: isize) {
        self.noted().more_rooms += change;
    }

    /// Returns the number of the connection's rooms as the recorded joins and leaves make them.
    pub fn room_count(&self, connection: &ConnectionRecord) -> usize {
        let more = self.noted.as_ref().map_or(0, |noted| noted.more_rooms);
        connection.room_count().saturating_add_signed(more)
    }

    /// Returns the result of the recorded changes for a timer: `Some(true)` set, `Some(false)`
    /// cancelled, `None` untouched.
    pub fn timer(&self, scope: &Scope, name: &Arc<str>) -> Option<bool> {
        self.noted.as_ref()?.timers.get(&(scope.clone(), name.clone())).copied()
    }

    /// Returns true if the event sets or cancels a timer.
    pub(crate) fn has_timers(&self) -> bool {
        self.noted.as_ref().is_some_and(|noted| !noted.timers.is_empty())
    }

    /// Calls a function for each timer that is set, in the order recorded, or cancelled (`None`).
    pub(crate) fn for_each_timer(
        &mut self,
        mut act: impl FnMut(&Scope, &Arc<str>, Option<&mut NewTimer>),
    ) {
        for effect in &mut self.list {
            match effect {
                Effect::SetTimer(timer) => {
                    let (scope, name) = (timer.scope.clone(), timer.name.clone());
                    act(&scope, &name, Some(timer));
                }
                Effect::CancelTimer(of) => act(&of.0, &of.1, None),
                _ => {}
            }
        }
    }

    /// Takes the changes of the timers of a scope out of the effects, in the order recorded.
    pub(crate) fn take_timers_of(&mut self, of: &Scope) -> Vec<TimerChange> {
        let is_of = |effect: &mut Effect| match effect {
            Effect::SetTimer(timer) => timer.scope == *of,
            Effect::CancelTimer(timer) => timer.0 == *of,
            _ => false,
        };
        let taken = self.list.extract_if(.., is_of);
        let change = |effect| match effect {
            Effect::SetTimer(timer) => Some(TimerChange::set(*timer)),
            Effect::CancelTimer(of) => Some(TimerChange::Cancel(of.1)),
            _ => None,
        };
        taken.filter_map(change).collect()
    }

    /// Calls a function for each broadcast that has no place in a log yet, with its place among the effects. The
    /// function returns the places that it is to have.
    pub(crate) fn for_each_broadcast(
        &mut self,
        mut act: impl FnMut(usize, &Recipients, &Frame, Option<ConnectionId>) -> Option<Box<KeptIn>>,
    ) {
        for (at, effect) in self.list.iter_mut().enumerate() {
            if let Effect::Broadcast { to, frame, except, kept } = effect {
                *kept = act(at, to, frame, *except);
            }
        }
    }

    /// Changes the places of a broadcast in the logs of its rooms.
    pub(crate) fn note_kept(&mut self, effect: usize, note: impl FnOnce(&mut KeptIn)) {
        if let Some(Effect::Broadcast { kept: Some(kept), .. }) = self.list.get_mut(effect) {
            note(kept);
        }
    }

    /// Returns the time until a timer fires, if the event has set it.
    pub fn timer_delay(&self, scope: &Scope, name: &str) -> Option<Duration> {
        self.list.iter().rev().find_map(|effect| match effect {
            Effect::SetTimer(timer) if timer.scope == *scope && &*timer.name == name => {
                Some(timer.delay)
            }
            _ => None,
        })
    }

    /// Counts a recorded timer that there was not (1), or the end of one that there was (-1).
    pub fn count_timer(&mut self, scope: Scope, change: isize) {
        *self.noted().more_timers.entry(scope).or_default() += change;
    }

    /// Returns the number of a scope's timers, of which there are `before` without the event, as the
    /// recorded changes make them. One that fires meanwhile may be counted for the event.
    pub fn timer_count(&self, scope: &Scope, before: usize) -> usize {
        let noted = self.noted.as_ref();
        let more = noted.and_then(|noted| noted.more_timers.get(scope).copied());
        let more = more.unwrap_or_default();
        before.saturating_add_signed(more)
    }

    /// Returns the user of the connection, if the event identifies it.
    pub fn identity(&self) -> Option<&Arc<str>> {
        self.list.iter().rev().find_map(|effect| match effect {
            Effect::Identify(user, _) => Some(user),
            _ => None,
        })
    }

    /// Returns the event's changes of its connection's labels, in the order recorded: a name, and
    /// its new value, or `None` if it is removed.
    pub fn labels(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.list.iter().filter_map(|effect| match effect {
            Effect::SetLabel(label) => Some((&*label.0, Some(&*label.1))),
            Effect::ClearLabel(name) => Some((&**name, None)),
            _ => None,
        })
    }

    /// Returns the event's change of its connection's presence in a room: `Some(None)` for absent,
    /// `None` for no change.
    pub fn presence(&self, room: &str) -> Option<Option<&Track>> {
        self.list.iter().rev().find_map(|effect| match effect {
            Effect::Track(track) if &*track.room == room => Some(Some(&**track)),
            Effect::Untrack(name) | Effect::Leave(name) if &**name == room => Some(None),
            _ => None,
        })
    }

    /// Returns the entries that the event adds or replaces, in any room.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.list.iter().filter_map(|effect| match effect {
            Effect::Track(track) => Some(&**track),
            _ => None,
        })
    }

    /// Returns the connection's rooms as the recorded joins and leaves make them, in the order
    /// joined.
    pub fn rooms(&self, mut rooms: Vec<Arc<str>>) -> Vec<Arc<str>> {
        if self.noted.as_ref().is_none_or(|noted| noted.memberships.is_empty()) {
            return rooms;
        }
        // A room that was left and joined again is the last one, so the last effect of each counts.
        let mut left: BTreeSet<&str> = BTreeSet::new();
        let mut joined: BTreeMap<&str, (usize, &Arc<str>)> = BTreeMap::new();
        for (at, effect) in self.list.iter().enumerate() {
            match effect {
                Effect::Join(name, _) => _ = joined.entry(name).or_insert((at, name)),
                Effect::Leave(name) => {
                    joined.remove(&**name);
                    left.insert(name);
                }
                _ => {}
            }
        }
        rooms.retain(|room| !left.contains(&**room));
        // A join of a room that the connection is in changes nothing.
        rooms.iter().for_each(|room| _ = joined.remove(&**room));
        let mut joined: Vec<(usize, &Arc<str>)> = joined.into_values().collect();
        joined.sort_unstable();
        rooms.extend(joined.into_iter().map(|(_, name)| name.clone()));
        rooms
    }

    /// Discards everything but the `ref` of the message that is handled.
    pub fn discard(&mut self) {
        *self = Effects { reference: self.reference.take(), ..Effects::default() };
    }

    /// Names the `ref` of the message that is handled, as JSON. Posts carry it on.
    pub fn set_reference(&mut self, reference: Option<Arc<str>>) {
        self.reference = reference;
    }

    /// Returns the `ref` of the message that is handled, as JSON.
    pub fn reference(&self) -> Option<&Arc<str>> {
        self.reference.as_ref()
    }

    /// Checks that a broadcast to `receivers` connections may be recorded.
    ///
    /// # Errors
    ///
    /// `too-many-effects`: the broadcasts of the event would reach more connections than they may.
    pub fn check_deliveries(
        &self,
        receivers: usize,
        limits: EffectLimits,
    ) -> Result<(), CallRefusal> {
        match self.recorded.deliver(receivers) {
            Some(_) => Ok(()),
            None => Err(limits.exceeded()),
        }
    }

    /// Performs all effects, in the order recorded. Frames are left in `writes`, unless an event
    /// reaches so many connections that others must get their turn first. Returns the wish to
    /// close, which the connection's task fulfils. `hops` is the number of posts that led to the
    /// event.
    pub async fn commit(
        &mut self,
        connection: Option<&ConnectionRecord>,
        hops: u8,
        hub: &Hub,
        writes: &mut PendingWrites,
    ) -> Option<Close> {
        let Effects { list, recorded, close, noted, reference } = self;
        (*recorded, *noted) = (Recorded::default(), None);
        let (list, close) = (std::mem::take(list), close.take());
        // The user is the one whom the effects so far have made the connection's.
        let cause = || {
            let (connection, user) = connection.map(|own| (own.id, own.user()))?;
            Some(Arc::new(Cause { connection, user, reference: reference.clone() }))
        };
        let mut list = list.into_iter();
        while let Some(effect) = list.next() {
            match effect {
                Effect::Send(frame) => {
                    if let Some(connection) = connection {
                        writes.push(&connection.outbound, &frame);
                    }
                }
                Effect::SendTo(id, frame) => {
                    hub.send_to(id, &frame, writes);
                }
                Effect::Broadcast { to, frame, except, kept: None } => {
                    hub.deliver(connection, &to, &frame, except, writes).await;
                }
                Effect::Broadcast { to, frame, except, kept: Some(kept) } => {
                    // Boxed, so that the future of every commit is not as large as this one.
                    Box::pin(hub.deliver_kept(*kept, &to, &frame, except, writes)).await;
                }
                Effect::Join(name, place) => match connection {
                    Some(connection) if hub.keeps_history() => {
                        // Messages that the event sends to the room after it are for this connection as well.
                        let own = first_kept(list.as_slice(), &name);
                        Box::pin(hub.join_kept(connection, &name, place, own, writes)).await;
                        if hub.is_shared() {
                            Box::pin(hub.open(Group::Room(&name))).await;
                        }
                    }
                    Some(connection) if hub.is_shared() => {
                        hub.join_in_place(connection, &name, place);
                        Box::pin(hub.open(Group::Room(&name))).await;
                    }
                    Some(connection) => hub.join_in_place(connection, &name, place),
                    None => {}
                },
                Effect::Leave(name) => {
                    if let Some(connection) = connection {
                        hub.leave(connection, &name);
                    }
                }
                Effect::Identify(user, place) => {
                    if let Some(connection) = connection {
                        hub.identify_in_place(connection, &user, place);
                        if hub.is_shared() {
                            Box::pin(hub.open(Group::User(&user))).await;
                        }
                    }
                }
                Effect::SetLabel(label) => {
                    if let Some(connection) = connection {
                        connection.change_labels(|labels| labels.set(&label.0, &label.1));
                    }
                }
                Effect::ClearLabel(name) => {
                    if let Some(connection) = connection {
                        connection.change_labels(|labels| labels.clear(&name));
                    }
                }
                Effect::Track(track) => {
                    if let Some(connection) = connection {
                        hub.track(connection, &track.room, &track.key, &track.meta);
                    }
                }
                Effect::Untrack(room) => {
                    if let Some(connection) = connection {
                        hub.untrack(connection, &room);
                    }
                }
                Effect::Watch(room) => {
                    if let Some(connection) = connection {
                        hub.watch(connection, &room, writes);
                    }
                }
                Effect::Unwatch(room) => {
                    if let Some(connection) = connection {
                        hub.unwatch(connection, &room);
                    }
                }
                Effect::Disconnect(id, close) => {
                    hub.disconnect(id, &close);
                }
                Effect::DisconnectUser(user, close) => {
                    // Boxed, so that the future of every commit is not as large as this one.
                    Box::pin(hub.disconnect_user(&user, &close)).await;
                }
                Effect::Post(place, payload) => {
                    hub.post(place, cause(), payload, hops + 1);
                }
                Effect::PostToSeveral(posting, payload) => {
                    hub.post_to_several(*posting, cause(), &payload, hops + 1).await;
                }
                Effect::PostElsewhere(to, payload) => {
                    hub.post_elsewhere(*to, cause().as_deref(), &payload, hops + 1);
                }
                Effect::SetTimer(timer) => hub.set_timer(*timer),
                Effect::CancelTimer(of) => hub.cancel_timer(&of.0, &of.1),
                Effect::Publish(to, frame) => {
                    // Each channel counts what its own clients get.
                    hub.note_sent(writes);
                    to.0.publish(&to.1, &frame, writes).await;
                    to.0.note_sent(writes);
                }
            }
            if writes.is_urgent() {
                writes.write().await;
            }
        }
        hub.note_sent(writes);
        close
    }
}

/// Returns the place of the first message for a room in its log, if the cluster has it.
fn first_kept(effects: &[Effect], room: &str) -> Option<Position> {
    effects.iter().find_map(|effect| match effect {
        Effect::Broadcast { kept: Some(kept), .. } => kept.place_in(room),
        _ => None,
    })
}
