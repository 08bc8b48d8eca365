//! The host of one test: one plugin, and its clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::clockwork::Clockwork;
use super::happenings::{Happenings, headers};
use super::limits;
use super::lines::Lines;
use super::script::{KeptSession, Neighbour, Script};
use super::visitor::{Ask, Response, Visitor, VisitorOpcode};
use wharf_config::{AllowedHost, AllowedOrigin, ChannelConfig, Config, Secret, SecretOrigin};
use wharf_contract::handshake::MAX_TARGET_BYTES;
use wharf_contract::kit::{Act, Answer, Command, HexBytes, Setup, Violation};
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::hub::Hub;
use wharf_hub::presence::PresenceTiming;
use wharf_hub::recipients::Group;
use wharf_hub::token::Token;
use wharf_runtime::channel::Channel;
use wharf_runtime::plugin::watch::{Change, look_once};
use wharf_runtime::plugin::{Cache, Engine, Machine};
use wharf_runtime::ports::LoadOutcome;
use wharf_runtime::registry::Registry;
use wharf_server::handshake::Front;
use wharf_server::operator;
use wharf_server::server::serve_transport;

/// Log lines in a second, of which a test misses none.
const LOG_LINES: usize = 1_000_000;

/// Size of the queues of changes and outcomes.
const WAITING: usize = 4;

/// Headers that the host's HTTP needs and no channel sets.
const OF_HTTP: [&str; 5] =
    ["connection", "content-length", "date", "upgrade", "sec-websocket-accept"];

/// The answer to a command, or a sentence about why it has failed.
type Done = Result<Answer, String>;

/// A host with one plugin.
pub(super) struct Host {
    clockwork: Clockwork,
    registry: Arc<Registry>,
    front: Arc<Front>,
    channel: Arc<Channel>,
    script: Script,
    happened: Happenings,
    changes: mpsc::Sender<Change>,
    outcomes: mpsc::Receiver<LoadOutcome>,
    clients: Vec<Connected>,
    /// Channels that the plugin may publish to.
    neighbours: BTreeMap<String, Arc<Hub>>,
}

/// A client, and its connection if it has one.
struct Connected {
    visitor: Visitor,
    id: Option<ConnectionId>,
}

impl Host {
    /// Loads a component, and returns its paths.
    pub(super) fn start(
        file: &Path,
        (machine, cache): (Machine, Option<PathBuf>),
        setup: Setup,
        happened: Happenings,
        lines: &Lines,
    ) -> Result<(Host, Answer), String> {
        let (name, config) = configured(file, setup);
        let publish_to = config.channel(&name).grants.publish_to.clone();
        let cache = cache.map(|folder| Cache::new(folder, config.max_cache_bytes));
        let engine = Engine::new(cache, machine).map_err(|error| format!("{error:#}"))?;
        let loading = engine.clone();
        let clockwork = Clockwork::new(move || loading.is_loading());
        let clockwork = clockwork.map_err(|error| format!("{error:#}"))?;
        let entered = clockwork.enter();
        let script = Script::new(happened.clone());
        let (loads, mut outcomes) = mpsc::channel(WAITING);
        let registry = Registry::new(config.clone(), engine, script.ports(Arc::new(loads)));
        let registry = Arc::new(registry);
        let (changes, changed) = mpsc::channel(WAITING);
        let (scanned, _) = tokio::sync::oneshot::channel();
        tokio::spawn(registry.clone().follow(changed, scanned));
        drop(entered);
        load(&clockwork, &changes, &mut outcomes, file, &name)?;
        // There are no other files: a path without a channel stays one.
        let _ = clockwork.wait(changes.send(Change::Scanned));
        let channel = registry.find(&name).ok_or("the plugin is gone again")?;
        let mut neighbours = BTreeMap::new();
        for name in publish_to {
            let neighbour = Neighbour { name: name.clone(), happened: happened.clone() };
            let hub = Arc::new(Hub::observed(PresenceTiming::default(), Box::new(neighbour)));
            registry.hubs().add(&name, &hub);
            neighbours.insert(name, hub);
        }
        lines.tell();
        clockwork.settle();
        let paths = channel.current().description.paths.clone();
        let front = Arc::new(Front::new(config, registry.clone()));
        let clients = Vec::new();
        let host = Host {
            clockwork,
            registry,
            front,
            channel,
            script,
            happened,
            changes,
            outcomes,
            clients,
            neighbours,
        };
        Ok((host, Answer::Started { channel: name, paths }))
    }

    /// Performs a command of the kit, and all of its effects.
    pub(super) fn obey(&mut self, command: Command) -> Done {
        match command {
            Command::Start(_) => Err("the host has started already".to_owned()),
            Command::Connect { target, headers, remote, claims } => {
                let token = claims.map(|claims| {
                    let _entered = self.clockwork.enter();
                    self.script.tokens.of_client(&claims)
                });
                self.connect(&Ask { target, headers }, remote, token)
            }
            Command::Client { client, act } => self.act(client, act),
            Command::Connection { client } => self.connection(client),
            Command::Room { name } => Ok(self.room(&name)),
            Command::User { name } => {
                Ok(Answer::User { connections: self.members(Group::User(&name)) })
            }
            Command::Advance { milliseconds, nanoseconds } => {
                let by = Duration::from_millis(milliseconds)
                    .saturating_add(Duration::from_nanos(nanoseconds.into()));
                self.clockwork.advance(by).map_err(|error| error.to_string())?;
                Ok(Answer::Done)
            }
            Command::Outside { message } => self.ask(&message),
            Command::HttpAnswer { url, answer } => {
                self.script.http.answer_for(url, answer);
                Ok(Answer::Done)
            }
            Command::Token { token, claims } => {
                self.script.tokens.accept(token, claims);
                Ok(Answer::Done)
            }
            Command::RemoveChannel { name } => {
                if self.neighbours.remove(&name).is_some() {
                    self.registry.hubs().remove(&name);
                }
                Ok(Answer::Done)
            }
            Command::Reload { file } => {
                let name = self.channel.name().to_owned();
                load(&self.clockwork, &self.changes, &mut self.outcomes, &file, &name)?;
                Ok(self.settled())
            }
            Command::Stored { key } => {
                let store = &self.channel.context.store;
                let found = self.clockwork.wait(async { store.get(&key).await });
                let found = found.map_err(|error| error.to_string())?;
                let value = found.map(|entry| HexBytes(entry.value.to_vec()));
                Ok(Answer::Stored { value })
            }
            Command::Store { key, value: HexBytes(value) } => {
                let store = &self.channel.context.store;
                let set = self.clockwork.wait(async { store.set(&key, value.into(), None).await });
                set.map_err(|error| error.to_string())?;
                Ok(Answer::Done)
            }
        }
    }

    /// Ends the host.
    pub(super) fn end(self) {
        self.clockwork.end();
    }

    /// Waits until everything that has begun has happened.
    fn settled(&self) -> Answer {
        self.clockwork.settle();
        Answer::Done
    }

    fn client(&self, client: usize) -> Result<&Connected, String> {
        self.clients.get(client).ok_or_else(|| format!("there is no client {client}"))
    }

    fn act(&self, client: usize, act: Act) -> Done {
        let visitor = &self.client(client)?.visitor;
        match act {
            Act::Text(text) => visitor.send(VisitorOpcode::Text, text.as_bytes()),
            Act::Binary(data) => visitor.send(VisitorOpcode::Binary, &data.0),
            Act::Ping(data) => visitor.send(VisitorOpcode::Ping, &data.0),
            Act::Pong(data) => visitor.send(VisitorOpcode::Pong, &data.0),
            Act::Close(code, reason) => {
                let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
                visitor.send(VisitorOpcode::Close, &payload);
            }
            Act::Vanish => visitor.vanish(),
            Act::Violate(Violation::ProtocolError) => visitor.send(VisitorOpcode::Reserved, &[]),
            Act::Violate(Violation::InvalidUtf8) => visitor.send(VisitorOpcode::Text, &[0xff]),
            Act::Violate(Violation::MessageTooBig) => {
                visitor.announce(self.front.config.max_message_bytes + 1);
            }
        }
        Ok(self.settled())
    }

    fn connect(&mut self, ask: &Ask, remote: SocketAddr, token: Option<Token>) -> Done {
        let is_line = |bytes: &[u8]| !bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
        for (name, value) in &ask.headers {
            if !is_line(name.as_bytes()) || !is_line(&value.0) {
                return Err(format!("the header {name:?} has a line break in it"));
            }
        }
        let client = self.clients.len();
        let before = self.script.sessions.newest();
        {
            let _entered = self.clockwork.enter();
            let (visitor, stream) = Visitor::ask(client, ask, self.happened.clone());
            tokio::spawn(serve_transport(self.front.clone(), stream.into(), remote.into(), token));
            self.clients.push(Connected { visitor, id: None });
        }
        self.clockwork.settle();
        let id = self.script.sessions.newest().filter(|newest| Some(*newest) != before);
        let Some(connected) = self.clients.last_mut() else {
            return Err("the client is gone".to_owned());
        };
        let Some(Response { status, headers, body }) = connected.visitor.response() else {
            return Err(
                "the request has no answer yet: on_connect waits for something, and time passes \
                 only where the test says so; let it wait for nothing, or test what waits with a \
                 timer"
                    .to_owned(),
            );
        };
        let theirs = headers.iter().filter(|(name, _)| !OF_HTTP.contains(&name.as_str()));
        let headers = self::headers(theirs);
        if status != 101 {
            connected.visitor.vanish();
            return Ok(Answer::Refused { status, headers, body: HexBytes(body) });
        }
        connected.id = id;
        // Without an id, the channel has refused it by a close frame.
        let id = id.map(|id| id.to_string());
        Ok(Answer::Connected { client, id, headers })
    }

    fn connection(&self, client: usize) -> Done {
        let id = self.client(client)?.id.ok_or("the client was refused")?;
        let KeptSession { client, session } =
            self.script.sessions.of(id).ok_or("nothing is kept of it")?;
        let labels = client.outbound.labels();
        Ok(Answer::Connection {
            session: HexBytes(session),
            joined: client.rooms().iter().map(|room| room.to_string()).collect(),
            user: client.user().map(|user| user.to_string()),
            labels: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        })
    }

    fn room(&self, name: &str) -> Answer {
        let hub = &self.channel.context.hub;
        let (_, present) = hub.presence_page(name, None, usize::MAX, None);
        Answer::Room {
            members: self.members(Group::Room(name)),
            state: hub.room_state(name).map(|state| HexBytes(state.to_vec())),
            present: present.iter().map(|(key, _)| key.to_string()).collect(),
        }
    }

    /// Returns the ids of a room's members, or of a user's connections.
    fn members(&self, group: Group<'_>) -> Vec<String> {
        let members = self.channel.context.hub.members(group, None, usize::MAX);
        members.iter().map(ConnectionId::to_string).collect()
    }

    /// Asks the channel's code like a request to the operator's API.
    fn ask(&self, message: &Value) -> Done {
        let asked = {
            let _entered = self.clockwork.enter();
            let message = message.to_string().into();
            tokio::spawn(operator::ask(self.channel.clone(), message))
        };
        self.clockwork.settle();
        if !asked.is_finished() {
            return Err("on_outside_message waits for something, and time passes only where the \
                        test says so"
                .to_owned());
        }
        let (status, body) = self.clockwork.wait(asked).map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer::Outside { status: status.as_u16(), body })
    }
}

/// Returns the name of the channel, and the configuration of its host: the defaults, with the
/// settings of the test.
fn configured(file: &Path, setup: Setup) -> (String, Arc<Config>) {
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let mut config = Config {
        // The allowed origins are the operator's choice, which tests do not depend on.
        allowed_origins: AllowedOrigin::parse("*").into_iter().collect(),
        // A target that is too long is refused as such, as natively.
        max_header_bytes: 4 * MAX_TARGET_BYTES,
        allow_null_origin: true,
        log_lines_per_second: LOG_LINES,
        ..Config::default()
    };
    limits::apply(setup.limits, &mut config);
    let secret = |(name, value): (String, String)| (name, Secret::new(value, SecretOrigin::Plain));
    let secrets = setup.secrets.into_iter().map(secret).collect();
    let mut own = ChannelConfig { settings: setup.settings, secrets, ..ChannelConfig::default() };
    own.grants.publish_to = setup.publish_to;
    own.history = setup.history;
    // The test answers for all hosts.
    own.grants.http_hosts = vec![AllowedHost::any()];
    config.channels.insert(name.clone(), Arc::new(own));
    (name, Arc::new(config))
}

/// Loads a component like a file of the plugin folder, under this name.
fn load(
    clockwork: &Clockwork,
    changes: &mpsc::Sender<Change>,
    outcomes: &mut mpsc::Receiver<LoadOutcome>,
    file: &Path,
    name: &str,
) -> Result<(), String> {
    let change = match look_once(file) {
        Change::Settled { path, bytes, sha256, .. } => {
            Change::Settled { name: name.to_owned(), path, bytes, sha256 }
        }
        Change::Unreadable { reason, .. } => return Err(reason),
        Change::Removed { .. } | Change::Scanned => return Err("it is not a file".to_owned()),
    };
    let outcome = clockwork.wait(async {
        changes.send(change).await.ok()?;
        outcomes.recv().await
    });
    match outcome {
        Some(LoadOutcome { refused: None, .. }) => Ok(()),
        Some(LoadOutcome { refused: Some(reason), .. }) => Err(reason),
        None => Err("the host looks at no files any more".to_owned()),
    }
}
