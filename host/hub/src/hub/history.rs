//! Rooms that keep their messages: appending, delivery in the order of the log, and joining with what was
//! missed.
//!
//! In a cluster the logs are those of its engine. `shared` has the appends to them and the deliveries from them,
//! `following` keeps this node's place in them, `arrival` is the joining, and `page` the reading.

mod arrival;
mod following;
mod page;
mod shared;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use wharf_engine::{Change, Unavailable, Undo};

use super::{Hub, RecordedChanges, ReservedPlace};
use crate::connection::ConnectionRecord;
use crate::connection_id::ConnectionId;
use crate::effects::{Effect, Effects};
use crate::frame::Frame;
use crate::history::{
    Answer, Appended, HistoryFacts, HistoryPage, LogState, Position, RoomLog, Seen, Waiting,
    joined, noted, skipped,
};
use crate::logs::Once;
use crate::outbound::{Outbound, PendingWrites};
use crate::recipients::{Group, Recipients};
use crate::room::{Members, Room, broadcast, broadcast_in_turn};

use shared::SharedPlace;

pub(super) use shared::SharedAppends;

/// The messages of one event for rooms that keep them: for each broadcast the rooms among its recipients.
#[derive(Debug, Default)]
pub(super) struct Appends(Vec<Append>);

#[derive(Debug)]
struct Append {
    /// The place of the broadcast among the effects.
    effect: usize,
    log: Arc<RoomLog>,
    message: Waiting,
}

/// The places of a broadcast in the logs of its rooms.
#[derive(Debug, Default)]
pub struct KeptIn {
    /// The logs, each with the offset of the message.
    logs: Vec<(Arc<RoomLog>, u64)>,
    /// The connections that have got it, where it goes to several rooms.
    seen: Option<Seen>,
    /// The logs of the cluster.
    shared: Vec<SharedPlace>,
    /// The name of the broadcast there, where it goes to several rooms.
    once: Option<Once>,
}

/// A message on its way to the members of a room, each of whom gets it in one of three forms.
struct Choice<'a> {
    room: &'a str,
    at: Position,
    message: Waiting,
    noted: OnceLock<Frame>,
    skipped: OnceLock<Frame>,
}

impl Choice<'_> {
    /// Returns the form for a member: with its position for one that asks for positions, the position alone if the
    /// message is not for it, and nothing for one that does not ask either.
    fn frame(&self, number: u64, outbound: &Outbound) -> Option<&Frame> {
        let Waiting { frame, except, seen } = &self.message;
        let is_new = || seen.as_ref().is_none_or(|seen| seen.lock().insert(number));
        let is_wanted = *except != Some(number) && is_new();
        match (is_wanted, outbound.wants_positions()) {
            (true, false) => Some(frame),
            (true, true) => Some(self.noted.get_or_init(|| noted(self.room, self.at, frame))),
            (false, true) => Some(self.skipped.get_or_init(|| skipped(self.room, self.at))),
            (false, false) => None,
        }
    }
}

impl RecordedChanges {
    /// Adds the messages of an event for rooms that keep them.
    pub fn history(&mut self, effects: &mut Effects, hub: &Hub) {
        if !hub.histories.has_rules() {
            return;
        }
        if let Some(feeds) = &hub.feeds {
            return self.shared.add(feeds, effects, hub);
        }
        let appends = &mut self.appends;
        effects.for_each_broadcast(|effect, to, frame, except| {
            let names = match to {
                Recipients::Room(name) => std::slice::from_ref(name),
                Recipients::Rooms(names) => &**names,
                _ => return None,
            };
            let logs = names.iter().filter_map(|name| hub.histories.open(name));
            let mut logs: Vec<_> = logs.collect();
            logs.sort_unstable_by(|one, other| one.name().cmp(other.name()));
            logs.dedup_by(|one, other| one.name() == other.name());
            if logs.is_empty() {
                return None;
            }
            let except = except.and_then(ConnectionId::local_number);
            let seen = (names.len() > 1).then(Seen::default);
            for log in logs {
                let message = Waiting { frame: frame.clone(), except, seen: seen.clone() };
                appends.0.push(Append { effect, log, message });
            }
            Some(Box::new(KeptIn { seen, ..KeptIn::default() }))
        });
    }
}

impl Appends {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the logs, each once, in the ascending order of their rooms, which is that of their locks.
    fn logs(&self) -> Vec<Arc<RoomLog>> {
        let mut logs: Vec<_> = self.0.iter().map(|append| append.log.clone()).collect();
        logs.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        logs.dedup_by(|one, other| one.name() == other.name());
        logs
    }
}

/// Appending.
impl Hub {
    /// Returns true if rooms of the channel keep messages.
    pub fn keeps_history(&self) -> bool {
        self.histories.has_rules()
    }

    /// Appends messages to their logs, and calls `write` with the changes of records and the way back, while no
    /// other event can append to these logs: so records are written in the order of the offsets. Without records
    /// `write` has nothing to do.
    pub(super) fn append<R>(
        &self,
        appends: Appends,
        effects: &mut Effects,
        changes: &mut Vec<Change>,
        write: impl FnOnce(&mut Vec<Change>, Undo) -> Result<R, Unavailable>,
    ) -> Result<R, Unavailable> {
        let mut logs = appends.logs();
        loop {
            let mut states: Vec<_> = logs.iter().map(|log| log.lock()).collect();
            let Some(gone) = states.iter().position(|state| state.is_gone()) else {
                let appended = self.append_to(&logs, &mut states, appends, effects, changes);
                let bytes = self.histories.bytes.clone();
                let undo = {
                    let (appended, bytes) = (appended.clone(), bytes.clone());
                    move || {
                        for one in appended.lock().take().into_iter().flatten().rev() {
                            let log = one.log().clone();
                            one.undo(&mut log.lock(), &bytes);
                        }
                    }
                };
                let result = write(changes, Box::new(undo));
                if result.is_err() {
                    let appended = appended.lock().take().into_iter().flatten();
                    for (one, state) in appended.zip(&mut states) {
                        one.undo(state, &bytes);
                    }
                }
                return result;
            };
            drop(states);
            // A sweep has dropped it, since it was empty. Its room has another one.
            if let Some(log) = logs.get_mut(gone)
                && let Some(new) = self.histories.open(log.name())
            {
                *log = new;
            }
        }
    }

    fn append_to(
        &self,
        logs: &[Arc<RoomLog>],
        states: &mut [MutexGuard<'_, LogState>],
        appends: Appends,
        effects: &mut Effects,
        changes: &mut Vec<Change>,
    ) -> Arc<Mutex<Option<Vec<Appended>>>> {
        let mut messages: Vec<Vec<Waiting>> = logs.iter().map(|_| Vec::new()).collect();
        for Append { effect, log, message } in appends.0 {
            let at = logs.binary_search_by(|known| known.name().cmp(log.name()));
            if let Ok(at) = at
                && let (Some(log), Some(state), Some(of_log)) =
                    (logs.get(at), states.get(at), messages.get_mut(at))
            {
                of_log.push(message);
                let offset = state.last() + of_log.len() as u64;
                effects.note_kept(effect, |kept| kept.logs.push((log.clone(), offset)));
            }
        }
        let now = self.histories.now();
        let bounds = (&*self.histories.bytes, self.histories.limit);
        let is_recorded = self.records.is_some();
        let appended = logs.iter().zip(states).zip(messages).map(|((log, state), messages)| {
            state.append(log, messages, now, bounds, is_recorded.then_some(&mut *changes))
        });
        Arc::new(Mutex::new(Some(appended.collect())))
    }

    /// Queues a frame for recipients, and keeps it where rooms do. It is on disk before anybody gets it. Returns the
    /// number of connections that it is for.
    ///
    /// # Errors
    ///
    /// It cannot be recorded, and nobody gets it.
    pub async fn broadcast_kept(
        &self,
        to: Recipients,
        frame: Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
    ) -> Result<usize, Unavailable> {
        if !self.keeps_history() {
            return Ok(self.deliver(None, &to, &frame, except, writes).await);
        }
        let receivers = self.reach(&to);
        let mut effects = Effects::of(Effect::Broadcast { to, frame, except, kept: None });
        let mut changes = RecordedChanges::default();
        changes.history(&mut effects, self);
        self.record_all(changes, &mut effects).await?;
        effects.commit(None, 0, self, writes).await;
        Ok(receivers)
    }
}

/// Delivery.
impl Hub {
    /// Delivers a message that is recorded, with all before it.
    pub(crate) async fn deliver_kept(
        &self,
        kept: KeptIn,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
    ) {
        if let Some(feeds) = &self.feeds {
            return self.deliver_shared(feeds, kept, to, frame, except, writes).await;
        }
        let before = writes.queued();
        for (log, offset) in &kept.logs {
            self.deliver_waiting(log, *offset, writes).await;
        }
        if let (Recipients::Rooms(names), Some(seen)) = (to, kept.seen) {
            let is_kept = |name: &Arc<str>| kept.logs.iter().any(|(log, _)| log.name() == name);
            let rest: Vec<_> = names.iter().filter(|name| !is_kept(name)).cloned().collect();
            let rooms = self.rooms.several(&rest);
            let members: Vec<&Members> = rooms.iter().map(|room| &room.members).collect();
            let except = except.and_then(ConnectionId::local_number);
            broadcast(&members, frame, writes, None, |number, _| {
                except != Some(number) && seen.lock().insert(number)
            })
            .await;
        }
        self.sent.broadcast(writes.queued().saturating_sub(before) as usize);
    }

    /// Delivers the messages of a log up to an offset that nobody has delivered yet, in their order.
    async fn deliver_waiting(&self, log: &RoomLog, up_to: u64, writes: &mut PendingWrites) {
        loop {
            let (room, choice);
            let turn = {
                // Held until the message is queued, or has its place in the room's line.
                let mut state = log.lock();
                let Some((offset, message)) = state.next_waiting(up_to) else {
                    return;
                };
                let Some(found) = self.rooms.get(log.name()) else {
                    continue;
                };
                room = found;
                choice = Choice {
                    room: log.name(),
                    at: Position { epoch: state.epoch(), offset },
                    message,
                    noted: OnceLock::new(),
                    skipped: OnceLock::new(),
                };
                let chosen = |number: u64, outbound: &Outbound| choice.frame(number, outbound);
                if room.members.broadcast_chosen_at_once(writes, chosen) {
                    continue;
                }
                room.members.stand_in_line()
            };
            let chosen = |number: u64, outbound: &Outbound| choice.frame(number, outbound);
            Box::pin(broadcast_in_turn(&room.members, turn, writes, chosen)).await;
        }
    }
}

/// Joining.
impl Hub {
    /// Makes a connection a member of a room that keeps messages, and queues for it those that it is to get: each
    /// message of the room reaches it once, in this way or as a member. `own` is the offset of the first message that
    /// the same event sends to the room after the join, if the cluster has the log.
    pub(crate) async fn join_kept(
        &self,
        connection: &ConnectionRecord,
        name: &Arc<str>,
        place: Option<Box<ReservedPlace>>,
        own: Option<Position>,
        writes: &mut PendingWrites,
    ) {
        if connection.is_in(name) {
            return;
        }
        if let (Some(feeds), Some(retention)) = (&self.feeds, self.histories.retention(name)) {
            self.join_shared(feeds, retention, connection, name, own, writes).await;
            // The place of a join with a limit has done its part.
            return drop(place);
        }
        let outbound = &connection.outbound;
        let is_positioned = outbound.wants_positions();
        let asked = connection.take_position(name);
        loop {
            let log = match is_positioned {
                true => self.histories.open(name),
                // A room without a log has nothing for it.
                false => self.histories.get(name),
            };
            let Some(log) = log else {
                return self.join_in_place(connection, name, place);
            };
            // The place keeps the room from being dissolved while this waits in its line.
            let held = HeldPlace::new(self, name, connection.id);
            let room = held.room();
            let (turn, answer) = {
                let state = log.lock();
                if state.is_gone() {
                    continue;
                }
                let free = outbound.free_bytes();
                let answer = log.answer(&state, asked, is_positioned, free, self.histories.now());
                let turn = room.members.stand_in_line_if_any();
                if turn.is_none() {
                    queue(log.name(), &answer, is_positioned, outbound, writes);
                    held.occupy(outbound);
                }
                (turn, answer)
            };
            if let Some(mut turn) = turn {
                if !turn.has_begun() {
                    writes.write().await;
                    turn.begin().await;
                }
                // All messages of the answer have been queued to the members before; those that follow stand
                // behind this turn.
                queue(log.name(), &answer, is_positioned, outbound, writes);
                held.occupy(outbound);
                turn.end(writes, true);
            }
            connection.groups().joined.push(room.clone());
            self.tell_counted(Group::Room(name));
            // The place of a join with a limit has done its part.
            drop(place);
            return;
        }
    }
}

/// A place in a room that is given back, unless it has become a membership.
struct HeldPlace<'a> {
    hub: &'a Hub,
    room: Arc<Room>,
    id: ConnectionId,
    is_occupied: AtomicBool,
}

impl HeldPlace<'_> {
    fn new<'a>(hub: &'a Hub, name: &Arc<str>, id: ConnectionId) -> HeldPlace<'a> {
        loop {
            // There is always a place among so many.
            if let Some(room) = hub.rooms.reserve(name, id, usize::MAX) {
                return HeldPlace { hub, room, id, is_occupied: false.into() };
            }
        }
    }

    fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    fn occupy(&self, outbound: &Arc<Outbound>) {
        self.is_occupied.store(true, Ordering::Relaxed);
        self.room.members.occupy(self.id, outbound.clone());
    }
}

impl Drop for HeldPlace<'_> {
    fn drop(&mut self) {
        if !self.is_occupied.load(Ordering::Relaxed) && self.hub.rooms.release(&self.room, self.id)
        {
            self.hub.states.emptied(self.room.name());
        }
    }
}

/// Queues the messages that a new member gets.
fn queue(
    room: &str,
    answer: &Answer,
    is_positioned: bool,
    to: &Arc<Outbound>,
    writes: &mut PendingWrites,
) {
    if is_positioned {
        writes.push(to, &joined(room, answer));
    }
    for (offset, message) in &answer.messages {
        let at = Position { offset: *offset, ..answer.from };
        match (message, is_positioned) {
            (Some(message), true) => _ = writes.push(to, &noted(room, at, message)),
            (Some(message), false) => _ = writes.push(to, message),
            (None, true) => _ = writes.push(to, &skipped(room, at)),
            (None, false) => {}
        }
    }
}

/// Reading.
impl Hub {
    /// Returns messages that a room keeps, the last ones before an offset; an empty page if it keeps none.
    pub fn history(&self, room: &str, before: Option<u64>, limit: usize) -> HistoryPage {
        self.histories.page(room, before, limit)
    }

    /// Returns the facts about the history of all rooms. It looks at each.
    pub fn history_facts(&self) -> HistoryFacts {
        self.histories.facts()
    }

    /// Returns the size of all kept messages together, as it counts.
    pub fn history_bytes(&self) -> usize {
        self.histories.bytes.load(Ordering::Relaxed)
    }

    /// Returns true if as many messages are kept as may be, and were not when this was asked last.
    pub fn has_filled_history(&self) -> bool {
        self.histories.has_rules() && self.histories.has_filled()
    }
}

#[cfg(test)]
mod tests;
