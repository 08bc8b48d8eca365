//! The data that a hub keeps besides memberships: states and inboxes of rooms, timers, rate limits,
//! presence lists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use wharf_contract::CallRefusal;
use wharf_contract::rate_limits::{Rate, Subject};
use wharf_engine::Unavailable;

use super::{Hub, RecordedChanges};
use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::effects::Effects;
use crate::history::HistoryFacts;
use crate::inbox::{Addressee, Firing, Scope, ask_session};
use crate::owners::TimerChange;
use crate::presence::{Diff, Entries, Listener, OwnChanges, PresenceRoom};
use crate::recipients::Group;
use crate::room_state::{Runner, TooManyRoomStates};
use crate::timer::{Begun, NewTimer, TimerFacts};

/// The facts about a room, as the operator sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomFacts {
    /// Number of its members.
    pub members: usize,
    /// Size of its state in bytes, if it has one.
    pub state_bytes: Option<usize>,
    /// Number of its events that wait or run.
    pub waiting_events: usize,
    /// Number of its timers.
    pub timers: usize,
    /// The messages that it keeps.
    pub history: HistoryFacts,
}

impl RoomFacts {
    /// Returns true if there is nothing in the room.
    pub fn is_empty(&self) -> bool {
        *self == RoomFacts::default()
    }
}

/// States and inboxes of rooms.
impl Hub {
    /// Sets the runner of the rooms' events; once, before there are any.
    pub fn run_room_events_with(&self, runner: Box<dyn Runner>) {
        self.states.run_with(runner);
    }

    /// Returns the inbox of a room, which is kept from now on if there was none.
    ///
    /// # Errors
    ///
    /// `max` other rooms have data already.
    pub fn room_inbox(
        &self,
        room: &Arc<str>,
        max: usize,
    ) -> Result<Arc<dyn Addressee>, TooManyRoomStates> {
        Ok(self.states.open(room, max)?)
    }

    /// Returns the inbox of the channel itself.
    pub fn channel_inbox(&self) -> Arc<dyn Addressee> {
        self.states.channel().clone()
    }

    /// Runs the events of rooms that had to wait for code, which is there now.
    pub fn attend_rooms(&self) {
        self.states.attend_all();
    }

    /// Returns the last committed state of a room, if it has one.
    pub fn room_state(&self, room: &str) -> Option<Bytes> {
        self.states.find(room)?.state()
    }

    /// Returns the names of at most `limit` rooms with members or data in ascending order, beginning
    /// after `after`. A room whose data has just become empty may be among them.
    pub fn rooms(&self, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        let with_members = self.rooms.page(after, limit);
        let mut names: BTreeSet<Arc<str>> =
            with_members.iter().map(|room| room.name().clone()).collect();
        names.extend(self.states.page(after, limit));
        names.extend(self.histories.rooms(after, limit));
        names.into_iter().take(limit).collect()
    }

    /// Returns the facts about a room.
    pub fn room_facts(&self, room: &Arc<str>) -> RoomFacts {
        let kept = self.states.find(room).map(|room| room.load());
        let (state_bytes, waiting_events) = kept.unwrap_or_default();
        RoomFacts {
            members: self.count(Group::Room(room)),
            state_bytes,
            waiting_events,
            timers: self.timers.count_in(&Scope::Room(room.clone())),
            history: self.histories.facts_of(room),
        }
    }

    /// Returns the number of rooms with a state, waiting events or timers.
    pub fn kept_room_count(&self) -> usize {
        self.states.count()
    }

    /// Asks a connection's task for the connection's session. The receiver gets it when no handler
    /// runs. `None` if there is no such connection, or no longer.
    pub fn session(&self, id: ConnectionId) -> Option<oneshot::Receiver<Box<[u8]>>> {
        ask_session(self.outbound(id)?)
    }

    /// Returns the size of all rooms' states, in bytes.
    pub fn room_state_bytes(&self) -> usize {
        self.states.bytes()
    }

    /// Returns the state of one of the rooms, if any has one.
    pub fn sample_room_state(&self) -> Option<Bytes> {
        self.states.sample()
    }

    /// Drops the state of a room, so that its next event begins anew. Returns true if there was
    /// one, when its record is gone.
    ///
    /// # Errors
    ///
    /// The record cannot be deleted at present. The state is as it was.
    pub async fn reset_room(&self, room: &str) -> Result<bool, Unavailable> {
        if let Some(owners) = &self.owners {
            return owners.reset(&Arc::from(room)).await;
        }
        let Some(state) = self.states.find(room).filter(|room| room.newest().is_some()) else {
            return Ok(false);
        };
        let mut changes = RecordedChanges::default();
        changes.forgotten(room);
        if let Some(written) = self.record(changes, &mut Effects::default())? {
            written.wait().await?;
        }
        // An event may have recorded its state meanwhile, which is deleted as well.
        Ok(state.forget(|| self.record_forgotten(room)))
    }
}

/// Timers.
impl Hub {
    /// Sets a timer; one of the same name in its scope is replaced.
    pub fn set_timer(&self, timer: NewTimer) {
        if self.owners.is_some() && !matches!(timer.scope, Scope::Connection(_)) {
            let scope = timer.scope.clone();
            return self.post_timer(&scope, TimerChange::set(timer));
        }
        let known = timer.replaces;
        let replaced = self.timers.set(timer);
        // Another event has set it since this one was recorded.
        if replaced != known {
            self.record_ended([replaced]);
        }
    }

    /// Cancels a timer, and a firing of it that waits.
    pub fn cancel_timer(&self, scope: &Scope, name: &str) {
        if self.owners.is_some() && !matches!(scope, Scope::Connection(_)) {
            return self.post_timer(scope, TimerChange::Cancel(Arc::from(name)));
        }
        self.record_ended([self.timers.cancel(scope, name)]);
    }

    /// Returns the number of a scope's timers, and true if one of them has this name.
    pub fn count_timers(&self, scope: &Scope, name: &str) -> (usize, bool) {
        self.timers.count_of(scope, name)
    }

    /// Returns at most `limit` timers of a scope in ascending order of their names, beginning after
    /// `after`.
    pub fn timers(&self, scope: &Scope, after: Option<&str>, limit: usize) -> Vec<TimerFacts> {
        self.timers.page(scope, after, limit)
    }

    /// Returns the number of all timers.
    pub fn timer_count(&self) -> usize {
        self.timers.len()
    }

    /// Returns the time until a timer fires the next time, if it is set.
    pub fn remaining(&self, scope: &Scope, name: &str) -> Option<Duration> {
        self.timers.remaining(scope, name)
    }

    /// Returns the size of all timers' payloads, in bytes.
    pub fn timer_bytes(&self) -> usize {
        self.timers.bytes()
    }

    /// Begins the turn of a firing. `None` if it was cancelled meanwhile.
    pub fn begin_timer(&self, firing: &Firing) -> Option<Begun> {
        self.timers.begin(firing)
    }

    /// Cancels all timers.
    pub fn cancel_timers(&self) {
        self.record_ended(self.timers.clear());
    }
}

/// Rate limits.
impl Hub {
    /// Takes one from a rate limit, at once. Returns the milliseconds to wait if none may be taken.
    ///
    /// # Errors
    ///
    /// `too-many-rate-limits`: all limits together would take more than `max_bytes`.
    pub fn take_from_rate_limit(
        &self,
        subject: Subject<'_>,
        name: &str,
        rate: Rate,
        max_bytes: usize,
    ) -> Result<Option<u64>, CallRefusal> {
        self.rate_limits.take(subject, name, rate, max_bytes)
    }

    /// Returns the size of all rate limits, in bytes.
    pub fn rate_limit_bytes(&self) -> usize {
        self.rate_limits.bytes()
    }

    /// Forgets the rate limits of a connection that was refused.
    pub fn forget_refused(&self, connection: &ConnectionRecord) {
        self.rate_limits.end(connection.id.number);
    }
}

/// Lists of presence.
impl Hub {
    /// Sets the listener for changes of the lists, besides their watchers; once, before there are
    /// any.
    pub fn tell_of_presence(&self, listener: Box<dyn Listener>) {
        self.presence.tell_to(listener);
    }

    /// Returns the next changes of a room for the listener.
    pub fn next_untold(&self, room: &Arc<PresenceRoom>) -> Option<Diff> {
        self.presence.next_untold(room)
    }

    /// Returns the size of all lists, in bytes.
    pub fn presence_bytes(&self) -> usize {
        self.presence.bytes()
    }

    /// Returns the size of a room's list in bytes, and the part of it that a connection takes.
    pub fn presence_bytes_in(&self, room: &str, id: ConnectionId) -> (usize, usize) {
        self.presence.bytes_in(room, id)
    }

    /// Returns the key that a connection is tracked under in a room.
    pub fn presence_key(&self, room: &str, id: ConnectionId) -> Option<Arc<str>> {
        self.presence.key(room, id)
    }

    /// Returns the number of keys in a room that have a connection.
    pub fn presence_count(&self, room: &str, own: Option<&OwnChanges>) -> usize {
        self.presence.count(room, own)
    }

    /// Returns the number of a room's list, and a page of it.
    pub fn presence_page(
        &self,
        room: &str,
        after: Option<&str>,
        limit: usize,
        own: Option<&OwnChanges>,
    ) -> (u64, Entries) {
        self.presence.page(room, after, limit, own)
    }
}
