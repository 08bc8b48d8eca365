//! The presence lists of the fake host's rooms, and their watchers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wharf_contract::CallRefusal;
use wharf_contract::names::{check_presence_key, check_room};
use wharf_contract::presence::{
    self, DEFAULT_GRACE, DEFAULT_INTERVAL, OwnChanges, Space, charge, check_metadata,
};

use crate::error::HostError;

use super::client::Received;
use super::effects::Effect;
use super::world::{Event, World};

/// The list of one room, on the fake host's clock.
type Roster = presence::Roster<u64, Duration>;

/// Keys, and the metadata of each.
type Entries = Vec<(String, Vec<String>)>;

/// The lists of all rooms.
#[derive(Default)]
pub(crate) struct PresenceRooms {
    rooms: BTreeMap<String, PresenceRoom>,
    /// Highest number of a list that was dropped: that of the next one is not lower.
    sequence: u64,
}

/// The list of one room, and its watchers.
#[derive(Default)]
struct PresenceRoom {
    roster: Roster,
    watchers: BTreeSet<u64>,
    /// Time at which they are told the changes.
    due: Option<Duration>,
}

impl PresenceRooms {
    fn roster(&self, room: &str) -> Option<&Roster> {
        Some(&self.rooms.get(room)?.roster)
    }

    fn bytes(&self) -> usize {
        self.rooms.values().map(|room| room.roster.bytes()).sum()
    }

    /// Returns the time of the next expiry or message, and its room.
    fn next(&self) -> Option<(Duration, &String)> {
        let next =
            |room: &PresenceRoom| room.roster.next_expiry().into_iter().chain(room.due).min();
        self.rooms.iter().filter_map(|(name, room)| Some((next(room)?, name))).min()
    }
}

/// The recording of effects.
impl World {
    pub(crate) fn track(&mut self, room: &str, key: &str, meta: &str) -> Result<(), HostError> {
        self.own_room(room)?;
        check_presence_key(key)?;
        Ok(self.record_track(room, key, meta)?)
    }

    pub(crate) fn update_presence(&mut self, room: &str, meta: &str) -> Result<(), HostError> {
        let number = self.own_room(room)?;
        let key = match self.event.as_ref().and_then(|event| event.presence(room)) {
            Some(track) => track.map(|(key, _)| key),
            None => self.presence.roster(room).and_then(|roster| roster.key(number)).cloned(),
        };
        let key = key.ok_or(CallRefusal::NotTracked)?;
        Ok(self.record_track(room, &key, meta)?)
    }

    fn record_track(&mut self, room: &str, key: &str, meta: &str) -> Result<(), CallRefusal> {
        check_metadata(meta, self.limits.max_presence_bytes)?;
        let limits = (self.limits.max_room_presence_bytes, self.limits.max_channel_presence_bytes);
        self.space(room).check(charge(key, meta), limits.0, limits.1)?;
        let (room, key, meta) = (room.to_owned(), key.to_owned(), meta.to_owned());
        self.record(Effect::Track { room, key, meta })
    }

    /// Returns the sizes that decide whether an entry of the event's connection fits into a room.
    fn space(&self, room: &str) -> Space {
        let number = self.event.as_ref().map(|event| event.number).unwrap_or_default();
        let roster = self.presence.roster(room);
        let own = roster.map_or(0, |roster| roster.charge_of(number));
        let effects = self.event.iter().flat_map(|event| &event.effects);
        let elsewhere = effects.map(|effect| match effect {
            Effect::Track { room: other, key, meta } if other != room => charge(key, meta),
            _ => 0,
        });
        Space {
            in_room: roster.map_or(0, Roster::bytes).saturating_sub(own),
            in_channel: self.presence.bytes().saturating_sub(own) + elsewhere.sum::<usize>(),
            own,
        }
    }

    pub(crate) fn change_presence(
        &mut self,
        room: &str,
        effect: impl FnOnce(String) -> Effect,
        is_for_members: bool,
    ) -> Result<(), HostError> {
        match is_for_members {
            true => drop(self.own_room(room)?),
            false => {
                check_room(room)?;
                self.open_event()?;
            }
        }
        Ok(self.record(effect(room.to_owned()))?)
    }

    /// Checks that the event's connection is in the room. Returns its number.
    fn own_room(&mut self, room: &str) -> Result<u64, CallRefusal> {
        check_room(room)?;
        let event = self.open_event()?;
        match event.joined().iter().any(|joined| joined == room) {
            true => Ok(event.number),
            false => Err(CallRefusal::NotAMember),
        }
    }
}

impl Event {
    /// Returns the event's change of its connection's presence: key and metadata, or absent.
    fn presence(&self, room: &str) -> Option<Option<(Arc<str>, Arc<str>)>> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Track { room: in_room, key, meta } if in_room == room => {
                Some(Some((key.as_str().into(), meta.as_str().into())))
            }
            Effect::Untrack(of) | Effect::Leave(of) if of == room => Some(None),
            _ => None,
        })
    }
}

/// The questions.
impl World {
    pub(crate) fn presence_count(&self, room: &str) -> u32 {
        let own = self.own_presence(room);
        let new = Roster::default();
        self.presence.roster(room).unwrap_or(&new).count(own.as_ref()) as u32
    }

    pub(crate) fn presence_page(
        &self,
        room: &str,
        after: Option<&str>,
        limit: u32,
    ) -> (u64, Entries) {
        let own = self.own_presence(room);
        let new = Roster::after(self.presence.sequence);
        let roster = self.presence.roster(room).unwrap_or(&new);
        (roster.sequence(), entries(roster.page(after, limit as usize, own.as_ref())))
    }

    /// Returns the event's changes of its own connection's presence in a room.
    fn own_presence(&self, room: &str) -> Option<OwnChanges<u64>> {
        let event = self.event.as_ref()?;
        Some(OwnChanges { id: event.number, track: event.presence(room)? })
    }
}

/// Commits, and the time.
impl World {
    /// Performs an effect on presence.
    pub(crate) fn apply_presence(&mut self, number: u64, effect: Effect) {
        match effect {
            Effect::Track { room, key, meta } => {
                let (key, meta) = (key.into(), meta.into());
                self.change_room(&room, true, |room| room.roster.track(number, &key, &meta));
            }
            Effect::Untrack(room) => {
                self.change_room(&room, false, |room| room.roster.untrack(number));
            }
            Effect::Watch(name) => {
                let mut message = String::new();
                self.change_room(&name, true, |room| {
                    room.watchers.insert(number);
                    room.roster.shown_between();
                    message = room.roster.message(&name);
                });
                self.deliver(number, Received::Text(message));
            }
            Effect::Unwatch(room) => {
                self.change_room(&room, false, |room| {
                    room.watchers.remove(&number);
                });
            }
            _ => {}
        }
    }

    /// Notes that a connection has left a room.
    pub(crate) fn leave_presence(&mut self, room: &str, number: u64) {
        self.change_room(room, false, |room| {
            room.watchers.remove(&number);
            room.roster.untrack(number);
        });
    }

    /// Notes that a connection has ended.
    pub(crate) fn end_presence(&mut self, number: u64) {
        let now = self.now;
        let rooms: Vec<String> = self.presence.rooms.keys().cloned().collect();
        for room in rooms {
            self.change_room(&room, false, |room| {
                room.watchers.remove(&number);
                room.roster.end(number, now, DEFAULT_GRACE);
            });
        }
    }

    /// Changes a room's list, and handles the consequences.
    fn change_room(&mut self, name: &str, is_made: bool, change: impl FnOnce(&mut PresenceRoom)) {
        let listens = self.plugin.exports.presence_events;
        let PresenceRooms { rooms, sequence } = &mut self.presence;
        if is_made && !rooms.contains_key(name) {
            let roster = Roster::after(*sequence);
            rooms.insert(name.to_owned(), PresenceRoom { roster, ..PresenceRoom::default() });
        }
        let Some(room) = rooms.get_mut(name) else { return };
        change(room);
        if room.roster.has_changes() {
            match room.watchers.is_empty() && !listens {
                // A later watcher gets the whole list.
                true => drop(room.roster.take_changes()),
                false => {
                    room.due.get_or_insert(self.now + DEFAULT_INTERVAL);
                }
            }
        }
        if room.roster.is_empty() && room.watchers.is_empty() && room.due.is_none() {
            *sequence = room.roster.sequence().max(*sequence);
            rooms.remove(name);
        }
    }

    /// Performs the next expiry or message up to `until`, if there is one. Returns its time.
    pub(crate) fn pass_presence(&mut self, until: Duration) -> Option<Duration> {
        let (at, name) = self.presence.next().filter(|(at, _)| *at <= until)?;
        let name = name.clone();
        self.now = self.now.max(at);
        self.change_room(&name, false, |room| room.roster.expire(at));
        if self.presence.rooms.get(&name).is_some_and(|room| room.due == Some(at)) {
            self.tell(&name);
        }
        Some(at)
    }

    /// Returns the time of the next expiry or message.
    pub(crate) fn next_presence(&self) -> Option<Duration> {
        self.presence.next().map(|(at, _)| at)
    }

    /// Tells the watchers of a room, and the channel, the new changes.
    fn tell(&mut self, name: &str) {
        let mut told = None;
        self.change_room(name, false, |room| {
            room.due = None;
            let changes = room.roster.take_changes();
            let diff = room.roster.diff(&changes);
            told = Some((diff, room.watchers.clone()));
        });
        let Some((diff, watchers)) = told.filter(|(diff, _)| !diff.is_empty()) else { return };
        let message = diff.message(name);
        for number in watchers {
            self.deliver(number, Received::Text(message.clone()));
        }
        if self.plugin.exports.presence_events {
            let leaves = diff.leaves.iter().map(|key| key.to_string()).collect();
            let event = (name.to_owned(), diff.sequence, entries(diff.joins), leaves);
            self.presence_events.push_back(event);
        }
    }
}

/// The arguments of a call of `on_presence` that is still to be made.
pub(crate) type PresenceEvent = (String, u64, Entries, Vec<String>);

fn entries(entries: presence::Entries) -> Entries {
    let texts = |metas: Vec<Arc<str>>| metas.iter().map(|meta| meta.to_string()).collect();
    entries.into_iter().map(|(key, metas)| (key.to_string(), texts(metas))).collect()
}
