//! The states of rooms, which only their own events change, one at a time.
//!
//! A room's state is separate from its members: it exists from the first post on, with or without
//! members, and stays for a while after the last member has left.

mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::inbox::{Addressee, Inbox, Posted};
use wharf_contract::limits::event_charge;

use place::{Marks, Place};

/// Runs the events of a room until none waits.
pub trait Runner: Send + Sync {
    /// Begins to run the events that wait in this room, which no task is running. Returns false if
    /// they have to wait, because no code is there that could handle them.
    ///
    /// It is called under a lock of the room, which it must not ask for anything.
    fn run(&self, room: Arc<RoomState>) -> bool;
}

/// A room's state and the events that wait for it. The room without a name is the channel itself,
/// whose own events are handled one at a time as well.
pub struct RoomState {
    name: Arc<str>,
    inbox: Inbox,
    work: Mutex<Work>,
    /// The node that runs its events in a cluster; `None` if it is not known, and without a cluster.
    place: Mutex<Option<Box<Place>>>,
    /// Number of the changes of its timers that wait in the inbox.
    timer_changes: AtomicUsize,
    marks: Marks,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Work {
    state: Option<Bytes>,
    /// State that is to follow once it is recorded; `None` if there is none.
    next: Option<Bytes>,
    is_running: bool,
    /// Time since which there have been neither members nor events, as far as is known.
    idle_since: Option<Instant>,
    /// True if the room is in one of the [queues](Idle) of rooms to look at.
    is_queued: bool,
}

/// Rooms that may be idle, in the order of the times since which they were when they were queued. So
/// a look for those to drop does not look at the others, however many there are.
#[derive(Default)]
struct Idle {
    /// Rooms that had no state, and can be dropped without loss.
    empty: BTreeSet<(Instant, Arc<str>)>,
    /// Rooms with a state, which is kept for a while.
    full: BTreeSet<(Instant, Arc<str>)>,
}

/// Records that the state of a room is gone.
pub(crate) type Forgotten<'a> = &'a dyn Fn(&str);

/// Rooms that one call of [`sweep`](RoomStates::sweep) looks at.
const SWEPT_AT_ONCE: usize = 256;

/// The data that the rooms of a channel share.
#[derive(Default)]
struct Shared {
    runner: OnceLock<Box<dyn Runner>>,
    /// Size of all states together, in bytes.
    bytes: AtomicUsize,
    /// Size of the waiting payloads in all inboxes together, in bytes.
    inbox_bytes: AtomicUsize,
    /// Number of rooms with data, readable without the lock.
    rooms: AtomicUsize,
    idle: Mutex<Idle>,
}

impl Work {
    /// Returns the size of the state that counts: the planned one if there is one.
    fn bytes(&self) -> usize {
        self.next.as_ref().or(self.state.as_ref()).map_or(0, Bytes::len)
    }
}

impl Shared {
    /// Counts a state of `after` bytes in place of one of `before`. `false` if all states would then have
    /// more than `max` bytes; nothing has changed then.
    fn make_room(&self, before: usize, after: usize, max: usize) -> bool {
        if after <= before {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
            return true;
        }
        let growth = after - before;
        let total = self.bytes.fetch_add(growth, Ordering::Relaxed) + growth;
        if total > max {
            self.bytes.fetch_sub(growth, Ordering::Relaxed);
        }
        total <= max
    }

    /// Queues a room that is idle since then, as far as is known. Under the lock of its work.
    fn queue(&self, name: &Arc<str>, work: &mut Work, since: Instant) {
        work.idle_since = Some(since);
        if std::mem::replace(&mut work.is_queued, true) {
            return;
        }
        let mut idle = self.idle.lock();
        let queue = if work.state.is_some() { &mut idle.full } else { &mut idle.empty };
        queue.insert((since, name.clone()));
    }

    /// Takes a room out of its queue that was idle since `empty` or `full` when it was queued.
    fn next_idle(&self, empty: Instant, full: Option<Instant>) -> Option<Arc<str>> {
        let mut idle = self.idle.lock();
        let is_due = |queue: &BTreeSet<(Instant, Arc<str>)>, until: Instant| {
            queue.first().is_some_and(|(since, _)| *since <= until)
        };
        let next = if is_due(&idle.empty, empty) {
            idle.empty.pop_first()
        } else if full.is_some_and(|full| is_due(&idle.full, full)) {
            idle.full.pop_first()
        } else {
            None
        };
        next.map(|(_, name)| name)
    }
}

impl fmt::Debug for RoomState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomState").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RoomState {
    /// Returns the room's name; empty for the channel itself.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the last committed state; `None` before the first.
    pub fn state(&self) -> Option<Bytes> {
        self.work.lock().state.clone()
    }

    /// Returns the size of the last committed state, and the number of events that wait or run.
    pub(crate) fn load(&self) -> (Option<usize>, usize) {
        let work = self.work.lock();
        let running = usize::from(work.is_running);
        (work.state.as_ref().map(Bytes::len), self.inbox.waiting() + running)
    }

    /// Keeps a state. `false` if all states of the channel would then have more than `max` bytes
    /// together; nothing has changed then.
    pub fn keep(&self, state: Bytes, max: usize) -> bool {
        let mut work = self.work.lock();
        let is_kept = self.shared.make_room(work.bytes(), state.len(), max);
        if is_kept {
            work.next = None;
            work.state = Some(state);
        }
        is_kept
    }

    /// Returns the state for the next event: the last one that was [kept](RoomState::keep) or
    /// [planned](RoomState::plan).
    pub fn newest(&self) -> Option<Bytes> {
        let work = self.work.lock();
        work.next.as_ref().or(work.state.as_ref()).cloned()
    }

    /// Notes a state that is to be kept once it is recorded. Nobody but the task that runs the events
    /// sees it before. `false` as for [`keep`](RoomState::keep).
    pub fn plan(&self, state: Bytes, max: usize) -> bool {
        let mut work = self.work.lock();
        let is_kept = self.shared.make_room(work.bytes(), state.len(), max);
        if is_kept {
            work.next = Some(state);
        }
        is_kept
    }

    /// Keeps the planned state, which is recorded now, or drops it. Returns false if there is none: it was
    /// forgotten meanwhile, and stays so.
    pub fn settle(&self, is_recorded: bool) -> bool {
        let mut work = self.work.lock();
        let Some(next) = work.next.take() else {
            return false;
        };
        if is_recorded {
            work.state = Some(next);
        } else {
            // The bytes of the state before were counted already, and are no more than they were.
            let before = work.state.as_ref().map_or(0, Bytes::len);
            self.shared.make_room(next.len(), before, usize::MAX);
        }
        true
    }

    /// Drops the state, so that the next event begins anew. The state that a running event returns
    /// is kept. Returns true if there was a state. `record` is called under the room's lock.
    pub fn forget(&self, record: impl FnOnce()) -> bool {
        let mut work = self.work.lock();
        let bytes = work.bytes();
        let forgotten = work.state.take().or(work.next.take());
        work.next = None;
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if forgotten.is_some() {
            record();
        }
        forgotten.is_some()
    }

    /// Returns the next event, to the task that runs them. After `None` another task may run them.
    pub fn next(&self) -> Option<Posted> {
        // Posting is followed by `attend`, which runs an event that is not seen here.
        let mut work = self.work.lock();
        let posted = self.inbox.pop();
        match &posted {
            Some(posted) => {
                if let Posted::TimerChange(_) = posted {
                    self.timer_changes.fetch_sub(1, Ordering::Relaxed);
                }
                if let Some(bytes) = posted.placed_bytes() {
                    self.shared.inbox_bytes.fetch_sub(event_charge(bytes), Ordering::Relaxed);
                }
            }
            None => {
                work.is_running = false;
                self.queue(&mut work);
            }
        }
        posted
    }
}

impl RoomState {
    /// Notes that the room may be idle from now on. The channel's own queue is never dropped.
    fn queue(&self, work: &mut Work) {
        if !self.name.is_empty() {
            self.shared.queue(&self.name, work, Instant::now());
        }
    }
}

impl Drop for RoomState {
    fn drop(&mut self) {
        let bytes = self.work.get_mut().bytes();
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Addressee for RoomState {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn channel_bytes(&self) -> Option<&AtomicUsize> {
        Some(&self.shared.inbox_bytes)
    }

    fn attend(self: Arc<Self>) {
        // Held until the runner has answered: of two that attend at the same time, the second one
        // must not take the first one's refusal for a run.
        let mut work = self.work.lock();
        if !work.is_running {
            let runner = self.shared.runner.get();
            work.is_running = runner.is_some_and(|runner| runner.run(self.clone()));
        }
    }

    fn is_elsewhere(&self) -> bool {
        self.elsewhere().is_some()
    }
}

/// The states of a channel's rooms. They outlive its generations.
pub struct RoomStates {
    /// Rooms by name. Their order makes pages cheap, however many rooms there are.
    table: Mutex<BTreeMap<Arc<str>, Arc<RoomState>>>,
    channel: Arc<RoomState>,
    shared: Arc<Shared>,
}

impl fmt::Debug for RoomStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomStates").finish_non_exhaustive()
    }
}

impl Default for RoomStates {
    fn default() -> RoomStates {
        let shared = Arc::<Shared>::default();
        let channel = Arc::new(new_room(Arc::from(""), &shared));
        RoomStates { table: Mutex::default(), channel, shared }
    }
}

fn new_room(name: Arc<str>, shared: &Arc<Shared>) -> RoomState {
    let (inbox, work, place, timer_changes, marks) = Default::default();
    RoomState { name, inbox, work, place, timer_changes, marks, shared: shared.clone() }
}

/// The largest number of rooms have a state already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRoomStates;

impl RoomStates {
    /// Sets the runner of the rooms' events; once, before there are any.
    pub(crate) fn run_with(&self, runner: Box<dyn Runner>) {
        let _ = self.shared.runner.set(runner);
    }

    /// Returns the queue of the channel's own events.
    pub fn channel(&self) -> &Arc<RoomState> {
        &self.channel
    }

    /// Runs the events that had to wait, since code is there now that can handle them.
    pub(crate) fn attend_all(&self) {
        let table = self.table.lock();
        let rooms = table.values().chain([&self.channel]);
        let waiting: Vec<_> = rooms.filter(|room| !room.inbox.is_empty()).cloned().collect();
        drop(table);
        waiting.into_iter().for_each(Addressee::attend);
    }

    /// Returns the number of rooms with data.
    pub fn count(&self) -> usize {
        self.shared.rooms.load(Ordering::Relaxed)
    }

    /// Returns the size of what waits in all inboxes together, in bytes.
    pub(crate) fn inbox_bytes(&self) -> usize {
        self.shared.inbox_bytes.load(Ordering::Relaxed)
    }

    /// Returns the size of all states together, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Returns the data of a room, which is made if there was none.
    ///
    /// # Errors
    ///
    /// `max` other rooms have data already.
    pub fn open(&self, name: &Arc<str>, max: usize) -> Result<Arc<RoomState>, TooManyRoomStates> {
        let mut table = self.table.lock();
        if let Some(room) = table.get(name) {
            return Ok(room.clone());
        }
        if table.len() >= max {
            return Err(TooManyRoomStates);
        }
        let room = Arc::new(new_room(name.clone(), &self.shared));
        table.insert(name.clone(), room.clone());
        self.shared.rooms.store(table.len(), Ordering::Relaxed);
        // The event that needs it may still be discarded.
        room.queue(&mut room.work.lock());
        Ok(room)
    }

    /// Returns the data of a room, if there is any.
    pub fn find(&self, name: &str) -> Option<Arc<RoomState>> {
        self.table.lock().get(name).cloned()
    }

    /// Returns the names of at most `limit` rooms with data in ascending order, beginning after
    /// `after`.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        let start = match after {
            Some(name) => Bound::Excluded(name),
            None => Bound::Unbounded,
        };
        let table = self.table.lock();
        let rooms = table.range::<str, _>((start, Bound::Unbounded));
        rooms.take(limit).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the state of one of the rooms, if any has one.
    pub(crate) fn sample(&self) -> Option<Bytes> {
        self.table.lock().values().find_map(|room| room.state())
    }

    /// Notes that the last member of a room has left.
    pub(crate) fn emptied(&self, name: &str) {
        if self.count() == 0 {
            return;
        }
        if let Some(room) = self.find(name) {
            room.queue(&mut room.work.lock());
        }
    }

    /// Drops the data of rooms that have been idle for `grace` at `now`, the time at which the sweep has begun: a room that is
    /// queued again meanwhile is looked at in the next sweep. Looks at `SWEPT_AT_ONCE` at most. Returns true if there may be
    /// more. `has_members` and `has_timers` return true for rooms that
    /// are needed.
    pub(crate) fn sweep(
        &self,
        now: Instant,
        grace: Duration,
        has_members: impl Fn(&str) -> bool,
        has_timers: impl Fn(&Arc<str>) -> bool,
        forgotten: Forgotten<'_>,
    ) -> bool {
        let full = now.checked_sub(grace);
        for _ in 0..SWEPT_AT_ONCE {
            let Some(name) = self.shared.next_idle(now, full) else {
                return false;
            };
            // The state is freed without the lock.
            drop(self.sweep_one(&name, full, &has_members, &has_timers, forgotten));
        }
        true
    }

    /// Returns the rooms, and the channel itself, whose events do not run at present.
    pub(crate) fn idle_rooms(&self) -> Vec<Arc<RoomState>> {
        let table = self.table.lock();
        let rooms = table.values().chain([&self.channel]);
        rooms.filter(|room| !room.work.lock().is_running).cloned().collect()
    }

    /// Returns rooms that may have been idle for `grace` at `now`, `SWEPT_AT_ONCE` at most; `None` if there are none.
    pub(crate) fn due(&self, now: Instant, grace: Duration) -> Option<Vec<Arc<str>>> {
        let next = || self.shared.next_idle(now, now.checked_sub(grace));
        let due: Vec<Arc<str>> = std::iter::from_fn(next).take(SWEPT_AT_ONCE).collect();
        for room in due.iter().filter_map(|name| self.find(name)) {
            room.work.lock().is_queued = false;
        }
        (!due.is_empty()).then_some(due)
    }

    /// Notes if a room has no members on other nodes. Returns true if it had none at the look before either: they have been
    /// away for as long as there is between two looks.
    pub(crate) fn is_empty_for_long(&self, name: &str, is_empty: bool) -> bool {
        self.find(name).is_none_or(|room| room.is_empty_again(is_empty))
    }

    /// Drops the data of a room that is due and has no members. Returns it.
    pub(crate) fn drop_idle(
        &self,
        name: &Arc<str>,
        grace: Duration,
        has_members: impl Fn(&str) -> bool,
        has_timers: impl Fn(&Arc<str>) -> bool,
    ) -> Option<Arc<RoomState>> {
        let full = Instant::now().checked_sub(grace);
        self.sweep_one(name, full, &has_members, &has_timers, &|_| ())
    }

    /// Takes a room out of the table if it is idle.
    fn sweep_one(
        &self,
        name: &Arc<str>,
        full: Option<Instant>,
        has_members: &impl Fn(&str) -> bool,
        has_timers: &impl Fn(&Arc<str>) -> bool,
        forgotten: Forgotten<'_>,
    ) -> Option<Arc<RoomState>> {
        let mut table = self.table.lock();
        let room = table.get(name)?;
        let mut work = room.work.lock();
        work.is_queued = false;
        // Its last member, and its last event, queue it again.
        if has_members(name) || work.is_running {
            return None;
        }
        // Another holder of the room is about to post to it or to set a timer. This is asked again
        // after the timers: one that is gone by then has its firing in the inbox, and a holder that
        // is gone by then may have set one.
        let is_held = || Arc::strong_count(room) > 1 || !room.inbox.is_empty();
        if is_held() || has_timers(name) || is_held() {
            self.shared.queue(name, &mut work, Instant::now());
            return None;
        }
        // It may have got a state, or had events, since it was queued.
        let since = work.idle_since.unwrap_or_else(Instant::now);
        if work.state.is_some() && full.is_none_or(|full| since > full) {
            self.shared.queue(name, &mut work, since);
            return None;
        }
        // Under the lock of the table, so that a state that follows is recorded later.
        if work.state.is_some() {
            forgotten(name);
        }
        drop(work);
        let room = table.remove(name);
        self.shared.rooms.store(table.len(), Ordering::Relaxed);
        room
    }
}

#[cfg(test)]
mod tests;
