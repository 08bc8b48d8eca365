//! `wharf:channel/notices` and `room-posts`: events that a handler causes for others.

use std::sync::Arc;

use super::bindings::wharf::channel::notices::Host as NoticesHost;
use super::bindings::wharf::channel::room_posts::Host as RoomPostsHost;
use super::bindings::wharf::channel::types::Error;
use super::rooms::{checked, parsed};
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::effects::MAX_HOPS;
use wharf_contract::text::Shown;
use wharf_hub::client_bytes;
use wharf_hub::effects::Effect;
use wharf_hub::inbox::{Addressee, InboxLimits, NoPlace, Place};
use wharf_hub::peers::NoticeFor;
use wharf_hub::recipients::Group;

impl NoticesHost for InstanceState {
    fn notify(&mut self, to: String, payload: Vec<u8>) -> Result<(), Error> {
        self.check_post(payload.len(), "on_notify")?;
        let id = self.connected(&to)?;
        if id.local_number().is_none() {
            let elsewhere = Box::new(NoticeFor::Connection(id));
            return Ok(
                self.record(Effect::PostElsewhere(elsewhere, client_bytes::shared(payload)))?
            );
        }
        let limits = self.channel.inbox_limits();
        let bytes = self.posted_bytes(&payload);
        let place = match self.client() {
            // The connection may still be connecting.
            Some(own) if own.id == id => Place::take(own.outbound.clone(), bytes, limits),
            _ => self.channel.hub.notice_place(id, bytes, limits),
        };
        let place = place.map_err(|why| match why {
            NoPlace::Closed => CallRefusal::UnknownConnection { id: Shown::id(&to) },
            _ => inbox_full(why, limits, "inbox_events, inbox_bytes"),
        })?;
        Ok(self.record(Effect::Post(place, client_bytes::shared(payload)))?)
    }

    async fn notify_room(
        &mut self,
        room: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let name = checked(room)?;
        Ok(self.notify_all(Group::Room(&name), payload, skip).await?)
    }

    async fn notify_user(
        &mut self,
        user: String,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, Error> {
        let user = self.online_user(user).await?;
        Ok(self.notify_all(Group::User(&user), payload, skip).await?)
    }
}

impl RoomPostsHost for InstanceState {
    fn post(&mut self, room: String, payload: Vec<u8>) -> Result<(), Error> {
        let name = checked(room)?;
        self.check_post(payload.len(), "on_room_event")?;
        let room = self.room_inbox(&name)?;
        let limits = self.channel.room_inbox_limits();
        let place = Place::take(room, self.posted_bytes(&payload), limits)
            .map_err(|why| inbox_full(why, limits, "room_inbox_events, room_inbox_bytes"))?;
        Ok(self.record(Effect::Post(place, client_bytes::shared(payload)))?)
    }

    async fn read(&mut self, room: String) -> Result<Option<Vec<u8>>, Error> {
        let name = checked(room)?;
        self.call()?;
        let state = match self.channel.hub.has_owners() {
            true => {
                let read = self.channel.hub.room_state_everywhere(&name).await;
                read.map_err(|why| CallRefusal::DataUnavailable { why: why.to_string() })?
            }
            false => self.channel.hub.room_state(&name),
        };
        Ok(state.map(|state| state.to_vec()))
    }
}

impl InstanceState {
    /// Posts to the members of a room or the connections of a user, as this event changes them.
    async fn notify_all(
        &mut self,
        to: Group<'_>,
        payload: Vec<u8>,
        skip: Option<String>,
    ) -> Result<u32, CallRefusal> {
        self.check_post(payload.len(), "on_notify")?;
        let (skip, limits, hub) =
            (parsed(skip), self.channel.inbox_limits(), self.channel.hub.clone());
        // This check comes before the look at so many inboxes.
        let effect_limits = super::effect_limits(&self.channel.config);
        self.call()?.effects.check_deliveries(hub.count(to), effect_limits)?;
        let own_change = self.own_change(to);
        let own = match own_change {
            Some(_) => Some(self.own()?.client.clone()),
            None => None,
        };
        let except: Vec<_> = own.as_ref().map(|own| own.id).into_iter().chain(skip).collect();
        let bytes = self.posted_bytes(&payload);
        let mut posting = hub.notice_places(to, &except, bytes, limits).await;
        if let Some(own) = own
            && own_change == Some(true)
            && skip != Some(own.id)
        {
            posting.take_place(own.outbound.clone(), bytes, limits);
        }
        let mut count = posting.places.len();
        let payload = client_bytes::shared(payload);
        self.record(Effect::PostToSeveral(Box::new(posting), payload.clone()))?;
        if hub.is_shared() {
            // Those of other nodes are not known one by one: they may be fewer than are counted.
            hub.ask(to).await;
            count = count.saturating_add(hub.count_of_others(to));
            let except = skip.into_iter().collect();
            let elsewhere = match to {
                Group::Room(name) => NoticeFor::Room(Arc::from(name), except),
                Group::User(name) => NoticeFor::User(Arc::from(name), except),
            };
            self.record(Effect::PostElsewhere(Box::new(elsewhere), payload))?;
        }
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Returns the bytes that a post of this event takes in an inbox: its payload, and the `ref` that it
    /// carries on.
    fn posted_bytes(&self, payload: &[u8]) -> usize {
        let reference = self.call.as_ref().and_then(|call| call.effects.reference());
        payload.len() + reference.map_or(0, |reference| reference.len())
    }

    /// Checks the conditions of every post.
    fn check_post(&self, bytes: usize, callback: &'static str) -> Result<(), CallRefusal> {
        self.check_payload(bytes)?;
        self.exports.check(callback)?;
        match &self.call {
            None => Err(CallRefusal::NoEvent),
            Some(call) if call.hops >= MAX_HOPS => Err(CallRefusal::TooManyHops),
            Some(_) => Ok(()),
        }
    }

    /// Checks the size of the payload of a notice, a room event or a timer.
    pub(super) fn check_payload(&self, bytes: usize) -> Result<(), CallRefusal> {
        let limit = self.channel.config.max_payload_bytes;
        match bytes <= limit {
            true => Ok(()),
            false => Err(CallRefusal::PayloadTooBig { bytes, limit }),
        }
    }

    /// Returns the inbox of a room.
    pub(super) fn room_inbox(&self, name: &Arc<str>) -> Result<Arc<dyn Addressee>, CallRefusal> {
        let limit = self.channel.config.max_room_states;
        let inbox = self.channel.hub.room_inbox(name, limit);
        inbox.map_err(|_| CallRefusal::TooManyRoomStates { limit })
    }
}

/// Returns the refusal of an inbox that has no place. A room's inbox is never closed.
pub(super) fn inbox_full(why: NoPlace, limits: InboxLimits, settings: &'static str) -> CallRefusal {
    let InboxLimits { events, bytes, channel_bytes } = limits;
    match why {
        NoPlace::ChannelFull => CallRefusal::ChannelInboxFull { bytes: channel_bytes },
        NoPlace::Full | NoPlace::Closed => CallRefusal::InboxFull { events, bytes, settings },
    }
}
