//! `wharf:channel/rooms`: memberships and broadcasts.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::wharf::channel::rooms::Host;
use super::bindings::wharf::channel::types::{Error, Kind, Remedy};

use super::{Call, ConnectionHandle, Own, checked_close, cut, escape, fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::effects::Effect;
use wharf_hub::outbound::Outbound;
use wharf_hub::recipients::Recipients;
use wharf_hub::room::{Room, check_name};

/// Rooms that one broadcast may name.
const MAX_ROOMS_PER_BROADCAST: usize = 256;
/// Bytes of an id that is none that an error repeats.
pub(super) const MAX_SHOWN_BYTES: usize = 64;
/// Members on one page.
pub(super) const MAX_PAGE: u32 = 1000;

impl Host for InstanceState {
    fn join(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let name = checked(room)?;
        let limit = self.channel.config.max_rooms_per_connection;
        let Own { client, effects, .. } = self.own()?;
        let is_in = effects.membership(&name).unwrap_or_else(|| client.is_in(&name));
        if is_in {
            return Ok(());
        }
        if effects.rooms(client.rooms()).len() >= limit {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-rooms",
                format!("a connection may be in {limit} rooms (max_rooms_per_connection)"),
            ));
        }
        self.record(Effect::Join(name))
    }

    fn leave(&mut self, _: Resource<ConnectionHandle>, room: String) -> Result<(), Error> {
        let name = checked(room)?;
        self.own()?;
        self.record(Effect::Leave(name))
    }

    fn joined(&mut self, _: Resource<ConnectionHandle>) -> Vec<String> {
        let Some(Call { client: Some(client), effects, .. }) = &self.call else {
            return Vec::new();
        };
        let rooms = effects.rooms(client.rooms());
        rooms.iter().map(|name| name.to_string()).collect()
    }

    fn count(&mut self, room: String) -> u32 {
        let members = self.channel.hub.rooms.get(&room);
        self.count_members(members, self.own_change(&room))
    }

    fn members(&mut self, room: String, after: Option<String>, limit: u32) -> Vec<String> {
        let members = self.channel.hub.rooms.get(&room);
        self.page_of_members(members, self.own_change(&room), after, limit)
    }

    fn broadcast_to_room(
        &mut self,
        room: String,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        let to = Recipients::Room(checked(room)?);
        self.broadcast(to, kind, &data, skip)
    }

    fn broadcast_to_rooms(
        &mut self,
        rooms: Vec<String>,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        if rooms.len() > MAX_ROOMS_PER_BROADCAST {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-rooms",
                format!("a broadcast names at most {MAX_ROOMS_PER_BROADCAST} rooms"),
            ));
        }
        let to = Recipients::Rooms(rooms.into_iter().map(checked).collect::<Result<_, _>>()?);
        self.broadcast(to, kind, &data, skip)
    }

    fn broadcast_to_all(
        &mut self,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        self.broadcast(Recipients::Everyone, kind, &data, skip)
    }

    fn send_to(&mut self, to: String, kind: Kind, data: Vec<u8>) -> Result<(), Error> {
        let outbound = self.outbound_of(&to)?;
        let frame = self.encode(kind, &data)?;
        self.record(Effect::SendTo(outbound, frame))
    }

    fn disconnect(&mut self, id: String, code: u16, reason: String) -> Result<(), Error> {
        let outbound = self.outbound_of(&id)?;
        let close = checked_close(code, reason)?;
        self.record(Effect::Disconnect(outbound, Box::new(close)))
    }
}

impl InstanceState {
    /// Records a broadcast.
    pub(super) fn broadcast(
        &mut self,
        to: Recipients,
        kind: Kind,
        data: &[u8],
        skip: Option<String>,
    ) -> Result<(), Error> {
        let frame = self.encode(kind, data)?;
        self.record(Effect::Broadcast { to, frame, except: parsed(skip) })
    }

    /// What this event's own joins and leaves change about its connection's membership.
    pub(super) fn own_change(&self, room: &str) -> Option<bool> {
        let membership = self.call.as_ref()?.effects.membership(room)?;
        (membership != self.client()?.is_in(room)).then_some(membership)
    }

    /// Where a connection of the channel may be written to; the event's own may be still connecting.
    pub(super) fn outbound_of(&mut self, id: &str) -> Result<Arc<Outbound>, Error> {
        self.call()?;
        let own = self.client().map(|client| client.id);
        let outbound = match ConnectionId::parse(id) {
            Some(id) if Some(id) == own => Some(self.own()?.client.outbound.clone()),
            Some(id) => self.channel.hub.find(id),
            None => None,
        };
        outbound.ok_or_else(|| unknown_connection(id))
    }

    /// How many members a room or user has, with what this event changes about its own connection.
    pub(super) fn count_members(&self, room: Option<Arc<Room>>, own: Option<bool>) -> u32 {
        let committed = room.map_or(0, |room| room.count());
        let count = match own {
            Some(true) => committed + 1,
            Some(false) => committed.saturating_sub(1),
            None => committed,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A page of the members of a room or user, with what this event changes about its own
    /// connection.
    pub(super) fn page_of_members(
        &self,
        room: Option<Arc<Room>>,
        own: Option<bool>,
        after: Option<String>,
        limit: u32,
    ) -> Vec<String> {
        let limit = limit.min(MAX_PAGE) as usize;
        let after = match after.as_deref().map(ConnectionId::parse) {
            // A page after an id that is none of ours has no beginning.
            Some(None) => return Vec::new(),
            Some(after) => after,
            None => None,
        };
        let mut ids = match room {
            Some(room) => room.page(after, limit.saturating_add(1)),
            None => Vec::new(),
        };
        if let (Some(joined), Some(client)) = (own, self.client()) {
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

/// The error for an id that is no open connection's.
pub(super) fn unknown_connection(id: &str) -> Error {
    let id = escape(cut(id, MAX_SHOWN_BYTES));
    let detail = format!("{id} is no open connection of this channel");
    refused(Remedy::Gone, "unknown-connection", detail)
}

/// A room's name, if it is one.
pub(super) fn checked(name: String) -> Result<Arc<str>, Error> {
    match check_name(&name) {
        Ok(()) => Ok(Arc::from(name)),
        Err(error) => Err(fix_call("room-name-invalid", error.to_string())),
    }
}

/// Reads the id of a connection to skip. Text that is no id skips nobody.
pub(super) fn parsed(skip: Option<String>) -> Option<ConnectionId> {
    ConnectionId::parse(skip.as_deref()?)
}
