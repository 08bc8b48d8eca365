//! Runs a handler as an event: its effects commit, or its connection ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wharf_contract::close::Reason;
use wharf_contract::fault::{Fault as Failure, TooBig};

use crate::backend;
use crate::connection::Connection;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::timers::Timer;

use super::plugin::Plugin;
use super::posts::{Cause, settle};
use super::world::{Phase, Shared};

type Panic = Box<dyn std::any::Any + Send>;

/// Runs a handler as an event. The event is still there afterwards, to be committed or abandoned.
pub(crate) fn event<R>(
    world: &Shared,
    phase: Phase,
    number: u64,
    handler: impl FnOnce() -> R,
) -> Result<R, Panic> {
    world.borrow_mut().begin(phase, number);
    run(world, handler)
}

/// Runs a handler in an event that has begun.
pub(crate) fn run<R>(world: &Shared, handler: impl FnOnce() -> R) -> Result<R, Panic> {
    start(world);
    let host = backend::enter(world);
    // A half-done state of the handler is discarded, as an instance is.
    let outcome = catch_unwind(AssertUnwindSafe(handler));
    drop(host);
    outcome
}

/// Lets the code do its work before its first event, as each instance does. Panics if it fails: no
/// host would load it.
fn start(world: &Shared) {
    if std::mem::replace(&mut world.borrow_mut().has_started, true) {
        return;
    }
    let (on_start, event) = {
        let mut world = world.borrow_mut();
        (world.plugin.on_start, world.event.take())
    };
    let host = backend::enter(world);
    let started = on_start();
    drop(host);
    world.borrow_mut().event = event;
    if let Err(error) = started {
        panic!("no host would load this channel: on_start failed: {error}");
    }
}

/// An event of an open connection.
pub(crate) enum Happening {
    Message(Incoming),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A notice: its cause, its payload, and the number of events that led to it.
    Notice(Option<Cause>, Vec<u8>, u8),
    Timer(Timer),
    Fault(Fault),
}

/// Runs the handler of an event and commits its effects, or ends the connection.
pub(crate) fn handle(world: &Shared, number: u64, happening: Happening) {
    let Some((plugin, conn, session)) = lend(world, number) else { return };
    let is_last = matches!(happening, Happening::Fault(_));
    let (name, outcome) = match happening {
        Happening::Message(message) => ("on_message", {
            event(world, Phase::Open, number, || (plugin.on_message)(&conn, &session, message))
        }),
        Happening::Ping(data) => ("on_ping", {
            event(world, Phase::Open, number, || (plugin.on_ping)(&conn, &session, data))
        }),
        Happening::Pong(data) => ("on_pong", {
            event(world, Phase::Open, number, || (plugin.on_pong)(&conn, &session, data))
        }),
        Happening::Notice(cause, payload, hops) => ("on_notify", {
            world.borrow_mut().begin_posted(Phase::Open, number, cause, hops);
            run(world, || (plugin.on_notify)(&conn, &session, &payload))
        }),
        Happening::Timer(timer) => ("on_timer", {
            event(world, Phase::Open, number, || (plugin.on_timer)(&conn, &session, timer))
        }),
        Happening::Fault(fault) => ("on_fault", {
            event(world, Phase::Open, number, || (plugin.on_fault)(&conn, &session, fault))
        }),
    };
    let limit = world.borrow().limits.max_session_bytes;
    let ending = match outcome {
        Ok(session) => match check_session(session.as_deref(), limit) {
            Ok(()) => {
                let mut world = world.borrow_mut();
                if let (Some(session), Some(record)) = (session, world.connections.get_mut(&number))
                {
                    record.session = session;
                }
                world.commit().close.map(Ending::closed_by_channel)
            }
            Err(too_big) => {
                failed(world, name, &failure(&too_big));
                Some(Ending::of_failure(too_big.fault(), too_big.to_string()))
            }
        },
        Err(panic) => {
            Some(Ending::of_failure(Failure::Trap, failed(world, name, &panicked(&*panic))))
        }
    };
    // After a fault the connection ends anyway.
    if is_last {
        return;
    }
    if let Some(ending) = ending {
        end(world, number, ending);
    }
    settle(world);
}

/// Ends the connections that events have closed from elsewhere.
pub(crate) fn end_disconnected(world: &Shared) {
    loop {
        let next = world.borrow_mut().disconnected.pop_front();
        let Some((number, ending)) = next else { return };
        if world.borrow().connections.get(&number).is_some_and(|record| record.is_open) {
            end(world, number, ending);
        }
    }
}

/// The end of a connection.
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    /// Code and reason of the first close frame.
    pub(crate) frame: Option<(u16, String)>,
    /// True if the client is sent that frame, false if it has sent it.
    pub(crate) is_sent: bool,
    pub(crate) fault: Option<Fault>,
}

impl Ending {
    pub(crate) fn closed_by_channel(frame: (u16, String)) -> Self {
        Self { reason: Reason::ChannelClosed, frame: Some(frame), is_sent: true, fault: None }
    }

    pub(crate) fn closed_by_client(frame: Option<(u16, String)>) -> Self {
        let reason = if frame.is_some() { Reason::ClientClosed } else { Reason::NetworkLost };
        Self { reason, frame, is_sent: false, fault: None }
    }

    fn of_failure(kind: Failure, detail: String) -> Self {
        let fault = Fault { code: kind.token().to_owned(), detail };
        Self { fault: Some(fault), ..Self::of_host(Reason::GuestFailure) }
    }

    pub(crate) fn of_host(reason: Reason) -> Self {
        let frame = reason.code().map(|code| (code, reason.token().to_owned()));
        Self { reason, frame, is_sent: true, fault: None }
    }
}

/// Ends a connection: the fault if there was one, rooms, `on_close` with the last committed
/// session.
pub(crate) fn end(world: &Shared, number: u64, ending: Ending) {
    let exports = world.borrow().plugin.exports;
    if let Some(record) = world.borrow_mut().connections.get_mut(&number) {
        record.ending = Some(ending.reason);
    }
    if let Some(fault) = ending.fault
        && exports.faults
    {
        handle(world, number, Happening::Fault(fault));
    }
    let Some((plugin, conn, session)) = lend(world, number) else { return };
    if let Some(record) = world.borrow_mut().connections.get_mut(&number) {
        record.is_open = false;
        record.closed = ending.frame.clone().filter(|_| ending.is_sent);
    }
    world.borrow_mut().forget_posts(number);
    world.borrow_mut().end_presence(number);
    world.borrow_mut().forget_limits(number);
    let (code, reason) = ending.frame.map_or((None, String::new()), |(c, r)| (Some(c), r));
    let on_close = || (plugin.on_close)(&conn, &session, code, &reason);
    match event(world, Phase::Closing, number, on_close) {
        Ok(()) => drop(world.borrow_mut().commit()),
        Err(panic) => drop(failed(world, "on_close", &panicked(&*panic))),
    }
    settle(world);
}

/// Returns the parts that an event of an open connection works on.
fn lend(world: &Shared, number: u64) -> Option<(Plugin, Connection, Vec<u8>)> {
    let world = world.borrow();
    let record = world.connections.get(&number).filter(|record| record.is_open)?;
    let conn = Connection::new(backend::Connection::of(record.request.clone()), None);
    Some((world.plugin, conn, record.session.clone()))
}

/// Undoes an event that failed like a trap, and notes the reason.
pub(crate) fn failed(world: &Shared, handler: &str, detail: &str) -> String {
    let mut world = world.borrow_mut();
    world.abandon();
    world.failed(format!("{handler} {detail}"));
    detail.to_owned()
}

fn check_session(session: Option<&[u8]>, limit: usize) -> Result<(), TooBig> {
    TooBig::check_session(session.map_or(0, <[u8]>::len), limit)
}

/// Returns the host's sentence about a result of a handler that is too big.
pub(crate) fn failure(too_big: &TooBig) -> String {
    format!("failed: {}: {too_big}", too_big.fault().token())
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = (panic.downcast_ref::<String>().map(String::as_str))
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("with a value that is not text"))
}
