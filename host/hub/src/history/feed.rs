//! The messages of one room's log in a cluster, on their way to the members of this node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;

use super::follower::{Follower, Read, Step};
use super::position::Position;
use crate::logs::{LogMessage, LogPart};

/// Messages that wait for one connection while it reads what was before them, at most.
const TAPPED_MESSAGES: usize = 512;

/// Bytes of them, at most. A connection that reads for longer reads again.
const TAPPED_BYTES: usize = 256 * 1024;

/// Bytes of messages that wait for those before them, in all rooms of a channel. Beyond it they are dropped, and read
/// from their logs later.
const ALL_HELD_BYTES: usize = 16 << 20;

/// A room's log as this node follows it.
#[derive(Debug)]
pub(crate) struct Feed {
    name: Arc<str>,
    state: Mutex<FeedState>,
    /// Notified when the members have got something.
    pub(crate) moved: Notify,
    /// Held by the one that reads what is missing.
    pub(crate) reader: AsyncMutex<()>,
}

/// The state of a feed.
#[derive(Debug)]
pub(crate) struct FeedState {
    follower: Follower<LogMessage>,
    /// Things that the members have not got yet, in order.
    ready: VecDeque<Step<LogMessage>>,
    /// The place of the last message that was handed to the members; `None` before the first one is known.
    delivered: Option<Position>,
    taps: Vec<TapState>,
    last_tap: u64,
    /// Time at which the place was known to be that of the log.
    checked_at: Option<Instant>,
    /// Bytes that wait in all feeds of the channel, and those of this one that are among them.
    all_held: Arc<AtomicUsize>,
    held: usize,
    /// True if the table has dropped it. A task that still holds it delivers nothing more: the room may have another.
    is_gone: bool,
}

/// The messages since the tap was opened.
#[derive(Debug)]
struct TapState {
    number: u64,
    tapped: Tapped,
    bytes: usize,
}

/// The messages that members have got since a tap was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tapped {
    /// The place before them; `None` before the first one is known.
    pub(crate) from: Option<Position>,
    /// The messages.
    pub(crate) messages: Vec<(u64, LogMessage)>,
    /// True if there were more than may wait.
    pub(crate) is_cut: bool,
}

impl Tapped {
    /// Returns the messages after a place; `None` if others may be missing in between.
    pub(crate) fn after(&self, place: Position) -> Option<&[(u64, LogMessage)]> {
        let from = self.from.filter(|from| from.epoch == place.epoch && !self.is_cut)?;
        let known = place.offset.checked_sub(from.offset)?;
        let start = usize::try_from(known).unwrap_or(usize::MAX).min(self.messages.len());
        self.messages.get(start..)
    }
}

/// A tap: it keeps what the members get, for a connection that is not one of them yet.
#[derive(Debug)]
pub(crate) struct Tap<'a> {
    feed: &'a Feed,
    number: u64,
}

impl Feed {
    pub(super) fn new(name: Arc<str>, all_held: Arc<AtomicUsize>) -> Feed {
        let state = FeedState {
            follower: Follower::default(),
            ready: VecDeque::new(),
            delivered: None,
            taps: Vec::new(),
            last_tap: 0,
            checked_at: None,
            all_held,
            held: 0,
            is_gone: false,
        };
        Feed { name, state: Mutex::new(state), moved: Notify::new(), reader: AsyncMutex::new(()) }
    }

    /// Returns the room's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock()
    }

    /// Opens a tap.
    pub(crate) fn tap(&self) -> Tap<'_> {
        let mut state = self.lock();
        state.last_tap += 1;
        let number = state.last_tap;
        let tapped = Tapped { from: state.delivered, ..Tapped::default() };
        state.taps.push(TapState { number, tapped, bytes: 0 });
        Tap { feed: self, number }
    }
}

impl Tap<'_> {
    /// Returns what has come, of a feed that is locked.
    pub(crate) fn tapped(&self, state: &FeedState) -> Tapped {
        let tap = state.taps.iter().find(|tap| tap.number == self.number);
        tap.map(|tap| tap.tapped.clone()).unwrap_or_default()
    }
}

impl Drop for Tap<'_> {
    fn drop(&mut self) {
        self.feed.lock().taps.retain(|tap| tap.number != self.number);
    }
}

impl FeedState {
    /// Has nothing be delivered any more. For the table, which drops it.
    pub(super) fn end(&mut self) {
        self.is_gone = true;
    }

    /// Returns the place of the last message that was handed to the members.
    pub(crate) fn delivered(&self) -> Option<Position> {
        self.delivered
    }

    /// Returns true if the members have got the message with this place, or are in another epoch.
    pub(crate) fn has(&self, place: Position) -> bool {
        self.delivered.is_some_and(|at| at.epoch == place.epoch && at.offset >= place.offset)
    }

    /// Returns true if the log has to be read, and is not.
    pub(crate) fn wants_read(&self) -> bool {
        self.follower.wants_read()
    }

    /// Notes that messages may be missing.
    pub(crate) fn doubt(&mut self) {
        self.follower.doubt();
    }

    /// Notes that the place is to be compared with that of the log soon.
    pub(crate) fn check_soon(&mut self) {
        self.checked_at = None;
    }

    /// Returns the time at which the place was known to be that of the log.
    pub(crate) fn checked_at(&self) -> Option<Instant> {
        self.checked_at
    }

    /// Takes a message. `is_in_order` says that those before it should have been heard.
    pub(crate) fn hear(&mut self, place: Position, message: LogMessage, is_in_order: bool) {
        let is_full = self.all_held.load(Ordering::Relaxed) >= ALL_HELD_BYTES;
        // A size that is never kept.
        let size = if is_full { usize::MAX } else { message.size() };
        self.follower.hear(place, size, message, is_in_order, &mut self.ready);
        self.count_held();
        // One that is next in order shows that nothing was missing before it.
        if !self.follower.wants_read() {
            self.checked_at = Some(Instant::now());
        }
    }

    /// Begins a read, if one is wanted. Returns the offset after which it begins, or `None` for the end of the log.
    pub(crate) fn begin_read(&mut self) -> Option<Option<u64>> {
        self.follower.begin_read()
    }

    /// Takes the part of the log that was read.
    pub(crate) fn read(&mut self, part: LogPart) {
        let LogPart { last, first, messages } = part;
        let messages = messages.into_iter();
        let messages = messages.map(|(offset, message)| (offset, message.size(), message));
        let read = Read { last, first, messages: messages.collect() };
        self.follower.read(read, &mut self.ready);
        self.count_held();
        self.checked_at = Some(Instant::now());
    }

    /// Notes that a read has failed.
    pub(crate) fn read_failed(&mut self) {
        self.follower.read_failed();
        self.checked_at = None;
    }

    /// Returns the place up to which the log is known, for [`ends_at`](FeedState::ends_at).
    pub(crate) fn known(&self) -> Option<Position> {
        self.follower.at()
    }

    /// Takes the end of the log, which was asked for at a place.
    pub(crate) fn ends_at(&mut self, last: Position, from: Option<Position>) {
        self.follower.ends_at(last, from);
        self.checked_at = Some(Instant::now());
    }

    fn count_held(&mut self) {
        let held = self.follower.held_bytes();
        if held != self.held {
            self.all_held.fetch_add(held, Ordering::Relaxed);
            self.all_held.fetch_sub(self.held, Ordering::Relaxed);
            self.held = held;
        }
    }

    /// Takes out what the members get next. Taps get it at the same time.
    pub(crate) fn next_ready(&mut self) -> Option<Step<LogMessage>> {
        if self.is_gone {
            self.ready.clear();
        }
        let step = self.ready.pop_front()?;
        match &step {
            Step::Message(place, message) => {
                self.delivered = Some(*place);
                self.taps.iter_mut().for_each(|tap| tap.put(*place, message));
            }
            Step::Jump(to, _) => {
                self.delivered = Some(*to);
                self.taps.iter_mut().for_each(|tap| tap.begin(*to));
            }
        }
        Some(step)
    }
}

impl Drop for FeedState {
    fn drop(&mut self) {
        self.all_held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl TapState {
    fn put(&mut self, place: Position, message: &LogMessage) {
        self.bytes = self.bytes.saturating_add(message.size());
        if self.bytes > TAPPED_BYTES || self.tapped.messages.len() >= TAPPED_MESSAGES {
            self.tapped.is_cut = true;
            self.tapped.messages.clear();
        }
        if !self.tapped.is_cut {
            self.tapped.messages.push((place.offset, message.clone()));
        }
    }

    fn begin(&mut self, at: Position) {
        (self.tapped, self.bytes) = (Tapped { from: Some(at), ..Tapped::default() }, 0);
    }
}
