//! One wasmtime `Store` with a live guest: made, called, bounded, thrown away.
//!
//! An instance is a worker without memory of its own worth keeping. After a trap or a missed
//! deadline its store is poisoned; the pool drops it and makes another.

mod budget;
mod event;
mod limits;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use wasmtime::Store;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::epoch::EpochClock;
use crate::host_calls::bindings::exports::wharf::channel::lifecycle;
use crate::host_calls::{
    Call, ConnectionHandle, DescriptionHandle, GuestOutput, HandshakeHandle, Http, LogBudget,
    Stream, guest_clocks,
};
use crate::plugin::{Component, Parts};
use crate::ports::{GuestLine, Ports, TokenVerifier};
use wharf_config::{ChannelConfig, Config};
use wharf_contract::description::Description;
use wharf_contract::exports::Exports;
use wharf_contract::fault::{Fault, TooBig};
use wharf_contract::text::escape;
use wharf_hub::hub::{Channels, Hub};
use wharf_hub::inbox::InboxLimits;
use wharf_hub::store::Store as ChannelStore;

use budget::{Budget, CpuSpent, Meter, begin_budget, metered, on_epoch};
use limits::{Denied, Limits};

pub use budget::bounded;
pub use event::{Detached, Event, OutsideAnswer, OutsideRefusal};

/// Host-side handles (streams, pollables) that a guest may hold at a time, and entries of the
/// component model's own tables of them.
const MAX_HANDLES: usize = 1024;
/// Random bytes that a guest gets in one host call.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;
/// A function's name in a backtrace is not looked at beyond so many bytes, nor shown beyond
/// so many characters.
const MAX_NAME_BYTES: usize = 512;
const MAX_NAME_CHARS: usize = 200;

/// What all generations and instances of a channel share.
#[derive(Debug)]
pub struct ChannelContext {
    /// The channel's name.
    pub name: Arc<str>,
    /// Its connections and rooms.
    pub hub: Arc<Hub>,
    /// Those of all channels in service.
    pub channels: Arc<Channels>,
    /// Its key-value store.
    pub store: Arc<dyn ChannelStore>,
    /// The host's configuration.
    pub config: Arc<Config>,
    /// What the operator set for this channel.
    pub own: Arc<ChannelConfig>,
    /// The log lines it may still write.
    pub log_budget: LogBudget,
    /// The log lines that the host may still write about its failures: a channel that talks too
    /// much must not hide them.
    pub failure_budget: LogBudget,
    /// The right to one more outgoing HTTP request.
    pub http_requests: Arc<Semaphore>,
    /// Bytes of memory that its instances have together.
    pub memory_bytes: AtomicUsize,
    /// The instances of all channels.
    pub live: LiveInstances,
    /// The host's ports.
    pub ports: Ports,
}

impl ChannelContext {
    /// A text of the guest as a log shows it: its first `limit` bytes on one line, without the
    /// channel's secrets.
    pub fn shown(&self, text: &str, limit: usize) -> String {
        escape(&self.own.secrets.hide(text, limit))
    }

    /// Returns what may wait in the inbox of one connection.
    pub fn inbox_limits(&self) -> InboxLimits {
        let (events, bytes) = (self.config.inbox_events, self.config.inbox_bytes);
        InboxLimits { events, bytes, bytes_together: usize::MAX }
    }

    /// Returns what may wait in the inbox of one room, and in those of the channel's rooms together.
    pub fn room_inbox_limits(&self) -> InboxLimits {
        let (events, bytes) = (self.config.room_inbox_events, self.config.room_inbox_bytes);
        InboxLimits { events, bytes, bytes_together: self.config.max_channel_inbox_bytes }
    }

    /// Writes a guest's line, if it is wanted and the channel may still write one.
    pub fn log(&self, line: &GuestLine<'_>) {
        // Lines that nobody would see must not use up the budget of those that are.
        if self.ports.log.is_enabled(line.level) && self.log_budget.take() {
            self.ports.log.write(line);
        }
    }

    /// Returns the verifier of its clients' tokens, if any are checked.
    pub fn token_verifier(&self) -> Option<Arc<dyn TokenVerifier>> {
        self.ports.tokens.of_channel(&self.name)
    }
}

/// Counts the instances that there are, of all channels together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveInstances {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl LiveInstances {
    /// None yet, and room for `max`.
    pub fn new(max: usize) -> LiveInstances {
        LiveInstances { count: Arc::default(), max }
    }

    /// Whether all that live may stay.
    pub fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) <= self.max
    }

    fn add(&self) -> Live {
        self.count.fetch_add(1, Ordering::Relaxed);
        Live(self.count.clone())
    }
}

/// One of the instances counted, for as long as it is kept.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What host calls see of their instance.
pub struct InstanceState {
    /// The channel's shared parts.
    pub channel: Arc<ChannelContext>,
    /// The generation that this is an instance of.
    pub generation: u64,
    /// The event being handled.
    pub call: Option<Call>,
    /// What `describe` has said so far.
    pub description: Description,
    /// The optional exports that the plugin has.
    pub exports: Exports,
    /// Handles that the guest holds.
    pub table: ResourceTable,
    /// How many of them are audiences.
    pub audiences: usize,
    /// What WASI calls work on.
    pub wasi: WasiCtx,
    /// What outgoing HTTP works on, once the guest has made use of it.
    pub http: Option<Box<Http>>,
    limits: Limits,
    _live: Live,
}

impl fmt::Debug for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceState")
            .field("channel", &self.channel.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// How a guest refuses a connection.
pub type Refusal = lifecycle::Refusal;

/// What a finished guest call left behind: the event's effects, not yet committed, and what the
/// guest returned.
#[derive(Debug)]
pub struct Finished<R> {
    /// The event, with its effects.
    pub call: Call,
    /// The guest's answer.
    pub returned: R,
}

/// A guest call that came to nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of failure.
    pub kind: Fault,
    /// One line that says what happened.
    pub detail: String,
    /// The guest's functions at the time, innermost first; empty where it had none.
    pub backtrace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.token(), self.detail)
    }
}

impl From<TooBig> for Failure {
    fn from(too_big: TooBig) -> Failure {
        let detail = too_big.to_string();
        Failure { kind: too_big.fault(), detail, backtrace: String::new() }
    }
}

/// A live guest.
pub struct Instance {
    store: Store<InstanceState>,
    exports: Parts,
    meter: Arc<Meter>,
    clock: EpochClock,
    poisoned: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("state", self.store.data()).finish_non_exhaustive()
    }
}

impl Instance {
    /// Make an instance, within `start_budget_ms`.
    pub async fn start(
        component: &Component,
        channel: &Arc<ChannelContext>,
        generation: u64,
    ) -> Result<Instance, Failure> {
        let config = &channel.config;
        let meter = Arc::new(Meter::default());
        let state = InstanceState {
            channel: channel.clone(),
            generation,
            call: None,
            description: Description::default(),
            exports: component.exports(),
            table: ResourceTable::new(),
            audiences: 0,
            wasi: wasi(channel, generation),
            http: None,
            limits: Limits::new(channel, meter.clone()),
            _live: channel.live.add(),
        };
        let mut store = Store::new(component.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(config.hostcall_bytes);
        store.data_mut().table.set_max_capacity(MAX_HANDLES);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(on_epoch);
        let budget = Budget::start(config);
        begin_budget(&mut store, budget);
        let clock = component.clock().clone();
        let made = metered(&clock, &meter, budget.wall, component.instantiate(&mut store)).await;
        match made {
            Some(Ok(exports)) => Ok(Instance { store, exports, meter, clock, poisoned: false }),
            Some(Err(error)) => Err(failure(&store, &error)),
            None => Err(missed(budget)),
        }
    }

    /// Ask the guest what it is, within `start_budget_ms`.
    pub async fn describe(&mut self) -> Result<Description, Failure> {
        let budget = Budget::start(&self.store.data().channel.config);
        begin_budget(&mut self.store, budget);
        let lifecycle = &self.exports.lifecycle;
        let call = lifecycle.call_describe(&mut self.store, borrowed_description());
        let result = metered(&self.clock, &self.meter, budget.wall, call).await;
        self.check(result, budget)?;
        Ok(std::mem::take(&mut self.store.data_mut().description))
    }

    /// Run `on-connect`.
    pub async fn connect(
        &mut self,
        call: Call,
    ) -> Result<Finished<Result<Vec<u8>, Refusal>>, Failure> {
        let budget = self.begin(call);
        let (connection, handshake) = (borrowed_connection(), borrowed_handshake());
        let lifecycle = &self.exports.lifecycle;
        let call = lifecycle.call_on_connect(&mut self.store, connection, handshake);
        let result = metered(&self.clock, &self.meter, budget.wall, call).await;
        let returned = self.check(result, budget)?;
        if let Ok(session) = &returned {
            self.check_session(session.len())?;
        }
        self.finish(returned)
    }

    /// Run the handler of an event. The answer is the changed session, if it changed.
    pub async fn handle(
        &mut self,
        call: Call,
        session: &[u8],
        event: &Event<'_>,
    ) -> Result<Finished<Option<Vec<u8>>>, Failure> {
        let budget = self.begin(call);
        let call = event::dispatch(&self.exports, &mut self.store, session, event);
        let result = metered(&self.clock, &self.meter, budget.wall, call).await;
        let returned = self.check(result, budget)?;
        if let Some(session) = &returned {
            self.check_session(session.len())?;
        }
        self.finish(returned)
    }

    /// Run the handler of an event that no connection is part of. `state` is the room's. The answer is
    /// what it has become, if it changed.
    pub async fn handle_detached(
        &mut self,
        call: Call,
        state: Option<&[u8]>,
        event: &Detached<'_>,
    ) -> Result<Finished<Option<Vec<u8>>>, Failure> {
        let budget = self.begin(call);
        let call = event::dispatch_detached(&self.exports, &mut self.store, state, event);
        let result = metered(&self.clock, &self.meter, budget.wall, call).await;
        let returned = self.check(result, budget)?;
        self.finish(returned)
    }

    /// Run the handler of a message from outside; `None` if the plugin has none.
    pub async fn handle_outside(
        &mut self,
        call: Call,
        payload: &[u8],
    ) -> Result<Finished<Option<OutsideAnswer>>, Failure> {
        let budget = self.begin(call);
        let call = event::dispatch_outside(&self.exports, &mut self.store, payload);
        let result = metered(&self.clock, &self.meter, budget.wall, call).await;
        let returned = self.check(result, budget)?;
        self.finish(returned)
    }

    /// Returns the number of the generation that this is an instance of.
    pub fn generation(&self) -> u64 {
        self.store.data().generation
    }

    /// Whether the instance may serve another event. One that has trapped may not, and one whose
    /// memory has grown over half of what it may have is replaced before it fails.
    pub fn is_reusable(&self) -> bool {
        !self.poisoned && !self.store.data().limits.is_worn()
    }

    fn begin(&mut self, call: Call) -> Budget {
        let budget = Budget::event(&self.store.data().channel.config);
        begin_budget(&mut self.store, budget);
        self.store.data_mut().call = Some(call);
        // Set until the call has come back well: a call that is dropped half-way leaves it so.
        self.poisoned = true;
        budget
    }

    fn finish<R>(&mut self, returned: R) -> Result<Finished<R>, Failure> {
        self.poisoned = false;
        let state = self.store.data_mut();
        if let Some(http) = &mut state.http {
            http.end_event();
        }
        match state.call.take() {
            Some(call) => Ok(Finished { call, returned }),
            // `begin` has put it there and nothing else takes it.
            None => Err(Failure {
                kind: Fault::Trap,
                detail: "the event was lost".to_owned(),
                backtrace: String::new(),
            }),
        }
    }

    fn check<R>(
        &mut self,
        result: Option<wasmtime::Result<R>>,
        budget: Budget,
    ) -> Result<R, Failure> {
        match result {
            Some(Ok(returned)) => Ok(returned),
            Some(Err(error)) => {
                self.poisoned = true;
                Err(failure(&self.store, &error))
            }
            None => {
                self.poisoned = true;
                Err(missed(budget))
            }
        }
    }

    fn check_session(&self, bytes: usize) -> Result<(), Failure> {
        let limit = self.store.data().channel.config.max_session_bytes;
        Ok(TooBig::check_session(bytes, limit)?)
    }
}

fn borrowed_connection() -> Resource<ConnectionHandle> {
    Resource::new_borrow(0)
}

fn borrowed_handshake() -> Resource<HandshakeHandle> {
    Resource::new_borrow(0)
}

fn borrowed_description() -> Resource<DescriptionHandle> {
    Resource::new_borrow(0)
}

fn wasi(channel: &Arc<ChannelContext>, generation: u64) -> WasiCtx {
    let output = |stream| GuestOutput::new(channel.clone(), generation, stream);
    let mut builder = WasiCtxBuilder::new();
    builder.max_random_size(MAX_RANDOM_BYTES);
    guest_clocks(&mut builder, &channel.ports.clock);
    builder
        .stdout(output(Stream::Stdout))
        .stderr(output(Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

fn missed(budget: Budget) -> Failure {
    let Budget { wall, wall_key, .. } = budget;
    Failure {
        kind: Fault::Deadline,
        detail: format!("no answer within {wall:?}, waiting included ({wall_key})"),
        backtrace: String::new(),
    }
}

fn failure(store: &Store<InstanceState>, error: &wasmtime::Error) -> Failure {
    let limits = &store.data().limits;
    let kind = if error.is::<CpuSpent>() {
        Fault::Deadline
    } else if limits.memory_denied.is_some() {
        Fault::OutOfMemory
    } else {
        Fault::Trap
    };
    let cause = error.root_cause().to_string();
    let mut detail = store.data().channel.shown(&cause, usize::MAX);
    // The runtime has no type of its own for this one, and its text does not say what to do.
    if cause.contains("fuel allocated for hostcalls") {
        detail = format!(
            "more than {} bytes were passed at once, to the host or from it (hostcall_bytes); send and \
             store less at a time: {detail}",
            store.data().channel.config.hostcall_bytes
        );
    }
    if kind == Fault::OutOfMemory {
        let config = &store.data().channel.config;
        detail = match limits.memory_denied {
            Some(Denied::Channel) => format!(
                "all instances of the channel together asked for more than {} bytes of memory \
                 (max_channel_memory_bytes): {detail}",
                config.max_channel_memory_bytes
            ),
            _ => format!(
                "it asked for more than {} bytes of memory (max_memory_bytes): {detail}",
                config.max_memory_bytes
            ),
        };
    }
    Failure { kind, detail, backtrace: backtrace(error) }
}

/// The guest's functions, innermost first, on one line.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return String::new();
    };
    let names = backtrace.frames().iter().map(|frame| match frame.func_name() {
        // Names come from the component: demangled where they can be, escaped always.
        Some(name) => escape(&demangled(name)),
        None => format!("function {}", frame.func_index()),
    });
    names.collect::<Vec<_>>().join(" < ")
}

fn demangled(name: &str) -> String {
    // Demangling may make much of little.
    let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
    let demangled = format!("{:#}", rustc_demangle::demangle(name));
    demangled.chars().take(MAX_NAME_CHARS).collect()
}
