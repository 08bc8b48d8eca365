//! The records of a channel's rooms and timers on disk.
//!
//! The changes of an event are recorded before its effects leave: the new state of its room, and the timers
//! of rooms and of the channel that it sets, cancels or was fired by. All of them are one write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use wharf_engine::{Change, Kind, Record, Records, Unavailable, Written};

use super::Hub;
use crate::effects::Effects;
use crate::inbox::{Addressee, Firing, Scope};
use crate::time_of_day::{milliseconds, unix_ms};
use crate::timer::{Begun, NewTimer};
use crate::timer_record::{TimerRecord, deletion, is_followed, recorded_room};

/// The changes of records that one or several events make, in their order.
#[derive(Debug, Default)]
pub struct RecordedChanges(Vec<Change>);

impl RecordedChanges {
    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the state of a room.
    pub fn room_state(&mut self, room: &str, state: Bytes) {
        let record = Record { value: state, version: 0, expires_at: None };
        let change = room_change(room, Some(record));
        // Several events of a room write the state of the last one.
        let is_same = |known: &Change| known.kind == change.kind && known.key == change.key;
        match self.0.iter_mut().rev().find(|known| is_same(known)) {
            Some(known) => *known = change,
            None => self.0.push(change),
        }
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
                self.0.push(deletion(before));
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
                self.0.push(record.change(number));
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
            None => self.0.push(deletion(begun.record)),
            Some(again) if is_followed(again.interval) => {
                let record = TimerRecord {
                    room: room.to_owned(),
                    name: firing.name.to_string(),
                    due_at: unix_ms().saturating_add(milliseconds(again.due_in)),
                    interval: Some(again.interval),
                    payload: begun.payload.clone(),
                };
                self.0.push(record.change(begun.record));
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

    /// Records changes, all or none. `None` if there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// Nothing can be written at present.
    pub fn record(&self, changes: RecordedChanges) -> Result<Option<Written>, Unavailable> {
        match &self.records {
            Some(records) if !changes.is_empty() => records.write(changes.0, None).map(Some),
            _ => Ok(None),
        }
    }

    /// Records changes that nobody waits for. Where that fails, the records are as after a loss of power
    /// just before.
    pub(super) fn record_later(&self, changes: impl IntoIterator<Item = Change>) {
        if let Some(records) = &self.records {
            let mut changes = changes.into_iter().peekable();
            if changes.peek().is_some() {
                let _ = records.write(changes, None);
            }
        }
    }

    /// Records that the state of a room was forgotten. Nobody waits for it.
    pub fn record_forgotten(&self, room: &str) {
        self.record_later([room_change(room, None)]);
    }

    pub(super) fn record_ended(&self, timers: impl IntoIterator<Item = u64>) {
        self.record_later(timers.into_iter().filter(|number| *number > 0).map(deletion));
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

    /// Sets the recorded timers. Those that fell due meanwhile fire at once, each one time. It waits for the
    /// disk.
    ///
    /// # Errors
    ///
    /// The records cannot be read; no timer is set.
    pub fn load_timers(&self) -> Result<(), Unavailable> {
        let Some(records) = &self.records else {
            return Ok(());
        };
        let mut loaded = Vec::new();
        records.load(Kind::Timer, |_, record| {
            loaded.push((record.version, TimerRecord::read(record.value)));
        })?;
        let now = unix_ms();
        for (number, record) in loaded {
            self.last_timer_record.fetch_max(number, Ordering::Relaxed);
            let Some(TimerRecord { room, name, due_at, interval, payload }) = record else {
                continue;
            };
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
        Ok(())
    }
}
