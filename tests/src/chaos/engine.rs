//! The engine of a run, which has an end to its room.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf_test_servers::Server;
use wharf_test_servers::nats::NatsServer;
use wharf_test_servers::redis::{RedisServer, command, info};

use crate::{Value, json};

/// Room that Redis has left when it begins to be filled, in bytes.
const LEFT: u64 = 1024 * 1024;

/// Bytes by which Redis has more than it may, once it is full.
const SLACK: u64 = 256 * 1024;

/// Largest store of NATS, in bytes.
const STORE: usize = 96 * 1024 * 1024;

/// Bytes of the records that fill the engine: smaller ones fill what is left by larger ones.
const RECORDS: [usize; 4] = [512 * 1024, 32 * 1024, 2 * 1024, 128];

/// The key that fills Redis.
const KEY: &str = "chaos:fill";

/// Longest time for an answer, and for records of one size.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Redis that writes each change to its disk, or a NATS with a store of files.
pub struct Engine {
    kind: Kind,
    /// The configuration of NATS.
    _folder: TempDir,
}

enum Kind {
    Redis(RedisServer),
    Nats(NatsServer),
}

impl Engine {
    /// Starts an engine: "redis" or "nats".
    pub fn start(kind: &str) -> Engine {
        let folder = tempfile::tempdir().expect("a folder");
        let kind = match kind {
            "redis" => Kind::Redis(RedisServer::start(&[])),
            "nats" => {
                let file = folder.path().join("nats.conf");
                let text = format!("jetstream {{ max_file_store: {STORE} }}\n");
                std::fs::write(&file, text).expect("a configuration");
                Kind::Nats(NatsServer::start(&["--config", &file.display().to_string()]))
            }
            other => panic!("no engine is called {other}"),
        };
        Engine { kind, _folder: folder }
    }

    /// Returns the server's process.
    pub fn server(&self) -> &Server {
        match &self.kind {
            Kind::Redis(redis) => &redis.server,
            Kind::Nats(nats) => &nats.server,
        }
    }

    /// Returns its own address.
    pub fn target(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.server().port))
    }

    /// Returns the setting of a host that reaches it at an address.
    pub fn setting(&self, at: SocketAddr) -> String {
        match &self.kind {
            Kind::Redis(_) => format!("redis://{at}"),
            Kind::Nats(_) => format!("nats://{at}"),
        }
    }

    /// Writes until the engine takes no more.
    pub fn fill(&self) {
        match &self.kind {
            Kind::Redis(redis) => fill_redis(redis.port()),
            Kind::Nats(nats) => fill_nats(nats.port()),
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        match &self.kind {
            Kind::Redis(redis) => {
                assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
                redis.command(&["DEL", KEY]);
            }
            Kind::Nats(nats) => {
                let deleted = nats_request(nats.port(), "$JS.API.STREAM.DELETE.CHAOS", "");
                assert_eq!(deleted["success"], true, "{deleted}");
            }
        }
    }
}

fn fill_redis(port: u16) {
    let used = || -> u64 {
        let memory = info(port, &["INFO", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.and_then(|number| number.trim().parse().ok()).expect("a number")
    };
    let limit = |bytes: u64| {
        let set = command(port, &["CONFIG", "SET", "maxmemory", &bytes.to_string()]);
        assert_eq!(set, "+OK");
    };
    limit(used() + LEFT);
    for bytes in RECORDS {
        let record = "x".repeat(bytes);
        let begun = Instant::now();
        loop {
            let answer = command(port, &["RPUSH", KEY, &record]);
            if answer.starts_with("-OOM") {
                break;
            }
            assert!(answer.starts_with(':') && begun.elapsed() < PATIENCE, "{answer}");
        }
    }
    // The buffers of its connections come and go; they must not make room.
    limit(used() - SLACK);
}

fn fill_nats(port: u16) {
    let settings = json!({ "name": "CHAOS", "subjects": ["chaos.fill"], "storage": "file", "num_replicas": 1 });
    let made = nats_request(port, "$JS.API.STREAM.CREATE.CHAOS", &settings.to_string());
    assert_eq!(made["error"], Value::Null, "{made}");
    for bytes in RECORDS {
        let record = "x".repeat(bytes);
        let begun = Instant::now();
        loop {
            let answer = nats_request(port, "chaos.fill", &record);
            if answer["error"] != Value::Null {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "NATS has no end: {answer}");
        }
    }
}

/// Sends a request to NATS, and returns its answer.
fn nats_request(port: u16, subject: &str, payload: &str) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB chaos.answer 1\r\n\
         PUB {subject} chaos.answer {}\r\n{payload}\r\n",
        payload.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.starts_with("MSG ") {
            let answer = lines.next().expect("an answer").expect("an answer");
            return serde_json::from_str(&answer).unwrap_or(Value::Null);
        }
        assert!(!line.starts_with("-ERR"), "{line}");
    }
    panic!("NATS does not answer to {subject}");
}
