//! The rooms of a hub whose events run on one node of the cluster at a time.

use std::sync::Arc;
use std::time::Duration;

use super::Hub;
use crate::connection_id::NodeId;
use crate::effects::Effects;
use crate::inbox::{
    Addressee, Firing, InboxLimits, NoPlace, Outcome, Place, Posted, Scope, post_orphaned,
};
use crate::owners::{
    Claim, Forwarded, KeptTimer, Owners, Refused, RoomContent, TimerChange, Unavailable,
};
use crate::recipients::Group;
use crate::room_state::{RoomState, TooManyRoomStates};
use crate::time_of_day::{milliseconds, unix_ms};
use crate::timer::{Begun, NewTimer, TimerFacts};
use crate::timer_record::is_followed;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The node on which the events of a room run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// This one.
    Here,
    /// Another one.
    Elsewhere(NodeId),
}

/// The reason why an event of another node was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The inbox is full.
    Inbox(NoPlace),
    /// As many rooms as possible have data.
    Rooms,
}

/// The things that an event changes in the record of its room.
#[derive(Debug, Default)]
pub struct OwnedChanges<'a> {
    /// The new state; `None` if it is as it was.
    pub state: Option<Bytes>,
    /// The changes of the room's own timers, in their order.
    pub timers: Vec<TimerChange>,
    /// The firing that has caused the event.
    pub fired: Option<(&'a Firing, &'a Begun)>,
}

impl OwnedChanges<'_> {
    /// Returns the timers after the changes; `None` if they are as they were.
    fn timers_after(&self, before: &[KeptTimer], now: u64) -> Option<Vec<KeptTimer>> {
        let mut after = before.to_vec();
        if let Some((firing, begun)) = self.fired {
            match &begun.again {
                None => after.retain(|timer| timer.name != firing.name),
                Some(again) if is_followed(again.interval) => {
                    for timer in after.iter_mut().filter(|timer| timer.name == firing.name) {
                        timer.due_at = now.saturating_add(milliseconds(again.due_in));
                    }
                }
                Some(_) => {}
            }
        }
        for change in &self.timers {
            let (TimerChange::Set(KeptTimer { name, .. }) | TimerChange::Cancel(name)) = change;
            after.retain(|timer| timer.name != *name);
            if let TimerChange::Set(timer) = change {
                after.push(timer.clone());
            }
        }
        (after != before).then_some(after)
    }
}

/// Returns the refusal of what an event does whose room is another node's now.
pub fn moved() -> Unavailable {
    Unavailable::new("the room has moved to another host")
}

/// Returns the scope of the timers of a room; the one without a name is the channel itself.
fn scope_of(room: &RoomState) -> Scope {
    match &**room.name() {
        "" => Scope::Channel,
        _ => Scope::Room(room.name().clone()),
    }
}

impl Hub {
    /// Lets the events of each room run on one node of the cluster at a time.
    pub fn with_owners(mut self, owners: Box<dyn Owners>) -> Hub {
        self.owners = Some(owners);
        self
    }

    /// Returns true if rooms have owners, so that this node does not run the events of all.
    pub fn has_owners(&self) -> bool {
        self.owners.is_some()
    }

    /// Returns the node on which the events of a room run. A room without one becomes this node's, with its state and its
    /// timers.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn locate(&self, room: &Arc<RoomState>) -> Result<Located, Unavailable> {
        let Some(owners) = &self.owners else { return Ok(Located::Here) };
        if let Some(hold) = room.hold() {
            if owners.holds(hold) {
                return Ok(Located::Here);
            }
            match owners.confirm(hold).await {
                Ok(()) => return Ok(Located::Here),
                Err(Refused::Lost | Refused::Moved) => self.disown(room),
                Err(Refused::Unavailable(why)) => return Err(why),
            }
        }
        if let Some(node) = room.elsewhere().filter(|node| owners.has(*node)) {
            return Ok(Located::Elsewhere(node));
        }
        match owners.claim(room.name()).await? {
            Claim::Held(hold, content) => {
                self.take_over(room, content.state, &content.timers);
                room.note_here(hold, content.timers);
                Ok(Located::Here)
            }
            Claim::Elsewhere(node) => {
                room.note_elsewhere(node);
                Ok(Located::Elsewhere(node))
            }
        }
    }

    /// Takes over the state and the timers of a room from its record.
    fn take_over(&self, room: &Arc<RoomState>, state: Option<Bytes>, timers: &[KeptTimer]) {
        match state {
            Some(state) => _ = room.keep(state, usize::MAX),
            None => _ = room.forget(|| ()),
        }
        self.timers.cancel_all(&scope_of(room));
        for timer in timers {
            self.set_owned_timer(room, timer);
        }
    }

    /// Drops the state and the timers of a room that this node does not own any more. Its record is not touched.
    pub fn disown(&self, room: &RoomState) {
        room.forget_place();
        room.forget(|| ());
        self.timers.cancel_all(&scope_of(room));
    }

    /// Leaves a room to the other nodes: this one has no code for its events any more.
    pub async fn give_up(&self, room: &Arc<RoomState>) {
        self.give_up_all([room.clone()]).await;
    }

    /// Leaves all rooms whose events do not run at present to the other nodes.
    pub async fn give_up_rooms(&self) {
        self.give_up_all(self.states.idle_rooms()).await;
    }

    async fn give_up_all(&self, rooms: impl IntoIterator<Item = Arc<RoomState>>) {
        let Some(owners) = &self.owners else { return };
        let mut is_any = false;
        for room in rooms {
            // It may be this node's by its record.
            if room.is_lost() && matches!(owners.read(room.name()).await, Ok(Some(_))) {
                // Without an engine its next event tries again.
                let _ = self.locate(&room).await;
            }
            let Some((hold, timers)) = room.held() else { continue };
            let content = RoomContent { state: room.state(), timers };
            self.disown(&room);
            match owners.give_up(room.name(), hold, content).await {
                true => room.note_nowhere(),
                // An event has changed it meanwhile.
                false => continue,
            }
            is_any = true;
        }
        if is_any {
            owners.given_up();
        }
    }

    /// Looks at the record of a room again before its next event, since it was changed.
    pub fn reread(&self, room: &str) {
        if let Some(room) = self.states.find(room) {
            room.forget_place();
        }
    }

    fn set_owned_timer(&self, room: &Arc<RoomState>, timer: &KeptTimer) {
        self.timers.set(NewTimer {
            record: 0,
            replaces: 0,
            scope: scope_of(room),
            name: timer.name.clone(),
            delay: Duration::from_millis(timer.due_at.saturating_sub(unix_ms())),
            interval: timer.interval,
            payload: timer.payload.clone(),
            to: room.clone(),
        });
    }

    /// Takes the changes of a room's own timers out of the effects of one of its events: they are in its record.
    pub fn own_timers(&self, room: &RoomState, effects: &mut Effects) -> Vec<TimerChange> {
        match self.owners {
            Some(_) if effects.has_timers() => effects.take_timers_of(&scope_of(room)),
            _ => Vec::new(),
        }
    }

    /// Records what an event has changed in its room, before its effects leave, and changes the room's timers then. A planned
    /// state is kept. An event that changes nothing waits until it is certain that this node owns the room.
    ///
    /// # Errors
    ///
    /// The room is not this node's any more, or the engine cannot be used. Nothing has changed; the record may have, in
    /// the second case.
    pub async fn write_owned(
        &self,
        room: &Arc<RoomState>,
        changes: OwnedChanges<'_>,
    ) -> Result<(), Refused> {
        let Some(owners) = &self.owners else { return Ok(()) };
        let Some((hold, timers)) = room.held() else { return Err(Refused::Lost) };
        let before = hold;
        let after = changes.timers_after(&timers, unix_ms());
        let written = match (&changes.state, &after) {
            (None, None) if owners.holds(hold) => return Ok(()),
            (None, None) => owners.confirm(hold).await.map(|()| hold),
            _ => {
                let state = changes.state.clone().or_else(|| room.state());
                let timers = after.clone().unwrap_or_else(|| timers.clone());
                owners.write(room.name(), hold, RoomContent { state, timers }).await
            }
        };
        if changes.state.is_some() {
            room.settle(written.is_ok());
        }
        if let Err(Refused::Moved) = written {
            // Nobody else has its effects.
            self.disown(room);
            return Ok(());
        }
        match written {
            Ok(hold) => {
                room.note_written(before, hold, after.unwrap_or(timers));
                for change in &changes.timers {
                    match change {
                        TimerChange::Set(timer) => self.set_owned_timer(room, timer),
                        TimerChange::Cancel(name) => _ = self.timers.cancel(&scope_of(room), name),
                    }
                }
                Ok(())
            }
            Err(why) => {
                // The next event looks at the record.
                self.disown(room);
                Err(why)
            }
        }
    }

    /// Returns the data of a room, if there is any; the room without a name is the channel itself.
    fn known_room(&self, name: &str) -> Option<Arc<RoomState>> {
        match name {
            "" => Some(self.states.channel().clone()),
            name => self.states.find(name),
        }
    }

    /// Waits until it is certain that this node owns a room, or the channel itself without a name, so that effects of the event
    /// that runs may leave before its end. The event does not run again then.
    ///
    /// # Errors
    ///
    /// The room is not this node's any more, or the engine cannot be used.
    pub async fn confirm_owned(&self, room: &str) -> Result<(), Unavailable> {
        let (Some(owners), Some(room)) = (&self.owners, self.known_room(room)) else {
            return Err(moved());
        };
        let Some(hold) = room.hold() else { return Err(moved()) };
        match owners.confirm(hold).await {
            Ok(()) => {
                room.note_flushed();
                Ok(())
            }
            Err(Refused::Lost | Refused::Moved) => {
                self.disown(&room);
                Err(moved())
            }
            Err(Refused::Unavailable(why)) => Err(why),
        }
    }

    /// Takes a waiting event of a room to the node that owns the room. Returns false if that has sent such events back for too
    /// long: the event is dropped.
    pub fn forward(&self, to: NodeId, room: &RoomState, posted: Posted) -> bool {
        let Some(owners) = &self.owners else { return true };
        if room.is_refused_by(to) {
            return false;
        }
        let event = match posted {
            Posted::Event { cause, payload, hops, .. } => Forwarded::Event { cause, payload, hops },
            Posted::Awaited(event) => Forwarded::Awaited(event),
            Posted::TimerChange(change) => Forwarded::Timer(*change),
            // The owner has the timer as well, by the record.
            Posted::Timer(firing) => {
                self.timers.begin(&firing);
                return true;
            }
            // It has an owner. Only connections have a session.
            Posted::Orphaned | Posted::SessionWanted(_) => return true,
        };
        owners.forward(to, room.name(), event);
        true
    }

    /// Changes a timer of a room or of the channel through the room's inbox.
    pub(super) fn post_timer(&self, scope: &Scope, change: TimerChange) {
        let room = match scope {
            Scope::Room(name) => self.states.open(name, usize::MAX).ok(),
            Scope::Channel => Some(self.states.channel().clone()),
            Scope::Connection(_) => None,
        };
        if let Some(room) = room {
            room.post_timer(change);
        }
    }

    /// Returns true if a room has `limit` timers besides one of this name.
    pub fn has_timers_to(&self, room: &RoomState, name: &str, limit: usize) -> bool {
        let (count, was_set) = self.timers.count_of(&scope_of(room), name);
        !was_set && count >= limit
    }

    /// Returns the number of the changes of a scope's timers that wait for the owner.
    pub fn waiting_timer_changes(&self, scope: &Scope) -> usize {
        match scope {
            _ if self.owners.is_none() => 0,
            Scope::Room(name) => self.states.find(name).map_or(0, |room| room.timer_changes()),
            Scope::Channel => self.states.channel().timer_changes(),
            Scope::Connection(_) => 0,
        }
    }

    /// Returns the state of a room, wherever its events run.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn room_state_everywhere(&self, room: &str) -> Result<Option<Bytes>, Unavailable> {
        match self.record_elsewhere(room).await? {
            Some(content) => Ok(content.state),
            None => Ok(self.room_state(room)),
        }
    }

    /// Returns the time until a timer of a room or the channel fires the next time, wherever it is.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn remaining_everywhere(
        &self,
        scope: &Scope,
        name: &str,
    ) -> Result<Option<Duration>, Unavailable> {
        let Some(content) = self.record_of_scope(scope).await? else {
            return Ok(self.remaining(scope, name));
        };
        let timer = content.timers.iter().find(|timer| &*timer.name == name);
        Ok(timer.map(|timer| Duration::from_millis(timer.due_at.saturating_sub(unix_ms()))))
    }

    /// Returns at most `limit` timers of a scope, wherever they are, in ascending order of their names, beginning after
    /// `after`.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn timers_everywhere(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<TimerFacts>, Unavailable> {
        let Some(mut content) = self.record_of_scope(scope).await? else {
            return Ok(self.timers(scope, after, limit));
        };
        content.timers.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let now = unix_ms();
        let is_later = |timer: &KeptTimer| after.is_none_or(|after| &*timer.name > after);
        let later = content.timers.into_iter().filter(is_later);
        let facts = later.take(limit).map(|timer| TimerFacts {
            name: timer.name,
            due_in: Duration::from_millis(timer.due_at.saturating_sub(now)),
            interval: timer.interval,
            is_waiting: false,
            payload: timer.payload,
        });
        Ok(facts.collect())
    }

    async fn record_of_scope(&self, scope: &Scope) -> Result<Option<RoomContent>, Unavailable> {
        match scope {
            Scope::Room(name) => self.record_elsewhere(name).await,
            Scope::Channel => self.record_elsewhere("").await,
            Scope::Connection(_) => Ok(None),
        }
    }

    /// Returns the content of a room's record, if another node has the room; `None` if this one knows it.
    async fn record_elsewhere(&self, room: &str) -> Result<Option<RoomContent>, Unavailable> {
        let Some(owners) = &self.owners else { return Ok(None) };
        let hold = self.known_room(room).and_then(|room| room.hold());
        if hold.is_some_and(|hold| owners.holds(hold)) {
            return Ok(None);
        }
        Ok(Some(owners.read(room).await?.unwrap_or_default()))
    }

    /// Drops the rooms of this node that have had no events and, on all nodes, no members for `grace`, with their
    /// records. A room of which not all nodes say that they have no members stays until the next sweep.
    pub(super) async fn sweep_owned(&self, owners: &dyn Owners, now: Instant, grace: Duration) {
        let has_timers = |name: &Arc<str>| self.timers.has_any(&Scope::Room(name.clone()));
        while let Some(due) = self.states.due(now, grace) {
            let is_held =
                |name: &Arc<str>| self.states.find(name).is_some_and(|room| room.hold().is_some());
            // A room that has members here is queued again by the last one.
            let (held, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(is_held);
            let held: Vec<_> =
                held.into_iter().filter(|name| self.rooms.get(name).is_none()).collect();
            let mut unowned = Vec::with_capacity(rest.len());
            let mut is_down = false;
            for name in rest {
                let found = match is_down {
                    true => None,
                    false => self.is_of_nobody_here(owners, &name).await.ok(),
                };
                // Each further question would wait for the same engine.
                is_down = found.is_none();
                match found {
                    Some(true) => unowned.push(name),
                    Some(false) | None => self.states.emptied(&name),
                }
            }
            let asking = |name: &Arc<str>| self.peers.as_ref()?.asking(Group::Room(name));
            // All questions are on their way before the first answer is waited for.
            let answers: Vec<_> = held.iter().filter_map(asking).collect();
            for answer in answers {
                answer.await;
            }
            let is_empty_elsewhere = |name: &Arc<str>| {
                let peers = self.peers.as_ref();
                peers.is_none_or(|peers| peers.complete_count(Group::Room(name)) == Some(0))
            };
            for name in held.into_iter().chain(unowned) {
                // The last one elsewhere may have left at any time since the look before.
                let is_empty = is_empty_elsewhere(&name);
                if is_held(&name) && !self.states.is_empty_for_long(&name, is_empty) {
                    self.states.emptied(&name);
                    continue;
                }
                // A client may have joined while the others were asked. A room of another node is only forgotten here.
                let is_here = is_held(&name);
                let has_members = |name: &str| is_here && self.rooms.get(name).is_some();
                let dropped = self.states.drop_idle(&name, grace, has_members, has_timers);
                if let Some(hold) = dropped.and_then(|room| room.hold()) {
                    owners.release(&name, hold).await;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Rooms whose place is not known.
impl Hub {
    /// Returns false for a room whose record may be this node's, although its place is not known: it was reset, or a write
    /// had no answer. It is asked for again then.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    async fn is_of_nobody_here(
        &self,
        owners: &dyn Owners,
        name: &Arc<str>,
    ) -> Result<bool, Unavailable> {
        if !self.states.find(name).is_some_and(|room| room.is_lost()) {
            return Ok(true);
        }
        let is_there = owners.read(name).await?.is_some();
        if is_there {
            // In its turn among the room's events.
            self.adopt([name.clone()], usize::MAX);
        }
        Ok(!is_there)
    }
}

/// Events that come from other nodes.
impl Hub {
    /// Takes an event of a room that another node has sent here. Returns the receiver of the outcome, for one that is awaited.
    ///
    /// # Errors
    ///
    /// There is no place for it.
    pub fn take_forwarded(
        &self,
        room: &Arc<str>,
        event: Forwarded,
        limits: InboxLimits,
        max_rooms: usize,
    ) -> Result<Option<oneshot::Receiver<Outcome>>, NotTaken> {
        let room = match &**room {
            "" => self.states.channel().clone(),
            _ => self.states.open(room, max_rooms).map_err(|_| NotTaken::Rooms)?,
        };
        room.forget_elsewhere();
        let place = |bytes: usize| {
            let to: Arc<dyn Addressee> = room.clone();
            Place::take(to, bytes, limits).map_err(NotTaken::Inbox)
        };
        match event {
            Forwarded::Event { cause, payload, hops } => {
                let reference = cause.as_ref().and_then(|cause| cause.reference.as_ref());
                let bytes = payload.len() + reference.map_or(0, |reference| reference.len());
                place(bytes)?.fill(cause, payload, hops);
                Ok(None)
            }
            Forwarded::Awaited(event) => {
                Ok(Some(place(event.payload.len())?.fill_awaited(event.payload, event.hops)))
            }
            Forwarded::Timer(change) => {
                // Each node bounds those that it sends.
                if room.timer_changes() >= limits.events {
                    return Err(NotTaken::Inbox(NoPlace::Full));
                }
                room.post_timer(change);
                Ok(None)
            }
        }
    }

    /// Notes that a node has sent an event of a room back, since it has no code for it.
    pub fn note_returned(&self, room: &str, from: NodeId) {
        if let Some(room) = self.known_room(room) {
            room.note_returned(from);
        }
    }

    /// Has this node ask for rooms that have lost their owner. Returns the number of those for which it has no place.
    pub fn adopt(&self, rooms: impl IntoIterator<Item = Arc<str>>, max_rooms: usize) -> usize {
        let mut left = 0;
        for name in rooms {
            let room = match &*name {
                "" => Ok(self.states.channel().clone()),
                _ => self.states.open(&name, max_rooms),
            };
            match room {
                Ok(room) => {
                    room.forget_elsewhere();
                    post_orphaned(room);
                }
                Err(TooManyRoomStates) => left += 1,
            }
        }
        left
    }
}

#[cfg(test)]
mod tests;
