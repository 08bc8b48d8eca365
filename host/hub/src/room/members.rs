//! The members of a room, and the line of broadcasts to it.
//!
//! The lock is held for short times only, however many members there are. A broadcast to at most
//! [`AT_ONCE`] members is queued to all of them under it, which fixes its place in the order. A
//! larger one is a [walk](super::walk): it waits in line for its turn, and then visits the members
//! a chunk at a time. While there is a line, every broadcast to the room joins it, so that a small
//! one cannot overtake.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::member_list::MemberList;
use crate::connection_id::ConnectionId;
use crate::frame::Frame;
use crate::outbound::{Outbound, PendingWrites};

/// Members that a broadcast reaches in one piece, under the lock, in about a millisecond. Senders to
/// such a room wait for no turn, so that the frames of several are queued before the first of them
/// writes, and each member gets all of them in one write. With 8 senders to 6,000 members that takes
/// three quarters of the time that turns take.
pub(super) const AT_ONCE: usize = if cfg!(test) { 6 } else { 16 * 1024 };

/// Frames for the members of one room that may wait while further broadcasts queue theirs. Queueing
/// so many takes some 25 ms, a fifth of the time that writing them takes.
const UNWRITTEN: usize = 256 * 1024;

/// Members that a walk or a list reaches before it lets others have the lock. Unit tests have few
/// members, and need walks.
pub(super) const CHUNK: usize = if cfg!(test) { 6 } else { 4096 };

/// A function that takes a broadcast to other nodes, if there are any. It is called in the order of broadcasts.
pub(crate) type Announce<'a> = Option<&'a (dyn Fn() + Sync)>;

/// Members of a room, a user's connections, or all connections of a channel. All are of this node.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// Number of members, readable without the lock.
    count: AtomicU32,
    state: Mutex<State>,
}

/// The state of a room. It is small, since there are many rooms and most are small: the line is
/// allocated only while there is one.
#[derive(Debug)]
pub(super) enum State {
    /// No broadcast is in line.
    Quiet(MemberList),
    /// Broadcasts stand in line.
    Lined(Box<Lined>),
    /// The last member has left and the table has dropped the room. A task that still holds it must
    /// ask for a new one.
    Dissolved,
}

#[derive(Debug, Default)]
pub(super) struct Lined {
    list: MemberList,
    /// Lock that the broadcast in turn holds, and that the next ones wait for in their order.
    line: Arc<AsyncMutex<()>>,
    /// Broadcasts in the line, including the first.
    waiting: usize,
    /// Frames that broadcasts of this line have queued, and that the next one is to write.
    left: PendingWrites,
    /// Broadcasts whose frames are among those.
    unwritten: usize,
    /// Members that have come since the first one began, which it does not reach.
    late: BTreeSet<u64>,
}

impl Default for State {
    fn default() -> State {
        State::Quiet(MemberList::default())
    }
}

impl Members {
    /// Adds a member. `false` if the room has been dissolved; the connection is not in it then.
    pub(crate) fn add(&self, id: ConnectionId, outbound: Arc<Outbound>) -> bool {
        debug_assert!(
            id.local_number().is_some(),
            "connections of other nodes are in none of ours"
        );
        self.add_to(&mut self.state.lock(), id, outbound)
    }

    fn add_to(&self, state: &mut State, id: ConnectionId, outbound: Arc<Outbound>) -> bool {
        let list = match state {
            State::Quiet(list) => list,
            State::Lined(lined) => {
                if lined.list.get(id.number).is_none() {
                    lined.late.insert(id.number);
                }
                &mut lined.list
            }
            State::Dissolved => return false,
        };
        list.insert(id.number, outbound);
        self.set_count(list.len());
        true
    }

    fn set_count(&self, members: usize) {
        self.count.store(u32::try_from(members).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Reserves a place for a connection, if fewer than `limit` others are members or have one. `None`
    /// if the room has been dissolved.
    pub(crate) fn reserve(&self, id: ConnectionId, limit: usize) -> Option<bool> {
        Some(self.state.lock().list_mut()?.reserve(id.number, limit))
    }

    /// Makes a connection a member in its reserved place.
    pub(crate) fn occupy(&self, id: ConnectionId, outbound: Arc<Outbound>) {
        let mut state = self.state.lock();
        if let Some(list) = state.list_mut() {
            list.release(id.number);
        }
        // A room with a reserved place has not been dissolved.
        self.add_to(&mut state, id, outbound);
    }

    /// Gives a connection's reserved place back. `true` if nothing is left in the room.
    pub(crate) fn release(&self, id: ConnectionId) -> bool {
        let mut state = self.state.lock();
        if let Some(list) = state.list_mut() {
            list.release(id.number);
        }
        state.is_empty()
    }

    /// Removes a member. `true` if it was the last.
    pub(crate) fn remove(&self, id: ConnectionId) -> bool {
        let mut state = self.state.lock();
        let (Some(number), Some(list)) = (id.local_number(), state.list_mut()) else {
            return false;
        };
        list.remove(number);
        self.set_count(list.len());
        list.len() == 0
    }

    /// Refuses new members for good, if there are none and no place is reserved. For the table, which
    /// drops the room.
    pub(crate) fn dissolve_if_empty(&self) -> bool {
        let mut state = self.state.lock();
        let is_empty = state.is_empty();
        if is_empty {
            // Dropping it may write to sockets, which is not for under the lock.
            let last = std::mem::replace(&mut *state, State::Dissolved);
            drop(state);
            drop(last);
        }
        is_empty
    }

    /// Returns the number of members.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed) as usize
    }

    /// Returns the ids of at most `limit` members in ascending order, beginning after `after`; none
    /// after a connection of another node.
    pub(crate) fn page(&self, after: Option<ConnectionId>, limit: usize) -> Vec<ConnectionId> {
        let Some(mut start) = start_after(after) else {
            return Vec::new();
        };
        let mut page = Vec::with_capacity(limit.min(self.count()));
        loop {
            let length = (limit - page.len()).min(CHUNK);
            let state = self.state.lock();
            let Some(list) = state.list() else {
                return page;
            };
            let known = page.len();
            page.extend(list.range(start).take(length).map(|(id, _)| ConnectionId::local(id)));
            match page.last() {
                Some(last) if page.len() == known + length && page.len() < limit => {
                    start = last.number.saturating_add(1);
                }
                _ => return page,
            }
        }
    }

    /// Returns all members, a few at a time.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter { members: self, start: Some(0), next: Vec::new().into_iter() }
    }

    /// Queues a frame for every member except one, in one piece. Returns their number; `None` if it
    /// would take too long or others are in line, and nothing has happened. `announce` is called when the place of
    /// the frame in the order is fixed.
    pub(crate) fn broadcast_at_once(
        &self,
        frame: &Frame,
        except: Option<u64>,
        writes: &mut PendingWrites,
        announce: Announce<'_>,
    ) -> Option<usize> {
        let state = self.state.lock();
        let list = match &*state {
            State::Quiet(list) if list.len() <= AT_ONCE => list,
            State::Quiet(_) | State::Lined(_) => return None,
            State::Dissolved => {
                announce.inspect(|announce| announce());
                return Some(0);
            }
        };
        if let Some(announce) = announce {
            announce();
        }
        let mut queued = 0;
        list.for_each(|number, outbound| {
            if except != Some(number) {
                queued += usize::from(writes.push(outbound, frame));
            }
        });
        Some(queued)
    }

    /// Queues for each member the frame that is chosen for it, in one piece. `false` if it would take too long or
    /// others are in line, and nothing has happened.
    pub(crate) fn broadcast_chosen_at_once<'a>(
        &self,
        writes: &mut PendingWrites,
        choose: impl Fn(u64, &Outbound) -> Option<&'a Frame>,
    ) -> bool {
        let state = self.state.lock();
        let list = match &*state {
            State::Quiet(list) if list.len() <= AT_ONCE => list,
            State::Quiet(_) | State::Lined(_) => return false,
            State::Dissolved => return true,
        };
        list.for_each(|number, outbound| {
            if let Some(frame) = choose(number, outbound) {
                writes.push(outbound, frame);
            }
        });
        true
    }

    /// Joins the line of the broadcasts, if there is one.
    pub(crate) fn stand_in_line_if_any(&self) -> Option<Turn<'_>> {
        // Others may join it meanwhile, and none can end it that this one has seen: the turn would come at once.
        let is_quiet = self.state.lock().is_quiet();
        (!is_quiet).then(|| self.stand_in_line())
    }

    /// Joins the line of the broadcasts that are not queued at once.
    pub(crate) fn stand_in_line(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        if let State::Quiet(list) = &mut *state {
            let list = std::mem::take(list);
            *state = State::Lined(Box::new(Lined { list, ..Lined::default() }));
        }
        let line = match &mut *state {
            State::Lined(lined) => {
                lined.waiting += 1;
                lined.line.clone()
            }
            // A room without members needs no line, and will not get any members.
            State::Quiet(_) | State::Dissolved => Arc::default(),
        };
        Turn { members: self, line, held: None }
    }

    /// Leaves the line. Returns frames that nobody is left to write.
    fn leave_line(&self) -> PendingWrites {
        let mut left = PendingWrites::default();
        let mut state = self.state.lock();
        if let State::Lined(lined) = &mut *state {
            lined.waiting -= 1;
            if lined.waiting == 0 {
                left = lined.left.take();
                let list = std::mem::take(&mut lined.list);
                *state = State::Quiet(list);
            }
        }
        left
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Returns true if there are neither members nor reserved places.
    fn is_empty(&self) -> bool {
        self.list().is_none_or(|list| list.len() == 0 && !list.has_places())
    }

    pub(super) fn list(&self) -> Option<&MemberList> {
        match self {
            State::Quiet(list) => Some(list),
            State::Lined(lined) => Some(&lined.list),
            State::Dissolved => None,
        }
    }

    fn list_mut(&mut self) -> Option<&mut MemberList> {
        match self {
            State::Quiet(list) => Some(list),
            State::Lined(lined) => Some(&mut lined.list),
            State::Dissolved => None,
        }
    }

    /// Returns true if no line keeps a broadcast from being queued under the lock.
    pub(super) fn is_quiet(&self) -> bool {
        !matches!(self, State::Lined(_))
    }

    /// Begins the walk of the broadcast in turn: members that come from now on are late.
    pub(super) fn begin(&mut self) {
        if let State::Lined(lined) = self {
            lined.late.clear();
        }
    }

    /// Returns true if a member has come since the walk began.
    pub(super) fn is_late(&self, number: u64) -> bool {
        match self {
            State::Lined(lined) => lined.late.contains(&number),
            State::Quiet(_) | State::Dissolved => false,
        }
    }
}

/// A place in the line; once it is `held`, the turn of a broadcast. Dropping it lets the next one go on.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    members: &'a Members,
    line: Arc<AsyncMutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turn<'_> {
    /// Begins the turn, if no other broadcast has it or waits for it.
    pub(crate) fn has_begun(&mut self) -> bool {
        self.held = self.line.clone().try_lock_owned().ok();
        self.held.is_some()
    }

    /// Leaves what this task has queued to the broadcast in turn, while this one waits.
    pub(super) fn leave_writes(&self, writes: &mut PendingWrites) {
        if let State::Lined(lined) = &mut *self.members.state.lock() {
            lined.left.adopt(writes.take());
        }
    }

    /// Ends the turn of a broadcast that has queued its frames. If they may be shared they are left to
    /// the next one, so that each member gets the frames of several in one write. `writes` gets all
    /// of them if nobody waits, or if so many are unwritten that the first ones must not wait any
    /// longer.
    pub(crate) fn end(self, writes: &mut PendingWrites, is_shared: bool) {
        let mut state = self.members.state.lock();
        if let State::Lined(lined) = &mut *state {
            lined.unwritten += 1;
            let frames = lined.unwritten.saturating_mul(lined.list.len());
            if is_shared && lined.waiting > 1 && frames < UNWRITTEN {
                lined.left.adopt(writes.take());
            } else {
                lined.unwritten = 0;
                writes.adopt(lined.left.take());
            }
        }
    }

    /// Waits for the turn. Broadcasts get it in the order in which they asked.
    pub(crate) async fn begin(&mut self) {
        self.held = Some(self.line.clone().lock_owned().await);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // This runs before the next one gets its turn, which finds the line as it is left.
        let left = self.members.leave_line();
        self.held = None;
        // Dropping them writes them: this broadcast was the last, and has been given up.
        drop(left);
    }
}

/// Members in ascending order. No lock is held in between.
#[derive(Debug)]
pub(crate) struct Iter<'a> {
    members: &'a Members,
    /// Start of the next ones, if there may be any.
    start: Option<u64>,
    next: std::vec::IntoIter<(u64, Arc<Outbound>)>,
}

impl Iterator for Iter<'_> {
    type Item = (ConnectionId, Arc<Outbound>);

    fn next(&mut self) -> Option<(ConnectionId, Arc<Outbound>)> {
        if self.next.as_slice().is_empty() {
            let start = self.start.take()?;
            let state = self.members.state.lock();
            let range = state.list()?.range(start).take(CHUNK);
            let next: Vec<_> = range.map(|(number, outbound)| (number, outbound.clone())).collect();
            self.start = match next.last() {
                Some((last, _)) if next.len() == CHUNK => last.checked_add(1),
                _ => None,
            };
            self.next = next.into_iter();
        }
        self.next.next().map(|(number, outbound)| (ConnectionId::local(number), outbound))
    }
}

/// Returns the first number of a page of connections of this node; `None` if there is no such page.
pub(crate) fn start_after(after: Option<ConnectionId>) -> Option<u64> {
    match after {
        None => Some(0),
        Some(id) => id.local_number()?.checked_add(1),
    }
}
