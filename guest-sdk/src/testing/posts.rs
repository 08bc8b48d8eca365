//! The posted events of the fake host, and its timers: a queue of events that are still to run, and
//! a clock that only tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wharf_contract::CallRefusal;
use wharf_contract::effects::MAX_HOPS;
use wharf_contract::fault::TooBig;
use wharf_contract::limits::event_charge;
use wharf_contract::names::{check_reference, check_room, check_timer};
use wharf_contract::timers::{Times, whole_milliseconds};

use crate::error::HostError;
use crate::timers::Timer;

use super::effects::Effect;
use super::run::{Happening, end_disconnected, event, failed, failure, handle, panicked, run};
use super::world::{Phase, Shared, World};

/// The receiver of an event, or the owner of a timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Connection(u64),
    Room(String),
    Channel,
}

/// The connection whose handler posted an event.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) number: u64,
    /// Its user at that time.
    pub(crate) user: Option<String>,
    /// The `ref` of the message that was handled, as JSON.
    pub(crate) reference: Option<String>,
}

/// An event that is still to run.
#[derive(Debug, Clone)]
pub(crate) enum Post {
    Event { cause: Option<Cause>, payload: Vec<u8>, hops: u8 },
    Timer(Timer),
}

/// A timer that is set.
pub(crate) struct SetTimer {
    due: Duration,
    /// Number of the setting, which orders the timers that fall due at one instant.
    number: u64,
    interval: Option<Duration>,
    payload: Vec<u8>,
}

pub(crate) type Timers = BTreeMap<(Scope, String), SetTimer>;

/// The waiting events of one inbox.
#[derive(Clone, Copy, Default)]
struct Waiting {
    events: usize,
    bytes: usize,
    /// Their charge among all events of the channel.
    charge: usize,
}

impl Waiting {
    fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
        self.charge += event_charge(bytes);
    }
}

/// Checks of posts and timers.
impl World {
    /// Checks the conditions of every post.
    fn check_post(&self, bytes: usize, callback: &'static str) -> Result<(), CallRefusal> {
        self.check_payload(bytes)?;
        self.plugin.exports.check(callback)?;
        match self.event.as_ref().is_some_and(|event| event.hops >= MAX_HOPS) {
            true => Err(CallRefusal::TooManyHops),
            false => Ok(()),
        }
    }

    fn check_payload(&self, bytes: usize) -> Result<(), CallRefusal> {
        let limit = self.limits.max_payload_bytes;
        match bytes <= limit {
            true => Ok(()),
            false => Err(CallRefusal::PayloadTooBig { bytes, limit }),
        }
    }

    /// Returns the waiting events of the receivers that are meant, with those of this event.
    fn waiting(&self, is_meant: impl Fn(&Scope) -> bool) -> Waiting {
        let mut waiting = Waiting::default();
        for (scope, post) in &self.posts {
            if let Post::Event { payload, cause, .. } = post
                && is_meant(scope)
            {
                let reference = cause.as_ref().and_then(|cause| cause.reference.as_ref());
                waiting.add(payload.len() + reference.map_or(0, String::len));
            }
        }
        for effect in self.event.iter().flat_map(|event| &event.effects) {
            match effect {
                Effect::Post(to, payload) if is_meant(to) => {
                    waiting.add(self.posted_bytes(payload));
                }
                Effect::PostToSeveral { to, payload, .. } => {
                    let meant = to.iter().filter(|number| is_meant(&Scope::Connection(**number)));
                    meant.for_each(|_| waiting.add(self.posted_bytes(payload)));
                }
                _ => {}
            }
        }
        waiting
    }

    /// Returns the bytes that a post of this event takes in an inbox: its payload, and the `ref` that it
    /// carries on.
    fn posted_bytes(&self, payload: &[u8]) -> usize {
        let reference = self.event.as_ref().and_then(|event| event.reference.as_ref());
        payload.len() + reference.map_or(0, String::len)
    }

    /// Checks that a notice fits into a connection's inbox.
    fn check_inbox(&self, number: u64, bytes: usize) -> Result<(), CallRefusal> {
        let limits = (self.limits.inbox_events, self.limits.inbox_bytes);
        let waiting = self.waiting(|scope| *scope == Scope::Connection(number));
        fits(waiting, bytes, limits, "inbox_events, inbox_bytes")
    }

    /// Checks that an event fits into a room's inbox, and into those of all rooms.
    fn check_room_inbox(&self, room: &Scope, bytes: usize) -> Result<(), CallRefusal> {
        let of_all_rooms = self.waiting(|scope| matches!(scope, Scope::Room(_)));
        let limit = self.limits.max_channel_inbox_bytes;
        if of_all_rooms.charge.saturating_add(event_charge(bytes)) > limit {
            return Err(CallRefusal::ChannelInboxFull { bytes: limit });
        }
        let limits = (self.limits.room_inbox_events, self.limits.room_inbox_bytes);
        let waiting = self.waiting(|scope| scope == room);
        fits(waiting, bytes, limits, "room_inbox_events, room_inbox_bytes")
    }

    /// Checks that a room may have data.
    fn check_room_states(&self, room: &str) -> Result<(), CallRefusal> {
        let room_of = |scope: &Scope| match scope {
            Scope::Room(room) => Some(room.clone()),
            _ => None,
        };
        let mut rooms: BTreeSet<String> = self.room_states.keys().cloned().collect();
        rooms.extend(self.timers.keys().filter_map(|(scope, _)| room_of(scope)));
        rooms.extend(self.posts.iter().filter_map(|(scope, _)| room_of(scope)));
        for effect in self.event.iter().flat_map(|event| &event.effects) {
            match effect {
                Effect::Post(scope, _) | Effect::SetTimer { scope, .. } => {
                    rooms.extend(room_of(scope));
                }
                _ => {}
            }
        }
        let limit = self.limits.max_room_states;
        match rooms.contains(room) || rooms.len() < limit {
            true => Ok(()),
            false => Err(CallRefusal::TooManyRoomStates { limit }),
        }
    }

    pub(crate) fn notify(&mut self, to: &str, payload: &[u8]) -> Result<(), HostError> {
        self.check_post(payload.len(), "on_notify")?;
        let number = self.find(to)?;
        self.check_inbox(number, self.posted_bytes(payload))?;
        Ok(self.record(Effect::Post(Scope::Connection(number), payload.to_vec()))?)
    }

    pub(crate) fn notify_room(
        &mut self,
        room: &str,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, HostError> {
        check_room(room)?;
        Ok(self.notify_all(self.members(room), payload, skip)?)
    }

    pub(crate) fn notify_user(
        &mut self,
        user: &str,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, HostError> {
        self.must_be_online(user)?;
        Ok(self.notify_all(self.connections_of(user), payload, skip)?)
    }

    /// Posts to several. Those whose inbox is full are closed, and the others get the notice.
    fn notify_all(
        &mut self,
        members: BTreeSet<u64>,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, CallRefusal> {
        self.check_post(payload.len(), "on_notify")?;
        let skip = skip.and_then(|skip| self.number(skip));
        let bytes = self.posted_bytes(payload);
        let members = members.into_iter().filter(|number| Some(*number) != skip);
        let (to, full): (Vec<u64>, Vec<u64>) =
            members.partition(|number| self.check_inbox(*number, bytes).is_ok());
        let count = to.len() as u32;
        self.record(Effect::PostToSeveral { to, full, payload: payload.to_vec() })?;
        Ok(count)
    }

    pub(crate) fn post(&mut self, room: &str, payload: &[u8]) -> Result<(), HostError> {
        check_room(room)?;
        self.check_post(payload.len(), "on_room_event")?;
        self.check_room_states(room)?;
        let to = Scope::Room(room.to_owned());
        self.check_room_inbox(&to, self.posted_bytes(payload))?;
        Ok(self.record(Effect::Post(to, payload.to_vec()))?)
    }

    /// Returns the committed state of a room.
    pub(crate) fn read_room(&self, room: &str) -> Result<Option<Vec<u8>>, HostError> {
        check_room(room)?;
        Ok(self.room_states.get(room).cloned())
    }

    /// Names the `ref` of the message that is handled.
    pub(crate) fn set_reference(&mut self, reference: &str) -> Result<(), HostError> {
        check_reference(reference)?;
        if let Some(event) = &mut self.event {
            event.reference = Some(reference.to_owned());
        }
        Ok(())
    }

    /// Returns the `ref` of the message that has led to the event.
    pub(crate) fn reference(&self) -> Option<String> {
        let event = self.event.as_ref()?;
        event.reference.clone().or_else(|| event.cause.as_ref()?.reference.clone())
    }

    /// Returns the milliseconds until a timer fires, as the event makes it.
    pub(crate) fn timer_remaining(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<u64>, HostError> {
        if let Scope::Room(room) = &scope {
            check_room(room)?;
        }
        check_timer(name)?;
        let effects = self.event.iter().flat_map(|event| event.effects.iter().rev());
        for effect in effects {
            match effect {
                Effect::SetTimer { scope: of, name: set, delay, .. }
                    if *of == scope && set == name =>
                {
                    return Ok(Some(whole_milliseconds(*delay)));
                }
                Effect::CancelTimer { scope: of, name: cancelled }
                    if *of == scope && cancelled == name =>
                {
                    return Ok(None);
                }
                _ => {}
            }
        }
        let timer = self.timers.get(&(scope, name.to_owned()));
        Ok(timer.map(|timer| whole_milliseconds(timer.due.saturating_sub(self.now))))
    }

    pub(crate) fn set_timer(
        &mut self,
        scope: Scope,
        name: &str,
        (delay_ms, repeat_ms): (u64, Option<u64>),
        payload: &[u8],
    ) -> Result<(), HostError> {
        if let Scope::Room(room) = &scope {
            check_room(room)?;
        }
        let limits = self.limits;
        let (callback, limit, setting) = match &scope {
            Scope::Connection(_) => {
                ("on_timer", limits.max_timers_per_connection, "max_timers_per_connection")
            }
            Scope::Room(_) => ("on_room_timer", limits.max_timers_per_room, "max_timers_per_room"),
            Scope::Channel => {
                ("on_channel_timer", limits.max_timers_per_channel, "max_timers_per_channel")
            }
        };
        self.plugin.exports.check(callback)?;
        if let Scope::Connection(_) = scope {
            self.open_event()?;
        }
        let Times { delay, interval } = Times::read(delay_ms, repeat_ms)?;
        if let Scope::Room(room) = &scope {
            self.check_room_states(room)?;
        }
        check_timer(name)?;
        self.check_payload(payload.len())?;
        let names = self.timer_names(&scope);
        if names.len() >= limit && !names.contains(name) {
            return Err(CallRefusal::TooManyTimers { limit, setting }.into());
        }
        let limit = limits.max_channel_state_bytes;
        if self.timer_bytes().saturating_add(payload.len()) > limit {
            return Err(CallRefusal::TimersTooBig { limit }.into());
        }
        let name = name.to_owned();
        let effect = Effect::SetTimer { scope, name, delay, interval, payload: payload.to_vec() };
        Ok(self.record(effect)?)
    }

    /// Returns the names of the timers that are set, as this event changes them.
    fn timer_names(&self, scope: &Scope) -> BTreeSet<String> {
        let set = self.timers.keys().filter(|(of, _)| of == scope);
        let mut names: BTreeSet<String> = set.map(|(_, name)| name.clone()).collect();
        for effect in self.event.iter().flat_map(|event| &event.effects) {
            match effect {
                Effect::SetTimer { scope: of, name, .. } if of == scope => {
                    names.insert(name.clone());
                }
                Effect::CancelTimer { scope: of, name } if of == scope => {
                    names.remove(name);
                }
                _ => {}
            }
        }
        names
    }

    /// Returns the size of all timers' payloads in bytes, including those that have fired and wait.
    fn timer_bytes(&self) -> usize {
        let fired = self.posts.iter().map(|(_, post)| match post {
            Post::Timer(timer) => timer.bytes(),
            Post::Event { .. } => 0,
        });
        self.timers.values().map(|timer| timer.payload.len()).chain(fired).sum()
    }

    pub(crate) fn cancel_timer(&mut self, scope: Scope, name: &str) -> Result<(), HostError> {
        match &scope {
            Scope::Connection(_) => drop(self.open_event()?),
            Scope::Room(room) => check_room(room)?,
            Scope::Channel => {}
        }
        check_timer(name)?;
        Ok(self.record(Effect::CancelTimer { scope, name: name.to_owned() })?)
    }
}

/// Checks that one more event fits into an inbox.
fn fits(
    waiting: Waiting,
    more: usize,
    (events, bytes): (usize, usize),
    settings: &'static str,
) -> Result<(), CallRefusal> {
    match waiting.events >= events || waiting.bytes.saturating_add(more) > bytes {
        true => Err(CallRefusal::InboxFull { events, bytes, settings }),
        false => Ok(()),
    }
}

/// Commits, and the time.
impl World {
    /// Returns a room's new state, if it is within its limits.
    fn kept(&self, room: &str, state: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, TooBig> {
        let Some(new) = &state else { return Ok(None) };
        TooBig::check_room_state(new.len(), self.limits.max_room_state_bytes)?;
        let others = self.room_states.iter().filter(|(name, _)| *name != room);
        let others: usize = others.map(|(_, state)| state.len()).sum();
        let limit = self.limits.max_channel_state_bytes;
        match others.saturating_add(new.len()) <= limit {
            true => Ok(state),
            false => Err(TooBig::ChannelState { limit }),
        }
    }

    /// Starts a committed timer.
    pub(crate) fn start_timer(
        &mut self,
        scope: Scope,
        name: String,
        delay: Duration,
        interval: Option<Duration>,
        payload: Vec<u8>,
    ) {
        self.stop_timer(scope.clone(), name.clone());
        self.last_timer += 1;
        let (due, number) = (self.now + delay, self.last_timer);
        self.timers.insert((scope, name), SetTimer { due, number, interval, payload });
    }

    /// Cancels a timer, and a firing that waits.
    pub(crate) fn stop_timer(&mut self, scope: Scope, name: String) {
        self.posts.retain(|(of, post)| {
            !matches!(post, Post::Timer(timer) if *of == scope && timer.name() == name)
        });
        self.timers.remove(&(scope, name));
    }

    /// Drops a connection's events, which can no longer be handled.
    pub(crate) fn forget_posts(&mut self, number: u64) {
        let scope = Scope::Connection(number);
        self.posts.retain(|(of, _)| *of != scope);
        self.timers.retain(|(of, _), _| *of != scope);
    }

    /// Moves the clock to the next timer that falls due by `until`, and lets it fire.
    fn fire_next(&mut self, until: Duration) -> bool {
        let next = self.timers.iter().min_by_key(|(_, timer)| (timer.due, timer.number));
        let Some((key, timer)) = next.filter(|(_, timer)| timer.due <= until) else {
            return false;
        };
        let (key, due, interval) = (key.clone(), timer.due, timer.interval);
        let fired = Timer::new(key.1.clone(), timer.payload.clone());
        self.now = self.now.max(due);
        match interval {
            Some(interval) => {
                if let Some(timer) = self.timers.get_mut(&key) {
                    timer.due = due + interval;
                }
            }
            None => drop(self.timers.remove(&key)),
        }
        self.posts.push_back((key.0, Post::Timer(fired)));
        true
    }
}

/// Ends the connections that others closed, and runs posted events, and those that they post, until
/// nothing waits.
pub(crate) fn settle(world: &Shared) {
    if std::mem::replace(&mut world.borrow_mut().is_settling, true) {
        // The caller that runs already finds the new events.
        return;
    }
    loop {
        end_disconnected(world);
        let next = world.borrow_mut().posts.pop_front();
        let Some((scope, post)) = next else {
            match tell_presence(world) {
                true => continue,
                false => break,
            }
        };
        match scope {
            Scope::Connection(number) => {
                let happening = match post {
                    Post::Event { cause, payload, hops } => Happening::Notice(cause, payload, hops),
                    Post::Timer(timer) => Happening::Timer(timer),
                };
                handle(world, number, happening);
            }
            Scope::Room(room) => run_room(world, room, post),
            Scope::Channel => {
                if let Post::Timer(timer) = post {
                    let on_timer = world.borrow().plugin.on_channel_timer;
                    match event(world, Phase::Detached, 0, || on_timer(timer)) {
                        Ok(()) => drop(world.borrow_mut().commit()),
                        Err(panic) => {
                            drop(failed(world, "on_channel_timer", &panicked(&*panic)));
                        }
                    }
                }
            }
        }
    }
    world.borrow_mut().is_settling = false;
}

/// Tells the channel the next change of a presence list. Returns true if there was one.
fn tell_presence(world: &Shared) -> bool {
    let next = world.borrow_mut().presence_events.pop_front();
    let Some((room, sequence, joins, leaves)) = next else { return false };
    let on_presence = world.borrow().plugin.on_presence;
    match event(world, Phase::Detached, 0, || on_presence(room, sequence, joins, leaves)) {
        Ok(()) => drop(world.borrow_mut().commit()),
        Err(panic) => drop(failed(world, "on_presence", &panicked(&*panic))),
    }
    true
}

/// Runs an event of a room: its state and its effects commit together.
fn run_room(world: &Shared, room: String, post: Post) {
    let (plugin, state) = {
        let world = world.borrow();
        (world.plugin, world.room_states.get(&room).cloned())
    };
    let (name, outcome) = match post {
        Post::Event { cause, payload, hops } => ("on_room_event", {
            world.borrow_mut().begin_posted(Phase::Detached, 0, cause, hops);
            run(world, || (plugin.on_room_event)(room.clone(), state.as_deref(), &payload))
        }),
        Post::Timer(timer) => ("on_room_timer", {
            event(world, Phase::Detached, 0, || {
                (plugin.on_room_timer)(room.clone(), state.as_deref(), timer)
            })
        }),
    };
    let outcome = match outcome {
        Ok(state) => world.borrow().kept(&room, state).map_err(|too_big| failure(&too_big)),
        Err(panic) => Err(panicked(&*panic)),
    };
    match outcome {
        Ok(state) => {
            let mut world = world.borrow_mut();
            if let Some(state) = state {
                world.room_states.insert(room, state);
            }
            world.commit();
        }
        Err(detail) => drop(failed(world, name, &detail)),
    }
}

/// Advances the clock: timers fire when they are due, and their effects happen before the next.
pub(crate) fn advance(world: &Shared, by: Duration) {
    let until = world.borrow().now.saturating_add(by);
    loop {
        // The first due event happens first, timers before presence.
        let presence = world.borrow().next_presence();
        let fired = world.borrow_mut().fire_next(presence.unwrap_or(until).min(until));
        if !fired && world.borrow_mut().pass_presence(until).is_none() {
            break;
        }
        settle(world);
    }
    world.borrow_mut().now = until;
}
