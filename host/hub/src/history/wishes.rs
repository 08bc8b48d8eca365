//! The messages of a cluster's log that a new member is to get.

use wharf_contract::history::{MESSAGE_OVERHEAD, Recovery, Retention};

use super::log::{Answer, CannotRecover, NOTE_BYTES};
use super::position::Position;
use crate::frame::Frame;
use crate::logs::{LogMessage, LogPart};

/// The wishes of a new member.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// The rule of the room.
    pub(crate) retention: Retention,
    /// True for a client that asks for positions.
    pub(crate) is_positioned: bool,
    /// The place that it has named.
    pub(crate) asked: Option<Position>,
    /// The place of the first message that its own event sends to the room after the join.
    pub(crate) own: Option<Position>,
    /// Bytes that may be queued for it.
    pub(crate) room: usize,
    /// Length of the room's name, which is in each note.
    pub(crate) note: usize,
}

/// The read that a new member needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The offset after which it begins; `None` for the newest messages.
    pub(crate) after: Option<u64>,
    /// Messages at most.
    pub(crate) messages: usize,
}

/// The part of a log that is for a new member.
#[derive(Debug)]
pub(crate) struct Found {
    /// The place before the messages.
    from: Position,
    /// The messages, without what has come since.
    messages: Vec<(u64, LogMessage)>,
    /// The outcome for a client that has named its place.
    recovered: Option<Result<(), CannotRecover>>,
    /// The place up to which they go.
    pub(crate) last: Position,
    /// True if the newest messages are to be read as well.
    pub(crate) wants_newcomers: bool,
}

impl Found {
    /// Returns the newest messages, for a member that cannot have what it has missed.
    pub(crate) fn and_newest(self, newest: Found) -> Found {
        Found { recovered: self.recovered, ..newest }
    }
}

impl Wishes {
    /// Returns the read that is needed; `None` if the member begins where the others are. They are `here`.
    pub(crate) fn read(&self, here: Position) -> Option<Wanted> {
        let newcomers = self.retention.for_newcomers();
        if let (Recovery::All, Some(asked)) = (self.retention.recovery, self.asked) {
            return Some(Wanted { after: Some(asked.offset), messages: self.retention.messages });
        }
        // Messages of its own event are behind the join, and the others may have got them already.
        let is_to_come = |own: Position| here.epoch == own.epoch && here.offset < own.offset;
        match (self.own, newcomers) {
            (None, 0) => None,
            (Some(own), 0) if is_to_come(own) => None,
            (None, newcomers) => Some(Wanted { after: None, messages: newcomers }),
            (Some(own), newcomers) => {
                // Its own message replaces all others, if the newest one does.
                let newcomers = match self.retention.recovery {
                    Recovery::All => newcomers as u64,
                    Recovery::Newest => 0,
                };
                let before = own.offset.saturating_sub(1).saturating_sub(newcomers);
                Some(Wanted { after: Some(before), messages: usize::MAX })
            }
        }
    }

    /// Returns the answer for one that begins at a place.
    pub(crate) fn at(&self, place: Position) -> Found {
        Found {
            from: place,
            messages: Vec::new(),
            recovered: None,
            last: place,
            wants_newcomers: false,
        }
    }

    /// Returns what a member gets of the part that was read.
    pub(crate) fn judge(&self, part: LogPart) -> Found {
        match (self.retention.recovery, self.asked) {
            (Recovery::All, Some(asked)) => self.missed(asked, part),
            _ => self.newest(part),
        }
    }

    /// Returns what a member gets that has named its place: all since then, or the reason.
    fn missed(&self, asked: Position, part: LogPart) -> Found {
        let LogPart { last, first, messages } = part;
        let ends_at = messages.last().map_or(asked.offset, |(offset, _)| *offset);
        let bytes: usize = messages.iter().map(|(_, message)| self.charge(message)).sum();
        let verdict = if asked == Position::NONE {
            // It was told so while the engine did not answer.
            Err(CannotRecover::Unavailable)
        } else if asked.epoch != last.epoch {
            Err(CannotRecover::NewEpoch)
        } else if asked.offset > last.offset {
            Err(CannotRecover::Ahead)
        } else if asked.offset < last.offset && asked.offset + 1 < first {
            Err(CannotRecover::Trimmed)
        } else if ends_at != last.offset || bytes > self.room {
            Err(CannotRecover::TooMuch)
        } else {
            Ok(())
        };
        let wants_newcomers = verdict.is_err() && self.retention.for_newcomers() > 0;
        match verdict {
            Ok(()) => {
                Found { from: asked, messages, recovered: Some(verdict), last, wants_newcomers }
            }
            Err(_) => Found { recovered: Some(verdict), wants_newcomers, ..self.at(last) },
        }
    }

    /// Returns what a newcomer gets of the part that was read.
    pub(crate) fn newest(&self, part: LogPart) -> Found {
        let LogPart { last, first, mut messages } = part;
        // Those that there is room for, from the end.
        let mut bytes = 0;
        let fitting = messages.iter().rev().take_while(|(_, message)| {
            bytes += self.charge(message);
            bytes <= self.room
        });
        let count = fitting.count();
        let end = messages.last().map_or(last.offset, |(offset, _)| *offset);
        let is_newest = self.retention.recovery == Recovery::Newest;
        let recovered = match self.asked.filter(|_| is_newest) {
            None => None,
            Some(asked) if asked == last => Some(Ok(())),
            Some(asked) if count == 0 && asked.epoch != last.epoch => {
                Some(Err(CannotRecover::NewEpoch))
            }
            Some(_) if count == 0 => Some(Err(CannotRecover::Trimmed)),
            Some(_) => Some(Ok(())),
        };
        let missed = self.own.filter(|own| own.epoch != last.epoch || own.offset < first);
        let recovered = match missed {
            // Messages of its own event are gone already.
            Some(own) if own.epoch == last.epoch => Some(Err(CannotRecover::Trimmed)),
            Some(_) => Some(Err(CannotRecover::NewEpoch)),
            None => recovered,
        };
        // One that has the newest message gets nothing.
        let count = if is_newest && self.asked == Some(last) { 0 } else { count };
        messages.drain(..messages.len() - count);
        let place = |offset| Position { offset, ..last };
        Found {
            from: place(end.saturating_sub(count as u64)),
            messages,
            recovered,
            last: place(end),
            wants_newcomers: false,
        }
    }

    /// Returns the whole answer: what was found, and what the others have got since, up to the place at which they are.
    /// `for_it` returns a message if it is for the member; it is told if the member may have got it in another room, as
    /// one of several that a broadcast went to.
    pub(crate) fn complete(
        &self,
        found: &Found,
        more: &[(u64, LogMessage)],
        here: Position,
        for_it: impl Fn(&LogMessage, bool) -> Option<Frame>,
    ) -> Answer {
        let since = self.own.filter(|_| self.asked.is_none()).map_or(u64::MAX, |own| own.offset);
        let before = found.messages.iter().map(|(at, it)| (*at, for_it(it, *at >= since)));
        let after = more.iter().map(|(at, it)| (*at, for_it(it, true)));
        let mut answer = Answer {
            from: found.from,
            messages: before.chain(after).collect(),
            recovered: found.recovered,
        };
        let bytes = |(_, message): &(u64, Option<Frame>)| {
            self.cost(message.as_ref().map_or(0, Frame::payload_bytes))
        };
        if answer.messages.iter().map(bytes).sum::<usize>() > self.room {
            answer.from = here;
            answer.messages.clear();
            answer.recovered = self.asked.map(|_| Err(CannotRecover::TooMuch));
        }
        answer
    }

    fn charge(&self, message: &LogMessage) -> usize {
        self.cost(message.frame.as_ref().map_or(0, Frame::payload_bytes))
    }

    /// Returns the bytes that a message takes in the queue, at most.
    fn cost(&self, payload: usize) -> usize {
        let note = if self.is_positioned { NOTE_BYTES + self.note * 6 } else { 0 };
        payload + MESSAGE_OVERHEAD + note
    }
}
