//! The messages that the fake host's rooms keep.

use std::collections::{BTreeMap, VecDeque};

use wharf_contract::history::{
    HistoryRule, MAX_PAGE, MAX_PAGE_BYTES, MESSAGE_OVERHEAD, Retention, rule_of,
};
use wharf_contract::names::check_room;

use crate::audience::Audience;
use crate::error::HostError;
use crate::history::HistoryEntry;
use crate::outgoing::Kind;

use super::client::Received;
use super::world::World;

/// The rules, and the logs by room.
#[derive(Default)]
pub(crate) struct Histories {
    pub(crate) rules: Vec<HistoryRule>,
    logs: BTreeMap<String, Log>,
}

#[derive(Default)]
struct Log {
    entries: VecDeque<HistoryEntry>,
    top: u64,
}

fn charge(entry: &HistoryEntry) -> usize {
    entry.data.len() + MESSAGE_OVERHEAD
}

impl Log {
    fn trim(&mut self, retention: &Retention, now: u64) {
        let Retention { messages, bytes, age_ms, .. } = *retention;
        let mut size: usize = self.entries.iter().map(charge).sum();
        while let Some(first) = self.entries.front()
            && (self.entries.len() > messages
                || size > bytes
                || first.sent_at_ms < now.saturating_sub(age_ms))
        {
            size -= charge(first);
            self.entries.pop_front();
        }
    }
}

impl World {
    /// Keeps a message in the rooms that keep what is broadcast to them as a whole.
    pub(crate) fn keep_message(&mut self, to: &Audience, message: &Received) {
        let is_whole = !to.everyone
            && to.users.is_empty()
            && to.except_users.is_empty()
            && to.labels.is_empty()
            && to.except.len() <= 1;
        let (kind, data) = match message {
            Received::Text(text) => (Kind::Text, text.as_bytes()),
            Received::Binary(data) => (Kind::Binary, data.as_slice()),
            _ => return,
        };
        if !is_whole {
            return;
        }
        let sent_at_ms = self.unix_ms();
        let Histories { rules, logs } = &mut self.histories;
        let mut rooms: Vec<&String> = to.rooms.iter().collect();
        rooms.sort_unstable();
        rooms.dedup();
        for room in rooms {
            let Some(retention) = rule_of(rules, room) else { continue };
            let log = logs.entry(room.clone()).or_default();
            log.top += 1;
            let (offset, data) = (log.top, data.to_vec());
            log.entries.push_back(HistoryEntry { offset, sent_at_ms, kind, data });
            log.trim(retention, sent_at_ms);
        }
    }

    /// Returns the messages that a new member gets.
    pub(crate) fn messages_for_newcomer(&mut self, room: &str) -> Vec<Received> {
        let now = self.unix_ms();
        let Histories { rules, logs } = &mut self.histories;
        let (Some(retention), Some(log)) = (rule_of(rules, room), logs.get_mut(room)) else {
            return Vec::new();
        };
        log.trim(retention, now);
        let skipped = log.entries.len().saturating_sub(retention.for_newcomers());
        let last = log.entries.iter().skip(skipped);
        last.map(|entry| match entry.text() {
            Some(text) => Received::Text(text.to_owned()),
            None => Received::Binary(entry.data.clone()),
        })
        .collect()
    }

    /// Returns the last messages of a room before an offset.
    pub(crate) fn history(
        &mut self,
        room: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, HostError> {
        self.event()?;
        check_room(room)?;
        let now = self.unix_ms();
        let limit = usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let Histories { rules, logs } = &mut self.histories;
        let (Some(retention), Some(log)) = (rule_of(rules, room), logs.get_mut(room)) else {
            return Ok(Vec::new());
        };
        log.trim(retention, now);
        let mut bytes = 0;
        let wanted = log.entries.iter().rev();
        let wanted = wanted.filter(|entry| before.is_none_or(|before| entry.offset < before));
        let page = wanted.take(limit).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += charge(entry);
            is_first || bytes <= MAX_PAGE_BYTES
        });
        let mut page: Vec<_> = page.cloned().collect();
        page.reverse();
        Ok(page)
    }
}
