//! Records with versions: the number of a record's message is its version.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use super::Nats;
use super::failure::too_large;
use super::frame::{self, Expiry};
use super::names::{key_of, tokens, tokens_of_prefix};
use crate::answer::Answer;
use crate::error::{Reason, Unavailable};
use crate::keys::{Entry, Expected, IncrementError, Keys, PutError};
use crate::names::check_name;
use crate::random::random;
use crate::tables::keys::number;
use crate::tables::milliseconds;

/// Most tries of a step for which several nodes race.
const TRIES: u32 = 64;

/// Questions that are under way at a time.
const AT_A_TIME: usize = 32;

/// A record as it is stored.
struct Record {
    sequence: u64,
    value: Bytes,
    stored_at: u64,
    expires_at: Option<u64>,
    is_live: bool,
}

impl Record {
    /// Returns the version, unless it has expired.
    fn version(&self) -> Option<u64> {
        self.is_live.then_some(self.sequence)
    }
}

impl Keys for Nats {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move {
            let record = self.record(key).await?;
            Ok(record.filter(|record| record.is_live).map(|record| self.entry(record)))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<u64, PutError>> {
        Box::pin(async move {
            let expiry = expiry(ttl);
            let payload = frame::record(expiry, &value);
            for attempt in 0..TRIES {
                let last = match expected {
                    Expected::Any => None,
                    // Mostly there is none.
                    Expected::Absent if attempt == 0 => Some(0),
                    expected => {
                        let record = self.record(key).await?;
                        check(record.as_ref(), expected)?;
                        Some(record.map_or(0, |record| record.sequence))
                    }
                };
                let seconds = self.seconds(expiry);
                if let Some(version) = self.write(key, payload.clone(), last, seconds).await? {
                    return Ok(version);
                }
                pause(attempt).await?;
            }
            Err(PutError::Unavailable(busy()))
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Expected,
    ) -> Answer<'a, Result<bool, PutError>> {
        Box::pin(async move {
            for attempt in 0..TRIES {
                let record = self.record(key).await?;
                check(record.as_ref(), expected)?;
                let Some(record) = record.filter(|record| record.is_live) else {
                    return Ok(false);
                };
                // Only the last message of a subject is kept, so that its number is a comparison.
                let stream = &self.link.client.streams.keys;
                if self.link.jetstream()?.delete(stream, record.sequence).await? {
                    return Ok(true);
                }
                pause(attempt).await?;
            }
            Err(PutError::Unavailable(busy()))
        })
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<(i64, u64), IncrementError>> {
        Box::pin(async move {
            let lock = self.counted.of(key);
            let _turn = lock.lock().await;
            for attempt in 0..TRIES {
                let record = self.record(key).await?;
                let last = record.as_ref().map_or(0, |record| record.sequence);
                let (before, expiry) = match record.filter(|record| record.is_live) {
                    Some(record) => (
                        number(&record.value)?,
                        record.expires_at.map_or(Expiry::Never, Expiry::At),
                    ),
                    None => (0, expiry(ttl)),
                };
                let sum = before.checked_add(by).ok_or(IncrementError::Overflow)?;
                let payload = frame::record(expiry, sum.to_string().as_bytes());
                let seconds = self.seconds(expiry);
                if let Some(version) = self.write(key, payload, Some(last), seconds).await? {
                    return Ok((sum, version));
                }
                pause(attempt).await?;
            }
            Err(IncrementError::Unavailable(busy()))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> Answer<'a, Result<Vec<(String, Entry)>, Unavailable>> {
        Box::pin(async move {
            let base = format!("{}.k.", self.link.client.prefix);
            let filter = format!("{base}{}>", tokens_of_prefix(prefix));
            let jetstream = self.link.jetstream()?;
            let subjects = jetstream.subjects(&self.link.client.streams.keys, &filter).await?;
            let keys = subjects.iter().filter_map(|subject| key_of(subject.strip_prefix(&base)?));
            let is_meant = |key: &String| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            };
            let mut keys: Vec<String> = keys.filter(is_meant).collect();
            keys.sort_unstable();
            let mut records = stream::iter(keys)
                .map(|key| async move { (self.record(&key).await, key) })
                .buffered(AT_A_TIME.min(limit.max(1) as usize));
            let mut found = Vec::new();
            while found.len() < limit as usize {
                let Some((record, key)) = records.next().await else { break };
                let live = record?.filter(|record| record.is_live);
                found.extend(live.map(|record| (key, self.entry(record))));
            }
            Ok(found)
        })
    }
}

impl Nats {
    /// Returns the record of a key, expired or not.
    async fn record(&self, key: &str) -> Result<Option<Record>, Unavailable> {
        check_name(key)?;
        let subject = format!("{}.k.{}", self.link.client.prefix, tokens(key));
        let jetstream = self.link.jetstream()?;
        let stored = jetstream.last(&self.link.client.streams.keys, &subject).await;
        let Some(stored) = self.link.client.seen(stored)? else { return Ok(None) };
        let Some((expiry, value)) = frame::read_record(stored.payload) else {
            return Err(Unavailable::damaged("a record in NATS"));
        };
        let expires_at = expiry.at(stored.at);
        let now = self.link.client.clock.now();
        let is_live = expires_at.is_none_or(|at| now < at);
        let (sequence, stored_at) = (stored.sequence, stored.at);
        Ok(Some(Record { sequence, value, stored_at, expires_at, is_live }))
    }

    async fn write(
        &self,
        key: &str,
        payload: Bytes,
        last: Option<u64>,
        seconds: Option<u64>,
    ) -> Result<Option<u64>, Unavailable> {
        check_name(key)?;
        // The answer with a record has four bytes for three.
        if payload.len() / 3 * 4 > self.link.client.max_message() {
            return Err(too_large());
        }
        let subject = format!("{}.k.{}", self.link.client.prefix, tokens(key));
        let written = self.link.jetstream()?.store(&subject, payload, last, seconds).await;
        self.link.client.seen(written)
    }

    fn entry(&self, record: Record) -> Entry {
        // The node's clock may be a little behind.
        let now = self.link.client.clock.now().max(record.stored_at);
        let left = |at: u64| Duration::from_millis(at.saturating_sub(now));
        let expires_in = record.expires_at.map(left);
        Entry { value: record.value, version: record.sequence, expires_in }
    }

    /// Returns the seconds after which the server drops a message: never before it has expired.
    fn seconds(&self, expiry: Expiry) -> Option<u64> {
        let left = match expiry {
            Expiry::Never => return None,
            Expiry::After(time) => time,
            Expiry::At(at) => at.saturating_sub(self.link.client.clock.now()),
        };
        Some(seconds(left))
    }
}

/// Returns the seconds after which the server may drop what lives for some milliseconds.
pub(super) fn seconds(milliseconds: u64) -> u64 {
    // A hundred years are enough, and no server refuses them.
    (milliseconds / 1_000 + 2).min(100 * 365 * 86_400)
}

/// Waits a little before the next try, each time a little longer, by chance.
pub(super) async fn pause(attempt: u32) -> Result<(), Unavailable> {
    let most = u64::from(attempt.min(10)) * 2 + 1;
    tokio::time::sleep(Duration::from_millis(random()? % most)).await;
    Ok(())
}

/// Returns the reason for a step that others have always forestalled.
pub(super) fn busy() -> Unavailable {
    Unavailable::new(Reason::Busy, "too many change the same record")
}

fn expiry(ttl: Option<Duration>) -> Expiry {
    ttl.map_or(Expiry::Never, |ttl| Expiry::After(milliseconds(ttl)))
}

fn check(record: Option<&Record>, expected: Expected) -> Result<(), PutError> {
    let current = record.and_then(Record::version);
    let holds = match expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(version) => current == Some(version),
    };
    if holds { Ok(()) } else { Err(PutError::Conflict { current }) }
}
