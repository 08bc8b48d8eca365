//! Clients of three nodes in rooms that keep their messages, with an engine in this process and a clock that is moved:
//! they join, leave, lose their connections and come back to other nodes, while links are slow and break and logs are
//! removed. Each client gets each message once and in the one order of its room, or is told of what is missing.
//!
//! `WHARF_SIMULATION_RUNS` is the number of runs, 200 by default. `WHARF_SIMULATION_SEED` is the seed of the first one; a
//! failure names its own.

mod dice;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use wharf_cluster::memory::Server;
use wharf_cluster::{Engine, Limits};
use wharf_contract::effects::EffectLimits;
use wharf_contract::history::{HistoryRule, Retention, RoomPattern};
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::effects::{Effect, Effects};
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::history::AskedPositions;
use wharf_hub::hub::{Channels, Hub, RecordedChanges};
use wharf_hub::inbox::InboxLimits;
use wharf_hub::outbound::{Outbound, PendingWrites};
use wharf_hub::peers::Cluster;
use wharf_hub::presence::PresenceTiming;
use wharf_hub::recipients::Recipients;
use wharf_hub::transport::{Reader, Transport, memory};
use wharf_node::{Node, Settings};

use dice::Dice;

const NODES: usize = 3;
const CLIENTS: usize = 9;
const ROOMS: [&str; 3] = ["kept", "short", "free"];
const CHANNEL: &str = "chat";

struct Host {
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    node: Arc<Node>,
    _hubs: Arc<Channels>,
}

/// A place that a client has been told: epoch and offset.
type Place = (String, u64);

struct Client {
    node: usize,
    is_positioned: bool,
    record: Arc<ConnectionRecord>,
    stream: memory::Stream,
    _reader: Reader,
    unread: Vec<u8>,
    /// Held during an event of the client.
    turn: Arc<tokio::sync::Mutex<()>>,
    asked: BTreeMap<String, Place>,
    known: BTreeMap<String, Place>,
    /// The position of the message that comes next.
    next: Option<(String, Place)>,
    got: BTreeMap<(String, Place), String>,
    /// Messages of this connection.
    heard: BTreeSet<String>,
    has_jumped: bool,
}

struct World {
    dice: Dice,
    server: Server,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    sent: u64,
    has_removed: bool,
    /// The message of each place, as the first client has seen it.
    all: BTreeMap<(String, Place), String>,
    /// Messages of clients that have joined a room by the same event, and were let out.
    entered: Arc<Mutex<Vec<(usize, u64, String)>>>,
    /// Connections that have left a room, perhaps before they got what was sent there.
    left: Arc<Mutex<BTreeSet<u64>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn rules() -> Vec<HistoryRule> {
    let rule = |rooms: &str, messages| HistoryRule {
        rooms: RoomPattern::new(rooms).expect("a pattern"),
        retention: Retention { messages, ..Retention::default() },
    };
    vec![rule("kept", 1000), rule("short", 3)]
}

fn connect(hub: &Hub, asked: Option<&str>) -> (Arc<ConnectionRecord>, memory::Stream, Reader) {
    let request = UpgradeRequest {
        path: "/".into(),
        query: "".into(),
        params: Box::new([]),
        headers: RequestHeaders::default(),
        remote: wharf_hub::remote::Remote::Unix,
        subprotocol: None,
    };
    let (server, client) = memory::pair(1 << 20);
    let (reader, writer) = Transport::from(server).into_split();
    let asked = asked.map(|text| AskedPositions::read(text, |room| Some(room.to_owned())));
    let record = ConnectionRecord::new(request, Outbound::new(1 << 20, Default::default()));
    let record = Arc::new(record.with_positions(asked));
    record.outbound.attach(writer);
    hub.connect(&record);
    (record, client, reader)
}

/// Reads what is there, without a wait.
async fn read_now(stream: &mut memory::Stream, into: &mut Vec<u8>) {
    loop {
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = std::future::poll_fn(|context| {
            let polled = Pin::new(&mut *stream).poll_read(context, &mut buffer);
            Poll::Ready(polled.is_ready())
        });
        if !read.await || buffer.filled().is_empty() {
            return;
        }
        into.extend_from_slice(buffer.filled());
    }
}

/// Takes the first message out of the bytes of a stream.
fn take_message(bytes: &mut Vec<u8>) -> Option<String> {
    let (length, header) = match *bytes.get(1)? {
        126 => (u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]) as usize, 4),
        length => (length as usize, 2),
    };
    if bytes.len() < header + length {
        return None;
    }
    let message = bytes.drain(..header + length).skip(header).collect();
    Some(String::from_utf8(message).expect("text"))
}

/// Returns a field of a note.
fn field<'a>(note: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = note.split_once(&format!(r#""{name}":"#))?;
    let end = rest.find([',', '}']).expect("an end");
    Some(rest.get(..end)?.trim_matches('"'))
}

impl World {
    async fn new(seed: u64) -> World {
        let server = Server::new(seed);
        let mut hosts = Vec::new();
        for number in 0..NODES {
            let name = format!("node {number}");
            let (engine, deliveries) = server.node(&name, &Limits::default());
            server.delay(&name, Duration::ZERO, Duration::from_millis(20));
            let engine: Arc<dyn Engine> = Arc::new(engine);
            let hubs = Arc::new(Channels::default());
            let settings = Settings {
                name,
                version: "0".into(),
                started: 1,
                timeout: Duration::from_secs(5),
                inbox: InboxLimits { events: 1, bytes: 1, channel_bytes: 1 },
                max_rooms: 10,
                room_inbox: InboxLimits { events: 1, bytes: 1, channel_bytes: 1 },
            };
            let node = Node::start(engine.clone(), deliveries, hubs.clone(), settings);
            let hub = Hub::new(PresenceTiming::default())
                .with_history(rules(), 1 << 20, Box::new(|| 1))
                .with_peers(node.peers(CHANNEL))
                .with_logs(node.logs(CHANNEL, 1 << 20));
            let hub = Arc::new(hub);
            hubs.add(CHANNEL, &hub);
            hosts.push(Host { engine, hub, node, _hubs: hubs });
        }
        let mut world = World {
            dice: Dice::new(seed),
            server,
            hosts,
            clients: Vec::new(),
            sent: 0,
            has_removed: false,
            all: BTreeMap::new(),
            entered: Arc::default(),
            left: Arc::default(),
            tasks: Vec::new(),
        };
        for number in 0..CLIENTS {
            let (node, is_positioned) = (number % NODES, number % 4 != 3);
            let hub = &world.hosts[node].hub;
            let (record, stream, reader) = connect(hub, is_positioned.then_some(""));
            world.clients.push(Client {
                node,
                is_positioned,
                record,
                stream,
                _reader: reader,
                unread: Vec::new(),
                turn: Arc::default(),
                asked: BTreeMap::new(),
                known: BTreeMap::new(),
                next: None,
                got: BTreeMap::new(),
                heard: BTreeSet::new(),
                has_jumped: false,
            });
        }
        world
    }

    fn text(&mut self) -> (String, Frame) {
        self.sent += 1;
        let text = format!("m{}", self.sent);
        let frame = Frame::encode(FrameKind::Text, text.as_bytes());
        (text, frame)
    }

    fn broadcast(&mut self) {
        let hub = self.hosts[self.dice.below(NODES as u64) as usize].hub.clone();
        let (_, frame) = self.text();
        let count = if self.dice.one_in(4) { 2 } else { 1 };
        let first = self.dice.below(3) as usize;
        let rooms: Vec<Arc<str>> = (first..first + count).map(|at| ROOMS[at % 3].into()).collect();
        let to = match &*rooms {
            [room] => Recipients::Room(room.clone()),
            _ => Recipients::Rooms(rooms.into()),
        };
        let except = self.dice.below(2 * CLIENTS as u64) as usize;
        let except = self.clients.get(except).map(|client| client.record.id);
        self.tasks.push(tokio::spawn(async move {
            let mut writes = PendingWrites::default();
            // It is refused while the link is cut.
            let _ = hub.broadcast_kept(to, frame, except, &mut writes).await;
            writes.write().await;
        }));
    }

    /// Has a client join a room, and perhaps speak to it in the same event.
    fn join(&mut self, speaks: bool) {
        let number = self.dice.below(CLIENTS as u64) as usize;
        let room = self.dice.below(2) as usize;
        let (text, frame) = self.text();
        let client = &self.clients[number];
        let (hub, record) = (self.hosts[client.node].hub.clone(), client.record.clone());
        let (turn, entered) = (client.turn.clone(), self.entered.clone());
        let connection = record.id.number;
        self.tasks.push(tokio::spawn(async move {
            let _turn = turn.lock().await;
            let room: Arc<str> = ROOMS[room].into();
            let (mut effects, mut writes) = (Effects::default(), PendingWrites::default());
            let limits = EffectLimits { count: 10, bytes: 1 << 20 };
            let was_in = record.is_in(&room);
            effects.record(Effect::Join(room.clone(), None), &hub, limits).expect("a join");
            if speaks {
                let (to, except) = (Recipients::Room(room), None);
                let effect = Effect::Broadcast { to, frame, except, kept: None };
                effects.record(effect, &hub, limits).expect("a broadcast");
            }
            let mut changes = RecordedChanges::default();
            changes.history(&mut effects, &hub);
            if hub.record_all(changes, &mut effects).await.is_ok() {
                effects.commit(Some(&record), 0, &hub, &mut writes).await;
                if speaks && !was_in {
                    entered.lock().expect("a lock").push((number, connection, text));
                }
            }
            writes.write().await;
        }));
    }

    fn leave(&mut self) {
        let number = self.dice.below(CLIENTS as u64) as usize;
        let room = ROOMS[self.dice.below(2) as usize];
        let client = &self.clients[number];
        let (hub, record, turn) =
            (self.hosts[client.node].hub.clone(), client.record.clone(), client.turn.clone());
        let left = self.left.clone();
        self.tasks.push(tokio::spawn(async move {
            let _turn = turn.lock().await;
            left.lock().expect("a lock").insert(record.id.number);
            hub.leave(&record, room);
        }));
    }

    /// Has a client lose its connection, and come to a node with what it knows.
    async fn reconnect(&mut self) {
        let number = self.dice.below(CLIENTS as u64) as usize;
        let Ok(turn) = self.clients[number].turn.clone().try_lock_owned() else { return };
        self.read(number).await;
        let node = self.dice.below(NODES as u64) as usize;
        let client = &mut self.clients[number];
        self.hosts[client.node].hub.remove(&client.record);
        client.asked = client.known.clone();
        let asked = client.asked.iter().map(|(room, (epoch, at))| format!("{room},{epoch},{at}"));
        let asked = asked.collect::<Vec<_>>().join(";");
        let asked = client.is_positioned.then_some(&*asked);
        let (record, stream, reader) = connect(&self.hosts[node].hub, asked);
        (client.node, client.record, client.stream, client._reader) =
            (node, record, stream, reader);
        client.unread.clear();
        client.heard.clear();
        (client.next, client.has_jumped) = (None, false);
        drop(turn);
    }

    /// Reads what a client has got, and checks it.
    async fn read(&mut self, number: usize) {
        let client = &mut self.clients[number];
        read_now(&mut client.stream, &mut client.unread).await;
        while let Some(message) = take_message(&mut client.unread) {
            let who = format!("client {number}: {message}");
            let kind = field(&message, "type").filter(|kind| kind.starts_with("wharf:"));
            let Some(kind) = kind else {
                let is_new = client.heard.insert(message.clone());
                // One that comes to a room later may get from its log what it has got in another one.
                assert!(is_new || client.is_positioned, "{who} came twice");
                let Some(place) = client.next.take() else { continue };
                let before = client.got.insert(place.clone(), message.clone());
                assert_eq!(before, None, "{who} came twice");
                let known = self.all.entry(place).or_insert_with(|| message.clone());
                assert_eq!(*known, message, "one place has one message");
                continue;
            };
            assert!(client.is_positioned && client.next.is_none(), "{who}");
            let text = |name| field(&message, name).map(str::to_owned);
            let room = text("room").expect("a room");
            let offset = text("offset").and_then(|text| text.parse().ok()).expect("a number");
            let place = (text("epoch").expect("an epoch"), offset);
            if kind == "wharf:history" {
                let asked = client.asked.remove(&room);
                match (field(&message, "recovered"), text("reason").as_deref()) {
                    (Some("true"), None) => {
                        assert_eq!(asked.as_ref(), Some(&place), "{who}: it goes on where it was");
                    }
                    (Some("false"), Some(reason)) => {
                        let is_known = match reason {
                            "new-epoch" | "ahead" => self.has_removed,
                            "trimmed" => room == "short",
                            other => other == "unavailable",
                        };
                        assert!(is_known, "{who}");
                        client.has_jumped = true;
                        // It begins anew, perhaps on a node that is behind.
                        client.got.retain(|(of, _), _| *of != room);
                    }
                    other => assert_eq!((other, asked), ((None, None), None), "{who}"),
                }
            } else {
                let (epoch, last) = client.known.get(&room).cloned().expect("a note came before");
                assert_eq!((epoch, last + 1), place, "{who}: no gap");
                if field(&message, "skipped").is_none() {
                    client.next = Some((room.clone(), place.clone()));
                }
            }
            client.known.insert(room, place);
        }
    }

    async fn disturb(&mut self) {
        let at = self.dice.below(NODES as u64) as usize;
        let name = format!("node {at}");
        match self.dice.below(40) {
            0..16 => self.broadcast(),
            16..20 => self.join(false),
            20..24 => self.join(true),
            24 | 25 => self.leave(),
            26..30 => self.reconnect().await,
            30 | 31 => self.server.cut(&name),
            32..35 => self.server.mend(&name),
            35 if self.dice.one_in(4) => {
                self.has_removed = true;
                let log = format!("log:{CHANNEL}:{}", ROOMS[self.dice.below(2) as usize]);
                let _ = self.hosts[at].engine.remove(&log).await;
            }
            36 => self.hosts[at].hub.sweep(Duration::from_secs(1)).await,
            _ => tokio::time::sleep(Duration::from_millis(self.dice.below(300))).await,
        }
        tokio::task::yield_now().await;
    }

    /// Ends all disturbances, and waits until all are quiet.
    async fn calm(&mut self) {
        for number in 0..NODES {
            self.server.mend(&format!("node {number}"));
        }
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("a task");
        }
        // A removed log whose removal nobody has heard of is looked at when all is quiet.
        for room in ROOMS.iter().take(2).copied() {
            let (_, frame) = self.text();
            let to = Recipients::Room(room.into());
            let mut writes = PendingWrites::default();
            let sent = self.hosts[0].hub.broadcast_kept(to, frame, None, &mut writes).await;
            sent.expect("a link");
            writes.write().await;
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
    }

    async fn check(&mut self) {
        for number in 0..CLIENTS {
            self.read(number).await;
            let client = &self.clients[number];
            for room in client.record.rooms() {
                let hub = &self.hosts[client.node].hub;
                let page = hub.history_everywhere(&room, None, 1).await.expect("a link");
                let known = client.known.get(&*room);
                let is_there = known == Some(&(page.epoch, page.top));
                assert!(!client.is_positioned || is_there, "client {number} in {room}: {known:?}");
            }
        }
        for (number, connection, text) in std::mem::take(&mut *self.entered.lock().expect("a lock"))
        {
            let client = &self.clients[number];
            let has_left = self.left.lock().expect("a lock").contains(&connection);
            let is_there = client.record.id.number == connection && !has_left;
            if is_there && !client.has_jumped && client.is_positioned {
                assert!(
                    client.heard.contains(&text),
                    "client {number} has not heard its own {text}"
                );
            }
        }
    }

    async fn run(seed: u64) {
        let mut world = World::new(seed).await;
        for _ in 0..120 {
            world.disturb().await;
        }
        world.calm().await;
        world.check().await;
        for host in &world.hosts {
            host.node.stop().await;
        }
    }
}

#[test]
fn clients_of_all_nodes_get_each_message_once_in_one_order_or_are_told_what_is_missing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let runs = number("WHARF_SIMULATION_RUNS").unwrap_or(200_u64);
    let first = number("WHARF_SIMULATION_SEED").unwrap_or(1);
    for seed in first..first + runs {
        let run = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(World::run(seed));
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
