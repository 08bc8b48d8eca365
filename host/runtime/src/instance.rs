//! One wasmtime `Store` with a live guest: made, called, bounded, dropped.
//!
//! An instance keeps no memory worth saving. After a trap or a missed deadline its store is
//! poisoned; the pool drops it and makes another.

mod budget;
mod event;
mod failure;
mod limits;
mod saved_checks;
mod slow_start;
mod start_hook;

use std::fmt;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::channel_context::ChannelContext;
use crate::epoch::EpochClock;
use crate::event_kind::EventKind;
use crate::host_calls::bindings::exports::wharf::channel::lifecycle;
use crate::host_calls::{
    Call, ConnectionHandle, DescriptionHandle, GuestOutput, HandshakeHandle, Http, OutputName,
    Printing, guest_clocks,
};
use crate::live_instances::Live;
use crate::plugin::{Component, GuestExports};
use wharf_contract::description::Description;
use wharf_contract::exports::Exports;
use wharf_contract::fault::{Fault, TooBig};
use wharf_contract::text::{cut, escape};

use budget::{Budget, Meter, begin_budget, is_cpu_spent, metered, on_epoch};
use failure::failure;
use limits::InstanceLimits;

pub use budget::bounded;
pub(crate) use slow_start::SlowStart;

pub use event::{Detached, Event, OutsideAnswer, OutsideRefusal};

/// Largest number of host-side handles (streams, pollables) that a guest may hold at a time, and of
/// entries of the component model's own tables of them.
const MAX_HANDLES: usize = 1024;
/// Largest number of random bytes that a guest gets in one host call.
const MAX_RANDOM_BYTES: u64 = 64 * 1024;
/// Longest part of a function's name that a backtrace uses: in bytes before demangling, and in
/// characters after it.
const MAX_NAME_BYTES: usize = 512;
const MAX_NAME_CHARS: usize = 200;

/// The part of an instance that host calls see.
pub struct InstanceState {
    /// Shared parts of the channel.
    pub channel: Arc<ChannelContext>,
    /// Generation of the instance.
    pub generation: u64,
    /// Event being handled.
    pub call: Option<Box<Call>>,
    /// Name of that event's export, or of the last one's.
    pub event: &'static str,
    /// The connection and the last words of its printed lines.
    pub printing: Arc<Printing>,
    /// The reason why the session cannot be read, if the guest has said so.
    pub(crate) unreadable: Option<String>,
    /// Description so far, during `describe`.
    pub description: Description,
    /// Optional exports of the plugin.
    pub exports: Exports,
    /// Handles that the guest holds.
    pub table: ResourceTable,
    /// Number of audiences among them.
    pub audiences: usize,
    /// State of WASI calls.
    pub wasi: WasiCtx,
    /// State of outgoing HTTP, once the guest has made use of it.
    pub http: Option<Box<Http>>,
    limits: InstanceLimits,
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

/// The refusal of a connection by a guest.
pub type GuestRefusal = lifecycle::Refusal;

/// The result of a finished guest call: the event's effects, not yet committed, and the guest's
/// answer.
#[derive(Debug)]
pub struct Finished<R> {
    /// Event with its effects.
    pub call: Box<Call>,
    /// Answer of the guest.
    pub returned: R,
}

/// A guest call that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Kind of the failure.
    pub kind: Fault,
    /// Description on one line.
    pub detail: String,
    /// Place in the source code where it panicked, if it did.
    pub place: Option<String>,
    /// Guest's functions at the time, innermost first; empty if it had none.
    pub backtrace: String,
    /// True if the reason is not the guest, and may be gone in a moment: others have the memory, or
    /// the machine was too busy.
    pub is_passing: bool,
}

impl Failure {
    /// Makes a failure of the guest in no place.
    fn new(kind: Fault, detail: String) -> Failure {
        Failure { kind, detail, place: None, backtrace: String::new(), is_passing: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.token(), self.detail)
    }
}

impl From<TooBig> for Failure {
    fn from(too_big: TooBig) -> Failure {
        let detail = too_big.to_string();
        Failure::new(too_big.fault(), detail)
    }
}

/// A live guest.
pub struct Instance {
    store: Store<InstanceState>,
    exports: GuestExports,
    meter: Arc<Meter>,
    clock: EpochClock,
    slow_start: Arc<SlowStart>,
    /// True until it has handled an event.
    is_fresh: bool,
    /// True once it has taken longer for an event than `cpu_budget_ms`.
    has_overdrawn: bool,
    poisoned: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("state", self.store.data()).finish_non_exhaustive()
    }
}

impl Instance {
    /// Makes an instance, within `start_budget_ms`.
    pub async fn start(
        component: &Component,
        channel: &Arc<ChannelContext>,
        generation: u64,
    ) -> Result<Instance, Failure> {
        Instance::start_within(component, channel, generation, false).await
    }

    /// Makes the first instance of a generation, and asks it for its description. Memory that the
    /// channel's other instances have used up does not keep it out.
    pub(crate) async fn start_trial(
        component: &Component,
        channel: &Arc<ChannelContext>,
        generation: u64,
    ) -> Result<Instance, Failure> {
        Instance::start_within(component, channel, generation, true).await
    }

    async fn start_within(
        component: &Component,
        channel: &Arc<ChannelContext>,
        generation: u64,
        is_trial: bool,
    ) -> Result<Instance, Failure> {
        let config = &channel.config;
        let begun = std::time::Instant::now();
        let meter = Arc::new(Meter::new(channel.clone()));
        let printing = Arc::new(Printing::default());
        let state = InstanceState {
            channel: channel.clone(),
            generation,
            call: None,
            event: "start",
            unreadable: None,
            description: Description::default(),
            exports: component.exports(),
            table: ResourceTable::new(),
            audiences: 0,
            wasi: wasi(channel, generation, &printing),
            printing,
            http: None,
            limits: InstanceLimits::new(channel, meter.clone()),
            _live: channel.live.add(),
        };
        let mut store = Store::new(component.engine(), state);
        store.data_mut().limits.set_trial(is_trial);
        store.limiter_async(|state| &mut state.limits);
        store.set_hostcall_fuel(config.hostcall_bytes);
        store.data_mut().table.set_max_capacity(MAX_HANDLES);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(on_epoch);
        let budget = Budget::start(config);
        begin_budget(&mut store, budget);
        let clock = component.clock().clone();
        let made = metered(&clock, &meter, budget, component.instantiate(&mut store)).await;
        let exports = match made {
            Some(Ok(exports)) => exports,
            Some(Err(error)) => return Err(failure(&store, &error)),
            None => return Err(missed(budget)),
        };
        let slow_start = component.slow_start().clone();
        let (is_fresh, has_overdrawn, poisoned) = (true, false, false);
        let mut instance = Instance {
            store,
            exports,
            meter,
            clock,
            slow_start,
            is_fresh,
            has_overdrawn,
            poisoned,
        };
        instance.run_start_hook().await?;
        channel.counters.started(begun.elapsed());
        Ok(instance)
    }

    /// Asks the guest for its description, within `start_budget_ms`.
    pub async fn describe(&mut self) -> Result<Description, Failure> {
        let budget = Budget::start(&self.store.data().channel.config);
        begin_budget(&mut self.store, budget);
        let lifecycle = &self.exports.lifecycle;
        let call = lifecycle.call_describe(&mut self.store, borrowed_description());
        let result = metered(&self.clock, &self.meter, budget, call).await;
        self.check(result, budget)?;
        self.store.data_mut().limits.set_trial(false);
        Ok(std::mem::take(&mut self.store.data_mut().description))
    }

    /// Runs `on-connect`.
    pub async fn connect(
        &mut self,
        call: Box<Call>,
    ) -> Result<Finished<Result<Vec<u8>, GuestRefusal>>, Failure> {
        let budget = self.begin(call, EventKind::Connect.name());
        let (connection, handshake) = (borrowed_connection(), borrowed_handshake());
        let lifecycle = &self.exports.lifecycle;
        let call = lifecycle.call_on_connect(&mut self.store, connection, handshake);
        let result = metered(&self.clock, &self.meter, budget, call).await;
        let returned = self.check(result, budget)?;
        if let Ok(session) = &returned {
            self.check_session(session.len())?;
        }
        self.finish(returned)
    }

    /// Runs the handler of an event. Returns the changed session, if it changed.
    pub async fn handle(
        &mut self,
        call: Box<Call>,
        session: &[u8],
        event: &Event<'_>,
    ) -> Result<Finished<Option<Vec<u8>>>, Failure> {
        self.log_unhandled(event.unhandled(&self.exports));
        let budget = self.begin(call, event.kind().name());
        let call = event::dispatch(&self.exports, &mut self.store, session, event);
        let result = metered(&self.clock, &self.meter, budget, call).await;
        let returned = self.check(result, budget)?;
        if let Some(session) = &returned {
            self.check_session(session.len())?;
        }
        self.finish(returned)
    }

    /// Runs the handler of an event without a connection. `state` is the room's. Returns the
    /// changed state, if it changed.
    pub(crate) async fn handle_detached(
        &mut self,
        call: Box<Call>,
        state: Option<&[u8]>,
        event: &Detached<'_>,
    ) -> Result<Finished<Option<Vec<u8>>>, Failure> {
        self.log_unhandled(event.unhandled(&self.exports));
        let budget = self.begin(call, event.kind().name());
        let call = event::dispatch_detached(&self.exports, &mut self.store, state, event);
        let result = metered(&self.clock, &self.meter, budget, call).await;
        let returned = self.check(result, budget)?;
        self.finish(returned)
    }

    /// Runs the handler of a message from outside; `None` if the plugin has none.
    pub(crate) async fn handle_outside(
        &mut self,
        call: Box<Call>,
        payload: &[u8],
    ) -> Result<Finished<Option<OutsideAnswer>>, Failure> {
        let budget = self.begin(call, EventKind::Outside.name());
        let call = event::dispatch_outside(&self.exports, &mut self.store, payload);
        let result = metered(&self.clock, &self.meter, budget, call).await;
        let returned = self.check(result, budget)?;
        self.finish(returned)
    }

    /// Returns the number of the instance's generation.
    pub fn generation(&self) -> u64 {
        self.store.data().generation
    }

    /// Returns true if the instance may serve another event. One that has trapped may not, and one
    /// whose memory has grown over half of its limit is replaced before it fails.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.poisoned && !self.store.data().limits.is_worn()
    }

    /// Tells the operator, within the channel's budget of such lines, that this generation has no
    /// handler for an event that an earlier one has caused. The event is dropped.
    fn log_unhandled(&self, handler: Option<&'static str>) {
        let InstanceState { channel, generation, .. } = self.store.data();
        if let Some(handler) = handler
            && channel.failure_budget.take()
        {
            tracing::warn!(
                channel = &*channel.name,
                generation,
                handler,
                "an event was dropped: an earlier generation caused it, and this one has no handler"
            );
        }
    }

    fn begin(&mut self, call: Box<Call>, event: &'static str) -> Budget {
        let mut budget = Budget::event(&self.store.data().channel.config);
        if self.slow_start.is_allowed() && !self.has_overdrawn {
            budget.allow_slow_start(&self.store.data().channel.config);
        }
        begin_budget(&mut self.store, budget);
        let state = self.store.data_mut();
        state.printing.begin(call.client.as_deref());
        (state.call, state.event) = (Some(call), event);
        state.unreadable = None;
        // It is set until the call has returned well: a call that is dropped half-way leaves it
        // set.
        self.poisoned = true;
        budget
    }

    fn finish<R>(&mut self, returned: R) -> Result<Finished<R>, Failure> {
        (self.poisoned, self.is_fresh) = (false, false);
        let state = self.store.data_mut();
        if let Some(http) = &mut state.http {
            http.end_event();
        }
        // They were not the last, as it turns out.
        if let Some(words) = state.printing.take_words() {
            let InstanceState { channel, generation, printing, .. } = state;
            let output = GuestOutput::new(channel, *generation, printing, OutputName::Stderr);
            words.lines.iter().for_each(|line| output.log(line));
        }
        match state.call.take() {
            Some(call) => Ok(Finished { call, returned }),
            // `begin` has put it there and no other code takes it.
            None => Err(Failure::new(Fault::Trap, "the event was lost".to_owned())),
        }
    }

    fn check<R>(
        &mut self,
        result: Option<wasmtime::Result<R>>,
        budget: Budget,
    ) -> Result<R, Failure> {
        match result {
            Some(Ok(returned)) => {
                let usual = self.store.data().channel.config.cpu_budget;
                self.has_overdrawn |= budget.is_slow_start && self.meter.has_spent(usual);
                Ok(returned)
            }
            Some(Err(error)) => {
                self.poisoned = true;
                if !budget.is_start && is_cpu_spent(&error) {
                    self.note_slow(budget);
                }
                let mut failure = failure(&self.store, &error);
                if self.is_fresh && !budget.is_start && failure.kind == Fault::Deadline {
                    failure.detail.push_str(
                        "; it was the first event of this instance: work that is done once belongs in \
                         on_start, which may take start_budget_ms",
                    );
                }
                Err(failure)
            }
            None => {
                self.poisoned = true;
                Err(missed(budget))
            }
        }
    }

    /// Notes an event that has used up its CPU time, and tells the operator what follows.
    fn note_slow(&self, budget: Budget) {
        let InstanceState { channel, generation, .. } = self.store.data();
        if !self.slow_start.note_failure(budget.is_slow_start) || !channel.failure_budget.take() {
            return;
        }
        tracing::warn!(
            channel = &*channel.name,
            generation,
            "events have used up cpu_budget_ms; in case they make something at first use, such as a \
             table, each instance may now take start_budget_ms for one event"
        );
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

fn wasi(channel: &Arc<ChannelContext>, generation: u64, printing: &Arc<Printing>) -> WasiCtx {
    let output = |stream| GuestOutput::new(channel, generation, printing, stream);
    let mut builder = WasiCtxBuilder::new();
    builder.max_random_size(MAX_RANDOM_BYTES);
    guest_clocks(&mut builder, &channel.ports.clock);
    builder
        .stdout(output(OutputName::Stdout))
        .stderr(output(OutputName::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

fn missed(budget: Budget) -> Failure {
    let Budget { wall, wall_key, .. } = budget;
    let detail = format!("no answer within {wall:?}, waiting included ({wall_key})");
    // The guest has used less than its CPU time, which is counted apart.
    Failure { is_passing: true, ..Failure::new(Fault::Deadline, detail) }
}

/// Returns the guest's functions, innermost first, on one line.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return String::new();
    };
    let names = backtrace.frames().iter().map(|frame| match frame.func_name() {
        // Names come from the component: demangled if possible, always escaped.
        Some(name) => escape(&demangled(name)),
        None => format!("function {}", frame.func_index()),
    });
    names.collect::<Vec<_>>().join(" < ")
}

fn demangled(name: &str) -> String {
    // Demangling may lengthen a name a lot.
    let demangled = format!("{:#}", rustc_demangle::demangle(cut(name, MAX_NAME_BYTES)));
    demangled.chars().take(MAX_NAME_CHARS).collect()
}
