//! `wharf:channel/presence`: the list of a room, and its watchers.

use std::sync::Arc;

use serde::de::IgnoredAny;
use wasmtime::component::Resource;

use super::bindings::wharf::channel::presence::{Entry, Host, Page};
use super::bindings::wharf::channel::types::Error;
use super::rooms::checked;
use super::{ConnectionHandle, OwnConnection};
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::check_presence_key;
use wharf_contract::presence::{MAX_PAGE, Space, charge, check_metadata};
use wharf_hub::effects::{Effect, Track};
use wharf_hub::presence;

impl Host for InstanceState {
    fn track(
        &mut self,
        _: Resource<ConnectionHandle>,
        room: String,
        key: String,
        metadata: String,
    ) -> Result<(), Error> {
        let room = self.own_room(room)?;
        check_presence_key(&key)?;
        Ok(self.record_track(room, Arc::from(key), metadata)?)
    }

    fn update(
        &mut self,
        _: Resource<ConnectionHandle>,
        room: String,
        metadata: String,
    ) -> Result<(), Error> {
        let room = self.own_room(room)?;
        let hub = self.channel.hub.clone();
        let OwnConnection { client, effects, .. } = self.own()?;
        let key = match effects.presence(&room) {
            Some(track) => track.map(|track| track.key.clone()),
            None => hub.presence_key(&room, client.id),
        };
        let key = key.ok_or(CallRefusal::NotTracked)?;
        Ok(self.record_track(room, key, metadata)?)
    }

    fn untrack(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let room = checked(room)?;
        self.own()?;
        Ok(self.record(Effect::Untrack(room))?)
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
        Ok(self.record(Effect::Watch(room))?)
    }

    fn unwatch(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let room = checked(room)?;
        self.own()?;
        Ok(self.record(Effect::Unwatch(room))?)
    }
}

impl InstanceState {
    /// Returns a room that the event's own connection is in, counting the event's own joins and
    /// leaves.
    fn own_room(&mut self, room: String) -> Result<Arc<str>, CallRefusal> {
        let room = checked(room)?;
        let OwnConnection { client, effects, .. } = self.own()?;
        match effects.membership(&room).unwrap_or_else(|| client.is_in(&room)) {
            true => Ok(room),
            false => Err(CallRefusal::NotAMember),
        }
    }

    fn record_track(
        &mut self,
        room: Arc<str>,
        key: Arc<str>,
        metadata: String,
    ) -> Result<(), CallRefusal> {
        check_metadata(&metadata, self.channel.config.max_presence_bytes)?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&metadata) {
            return Err(CallRefusal::MetadataInvalid { why: error.to_string() });
        }
        self.check_space(&room, charge(&key, &metadata))?;
        let meta = Arc::from(metadata);
        self.record(Effect::Track(Box::new(Track { room, key, meta })))
    }

    /// Checks that `bytes` more bytes fit into a room's list. Events that run at the same time do
    /// not see each other, and may overrun it by their additions.
    fn check_space(&mut self, room: &str, bytes: usize) -> Result<(), CallRefusal> {
        let channel = self.channel.clone();
        let (config, hub) = (&channel.config, &channel.hub);
        let OwnConnection { client, effects, .. } = self.own()?;
        let (in_room, own) = hub.presence_bytes_in(room, client.id);
        // A connection is present once in each room: of several tracks in one the last counts.
        let elsewhere = effects.tracks().filter(|track| &*track.room != room);
        let elsewhere: usize = elsewhere.map(|track| charge(&track.key, &track.meta)).sum();
        let space = Space {
            in_room: in_room.saturating_sub(own),
            in_channel: hub.presence_bytes().saturating_sub(own).saturating_add(elsewhere),
            own,
        };
        space.check(bytes, config.max_room_presence_bytes, config.max_channel_presence_bytes)
    }

    /// Returns this event's changes of its own connection's presence in a room.
    fn own_presence(&self, room: &str) -> Option<presence::OwnChanges> {
        let call = self.call.as_ref()?;
        let track = call.effects.presence(room)?;
        let track = track.map(|track| (track.key.clone(), track.meta.clone()));
        Some(presence::OwnChanges { id: self.client()?.id, track })
    }
}

impl From<(Arc<str>, Vec<presence::Meta>)> for Entry {
    fn from((key, metas): (Arc<str>, Vec<presence::Meta>)) -> Entry {
        let metas = metas.iter().map(|meta| meta.to_string()).collect();
        Entry { key: key.to_string(), metas }
    }
}
