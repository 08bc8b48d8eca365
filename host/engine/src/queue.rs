//! The writes that wait for the next group.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::error::Unavailable;
use crate::records::{Change, Undo};
use crate::written::Written;

/// Writes that the next group may have; further ones are refused until it is written. Its bytes
/// are bounded by what the calls behind the writes may hold in memory.
const MAX_CHANGES: usize = 1 << 18;

/// The writes that wait. Callers add to it, and the writer's thread takes all.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Notified when there is something to take.
    filled: Condvar,
}

#[derive(Default)]
struct State {
    group: Group,
    /// The reason why nothing is taken: failed writes are being undone, or the writer has ended.
    refusal: Option<Unavailable>,
    has_ended: bool,
}

/// The writes of one transaction.
#[derive(Default)]
pub(crate) struct Group {
    /// Changes, each with the number of its channel, in the order of the writes.
    pub(crate) changes: Vec<(i64, Change)>,
    /// Undos in the order of the writes.
    pub(crate) undos: Vec<Undo>,
    pub(crate) written: Written,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Undoes its writes, later ones first.
    fn undo(&mut self) {
        while let Some(undo) = self.undos.pop() {
            undo();
        }
    }
}

/// Nobody waits for ever for a group that a panic has dropped.
impl Drop for Group {
    fn drop(&mut self) {
        self.written.decide(Err(Unavailable::new("the host has panicked while it wrote")));
    }
}

impl Queue {
    /// Adds a write. The order of calls is the order of the writes.
    pub(crate) fn put(
        &self,
        channel: i64,
        changes: impl IntoIterator<Item = Change>,
        undo: Option<Undo>,
    ) -> Result<Written, Unavailable> {
        let mut state = self.state.lock();
        if let Some(why) = &state.refusal {
            return Err(why.clone());
        }
        if state.group.changes.len() >= MAX_CHANGES {
            return Err(Unavailable::new("the disk is too slow for all that is to be written"));
        }
        let was_empty = state.group.is_empty();
        state.group.changes.extend(changes.into_iter().map(|change| (channel, change)));
        state.group.undos.extend(undo);
        let written = state.group.written.clone();
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(written)
    }

    /// Takes all that waits, once there is something and `earliest` has come. An empty group if there is
    /// nothing at `latest`, and `None` when the queue has ended and is empty.
    pub(crate) fn take(&self, earliest: Instant, latest: Option<Instant>) -> Option<Group> {
        let mut state = self.state.lock();
        loop {
            if !state.group.is_empty() {
                if state.has_ended || Instant::now() >= earliest {
                    return Some(std::mem::take(&mut state.group));
                }
                // More come meanwhile, and share the cost of the group.
                let _ = self.filled.wait_until(&mut state, earliest);
            } else if state.has_ended {
                return None;
            } else if let Some(latest) = latest {
                if self.filled.wait_until(&mut state, latest).timed_out() {
                    return Some(Group::default());
                }
            } else {
                self.filled.wait(&mut state);
            }
        }
    }

    /// Undoes a group that has failed, and all writes that came after it.
    pub(crate) fn fail(&self, mut group: Group, why: &Unavailable) {
        let mut later = {
            let mut state = self.state.lock();
            state.refusal = Some(why.clone());
            std::mem::take(&mut state.group)
        };
        // Undos take the locks of their tables, under which others may wait for the queue.
        later.undo();
        group.undo();
        // All is undone before anybody hears of it, and groups are decided in their order.
        group.written.decide(Err(why.clone()));
        later.written.decide(Err(why.clone()));
        let mut state = self.state.lock();
        if !state.has_ended {
            state.refusal = None;
        }
    }

    /// Ends the queue: what waits is still written, and nothing else is taken.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        state.refusal = Some(Unavailable::new("the host has stopped"));
        drop(state);
        self.filled.notify_one();
    }
}
