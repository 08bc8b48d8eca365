//! The records of a channel's rooms and timers on disk.
//!
//! The changes of an event are recorded before its effects leave: the new state of its room, and the timers
//! of rooms and of the channel that it sets, cancels or was fired by. All of them are one write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use wharf_engine::{Change, Kind, Record, Records, Unavailable, Undo, Written};

use super::Hub;
use super::history::{Appends, SharedAppends};
use crate::effects::Effects;
use crate::inbox::{Addressee, Firing, Scope};
use crate::time_of_day::{milliseconds, unix_ms};
use crate::timer::{Begun, NewTimer};
use crate::timer_record::{self, TimerRecord, deletion, is_followed, recorded_room};

/// The changes of records that an event makes, in their order.
#[derive(Debug, Default)]
pub struct RecordedChanges {
    changes: Vec<Change>,
    /// Messages for rooms that keep them, which get their offsets when they are recorded.
    pub(super) appends: Appends,
    /// Those for rooms whose logs the cluster has.
    pub(super) shared: SharedAppends,
}

impl RecordedChanges {
    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.appends.is_empty() && self.shared.is_empty()
    }

    /// Adds the state of a room.
    pub fn room_state(&mut self, room: &str, state: Bytes) {
        let record = Record { value: state, version: 0, expires_at: None };
        self.changes.push(room_change(room, Some(record)));
    }

    /// Adds that the state of a room is forgotten.
    pub(super) fn forgotten(&mut self, room: &str) {
        self.changes.push(room_change(room, None));
    }

    /// Adds the timers that an event sets and cancels, and gives each that it sets a record.
    pub fn timers(&mut self, effects: &mut Effects, hub: &Hub) {
        if hub.records.is_none() || !effects.has_timers() {
            return;
        }
        let now = unix_ms();
        // The last of an event's own timers by name: the hub does not have them yet.
        let mut own: Vec<(Scope, Arc<str>, u64)> = Vec::new();
        effects.for_each_timer(|scope, name, timer| {
            let Some(room) = recorded_room(scope) else {
                return;
            };
            let known = own.iter().rposition(|(of, other, _)| of == scope && other == name);
            let before = match known {
                Some(at) => own.swap_remove(at).2,
                None => hub.timers.record_of(scope, name),
            };
            if before > 0 {
                self.changes.push(deletion(before));
            }
            if let Some(timer) = timer {
                let number = hub.last_timer_record.fetch_add(1, Ordering::Relaxed) + 1;
                (timer.record, timer.replaces) = (number, before);
                let record = TimerRecord {
                    room: room.to_owned(),
                    name: name.to_string(),
                    due_at: now.saturating_add(milliseconds(timer.delay)),
                    interval: timer.interval,
                    payload: timer.payload.clone(),
                };
                self.changes.push(record.change(number));
                own.push((scope.clone(), name.clone(), number));
            }
        });
    }

    /// Adds the end of the firing that an event was caused by.
    pub fn fired(&mut self, firing: &Firing, begun: &Begun) {
        let (Some(room), true) = (recorded_room(&firing.scope), begun.record > 0) else {
            return;
        };
        match &begun.again {
            None => self.changes.push(deletion(begun.record)),
            Some(again) if is_followed(again.interval) => {
                let record = TimerRecord {
                    room: room.to_owned(),
                    name: firing.name.to_string(),
                    due_at: unix_ms().saturating_add(milliseconds(again.due_in)),
                    interval: Some(again.interval),
                    payload: begun.payload.clone(),
                };
                self.changes.push(record.change(begun.record));
            }
            Some(_) => {}
        }
    }
}

fn room_change(room: &str, to: Option<Record>) -> Change {
    Change { kind: Kind::RoomState, key: Bytes::copy_from_slice(room.as_bytes()), to }
}

impl Hub {
    /// Returns true if rooms and timers are recorded.
    pub fn is_recorded(&self) -> bool {
        self.records.is_some()
    }

    /// Returns the reason why nothing can be recorded at present; `None` if all is well.
    pub fn record_failure(&self) -> Option<Unavailable> {
        self.records.as_ref()?.failure()
    }

    /// Records changes, all or none, and gives the messages among the effects their places in logs. `None` if there
    /// is nothing to wait for.
    ///
    /// # Errors
    ///
    /// Nothing can be written at present.
    pub fn record(
        &self,
        changes: RecordedChanges,
        effects: &mut Effects,
    ) -> Result<Option<Written>, Unavailable> {
        let RecordedChanges { mut changes, appends, .. } = changes;
        let write = |changes: &mut Vec<Change>, undo: Option<Undo>| match &self.records {
            Some(records) if !changes.is_empty() => {
                records.write(std::mem::take(changes), undo).map(Some)
            }
            _ => Ok(None),
        };
        match appends.is_empty() {
            true => write(&mut changes, None),
            false => self
                .append(appends, effects, &mut changes, |changes, undo| write(changes, Some(undo))),
        }
    }

    /// Records that the state of a room was forgotten. Nobody waits for it: while the disk refuses, it is
    /// kept until it can be written.
    pub fn record_forgotten(&self, room: &str) {
        if let Some(records) = &self.records {
            records.delete_later([(Kind::RoomState, Bytes::copy_from_slice(room.as_bytes()))]);
        }
    }

    /// Deletes records of logs, in the same way.
    pub(super) fn record_trimmed(&self, deletions: Vec<Change>) {
        if let Some(records) = &self.records {
            records.delete_later(deletions.into_iter().map(|change| (change.kind, change.key)));
        }
    }

    /// Records that timers have ended, in the same way.
    pub(super) fn record_ended(&self, timers: impl IntoIterator<Item = u64>) {
        if let Some(records) = &self.records {
            let timers = timers.into_iter().filter(|number| *number > 0);
            records.delete_later(timers.map(|number| (Kind::Timer, timer_record::key(number))));
        }
    }

    /// Sets a timer again whose firing could not be recorded, unless another of its name is set or it
    /// goes on by itself. Its record is still there.
    pub fn fire_again(
        &self,
        firing: &Firing,
        begun: Begun,
        to: Arc<dyn Addressee>,
        delay: Duration,
    ) {
        let (scope, name) = (firing.scope.clone(), firing.name.clone());
        if begun.again.is_none() && !self.timers.count_of(&scope, &name).1 {
            let (record, interval) = (begun.record, None);
            self.set_timer(NewTimer {
                record,
                replaces: 0,
                scope,
                name,
                delay,
                interval,
                payload: begun.payload,
                to,
            });
        }
    }

    /// Deletes the record of a timer that has fired, if the timer was cancelled or replaced while its
    /// firing was recorded: the record was deleted then, and is there again.
    pub fn end_record_if_gone(&self, firing: &Firing, begun: &Begun) {
        let is_followed = begun.again.as_ref().is_some_and(|again| is_followed(again.interval));
        if is_followed && self.timers.record_of(&firing.scope, &firing.name) != begun.record {
            self.record_ended([begun.record]);
        }
    }

    /// Takes over the recorded states of rooms. It waits for the disk.
    pub(super) fn load_rooms(&self, records: &Records) -> Result<(), Unavailable> {
        records.load(Kind::RoomState, |key, record| {
            if let Ok(name) = std::str::from_utf8(&key)
                && let Ok(room) = self.states.open(&Arc::from(name), usize::MAX)
            {
                room.keep(record.value, usize::MAX);
            }
        })
    }

    /// Reads the recorded timers, which are set later. It waits for the disk.
    pub(super) fn load_timers(&self, records: &Records) -> Result<(), Unavailable> {
        let (mut loaded, mut last, mut is_strange) = (Vec::new(), 0, false);
        records.load(Kind::Timer, |_, record| {
            last = record.version.max(last);
            match TimerRecord::read(record.value) {
                Some(timer) => loaded.push((record.version, timer)),
                None => is_strange = true,
            }
        })?;
        if is_strange {
            return Err(Unavailable::new("a timer has a form that this version does not know"));
        }
        self.last_timer_record.store(last, Ordering::Relaxed);
        *self.loaded_timers.lock() = loaded;
        Ok(())
    }

    /// Sets the recorded timers; once, when the channel's code is there. Those that fell due meanwhile fire
    /// at once, each one time.
    pub fn set_loaded_timers(&self) {
        let now = unix_ms();
        let loaded = std::mem::take(&mut *self.loaded_timers.lock());
        for (number, TimerRecord { room, name, due_at, interval, payload }) in loaded {
            let delay = Duration::from_millis(due_at.saturating_sub(now));
            let name: Arc<str> = name.into();
            let (scope, to): (Scope, Arc<dyn Addressee>) = if room.is_empty() {
                (Scope::Channel, self.channel_inbox())
            } else {
                let room: Arc<str> = room.into();
                match self.room_inbox(&room, usize::MAX) {
                    Ok(inbox) => (Scope::Room(room), inbox),
                    Err(_) => continue,
                }
            };
            let (record, replaces) = (number, 0);
            // Records come in the order of their numbers, so that the last one of a name stays.
            self.set_timer(NewTimer {
                record,
                replaces,
                scope,
                name,
                delay,
                interval,
                payload,
                to,
            });
        }
    }
}

#[cfg(test)]
mod tests;
