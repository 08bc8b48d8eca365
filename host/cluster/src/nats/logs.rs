//! Bounded logs: the messages of a subject. Each says what is kept of those before it.

use std::sync::Arc;

use bytes::Bytes;

use super::Nats;
use super::client::NatsClient;
use super::failure::too_large;
use super::frame::{Entry, HEADER_BYTES};
use super::jetstream::Stored;
use super::keys::{busy, pause, seconds};
use super::names::token;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::link::Link;
use crate::logs::{Bounds, LogEntry, Logs, Position, Slice};
use crate::names::check_name;
use crate::random::random;
use crate::tables::milliseconds;

/// Most tries of a step for which several nodes race.
const TRIES: u32 = 64;

/// Tries of a read that a replica which is behind has answered.
const READS: u32 = 20;

/// Fewest and most entries beyond the bounds that wait until they are removed together.
const BEYOND: (u64, u64) = (16, 512);

/// The last entry of a log.
#[derive(Clone, Debug)]
pub(super) struct Head {
    sequence: u64,
    at: u64,
    entry: Entry,
}

impl Head {
    fn read(stored: Stored) -> Result<Head, Unavailable> {
        let entry = Entry::read(stored.payload);
        let entry = entry.ok_or_else(|| Unavailable::damaged("an entry in NATS"))?;
        Ok(Head { sequence: stored.sequence, at: stored.at, entry })
    }

    fn is_live(&self, now: u64) -> bool {
        self.entry.idle.is_none_or(|idle| now < self.at.saturating_add(idle))
    }

    /// Returns true if the log keeps an older entry, whose time is given.
    fn keeps(&self, entry: &Entry, at: u64, now: u64) -> bool {
        let last = &self.entry;
        let is_young = last.age.is_none_or(|age| now < at.saturating_add(age));
        let is_within = entry.offset >= last.first && entry.sum_before() >= last.dropped;
        entry.epoch == last.epoch && is_young && (is_within || entry.offset == last.offset)
    }
}

impl Logs for Nats {
    fn append<'a>(
        &'a self,
        log: &'a str,
        entry: Bytes,
        bounds: Bounds,
    ) -> Answer<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            check_name(log)?;
            // The answer with an entry has four bytes for three.
            if (entry.len() + HEADER_BYTES) / 3 * 4 > self.link.client.max_message() {
                return Err(too_large());
            }
            let lock = self.heads.of(log);
            let mut known = lock.lock().await;
            for attempt in 0..TRIES {
                let head = match known.take() {
                    Some(head) => Some(head),
                    None => head(&self.link, log).await?,
                };
                let now = self.link.client.clock.now();
                let live = head.as_ref().filter(|head| head.is_live(now));
                let next = next(live, &entry, &bounds)?;
                let last = head.as_ref().map_or(0, |head| head.sequence);
                let jetstream = self.link.jetstream()?;
                let idle = next.idle.map(seconds);
                let subject = subject(&self.link, log);
                let stored = jetstream.store(&subject, next.frame(), Some(last), idle).await;
                let Some(sequence) = self.link.client.seen(stored)? else {
                    pause(attempt).await?;
                    continue;
                };
                let position = Position { epoch: next.epoch, offset: next.offset };
                if is_due(live.map(|head| &head.entry), &next, &bounds) {
                    tokio::spawn(trim(self.link.clone(), log.to_owned()));
                }
                // The server has stored it no later than now.
                *known = Some(Head { sequence, at: self.link.client.clock.now(), entry: next });
                return Ok(position);
            }
            Err(busy())
        })
    }

    fn read<'a>(
        &'a self,
        log: &'a str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(async move {
            if messages == 0 {
                return end(&self.link, log).await;
            }
            let mut slice = slice(&self.link, log).await?.0;
            slice.entries.retain(|entry| entry.offset > after);
            let count = fitting(slice.entries.iter(), messages, bytes);
            slice.entries.truncate(count);
            Ok(slice)
        })
    }

    fn read_last<'a>(
        &'a self,
        log: &'a str,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(async move {
            let mut slice = slice(&self.link, log).await?.0;
            let count = fitting(slice.entries.iter().rev(), messages, bytes);
            slice.entries.drain(..slice.entries.len().saturating_sub(count));
            Ok(slice)
        })
    }

    fn remove<'a>(&'a self, log: &'a str) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            let head = head(&self.link, log).await?;
            let is_live = head.is_some_and(|head| head.is_live(self.link.client.clock.now()));
            let (stream, subject) = (&self.link.client.streams.logs, subject(&self.link, log));
            let purged = self.link.jetstream()?.purge(stream, &subject, None).await;
            self.link.client.seen(purged)?;
            Ok(is_live)
        })
    }
}

fn subject(link: &Link<NatsClient>, log: &str) -> String {
    format!("{}.l.{}", link.client.prefix, token(log))
}

/// Returns the last entry of a log.
async fn head(link: &Link<NatsClient>, log: &str) -> Result<Option<Head>, Unavailable> {
    check_name(log)?;
    let last = link.jetstream()?.last(&link.client.streams.logs, &subject(link, log)).await;
    link.client.seen(last)?.map(Head::read).transpose()
}

/// Makes the entry that follows.
fn next(live: Option<&Head>, content: &Bytes, bounds: &Bounds) -> Result<Entry, Unavailable> {
    let before = live.map(|head| &head.entry);
    let offset = before.map_or(0, |before| before.offset) + 1;
    let sum = before.map_or(0, |before| before.sum) + content.len() as u64;
    // The newest one is always kept.
    let first = (offset + 1).saturating_sub(u64::from(bounds.messages)).min(offset);
    let dropped = sum.saturating_sub(bounds.bytes).min(sum - content.len() as u64);
    Ok(Entry {
        epoch: before.map_or_else(random, |before| Ok(before.epoch))?,
        offset,
        sum,
        first: first.max(before.map_or(1, |before| before.first)),
        dropped: dropped.max(before.map_or(0, |before| before.dropped)),
        age: bounds.age.map(milliseconds),
        idle: bounds.idle.map(milliseconds),
        content: content.clone(),
    })
}

/// Returns true if it is time to remove what is no longer kept.
fn is_due(before: Option<&Entry>, next: &Entry, bounds: &Bounds) -> bool {
    let Some(before) = before else {
        // The entries of an earlier epoch may still be there.
        return true;
    };
    let step = (u64::from(bounds.messages) / 2).clamp(BEYOND.0, BEYOND.1);
    let bytes = (bounds.bytes / 2).max(1);
    next.offset.is_multiple_of(step) || next.sum / bytes != before.sum / bytes
}

/// Removes what is no longer kept.
async fn trim(link: Arc<Link<NatsClient>>, log: String) {
    let trimmed = async {
        let (_, first) = slice(&link, &log).await?;
        let (stream, subject) = (&link.client.streams.logs, subject(&link, &log));
        match first {
            Some(first) => link.jetstream()?.purge(stream, &subject, Some(first)).await,
            None => Ok(0),
        }
    };
    if let Err(why) = trimmed.await {
        let reason: Unavailable = why;
        tracing::debug!(reason = reason.to_string(), "a log was not trimmed; it will be later");
    }
}

/// Returns the end of a log, which its last entry knows.
async fn end(link: &Link<NatsClient>, log: &str) -> Result<Slice, Unavailable> {
    let live = head(link, log).await?.filter(|head| head.is_live(link.client.clock.now()));
    let Some(Head { entry: last, .. }) = live else {
        return Ok(Slice { first: 1, ..Slice::default() });
    };
    Ok(Slice { epoch: last.epoch, first: last.first, last: last.offset, entries: Vec::new() })
}

/// Returns all that a log keeps, and the number of the message of its first entry.
async fn slice(link: &Link<NatsClient>, log: &str) -> Result<(Slice, Option<u64>), Unavailable> {
    for attempt in 0..READS {
        let live = head(link, log).await?.filter(|head| head.is_live(link.client.clock.now()));
        let Some(head) = live else { return Ok((Slice { first: 1, ..Slice::default() }, None)) };
        let all = link.jetstream()?.all(&link.client.streams.logs, &subject(link, log)).await;
        let all = link.client.seen(all)?;
        let now = link.client.clock.now();
        let mut entries = Vec::new();
        let mut first_sequence = None;
        for stored in all {
            // Later entries are not of this moment.
            if stored.sequence > head.sequence {
                break;
            }
            let (sequence, at) = (stored.sequence, stored.at);
            let Some(entry) = Entry::read(stored.payload) else {
                return Err(Unavailable::damaged("an entry in NATS"));
            };
            if head.keeps(&entry, at, now) {
                first_sequence.get_or_insert(sequence);
                entries.push(LogEntry { offset: entry.offset, entry: entry.content });
            }
        }
        let Head { entry: last, at, .. } = &head;
        let is_empty = !head.keeps(last, *at, now);
        let ends_well = entries.last().map(|entry| entry.offset) == Some(last.offset);
        let has_hole = entries.windows(2).any(|pair| match pair {
            [one, two] => one.offset + 1 != two.offset,
            _ => false,
        });
        if (is_empty && entries.is_empty()) || (ends_well && !has_hole) {
            let first = entries.first().map_or(last.offset + 1, |entry| entry.offset);
            let slice = Slice { epoch: last.epoch, first, last: last.offset, entries };
            return Ok((slice, first_sequence));
        }
        // A replica was behind, or the log was removed meanwhile.
        pause(attempt).await?;
    }
    Err(busy())
}

/// Returns the number of entries that fit.
fn fitting<'a>(entries: impl Iterator<Item = &'a LogEntry>, messages: u32, bytes: u64) -> usize {
    let mut sum = 0_u64;
    let fitting = entries.take(messages as usize).take_while(|entry| {
        let is_first = sum == 0;
        sum = sum.saturating_add((entry.entry.len() as u64).max(1));
        is_first || sum <= bytes
    });
    fitting.count()
}
