//! `wharf:channel/timers`: timers of the event's connection, of rooms, and of the channel.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::ConnectionHandle;
use super::bindings::wharf::channel::timers::Host;
use super::bindings::wharf::channel::types::Error;
use super::notices::inbox_full;
use super::rooms::checked;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::check_timer;
use wharf_contract::timers::{Times, whole_milliseconds};
use wharf_hub::effects::Effect;
use wharf_hub::inbox::{Addressee, NoPlace, Scope};
use wharf_hub::timer::NewTimer;

impl Host for InstanceState {
    fn set(
        &mut self,
        _: Resource<ConnectionHandle>,
        name: String,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        self.exports.check("on_timer")?;
        let client = self.own()?.client;
        let (scope, to) = (Scope::Connection(client.id), client.outbound.clone());
        let limit = (self.channel.config.max_timers_per_connection, "max_timers_per_connection");
        let times = Times::read(delay_ms, repeat_ms)?;
        Ok(self.set_timer(scope, name, times, payload, to, limit)?)
    }

    fn cancel(&mut self, _: Resource<ConnectionHandle>, name: String) -> Result<(), Error> {
        let scope = Scope::Connection(self.own()?.client.id);
        Ok(self.cancel_timer(scope, name)?)
    }

    fn remaining(
        &mut self,
        _: Resource<ConnectionHandle>,
        name: String,
    ) -> Result<Option<u64>, Error> {
        // A connection that has ended has no timers.
        let client = self.client().ok_or(CallRefusal::NoEvent)?;
        let scope = Scope::Connection(client.id);
        Ok(self.remaining_ms(scope, name)?)
    }

    fn set_for_room(
        &mut self,
        room: String,
        name: String,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        let room = checked(room)?;
        self.exports.check("on_room_timer")?;
        let times = Times::read(delay_ms, repeat_ms)?;
        let to = self.room_inbox(&room)?;
        let limit = (self.channel.config.max_timers_per_room, "max_timers_per_room");
        Ok(self.set_timer(Scope::Room(room), name, times, payload, to, limit)?)
    }

    fn cancel_for_room(&mut self, room: String, name: String) -> Result<(), Error> {
        let room = checked(room)?;
        if self.channel.hub.has_owners() {
            // The change goes through the inbox of the room.
            self.room_inbox(&room)?;
        }
        Ok(self.cancel_timer(Scope::Room(room), name)?)
    }

    async fn remaining_for_room(
        &mut self,
        room: String,
        name: String,
    ) -> Result<Option<u64>, Error> {
        let room = checked(room)?;
        Ok(self.remaining_ms_everywhere(Scope::Room(room), name).await?)
    }

    fn set_for_channel(
        &mut self,
        name: String,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        self.exports.check("on_channel_timer")?;
        let times = Times::read(delay_ms, repeat_ms)?;
        let to = self.channel.hub.channel_inbox();
        let limit = (self.channel.config.max_timers_per_channel, "max_timers_per_channel");
        Ok(self.set_timer(Scope::Channel, name, times, payload, to, limit)?)
    }

    fn cancel_for_channel(&mut self, name: String) -> Result<(), Error> {
        Ok(self.cancel_timer(Scope::Channel, name)?)
    }

    async fn remaining_for_channel(&mut self, name: String) -> Result<Option<u64>, Error> {
        Ok(self.remaining_ms_everywhere(Scope::Channel, name).await?)
    }
}

impl InstanceState {
    fn set_timer(
        &mut self,
        scope: Scope,
        name: String,
        Times { delay, interval }: Times,
        payload: Vec<u8>,
        to: Arc<dyn Addressee>,
        (limit, setting): (usize, &'static str),
    ) -> Result<(), CallRefusal> {
        let name = timer_name(name)?;
        self.check_payload(payload.len())?;
        if !matches!(scope, Scope::Connection(_))
            && let Some(why) = self.channel.hub.record_failure()
        {
            return Err(CallRefusal::DataUnavailable { why: why.to_string() });
        }
        let (before, was_set) = self.channel.hub.count_timers(&scope, &name);
        let before = before + self.channel.hub.waiting_timer_changes(&scope);
        let effects = &self.call()?.effects;
        let is_new = !effects.timer(&scope, &name).unwrap_or(was_set);
        if is_new && effects.timer_count(&scope, before) >= limit {
            return Err(CallRefusal::TooManyTimers { limit, setting });
        }
        let max_bytes = self.channel.config.max_channel_state_bytes;
        if self.channel.hub.timer_bytes().saturating_add(payload.len()) > max_bytes {
            return Err(CallRefusal::TimersTooBig { limit: max_bytes });
        }
        let payload = Bytes::from(payload);
        let counted = is_new.then(|| scope.clone());
        let (record, replaces) = (0, 0);
        let timer = NewTimer { record, replaces, scope, name, delay, interval, payload, to };
        self.record(Effect::SetTimer(Box::new(timer)))?;
        if let Some(scope) = counted {
            self.call()?.effects.count_timer(scope, 1);
        }
        Ok(())
    }

    /// Returns the time until a timer fires, as the event makes it.
    fn remaining_ms(&mut self, scope: Scope, name: String) -> Result<Option<u64>, CallRefusal> {
        let name = timer_name(name)?;
        let effects = &self.call()?.effects;
        let remaining = match effects.timer(&scope, &name) {
            Some(true) => effects.timer_delay(&scope, &name),
            Some(false) => None,
            None => self.channel.hub.remaining(&scope, &name),
        };
        Ok(remaining.map(whole_milliseconds))
    }

    /// Returns the same of a timer of a room or the channel, which another host may have.
    async fn remaining_ms_everywhere(
        &mut self,
        scope: Scope,
        name: String,
    ) -> Result<Option<u64>, CallRefusal> {
        let hub = self.channel.hub.clone();
        let checked = timer_name(name.clone())?;
        let is_changed = self.call()?.effects.timer(&scope, &checked).is_some();
        if is_changed || !hub.has_owners() {
            return self.remaining_ms(scope, name);
        }
        let remaining = hub.remaining_everywhere(&scope, &checked).await;
        let remaining =
            remaining.map_err(|why| CallRefusal::DataUnavailable { why: why.to_string() })?;
        Ok(remaining.map(whole_milliseconds))
    }

    fn cancel_timer(&mut self, scope: Scope, name: String) -> Result<(), CallRefusal> {
        let name = timer_name(name)?;
        let waiting = self.channel.hub.waiting_timer_changes(&scope);
        if waiting >= self.channel.config.room_inbox_events {
            let limits = self.channel.room_inbox_limits();
            return Err(inbox_full(NoPlace::Full, limits, "room_inbox_events, room_inbox_bytes"));
        }
        let (_, was_set) = self.channel.hub.count_timers(&scope, &name);
        let is_set = self.call()?.effects.timer(&scope, &name).unwrap_or(was_set);
        self.record(Effect::CancelTimer(Box::new((scope.clone(), name))))?;
        if is_set {
            self.call()?.effects.count_timer(scope, -1);
        }
        Ok(())
    }
}

fn timer_name(name: String) -> Result<Arc<str>, CallRefusal> {
    check_timer(&name)?;
    Ok(Arc::from(name))
}
