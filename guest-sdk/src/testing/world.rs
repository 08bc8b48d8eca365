//! The fake host's tables and the event that is running: the semantics of the contract, without
//! sockets and without concurrency.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf_contract::close::Reason;
use wharf_contract::description::Description;
use wharf_contract::effects::{EffectLimits, Recorded};
use wharf_contract::hidden::HiddenTexts;
use wharf_contract::limits::Limits;
use wharf_contract::router::Router;

use crate::audience::{self, Audience};

use super::client::Received;
use super::effects::{Effect, Published};
use super::history::Histories;
use super::host::LogLine;
use super::host_calls::set_label;
use super::http::Http;
use super::limits::Limits as RateLimits;
use super::plugin::Plugin;
use super::posts::{Cause, Post, Scope, Timers};
use super::presence::{PresenceEvent, PresenceRooms};
use super::run::Ending;
use super::store::Store;

pub(crate) type Shared = Rc<RefCell<World>>;

pub(crate) struct World {
    pub(crate) plugin: Plugin,
    /// The paths of the plugin.
    pub(crate) router: Router<()>,
    pub(crate) generation: u64,
    pub(crate) limits: Limits,
    /// Settings of the operator, secrets included.
    pub(crate) settings: BTreeMap<String, String>,
    /// Names of the secrets among them.
    pub(crate) secrets: BTreeSet<String>,
    /// Texts that no line shows.
    pub(crate) hidden: HiddenTexts,
    /// Valid tokens, with their claims.
    pub(crate) tokens: BTreeMap<String, String>,
    /// A client came with claims, so that there are rules for tokens.
    pub(crate) has_claims: bool,
    pub(crate) connections: BTreeMap<u64, Record>,
    /// Channels to whose rooms this one may publish, each with true if it is in service.
    pub(crate) publish_to: BTreeMap<String, bool>,
    pub(crate) published: Vec<Published>,
    pub(crate) log: Vec<LogLine>,
    /// Errors for the operator.
    pub(crate) errors: Vec<String>,
    /// Time since the fake host began; only tests move it.
    pub(crate) now: Duration,
    pub(crate) store: Store,
    pub(crate) rate_limits: RateLimits,
    pub(crate) http: Http,
    last_number: u64,
    /// Connections that others have closed, and that still have to be ended.
    pub(crate) disconnected: VecDeque<(u64, Ending)>,
    /// Events that are still to run.
    pub(crate) posts: VecDeque<(Scope, Post)>,
    pub(crate) is_settling: bool,
    pub(crate) presence: PresenceRooms,
    /// Calls of `on_presence` that are still to be made.
    pub(crate) presence_events: VecDeque<PresenceEvent>,
    pub(crate) timers: Timers,
    /// Number of the timer that was set last.
    pub(crate) last_timer: u64,
    pub(crate) room_states: BTreeMap<String, Vec<u8>>,
    pub(crate) histories: Histories,
    /// True once the code that serves has done its work before the first event.
    pub(crate) has_started: bool,
    /// Event that is running; `None` between events.
    pub(crate) event: Option<Event>,
}

/// A client's request.
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) remote_address: String,
    pub(crate) subprotocol: Option<String>,
    /// Claims of the token that the host would have checked; renewed at once.
    pub(crate) claims: RefCell<Option<String>>,
}

impl Request {
    pub(crate) fn id(&self) -> String {
        id(self.number)
    }
}

/// Returns the id of a number. It is zero-padded, so that the order of the texts is that of the
/// numbers.
pub(crate) fn id(number: u64) -> String {
    format!("test-{number:06}")
}

/// Returns the number in an id, if it is one of the fake host's.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let number = text.strip_prefix("test-")?.parse().ok()?;
    (id(number) == text).then_some(number)
}

/// One connection, from its acceptance on.
pub(crate) struct Record {
    pub(crate) request: Rc<Request>,
    pub(crate) session: Vec<u8>,
    /// Rooms in the order joined; kept when the connection ends.
    pub(crate) joined: Vec<String>,
    /// User; kept when the connection ends.
    pub(crate) user: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) is_open: bool,
    pub(crate) ending: Option<Reason>,
    pub(crate) inbox: VecDeque<Received>,
    /// Close frame that the client got.
    pub(crate) closed: Option<(u16, String)>,
    pub(crate) response_headers: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    Closing,
    /// An event without a connection.
    Detached,
}

/// The event that is running.
pub(crate) struct Event {
    pub(crate) phase: Phase,
    pub(crate) number: u64,
    /// Rooms of the connection when the event began, or at its last flush.
    pub(crate) committed: Vec<String>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) recorded: Recorded,
    pub(crate) close: Option<(u16, String)>,
    pub(crate) flushed_close: Option<(u16, String)>,
    pub(crate) response_headers: Vec<(String, Vec<u8>)>,
    /// Connection whose handler posted the event; `None` for other events.
    pub(crate) cause: Option<Cause>,
    /// The `ref` of the message that is handled, as JSON, if the handler has named it.
    pub(crate) reference: Option<String>,
    /// Number of notices and room events that led to it.
    pub(crate) hops: u8,
}

/// The work that is left once an event's effects have happened.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) close: Option<(u16, String)>,
}

impl World {
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self {
            router: router(plugin),
            plugin,
            generation: 1,
            limits: Limits::default(),
            settings: BTreeMap::new(),
            secrets: BTreeSet::new(),
            hidden: HiddenTexts::default(),
            tokens: BTreeMap::new(),
            has_claims: false,
            connections: BTreeMap::new(),
            publish_to: BTreeMap::new(),
            published: Vec::new(),
            log: Vec::new(),
            errors: Vec::new(),
            now: Duration::ZERO,
            store: Store::default(),
            rate_limits: RateLimits::default(),
            http: Http::default(),
            last_number: 0,
            disconnected: VecDeque::new(),
            posts: VecDeque::new(),
            is_settling: false,
            presence: PresenceRooms::default(),
            presence_events: VecDeque::new(),
            timers: Timers::new(),
            last_timer: 0,
            room_states: BTreeMap::new(),
            histories: Histories::default(),
            has_started: false,
            event: None,
        }
    }

    /// Serves other code, as the next generation.
    pub(crate) fn reload(&mut self, plugin: Plugin) {
        self.router = router(plugin);
        self.plugin = plugin;
        self.has_started = false;
        self.generation += 1;
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Begins an event; `number` is that of a connection unless the phase is `Detached`.
    pub(crate) fn begin(&mut self, phase: Phase, number: u64) {
        let committed = self.connections.get(&number).map(|c| c.joined.clone());
        self.event = Some(Event {
            phase,
            number,
            committed: committed.unwrap_or_default(),
            effects: Vec::new(),
            recorded: Recorded::default(),
            close: None,
            flushed_close: None,
            response_headers: Vec::new(),
            cause: None,
            reference: None,
            hops: 0,
        });
    }

    /// Begins an event that was posted.
    pub(crate) fn begin_posted(
        &mut self,
        phase: Phase,
        number: u64,
        cause: Option<Cause>,
        hops: u8,
    ) {
        self.begin(phase, number);
        if let Some(event) = &mut self.event {
            event.cause = cause;
            event.hops = hops;
        }
    }

    /// Ends an event without its effects, except what was flushed.
    pub(crate) fn abandon(&mut self) {
        if let Some(event) = self.event.take()
            && event.phase == Phase::Connecting
        {
            self.forget_limits(event.number);
        }
    }

    /// Ends an event, and performs its effects.
    pub(crate) fn commit(&mut self) -> Committed {
        self.apply();
        let Some(event) = self.event.take() else { return Committed::default() };
        if let Some(record) = self.connections.get_mut(&event.number)
            && event.phase == Phase::Connecting
        {
            record.response_headers = event.response_headers;
        }
        Committed { close: event.flushed_close.or(event.close) }
    }

    pub(crate) fn apply(&mut self) {
        let Some(event) = &mut self.event else { return };
        let (number, hops) = (event.number, event.hops + 1);
        let reference = event.reference.clone();
        let is_attached = event.phase != Phase::Detached;
        event.recorded = Recorded::default();
        for effect in std::mem::take(&mut event.effects) {
            let cause = is_attached.then(|| {
                let user = self.connections.get(&number).and_then(|record| record.user.clone());
                Cause { number, user, reference: reference.clone() }
            });
            match effect {
                Effect::Send(message) => self.deliver(number, message),
                Effect::SendTo(to, message) => self.deliver(to, message),
                Effect::Broadcast { to, message, skip } => {
                    self.keep_message(&to, &message);
                    for to in self.audience(&to).into_iter().filter(|to| Some(*to) != skip) {
                        self.deliver(to, message.clone());
                    }
                }
                Effect::Post(to, payload) => {
                    self.posts.push_back((to, Post::Event { cause, payload, hops }));
                }
                Effect::PostToSeveral { to, full, payload } => {
                    for number in to {
                        let (cause, payload) = (cause.clone(), payload.clone());
                        let post = Post::Event { cause, payload, hops };
                        self.posts.push_back((Scope::Connection(number), post));
                    }
                    for number in full {
                        self.disconnected.push_back((number, Ending::of_host(Reason::Overload)));
                    }
                }
                Effect::SetTimer { scope, name, delay, interval, payload } => {
                    self.start_timer(scope, name, delay, interval, payload);
                }
                Effect::CancelTimer { scope, name } => self.stop_timer(scope, name),
                Effect::Publish(published) => self.published.push(published),
                Effect::Join(room) => {
                    if let Some(record) = self.connections.get_mut(&number)
                        && !record.joined.contains(&room)
                    {
                        record.joined.push(room.clone());
                        for message in self.messages_for_newcomer(&room) {
                            self.deliver(number, message);
                        }
                    }
                }
                Effect::Leave(room) => {
                    if let Some(record) = self.connections.get_mut(&number) {
                        record.joined.retain(|joined| *joined != room);
                    }
                    self.leave_presence(&room, number);
                }
                Effect::Track { .. }
                | Effect::Untrack(_)
                | Effect::Watch(_)
                | Effect::Unwatch(_) => self.apply_presence(number, effect),
                Effect::Identify(user) => {
                    if let Some(record) = self.connections.get_mut(&number) {
                        record.user = Some(user);
                    }
                }
                Effect::SetLabel(name, value) => {
                    if let Some(record) = self.connections.get_mut(&number) {
                        set_label(&mut record.labels, &name, &value);
                    }
                }
                Effect::ClearLabel(name) => {
                    if let Some(record) = self.connections.get_mut(&number) {
                        record.labels.retain(|(known, _)| *known != name);
                    }
                }
                Effect::Disconnect(number, close) => {
                    self.disconnected.push_back((number, Ending::closed_by_channel(close)));
                }
                Effect::DisconnectUser(user, close) => {
                    for number in self.audience(&audience::to_user(user)) {
                        let ending = Ending::closed_by_channel(close.clone());
                        self.disconnected.push_back((number, ending));
                    }
                }
            }
        }
    }

    pub(crate) fn deliver(&mut self, to: u64, message: Received) {
        if let Some(record) = self.connections.get_mut(&to).filter(|record| record.is_open) {
            record.inbox.push_back(message);
        }
    }

    /// Returns the time of day in milliseconds since 1970, which tests move.
    pub(crate) fn unix_ms(&self) -> u64 {
        let since = (SystemTime::now() + self.now).duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the bounds of one event's effects.
    pub(crate) fn effect_limits(&self) -> EffectLimits {
        let Limits { max_effects_per_event, max_effect_bytes_per_event, .. } = self.limits;
        EffectLimits { count: max_effects_per_event, bytes: max_effect_bytes_per_event }
    }

    /// Returns the number of connections that a broadcast reaches at present. A connection in
    /// several rooms counts several times.
    pub(crate) fn reach(&self, effect: &Effect) -> usize {
        let open = || self.connections.values().filter(|record| record.is_open);
        let members = |room: &String| open().filter(|r| r.joined.contains(room)).count();
        let connections = |user: &String| open().filter(|r| r.user.as_ref() == Some(user)).count();
        match effect {
            Effect::Broadcast { to, .. } => {
                let named: usize = match to.everyone {
                    true => open().count(),
                    false => {
                        let rooms = to.rooms.iter().map(members);
                        rooms.chain(to.users.iter().map(connections)).sum()
                    }
                };
                named + to.except_users.iter().map(connections).sum::<usize>()
            }
            Effect::PostToSeveral { to, .. } => to.len(),
            _ => 0,
        }
    }

    fn audience(&self, to: &Audience) -> Vec<u64> {
        let open = self.connections.iter().filter(|(_, record)| record.is_open);
        let is_addressed = |number: u64, record: &Record| {
            let user = record.user.as_ref();
            let is_named = to.everyone
                || record.joined.iter().any(|room| to.rooms.contains(room))
                || user.is_some_and(|user| to.users.contains(user));
            is_named
                && !to.except.contains(&id(number))
                && !user.is_some_and(|user| to.except_users.contains(user))
                && to.labels.iter().all(|label| record.labels.contains(label))
        };
        open.filter(|(number, record)| is_addressed(**number, record))
            .map(|(number, _)| *number)
            .collect()
    }
}

/// Returns the paths of a plugin. Panics if no host would load it.
fn router(plugin: Plugin) -> Router<()> {
    let mut description = Description::default();
    plugin.paths.iter().for_each(|path| description.path((*path).to_owned()));
    plugin.subprotocols.iter().for_each(|name| description.subprotocol((*name).to_owned()));
    description
        .router()
        .unwrap_or_else(|problem| panic!("no host would load this channel: {problem}"))
}

impl Event {
    /// Returns the rooms of its connection, as its own joins and leaves make them.
    pub(crate) fn joined(&self) -> Vec<String> {
        let mut joined = self.committed.clone();
        for effect in &self.effects {
            match effect {
                Effect::Join(room) if !joined.contains(room) => joined.push(room.clone()),
                Effect::Leave(room) => joined.retain(|joined| joined != room),
                _ => {}
            }
        }
        joined
    }

    /// Returns the user of its connection, if the event identifies it.
    pub(crate) fn identity(&self) -> Option<String> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Identify(user) => Some(user.clone()),
            _ => None,
        })
    }
}
