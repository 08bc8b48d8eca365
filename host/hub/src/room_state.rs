//! The states of rooms, which only their own events change, one at a time.
//!
//! A room's state is separate from its members: it exists from the first post on, with or without
//! members, and stays for a while after the last member has left.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::inbox::{Addressee, Inbox, Posted};

/// Runs the events of a room until none waits.
pub trait Runner: Send + Sync {
    /// Runs the events that wait in this room, which no task is running.
    fn run(&self, room: Arc<RoomState>);
}

/// A room's state and the events that wait for it. The room without a name is the channel itself,
/// whose own events are handled one at a time as well.
pub struct RoomState {
    name: Arc<str>,
    inbox: Inbox,
    work: Mutex<Work>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Work {
    state: Option<Bytes>,
    is_running: bool,
    /// Time since which there have been neither members nor events, as far as is known.
    idle_since: Option<Instant>,
}

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

    /// Keeps a state. `false` if all states of the channel would then have more than `max` bytes
    /// together; nothing has changed then.
    pub fn keep(&self, state: Bytes, max: usize) -> bool {
        let mut work = self.work.lock();
        let before = work.state.as_ref().map_or(0, Bytes::len);
        if state.len() > before {
            let growth = state.len() - before;
            let total = self.shared.bytes.fetch_add(growth, Ordering::Relaxed) + growth;
            if total > max {
                self.shared.bytes.fetch_sub(growth, Ordering::Relaxed);
                return false;
            }
        } else {
            self.shared.bytes.fetch_sub(before - state.len(), Ordering::Relaxed);
        }
        work.state = Some(state);
        true
    }

    /// Drops the state, so that the next event begins anew. The state that a running event returns
    /// is kept. Returns true if there was a state.
    pub fn forget(&self) -> bool {
        let forgotten = self.work.lock().state.take();
        if let Some(state) = &forgotten {
            self.shared.bytes.fetch_sub(state.len(), Ordering::Relaxed);
        }
        forgotten.is_some()
    }

    /// Returns the next event, to the task that runs them. After `None` another task may run them.
    pub fn next(&self) -> Option<Posted> {
        // Posting is followed by `attend`, which runs an event that is not seen here.
        let mut work = self.work.lock();
        let posted = self.inbox.pop();
        match &posted {
            Some(Posted::Event { payload, .. }) => {
                self.shared.inbox_bytes.fetch_sub(payload.len(), Ordering::Relaxed);
            }
            Some(Posted::Timer(_)) => {}
            None => {
                work.is_running = false;
                work.idle_since = Some(Instant::now());
            }
        }
        posted
    }
}

impl Drop for RoomState {
    fn drop(&mut self) {
        let bytes = self.work.get_mut().state.as_ref().map_or(0, Bytes::len);
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
        if std::mem::replace(&mut self.work.lock().is_running, true) {
            return;
        }
        match self.shared.runner.get() {
            Some(runner) => runner.run(self.clone()),
            None => self.work.lock().is_running = false,
        }
    }
}

/// The states of a channel's rooms. They outlive its generations.
pub struct RoomStates {
    table: Mutex<HashMap<Arc<str>, Arc<RoomState>>>,
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
    let (inbox, work) = Default::default();
    RoomState { name, inbox, work, shared: shared.clone() }
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

    /// Returns the number of rooms with data.
    pub fn count(&self) -> usize {
        self.shared.rooms.load(Ordering::Relaxed)
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
        Ok(room)
    }

    /// Returns the data of a room, if there is any.
    pub fn find(&self, name: &str) -> Option<Arc<RoomState>> {
        self.table.lock().get(name).cloned()
    }

    /// Notes that the last member of a room has left.
    pub(crate) fn emptied(&self, name: &str) {
        if self.count() == 0 {
            return;
        }
        if let Some(room) = self.find(name) {
            room.work.lock().idle_since = Some(Instant::now());
        }
    }

    /// Drops the data of rooms that have been idle for `grace`. `is_needed` returns true if a room
    /// has members or timers.
    pub fn sweep(&self, grace: Duration, is_needed: impl Fn(&Arc<str>) -> bool) {
        if self.count() == 0 {
            return;
        }
        let now = Instant::now();
        let mut dropped = Vec::new();
        let mut table = self.table.lock();
        table.retain(|name, room| {
            let mut work = room.work.lock();
            // This is asked first: a timer that is gone by then has its firing in the inbox.
            let is_needed = is_needed(name);
            // Another holder of the room is about to post to it or runs its events.
            let is_held = Arc::strong_count(room) > 1 || !room.inbox.is_empty();
            if is_needed || is_held || work.is_running {
                work.idle_since = None;
                return true;
            }
            // A room without a state can be dropped without loss.
            let stays = work.state.is_some()
                && now.duration_since(*work.idle_since.get_or_insert(now)) < grace;
            drop(work);
            if !stays {
                dropped.push(room.clone());
            }
            stays
        });
        if table.capacity() > 64 && table.len() * 4 < table.capacity() {
            table.shrink_to_fit();
        }
        self.shared.rooms.store(table.len(), Ordering::Relaxed);
        drop(table);
        // The states are freed without the lock.
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{InboxLimits, NoPlace, Place};

    #[test]
    fn the_inboxes_of_all_rooms_are_bounded_together() {
        let limits = InboxLimits { events: 10, bytes: 10, channel_bytes: 15 };
        let rooms = RoomStates::default();
        let open = |name: &str| rooms.open(&Arc::from(name), 2).expect("a room");
        let place = |room: &Arc<RoomState>, bytes, limits| Place::take(room.clone(), bytes, limits);
        let (a, b) = (open("a"), open("b"));
        let taken = place(&a, 10, limits).expect("there is nothing yet");
        assert_eq!(place(&a, 1, limits).err(), Some(NoPlace::Full));
        assert_eq!(place(&b, 6, limits).err(), Some(NoPlace::ChannelFull));
        place(&b, 5, limits).expect("15 bytes").fill(None, Bytes::from_static(b"12345"), 1);
        assert_eq!(place(&b, 1, limits).err(), Some(NoPlace::ChannelFull));
        drop(taken);
        let again = place(&a, 10, limits).expect("as many as were given back");
        assert!(b.next().is_some());
        place(&b, 5, limits).expect("what was taken out waits no more");
        drop(again);
    }
}
