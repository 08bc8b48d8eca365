//! The writes that wait for the next group.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::error::Unavailable;
use crate::records::{Change, Kind, Undo};
use crate::written::Written;

/// Writes that the next group may have; further ones are refused until it is written. Its bytes
/// are bounded by what the calls behind the writes may hold in memory.
const MAX_CHANGES: usize = 1 << 18;

/// Deletions that are kept while writes fail. At the bound further ones are dropped, with a line of the
/// log: their records are there again after the next start.
const MAX_OWED: usize = 1 << 18;

/// A record that is to be deleted: the number of its channel, its kind and its key.
type Deletion = (i64, Kind, Bytes);

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
    /// Deletions whose write has failed, and which nobody has waited for. They come before the changes of
    /// the next group, so that a record that was written anew since then stays.
    owed: BTreeSet<Deletion>,
    /// True if some were dropped, which the log says once.
    has_dropped: bool,
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
    /// Those of the changes that are deletions which nobody waits for.
    deletions: Vec<Deletion>,
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

impl State {
    /// Keeps deletions for the next group, as many as there is room for.
    fn owe(&mut self, deletions: impl IntoIterator<Item = Deletion>) {
        for deletion in deletions {
            if self.owed.len() < MAX_OWED {
                self.owed.insert(deletion);
            } else if !std::mem::replace(&mut self.has_dropped, true) {
                tracing::error!(
                    limit = MAX_OWED,
                    "too many records are to be deleted while the disk refuses; further ones come \
                     back at the next start"
                );
            }
        }
    }

    /// Takes all that waits, owed deletions first.
    fn take(&mut self) -> Group {
        let mut group = std::mem::take(&mut self.group);
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            self.has_dropped = false;
            let first = owed.iter().map(|(channel, kind, key)| {
                (*channel, Change { kind: *kind, key: key.clone(), to: None })
            });
            group.changes = first.chain(std::mem::take(&mut group.changes)).collect();
            group.deletions.extend(owed);
        }
        group
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

    /// Adds deletions that nobody waits for. If their group fails they are kept, and written with the next
    /// one that does not.
    pub(crate) fn delete_later(
        &self,
        channel: i64,
        records: impl IntoIterator<Item = (Kind, Bytes)>,
    ) {
        let mut records = records.into_iter().map(|(kind, key)| (channel, kind, key)).peekable();
        if records.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        if state.refusal.is_some() || state.group.changes.len() >= MAX_CHANGES {
            state.owe(records);
            return;
        }
        let was_empty = state.group.is_empty();
        for deletion in records {
            let (channel, kind, key) = deletion.clone();
            state.group.changes.push((channel, Change { kind, key, to: None }));
            state.group.deletions.push(deletion);
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Takes all that waits, once there is something and `earliest` has come. At `latest` also what was kept
    /// of failed groups, or an empty group, and `None` when the queue has ended and nothing is left.
    pub(crate) fn take(&self, earliest: Instant, latest: Option<Instant>) -> Option<Group> {
        let mut state = self.state.lock();
        loop {
            if !state.group.is_empty() {
                if state.has_ended || Instant::now() >= earliest {
                    return Some(state.take());
                }
                // More come meanwhile, and share the cost of the group.
                let _ = self.filled.wait_until(&mut state, earliest);
            } else if state.has_ended {
                return (!state.owed.is_empty()).then(|| state.take());
            } else if let Some(latest) = latest {
                if self.filled.wait_until(&mut state, latest).timed_out() {
                    return Some(state.take());
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
        if state.has_ended {
            return;
        }
        state.owe(group.deletions.drain(..).chain(later.deletions.drain(..)));
        state.refusal = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_that_are_owed_are_bounded_and_come_first() {
        let queue = Queue::default();
        let why = Unavailable::new("full");
        queue.state.lock().refusal = Some(why.clone());
        let key = |number: usize| Bytes::copy_from_slice(&number.to_be_bytes());
        let keys = |keys: std::ops::Range<usize>| keys.map(|number| (Kind::Timer, key(number)));
        queue.delete_later(1, keys(0..MAX_OWED + 10));
        let facts = |state: &State| (state.owed.len(), state.has_dropped);
        assert_eq!(facts(&queue.state.lock()), (MAX_OWED, true));
        // A group that fails is owed no more than once.
        queue.state.lock().refusal = None;
        let change = Change { kind: Kind::Store, key: key(0), to: None };
        queue.put(1, [change.clone()], None).expect("taken");
        for _ in 0..2 {
            let group = queue.take(Instant::now(), None).unwrap_or_default();
            assert_eq!(group.deletions.len(), MAX_OWED);
            queue.fail(group, &why);
            queue.put(1, [change.clone()], None).expect("taken");
        }
        let group = queue.take(Instant::now(), None).unwrap_or_default();
        assert_eq!(group.changes.len(), MAX_OWED + 1);
        assert_eq!(group.changes.last(), Some(&(1, change)));
    }
}
