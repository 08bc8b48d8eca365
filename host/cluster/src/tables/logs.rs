//! Logs by name.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::{SWEPT_AT_A_TIME, milliseconds};
use crate::logs::{Bounds, LogEntry, Position, Slice};

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) epoch: u64,
    /// Offset of the last entry.
    pub(crate) last: u64,
    /// The entries that are kept, each with its time.
    pub(crate) entries: VecDeque<(u64, Bytes)>,
    pub(crate) bytes: u64,
    pub(crate) age: Option<u64>,
    pub(crate) idle: Option<u64>,
    /// Time of the last append.
    pub(crate) touched: u64,
}

impl Log {
    fn ends_at(&self) -> Option<u64> {
        self.idle.map(|idle| self.touched.saturating_add(idle))
    }

    /// Returns the offset of the first entry that is in memory.
    fn front(&self) -> u64 {
        (self.last + 1).saturating_sub(self.entries.len() as u64)
    }

    /// Returns the number of entries at the front that are too old.
    fn too_old(&self, now: u64) -> usize {
        let Some(age) = self.age else { return 0 };
        self.entries.iter().take_while(|(at, _)| at.saturating_add(age) <= now).count()
    }

    fn slice(&self, now: u64, from: u64, until: u64) -> Slice {
        let first = self.front() + self.too_old(now) as u64;
        let skip = usize::try_from(from.max(first) - self.front()).unwrap_or(usize::MAX);
        let numbered = (self.front()..).zip(&self.entries).skip(skip);
        let entries = numbered
            .take_while(|(offset, _)| *offset < until)
            .map(|(offset, (_, entry))| LogEntry { offset, entry: entry.clone() });
        Slice { epoch: self.epoch, first, last: self.last, entries: entries.collect() }
    }
}

/// A change of a log by an append, to write it down or to take it back.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) position: Position,
    /// The first offset that was dropped, with the entries.
    pub(crate) dropped: (u64, Vec<(u64, Bytes)>),
    /// The head before; `None` for a new log.
    before: Option<(Option<u64>, Option<u64>, u64)>,
}

/// Logs by name.
#[derive(Debug, Default)]
pub(crate) struct LogTable {
    logs: HashMap<String, Log>,
    ends: BTreeSet<(u64, String)>,
}

impl LogTable {
    /// Appends an entry; `epoch` is that of a log which begins with it.
    pub(crate) fn append(
        &mut self,
        now: u64,
        name: &str,
        entry: Bytes,
        bounds: &Bounds,
        epoch: u64,
    ) -> Appended {
        let log = self.logs.get(name);
        let before = log.map(|log| (log.age, log.idle, log.touched));
        if let Some(at) = log.and_then(Log::ends_at) {
            self.ends.remove(&(at, name.to_owned()));
        }
        let log = self.logs.entry(name.to_owned()).or_insert_with(|| Log {
            epoch,
            last: 0,
            entries: VecDeque::new(),
            bytes: 0,
            age: None,
            idle: None,
            touched: now,
        });
        (log.age, log.idle) = (bounds.age.map(milliseconds), bounds.idle.map(milliseconds));
        // A clock that goes back makes nothing younger than what is before it.
        log.touched = log.touched.max(now);
        log.last += 1;
        log.bytes += entry.len() as u64;
        log.entries.push_back((log.touched, entry));
        let (front, too_old) = (log.front(), log.too_old(now));
        let mut dropped = Vec::new();
        while log.entries.len() > 1
            && (log.entries.len() as u64 > u64::from(bounds.messages)
                || log.bytes > bounds.bytes
                || dropped.len() < too_old)
        {
            let Some((at, entry)) = log.entries.pop_front() else { break };
            log.bytes = log.bytes.saturating_sub(entry.len() as u64);
            dropped.push((at, entry));
        }
        let position = Position { epoch: log.epoch, offset: log.last };
        if let Some(at) = log.ends_at() {
            self.ends.insert((at, name.to_owned()));
        }
        Appended { position, dropped: (front, dropped), before }
    }

    /// Takes the last append of a log back.
    pub(crate) fn take_back(&mut self, name: &str, appended: Appended) {
        let Some(log) = self.logs.get_mut(name) else { return };
        if log.epoch != appended.position.epoch || log.last != appended.position.offset {
            return;
        }
        if let Some(at) = log.ends_at() {
            self.ends.remove(&(at, name.to_owned()));
        }
        let Some((age, idle, touched)) = appended.before else {
            self.logs.remove(name);
            return;
        };
        (log.age, log.idle, log.touched) = (age, idle, touched);
        log.last -= 1;
        if let Some((_, entry)) = log.entries.pop_back() {
            log.bytes = log.bytes.saturating_sub(entry.len() as u64);
        }
        for (at, entry) in appended.dropped.1.into_iter().rev() {
            log.bytes += entry.len() as u64;
            log.entries.push_front((at, entry));
        }
        if let Some(at) = log.ends_at() {
            self.ends.insert((at, name.to_owned()));
        }
    }

    pub(crate) fn read(
        &self,
        now: u64,
        name: &str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Slice {
        let Some(log) = self.live(now, name) else { return Slice { first: 1, ..Slice::default() } };
        let mut slice = log.slice(now, after.saturating_add(1), u64::MAX);
        let mut sum = 0_u64;
        let fitting = slice.entries.iter().take(messages as usize).take_while(|entry| {
            let is_first = sum == 0;
            sum = sum.saturating_add((entry.entry.len() as u64).max(1));
            is_first || sum <= bytes
        });
        let count = fitting.count();
        slice.entries.truncate(count);
        slice
    }

    pub(crate) fn read_last(&self, now: u64, name: &str, messages: u32, bytes: u64) -> Slice {
        let Some(log) = self.live(now, name) else { return Slice { first: 1, ..Slice::default() } };
        let newest = log.entries.iter().rev().take(messages as usize);
        let mut sum = 0_u64;
        let fitting = newest.take_while(|(_, entry)| {
            let is_first = sum == 0;
            sum = sum.saturating_add((entry.len() as u64).max(1));
            is_first || sum <= bytes
        });
        let count = fitting.count() as u64;
        log.slice(now, log.last + 1 - count, u64::MAX)
    }

    /// Removes a log. Returns it if it was there.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Log> {
        let log = self.logs.remove(name)?;
        if let Some(at) = log.ends_at() {
            self.ends.remove(&(at, name.to_owned()));
        }
        Some(log)
    }

    /// Sets a log as it was stored.
    pub(crate) fn insert(&mut self, name: &str, log: Log) {
        self.remove(name);
        if let Some(at) = log.ends_at() {
            self.ends.insert((at, name.to_owned()));
        }
        self.logs.insert(name.to_owned(), log);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Log> {
        self.logs.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Log)> {
        self.logs.iter()
    }

    /// Returns the names of some logs that were idle for too long, which the caller removes; always that of `wanted` if
    /// it was.
    pub(crate) fn ended(&self, now: u64, wanted: &str) -> Vec<String> {
        let ended = self.ends.iter().take_while(|(at, _)| *at <= now);
        let mut names: Vec<String> =
            ended.take(SWEPT_AT_A_TIME).map(|(_, name)| name.clone()).collect();
        let is_wanted = self.logs.contains_key(wanted) && self.live(now, wanted).is_none();
        if is_wanted && !names.iter().any(|name| name == wanted) {
            names.push(wanted.to_owned());
        }
        names
    }

    fn live(&self, now: u64, name: &str) -> Option<&Log> {
        self.logs.get(name).filter(|log| log.ends_at().is_none_or(|at| now < at))
    }
}
