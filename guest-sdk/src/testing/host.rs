//! The host that a test drives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::backend;
use crate::channel::{Channel, Fault};
use crate::connection::Connection;
use crate::incoming::Incoming;
use crate::log::Level;
use crate::outgoing::Payload;
use crate::refusal::Answer;

use super::client::{Client, Received};
use super::effects::{Limits, MAX_REASON_BYTES, is_channel_code};
use super::pattern;
use super::plugin::Plugin;
use super::world::{Phase, Record, Request, Shared, World};

/// A fake host with one channel mounted; see the [module](crate::testing).
pub struct TestHost {
    world: Shared,
}

/// One line that the channel logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// What belongs to it, by name.
    pub fields: Vec<(String, String)>,
}

impl TestHost {
    /// A host that serves the channel `C`, as its generation 1 and with the host's default limits.
    #[expect(clippy::new_ret_no_self, reason = "it returns Self; the parameter is the channel")]
    pub fn new<C: Channel>() -> Self {
        Self { world: Rc::new(RefCell::new(World::new(Plugin::of::<C>()))) }
    }

    /// Set other limits, from the next event on.
    pub fn set_limits(&self, limits: Limits) {
        self.world.borrow_mut().limits = limits;
    }

    /// Serve the channel `C` from now on, as the next generation. Connections stay open, with the
    /// sessions that the channel before wrote: the way to test that a struct may grow.
    pub fn reload<C: Channel>(&self) {
        let mut world = self.world.borrow_mut();
        world.plugin = Plugin::of::<C>();
        world.generation += 1;
    }

    /// A client that asks for a path, with a query or without: `"/chat/lobby?name=Ann"`. Nothing
    /// happens until one of the builder's last three methods is called.
    pub fn connect(&self, target: &str) -> Connecting {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Connecting {
            world: self.world.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            remote_address: "192.0.2.1:50000".to_owned(),
        }
    }

    /// Run code of the plugin that is about no connection, such as a function that broadcasts, as
    /// an event of its own. Its effects happen when it returns.
    pub fn run<R>(&self, code: impl FnOnce() -> R) -> R {
        match event(&self.world, Phase::Detached, 0, code) {
            Ok(returned) => {
                self.world.borrow_mut().commit();
                returned
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// How many members a room has.
    pub fn room_count(&self, room: &str) -> u32 {
        self.world.borrow().members(room).len() as u32
    }

    /// The ids of a room's members, in ascending order.
    pub fn room_members(&self, room: &str) -> Vec<String> {
        self.world.borrow().page(room, None, u32::MAX)
    }

    /// What the channel logged since this was last called.
    pub fn log(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.world.borrow_mut().log)
    }

    /// What went wrong since this was last called, as the operator would read it: one sentence for
    /// each handler that returned `Err` or panicked. They are printed as well, so that a test that
    /// fails shows them.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.world.borrow_mut().errors)
    }
}

/// A client about to connect; made by [`TestHost::connect`].
#[must_use = "nothing happens until `open`, `expect_open` or `expect_refused`"]
pub struct Connecting {
    world: Shared,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    remote_address: String,
}

impl Connecting {
    /// Add a header to the request.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// Ask for a subprotocol.
    pub fn subprotocol(self, name: &str) -> Self {
        self.header("sec-websocket-protocol", name)
    }

    /// Come from this address and port, instead of `192.0.2.1:50000`.
    pub fn remote_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.remote_address);
        self
    }

    /// Connect. Refused with status 404 where no path of the channel fits, and otherwise as
    /// `on_connect` decides; a panic in it is a 500.
    pub fn open(self) -> Result<Client, Refused> {
        let Self { world: shared, path, query, headers, remote_address } = self;
        let mut world = shared.borrow_mut();
        let plugin = world.plugin;
        let Some(params) = pattern::best(plugin.paths, &path) else {
            return Err(Refused::text(404, "no channel is mounted on this path"));
        };
        let subprotocol = agree_on_subprotocol(plugin.subprotocols, &headers);
        let number = world.next_number();
        drop(world);
        let request =
            Request { number, path, query, params, headers, remote_address, subprotocol };
        let request = Rc::new(request);
        let raw = backend::Connection::of(request.clone());
        let conn = Connection::new(raw, Some(backend::Handshake));
        let outcome =
            event(&shared, Phase::Connecting, number, || (plugin.on_connect)(&conn));
        let session = match outcome {
            Ok(Ok(session)) if session.len() <= shared.borrow().limits.max_session_bytes => session,
            Ok(Ok(session)) => {
                failed(&shared, "on_connect", &too_big(&session));
                return Err(Refused::text(500, "the channel failed"));
            }
            Ok(Err(answer)) => {
                shared.borrow_mut().abandon();
                return Err(Refused::from(answer));
            }
            Err(panic) => {
                failed(&shared, "on_connect", &panicked(&*panic));
                return Err(Refused::text(500, "the channel failed"));
            }
        };
        let record = Record {
            request,
            session,
            joined: Vec::new(),
            is_open: true,
            ending: None,
            inbox: VecDeque::new(),
            closed: None,
            response_headers: Vec::new(),
        };
        shared.borrow_mut().connections.insert(number, record);
        let committed = shared.borrow_mut().commit();
        if let Some(close) = committed.close {
            end(&shared, number, Ending::closed_by_channel(close));
        }
        Ok(Client::new(shared, number))
    }

    /// Connect, and panic if that is refused.
    #[track_caller]
    pub fn expect_open(self) -> Client {
        match self.open() {
            Ok(client) => client,
            Err(refused) => panic!("expected an open connection, but it was refused: {refused:?}"),
        }
    }

    /// Connect, and panic if that is not refused.
    #[track_caller]
    pub fn expect_refused(self) -> Refused {
        match self.open() {
            Ok(client) => panic!("expected a refusal, but {} is open", client.id()),
            Err(refused) => refused,
        }
    }
}

/// The channel's best subprotocol among those the client asks for.
fn agree_on_subprotocol(offered: &[&str], headers: &[(String, Vec<u8>)]) -> Option<String> {
    let is_asked_for = |name: &str| {
        let values = headers.iter().filter(|(name, _)| name == "sec-websocket-protocol");
        let mut asked = values.flat_map(|(_, value)| value.split(|byte| *byte == b','));
        asked.any(|value| value.trim_ascii() == name.as_bytes())
    };
    offered.iter().find(|name| is_asked_for(name)).map(|name| (*name).to_owned())
}

/// How a connection was refused, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// By HTTP status, before the upgrade.
    Http {
        /// The status that was sent.
        status: u16,
        /// The headers of the response; names in lower case.
        headers: Vec<(String, Vec<u8>)>,
        /// The body.
        body: Vec<u8>,
    },
    /// By close code, after the upgrade.
    Close {
        /// What was sent before the close frame.
        messages: Vec<Received>,
        /// The code that was sent.
        code: u16,
        /// The reason that was sent.
        reason: String,
    },
}

impl Refused {
    /// The HTTP status, if that is how it was refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Refused::Http { status, .. } => Some(*status),
            Refused::Close { .. } => None,
        }
    }

    /// The body of the HTTP response as text; empty where it was refused by close code.
    pub fn body(&self) -> String {
        match self {
            Refused::Http { body, .. } => String::from_utf8_lossy(body).into_owned(),
            Refused::Close { .. } => String::new(),
        }
    }

    fn text(status: u16, body: &str) -> Self {
        Answer::Http { status, headers: Vec::new(), body: body.into() }.into()
    }
}

/// As the host sends it, less what it may not send.
impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Http { status, headers, mut body } => {
                let status = if (300..=599).contains(&status) { status } else { 500 };
                let mut headers: Vec<_> = (headers.into_iter())
                    .filter(|(name, value)| super::effects::is_channel_header(name, value))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value))
                    .collect();
                if !headers.iter().any(|(name, _)| name == "content-type") {
                    let plain = b"text/plain; charset=utf-8".to_vec();
                    headers.push(("content-type".to_owned(), plain));
                }
                body.truncate(64 * 1024);
                Refused::Http { status, headers, body }
            }
            Answer::Close { code, mut reason, messages } => {
                reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
                Refused::Close {
                    messages: messages.into_iter().take(16).map(Received::from).collect(),
                    code: if is_channel_code(code) { code } else { 1008 },
                    reason,
                }
            }
        }
    }
}

impl From<Payload<'_>> for Received {
    fn from(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Text(text) => Received::Text(text.into_owned()),
            Payload::Binary(data) => Received::Binary(data.into_owned()),
        }
    }
}

type Panic = Box<dyn std::any::Any + Send>;

/// Runs a handler as an event. The event is still there afterwards, to be committed or abandoned.
fn event<R>(
    world: &Shared,
    phase: Phase,
    number: u64,
    handler: impl FnOnce() -> R,
) -> Result<R, Panic> {
    world.borrow_mut().begin(phase, number);
    let host = backend::enter(world);
    // Whatever the handler leaves half done is thrown away, as an instance is.
    let outcome = catch_unwind(AssertUnwindSafe(handler));
    drop(host);
    outcome
}

/// What can happen to an open connection.
pub(crate) enum Happening {
    Message(Incoming),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Fault(Fault),
}

/// Runs the handler for what happened and commits what it did, or ends the connection.
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
        Happening::Fault(fault) => ("on_fault", {
            event(world, Phase::Open, number, || (plugin.on_fault)(&conn, &session, fault))
        }),
    };
    let limit = world.borrow().limits.max_session_bytes;
    let ending = match outcome {
        Ok(Some(session)) if session.len() > limit => {
            Some(Ending::of_failure("session-too-big", failed(world, name, &too_big(&session))))
        }
        Ok(session) => {
            let mut world = world.borrow_mut();
            if let (Some(session), Some(record)) = (session, world.connections.get_mut(&number)) {
                record.session = session;
            }
            world.commit().close.map(Ending::closed_by_channel)
        }
        Err(panic) => Some(Ending::of_failure("trap", failed(world, name, &panicked(&*panic)))),
    };
    // After a fault the connection ends anyway.
    if let Some(ending) = ending
        && !is_last
    {
        end(world, number, ending);
    }
}

/// How a connection ends.
pub(crate) struct Ending {
    pub(crate) token: &'static str,
    /// Code and reason of the first close frame.
    pub(crate) frame: Option<(u16, String)>,
    /// Whether the client is sent that frame, rather than having sent it.
    pub(crate) is_sent: bool,
    pub(crate) fault: Option<Fault>,
}

impl Ending {
    fn closed_by_channel(frame: (u16, String)) -> Self {
        Self { token: "channel-closed", frame: Some(frame), is_sent: true, fault: None }
    }

    fn of_failure(code: &str, detail: String) -> Self {
        let fault = Fault { code: code.to_owned(), detail };
        Self::of_host("guest-failure", 1011, Some(fault))
    }

    pub(crate) fn of_host(token: &'static str, code: u16, fault: Option<Fault>) -> Self {
        Self { token, frame: Some((code, token.to_owned())), is_sent: true, fault }
    }
}

/// Ends a connection: the fault if there was one, rooms, `on_close` with the last committed session.
pub(crate) fn end(world: &Shared, number: u64, ending: Ending) {
    let exports = world.borrow().plugin.exports;
    if let Some(record) = world.borrow_mut().connections.get_mut(&number) {
        record.ending = Some(ending.token);
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
    let (code, reason) = ending.frame.map_or((None, String::new()), |(c, r)| (Some(c), r));
    let on_close = || (plugin.on_close)(&conn, &session, code, &reason);
    match event(world, Phase::Closing, number, on_close) {
        Ok(()) => drop(world.borrow_mut().commit()),
        Err(panic) => drop(failed(world, "on_close", &panicked(&*panic))),
    }
}

/// What an event of an open connection works on.
fn lend(world: &Shared, number: u64) -> Option<(Plugin, Connection, Vec<u8>)> {
    let world = world.borrow();
    let record = world.connections.get(&number).filter(|record| record.is_open)?;
    let conn = Connection::new(backend::Connection::of(record.request.clone()), None);
    Some((world.plugin, conn, record.session.clone()))
}

/// Undoes an event that failed as a trap does, and notes why.
fn failed(world: &Shared, handler: &str, detail: &str) -> String {
    let mut world = world.borrow_mut();
    world.abandon();
    world.failed(format!("{handler} {detail}"));
    detail.to_owned()
}

fn too_big(session: &[u8]) -> String {
    format!("returned a session of {} bytes, more than max_session_bytes", session.len())
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = (panic.downcast_ref::<String>().map(String::as_str))
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("with something that is no text"))
}
