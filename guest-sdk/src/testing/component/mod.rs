//! The second level of the test kit: the channel as it was compiled, in the host itself.
//!
//! The host is a process of its own (`wharf test-host`), which has fake clients and a clock that
//! stands still. It is started when a test first needs it, so that what belongs to its configuration can
//! be said before. A command is answered when all that it causes has happened; what the clients
//! got by then comes with the answer, and waits here until the test asks for it.

mod process;
pub(crate) mod protocol;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Received};
use super::connecting::Refused;
use super::effects::{Limits, Published};
use super::host::LogLine;
use super::http::{HttpAnswer, HttpRequest};
use crate::outside::OutsideRefusal;
use process::Process;
use protocol::{bytes, headers, hex, received, text, texts, to_headers};

/// Names the component that `TestHost::new` runs.
const COMPONENT: &str = "WHARF_TEST_COMPONENT";

/// The component that the tests are to run, where there is one.
pub(crate) fn from_environment() -> Option<PathBuf> {
    std::env::var_os(COMPONENT).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The channel that a component must be: its type's name, and its paths.
type Wanted = (&'static str, &'static [&'static str]);

/// A host with one component.
pub(crate) struct ComponentHost {
    component: PathBuf,
    wanted: Option<Wanted>,
    setup: RefCell<Setup>,
    process: RefCell<Option<Process>>,
    seen: RefCell<Seen>,
}

/// What the host's configuration is made of, before it starts.
#[derive(Default)]
struct Setup {
    settings: BTreeMap<String, String>,
    limits: Option<Limits>,
    publish_to: Vec<String>,
    /// Commands for when it has started.
    first: Vec<Value>,
}

/// What has happened, until a test asks for it.
#[derive(Default)]
struct Seen {
    clients: Vec<Mailbox>,
    log: Vec<LogLine>,
    errors: Vec<String>,
    requests: Vec<HttpRequest>,
    published: Vec<Published>,
}

/// What a client has.
#[derive(Default)]
pub(crate) struct Mailbox {
    pub(crate) id: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) inbox: VecDeque<Received>,
    /// The close frame that it got.
    pub(crate) closed: Option<(u16, String)>,
    /// Its connection is over.
    pub(crate) has_ended: bool,
}

/// A client that asks for a path.
pub(crate) struct Ask {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) remote_address: String,
    pub(crate) claims: Option<String>,
}

/// Before and after the host has started.
impl ComponentHost {
    pub(crate) fn new(component: &Path, wanted: Option<Wanted>) -> Rc<Self> {
        Rc::new(Self {
            component: component.to_owned(),
            wanted,
            setup: RefCell::default(),
            process: RefCell::default(),
            seen: RefCell::default(),
        })
    }

    /// Change what the host starts with.
    #[track_caller]
    fn prepare(&self, what: &str, change: impl FnOnce(&mut Setup)) {
        if self.process.borrow().is_some() {
            panic!(
                "{what} before the first client connects: a host that runs a component has its \
                 configuration from the start (make the host natively for this test, with \
                 `TestHost::native`, if it must change)"
            );
        }
        change(&mut self.setup.borrow_mut());
    }

    #[track_caller]
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.prepare("set the limits", |setup| setup.limits = Some(limits));
    }

    #[track_caller]
    pub(crate) fn set_setting(&self, name: &str, value: &str) {
        self.prepare(&format!("set the setting {name:?}"), |setup| {
            setup.settings.insert(name.to_owned(), value.to_owned());
        });
    }

    #[track_caller]
    pub(crate) fn grant_publishing(&self, channel: &str) {
        self.prepare(&format!("grant publishing to {channel:?}"), |setup| {
            setup.publish_to.push(channel.to_owned());
        });
    }

    /// A command that the host need not be started for.
    #[track_caller]
    fn tell(&self, command: Value) {
        let has_started = self.process.borrow().is_some();
        match has_started {
            true => drop(self.ask(command)),
            false => self.setup.borrow_mut().first.push(command),
        }
    }

    /// Have the host do something, and take note of all that happens. Panics with what it says if it
    /// cannot.
    #[track_caller]
    fn ask(&self, command: Value) -> Value {
        if self.process.borrow().is_none() {
            self.start();
        }
        self.said(&command)
    }

    #[track_caller]
    fn said(&self, command: &Value) -> Value {
        let mut process = self.process.borrow_mut();
        let mut said = process.as_mut().expect("it has started").ask(command);
        drop(process);
        for happened in said["happened"].as_array().into_iter().flatten() {
            self.seen.borrow_mut().note(happened);
        }
        match said.get("error") {
            Some(error) => panic!("{}", text(error)),
            None => said["answer"].take(),
        }
    }

    #[track_caller]
    fn start(&self) {
        *self.process.borrow_mut() = Some(Process::start(&self.component));
        let Setup { settings, limits, publish_to, first } = self.setup.take();
        let started = self.said(&json!({
            "do": "start", "settings": settings, "limits": limits, "publish_to": publish_to,
        }));
        if let Some((name, paths)) = self.wanted {
            let theirs = texts(&started["paths"]);
            if theirs != paths {
                panic!(
                    "{} is another channel: its paths are {theirs:?}, those of {name} are \
                     {paths:?}; make the host with `TestHost::native::<{name}>()`, or with \
                     `TestHost::component(path)` and the component of {name}",
                    self.component.display(),
                );
            }
        }
        for command in first {
            self.said(&command);
        }
    }
}

impl Seen {
    fn note(&mut self, happened: &Value) {
        if let Some(client) = happened["client"].as_u64() {
            let mailbox = self.client(client as usize);
            if let Some(message) = received(happened) {
                mailbox.inbox.push_back(message);
            } else if let Some(close) = happened.get("closed") {
                let code = close[0].as_u64().and_then(|code| u16::try_from(code).ok());
                mailbox.closed = Some((code.unwrap_or_default(), text(&close[1])));
                mailbox.has_ended = true;
            } else {
                mailbox.has_ended = true;
            }
        } else if let Some(line) = happened.get("log") {
            self.log.push(protocol::log_line(line));
        } else if let Some(error) = happened.get("error") {
            let error = text(error);
            // Shown by tests that fail, as natively.
            eprintln!("handler failed: {error}");
            self.errors.push(error);
        } else if let Some(request) = happened.get("request") {
            self.requests.push(protocol::request(request));
        } else if let Some(published) = happened.get("published") {
            self.published.extend(protocol::published(published));
        }
    }

    /// What a client has; one that has just connected is new.
    fn client(&mut self, number: usize) -> &mut Mailbox {
        while self.clients.len() <= number {
            self.clients.push(Mailbox::default());
        }
        &mut self.clients[number]
    }
}

/// What a test does.
impl ComponentHost {
    #[track_caller]
    pub(crate) fn connect(self: &Rc<Self>, ask: Ask) -> Result<Client, Refused> {
        let Ask { target, headers: asked, remote_address, claims } = ask;
        if remote_address.parse::<std::net::SocketAddr>().is_err() {
            panic!("{remote_address:?} is no address with a port, such as 192.0.2.1:50000");
        }
        let answer = self.ask(json!({
            "do": "connect", "target": target, "headers": to_headers(&asked),
            "remote": remote_address, "claims": claims,
        }));
        let number = answer["client"].as_u64().unwrap_or_default() as usize;
        if let Some(refused) = answer.get("refused") {
            return Err(Refused::Http {
                status: refused["status"].as_u64().unwrap_or_default() as u16,
                headers: headers(&refused["headers"]),
                body: bytes(&refused["body"]),
            });
        }
        let mut seen = self.seen.borrow_mut();
        let mailbox = seen.client(number);
        let Some(id) = answer["id"].as_str() else {
            let (code, reason) = mailbox.closed.take().unwrap_or_default();
            let messages = mailbox.inbox.drain(..).collect();
            return Err(Refused::Close { messages, code, reason });
        };
        id.clone_into(&mut mailbox.id);
        mailbox.headers = headers(&answer["headers"]);
        Ok(Client::of_component(self.clone(), number))
    }

    /// Have a client send something. `what` has the name of the command and all but the client.
    #[track_caller]
    pub(crate) fn client_does(&self, client: usize, mut what: Value) {
        what["client"] = json!(client);
        self.ask(what);
    }

    /// A client goes, of itself.
    #[track_caller]
    pub(crate) fn client_ends(&self, client: usize, how: Value) {
        self.mailbox(client, |mailbox| mailbox.has_ended = true);
        self.client_does(client, how);
    }

    pub(crate) fn mailbox<R>(&self, client: usize, look: impl FnOnce(&mut Mailbox) -> R) -> R {
        look(self.seen.borrow_mut().client(client))
    }

    /// What the host keeps of a client's connection.
    #[track_caller]
    pub(crate) fn connection(&self, client: usize) -> Value {
        self.ask(json!({ "do": "connection", "client": client }))
    }

    #[track_caller]
    pub(crate) fn http_answer(&self, url: &str, answer: &HttpAnswer) {
        let answer = protocol::answer(answer);
        self.tell(json!({ "do": "http_answer", "url": url, "answer": answer }));
    }

    #[track_caller]
    pub(crate) fn accept_token(&self, token: &str, claims: &str) {
        self.tell(json!({ "do": "token", "token": token, "claims": claims }));
    }

    #[track_caller]
    pub(crate) fn remove_channel(&self, channel: &str) {
        self.tell(json!({ "do": "remove_channel", "name": channel }));
    }

    #[track_caller]
    pub(crate) fn reload(&self, component: &Path) {
        self.ask(json!({ "do": "reload", "file": component }));
    }

    #[track_caller]
    pub(crate) fn advance(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let nanoseconds = by.subsec_nanos() % 1_000_000;
        self.ask(json!({
            "do": "advance", "milliseconds": milliseconds, "nanoseconds": nanoseconds,
        }));
    }

    #[track_caller]
    pub(crate) fn outside_message(&self, message: &Value) -> Result<Value, OutsideRefusal> {
        let mut answer = self.ask(json!({ "do": "outside", "message": message }));
        let status = answer["status"].as_u64().unwrap_or_default() as u16;
        let body = answer["body"].take();
        match status {
            200 => Ok(body),
            _ => Err(OutsideRefusal { status, body }),
        }
    }

    #[track_caller]
    pub(crate) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.ask(json!({ "do": "stored", "key": key }));
        answer.is_string().then(|| bytes(&answer))
    }

    #[track_caller]
    pub(crate) fn store(&self, key: &str, value: &[u8]) {
        self.ask(json!({ "do": "store", "key": key, "value": hex(value) }));
    }
}

/// What a test sees.
impl ComponentHost {
    #[track_caller]
    pub(crate) fn members(&self, room: &str) -> Vec<String> {
        texts(&self.room(room)["members"])
    }

    #[track_caller]
    pub(crate) fn present(&self, room: &str) -> Vec<String> {
        texts(&self.room(room)["present"])
    }

    #[track_caller]
    pub(crate) fn room_state(&self, room: &str) -> Option<Vec<u8>> {
        let state = &self.room(room)["state"];
        state.is_string().then(|| bytes(state))
    }

    #[track_caller]
    fn room(&self, room: &str) -> Value {
        self.ask(json!({ "do": "room", "name": room }))
    }

    #[track_caller]
    pub(crate) fn connections_of(&self, user: &str) -> Vec<String> {
        texts(&self.ask(json!({ "do": "user", "name": user }))["connections"])
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

    /// What each client has not looked at.
    pub(crate) fn unread(&self) -> Vec<(String, Vec<Received>)> {
        let seen = self.seen.borrow();
        let unread = seen.clients.iter().filter(|mailbox| !mailbox.inbox.is_empty());
        unread.map(|of| (of.id.clone(), of.inbox.iter().cloned().collect())).collect()
    }

    /// The next message of the client with this id.
    pub(crate) fn next_of(&self, id: &str) -> Option<Received> {
        let mut seen = self.seen.borrow_mut();
        let mailbox = seen.clients.iter_mut().find(|mailbox| mailbox.id == id);
        mailbox?.inbox.pop_front()
    }
}
