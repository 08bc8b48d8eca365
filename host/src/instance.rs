//! One wasmtime `Store` with a live guest: made, called, bounded, thrown away.
//!
//! An instance is a worker without memory of its own worth keeping. After a trap or a missed
//! deadline its store is poisoned; the pool drops it and makes another.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::config::Config;
use crate::host_calls::bindings::exports::wharf::channel::lifecycle::{self, Message};
use crate::host_calls::{
    Call, ConnectionHandle, Description, DescriptionHandle, GuestOutput, HandshakeHandle,
    LogBudget, Stream, control_frames, escape, faults,
};
use crate::hub::Hub;
use crate::plugin::Component;

/// How often the epoch advances: the unit in which guests are preempted and their CPU time is counted.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);

/// Core instances, memories and tables that one component may have. One written in Rust has four
/// instances (its module and what adapts it), one memory and two tables.
const MAX_CORE_INSTANCES: usize = 32;
const MAX_MEMORIES: usize = 4;
const MAX_TABLES: usize = 16;
/// Host-side handles (streams, pollables) that a guest may hold at a time.
const MAX_HANDLES: usize = 1024;

/// What all generations and instances of a channel share.
#[derive(Debug)]
pub struct ChannelContext {
    /// The channel's name.
    pub name: Arc<str>,
    /// Its connections and rooms.
    pub hub: Arc<Hub>,
    /// The host's configuration.
    pub config: Arc<Config>,
    /// The log lines it may still write.
    pub log_budget: LogBudget,
    /// The log lines that the host may still write about its failures: a channel that talks too
    /// much must not hide them.
    pub failure_budget: LogBudget,
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
    /// Handles that the guest holds.
    pub table: ResourceTable,
    /// What WASI calls work on.
    pub wasi: WasiCtx,
    limits: Limits,
}

impl fmt::Debug for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceState")
            .field("channel", &self.channel.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What a guest is called for, besides connecting.
#[derive(Debug)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; only for guests that export `control-frames`.
    Ping(&'a [u8]),
    /// A pong; only for guests that export `control-frames`.
    Pong(&'a [u8]),
    /// A failure; only for guests that export `faults`.
    Fault {
        /// A token such as `message-too-big`.
        code: &'a str,
        /// A sentence for the log.
        detail: &'a str,
    },
    /// The connection has ended.
    Close {
        /// The code of the first close frame sent or received.
        code: Option<u16>,
        /// Its reason.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// The export's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Text(_) | Event::Binary(_) => "on-message",
            Event::Ping(_) => "on-ping",
            Event::Pong(_) => "on-pong",
            Event::Fault { .. } => "on-fault",
            Event::Close { .. } => "on-close",
        }
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

/// Why a guest call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The guest trapped: a panic, mostly.
    Trap,
    /// It used up its CPU time or its time altogether.
    Deadline,
    /// It asked for more memory than it may have, and gave up.
    OutOfMemory,
    /// The session it returned is larger than the host keeps.
    SessionTooBig,
}

impl FailureKind {
    /// The token that guests and logs see.
    pub fn token(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Deadline => "deadline",
            FailureKind::OutOfMemory => "out-of-memory",
            FailureKind::SessionTooBig => "session-too-big",
        }
    }
}

/// A guest call that came to nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
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

/// A live guest.
pub struct Instance {
    store: Store<InstanceState>,
    lifecycle: lifecycle::Guest,
    control_frames: Option<control_frames::exports::wharf::channel::control_frames::Guest>,
    faults: Option<faults::exports::wharf::channel::faults::Guest>,
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
        let state = InstanceState {
            channel: channel.clone(),
            generation,
            call: None,
            description: Description::default(),
            table: ResourceTable::new(),
            wasi: wasi(channel, generation),
            limits: Limits::new(config),
        };
        let mut store = Store::new(component.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(config.hostcall_bytes);
        store.data_mut().table.set_max_capacity(MAX_HANDLES);
        store.epoch_deadline_callback(on_epoch);
        begin_budget(&mut store, config.start_budget);
        let made = bounded(config.start_budget, component.instantiate(&mut store)).await;
        match made {
            Some(Ok(parts)) => Ok(Instance {
                store,
                lifecycle: parts.lifecycle,
                control_frames: parts.control_frames,
                faults: parts.faults,
                poisoned: false,
            }),
            Some(Err(error)) => Err(failure(&store, &error)),
            None => Err(missed(config.start_budget)),
        }
    }

    /// Ask the guest what it is, within `start_budget_ms`.
    pub async fn describe(&mut self) -> Result<Description, Failure> {
        let budget = self.store.data().channel.config.start_budget;
        begin_budget(&mut self.store, budget);
        let call = self.lifecycle.call_describe(&mut self.store, borrowed_description());
        let result = bounded(budget, call).await;
        self.check(result, budget)?;
        Ok(std::mem::take(&mut self.store.data_mut().description))
    }

    /// Run `on-connect`.
    pub async fn connect(
        &mut self,
        call: Call,
    ) -> Result<Finished<Result<Vec<u8>, Refusal>>, Failure> {
        let wall = self.begin(call);
        let (connection, handshake) = (borrowed_connection(), borrowed_handshake());
        let call = self.lifecycle.call_on_connect(&mut self.store, connection, handshake);
        let result = bounded(wall, call).await;
        let returned = self.check(result, wall)?;
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
        let wall = self.begin(call);
        let result = bounded(wall, self.dispatch(session, event)).await;
        let returned = self.check(result, wall)?;
        if let Some(session) = &returned {
            self.check_session(session.len())?;
        }
        self.finish(returned)
    }

    async fn dispatch(
        &mut self,
        session: &[u8],
        event: &Event<'_>,
    ) -> wasmtime::Result<Option<Vec<u8>>> {
        let store = &mut self.store;
        let connection = borrowed_connection();
        let lifecycle = &self.lifecycle;
        match *event {
            Event::Text(text) => {
                let message = Message::Text(text);
                lifecycle.call_on_message(store, connection, session, message).await
            }
            Event::Binary(data) => {
                let message = Message::Binary(data);
                lifecycle.call_on_message(store, connection, session, message).await
            }
            Event::Close { code, reason } => {
                lifecycle.call_on_close(store, connection, session, code, reason).await?;
                Ok(None)
            }
            Event::Ping(data) => match &self.control_frames {
                Some(guest) => guest.call_on_ping(store, connection, session, data).await,
                None => Ok(None),
            },
            Event::Pong(data) => match &self.control_frames {
                Some(guest) => guest.call_on_pong(store, connection, session, data).await,
                None => Ok(None),
            },
            Event::Fault { code, detail } => match &self.faults {
                Some(guest) => guest.call_on_fault(store, connection, session, code, detail).await,
                None => Ok(None),
            },
        }
    }

    /// Whether the instance may serve another event. One that has trapped may not, and one whose
    /// memory has grown over half of what it may have is replaced before it fails.
    pub fn is_reusable(&self) -> bool {
        let limits = &self.store.data().limits;
        !self.poisoned && limits.memory_bytes <= limits.max_memory_bytes / 2
    }

    fn begin(&mut self, call: Call) -> Duration {
        let config = self.store.data().channel.config.clone();
        begin_budget(&mut self.store, config.cpu_budget);
        self.store.data_mut().call = Some(call);
        // Set until the call has come back well: a call that is dropped half-way leaves it so.
        self.poisoned = true;
        config.wall_budget
    }

    fn finish<R>(&mut self, returned: R) -> Result<Finished<R>, Failure> {
        self.poisoned = false;
        match self.store.data_mut().call.take() {
            Some(call) => Ok(Finished { call, returned }),
            // `begin` has put it there and nothing else takes it.
            None => Err(Failure {
                kind: FailureKind::Trap,
                detail: "the event was lost".to_owned(),
                backtrace: String::new(),
            }),
        }
    }

    fn check<R>(
        &mut self,
        result: Option<wasmtime::Result<R>>,
        wall: Duration,
    ) -> Result<R, Failure> {
        match result {
            Some(Ok(returned)) => Ok(returned),
            Some(Err(error)) => {
                self.poisoned = true;
                Err(failure(&self.store, &error))
            }
            None => {
                self.poisoned = true;
                Err(missed(wall))
            }
        }
    }

    fn check_session(&self, bytes: usize) -> Result<(), Failure> {
        let limit = self.store.data().channel.config.max_session_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(Failure {
            kind: FailureKind::SessionTooBig,
            detail: format!("the session has {bytes} bytes; max_session_bytes is {limit}"),
            backtrace: String::new(),
        })
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
    WasiCtxBuilder::new()
        .stdout(output(Stream::Stdout))
        .stderr(output(Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

/// Give the coming call a CPU budget. Its first tick ends within one tick from now.
fn begin_budget(store: &mut Store<InstanceState>, cpu: Duration) {
    let limits = &mut store.data_mut().limits;
    limits.cpu_ticks_left = (cpu.as_millis() / EPOCH_TICK.as_millis()).max(1) as u64;
    limits.cpu_budget = cpu;
    limits.memory_denied = false;
    store.set_epoch_deadline(1);
}

/// The epoch has advanced while the guest was running: count it, and let others run.
fn on_epoch(mut store: StoreContextMut<'_, InstanceState>) -> wasmtime::Result<UpdateDeadline> {
    let limits = &mut store.data_mut().limits;
    limits.cpu_ticks_left = limits.cpu_ticks_left.saturating_sub(1);
    if limits.cpu_ticks_left == 0 {
        return Err(CpuBudgetSpent(limits.cpu_budget).into());
    }
    // tokio's yield lets the runtime look at its sockets and timers before it comes back here,
    // which a plain wake-up would not.
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

#[derive(Debug, thiserror::Error)]
#[error("the guest ran for {0:?} without returning (cpu_budget_ms)")]
struct CpuBudgetSpent(Duration);

/// Wait for something, `wall` at most. The timer is only made for what is not ready at once.
pub async fn bounded<F: Future>(wall: Duration, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut timer = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wall)));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

fn missed(wall: Duration) -> Failure {
    Failure {
        kind: FailureKind::Deadline,
        detail: format!("no answer within {wall:?}, waiting included (wall_budget_ms)"),
        backtrace: String::new(),
    }
}

fn failure(store: &Store<InstanceState>, error: &wasmtime::Error) -> Failure {
    let limits = &store.data().limits;
    let kind = if error.is::<CpuBudgetSpent>() {
        FailureKind::Deadline
    } else if limits.memory_denied {
        FailureKind::OutOfMemory
    } else {
        FailureKind::Trap
    };
    let mut detail = escape(&error.root_cause().to_string());
    if kind == FailureKind::OutOfMemory {
        detail = format!(
            "it asked for more than {} bytes of memory (max_memory_bytes): {detail}",
            limits.max_memory_bytes
        );
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
    let demangled = format!("{:#}", rustc_demangle::demangle(name));
    demangled.chars().take(200).collect()
}

/// What an instance may use, and what it has used.
#[derive(Debug)]
struct Limits {
    max_memory_bytes: usize,
    max_table_elements: usize,
    /// Of all memories together.
    memory_bytes: usize,
    /// The present call has asked for more memory than it may have.
    memory_denied: bool,
    cpu_ticks_left: u64,
    cpu_budget: Duration,
}

impl Limits {
    fn new(config: &Config) -> Limits {
        Limits {
            max_memory_bytes: config.max_memory_bytes,
            max_table_elements: config.max_table_elements,
            memory_bytes: 0,
            memory_denied: false,
            cpu_ticks_left: 1,
            cpu_budget: Duration::ZERO,
        }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(growth);
        if total > self.max_memory_bytes {
            self.memory_denied = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.max_table_elements)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }
}
