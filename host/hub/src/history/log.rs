//! The log of one room.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use wharf_contract::history::{MAX_PAGE_BYTES, MESSAGE_OVERHEAD, Recovery, Retention};
use wharf_engine::Change;

use super::position::{Epoch, Position};
use super::record::{Head, Kept, deletion};
use crate::frame::{Frame, FrameKind};

/// Bytes that a note about a position takes beside the room's name, at most.
pub(crate) const NOTE_BYTES: usize = 160;

/// The messages that a room keeps.
#[derive(Debug)]
pub(crate) struct RoomLog {
    name: Arc<str>,
    retention: Retention,
    state: Mutex<LogState>,
}

/// The state of a log.
#[derive(Debug)]
pub(crate) struct LogState {
    /// The epoch as it is recorded, and the part that the era of the records adds.
    epoch: Epoch,
    era: u64,
    /// The offset of the last message that is not kept any more.
    base: u64,
    kept: VecDeque<Kept>,
    /// Size of the kept messages, as it counts.
    bytes: usize,
    /// The offset of the last message that was handed to the members.
    delivered: u64,
    /// The messages after that one, in their order.
    waiting: VecDeque<Waiting>,
    /// True if the head is on disk, or on its way.
    has_head: bool,
    /// The offset of a message that is not kept any more, and whose record tells what the last offset was.
    marker: Option<u64>,
    /// True if the table has dropped it. A task that still holds it must ask for a new one.
    is_gone: bool,
}

/// A message that the members have not got yet.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The message.
    pub(crate) frame: Frame,
    /// The connection that does not get it.
    pub(crate) except: Option<u64>,
    /// The connections that have got it as members of another room, where it goes to several.
    pub(crate) seen: Option<Seen>,
}

/// Numbers of connections, shared by the deliveries of one message.
pub(crate) type Seen = Arc<Mutex<BTreeSet<u64>>>;

/// The part of a log's history that an event has changed, for the way back.
#[derive(Debug)]
pub(crate) struct Appended {
    log: Arc<RoomLog>,
    messages: usize,
    trimmed: Vec<Kept>,
    had_head: bool,
    marker: Option<u64>,
}

/// The reason why a client does not get what it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CannotRecover {
    /// The log has begun anew, or may have lost its end.
    NewEpoch,
    /// A part of it is not kept any more.
    Trimmed,
    /// The position is after the last message.
    Ahead,
    /// It is more than may wait for one connection.
    TooMuch,
    /// The engine of the cluster, which has the log, does not answer.
    Unavailable,
}

impl CannotRecover {
    /// Returns the reason as clients read it.
    pub(crate) fn token(self) -> &'static str {
        match self {
            CannotRecover::NewEpoch => "new-epoch",
            CannotRecover::Trimmed => "trimmed",
            CannotRecover::Ahead => "ahead",
            CannotRecover::TooMuch => "too-much",
            CannotRecover::Unavailable => "unavailable",
        }
    }
}

/// The part of a log that a new member gets.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The position before the messages.
    pub(crate) from: Position,
    /// The messages, with their offsets; `None` for one that is not for this member.
    pub(crate) messages: Vec<(u64, Option<Frame>)>,
    /// The outcome for a client that has said where it was.
    pub(crate) recovered: Option<Result<(), CannotRecover>>,
}

/// A kept message, for those who read a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMessage {
    /// The offset.
    pub offset: u64,
    /// The time at which it was sent, in milliseconds since 1970.
    pub at_ms: u64,
    /// True for text, false for binary.
    pub is_text: bool,
    /// The payload.
    pub data: Bytes,
}

/// Some of the messages that a room keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The epoch of the offsets.
    pub epoch: String,
    /// The offset of the last message of the room.
    pub top: u64,
    /// The messages, in ascending order of their offsets.
    pub messages: Vec<HistoryMessage>,
}

/// Returns the bytes that a kept message counts for.
fn charge(kept: &Kept) -> usize {
    kept.payload_bytes() + MESSAGE_OVERHEAD
}

impl RoomLog {
    /// Makes an empty log of an epoch.
    pub(super) fn new(name: Arc<str>, retention: Retention, epoch: Epoch, era: u64) -> RoomLog {
        let state = LogState {
            epoch,
            era,
            base: 0,
            kept: VecDeque::new(),
            bytes: 0,
            delivered: 0,
            waiting: VecDeque::new(),
            has_head: false,
            marker: None,
            is_gone: false,
        };
        RoomLog { name, retention, state: Mutex::new(state) }
    }

    /// Makes a log of its records: the head, and the messages in ascending order of their offsets. Returns
    /// the changes that its bounds require as well.
    pub(super) fn loaded(
        name: Arc<str>,
        retention: Retention,
        head: Head,
        era: u64,
        messages: Vec<(u64, Kept)>,
        now: u64,
        total: &AtomicUsize,
    ) -> (RoomLog, Vec<Change>) {
        let mut changes = Vec::new();
        let log = RoomLog::new(name, retention, head.epoch, era);
        {
            let mut state = log.state.lock();
            (state.base, state.has_head) = (head.base, true);
            for (offset, kept) in messages {
                // Each group has all of an event, so that there are no gaps unless somebody made them.
                if offset != state.top() + 1 {
                    let gone = state.base + 1..=state.top();
                    changes.extend(gone.map(|offset| deletion(&log.name, offset)));
                    total.fetch_sub(state.bytes, Ordering::Relaxed);
                    (state.base, state.bytes) = (offset.saturating_sub(1), 0);
                    state.kept.clear();
                }
                state.keep(kept, total);
            }
            state.expire(&log, now, total, &mut changes);
            state.delivered = state.top();
        }
        (log, changes)
    }

    /// Returns the room's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock()
    }

    /// Returns messages with offsets before `before`, the last ones of them, that all members have got.
    pub(super) fn page(&self, before: Option<u64>, limit: usize, now: u64) -> HistoryPage {
        let state = self.state.lock();
        let end = before.map_or(state.delivered, |before| before.saturating_sub(1));
        let end = end.min(state.delivered);
        let mut bytes = 0;
        let mut messages: Vec<HistoryMessage> = state
            .range(state.first_of_age(&self.retention, now), end)
            .rev()
            .take(limit)
            .take_while(|(_, kept)| {
                let is_first = bytes == 0;
                bytes += charge(kept);
                is_first || bytes <= MAX_PAGE_BYTES
            })
            .map(|(offset, kept)| HistoryMessage {
                offset,
                at_ms: kept.at_ms(),
                is_text: kept.kind() == FrameKind::Text,
                data: kept.payload(),
            })
            .collect();
        messages.reverse();
        HistoryPage { epoch: state.epoch().to_string(), top: state.delivered, messages }
    }

    /// Returns what a new member gets: one that asks for positions, or has said where it was, or neither. No more
    /// than `room` bytes.
    pub(crate) fn answer(
        &self,
        state: &LogState,
        asked: Option<Position>,
        is_positioned: bool,
        room: usize,
        now: u64,
    ) -> Answer {
        let (epoch, top) = (state.epoch(), state.delivered);
        let first = state.first_of_age(&self.retention, now);
        let note = if is_positioned { NOTE_BYTES + self.name.len() * 6 } else { 0 };
        // The last ones that there is room for, at most `limit`, after `after`.
        let last = |after: u64, limit: u64| {
            let mut bytes = note;
            let from = first.saturating_sub(1).max(after).max(top.saturating_sub(limit));
            let fitting = state.range(from + 1, top).rev().take_while(|(_, kept)| {
                bytes += charge(kept) + note;
                bytes <= room
            });
            fitting.count() as u64
        };
        let messages = |count: u64| {
            let range = state.range(top.saturating_sub(count) + 1, top);
            range.map(|(offset, kept)| (offset, Some(kept.frame()))).collect::<Vec<_>>()
        };
        let newcomers = self.retention.for_newcomers() as u64;
        let missed = match (self.retention.recovery, asked) {
            (_, None) => None,
            (Recovery::All, Some(at)) if at.epoch != epoch => Some(Err(CannotRecover::NewEpoch)),
            (Recovery::All, Some(at)) if at.offset > top => Some(Err(CannotRecover::Ahead)),
            (Recovery::All, Some(at)) if at.offset < top && at.offset + 1 < first => {
                Some(Err(CannotRecover::Trimmed))
            }
            (Recovery::All, Some(at)) => match last(at.offset, u64::MAX) {
                count if count == top - at.offset => Some(Ok(count)),
                _ => Some(Err(CannotRecover::TooMuch)),
            },
            (Recovery::Newest, Some(at)) if at == (Position { epoch, offset: top }) => Some(Ok(0)),
            (Recovery::Newest, Some(at)) => match last(0, 1) {
                0 if at.epoch != epoch => Some(Err(CannotRecover::NewEpoch)),
                0 => Some(Err(CannotRecover::Trimmed)),
                count => Some(Ok(count)),
            },
        };
        let (count, recovered) = match missed {
            Some(Ok(count)) => (count, Some(Ok(()))),
            Some(Err(reason)) => (last(0, newcomers), Some(Err(reason))),
            None => (last(0, newcomers), None),
        };
        let from = Position { epoch, offset: top - count };
        Answer { from, messages: messages(count), recovered }
    }

    /// Drops messages that are too old, and adds the deletions of their records. Returns true if nothing is left.
    pub(super) fn expire(&self, now: u64, total: &AtomicUsize, changes: &mut Vec<Change>) -> bool {
        let mut state = self.state.lock();
        state.expire(self, now, total, changes);
        state.kept.is_empty() && state.waiting.is_empty()
    }

    /// Refuses further messages for good, if there are none. For the table, which drops the log. Returns the
    /// deletions of its records.
    pub(super) fn end_if_empty(&self) -> Option<Vec<Change>> {
        let mut state = self.state.lock();
        if !state.kept.is_empty() || !state.waiting.is_empty() {
            return None;
        }
        state.is_gone = true;
        let marker = state.marker.map(|offset| deletion(&self.name, offset));
        let head = state.has_head.then(|| Head::change(&self.name, None));
        Some(marker.into_iter().chain(head).collect())
    }
}

impl LogState {
    /// Returns the epoch as clients see it.
    pub(crate) fn epoch(&self) -> Epoch {
        // Odd, so that each era gives another epoch.
        Epoch(self.epoch.0 ^ self.era.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns true if the log has been dropped.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Returns the offset of the last message, which may wait.
    fn top(&self) -> u64 {
        self.base + self.kept.len() as u64
    }

    fn head(&self) -> Head {
        Head { epoch: self.epoch, base: self.base }
    }

    /// Returns the size of the kept messages, as it counts, and their number.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes, self.kept.len())
    }

    /// Returns the kept messages from one offset to another.
    fn range(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = (u64, &Kept)> {
        let from = from.max(self.base + 1);
        let length = (to + 1).saturating_sub(from);
        let skipped = usize::try_from(from - self.base - 1).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let start = skipped.min(self.kept.len());
        let end = start.saturating_add(length).min(self.kept.len());
        self.kept.range(start..end).enumerate().map(move |(at, kept)| (from + at as u64, kept))
    }

    /// Returns the offset of the first message that is not too old.
    fn first_of_age(&self, retention: &Retention, now: u64) -> u64 {
        let oldest = now.saturating_sub(retention.age_ms);
        let expired = self.kept.iter().take_while(|kept| kept.at_ms() < oldest).count();
        self.base + 1 + expired as u64
    }

    fn keep(&mut self, kept: Kept, total: &AtomicUsize) {
        let bytes = charge(&kept);
        self.bytes += bytes;
        total.fetch_add(bytes, Ordering::Relaxed);
        self.kept.push_back(kept);
    }

    /// Drops messages until the bounds hold, and adds the deletions of their records. That of the last message
    /// stays if none is left: without it nobody would know the last offset after a start.
    fn expire(&mut self, log: &RoomLog, now: u64, total: &AtomicUsize, changes: &mut Vec<Change>) {
        let trimmed = self.trim(log, now, usize::MAX, total, Some(changes));
        if !trimmed.is_empty() && self.kept.is_empty() {
            changes.pop();
            self.marker = Some(self.base);
        }
    }

    /// Drops the oldest messages until the bounds hold. Returns them.
    fn trim(
        &mut self,
        log: &RoomLog,
        now: u64,
        limit: usize,
        total: &AtomicUsize,
        mut changes: Option<&mut Vec<Change>>,
    ) -> Vec<Kept> {
        let Retention { messages, bytes, age_ms, .. } = log.retention;
        let oldest = now.saturating_sub(age_ms);
        let mut trimmed = Vec::new();
        while let Some(first) = self.kept.front()
            && (self.kept.len() > messages
                || self.bytes > bytes
                || first.at_ms() < oldest
                || total.load(Ordering::Relaxed) > limit)
            && let Some(first) = self.kept.pop_front()
        {
            let freed = charge(&first);
            self.bytes -= freed;
            total.fetch_sub(freed, Ordering::Relaxed);
            self.base += 1;
            if let Some(changes) = &mut changes {
                changes.push(deletion(&log.name, self.base));
            }
            trimmed.push(first);
        }
        trimmed
    }

    /// Adds messages, which wait until they are recorded and delivered. Returns the offset of the last one, and
    /// the way back. All messages of the channel together stay within `limit` bytes: the oldest of this log go
    /// first, up to the new ones themselves.
    pub(crate) fn append(
        &mut self,
        log: &Arc<RoomLog>,
        waiting: Vec<Waiting>,
        now: u64,
        (total, limit): (&AtomicUsize, usize),
        changes: Option<&mut Vec<Change>>,
    ) -> Appended {
        let (messages, had_head, marker) = (waiting.len(), self.has_head, self.marker);
        let mut own = Vec::with_capacity(messages);
        for message in waiting {
            let kept = Kept::new(&message.frame, now);
            self.keep(kept.clone(), total);
            own.push((self.top(), kept));
            self.waiting.push_back(message);
        }
        let trimmed = match changes {
            None => self.trim(log, now, limit, total, None),
            Some(changes) => {
                changes.extend(self.marker.take().map(|offset| deletion(&log.name, offset)));
                for (offset, kept) in own {
                    changes.push(kept.change(&log.name, offset));
                }
                // New ones that are not kept either are deleted again, in their order.
                let trimmed = self.trim(log, now, limit, total, Some(changes));
                if !self.has_head || self.kept.is_empty() {
                    self.has_head = true;
                    changes.push(Head::change(&log.name, Some(self.head())));
                }
                trimmed
            }
        };
        Appended { log: log.clone(), messages, trimmed, had_head, marker }
    }

    /// Returns the offset of the last message that waits or was delivered.
    pub(crate) fn last(&self) -> u64 {
        self.delivered + self.waiting.len() as u64
    }

    /// Takes out the next message for the members, with its offset, if it is not after `up_to`.
    pub(crate) fn next_waiting(&mut self, up_to: u64) -> Option<(u64, Waiting)> {
        if self.delivered >= up_to {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.delivered += 1;
        Some((self.delivered, next))
    }
}

impl Appended {
    /// Takes the messages back, and restores those that were dropped for them. Those that were appended
    /// later have been taken back before.
    pub(crate) fn undo(self, state: &mut LogState, total: &AtomicUsize) {
        (state.has_head, state.marker) = (self.had_head, self.marker);
        for kept in self.trimmed.into_iter().rev() {
            let bytes = charge(&kept);
            state.bytes += bytes;
            total.fetch_add(bytes, Ordering::Relaxed);
            state.kept.push_front(kept);
            state.base -= 1;
        }
        for _ in 0..self.messages {
            state.waiting.pop_back();
            if let Some(kept) = state.kept.pop_back() {
                let bytes = charge(&kept);
                state.bytes -= bytes;
                total.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn log(&self) -> &Arc<RoomLog> {
        &self.log
    }
}
