//! The messages that a node receives.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::logs::Position;

/// Bytes that a message counts for beside its own.
const OVERHEAD: usize = 64;

/// An event that a node receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message on a topic.
    Message {
        /// The topic.
        topic: Arc<str>,
        /// The message.
        message: Bytes,
        /// Its place, if it was appended to the log of the topic's name.
        position: Option<Position>,
    },
    /// Messages may be missing from here on.
    Interrupted {
        /// Time from which on they may be missing.
        since: Instant,
    },
    /// All topics are subscribed to again, and no more messages are missing from here on.
    Restored,
}

/// The receiver of a node. One task has it.
///
/// It is bounded in bytes. At the bound messages are dropped, and a [`Delivery::Interrupted`] stands in their place;
/// when half of the bound is free again, [`Delivery::Restored`] follows.
#[derive(Debug)]
pub struct Deliveries {
    inbox: Arc<Inbox>,
}

impl Deliveries {
    /// Waits for the next event. `None` after the engine was closed. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            // Asked for before the look, so that an arrival in between is not missed.
            let changed = self.inbox.changed.notified();
            let due = match self.inbox.take(Instant::now()) {
                Taken::Delivery(delivery) => return Some(delivery),
                Taken::Ended => return None,
                Taken::At(due) => Some(due),
                Taken::Nothing => None,
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Returns the next event if there is one already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        match self.inbox.take(Instant::now()) {
            Taken::Delivery(delivery) => Some(delivery),
            _ => None,
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.inbox.state.lock().has_ended = true;
    }
}

/// The sender's side of [`Deliveries`].
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Option<Instant>, Delivery)>,
    bytes: usize,
    bound: usize,
    is_link_down: bool,
    is_overrun: bool,
    has_ended: bool,
    received: u64,
    overrun: u64,
}

enum Taken {
    Delivery(Delivery),
    /// The next one is under way until then.
    At(Instant),
    Nothing,
    Ended,
}

impl Inbox {
    /// Makes both sides.
    pub(crate) fn new(bound: usize) -> (Arc<Inbox>, Deliveries) {
        let state = Mutex::new(State { bound, ..State::default() });
        let inbox = Arc::new(Inbox { state, changed: Notify::new() });
        (inbox.clone(), Deliveries { inbox })
    }

    /// Queues a message that is received at a time, or at once.
    pub(crate) fn message(
        &self,
        topic: Arc<str>,
        message: Bytes,
        position: Option<Position>,
        due: Option<Instant>,
    ) {
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        state.received += 1;
        let size = message.len() + topic.len() + OVERHEAD;
        if state.is_overrun || state.bytes.saturating_add(size) > state.bound {
            state.overrun += 1;
            if !state.is_overrun {
                state.is_overrun = true;
                if !state.is_link_down {
                    let since = Instant::now();
                    state.waiting.push_back((None, Delivery::Interrupted { since }));
                }
            }
            state.catch_up();
        } else {
            state.bytes += size;
            state.waiting.push_back((due, Delivery::Message { topic, message, position }));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that messages are missing for a reason beside the link, as when a library has dropped some.
    pub(crate) fn missed(&self) {
        let mut state = self.state.lock();
        if !state.is_link_down && !state.is_overrun && !state.has_ended {
            let since = Instant::now();
            state.waiting.push_back((None, Delivery::Interrupted { since }));
            state.waiting.push_back((None, Delivery::Restored));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that the link is down.
    pub(crate) fn interrupt(&self, since: Instant) {
        let mut state = self.state.lock();
        if !state.is_link_down && !state.has_ended {
            state.is_link_down = true;
            if !state.is_overrun {
                state.waiting.push_back((None, Delivery::Interrupted { since }));
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that the link is back and every topic is subscribed to.
    pub(crate) fn restore(&self) {
        let mut state = self.state.lock();
        if state.is_link_down && !state.has_ended {
            state.is_link_down = false;
            if !state.is_overrun {
                state.waiting.push_back((None, Delivery::Restored));
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the receiver, when it has taken what waits.
    pub(crate) fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_one();
    }

    /// Returns the numbers of messages that were received, and dropped at the bound.
    pub(crate) fn counters(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.received, state.overrun)
    }

    fn take(&self, now: Instant) -> Taken {
        let mut state = self.state.lock();
        match state.waiting.front() {
            Some((Some(due), _)) if *due > now => return Taken::At(*due),
            None if state.has_ended => return Taken::Ended,
            None => return Taken::Nothing,
            Some(_) => {}
        }
        let Some((_, delivery)) = state.waiting.pop_front() else { return Taken::Nothing };
        if let Delivery::Message { topic, message, .. } = &delivery {
            state.bytes = state.bytes.saturating_sub(message.len() + topic.len() + OVERHEAD);
            state.catch_up();
        }
        Taken::Delivery(delivery)
    }
}

impl State {
    /// Lets messages in again when half of the bound is free.
    fn catch_up(&mut self) {
        if self.is_overrun && self.bytes <= self.bound / 2 {
            self.is_overrun = false;
            if !self.is_link_down {
                self.waiting.push_back((None, Delivery::Restored));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inbox: &Inbox, length: usize) {
        inbox.message(Arc::from("t"), vec![0; length].into(), None, None);
    }

    #[test]
    fn at_the_bound_messages_give_way_to_one_interruption() {
        let (inbox, mut deliveries) = Inbox::new(1_000);
        (0..9).for_each(|_| message(&inbox, 200));
        let mut found = Vec::new();
        while let Some(delivery) = deliveries.try_next() {
            found.push(match delivery {
                Delivery::Message { .. } => 'm',
                Delivery::Interrupted { .. } => 'i',
                Delivery::Restored => 'r',
            });
        }
        assert_eq!(found, ['m', 'm', 'm', 'i', 'r']);
        assert_eq!(inbox.counters(), (9, 6));
        message(&inbox, 200);
        assert!(matches!(deliveries.try_next(), Some(Delivery::Message { .. })));
    }

    #[test]
    fn a_message_larger_than_the_bound_is_an_interruption_that_ends() {
        let (inbox, mut deliveries) = Inbox::new(1_000);
        message(&inbox, 2_000);
        assert!(matches!(deliveries.try_next(), Some(Delivery::Interrupted { .. })));
        assert_eq!(deliveries.try_next(), Some(Delivery::Restored));
        assert_eq!(deliveries.try_next(), None);
    }

    #[test]
    fn a_link_that_breaks_during_an_overrun_is_one_interruption() {
        let (inbox, mut deliveries) = Inbox::new(300);
        (0..2).for_each(|_| message(&inbox, 200));
        inbox.interrupt(Instant::now());
        assert!(matches!(deliveries.try_next(), Some(Delivery::Message { .. })));
        assert!(matches!(deliveries.try_next(), Some(Delivery::Interrupted { .. })));
        assert_eq!(deliveries.try_next(), None);
        inbox.restore();
        assert_eq!(deliveries.try_next(), Some(Delivery::Restored));
    }
}
