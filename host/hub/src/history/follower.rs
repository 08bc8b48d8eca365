//! The place of a node in a log that it follows: which message is the next one, and what is missing before it.
//!
//! It is pure: its caller brings what it hears and reads, and does what it puts out, in that order. Messages are heard
//! at most once, and perhaps late or not at all; the log itself has them. So a message beyond the next one waits, and
//! what is before it is read. A log may also begin anew, or lose the part that is missing: that is a [`Step::Jump`].
//!
//! # Guarantees
//!
//! - Messages are put out once, in the order of their offsets, each as the log has it.
//! - Between two of them nothing is missing, unless a jump stands in between.
//! - A read that is made after the last message of a log was appended, without another read under way, leaves nothing
//!   missing.
//! - What waits is bounded: [`HELD_MESSAGES`], [`HELD_BYTES`]. Beyond it messages are dropped, and read later.

use std::collections::{BTreeMap, VecDeque};

use super::position::{Epoch, Position};

/// Messages that wait for those before them, at most.
pub(crate) const HELD_MESSAGES: usize = 256;

/// Bytes of them, at most.
pub(crate) const HELD_BYTES: usize = 256 * 1024;

/// The place of a node in a log.
#[derive(Debug)]
pub(crate) struct Follower<M> {
    /// The place of the last message that was put out; `None` before the first read.
    at: Option<Position>,
    /// Messages that wait for those before them, by offset, all of one epoch.
    held: BTreeMap<u64, (usize, M)>,
    held_epoch: Epoch,
    held_bytes: usize,
    /// True if something may be missing that only a read can tell.
    is_in_doubt: bool,
    reading: Option<Reading>,
}

/// A read that is under way.
#[derive(Debug)]
struct Reading {
    /// The place at its beginning.
    from: Option<Position>,
    /// True if a message was heard since, that had to wait.
    has_heard: bool,
}

/// A thing for the members, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<M> {
    /// The message with this place.
    Message(Position, M),
    /// The members are at this place from now on, and may have missed what was before it.
    Jump(Position, Why),
}

/// The reason of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The place was not known before.
    Begun,
    /// The log did not exist before, and nothing of it is missing.
    Started,
    /// The log has begun anew, or has lost its end.
    NewEpoch,
    /// Messages are not kept any more.
    Trimmed,
}

/// The part of a log that was read.
#[derive(Debug)]
pub(crate) struct Read<M> {
    /// The place of its last message; [`Position::NONE`] if there is no log.
    pub(crate) last: Position,
    /// The offset of the first message that is kept.
    pub(crate) first: u64,
    /// Messages after the place at which the read began, each with its size.
    pub(crate) messages: Vec<(u64, usize, M)>,
}

impl<M> Default for Follower<M> {
    fn default() -> Follower<M> {
        Follower {
            at: None,
            held: BTreeMap::new(),
            held_epoch: Epoch(0),
            held_bytes: 0,
            is_in_doubt: true,
            reading: None,
        }
    }
}

impl<M> Follower<M> {
    /// Returns the place of the last message that was put out; `None` before the first read.
    pub(crate) fn at(&self) -> Option<Position> {
        self.at
    }

    /// Returns true if the log has to be read, and is not.
    pub(crate) fn wants_read(&self) -> bool {
        self.is_in_doubt && self.reading.is_none()
    }

    /// Returns the bytes that wait.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Notes that messages may be missing.
    pub(crate) fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    /// Takes a message. `is_in_order` says that those before it should have been heard: if they were not, they are
    /// missing.
    pub(crate) fn hear(
        &mut self,
        place: Position,
        size: usize,
        message: M,
        is_in_order: bool,
        out: &mut VecDeque<Step<M>>,
    ) {
        match self.at {
            Some(at) if at.epoch == place.epoch => {
                if place.offset <= at.offset {
                    return;
                }
                if place.offset == at.offset + 1 {
                    self.put_out(place, message, out);
                    return self.drain(out);
                }
                self.is_in_doubt |= is_in_order;
            }
            // The log did not exist, and begins with this message.
            Some(Position::NONE) if place.offset == 1 => {
                self.jump(Position { offset: 0, ..place }, Why::Started, out);
                self.put_out(place, message, out);
                return self.drain(out);
            }
            // Another epoch: the log says which one it has.
            Some(_) | None => self.is_in_doubt = true,
        }
        self.hold(place, size, message);
    }

    fn hold(&mut self, place: Position, size: usize, message: M) {
        if let Some(reading) = &mut self.reading {
            reading.has_heard = true;
        }
        if self.held_epoch != place.epoch {
            self.drop_held();
            self.held_epoch = place.epoch;
        }
        if self.held.len() >= HELD_MESSAGES || self.held_bytes.saturating_add(size) > HELD_BYTES {
            self.is_in_doubt = true;
            return;
        }
        if self.held.insert(place.offset, (size, message)).is_none() {
            self.held_bytes += size;
        }
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    fn put_out(&mut self, place: Position, message: M, out: &mut VecDeque<Step<M>>) {
        self.at = Some(place);
        out.push_back(Step::Message(place, message));
    }

    fn jump(&mut self, to: Position, why: Why, out: &mut VecDeque<Step<M>>) {
        self.at = Some(to);
        out.push_back(Step::Jump(to, why));
    }

    /// Puts out what waits and has become the next.
    fn drain(&mut self, out: &mut VecDeque<Step<M>>) {
        while let Some(at) = self.at
            && self.held_epoch == at.epoch
            && let Some(first) = self.held.first_entry()
            && *first.key() <= at.offset + 1
        {
            let (offset, (size, message)) = first.remove_entry();
            self.held_bytes = self.held_bytes.saturating_sub(size);
            if offset == at.offset + 1 {
                self.put_out(Position { offset, ..at }, message, out);
            }
        }
    }

    /// Begins a read, if one is wanted. Returns the offset after which it begins; `None` within if the place is not
    /// known, so that only the end of the log is wanted. One that was under way counts no more.
    pub(crate) fn begin_read(&mut self) -> Option<Option<u64>> {
        if !self.is_in_doubt {
            return None;
        }
        self.is_in_doubt = false;
        self.reading = Some(Reading { from: self.at, has_heard: false });
        Some(self.at.map(|at| at.offset))
    }

    /// Notes that the read that was begun has failed.
    pub(crate) fn read_failed(&mut self) {
        self.reading = None;
        self.is_in_doubt = true;
    }

    /// Takes the part of the log that was read, after the offset that the beginning has returned.
    pub(crate) fn read(&mut self, read: Read<M>, out: &mut VecDeque<Step<M>>) {
        let Some(reading) = self.reading.take() else { return };
        let epoch = |place: Option<Position>| place.map(|place| place.epoch);
        if epoch(reading.from) != epoch(self.at) {
            // The log began while this was under way, so that it may tell of an older one.
            self.is_in_doubt = true;
            return;
        }
        let Read { last, first, messages } = read;
        let Some(at) = self.at else {
            self.jump(last, Why::Begun, out);
            return self.settle_held(&reading, last, out);
        };
        if last == Position::NONE {
            // Its next epoch is told of when it is there.
            return self.settle_held(&reading, last, out);
        }
        if at.epoch != last.epoch {
            let start = Position { offset: first.saturating_sub(1), ..last };
            let why = match (at == Position::NONE, first) {
                (true, 1) => Why::Started,
                (true, _) => Why::Trimmed,
                (false, _) => Why::NewEpoch,
            };
            self.jump(start, why, out);
        } else if reading.from.is_some_and(|from| last.offset < from.offset) {
            // The server has lost the end, and offsets come again.
            self.drop_held();
            self.jump(last, Why::NewEpoch, out);
        }
        self.take(last, first, messages, out);
        self.settle_held(&reading, last, out);
    }

    /// Puts out the messages of a part that are the next ones.
    fn take(
        &mut self,
        last: Position,
        first: u64,
        messages: Vec<(u64, usize, M)>,
        out: &mut VecDeque<Step<M>>,
    ) {
        let Some(at) = self.at else { return };
        if at.offset + 1 < first && at.offset < last.offset {
            self.jump(Position { offset: first - 1, ..last }, Why::Trimmed, out);
        }
        for (offset, _, message) in messages {
            match self.at {
                Some(at) if offset == at.offset + 1 => {
                    self.put_out(Position { offset, ..at }, message, out);
                }
                _ => {}
            }
        }
    }

    /// Puts out what waits, and decides about the rest.
    fn settle_held(&mut self, reading: &Reading, last: Position, out: &mut VecDeque<Step<M>>) {
        self.drain(out);
        let is_behind = self.at.is_some_and(|at| at.epoch == last.epoch && at.offset < last.offset);
        self.is_in_doubt |= is_behind;
        if reading.has_heard {
            self.is_in_doubt |= !self.held.is_empty();
        } else if !is_behind {
            // It was heard before the read and is not in the log: it is of an older life of it.
            self.drop_held();
        }
    }

    /// Takes the end of a log, which was asked for when the place was `from`.
    pub(crate) fn ends_at(&mut self, last: Position, from: Option<Position>) {
        let is_here = match (self.at, from) {
            _ if last == Position::NONE => self.at.is_some(),
            (Some(at), Some(from)) => {
                at.epoch == last.epoch && from.offset <= last.offset && last.offset <= at.offset
            }
            _ => false,
        };
        self.is_in_doubt |= !is_here;
    }
}

#[cfg(test)]
mod tests;
