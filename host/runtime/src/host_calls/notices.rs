//! `wharf:channel/notices` and `room-posts`: events that a handler causes for others.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::wharf::channel::notices::Host as NoticesHost;
use super::bindings::wharf::channel::room_posts::Host as RoomPostsHost;
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::rooms::{checked, parsed};
use super::{fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::{Effect, Posting};
use wharf_hub::inbox::{Addressee, InboxLimits, MAX_HOPS, NoPlace, Place};
use wharf_hub::room::Room;
use wharf_hub::room_state::RoomState;

impl NoticesHost for InstanceState {
    fn notify(&mut self, to: String, payload: Vec<u8>) -> Result<(), Error> {
        self.check_post(payload.len(), self.handlers.notices, "on_notify", "notice-events")?;
        let outbound = self.outbound_of(&to)?;
        let place = self.notice_place(outbound, payload.len())?;
        self.record(Effect::Post(place, Bytes::from(payload)))
    }

    fn notify_room(
        &mut self,
        room: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let name = checked(room)?;
        let members = self.channel.hub.rooms.get(&name);
        self.notify_all(members, self.own_change(&name), payload, skip)
    }

    fn notify_user(
        &mut self,
        user: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let user = self.online_user(user)?;
        let connections = self.channel.hub.users.get(&user);
        self.notify_all(connections, self.own_identification(&user), payload, skip)
    }
}

impl RoomPostsHost for InstanceState {
    fn post(&mut self, room: String, payload: Vec<u8>) -> Result<(), Error> {
        let name = checked(room)?;
        self.check_post(payload.len(), self.handlers.rooms, "on_room_event", "room-events")?;
        let room = self.room_state(&name)?;
        let limits = InboxLimits::of_room(&self.channel.config);
        let place = place(room, payload.len(), limits, "room_inbox_events, room_inbox_bytes")?;
        self.record(Effect::Post(place, Bytes::from(payload)))
    }
}

impl InstanceState {
    /// Post to the members of a room or the connections of a user. `own_change`
    /// is what this event changes about its own connection's being one of them.
    fn notify_all(
        &mut self,
        members: Option<Arc<Room>>,
        own_change: Option<bool>,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        self.check_post(payload.len(), self.handlers.notices, "on_notify", "notice-events")?;
        let mut members = members.map(|room| room.members()).unwrap_or_default();
        if let Some(is_one) = own_change {
            let own = self.own()?.client;
            members.retain(|(id, _)| *id != own.id);
            if is_one {
                members.push((own.id, own.outbound.clone()));
            }
        }
        let skip = parsed(skip);
        members.retain(|(id, _)| Some(*id) != skip);
        let limits = self.inbox_limits();
        let mut posting = Posting { places: Vec::with_capacity(members.len()), full: Vec::new() };
        for (_, outbound) in members {
            match Place::take(outbound.clone(), payload.len(), limits) {
                Ok(place) => posting.places.push(place),
                Err(NoPlace::Full | NoPlace::FullTogether) => posting.full.push(outbound),
                // It has ended since the room was looked at.
                Err(NoPlace::Closed) => {}
            }
        }
        let count = u32::try_from(posting.places.len()).unwrap_or(u32::MAX);
        self.record(Effect::PostToSeveral(Box::new(posting), Bytes::from(payload)))?;
        Ok(count)
    }

    /// Check what every post has to fulfil.
    fn check_post(
        &self,
        bytes: usize,
        is_handled: bool,
        handler: &str,
        interface: &str,
    ) -> Result<(), Error> {
        self.check_payload(bytes)?;
        check_handled(is_handled, handler, interface)?;
        match &self.call {
            None => Err(super::no_event()),
            Some(call) if call.hops >= MAX_HOPS => Err(fix_call(
                "too-many-hops",
                format!(
                    "{MAX_HOPS} notices and room events led here, one causing the next: handlers \
                     that answer each other do so forever"
                ),
            )),
            Some(_) => Ok(()),
        }
    }

    /// Check the size of what a notice, a room event or a timer carries.
    pub(super) fn check_payload(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.channel.config.max_payload_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let detail = format!("{bytes} bytes; max_payload_bytes is {limit}");
        Err(refused(Remedy::ShedLoad, "payload-too-big", detail))
    }

    /// What is kept for a room.
    pub(super) fn room_state(&self, name: &Arc<str>) -> Result<Arc<RoomState>, Error> {
        let limit = self.channel.config.max_room_states;
        self.channel.hub.states.open(name, limit).map_err(|_| {
            refused(
                Remedy::ShedLoad,
                "too-many-room-states",
                format!("{limit} rooms have events, state or timers (max_room_states)"),
            )
        })
    }

    fn notice_place(
        &self,
        to: Arc<wharf_hub::outbound::Outbound>,
        bytes: usize,
    ) -> Result<Place, Error> {
        place(to, bytes, self.inbox_limits(), "inbox_events, inbox_bytes")
    }

    /// What may wait for one connection.
    fn inbox_limits(&self) -> InboxLimits {
        InboxLimits::of_connection(&self.channel.config)
    }
}

/// Events need a handler: without one they would vanish.
pub(super) fn check_handled(is_handled: bool, handler: &str, interface: &str) -> Result<(), Error> {
    if is_handled {
        return Ok(());
    }
    let detail = format!(
        "this plugin does not export wharf:channel/{interface}: write `{handler}` in its channel"
    );
    Err(fix_call("no-handler", detail))
}

fn place(
    to: Arc<dyn Addressee>,
    bytes: usize,
    limits: InboxLimits,
    settings: &str,
) -> Result<Place, Error> {
    Place::take(to, bytes, limits).map_err(|why| match why {
        NoPlace::Full => refused(
            Remedy::RetryLater,
            "inbox-full",
            format!(
                "{} events or {} bytes wait to be handled there ({settings})",
                limits.events, limits.bytes
            ),
        ),
        NoPlace::FullTogether => refused(
            Remedy::RetryLater,
            "inbox-full",
            format!(
                "{} bytes wait to be handled in the channel's rooms (max_channel_inbox_bytes)",
                limits.bytes_together
            ),
        ),
        NoPlace::Closed => {
            refused(Remedy::Gone, "unknown-connection", "the connection has just ended")
        }
    })
}
