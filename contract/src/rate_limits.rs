//! Rate limits: the rule, and the table of what was taken.
//!
//! The rule is the generic cell rate algorithm (GCRA). It needs one time for each limit: that at
//! which the limit is as if nothing had ever been taken. Each taking moves it on by an interval, and
//! is refused if that would move it too far into the future.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::refusal::CallRefusal;
use crate::timers::whole_milliseconds;

/// Longest period of a limit, in days.
pub(crate) const MAX_PERIOD_DAYS: u64 = 366;
/// Longest period of a limit, in milliseconds.
const MAX_PERIOD_MS: u64 = MAX_PERIOD_DAYS * 24 * 60 * 60 * 1000;

/// Bytes that a limit takes besides its own name and the user's.
const OVERHEAD: usize = 128;

/// A number that may be taken in a period: at once after a pause, and evenly spaced afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time after which one more may be taken.
    interval: Duration,
    /// Time that the whole number stands for.
    whole: Duration,
}

impl Rate {
    /// Reads the rate of a plugin.
    ///
    /// # Errors
    ///
    /// `rate-limit-invalid`.
    pub fn read(count: u32, per_ms: u64) -> Result<Rate, CallRefusal> {
        if count == 0 || !(1..=MAX_PERIOD_MS).contains(&per_ms) {
            return Err(CallRefusal::RateLimitInvalid);
        }
        let interval = (Duration::from_millis(per_ms) / count).max(Duration::from_nanos(1));
        Ok(Rate { interval, whole: interval * count })
    }

    /// Takes one at the time `now`, where `free` is the time at which nothing counts as taken.
    /// Returns that time as it is afterwards.
    ///
    /// # Errors
    ///
    /// The time to wait until one may be taken; nothing has changed.
    pub fn take(self, free: Option<Duration>, now: Duration) -> Result<Duration, Duration> {
        let latest = now.saturating_add(self.whole);
        // It may be later where the same name was taken at another rate before.
        let free = free.unwrap_or(now).clamp(now, latest);
        let free = free.saturating_add(self.interval);
        match free.checked_sub(latest) {
            None | Some(Duration::ZERO) => Ok(free),
            Some(wait) => Err(wait),
        }
    }
}

/// The subject of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A connection, by its number.
    Connection(u64),
    /// A user.
    User(&'a str),
    /// The whole channel.
    Channel,
}

impl Subject<'_> {
    /// Returns the key of a limit of this subject.
    pub fn key(self, name: &str) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend(name.as_bytes());
        key
    }

    /// Returns the beginning that the keys of its limits have, and no others.
    pub fn prefix(self) -> Vec<u8> {
        match self {
            Subject::Connection(number) => [&b"c"[..], &number.to_be_bytes()].concat(),
            // UTF-8 has no such byte, so that no two pairs of a user and a name have one key.
            Subject::User(user) => [b"u", user.as_bytes(), b"\xff"].concat(),
            Subject::Channel => b"n".to_vec(),
        }
    }
}

/// Returns the bytes that a limit counts for.
pub const fn entry_bytes(key: &[u8]) -> usize {
    key.len() + OVERHEAD
}

/// The answer of a [table](RateLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is taken.
    Yes,
    /// It may be taken after so many milliseconds, at least 1.
    After(u64),
    /// There is no room for another limit.
    Full,
}

/// Limits from which something is taken. One is forgotten when its time has passed, which makes no
/// difference to what may be taken.
#[derive(Debug, Default)]
pub struct RateLimits {
    /// The time at which nothing counts as taken, by key.
    free: BTreeMap<Arc<[u8]>, Duration>,
    /// The same, soonest first.
    by_time: BTreeSet<(Duration, Arc<[u8]>)>,
}

impl RateLimits {
    /// Takes one from a limit. A further limit asks `reserve` for its bytes.
    pub fn take(
        &mut self,
        key: &[u8],
        rate: Rate,
        now: Duration,
        reserve: impl FnOnce(usize) -> bool,
    ) -> Taken {
        let known = self.free.get_key_value(key).map(|(key, free)| (key.clone(), *free));
        let free = match rate.take(known.as_ref().map(|(_, free)| *free), now) {
            Ok(free) => free,
            Err(wait) => return Taken::After(whole_milliseconds(wait)),
        };
        let key = match known {
            Some((key, free)) => {
                self.by_time.remove(&(free, key.clone()));
                key
            }
            None if reserve(entry_bytes(key)) => Arc::from(key),
            None => return Taken::Full,
        };
        self.by_time.insert((free, key.clone()));
        self.free.insert(key, free);
        Taken::Yes
    }

    /// Forgets limits whose time has passed, at most `most`. Returns their number, and the bytes that
    /// are free again.
    pub fn forget_passed(&mut self, now: Duration, most: usize) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        while count < most
            && let Some((free, _)) = self.by_time.first()
            && *free <= now
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.free.remove(&key);
            (count, bytes) = (count + 1, bytes + entry_bytes(&key));
        }
        (count, bytes)
    }

    /// Forgets all limits of a subject. Returns the bytes that are free again.
    pub fn forget(&mut self, subject: Subject<'_>) -> usize {
        let prefix = subject.prefix();
        let start = (Bound::Included(&prefix[..]), Bound::Unbounded);
        let range = self.free.range::<[u8], _>(start);
        let of_subject = range.take_while(|(key, _)| key.starts_with(&prefix));
        let keys: Vec<_> = of_subject.map(|(key, free)| (*free, key.clone())).collect();
        let mut bytes = 0;
        for entry in keys {
            bytes += entry_bytes(&entry.1);
            self.free.remove(&entry.1);
            self.by_time.remove(&entry);
        }
        bytes
    }

    /// Returns the number of limits, with those whose time has passed and that were not forgotten yet.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests;
