//! `wharf:channel/rooms`: memberships and broadcasts.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::wharf::channel::rooms::Host;
use super::bindings::wharf::channel::types::{Error, Kind};

use super::{Call, ConnectionHandle, OwnConnection};
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::audience::check_rooms;
use wharf_contract::close::Close;
use wharf_contract::names::check_room;
use wharf_contract::text::Shown;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::effects::Effect;
use wharf_hub::hub::GroupKind;
use wharf_hub::recipients::{Group, Recipients};

/// Largest number of members on one page.
pub(super) const MAX_PAGE: u32 = 1000;

impl Host for InstanceState {
    fn join(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let name = checked(room)?;
        let limit = self.channel.config.max_rooms_per_connection;
        let OwnConnection { client, effects, .. } = self.own()?;
        let is_in = effects.membership(&name).unwrap_or_else(|| client.is_in(&name));
        if is_in {
            return Ok(());
        }
        if effects.room_count(client) >= limit {
            return Err(CallRefusal::TooManyRooms { limit }.into());
        }
        self.record(Effect::Join(name, None))?;
        self.call()?.effects.count_room(1);
        Ok(())
    }

    fn join_if_fewer_than(
        &mut self,
        _: Resource<ConnectionHandle>,
        room: String,
        count: u32,
    ) -> Result<bool, Error> {
        let name = checked(room)?;
        let limit = self.channel.config.max_rooms_per_connection;
        let OwnConnection { client, effects, .. } = self.own()?;
        if effects.membership(&name).unwrap_or_else(|| client.is_in(&name)) {
            return Ok(true);
        }
        if effects.room_count(client) >= limit {
            return Err(CallRefusal::TooManyRooms { limit }.into());
        }
        let (id, limit) = (client.id, count as usize);
        let Some(place) = self.channel.hub.reserve(GroupKind::Room, &name, id, limit) else {
            return Ok(false);
        };
        self.record(Effect::Join(name, Some(place)))?;
        self.call()?.effects.count_room(1);
        Ok(true)
    }

    fn leave(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let name = checked(room)?;
        let OwnConnection { client, effects, .. } = self.own()?;
        let was_in = effects.membership(&name).unwrap_or_else(|| client.is_in(&name));
        self.record(Effect::Leave(name))?;
        if was_in {
            self.call()?.effects.count_room(-1);
        }
        Ok(())
    }

    fn joined(&mut self, _: Resource<ConnectionHandle>) -> Vec<String> {
        let Some(Call { client: Some(client), effects, .. }) = self.call.as_deref() else {
            return Vec::new();
        };
        let rooms = effects.rooms(client.rooms());
        rooms.iter().map(|name| name.to_string()).collect()
    }

    async fn count(&mut self, room: String) -> u32 {
        self.count_everywhere(Group::Room(&room)).await
    }

    async fn members(&mut self, room: String, after: Option<String>, limit: u32) -> Vec<String> {
        self.page_of_members(Group::Room(&room), after, limit).await
    }

    fn broadcast_to_room(
        &mut self,
        room: String,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        let to = Recipients::Room(checked(room)?);
        self.broadcast(to, kind, &data, parsed(skip))
    }

    fn broadcast_to_rooms(
        &mut self,
        rooms: Vec<String>,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        check_rooms(rooms.len())?;
        let to = Recipients::Rooms(rooms.into_iter().map(checked).collect::<Result<_, _>>()?);
        self.broadcast(to, kind, &data, parsed(skip))
    }

    fn broadcast_to_all(
        &mut self,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        self.broadcast(Recipients::Everyone, kind, &data, parsed(skip))
    }

    fn send_to(&mut self, to: String, kind: Kind, data: Vec<u8>) -> Result<(), Error> {
        let to = self.connected(&to)?;
        let frame = self.encode(kind, &data)?;
        Ok(self.record(Effect::SendTo(to, frame))?)
    }

    fn disconnect(&mut self, id: String, code: u16, reason: String) -> Result<(), Error> {
        let id = self.connected(&id)?;
        let close = Close::new(code, reason)?;
        Ok(self.record(Effect::Disconnect(id, Box::new(close)))?)
    }
}

impl InstanceState {
    /// Records a broadcast.
    pub(super) fn broadcast(
        &mut self,
        to: Recipients,
        kind: Kind,
        data: &[u8],
        except: Option<ConnectionId>,
    ) -> Result<(), Error> {
        let frame = self.encode(kind, data)?;
        Ok(self.record(Effect::Broadcast { to, frame, except, kept: None })?)
    }

    /// Returns this event's change of its own connection's membership of a room or a user.
    pub(super) fn own_change(&self, group: Group<'_>) -> Option<bool> {
        let effects = &self.call.as_ref()?.effects;
        let client = self.client()?;
        let (becomes, is) = match group {
            Group::Room(room) => (effects.membership(room)?, client.is_in(room)),
            Group::User(user) => {
                let is = client.user().is_some_and(|current| &*current == user);
                (&**effects.identity()? == user, is)
            }
        };
        (becomes != is).then_some(becomes)
    }

    /// Returns the id of an open connection of the channel. The event's own may still be connecting.
    pub(super) fn connected(&mut self, text: &str) -> Result<ConnectionId, CallRefusal> {
        self.call()?;
        let own = self.client().map(|client| client.id);
        match ConnectionId::parse(text) {
            Some(id) if Some(id) == own => Ok(self.own()?.client.id),
            Some(id) if self.channel.hub.is_connected(id) => Ok(id),
            _ => Err(CallRefusal::UnknownConnection { id: Shown::id(text) }),
        }
    }

    /// Returns the number of members of a room or a user on all nodes, with this event's change of its own
    /// connection.
    pub(super) async fn count_everywhere(&mut self, group: Group<'_>) -> u32 {
        let hub = self.channel.hub.clone();
        if hub.is_shared() {
            hub.ask(group).await;
        }
        let committed = hub.count_everywhere(group);
        let count = match self.own_change(group) {
            Some(true) => committed + 1,
            Some(false) => committed.saturating_sub(1),
            None => committed,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns a page of the members of a room or a user, with this event's change of its own
    /// connection.
    pub(super) async fn page_of_members(
        &mut self,
        group: Group<'_>,
        after: Option<String>,
        limit: u32,
    ) -> Vec<String> {
        let limit = limit.min(MAX_PAGE) as usize;
        let after = match after.as_deref().map(ConnectionId::parse) {
            // A page after text that is not an id has no beginning.
            Some(None) => return Vec::new(),
            Some(after) => after,
            None => None,
        };
        let hub = self.channel.hub.clone();
        let mut ids = hub.members_everywhere(group, after, limit.saturating_add(1)).await;
        if let (Some(joined), Some(client)) = (self.own_change(group), self.client()) {
            let own = client.id;
            ids.retain(|id| *id != own);
            if joined && after.is_none_or(|after| own > after) {
                let at = ids.partition_point(|id| *id < own);
                ids.insert(at, own);
            }
        }
        ids.truncate(limit);
        ids.iter().map(ConnectionId::to_string).collect()
    }
}

/// Returns a room's name, checked.
pub(super) fn checked(name: String) -> Result<Arc<str>, CallRefusal> {
    check_room(&name)?;
    Ok(Arc::from(name))
}

/// Parses the id of a connection to skip. Text that is not an id skips none.
pub(super) fn parsed(skip: Option<String>) -> Option<ConnectionId> {
    ConnectionId::parse(skip.as_deref()?)
}
