//! The messages that wait to be sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::configuration::Limits;
use crate::error::{Reason, Unavailable};
use crate::names::check_name;

/// Bytes that a message counts for beside its own.
const OVERHEAD: usize = 64;

/// Most messages that are sent at a time.
const BATCH_MESSAGES: usize = 512;

/// Bytes that are sent at a time, unless one message has more.
const BATCH_BYTES: usize = 1 << 20;

/// Part of the bound that is not given to those who ask first.
const SPARE: usize = 16;

/// The messages that wait to be sent, bounded in bytes and in age.
#[derive(Debug)]
pub(crate) struct Outbox {
    bound: usize,
    max_age: std::time::Duration,
    state: Mutex<State>,
    /// Notified when a message has come.
    pub(crate) filled: Notify,
    /// Notified when all messages were taken.
    pub(crate) emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Instant, Message)>,
    bytes: usize,
    is_closed: bool,
    published: u64,
    dropped: u64,
}

/// A message for the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) message: Bytes,
}

impl Message {
    fn size(&self) -> usize {
        self.topic.len() + self.message.len() + OVERHEAD
    }
}

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Outbox {
        Outbox {
            bound: limits.outbox_bytes,
            max_age: limits.outbox_age,
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Queues a message.
    pub(crate) fn put(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        check_name(topic)?;
        let message = Message { topic: Arc::from(topic), message };
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Unavailable::closed());
        }
        let size = message.size();
        if state.bytes.saturating_add(size) > self.bound {
            // Those that are too old give way.
            state.drop_older(self.max_age, Instant::now());
        }
        if state.bytes.saturating_add(size) > self.bound {
            return Err(Unavailable::new(
                Reason::QueueFull,
                &format!("{} bytes of messages wait for the engine", state.bytes),
            ));
        }
        state.bytes += size;
        state.published += 1;
        state.waiting.push_back((Instant::now(), message));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Returns true if a message of so many bytes would be queued now, and leave some room.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let bound = self.bound - self.bound / SPARE;
        let is_full = |state: &State| state.bytes.saturating_add(bytes) > bound;
        if is_full(&state) {
            state.drop_older(self.max_age, Instant::now());
        }
        // One that never fits is not worth another try, and is told of when it is queued.
        !is_full(&state) || bytes > bound
    }

    /// Takes messages that are to be sent together, without those that are too old.
    pub(crate) fn take(&self) -> Vec<Message> {
        let mut state = self.state.lock();
        state.drop_older(self.max_age, Instant::now());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((_, message)) = state.waiting.front() {
            let size = message.size();
            if batch.len() >= BATCH_MESSAGES || (!batch.is_empty() && bytes + size > BATCH_BYTES) {
                break;
            }
            bytes += size;
            state.bytes = state.bytes.saturating_sub(size);
            batch.extend(state.waiting.pop_front().map(|(_, message)| message));
        }
        let is_empty = batch.is_empty();
        drop(state);
        if is_empty {
            self.emptied.notify_waiters();
        }
        batch
    }

    /// Counts messages as lost that were taken.
    pub(crate) fn lost(&self, messages: usize) {
        self.state.lock().dropped += messages as u64;
    }

    /// Refuses further messages.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// Returns the numbers of messages that were queued, and that were dropped, and the bytes that wait.
    pub(crate) fn counters(&self) -> (u64, u64, usize) {
        let state = self.state.lock();
        (state.published, state.dropped, state.bytes)
    }
}

impl State {
    fn drop_older(&mut self, age: std::time::Duration, now: Instant) {
        while let Some((at, message)) = self.waiting.front() {
            if now.saturating_duration_since(*at) <= age {
                return;
            }
            self.bytes = self.bytes.saturating_sub(message.size());
            self.dropped += 1;
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn old_messages_are_dropped_and_the_bound_refuses_new_ones() {
        let outbox = Outbox::new(&Limits { outbox_bytes: 1_000, ..Limits::default() });
        let put = || outbox.put("t", Bytes::from_static(&[0; 300]));
        assert_eq!((put(), put()), (Ok(()), Ok(())));
        assert_eq!(put().expect_err("it is full").reason(), Reason::QueueFull);
        assert!(!outbox.has_room(300) && outbox.has_room(100));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(outbox.has_room(900) && outbox.has_room(950));
        assert_eq!(put(), Ok(()));
        assert_eq!(outbox.take().len(), 1);
        assert_eq!(outbox.counters(), (3, 2, 0));
    }
}
