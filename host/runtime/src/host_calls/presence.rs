//! `wharf:channel/presence`: who is in a room, and who is told.

use std::sync::Arc;

use serde::de::IgnoredAny;
use wasmtime::component::Resource;

use super::bindings::wharf::channel::presence::{Entry, Host, Page};
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::rooms::{MAX_PAGE, checked};
use super::{ConnectionHandle, Own, fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::{Effect, Track};
use wharf_hub::presence::{self, charge};
use wharf_hub::room::MAX_NAME_BYTES;

impl Host for InstanceState {
    fn track(
        &mut self,
        _: Resource<ConnectionHandle>,
        room: String,
        key: String,
        metadata: String,
    ) -> Result<(), Error> {
        let room = self.own_room(room)?;
        if !(1..=MAX_NAME_BYTES).contains(&key.len()) {
            return Err(fix_call(
                "presence-key-invalid",
                format!("a key has 1 to {MAX_NAME_BYTES} bytes, this one has {}", key.len()),
            ));
        }
        self.record_track(room, Arc::from(key), metadata)
    }

    fn update(
        &mut self,
        _: Resource<ConnectionHandle>,
        room: String,
        metadata: String,
    ) -> Result<(), Error> {
        let room = self.own_room(room)?;
        let hub = self.channel.hub.clone();
        let Own { client, effects, .. } = self.own()?;
        let key = match effects.presence(&room) {
            Some(track) => track.map(|track| track.key.clone()),
            None => hub.presence_key(&room, client.id),
        };
        let key = key.ok_or_else(|| fix_call("not-tracked", "track the connection first"))?;
        self.record_track(room, key, metadata)
    }

    fn untrack(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let room = checked(room)?;
        self.own()?;
        self.record(Effect::Untrack(room))
    }

    fn list(&mut self, room: String, after: Option<String>, limit: u32) -> Page {
        let own = self.own_presence(&room);
        let limit = limit.min(MAX_PAGE) as usize;
        let hub = &self.channel.hub;
        let (sequence, entries) = hub.presence_page(&room, after.as_deref(), limit, own.as_ref());
        Page { sequence, entries: entries.into_iter().map(Entry::from).collect() }
    }

    fn count(&mut self, room: String) -> u32 {
        let own = self.own_presence(&room);
        let count = self.channel.hub.presence_count(&room, own.as_ref());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn watch(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let room = self.own_room(room)?;
        self.record(Effect::Watch(room))
    }

    fn unwatch(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let room = checked(room)?;
        self.own()?;
        self.record(Effect::Unwatch(room))
    }
}

impl InstanceState {
    /// A room that the event's own connection is in, its own joins and leaves counted.
    fn own_room(&mut self, room: String) -> Result<Arc<str>, Error> {
        let room = checked(room)?;
        let Own { client, effects, .. } = self.own()?;
        match effects.membership(&room).unwrap_or_else(|| client.is_in(&room)) {
            true => Ok(room),
            false => {
                Err(fix_call("not-a-member", "only members are present in a room: join it first"))
            }
        }
    }

    fn record_track(
        &mut self,
        room: Arc<str>,
        key: Arc<str>,
        metadata: String,
    ) -> Result<(), Error> {
        let limit = self.channel.config.max_presence_bytes;
        if metadata.len() > limit {
            return Err(refused(
                Remedy::ShedLoad,
                "metadata-too-big",
                format!("{} bytes; max_presence_bytes is {limit}", metadata.len()),
            ));
        }
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&metadata) {
            let detail = format!("the metadata is not JSON: {error}");
            return Err(fix_call("metadata-invalid", detail));
        }
        self.check_space(&room, charge(&key, &metadata))?;
        let meta = Arc::from(metadata);
        self.record(Effect::Track(Box::new(Track { room, key, meta })))
    }

    /// Whether so many bytes more fit into a room's list. Events that run at the same time do not
    /// see each other, and may overrun it by what they add.
    fn check_space(&mut self, room: &str, bytes: usize) -> Result<(), Error> {
        let channel = self.channel.clone();
        let (config, hub) = (&channel.config, &channel.hub);
        let Own { client, effects, .. } = self.own()?;
        let (in_room, own) = hub.presence_bytes_in(room, client.id);
        let room_bytes = in_room.saturating_sub(own);
        // In each room a connection is present once: of several tracks in one the last counts.
        let elsewhere = effects.tracks().filter(|track| &*track.room != room);
        let elsewhere: usize = elsewhere.map(|track| charge(&track.key, &track.meta)).sum();
        let all_bytes = hub.presence_bytes().saturating_sub(own).saturating_add(elsewhere);
        for (taken, limit, setting) in [
            (room_bytes, config.max_room_presence_bytes, "max_room_presence_bytes"),
            (all_bytes, config.max_channel_presence_bytes, "max_channel_presence_bytes"),
        ] {
            // Whoever takes no more than before is not kept from it by what others took meanwhile.
            if bytes > own && taken.saturating_add(bytes) > limit {
                return Err(refused(
                    Remedy::ShedLoad,
                    "presence-full",
                    format!("{taken} bytes are taken; {setting} is {limit}"),
                ));
            }
        }
        Ok(())
    }

    /// What this event changes about its own connection's presence in a room.
    fn own_presence(&self, room: &str) -> Option<presence::Own> {
        let call = self.call.as_ref()?;
        let track = call.effects.presence(room)?;
        let track = track.map(|track| (track.key.clone(), track.meta.clone()));
        Some(presence::Own { id: self.client()?.id, track })
    }
}

impl From<(Arc<str>, Vec<presence::Meta>)> for Entry {
    fn from((key, metas): (Arc<str>, Vec<presence::Meta>)) -> Entry {
        let metas = metas.iter().map(|meta| meta.to_string()).collect();
        Entry { key: key.to_string(), metas }
    }
}
