//! The messages of a room, in the one order in which all of its members must receive them.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::message::{Messages, STAMP_BYTES};

/// The part of a message that differs from all others.
pub type Stamp = [u8; STAMP_BYTES];

/// The messages of a round, as the first member received them.
pub struct Log {
    members: usize,
    entries: Vec<Entry>,
    /// For each sender, its messages that no member has received, oldest first.
    under_way: HashMap<usize, VecDeque<UnderWay>>,
    /// Number of messages that were sent in this round.
    sent: u64,
}

/// A message that no member has received.
struct UnderWay {
    sequence: u64,
    at: Instant,
    /// Number of messages that were sent to the room before it.
    index: u64,
}

struct Entry {
    stamp: Stamp,
    sender: usize,
    sent_at: Instant,
    index: u64,
    /// Number of members that have not received it.
    remaining: usize,
}

/// A correct delivery of a message to a member.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// The number of the sender.
    pub sender: usize,
    /// Time when the message was sent, or was due.
    pub sent_at: Instant,
    /// True if all members have the message now.
    pub is_last: bool,
}

impl Log {
    /// Makes the empty log of a room with `members` members.
    pub fn new(members: usize) -> Log {
        Log { members, entries: Vec::new(), under_way: HashMap::new(), sent: 0 }
    }

    /// Forgets the last round.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.sent = 0;
    }

    /// Notes that a member sends a message.
    pub fn sent(&mut self, sender: usize, sequence: u64, at: Instant) {
        let message = UnderWay { sequence, at, index: self.sent };
        self.under_way.entry(sender).or_default().push_back(message);
        self.sent += 1;
    }

    /// Returns the number of messages that have been sent in this round.
    pub fn sent_so_far(&self) -> u64 {
        self.sent
    }

    /// Checks the messages that a visitor received, once all members have all messages. They must
    /// follow each other without a gap, and the first must be the `since`th or an earlier one.
    ///
    /// # Errors
    ///
    /// A message is missing, too many, or in another order.
    pub fn check_visit(&self, since: u64, received: &[Stamp]) -> anyhow::Result<()> {
        let Some(first) = received.first() else {
            return Ok(());
        };
        let from = self.entries.iter().position(|entry| entry.stamp == *first);
        let from = from.with_context(|| format!("{} came to a visitor alone", shown(first)))?;
        let missed = self.entries[..from].iter().find(|entry| entry.index >= since);
        if let Some(missed) = missed {
            bail!("{} was lost on its way to a visitor", shown(&missed.stamp));
        }
        let due = self.entries[from..].iter().map(|entry| &entry.stamp);
        let wrong = received.iter().zip(due.map(Some).chain(std::iter::repeat(None)));
        for (received, due) in wrong {
            ensure!(
                Some(received) == due,
                "{} came to a visitor where {} was due: a message was lost, doubled, or is in \
                 another order",
                shown(received),
                due.map_or_else(|| "nothing".to_owned(), |due| shown(due))
            );
        }
        Ok(())
    }

    /// Checks the next message of a member that has received `position` messages. `any` knows the
    /// part that all messages have in common.
    ///
    /// # Errors
    /// It is not the message that is due at this place.
    pub fn deliver(
        &mut self,
        position: usize,
        payload: &[u8],
        any: &Messages,
    ) -> anyhow::Result<Delivery> {
        let (stamp, filler) =
            payload.split_first_chunk().context("a message came that was never sent")?;
        ensure!(filler == any.filler(), "a message came changed: {}", shown(payload));
        if position == self.entries.len() {
            let entry = self.first(*stamp)?;
            self.entries.push(entry);
        }
        let entry = &mut self.entries[position];
        ensure!(
            entry.stamp == *stamp,
            "{} came where another member received {}: a message was lost, doubled, or is in \
             another order",
            shown(stamp),
            shown(&entry.stamp)
        );
        entry.remaining -= 1;
        let Entry { sender, sent_at, remaining, .. } = *entry;
        Ok(Delivery { sender, sent_at, is_last: remaining == 0 })
    }

    /// Notes the first delivery of a message, which must be its sender's next.
    fn first(&mut self, stamp: Stamp) -> anyhow::Result<Entry> {
        let (sender, sequence) = Messages::read_stamp(&stamp)
            .with_context(|| format!("a message came that was never sent: {}", shown(&stamp)))?;
        let under_way = self.under_way.get_mut(&sender);
        let under_way = under_way.with_context(|| {
            format!("a message of connection {sender} came, which is in another room")
        })?;
        let next = under_way.pop_front();
        let due = next.as_ref().map(|next| next.sequence);
        let next = next.filter(|next| next.sequence == sequence);
        let next = next.with_context(|| match due {
            Some(due) => {
                format!("message {sequence} of connection {sender} came where {due} was due")
            }
            None => format!("message {sequence} of connection {sender} came twice"),
        })?;
        Ok(Entry { stamp, sender, sent_at: next.at, index: next.index, remaining: self.members })
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2 * STAMP_BYTES)]).into_owned()
}
