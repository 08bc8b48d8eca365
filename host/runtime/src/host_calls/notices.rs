//! `wharf:channel/notices` and `room-posts`: events that a handler causes for others.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::wharf::channel::notices::Host as NoticesHost;
use super::bindings::wharf::channel::room_posts::Host as RoomPostsHost;
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::rooms::{checked, parsed, unknown_connection};
use super::{fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::Effect;
use wharf_hub::inbox::{Addressee, InboxLimits, MAX_HOPS, NoPlace, Place};
use wharf_hub::recipients::Group;

impl NoticesHost for InstanceState {
    fn notify(&mut self, to: String, payload: Vec<u8>) -> Result<(), Error> {
        self.check_post(payload.len(), self.handlers.notices, "on_notify", "notice-events")?;
        let id = self.connected(&to)?;
        let limits = self.channel.inbox_limits();
        let place = match self.client() {
            // It may still be connecting.
            Some(own) if own.id == id => Place::take(own.outbound.clone(), payload.len(), limits),
            _ => self.channel.hub.notice_place(id, payload.len(), limits),
        };
        let place = place.map_err(|why| match why {
            NoPlace::Closed => unknown_connection(&to),
            _ => inbox_full(why, limits, "inbox_events, inbox_bytes"),
        })?;
        self.record(Effect::Post(place, Bytes::from(payload)))
    }

    async fn notify_room(
        &mut self,
        room: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let name = checked(room)?;
        self.notify_all(Group::Room(&name), payload, skip).await
    }

    async fn notify_user(
        &mut self,
        user: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let user = self.online_user(user)?;
        self.notify_all(Group::User(&user), payload, skip).await
    }
}

impl RoomPostsHost for InstanceState {
    fn post(&mut self, room: String, payload: Vec<u8>) -> Result<(), Error> {
        let name = checked(room)?;
        self.check_post(payload.len(), self.handlers.rooms, "on_room_event", "room-events")?;
        let room = self.room_inbox(&name)?;
        let limits = self.channel.room_inbox_limits();
        let place = Place::take(room, payload.len(), limits)
            .map_err(|why| inbox_full(why, limits, "room_inbox_events, room_inbox_bytes"))?;
        self.record(Effect::Post(place, Bytes::from(payload)))
    }
}

impl InstanceState {
    /// Posts to the members of a room or the connections of a user, as this event makes them.
    async fn notify_all(
        &mut self,
        to: Group<'_>,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        self.check_post(payload.len(), self.handlers.notices, "on_notify", "notice-events")?;
        let (skip, limits, hub) =
            (parsed(skip), self.channel.inbox_limits(), self.channel.hub.clone());
        // Before so many inboxes are looked at.
        self.call()?.effects.check_deliveries(hub.count(to)).map_err(|_| self.too_many())?;
        let own_change = self.own_change(to);
        let own = match own_change {
            Some(_) => Some(self.own()?.client.clone()),
            None => None,
        };
        let except: Vec<_> = own.as_ref().map(|own| own.id).into_iter().chain(skip).collect();
        let mut posting = hub.notice_places(to, &except, payload.len(), limits).await;
        if let Some(own) = own
            && own_change == Some(true)
            && skip != Some(own.id)
        {
            posting.take_place(own.outbound.clone(), payload.len(), limits);
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

    /// Returns the inbox of a room.
    pub(super) fn room_inbox(&self, name: &Arc<str>) -> Result<Arc<dyn Addressee>, Error> {
        let limit = self.channel.config.max_room_states;
        self.channel.hub.room_inbox(name, limit).map_err(|_| {
            refused(
                Remedy::ShedLoad,
                "too-many-room-states",
                format!("{limit} rooms have events, state or timers (max_room_states)"),
            )
        })
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

/// The error for an inbox that has no place. A room's inbox is never closed.
fn inbox_full(why: NoPlace, limits: InboxLimits, settings: &str) -> Error {
    let detail = match why {
        NoPlace::FullTogether => format!(
            "{} bytes wait to be handled in the channel's rooms (max_channel_inbox_bytes)",
            limits.bytes_together
        ),
        NoPlace::Full | NoPlace::Closed => format!(
            "{} events or {} bytes wait to be handled there ({settings})",
            limits.events, limits.bytes
        ),
    };
    refused(Remedy::RetryLater, "inbox-full", detail)
}
