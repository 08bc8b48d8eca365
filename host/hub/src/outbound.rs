//! The one way out of a connection: a byte-bounded queue and its batched writes.
//!
//! Any task may [`push`](Outbound::push) a frame. That never blocks and makes no system call, so it
//! may be done under a room's lock. Writing is a second step. The first task that pushes onto an
//! outbound without a pending write becomes responsible for the write, and calls
//! [`flush`](Outbound::flush) once its locks are released. A writer takes the socket out of the
//! state for the time of a write, so that the lock is never held across a system call; frames
//! pushed meanwhile are seen when the socket is put back. So there is exactly one writer at any
//! time, frames leave in the order in which they were pushed, and a receiver's task need not be
//! woken to be written to.
//!
//! The owner (the connection's task) is woken only if work is left for it: the kernel's buffer is
//! full, the socket failed, or the connection has to end.

mod batch;
mod chunk;
mod labels;
mod pending_writes;
mod pushed;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::client_bytes::{self, FREE_BYTES, Share};
use crate::frame::Frame;
use crate::inbox::{Addressee, Inbox, Posted};
use crate::transport::Writer;
use wharf_contract::close::{Close, Reason};

use batch::{Batch, CHUNKS_PER_WRITE};
use chunk::{Chunk, charge};

pub use labels::{Label, Labels};
pub use pending_writes::PendingWrites;
pub use pushed::Pushed;

/// Bytes that may wait beyond the configured bytes of messages and the charges of one event's
/// smallest frames, so that messages that fit do so with their frames' headers.
const ROOM_FOR_HEADERS: usize = 16 * 1024;

/// Bytes that control frames of the owner may take beyond all others: a close frame must find room
/// even if a message does not.
const ROOM_FOR_CONTROL: usize = 4 * 1024;

/// Writes that one flush makes at most before it leaves the rest to the owner, so that one
/// receiver, which reads as fast as others fill its queue, does not keep a sender busy.
const WRITES_PER_DRAIN: usize = 16;

/// The most that one event may send.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventBounds {
    /// Number of frames.
    pub frames: usize,
    /// Bytes of their payloads together.
    pub bytes: usize,
}

/// The state of an outbound, as its owner checks it between two events.
#[derive(Clone, Copy, Debug)]
pub struct OutboundStatus {
    /// Reason to end the connection, if it was asked to.
    pub end: Option<Reason>,
    /// True if more than half of the bound waits. Then no further input should be read.
    pub is_backed_up: bool,
    /// Bytes written since the beginning; grows as long as the receiver reads.
    pub written_bytes: u64,
    /// True if something may wait in the inbox.
    pub has_posted: bool,
}

/// A connection's outgoing side, shared by all tasks that may send to it.
#[derive(Debug)]
pub struct Outbound {
    /// Bytes that may wait; a push beyond it ends the connection as a slow consumer.
    limit: usize,
    /// Bytes that one event of the connection itself may add to that.
    own: usize,
    /// The labels, which only broadcasts that name labels read; a null pointer if there are none.
    labels: ArcSwapOption<Labels>,
    /// True if the client asks for the positions of messages that rooms keep.
    wants_positions: AtomicBool,
    state: Mutex<State>,
    /// Posted events of the connection, which its owner handles.
    inbox: Inbox,
}

impl Addressee for Outbound {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn attend(self: Arc<Self>) {
        self.wake_after(|state| {
            state.has_posted = true;
            true
        });
    }
}

#[derive(Debug)]
struct State {
    socket: Socket,
    queue: VecDeque<Chunk>,
    /// Sum of the [charges](charge) of all waiting frames, including those that a running write has
    /// taken out of the queue.
    queued_bytes: usize,
    /// The part of them that counts for this receiver in the sum of all clients.
    small_bytes: usize,
    share: Share,
    written_bytes: u64,
    /// True if a task has promised to flush.
    claimed: bool,
    /// True if the last write would have blocked; the owner waits until the socket is writable.
    blocked: bool,
    /// True if the first chunk of the queue is the rest of one that was written in part.
    head_is_rest: bool,
    /// True if the owner waits until nothing is queued.
    owner_waits: bool,
    /// True if the owner has not been told yet to end the connection.
    owner_is_to_be_told: bool,
    /// True if messages are no longer accepted; control frames of the owner still are.
    ended: bool,
    /// Reason to end the connection, until the owner has noticed.
    end: Option<Reason>,
    /// Code and reason of a channel that closes the connection from elsewhere. Boxed, since few
    /// connections end so, and every waiting connection would hold the room.
    close: Option<Box<Close>>,
    /// True if something was posted since the inbox was last found empty.
    has_posted: bool,
    owner: Option<Waker>,
}

#[derive(Debug)]
enum Socket {
    /// The upgrade is not finished: frames wait.
    Awaited,
    /// Free for the next writer.
    Idle(Writer),
    /// Taken out by a flush that is writing.
    Taken,
    /// Failed or shut; nothing is written any more.
    Gone,
}

impl Outbound {
    /// Makes an outbound without a socket, for at most `limit` waiting bytes of messages. A frame
    /// counts for at least 64 bytes. There is room beyond the limit for the smallest frames of one
    /// event. Messages that the connection causes itself have room for all of one event's: it does
    /// not begin an event while more than half of the limit waits, so its own answers never overrun.
    pub fn new(limit: usize, event: EventBounds) -> Arc<Outbound> {
        let frames = event.frames.saturating_mul(chunk::MIN_CHARGE);
        let room = ROOM_FOR_HEADERS.saturating_add(frames);
        Arc::new(Outbound {
            limit: limit.saturating_add(room),
            own: event.bytes.saturating_add(room),
            labels: ArcSwapOption::empty(),
            wants_positions: AtomicBool::new(false),
            state: Mutex::new(State {
                socket: Socket::Awaited,
                queue: VecDeque::new(),
                queued_bytes: 0,
                small_bytes: 0,
                share: Share::default(),
                written_bytes: 0,
                claimed: false,
                blocked: false,
                head_is_rest: false,
                owner_waits: false,
                owner_is_to_be_told: false,
                ended: false,
                end: None,
                close: None,
                has_posted: false,
                owner: None,
            }),
            inbox: Inbox::default(),
        })
    }

    /// Gives the outbound its socket. The next flush writes the frames that were pushed before.
    pub fn attach(&self, socket: Writer) {
        self.state.lock().socket = Socket::Idle(socket);
    }

    /// Notes that the client asks for the positions of messages that rooms keep.
    pub(crate) fn ask_for_positions(&self) {
        self.wants_positions.store(true, Ordering::Relaxed);
    }

    /// Returns true if the client asks for the positions of messages that rooms keep.
    pub(crate) fn wants_positions(&self) -> bool {
        self.wants_positions.load(Ordering::Relaxed)
    }

    /// Returns the bytes that may still be queued within the bound of messages from others.
    pub(crate) fn free_bytes(&self) -> usize {
        self.limit.saturating_sub(self.state.lock().queued_bytes)
    }

    /// Returns the connection's labels.
    pub fn labels(&self) -> Labels {
        self.labels.load().as_deref().cloned().unwrap_or_default()
    }

    /// Returns true if the connection has all of these labels.
    pub(crate) fn has_labels(&self, wanted: &[Label]) -> bool {
        match &*self.labels.load() {
            Some(labels) => labels.have(wanted),
            None => wanted.is_empty(),
        }
    }

    /// Replaces the connection's labels. Only the owner may call it, so that no change is lost
    /// between reading and replacing.
    pub(crate) fn set_labels(&self, labels: Labels) {
        self.labels.store((!labels.is_empty()).then(|| Arc::new(labels)));
    }

    /// Queues a frame of a message. Never blocks and makes no system call.
    pub fn push(&self, frame: &Frame) -> Pushed {
        self.push_within(self.limit, frame)
    }

    /// Queues a frame of a message that an event of the connection itself causes.
    pub fn push_own(&self, frame: &Frame) -> Pushed {
        self.push_within(self.limit.saturating_add(self.own), frame)
    }

    fn push_within(&self, limit: usize, frame: &Frame) -> Pushed {
        if self.wants_positions() && frame.looks_like_a_note() {
            // A client that reads notes must not take a message of somebody else for one.
            return self.push_within(limit, &frame.behind_a_note());
        }
        let mut state = self.state.lock();
        if state.ended {
            return Pushed::Refused;
        }
        let charge = charge(frame);
        if state.queued_bytes + charge > limit {
            return state.overrun();
        }
        state.queue(frame, charge)
    }

    /// Queues a control frame of the owner's own, which is accepted even while the connection ends.
    /// A client that provokes more of them than `limit` has room for is a slow consumer too.
    pub fn push_control(&self, frame: &Frame) -> Pushed {
        let mut state = self.state.lock();
        let limit = self.limit.saturating_add(self.own).saturating_add(ROOM_FOR_CONTROL);
        let charge = charge(frame);
        if state.queued_bytes + charge > limit {
            return if state.ended { Pushed::Refused } else { state.overrun() };
        }
        state.queue(frame, charge)
    }

    /// Writes the queue, as far as the kernel accepts it. Returns at once if another task is
    /// writing already, since that will see the pushed frames.
    pub fn flush(&self) {
        // The owner is woken without the lock, since waking may be a system call, and is followed
        // by a look at the state.
        if let Some(owner) = self.write_waiting() {
            owner.wake();
        }
    }

    /// Writes like [`flush`](Outbound::flush), but returns the owner if work is left for it.
    fn write_waiting(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.claimed = false;
        let mut concerns_owner = std::mem::take(&mut state.owner_is_to_be_told);
        for _ in 0..WRITES_PER_DRAIN {
            if state.queue.is_empty() {
                concerns_owner |= std::mem::take(&mut state.owner_waits);
            }
            if state.blocked || state.queue.is_empty() {
                return state.owner(concerns_owner);
            }
            let socket = match std::mem::replace(&mut state.socket, Socket::Taken) {
                Socket::Idle(socket) => socket,
                other => {
                    state.socket = other;
                    return state.owner(concerns_owner);
                }
            };
            let Some(batch) = Batch::take(&mut state.queue) else {
                // The queue is not empty, as was just seen.
                state.socket = Socket::Idle(socket);
                return state.owner(concerns_owner);
            };
            drop(state);
            let result = batch.write(&socket);
            state = self.state.lock();
            if matches!(state.socket, Socket::Gone) {
                // The socket was shut during the write.
                return state.owner(concerns_owner);
            }
            state.socket = Socket::Idle(socket);
            match result {
                Ok(written) => {
                    state.written_bytes += written as u64;
                    state.put_back(batch, written);
                    state.keep_owed();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.put_back(batch, 0);
                    state.keep_owed();
                    state.blocked = true;
                    return state.owner(true);
                }
                Err(_) => {
                    state.fail();
                    return state.owner(true);
                }
            }
        }
        // Either the owner has the rest to write, or it may wait for the queue to be empty.
        let is_left = !state.queue.is_empty();
        let concerns_owner = concerns_owner || is_left || std::mem::take(&mut state.owner_waits);
        state.owner(concerns_owner)
    }

    /// Writes the queue for the owner, and waits for the socket while it is full. Ready when
    /// nothing waits any more, or nothing can be written. Registers the owner to be woken for all
    /// that concerns it, including [`end`](Outbound::end).
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut state = self.state.lock();
            match &state.owner {
                Some(owner) if owner.will_wake(cx.waker()) => {}
                _ => state.owner = Some(cx.waker().clone()),
            }
            if state.queue.is_empty() && !matches!(state.socket, Socket::Taken) {
                return Poll::Ready(());
            }
            state.owner_waits = true;
            match &state.socket {
                Socket::Gone => return Poll::Ready(()),
                // The flush that has it looks at the queue again before it lets go.
                Socket::Awaited | Socket::Taken => return Poll::Pending,
                Socket::Idle(socket) => {
                    if state.blocked {
                        match socket.poll_write_ready(cx) {
                            Poll::Pending => return Poll::Pending,
                            Poll::Ready(Ok(())) => state.blocked = false,
                            Poll::Ready(Err(_)) => {
                                state.fail();
                                drop(state);
                                // The owner has to look at the reason.
                                cx.waker().wake_by_ref();
                                return Poll::Ready(());
                            }
                        }
                    }
                    drop(state);
                    self.flush();
                }
            }
        }
    }

    /// Asks the owner to end the connection; the first reason stays.
    pub fn end(&self, reason: Reason) {
        self.wake_after(|state| state.ask_to_end(reason));
    }

    /// Asks the owner to close the connection with a channel's code and reason, unless it ends
    /// already.
    pub fn close(&self, close: Close) {
        self.wake_after(|state| {
            let is_asked = state.ask_to_end(Reason::ChannelClosed);
            if is_asked {
                state.close = Some(Box::new(close));
            }
            is_asked
        });
    }

    /// Changes the state, and wakes the owner if `change` returns true.
    fn wake_after(&self, change: impl FnOnce(&mut State) -> bool) {
        let owner = {
            let mut state = self.state.lock();
            let concerns_owner = change(&mut state);
            state.owner(concerns_owner)
        };
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Returns to the owner the code and reason of the [`close`](Outbound::close) that it was asked
    /// for.
    pub fn take_close(&self) -> Option<Close> {
        self.state.lock().close.take().map(|close| *close)
    }

    /// Returns to the owner the present state.
    pub fn status(&self) -> OutboundStatus {
        let state = self.state.lock();
        OutboundStatus {
            end: state.end,
            is_backed_up: state.queued_bytes > self.limit / 2,
            written_bytes: state.written_bytes,
            has_posted: state.has_posted,
        }
    }

    /// Takes out the next posted event, for the owner.
    pub fn next_posted(&self) -> Option<Posted> {
        // The flag is cleared before the look, so that a post in between is not missed.
        self.state.lock().has_posted = false;
        let posted = self.inbox.pop();
        if posted.is_some() {
            self.state.lock().has_posted = true;
        }
        posted
    }

    /// Accepts no more messages and no more posted events, for the owner. With `discard` the queue
    /// is dropped as well, except a frame that is written in part, without which nothing after it
    /// could be read.
    pub fn refuse_messages(&self, discard: bool) {
        self.inbox.close();
        let mut state = self.state.lock();
        state.ended = true;
        if discard {
            let keep = usize::from(state.head_is_rest);
            while state.queue.len() > keep
                && let Some(chunk) = state.queue.pop_back()
            {
                state.free(chunk.charge(), chunk.is_small);
            }
        }
    }

    /// Gives the socket up, for the owner. Nothing is written after this. The write half is
    /// dropped, which ends the stream once the read half is gone as well.
    pub fn shut(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.drop_all();
        state.owner = None;
    }

    /// Gives the socket up like [`shut`](Outbound::shut), for a stream that both sides have ended
    /// explicitly: the socket is closed with its read half, and no further end is announced.
    pub fn release(&self) {
        let socket = std::mem::replace(&mut self.state.lock().socket, Socket::Gone);
        if let Socket::Idle(socket) = socket {
            socket.forget();
        }
        self.shut();
    }

    /// Returns the size of the queue, and true if more than half of the bound waits.
    pub(crate) fn load(&self) -> (usize, bool) {
        let bytes = self.state.lock().queued_bytes;
        (bytes, bytes > self.limit / 2)
    }

    /// Returns the size of the queue in bytes; each frame counts for at least 64.
    pub fn queued_bytes(&self) -> usize {
        self.state.lock().queued_bytes
    }
}

impl State {
    fn queue(&mut self, frame: &Frame, charge: usize) -> Pushed {
        if matches!(self.socket, Socket::Gone) {
            return Pushed::Refused;
        }
        if self.queued_bytes + charge > FREE_BYTES && !self.is_covered(charge) {
            return if self.ended { Pushed::Refused } else { self.overrun() };
        }
        self.queued_bytes += charge;
        if client_bytes::is_small(charge) {
            self.small_bytes += charge;
        }
        let is_appended = match self.queue.back_mut() {
            Some(last) => last.append(frame, charge),
            None => false,
        };
        if !is_appended {
            self.queue.push_back(Chunk::of(frame, charge));
        }
        let writable = matches!(self.socket, Socket::Idle(_)) && !self.blocked;
        if writable && !self.claimed {
            self.claimed = true;
            Pushed::Flush
        } else {
            Pushed::Queued
        }
    }

    /// Returns true if all clients together may make the host hold one more frame for this one.
    fn is_covered(&mut self, charge: usize) -> bool {
        let small = if client_bytes::is_small(charge) { charge } else { 0 };
        !client_bytes::is_exhausted() && self.share.cover(self.small_bytes + small)
    }

    /// Notes that frames of this charge wait no longer.
    fn free(&mut self, charge: usize, is_small: bool) {
        self.queued_bytes -= charge;
        if is_small {
            self.small_bytes -= charge;
            // Less than before is always allowed.
            self.share.cover(self.small_bytes);
        }
    }

    /// Gives up the socket and all that waits for it.
    fn drop_all(&mut self) {
        self.socket = Socket::Gone;
        self.queue = VecDeque::new();
        (self.queued_bytes, self.small_bytes) = (0, 0);
        self.share = Share::default();
    }

    /// Returns the rest of a batch, of which `written` bytes were written, to the queue's head.
    fn put_back(&mut self, batch: Batch, mut written: usize) {
        match batch {
            Batch::One(chunk) if chunk.len() == written => {
                self.free(chunk.charge(), chunk.is_small);
                self.head_is_rest = false;
            }
            batch => {
                let mut rest = batch.into_chunks();
                rest.reverse();
                while let Some(mut chunk) = rest.pop() {
                    if written >= chunk.len() {
                        written -= chunk.len();
                        self.free(chunk.charge(), chunk.is_small);
                        self.head_is_rest = false;
                    } else {
                        self.head_is_rest |= written > 0;
                        let less = chunk.advance(written);
                        self.free(less, chunk.is_small);
                        rest.push(chunk);
                        break;
                    }
                }
                // `rest` is in reverse, so pushing to the front restores the order.
                for chunk in rest {
                    self.queue.push_front(chunk);
                }
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > CHUNKS_PER_WRITE {
            // An idle connection must not keep the memory of a burst.
            self.queue = VecDeque::new();
        }
    }

    /// Keeps the head of the queue if its first byte is on its way already.
    fn keep_owed(&mut self) {
        // Mostly everything was written, and no transport need be asked.
        if !self.queue.is_empty()
            && let Socket::Idle(socket) = &self.socket
        {
            self.head_is_rest |= socket.owes_a_byte();
        }
    }

    fn overrun(&mut self) -> Pushed {
        self.ended = true;
        self.end.get_or_insert(Reason::SlowConsumer);
        self.owner_is_to_be_told = true;
        Pushed::Overrun
    }

    fn fail(&mut self) {
        self.ended = true;
        self.drop_all();
        self.end.get_or_insert(Reason::NetworkLost);
    }

    /// Notes a wish to end the connection. Returns true if it is the first and the connection has
    /// not ended.
    fn ask_to_end(&mut self, reason: Reason) -> bool {
        let is_first = self.end.is_none() && !self.ended;
        if is_first {
            self.end = Some(reason);
        }
        is_first
    }

    /// Returns the owner, if it is there and something concerns it.
    fn owner(&self, concerns_it: bool) -> Option<Waker> {
        if concerns_it { self.owner.clone() } else { None }
    }
}
