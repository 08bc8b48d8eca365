//! The second level of the test kit: the channel as it was compiled, in the host itself.
//!
//! The host is a process of its own (`wharf test-host`), which has fake clients and a clock that
//! stands still. It is started when a test first needs it, so that its configuration can be set
//! before. A command is answered when all of its effects have happened. The clients' messages come
//! with the answer, and wait here until the test asks for them.

mod process;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use wharf_contract::history::HistoryRule;
use wharf_contract::kit::{
    Act, Answer, Command, Happened, Headers, HexBytes, HttpAnswer as Scripted, Message, Reply,
    Setup,
};
use wharf_contract::limits::Limits;

use super::client::{Client, Received};
use super::connecting::Refused;
use super::effects::Published;
use super::host::LogLine;
use super::http::{HttpAnswer, HttpRequest};
use crate::http::Response;
use crate::log::Level;
use crate::outside_messages::OutsideRefusal;
use process::Process;

/// Variable that names the component for `TestHost::new`.
const COMPONENT: &str = "WHARF_TEST_COMPONENT";

/// Returns the component that the tests are to run, if there is one.
pub(crate) fn from_environment() -> Option<PathBuf> {
    std::env::var_os(COMPONENT).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The channel that a component must have: its type's name, and its paths.
type Wanted = (&'static str, &'static [&'static str]);

/// A host with one component.
pub(crate) struct ComponentHost {
    component: PathBuf,
    wanted: Option<Wanted>,
    beginning: RefCell<Beginning>,
    process: RefCell<Option<Process>>,
    seen: RefCell<Seen>,
}

/// The start of the host.
#[derive(Default)]
struct Beginning {
    setup: Setup,
    /// Commands for the time after the start.
    first: Vec<Command>,
}

/// The description of a connection.
pub(crate) struct Kept {
    pub(crate) session: Vec<u8>,
    pub(crate) joined: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// The description of a room.
struct KeptRoom {
    members: Vec<String>,
    state: Option<Vec<u8>>,
    present: Vec<String>,
}

/// The events that a test has not asked for yet.
#[derive(Default)]
struct Seen {
    clients: Vec<Mailbox>,
    log: Vec<LogLine>,
    errors: Vec<String>,
    requests: Vec<HttpRequest>,
    published: Vec<Published>,
}

/// The messages of a client.
#[derive(Default)]
pub(crate) struct Mailbox {
    pub(crate) id: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) inbox: VecDeque<Received>,
    /// Close frame that the client got.
    pub(crate) closed: Option<(u16, String)>,
    /// True if its connection has ended.
    pub(crate) has_ended: bool,
}

/// A client that connects to a path.
pub(crate) struct Ask {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) remote_address: String,
    pub(crate) claims: Option<String>,
}

/// The time before and after the host's start.
impl ComponentHost {
    pub(crate) fn new(component: &Path, wanted: Option<Wanted>) -> Rc<Self> {
        Rc::new(Self {
            component: component.to_owned(),
            wanted,
            beginning: RefCell::default(),
            process: RefCell::default(),
            seen: RefCell::default(),
        })
    }

    /// Changes the setup of the host before its start.
    #[track_caller]
    fn prepare(&self, what: &str, change: impl FnOnce(&mut Setup)) {
        if self.process.borrow().is_some() {
            panic!(
                "{what} before the first client connects: a host that runs a component has its \
                 configuration from the start (make the host natively for this test, with \
                 `TestHost::native`, if it must change)"
            );
        }
        change(&mut self.beginning.borrow_mut().setup);
    }

    #[track_caller]
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.prepare("set the limits", |setup| setup.limits = limits);
    }

    #[track_caller]
    pub(crate) fn set_history(&self, rules: Vec<HistoryRule>) {
        self.prepare("set the history", |setup| setup.history = rules);
    }

    #[track_caller]
    pub(crate) fn set_setting(&self, name: &str, value: &str) {
        self.prepare(&format!("set the setting {name:?}"), |setup| {
            setup.secrets.remove(name);
            setup.settings.insert(name.to_owned(), value.to_owned());
        });
    }

    #[track_caller]
    pub(crate) fn set_secret(&self, name: &str, value: &str) {
        self.prepare(&format!("set the secret {name:?}"), |setup| {
            setup.settings.remove(name);
            setup.secrets.insert(name.to_owned(), value.to_owned());
        });
    }

    #[track_caller]
    pub(crate) fn grant_publishing(&self, channel: &str) {
        self.prepare(&format!("grant publishing to {channel:?}"), |setup| {
            setup.publish_to.push(channel.to_owned());
        });
    }

    /// Sends a command that need not start the host.
    #[track_caller]
    fn tell(&self, command: Command) {
        let has_started = self.process.borrow().is_some();
        match has_started {
            true => drop(self.ask(&command)),
            false => self.beginning.borrow_mut().first.push(command),
        }
    }

    /// Sends a command, and notes the events of the answer. Panics with the host's sentence if the
    /// command fails.
    #[track_caller]
    fn ask(&self, command: &Command) -> Answer {
        if self.process.borrow().is_none() {
            self.start();
        }
        self.said(command)
    }

    #[track_caller]
    fn said(&self, command: &Command) -> Answer {
        let mut process = self.process.borrow_mut();
        let Reply { answer, happened } = process.as_mut().expect("it has started").ask(command);
        drop(process);
        for happened in happened {
            self.seen.borrow_mut().note(happened);
        }
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn start(&self) {
        *self.process.borrow_mut() = Some(Process::start(&self.component));
        let Beginning { setup, first } = self.beginning.take();
        let started = self.said(&Command::Start(setup));
        let Answer::Started { paths: theirs, .. } = started else { unexpected(&started) };
        if let Some((name, paths)) = self.wanted
            && theirs != paths
        {
            panic!(
                "{} is another channel: its paths are {theirs:?}, those of {name} are {paths:?}; \
                 make the host with `TestHost::native::<{name}>()`, or with \
                 `TestHost::component(path)` and the component of {name}",
                self.component.display(),
            );
        }
        for command in first {
            self.said(&command);
        }
    }
}

/// Panics for the answer to another command. Kit and host are of one version, so it cannot come.
#[track_caller]
fn unexpected(answer: &Answer) -> ! {
    panic!("the host has answered something else: {answer:?}")
}

impl Seen {
    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Received { client, message } => {
                self.client(client).inbox.push_back(received(message));
            }
            Happened::Closed { client, code, reason } => {
                let mailbox = self.client(client);
                mailbox.closed = Some((code, reason));
                mailbox.has_ended = true;
            }
            Happened::Ended { client } => self.client(client).has_ended = true,
            Happened::Logged { level, message, fields } => {
                let level = level.parse().unwrap_or(Level::Info);
                self.log.push(LogLine { level, message, fields });
            }
            Happened::Warned(error) => {
                // Tests that fail show it, as natively.
                eprintln!("handler failed: {error}");
                self.errors.push(error);
            }
            Happened::Requested { method, url, headers: theirs, body } => {
                let headers = headers(theirs);
                self.requests.push(HttpRequest { method, url, headers, body: body.0 });
            }
            Happened::Published { channel, room, message } => {
                let message = received(message);
                self.published.push(Published { channel, room, message });
            }
        }
    }

    /// Returns the mailbox of a client, which is made for one that has just connected.
    #[expect(clippy::indexing_slicing, reason = "there are more than `number` by then")]
    fn client(&mut self, number: usize) -> &mut Mailbox {
        while self.clients.len() <= number {
            self.clients.push(Mailbox::default());
        }
        &mut self.clients[number]
    }
}

fn received(message: Message) -> Received {
    match message {
        Message::Text(text) => Received::Text(text),
        Message::Binary(data) => Received::Binary(data.0),
        Message::Ping(data) => Received::Ping(data.0),
    }
}

fn headers(headers: Headers) -> Vec<(String, Vec<u8>)> {
    headers.into_iter().map(|(name, value)| (name, value.0)).collect()
}

fn to_headers(headers: &[(String, Vec<u8>)]) -> Headers {
    headers.iter().map(|(name, value)| (name.clone(), HexBytes(value.clone()))).collect()
}

/// The actions of a test.
impl ComponentHost {
    #[track_caller]
    pub(crate) fn connect(self: &Rc<Self>, ask: Ask) -> Result<Client, Refused> {
        let Ask { target, headers: asked, remote_address, claims } = ask;
        let Ok(remote) = remote_address.parse() else {
            panic!("{remote_address:?} is no address with a port, such as 192.0.2.1:50000");
        };
        let headers = to_headers(&asked);
        let answer = self.ask(&Command::Connect { target, headers, remote, claims });
        let (number, id, theirs) = match answer {
            Answer::Connected { client, id, headers } => (client, id, headers),
            Answer::Refused { status, headers: theirs, body } => {
                let headers = self::headers(theirs);
                return Err(Refused::Http { status, headers, body: body.0 });
            }
            other => unexpected(&other),
        };
        let mut seen = self.seen.borrow_mut();
        let mailbox = seen.client(number);
        let Some(id) = id else {
            let (code, reason) = mailbox.closed.take().unwrap_or_default();
            let messages = mailbox.inbox.drain(..).collect();
            return Err(Refused::Close { messages, code, reason });
        };
        mailbox.id = id;
        mailbox.headers = self::headers(theirs);
        Ok(Client::of_component(self.clone(), number))
    }

    /// Makes a client act.
    #[track_caller]
    pub(crate) fn client_acts(&self, client: usize, act: Act) {
        self.ask(&Command::Client { client, act });
    }

    /// Makes a client end its connection.
    #[track_caller]
    pub(crate) fn client_ends(&self, client: usize, act: Act) {
        self.mailbox(client, |mailbox| mailbox.has_ended = true);
        self.client_acts(client, act);
    }

    pub(crate) fn mailbox<R>(&self, client: usize, look: impl FnOnce(&mut Mailbox) -> R) -> R {
        look(self.seen.borrow_mut().client(client))
    }

    /// Returns the description of a client's connection.
    #[track_caller]
    pub(crate) fn connection(&self, client: usize) -> Kept {
        match self.ask(&Command::Connection { client }) {
            Answer::Connection { session, joined, user, labels } => {
                Kept { session: session.0, joined, user, labels }
            }
            other => unexpected(&other),
        }
    }

    #[track_caller]
    pub(crate) fn http_answer(&self, url: &str, answer: &HttpAnswer) {
        let answer = match answer.outcome() {
            Ok(Response { status, headers, body }) => Scripted::Response {
                status: *status,
                headers: to_headers(headers),
                body: HexBytes(body.clone()),
            },
            Err(error) => {
                Scripted::Failure { code: error.code.clone(), detail: error.detail.clone() }
            }
        };
        self.tell(Command::HttpAnswer { url: url.to_owned(), answer });
    }

    #[track_caller]
    pub(crate) fn accept_token(&self, token: &str, claims: &str) {
        self.tell(Command::Token { token: token.to_owned(), claims: claims.to_owned() });
    }

    #[track_caller]
    pub(crate) fn remove_channel(&self, channel: &str) {
        self.tell(Command::RemoveChannel { name: channel.to_owned() });
    }

    #[track_caller]
    pub(crate) fn reload(&self, component: &Path) {
        self.ask(&Command::Reload { file: component.to_owned() });
    }

    #[track_caller]
    pub(crate) fn advance(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let nanoseconds = by.subsec_nanos() % 1_000_000;
        self.ask(&Command::Advance { milliseconds, nanoseconds });
    }

    #[track_caller]
    pub(crate) fn outside_message(&self, message: &Value) -> Result<Value, OutsideRefusal> {
        match self.ask(&Command::Outside { message: message.clone() }) {
            Answer::Outside { status: 200, body } => Ok(body),
            Answer::Outside { status, body } => Err(OutsideRefusal { status, body }),
            other => unexpected(&other),
        }
    }

    #[track_caller]
    pub(crate) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        match self.ask(&Command::Stored { key: key.to_owned() }) {
            Answer::Stored { value } => value.map(|value| value.0),
            other => unexpected(&other),
        }
    }

    #[track_caller]
    pub(crate) fn store(&self, key: &str, value: &[u8]) {
        self.ask(&Command::Store { key: key.to_owned(), value: value.into() });
    }
}

/// The view of a test.
impl ComponentHost {
    #[track_caller]
    pub(crate) fn members(&self, room: &str) -> Vec<String> {
        self.room(room).members
    }

    #[track_caller]
    pub(crate) fn present(&self, room: &str) -> Vec<String> {
        self.room(room).present
    }

    #[track_caller]
    pub(crate) fn room_state(&self, room: &str) -> Option<Vec<u8>> {
        self.room(room).state
    }

    #[track_caller]
    fn room(&self, room: &str) -> KeptRoom {
        match self.ask(&Command::Room { name: room.to_owned() }) {
            Answer::Room { members, state, present } => {
                KeptRoom { members, state: state.map(|state| state.0), present }
            }
            other => unexpected(&other),
        }
    }

    #[track_caller]
    pub(crate) fn connections_of(&self, user: &str) -> Vec<String> {
        match self.ask(&Command::User { name: user.to_owned() }) {
            Answer::User { connections } => connections,
            other => unexpected(&other),
        }
    }

    pub(crate) fn take_log(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.seen.borrow_mut().log)
    }

    pub(crate) fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.borrow_mut().errors)
    }

    pub(crate) fn take_requests(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.seen.borrow_mut().requests)
    }

    pub(crate) fn take_published(&self) -> Vec<Published> {
        std::mem::take(&mut self.seen.borrow_mut().published)
    }

    /// Returns the messages that the test has not looked at, by client.
    pub(crate) fn unread(&self) -> Vec<(String, Vec<Received>)> {
        let seen = self.seen.borrow();
        let unread = seen.clients.iter().filter(|mailbox| !mailbox.inbox.is_empty());
        unread.map(|of| (of.id.clone(), of.inbox.iter().cloned().collect())).collect()
    }

    /// Returns the next message of the client with this id.
    pub(crate) fn next_of(&self, id: &str) -> Option<Received> {
        let mut seen = self.seen.borrow_mut();
        let mailbox = seen.clients.iter_mut().find(|mailbox| mailbox.id == id);
        mailbox?.inbox.pop_front()
    }
}
