//! `wharf:channel/timers`: timers of the event's connection, of rooms, and of the channel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::bindings::wharf::channel::timers::Host;
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::notices::check_handled;
use super::rooms::checked;
use super::{ConnectionHandle, fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::Effect;
use wharf_hub::inbox::{Addressee, Scope};
use wharf_hub::timer::{MAX_DELAY, MAX_NAME_BYTES, MIN_INTERVAL, NewTimer};

impl Host for InstanceState {
    fn set(
        &mut self,
        _: Resource<ConnectionHandle>,
        name: String,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        check_handled(self.handlers.timers, "on_timer", "timer-events")?;
        let client = self.own()?.client;
        let (scope, to) = (Scope::Connection(client.id), client.outbound.clone());
        let limit = (self.channel.config.max_timers_per_connection, "max_timers_per_connection");
        let times = times(delay_ms, repeat_ms)?;
        self.set_timer(scope, name, times, payload, to, limit)
    }

    fn cancel(&mut self, _: Resource<ConnectionHandle>, name: String) -> Result<(), Error> {
        let scope = Scope::Connection(self.own()?.client.id);
        self.cancel_timer(scope, name)
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
        check_handled(self.handlers.rooms, "on_room_timer", "room-events")?;
        let times = times(delay_ms, repeat_ms)?;
        let to = self.room_inbox(&room)?;
        let limit = (self.channel.config.max_timers_per_room, "max_timers_per_room");
        self.set_timer(Scope::Room(room), name, times, payload, to, limit)
    }

    fn cancel_for_room(&mut self, room: String, name: String) -> Result<(), Error> {
        let room = checked(room)?;
        self.cancel_timer(Scope::Room(room), name)
    }

    fn set_for_channel(
        &mut self,
        name: String,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        let handled = self.handlers.channel_timers;
        check_handled(handled, "on_channel_timer", "channel-timer-events")?;
        let times = times(delay_ms, repeat_ms)?;
        let to = self.channel.hub.channel_inbox();
        let limit = (self.channel.config.max_timers_per_channel, "max_timers_per_channel");
        self.set_timer(Scope::Channel, name, times, payload, to, limit)
    }

    fn cancel_for_channel(&mut self, name: String) -> Result<(), Error> {
        self.cancel_timer(Scope::Channel, name)
    }
}

/// When a timer fires first, and how often from then on.
type Times = (Duration, Option<Duration>);

impl InstanceState {
    fn set_timer(
        &mut self,
        scope: Scope,
        name: String,
        (delay, interval): Times,
        payload: Vec<u8>,
        to: Arc<dyn Addressee>,
        (limit, setting): (usize, &str),
    ) -> Result<(), Error> {
        let name = timer_name(name)?;
        self.check_payload(payload.len())?;
        let names = self.channel.hub.timer_names(&scope);
        let names = self.call()?.effects.timers(&scope, names);
        if names.len() >= limit && !names.contains(&name) {
            let detail = format!("{limit} timers are set already ({setting})");
            return Err(refused(Remedy::ShedLoad, "too-many-timers", detail));
        }
        let max_bytes = self.channel.config.max_channel_state_bytes;
        if self.channel.hub.timer_bytes().saturating_add(payload.len()) > max_bytes {
            let detail = format!("all timers carry {max_bytes} bytes (max_channel_state_bytes)");
            return Err(refused(Remedy::ShedLoad, "too-many-timers", detail));
        }
        let payload = Bytes::from(payload);
        let timer = NewTimer { scope, name, delay, interval, payload, to };
        self.record(Effect::SetTimer(Box::new(timer)))
    }

    fn cancel_timer(&mut self, scope: Scope, name: String) -> Result<(), Error> {
        let name = timer_name(name)?;
        self.record(Effect::CancelTimer(Box::new((scope, name))))
    }
}

fn timer_name(name: String) -> Result<Arc<str>, Error> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(Arc::from(name)),
        length => Err(fix_call(
            "timer-name-invalid",
            format!("a timer's name has 1 to {MAX_NAME_BYTES} bytes, this one has {length}"),
        )),
    }
}

fn times(delay_ms: u64, repeat_ms: Option<u64>) -> Result<Times, Error> {
    // A handler that sets its timer again with no delay would run forever.
    let delay = Duration::from_millis(delay_ms).max(MIN_INTERVAL);
    let interval = repeat_ms.map(Duration::from_millis);
    let is_allowed = delay <= MAX_DELAY
        && interval.is_none_or(|interval| (MIN_INTERVAL..=MAX_DELAY).contains(&interval));
    if is_allowed {
        return Ok((delay, interval));
    }
    Err(fix_call(
        "timer-interval-invalid",
        format!(
            "a timer fires after at most {} days, and again after {} ms at least",
            MAX_DELAY.as_secs() / (24 * 60 * 60),
            MIN_INTERVAL.as_millis()
        ),
    ))
}
