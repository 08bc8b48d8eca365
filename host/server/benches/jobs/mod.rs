//! The jobs that are measured by time (`micro`) and by instructions (`instructions`): single steps
//! of a message's journey, put together from the host's public parts.

mod guest;

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, bail};
use hyper::Request;
use wharf_config::Config;
use wharf_contract::pattern::Pattern;
use wharf_contract::router::{Match, Router};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::hub::Hub;
use wharf_hub::outbound::PendingWrites;
use wharf_hub::recipients::Recipients;
use wharf_server::connection::count_messages;
use wharf_server::handshake::check_upgrade;

/// Size of a message in most jobs, in bytes.
const MESSAGE_BYTES: usize = 64;

/// Members of the room that receives broadcasts.
const MEMBERS: u32 = 100;

/// Frames that come in one block.
const BURST: u32 = 16;

/// A step to measure.
pub trait Job {
    /// Prepares one more run; not measured.
    fn prepare(&mut self) {}

    /// Runs the step; measured.
    fn run(&mut self);
}

/// A job, before it is set up.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Name in tables and in the baseline.
    pub name: &'static str,
    /// Number of units, as the name has them, that one run does.
    pub units: u32,
    /// Function that sets the job up.
    pub set_up: fn() -> anyhow::Result<Box<dyn Job>>,
}

/// Every job.
pub const ALL: [Kind; 11] = [
    Kind { name: "guest-echo", units: 1, set_up: guest::echo },
    Kind { name: "guest-session", units: 1, set_up: guest::session },
    Kind { name: "guest-relay", units: 1, set_up: guest::relay },
    Kind { name: "guest-json", units: 1, set_up: guest::json },
    Kind { name: "guest-five-host-calls", units: 1, set_up: guest::five_host_calls },
    Kind { name: "pool-take-give", units: 1, set_up: guest::pool },
    Kind { name: "fan-out-member", units: MEMBERS, set_up: fan_out },
    Kind { name: "router-100-patterns", units: 1, set_up: router },
    Kind { name: "read-1-message", units: 1, set_up: || Ok(Box::new(Read::new(1))) },
    Kind { name: "read-16-messages", units: BURST, set_up: || Ok(Box::new(Read::new(BURST))) },
    Kind { name: "handshake-check", units: 1, set_up: handshake },
];

impl Kind {
    /// Sets it up and runs it once, so that an error shows before anything is measured.
    pub fn start(self) -> anyhow::Result<Box<dyn Job>> {
        let mut job = (self.set_up)().with_context(|| format!("cannot set up {}", self.name))?;
        job.prepare();
        job.run();
        Ok(job)
    }
}

/// Returns a message of the usual size.
fn message() -> String {
    "m".repeat(MESSAGE_BYTES)
}

/// Broadcasting a frame to a room of the sender's. No member has a socket: the cost of a write is
/// the kernel's.
struct FanOut {
    config: Config,
    frame: Frame,
    to: Recipients,
    /// Rooms for the coming runs.
    fresh: Vec<Lobby>,
    /// Rooms of earlier runs, which are not dropped during a measurement.
    used: Vec<Lobby>,
    writes: PendingWrites,
}

/// A hub with one room, and its members.
struct Lobby {
    hub: Hub,
    members: Vec<Arc<ConnectionRecord>>,
}

fn fan_out() -> anyhow::Result<Box<dyn Job>> {
    Ok(Box::new(FanOut {
        config: Config::default(),
        frame: Frame::encode(FrameKind::Text, message().as_bytes()),
        to: Recipients::Room(Arc::from("lobby")),
        fresh: Vec::new(),
        used: Vec::new(),
        writes: PendingWrites::default(),
    }))
}

impl Job for FanOut {
    fn prepare(&mut self) {
        self.used.clear();
        let mut lobby = Lobby { hub: Hub::default(), members: Vec::new() };
        // So large that nothing is copied behind it. After it a queue has memory, as that of a
        // connection has which was written to before.
        let first = Frame::encode(FrameKind::Text, &[b'f'; 2048]);
        for _ in 0..MEMBERS {
            let member = Arc::new(guest::client(&self.config, "/", None));
            member.outbound.push(&first);
            lobby.hub.connect(&member);
            lobby.hub.join(&member, &Arc::from("lobby"));
            lobby.members.push(member);
        }
        self.fresh.push(lobby);
        self.used.reserve(self.fresh.len());
    }

    fn run(&mut self) {
        let lobby = self.fresh.pop().expect("each run was prepared");
        let from = lobby.members.first().map(|member| &**member);
        let delivery = lobby.hub.deliver(from, &self.to, &self.frame, None, &mut self.writes);
        guest::finish(delivery);
        self.used.push(lobby);
    }
}

/// Finding the channel for a path.
struct Route(Router<u32>);

fn router() -> anyhow::Result<Box<dyn Job>> {
    let mut router = Router::default();
    for number in 0..100 {
        router.insert(Pattern::parse(&format!("/channel-{number}/:room"))?, number)?;
    }
    Ok(Box::new(Route(router)))
}

impl Job for Route {
    fn run(&mut self) {
        match self.0.at(black_box("/channel-57/lobby")) {
            Match::Found { value: 57, params } => drop(black_box(params)),
            other => panic!("the path leads to {other:?}"),
        }
    }
}

/// Making messages of a client's bytes, all in one block.
struct Read {
    config: Config,
    sent: Vec<u8>,
    messages: u32,
}

impl Read {
    fn new(messages: u32) -> Read {
        let mask = [0x1d, 0x9a, 0x42, 0xf3];
        let mut frame = vec![0x81, 0x80 | MESSAGE_BYTES as u8];
        frame.extend(mask);
        let payload = message();
        frame.extend(payload.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        Read { config: Config::default(), sent: frame.repeat(messages as usize), messages }
    }
}

impl Job for Read {
    fn run(&mut self) {
        let count = count_messages(&self.config, black_box(&self.sent));
        assert_eq!(count, Ok(self.messages as usize));
    }
}

/// Checking an upgrade request as browsers send it.
struct Handshake(Request<String>);

fn handshake() -> anyhow::Result<Box<dyn Job>> {
    let request = Request::get("/channel-57/lobby?name=Ann")
        .header("Host", "localhost:4000")
        .header(
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header("Accept", "*/*")
        .header("Accept-Language", "en-US,en;q=0.5")
        .header("Accept-Encoding", "gzip, deflate, br, zstd")
        .header("Sec-WebSocket-Version", "13")
        .header("Origin", "http://localhost:4000")
        .header("Sec-WebSocket-Extensions", "permessage-deflate")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Connection", "keep-alive, Upgrade")
        .header("Pragma", "no-cache")
        .header("Cache-Control", "no-cache")
        .header("Upgrade", "websocket")
        .body(String::new())?;
    if check_upgrade(&request).is_err() {
        bail!("the request is refused");
    }
    Ok(Box::new(Handshake(request)))
}

impl Job for Handshake {
    fn run(&mut self) {
        let _ = black_box(check_upgrade(black_box(&self.0)));
    }
}
