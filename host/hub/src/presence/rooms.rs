//! The lists of a channel's rooms: a list is made for the first connection that is tracked or
//! watches, and dropped with the last.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{Diff, Entries, Meta, OwnChanges, Roster};
use crate::connection_id::ConnectionId;
use crate::frame::{Frame, FrameKind};
use crate::outbound::{Outbound, PendingWrites};
use crate::room::{Members, broadcast};
use crate::sent::SentCounters;
use wharf_contract::presence::{Changes, DEFAULT_GRACE, DEFAULT_INTERVAL};

/// The waiting times of presence.
#[derive(Clone, Copy, Debug)]
pub struct PresenceTiming {
    /// Time from a change to the diff about it, which has the changes of that time.
    pub interval: Duration,
    /// Time from the end of a key's last connection to the end of its entry.
    pub grace: Duration,
}

impl Default for PresenceTiming {
    /// Returns the settings' defaults.
    fn default() -> PresenceTiming {
        PresenceTiming { interval: DEFAULT_INTERVAL, grace: DEFAULT_GRACE }
    }
}

/// A listener for changes besides the watchers: the channel itself.
pub trait Listener: Send + Sync {
    /// Returns true if it wants the changes.
    fn listens(&self) -> bool;

    /// Notes that a room has changes which no task is telling. Call
    /// [`next_untold`](PresenceRooms::next_untold) until it returns `None`. Returns false if they have
    /// to wait for the next change, because it listens no more.
    fn tell(&self, room: Arc<PresenceRoom>) -> bool;
}

/// The lists of a channel's rooms. Cheap to clone.
#[derive(Clone)]
pub struct PresenceRooms(Arc<Table>);

struct Table {
    by_name: RwLock<HashMap<Arc<str>, Arc<PresenceRoom>>>,
    timing: PresenceTiming,
    sent: Arc<SentCounters>,
    listener: OnceLock<Box<dyn Listener>>,
    /// Size of all lists together, in bytes.
    bytes: AtomicUsize,
    /// Highest number of a list that was dropped: that of the next one is not lower.
    sequence: Mutex<u64>,
}

impl std::fmt::Debug for PresenceRooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresenceRooms").field("rooms", &self.len()).finish_non_exhaustive()
    }
}

/// The list of one room, and its watchers.
pub struct PresenceRoom {
    name: Arc<str>,
    watchers: Members,
    state: Mutex<State>,
}

/// Newcomers that get the list in a row before others may change it.
const WELCOMED_AT_ONCE: usize = 256;

/// Changes for the listener that are kept without a look at them.
const FEW_UNTOLD: usize = if cfg!(test) { 8 } else { 1024 };

#[derive(Default)]
struct State {
    roster: Roster,
    /// Message for a new watcher, as long as it is current.
    message: Option<(u64, Frame)>,
    /// True if the list has been sent since the changes began that a diff waits for.
    is_shown: bool,
    /// New watchers that get the list together when that diff has been sent, by number. So the list
    /// is encoded twice an interval at most, however many come and change it.
    newcomers: BTreeMap<u64, Arc<Outbound>>,
    /// True if a task waits to send a diff, or is sending one to many watchers.
    diff_waits: bool,
    /// True if a task waits to remove entries.
    expiry_waits: bool,
    /// Changes that the listener has not been told, and whether a task is telling it.
    untold: Changes,
    is_telling: bool,
    /// Number of those changes after the last search for keys that are again what they were.
    untold_net: usize,
    /// True if the table has dropped the room.
    dissolved: bool,
}

impl PresenceRooms {
    /// Makes the lists of a channel without rooms.
    pub fn new(timing: PresenceTiming) -> PresenceRooms {
        PresenceRooms::counting(timing, Arc::default())
    }

    /// Makes such lists, whose messages are counted here.
    pub(crate) fn counting(timing: PresenceTiming, sent: Arc<SentCounters>) -> PresenceRooms {
        PresenceRooms(Arc::new(Table {
            by_name: RwLock::default(),
            timing,
            sent,
            listener: OnceLock::new(),
            bytes: AtomicUsize::new(0),
            sequence: Mutex::new(0),
        }))
    }

    /// Sets the listener for changes; once, before there are any.
    pub(crate) fn tell_to(&self, listener: Box<dyn Listener>) {
        let _ = self.0.listener.set(listener);
    }

    /// Returns the number of rooms with a list.
    pub fn len(&self) -> usize {
        self.0.by_name.read().len()
    }

    /// Returns true if no room has a list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size of all lists, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Returns the size of a room's list in bytes, and the part of it that a connection takes.
    pub(crate) fn bytes_in(&self, room: &str, id: ConnectionId) -> (usize, usize) {
        self.look(room, |roster| (roster.bytes(), roster.charge_of(id))).unwrap_or_default()
    }

    /// Returns the key that a connection is tracked under in a room.
    pub fn key(&self, room: &str, id: ConnectionId) -> Option<Arc<str>> {
        self.look(room, |roster| roster.key(id).cloned()).flatten()
    }

    /// Returns the key and the metadata of a connection in a room.
    pub fn entry(&self, room: &str, id: ConnectionId) -> Option<(Arc<str>, Meta)> {
        self.look(room, |roster| roster.entry(id)).flatten()
    }

    /// Returns all connections that are tracked in a room, with keys and metadata.
    pub fn entries(&self, room: &str) -> Vec<(ConnectionId, Arc<str>, Meta)> {
        self.look(room, |roster| roster.all().collect()).unwrap_or_default()
    }

    /// Returns the number of keys in a room that have a connection.
    pub fn count(&self, room: &str, own: Option<&OwnChanges>) -> usize {
        match self.look(room, |roster| roster.count(own)) {
            Some(count) => count,
            None => Roster::default().count(own),
        }
    }

    /// Returns a page of a room's list, and the list's number.
    pub fn page(
        &self,
        room: &str,
        after: Option<&str>,
        limit: usize,
        own: Option<&OwnChanges>,
    ) -> (u64, Entries) {
        let page = |roster: &Roster| (roster.sequence(), roster.page(after, limit, own));
        match self.look(room, page) {
            Some(page) => page,
            None => page(&Roster::after(*self.0.sequence.lock())),
        }
    }

    /// Tracks a connection in a room that it is in.
    pub fn track(&self, room: &Arc<str>, id: ConnectionId, key: &Arc<str>, meta: &Meta) {
        self.change(room, |_, state| state.roster.track(id, key, meta));
    }

    /// Removes a connection from a room's list.
    pub fn untrack(&self, room: &str, id: ConnectionId) {
        self.change_known(room, |_, state| state.roster.untrack(id));
    }

    /// Sends a connection the list and, from now on, its changes. If others have just got the list,
    /// and it has changed since, the connection gets it after the interval.
    pub fn watch(
        &self,
        room: &Arc<str>,
        id: ConnectionId,
        outbound: &Arc<Outbound>,
        writes: &mut PendingWrites,
    ) {
        self.change(room, |of, state| {
            if state.message.is_none() && state.diff_waits && state.is_shown {
                state.newcomers.insert(id.number, outbound.clone());
            } else {
                of.welcome(state, id, outbound, writes);
            }
        });
    }

    /// Stops sending a connection the changes.
    pub fn unwatch(&self, room: &str, id: ConnectionId) {
        self.change_known(room, |of, state| of.forget(state, id));
    }

    /// Notes that a connection has left a room.
    pub fn leave(&self, room: &str, id: ConnectionId) {
        self.change_known(room, |of, state| {
            of.forget(state, id);
            state.roster.untrack(id);
        });
    }

    /// Forgets a connection of another node, without telling anybody.
    pub fn forget(&self, room: &str, id: ConnectionId) {
        self.change_known(room, |_, state| state.roster.forget(id));
    }

    /// Forgets the connections of other nodes in all rooms.
    pub fn forget_others(&self) {
        let rooms: Vec<Arc<str>> = self.0.by_name.read().keys().cloned().collect();
        for room in rooms {
            let others = self.entries(&room).into_iter().map(|(id, ..)| id);
            for id in others.filter(|id| id.local_number().is_none()) {
                self.forget(&room, id);
            }
        }
    }

    /// Notes that a connection that was in a room has ended.
    pub fn end(&self, room: &str, id: ConnectionId) {
        let grace = self.0.timing.grace;
        self.change_known(room, |of, state| {
            of.forget(state, id);
            state.roster.end(id, Instant::now(), grace);
        });
    }

    fn get(&self, room: &str) -> Option<Arc<PresenceRoom>> {
        self.0.by_name.read().get(room).cloned()
    }

    fn look<R>(&self, room: &str, look: impl FnOnce(&Roster) -> R) -> Option<R> {
        let room = self.get(room)?;
        let state = room.state.lock();
        Some(look(&state.roster))
    }

    /// Changes a room's state, which is made if there is none.
    fn change(&self, name: &Arc<str>, change: impl FnOnce(&PresenceRoom, &mut State)) {
        let mut change = Some(change);
        while let Some(waiting) = change.take() {
            let existing = self.get(name);
            let room = existing.unwrap_or_else(|| {
                let mut rooms = self.0.by_name.write();
                let room = rooms.entry(name.clone());
                room.or_insert_with(|| Arc::new(self.new_room(name))).clone()
            });
            // A state that was dissolved between the look-up and now must not be changed.
            change = self.change_in(&room, waiting);
        }
    }

    /// Changes a room's state, if it has one.
    fn change_known(&self, name: &str, change: impl FnOnce(&PresenceRoom, &mut State)) {
        if let Some(room) = self.get(name) {
            self.change_in(&room, change);
        }
    }

    fn new_room(&self, name: &Arc<str>) -> PresenceRoom {
        let roster = Roster::after(*self.0.sequence.lock());
        let state = Mutex::new(State { roster, ..State::default() });
        PresenceRoom { name: name.clone(), watchers: Members::default(), state }
    }

    /// Changes a room's state and handles the consequences. Returns the change if the room was
    /// dissolved.
    fn change_in<F: FnOnce(&PresenceRoom, &mut State)>(
        &self,
        room: &Arc<PresenceRoom>,
        change: F,
    ) -> Option<F> {
        let mut state = room.state.lock();
        if state.dissolved {
            return Some(change);
        }
        let before = state.roster.bytes();
        change(room, &mut state);
        let after = state.roster.bytes();
        self.0.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        if state.roster.has_changes() {
            state.message = None;
            if room.watchers.count() == 0 && !self.listens() {
                // A later watcher gets the whole list.
                state.roster.take_changes();
            } else if !std::mem::replace(&mut state.diff_waits, true) {
                state.is_shown = false;
                tokio::spawn(self.clone().send_diff(room.clone()));
            }
        }
        if state.roster.next_expiry().is_some() && !std::mem::replace(&mut state.expiry_waits, true)
        {
            tokio::spawn(self.clone().let_go(room.clone()));
        }
        let is_idle = room.is_idle(&state);
        drop(state);
        if is_idle {
            self.dissolve_if_idle(room);
        }
        None
    }

    fn listens(&self) -> bool {
        self.0.listener.get().is_some_and(|listener| listener.listens())
    }

    /// Drops a room of which nothing is left.
    fn dissolve_if_idle(&self, room: &Arc<PresenceRoom>) {
        let mut rooms = self.0.by_name.write();
        let mut state = room.state.lock();
        if state.dissolved || !room.is_idle(&state) {
            return;
        }
        state.dissolved = true;
        let mut sequence = self.0.sequence.lock();
        *sequence = state.roster.sequence().max(*sequence);
        rooms.remove(&room.name);
        if rooms.capacity() > 64 && rooms.len() * 4 < rooms.capacity() {
            rooms.shrink_to_fit();
        }
    }

    /// Waits for more changes, then tells of all of them.
    async fn send_diff(self, room: Arc<PresenceRoom>) {
        tokio::time::sleep(self.0.timing.interval).await;
        let mut writes = PendingWrites::default();
        let mut for_many = None;
        self.change_in(&room, |_, state| {
            // The next diff waits until this one has been sent, and newcomers have the list.
            state.is_shown = false;
            let changes = state.roster.take_changes();
            let diff = state.roster.diff(&changes);
            if !diff.is_empty() && room.watchers.count() > 0 {
                let frame = Frame::encode(FrameKind::Text, diff.message(&room.name).as_bytes());
                let queued = room.watchers.broadcast_at_once(&frame, None, &mut writes, None);
                for_many = queued.is_none().then_some(frame);
            }
            if let Some(listener) = self.0.listener.get().filter(|listener| listener.listens()) {
                state.keep_untold(changes);
                if !state.untold.is_empty() {
                    state.is_telling = state.is_telling || listener.tell(room.clone());
                }
            }
        });
        if let Some(frame) = for_many {
            // A watcher that comes now has a list with a higher number, and ignores an older diff.
            broadcast(&[&room.watchers], &frame, &mut writes, None, |_, _| true).await;
        }
        writes.write().await;
        while self.welcome_some(&room, &mut writes) {
            writes.write().await;
            tokio::task::yield_now().await;
        }
        self.0.sent.note(&mut writes);
        writes.write().await;
    }

    /// Sends the list to some of the newcomers. Returns true if there are more; otherwise the next
    /// change has its own diff.
    fn welcome_some(&self, room: &Arc<PresenceRoom>, writes: &mut PendingWrites) -> bool {
        let mut is_more = false;
        self.change_in(room, |of, state| {
            for _ in 0..WELCOMED_AT_ONCE {
                let Some((number, outbound)) = state.newcomers.pop_first() else { break };
                of.welcome(state, ConnectionId::local(number), &outbound, writes);
            }
            is_more = !state.newcomers.is_empty();
            state.diff_waits = is_more;
        });
        is_more
    }

    /// Waits until the grace of entries is over, and removes them.
    async fn let_go(self, room: Arc<PresenceRoom>) {
        let mut next = Some(Instant::now());
        while let Some(at) = next {
            tokio::time::sleep_until(at).await;
            next = None;
            self.change_in(&room, |_, state| {
                state.roster.expire(Instant::now());
                next = state.roster.next_expiry();
                state.expiry_waits = next.is_some();
            });
        }
    }

    /// Returns the next changes of a room for the listener; `None` if there are none. Then it is
    /// asked to [`tell`](Listener::tell) again when there are some.
    pub fn next_untold(&self, room: &Arc<PresenceRoom>) -> Option<Diff> {
        let mut diff = None;
        self.change_in(room, |_, state| {
            let mut changes = std::mem::take(&mut state.untold);
            // A key that changes back before the next diff is no change for the watchers, and yet one
            // for the listener, which is told of it now.
            state.untold = state.roster.known_between(&changes);
            state.roster.keep_net(&mut changes);
            diff = Some(state.roster.diff(&changes)).filter(|diff| !diff.is_empty());
            state.is_telling = diff.is_some();
        });
        diff
    }
}

impl State {
    /// Keeps changes for the listener. While it is slow, keys come and go: those that are again what
    /// they were are forgotten whenever the others could be half of all.
    fn keep_untold(&mut self, changes: Changes) {
        for (key, before) in changes {
            self.untold.entry(key).or_insert(before);
        }
        if self.untold.len() > FEW_UNTOLD.max(2 * self.untold_net) {
            self.roster.keep_net(&mut self.untold);
            self.untold_net = self.untold.len();
        }
    }
}

impl PresenceRoom {
    /// Makes a connection a watcher, and sends it the list.
    fn welcome(
        &self,
        state: &mut State,
        id: ConnectionId,
        outbound: &Arc<Outbound>,
        writes: &mut PendingWrites,
    ) {
        self.watchers.add(id, outbound.clone());
        state.roster.shown_between();
        let sequence = state.roster.sequence();
        let frame = match &state.message {
            Some((of, frame)) if *of == sequence => frame.clone(),
            _ => {
                let message = state.roster.message(&self.name);
                Frame::encode(FrameKind::Text, message.as_bytes())
            }
        };
        writes.push(outbound, &frame);
        state.is_shown = true;
        state.message = Some((sequence, frame));
    }

    /// Forgets a watcher, or a newcomer.
    fn forget(&self, state: &mut State, id: ConnectionId) {
        self.watchers.remove(id);
        // A connection of another node may have the number of one of this node.
        if let Some(number) = id.local_number() {
            state.newcomers.remove(&number);
        }
    }

    /// Returns true if it can be dropped.
    fn is_idle(&self, state: &State) -> bool {
        state.roster.is_empty()
            && self.watchers.count() == 0
            && !state.diff_waits
            && !state.expiry_waits
            && !state.is_telling
    }

    /// Returns the room's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests;
