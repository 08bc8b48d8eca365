//! Who is present in the fake host's rooms, and who is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{HostError, Remedy};

use super::client::Received;
use super::effects::{Effect, refused, room_name};
use super::world::{Event, World};

/// From a change to the diff that tells of it: the host's default.
const INTERVAL: Duration = Duration::from_millis(100);
/// From the end of a key's last connection to the end of its entry: the host's default.
const GRACE: Duration = Duration::from_millis(2_000);

/// Keys, and the metadata of each.
type List = BTreeMap<String, Vec<String>>;

/// Who is present in one room.
#[derive(Default)]
pub(crate) struct Presence {
    /// By key, then by connection.
    entries: BTreeMap<String, Entry>,
    watchers: BTreeSet<u64>,
    sequence: u64,
    /// What watchers know.
    told: List,
    /// When they are told more.
    due: Option<Duration>,
}

#[derive(Default, Clone)]
struct Entry {
    metas: BTreeMap<u64, String>,
    /// Nobody is behind it any more.
    until: Option<Duration>,
}

impl Presence {
    fn list(&self) -> List {
        let entries = self.entries.iter();
        entries.map(|(key, entry)| (key.clone(), entry.metas.values().cloned().collect())).collect()
    }

    fn key(&self, number: u64) -> Option<&String> {
        let mut entries = self.entries.iter().filter(|(_, entry)| entry.until.is_none());
        entries.find(|(_, entry)| entry.metas.contains_key(&number)).map(|(key, _)| key)
    }

    fn track(&mut self, number: u64, key: &str, meta: &str) {
        if self.key(number).is_some_and(|old| old != key) {
            self.untrack(number);
        }
        let entry = self.entries.entry(key.to_owned()).or_default();
        if entry.until.take().is_some() {
            entry.metas.clear();
        }
        entry.metas.insert(number, meta.to_owned());
    }

    fn untrack(&mut self, number: u64) {
        if let Some(key) = self.key(number).cloned()
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.metas.remove(&number);
            if entry.metas.is_empty() {
                self.entries.remove(&key);
            }
        }
    }

    fn end(&mut self, number: u64, until: Duration) {
        let key = self.key(number).cloned();
        match key.and_then(|key| self.entries.get_mut(&key)) {
            Some(entry) if entry.metas.len() == 1 => entry.until = Some(until),
            _ => self.untrack(number),
        }
    }
}

/// Recording.
impl World {
    pub(crate) fn track(&mut self, room: &str, key: &str, meta: &str) -> Result<(), HostError> {
        self.own_room(room)?;
        if !(1..=255).contains(&key.len()) {
            let detail = format!("a key has 1 to 255 bytes, this one has {}", key.len());
            return Err(refused(Remedy::FixCall, "presence-key-invalid", detail));
        }
        let limit = self.limits.max_presence_bytes;
        if meta.len() > limit {
            let detail = format!("{} bytes; max_presence_bytes is {limit}", meta.len());
            return Err(refused(Remedy::ShedLoad, "metadata-too-big", detail));
        }
        let limit = self.limits.max_room_presence_bytes;
        let number = self.event.as_ref().map(|event| event.number).unwrap_or_default();
        let charge = |key: &str, meta: &str| key.len() + 2 + meta.len() + 64;
        let others = self.presence.get(room).into_iter().flat_map(|room| &room.entries);
        let others = others.flat_map(|(key, entry)| entry.metas.iter().map(move |m| (key, m)));
        let others = others.filter(|(_, (known, _))| **known != number);
        let taken: usize = others.map(|(key, (_, meta))| charge(key, meta)).sum();
        if taken + charge(key, meta) > limit {
            let detail = format!("{taken} bytes are taken; max_room_presence_bytes is {limit}");
            return Err(refused(Remedy::ShedLoad, "presence-full", detail));
        }
        let (room, key, meta) = (room.to_owned(), key.to_owned(), meta.to_owned());
        let bytes = meta.len();
        self.record(Effect::Track { room, key, meta }, bytes)
    }

    pub(crate) fn update_presence(&mut self, room: &str, meta: &str) -> Result<(), HostError> {
        self.own_room(room)?;
        let number = self.event.as_ref().map(|event| event.number).unwrap_or_default();
        let key = match self.event.as_ref().and_then(|event| event.presence(room)) {
            Some(track) => track.map(|(key, _)| key),
            None => self.presence.get(room).and_then(|room| room.key(number)).cloned(),
        };
        match key {
            Some(key) => self.track(room, &key, meta),
            None => Err(refused(Remedy::FixCall, "not-tracked", "track the connection first")),
        }
    }

    pub(crate) fn change_presence(
        &mut self,
        room: &str,
        effect: impl FnOnce(String) -> Effect,
        is_for_members: bool,
    ) -> Result<(), HostError> {
        match is_for_members {
            true => self.own_room(room)?,
            false => drop(self.open_event()?),
        }
        self.record(effect(room_name(room)?), 0)
    }

    /// The event's connection must be in the room.
    fn own_room(&mut self, room: &str) -> Result<(), HostError> {
        let room = room_name(room)?;
        match self.open_event()?.joined().contains(&room) {
            true => Ok(()),
            false => Err(refused(
                Remedy::FixCall,
                "not-a-member",
                "only members are present in a room: join it first",
            )),
        }
    }
}

impl Event {
    /// What the event makes of its connection's presence: key and metadata, or nothing.
    fn presence(&self, room: &str) -> Option<Option<(String, String)>> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Track { room: in_room, key, meta } if in_room == room => {
                Some(Some((key.clone(), meta.clone())))
            }
            Effect::Untrack(of) | Effect::Leave(of) if of == room => Some(None),
            _ => None,
        })
    }
}

/// Asking.
impl World {
    pub(crate) fn presence_count(&self, room: &str) -> u32 {
        let entries = self.entries(room);
        entries.values().filter(|entry| entry.until.is_none()).count() as u32
    }

    pub(crate) fn presence_page(
        &self,
        room: &str,
        after: Option<&str>,
        limit: u32,
    ) -> (u64, Vec<(String, Vec<String>)>) {
        let sequence = self.presence.get(room).map(|room| room.sequence).unwrap_or_default();
        let entries = self.entries(room).into_iter();
        let entries = entries.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let page = entries.take(limit as usize);
        let page = page.map(|(key, entry)| (key, entry.metas.into_values().collect()));
        (sequence, page.collect())
    }

    /// As the event sees them.
    fn entries(&self, room: &str) -> BTreeMap<String, Entry> {
        let committed = self.presence.get(room).map(|room| room.entries.clone());
        let mut seen = Presence { entries: committed.unwrap_or_default(), ..Presence::default() };
        if let Some(event) = &self.event
            && let Some(track) = event.presence(room)
        {
            match track {
                Some((key, meta)) => seen.track(event.number, &key, &meta),
                None => seen.untrack(event.number),
            }
        }
        seen.entries
    }
}

/// Committing, and the time.
impl World {
    /// Make an effect on presence happen.
    pub(crate) fn apply_presence(&mut self, number: u64, effect: Effect) {
        match effect {
            Effect::Track { room, key, meta } => {
                self.presence_changes(&room, |room| room.track(number, &key, &meta));
            }
            Effect::Untrack(room) => self.presence_changes(&room, |room| room.untrack(number)),
            Effect::Watch(room) => {
                // Everybody then knows the same.
                self.tell(&room);
                let presence = self.presence.entry(room.clone()).or_default();
                presence.watchers.insert(number);
                presence.told = presence.list();
                let message = state(&room, presence.sequence, &presence.told);
                self.deliver(number, Received::Text(message));
            }
            Effect::Unwatch(room) => {
                self.presence_changes(&room, |room| {
                    room.watchers.remove(&number);
                });
            }
            _ => {}
        }
    }

    /// A connection has left a room.
    pub(crate) fn leave_presence(&mut self, room: &str, number: u64) {
        self.presence_changes(room, |room| {
            room.watchers.remove(&number);
            room.untrack(number);
        });
    }

    /// A connection has ended.
    pub(crate) fn end_presence(&mut self, number: u64) {
        let until = self.now + GRACE;
        let rooms: Vec<String> = self.presence.keys().cloned().collect();
        for room in rooms {
            self.presence_changes(&room, |room| {
                room.watchers.remove(&number);
                room.end(number, until);
            });
        }
    }

    fn presence_changes(&mut self, room: &str, change: impl FnOnce(&mut Presence)) {
        let now = self.now;
        let presence = self.presence.entry(room.to_owned()).or_default();
        let before = presence.list();
        change(presence);
        if presence.list() != before {
            presence.sequence += 1;
            presence.due.get_or_insert(now + INTERVAL);
        }
    }

    /// When something happens by itself, up to `until`: then it does, and this says so.
    pub(crate) fn pass_presence(&mut self, until: Duration) -> Option<Duration> {
        let next = |room: &Presence| {
            let expiries = room.entries.values().filter_map(|entry| entry.until);
            expiries.chain(room.due).min()
        };
        let rooms = self.presence.iter().filter_map(|(name, room)| Some((next(room)?, name)));
        let (at, room) = rooms.min().filter(|(at, _)| *at <= until)?;
        let room = room.clone();
        self.now = self.now.max(at);
        self.presence_changes(&room, |room| {
            room.entries.retain(|_, entry| entry.until.is_none_or(|until| until > at));
        });
        if self.presence.get(&room).is_some_and(|room| room.due == Some(at)) {
            self.tell(&room);
        }
        Some(at)
    }

    /// When something would happen by itself next.
    pub(crate) fn next_presence(&self) -> Option<Duration> {
        let rooms = self.presence.values();
        rooms
            .flat_map(|room| room.entries.values().filter_map(|entry| entry.until).chain(room.due))
            .min()
    }

    /// Tell the watchers of a room, and the channel, what they do not know.
    fn tell(&mut self, name: &str) {
        let Some(room) = self.presence.get_mut(name) else { return };
        room.due = None;
        let now = room.list();
        let before = std::mem::replace(&mut room.told, now.clone());
        let joins: List =
            now.into_iter().filter(|(key, metas)| before.get(key) != Some(metas)).collect();
        let leaves: Vec<String> =
            before.into_keys().filter(|key| !room.told.contains_key(key)).collect();
        if joins.is_empty() && leaves.is_empty() {
            return;
        }
        let (sequence, watchers) = (room.sequence, room.watchers.clone());
        let message = diff(name, sequence, &joins, &leaves);
        for number in watchers {
            self.deliver(number, Received::Text(message.clone()));
        }
        if self.plugin.exports.presence {
            let joins = joins.into_iter().collect();
            self.presence_events.push_back((name.to_owned(), sequence, joins, leaves));
        }
    }
}

/// What `on_presence` is still to be called with.
pub(crate) type PresenceEvent = (String, u64, Vec<(String, Vec<String>)>, Vec<String>);

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn entries(list: &List) -> String {
    let entries = list
        .iter()
        .map(|(key, metas)| format!(r#"{}:{{"metas":[{}]}}"#, quoted(key), metas.join(",")));
    entries.collect::<Vec<_>>().join(",")
}

fn state(room: &str, sequence: u64, list: &List) -> String {
    format!(
        r#"{{"type":"presence_state","room":{},"sequence":{sequence},"present":{{{}}}}}"#,
        quoted(room),
        entries(list)
    )
}

fn diff(room: &str, sequence: u64, joins: &List, leaves: &[String]) -> String {
    let leaves: Vec<String> = leaves.iter().map(|key| quoted(key)).collect();
    format!(
        r#"{{"type":"presence_diff","room":{},"sequence":{sequence},"joins":{{{}}},"leaves":[{}]}}"#,
        quoted(room),
        entries(joins),
        leaves.join(",")
    )
}
