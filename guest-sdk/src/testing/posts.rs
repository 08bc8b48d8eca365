//! What the fake host's handlers post for others, and its timers: a queue of events that are still to
//! run, and a clock that only tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{HostError, Remedy};
use crate::timers::Timer;

use super::effects::{Effect, refused, room_name};
use super::run::{Happening, end_disconnected, event, failed, handle, panicked, run};
use super::world::{Phase, Shared, World};

/// Notices and room events that may lead to one another.
const MAX_HOPS: u8 = 16;
/// The longest name of a timer, in bytes.
const MAX_TIMER_NAME_BYTES: usize = 64;
/// The longest delay and the shortest interval of a timer.
const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Whose event it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Connection(u64),
    Room(String),
    Channel,
}

/// An event that is still to run.
#[derive(Debug, Clone)]
pub(crate) enum Post {
    Event { from: Option<u64>, payload: Vec<u8>, hops: u8 },
    Timer(Timer),
}

/// A timer that is set.
pub(crate) struct SetTimer {
    due: Duration,
    interval: Option<Duration>,
    payload: Vec<u8>,
}

pub(crate) type Timers = BTreeMap<(Whose, String), SetTimer>;

impl World {
    /// Check what every post has to fulfil, and how many events may wait for one addressee.
    fn check_post(
        &self,
        bytes: usize,
        is_handled: bool,
        handler: &str,
        to: &[Whose],
        limit: usize,
    ) -> Result<(), HostError> {
        self.check_payload(bytes)?;
        check_handled(is_handled, handler)?;
        if self.event.as_ref().is_some_and(|event| event.hops >= MAX_HOPS) {
            return Err(refused(
                Remedy::FixCall,
                "too-many-hops",
                format!("{MAX_HOPS} notices and room events led here, one causing the next"),
            ));
        }
        let effects = self.event.iter().flat_map(|event| &event.effects);
        let own: Vec<&Whose> = effects
            .flat_map(|effect| match effect {
                Effect::Post { to, .. } => to.iter(),
                _ => [].iter(),
            })
            .collect();
        for to in to {
            let waiting = self.posts.iter().filter(|(whose, _)| whose == to).count();
            let recorded = own.iter().filter(|whose| **whose == to).count();
            if waiting + recorded >= limit {
                let detail = format!("{limit} events wait to be handled there");
                return Err(refused(Remedy::RetryLater, "inbox-full", detail));
            }
        }
        Ok(())
    }

    fn check_payload(&self, bytes: usize) -> Result<(), HostError> {
        let limit = self.limits.max_payload_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let detail = format!("{bytes} bytes; max_payload_bytes is {limit}");
        Err(refused(Remedy::ShedLoad, "payload-too-big", detail))
    }

    pub(crate) fn notify(&mut self, to: &str, payload: &[u8]) -> Result<(), HostError> {
        let to = vec![Whose::Connection(self.find(to)?)];
        self.post_to(to, payload, self.plugin.exports.notices, "on_notify")
    }

    pub(crate) fn notify_room(
        &mut self,
        room: &str,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, HostError> {
        let members = self.members(&room_name(room)?);
        self.notify_all(members, payload, skip)
    }

    pub(crate) fn notify_user(
        &mut self,
        user: &str,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, HostError> {
        self.must_be_online(user)?;
        let connections = self.connections_of(user);
        self.notify_all(connections, payload, skip)
    }

    fn notify_all(
        &mut self,
        members: BTreeSet<u64>,
        payload: &[u8],
        skip: Option<&str>,
    ) -> Result<u32, HostError> {
        let skip = skip.and_then(|skip| self.number(skip));
        let members = members.into_iter().filter(|number| Some(*number) != skip);
        let to: Vec<Whose> = members.map(Whose::Connection).collect();
        let count = to.len() as u32;
        self.post_to(to, payload, self.plugin.exports.notices, "on_notify")?;
        Ok(count)
    }

    pub(crate) fn post(&mut self, room: &str, payload: &[u8]) -> Result<(), HostError> {
        let to = vec![Whose::Room(room_name(room)?)];
        self.post_to(to, payload, self.plugin.exports.rooms, "on_room_event")
    }

    fn post_to(
        &mut self,
        to: Vec<Whose>,
        payload: &[u8],
        is_handled: bool,
        handler: &str,
    ) -> Result<(), HostError> {
        let limit = match to.first() {
            Some(Whose::Room(_)) => self.limits.room_inbox_events,
            _ => self.limits.inbox_events,
        };
        self.check_post(payload.len(), is_handled, handler, &to, limit)?;
        self.record(Effect::Post { to, payload: payload.to_vec() }, payload.len())
    }

    pub(crate) fn set_timer(
        &mut self,
        whose: Whose,
        name: &str,
        (delay_ms, repeat_ms): (u64, Option<u64>),
        payload: &[u8],
    ) -> Result<(), HostError> {
        let exports = self.plugin.exports;
        let (is_handled, handler, limit) = match &whose {
            Whose::Connection(_) => {
                self.open_event()?;
                (exports.timers, "on_timer", self.limits.max_timers_per_connection)
            }
            Whose::Room(name) => {
                room_name(name)?;
                (exports.rooms, "on_room_timer", self.limits.max_timers_per_room)
            }
            Whose::Channel => {
                (exports.channel_timers, "on_channel_timer", self.limits.max_timers_per_channel)
            }
        };
        check_handled(is_handled, handler)?;
        let name = timer_name(name)?;
        let (delay, interval) = times(delay_ms, repeat_ms)?;
        self.check_payload(payload.len())?;
        let mut names: Vec<&String> =
            self.timers.keys().filter(|(of, _)| *of == whose).map(|(_, name)| name).collect();
        for effect in self.event.iter().flat_map(|event| &event.effects) {
            match effect {
                Effect::SetTimer { whose: of, name, .. }
                    if *of == whose && !names.contains(&name) =>
                {
                    names.push(name);
                }
                Effect::CancelTimer { whose: of, name } if *of == whose => {
                    names.retain(|known| *known != name);
                }
                _ => {}
            }
        }
        if names.len() >= limit && !names.contains(&&name) {
            let detail = format!("{limit} timers are set already");
            return Err(refused(Remedy::ShedLoad, "too-many-timers", detail));
        }
        let effect = Effect::SetTimer { whose, name, delay, interval, payload: payload.to_vec() };
        self.record(effect, payload.len())
    }

    pub(crate) fn cancel_timer(&mut self, whose: Whose, name: &str) -> Result<(), HostError> {
        let name = timer_name(name)?;
        self.record(Effect::CancelTimer { whose, name }, 0)
    }

    /// A committed timer starts to run.
    pub(crate) fn start_timer(
        &mut self,
        whose: Whose,
        name: String,
        delay: Duration,
        interval: Option<Duration>,
        payload: Vec<u8>,
    ) {
        self.stop_timer(whose.clone(), name.clone());
        self.timers.insert((whose, name), SetTimer { due: self.now + delay, interval, payload });
    }

    /// Cancel a timer, and a firing that waits.
    pub(crate) fn stop_timer(&mut self, whose: Whose, name: String) {
        self.posts.retain(|(of, post)| {
            !matches!(post, Post::Timer(timer) if *of == whose && timer.name() == name)
        });
        self.timers.remove(&(whose, name));
    }

    /// Nobody is left to handle a connection's events.
    pub(crate) fn forget_posts(&mut self, number: u64) {
        let whose = Whose::Connection(number);
        self.posts.retain(|(of, _)| *of != whose);
        self.timers.retain(|(of, _), _| *of != whose);
    }

    /// Move the clock to the next timer that falls due by `until`, and let it fire.
    fn fire_next(&mut self, until: Duration) -> bool {
        let next = self.timers.iter().min_by_key(|(_, timer)| timer.due);
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

fn check_handled(is_handled: bool, handler: &str) -> Result<(), HostError> {
    if is_handled {
        return Ok(());
    }
    let detail = format!("this plugin has no handler for it: write `{handler}` in its channel");
    Err(refused(Remedy::FixCall, "no-handler", detail))
}

fn timer_name(name: &str) -> Result<String, HostError> {
    match name.len() {
        1..=MAX_TIMER_NAME_BYTES => Ok(name.to_owned()),
        length => Err(refused(
            Remedy::FixCall,
            "timer-name-invalid",
            format!("a timer's name has 1 to {MAX_TIMER_NAME_BYTES} bytes, this one has {length}"),
        )),
    }
}

fn times(delay_ms: u64, repeat_ms: Option<u64>) -> Result<(Duration, Option<Duration>), HostError> {
    let delay = Duration::from_millis(delay_ms).max(MIN_INTERVAL);
    let interval = repeat_ms.map(Duration::from_millis);
    let is_allowed = delay <= MAX_DELAY
        && interval.is_none_or(|interval| (MIN_INTERVAL..=MAX_DELAY).contains(&interval));
    if is_allowed {
        return Ok((delay, interval));
    }
    Err(refused(
        Remedy::FixCall,
        "timer-interval-invalid",
        "a timer fires after at most 366 days, and again after 10 ms at least",
    ))
}

/// End what was closed from elsewhere, run what was posted, and what that posts, until nothing waits.
pub(crate) fn settle(world: &Shared) {
    if std::mem::replace(&mut world.borrow_mut().is_settling, true) {
        // Whoever is at it already finds what was added.
        return;
    }
    loop {
        end_disconnected(world);
        let next = world.borrow_mut().posts.pop_front();
        let Some((whose, post)) = next else {
            match tell_presence(world) {
                true => continue,
                false => break,
            }
        };
        match whose {
            Whose::Connection(number) => {
                let happening = match post {
                    Post::Event { from, payload, hops } => Happening::Notice(from, payload, hops),
                    Post::Timer(timer) => Happening::Timer(timer),
                };
                handle(world, number, happening);
            }
            Whose::Room(room) => run_room(world, room, post),
            Whose::Channel => {
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

/// Tell the channel of the next change of who is present. Whether there was one.
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

/// Run an event of a room: its state and its effects commit together.
fn run_room(world: &Shared, room: String, post: Post) {
    let (plugin, state) = {
        let world = world.borrow();
        (world.plugin, world.room_states.get(&room).cloned())
    };
    let (name, outcome) = match post {
        Post::Event { from, payload, hops } => ("on_room_event", {
            world.borrow_mut().begin_posted(Phase::Detached, 0, from, hops);
            run(world, || (plugin.on_room_event)(room.clone(), state.as_deref(), &payload))
        }),
        Post::Timer(timer) => ("on_room_timer", {
            event(world, Phase::Detached, 0, || {
                (plugin.on_room_timer)(room.clone(), state.as_deref(), timer)
            })
        }),
    };
    let limit = world.borrow().limits.max_room_state_bytes;
    match outcome {
        Ok(Some(state)) if state.len() > limit => {
            let detail = format!(
                "returned a state of {} bytes, more than max_room_state_bytes",
                state.len()
            );
            drop(failed(world, name, &detail));
        }
        Ok(state) => {
            let mut world = world.borrow_mut();
            if let Some(state) = state {
                world.room_states.insert(room, state);
            }
            world.commit();
        }
        Err(panic) => drop(failed(world, name, &panicked(&*panic))),
    }
}

/// Let time pass: timers fire when it is theirs, and what they cause runs before the next.
pub(crate) fn advance(world: &Shared, by: Duration) {
    let until = world.borrow().now.saturating_add(by);
    loop {
        // What is due first happens first, timers before presence.
        let presence = world.borrow().next_presence();
        let fired = world.borrow_mut().fire_next(presence.unwrap_or(until).min(until));
        if !fired && world.borrow_mut().pass_presence(until).is_none() {
            break;
        }
        settle(world);
    }
    world.borrow_mut().now = until;
}
