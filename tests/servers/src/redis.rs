//! Redis: one server, and a cluster.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Server;

/// The variables that name the programs.
const REDIS: &str = "WHARF_REDIS_SERVER";
const VALKEY: &str = "WHARF_VALKEY_SERVER";

/// A server.
pub struct RedisServer {
    pub server: Server,
}

impl RedisServer {
    /// Starts a server with more arguments, which writes each change to its disk.
    pub fn start(more: &[&str]) -> RedisServer {
        let redis = RedisServer::start_program(REDIS, more);
        redis.wait_until_loaded();
        redis
    }

    /// Starts a Valkey.
    pub fn start_valkey() -> RedisServer {
        let valkey = RedisServer::start_program(VALKEY, &[]);
        valkey.wait_until_loaded();
        valkey
    }

    /// Starts a server that speaks TLS only. Its certificate is that of [`certificates`](crate::certificates).
    pub fn start_with_tls() -> RedisServer {
        let file = |name: &str| crate::certificates().join(name).display().to_string();
        let (authority, certificate, key) =
            (file("authority.pem"), file("server.pem"), file("server.key"));
        let server = Server::start(REDIS, |port, folder| {
            let mut arguments = arguments(port, folder);
            let tls = ["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
            arguments.extend(tls.map(str::to_owned));
            let files = ["--tls-ca-cert-file", &authority, "--tls-cert-file", &certificate];
            arguments.extend(files.map(str::to_owned));
            arguments.extend(["--tls-key-file", &key].map(str::to_owned));
            arguments
        });
        RedisServer { server }
    }

    fn start_program(variable: &str, more: &[&str]) -> RedisServer {
        let server = Server::start(variable, |port, folder| {
            let mut arguments = arguments(port, folder);
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            arguments
        });
        RedisServer { server }
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Sends a command, and returns the first line of the answer.
    pub fn command(&self, words: &[&str]) -> String {
        command(self.port(), words)
    }

    fn wait_until_loaded(&self) {
        let begun = Instant::now();
        while self.command(&["PING"]).starts_with("-LOADING") {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn arguments(port: u16, folder: &Path) -> Vec<String> {
    let (port, folder) = (port.to_string(), folder.display().to_string());
    let place = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder, "--daemonize", "no"];
    let writes = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    place.into_iter().chain(writes).map(str::to_owned).collect()
}

/// Three primaries, which have the slots among them, and maybe a replica of each.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
}

/// The first and the last slot of each primary.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl RedisCluster {
    pub fn start() -> RedisCluster {
        RedisCluster::start_with_timeout("2000")
    }

    /// Starts a cluster in which a replica takes the place of a primary that has not answered for half a second.
    pub fn start_with_replicas() -> RedisCluster {
        let mut cluster = RedisCluster::start_with_timeout("500");
        let replicas: Vec<RedisServer> =
            (0..3).map(|_| RedisServer::start(&cluster_arguments("500"))).collect();
        let first = cluster.servers[0].port().to_string();
        for replica in &replicas {
            assert_eq!(replica.command(&["CLUSTER", "MEET", "127.0.0.1", &first]), "+OK");
        }
        for (replica, primary) in replicas.iter().zip(&cluster.servers) {
            let id = info(primary.port(), &["CLUSTER", "MYID"]);
            // It must have heard of its primary.
            until("a replica", || replica.command(&["CLUSTER", "REPLICATE", &id]) == "+OK");
        }
        cluster.servers.extend(replicas);
        cluster.wait_until_replicated();
        cluster.wait_for_nodes(6);
        cluster
    }

    fn start_with_timeout(timeout: &str) -> RedisCluster {
        let start = |_| RedisServer::start(&cluster_arguments(timeout));
        let servers: Vec<RedisServer> = (0..3).map(start).collect();
        for (number, (server, (first, last))) in servers.iter().zip(SLOTS).enumerate() {
            let epoch = (number + 1).to_string();
            let (first, last) = (first.to_string(), last.to_string());
            assert_eq!(server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "+OK");
            assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]), "+OK");
            let port = servers[0].port().to_string();
            // The bus has a port of its own, which follows from the first one unless it is said.
            assert_eq!(server.command(&["CLUSTER", "MEET", "127.0.0.1", &port]), "+OK");
        }
        let cluster = RedisCluster { servers };
        cluster.wait_for_nodes(3);
        cluster
    }

    fn wait_for_nodes(&self, count: usize) {
        for server in &self.servers {
            until("a cluster", || {
                let info = info(server.port(), &["CLUSTER", "INFO"]);
                let known = format!("cluster_known_nodes:{count}\r\n");
                info.contains("cluster_state:ok") && info.contains(&known)
            });
        }
    }

    /// Waits until the replica of each primary has all that was written so far.
    pub fn wait_until_replicated(&self) {
        for primary in self.servers.iter().take(SLOTS.len()) {
            until("a replica with everything", || {
                let info = info(primary.port(), &["INFO", "replication"]);
                let (_, rest) = info.split_once("master_repl_offset:").expect("an offset");
                let offset = rest.lines().next().expect("a number");
                info.contains("connected_slaves:1") && info.contains(&format!("offset={offset},"))
            });
        }
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.iter().map(RedisServer::port)
    }

    /// Returns the primary that had the slot of a name at the start.
    pub fn primary_of(&self, name: &str) -> &RedisServer {
        let slot = self.servers[0].command(&["CLUSTER", "KEYSLOT", name]);
        let slot: u16 = slot.trim_start_matches(':').parse().expect("a slot");
        let place = SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot));
        &self.servers[place.expect("a primary")]
    }
}

fn cluster_arguments(timeout: &str) -> [&str; 4] {
    ["--cluster-enabled", "yes", "--cluster-node-timeout", timeout]
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "there is never {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a sentinel, which alone decides on a failover of the primary `m`.
pub fn sentinel(primary: u16) -> Server {
    Server::start(REDIS, |port, folder| {
        let file = folder.join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor m 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds m 500\nsentinel failover-timeout m 2000\n",
            folder.display()
        );
        std::fs::write(&file, settings).expect("written");
        vec![file.display().to_string(), "--sentinel".to_owned()]
    })
}

/// Sends a command, and returns the first line of the answer.
pub fn command(port: u16, words: &[&str]) -> String {
    let mut line = String::new();
    let read = BufReader::new(send(port, words)).read_line(&mut line);
    read.expect("an answer");
    line.trim_end().to_owned()
}

/// Sends a command, and returns its answer of several lines.
pub fn info(port: u16, words: &[&str]) -> String {
    let mut reader = BufReader::new(send(port, words));
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    let length: usize = line.trim_end().trim_start_matches('$').parse().expect("a length");
    let mut text = vec![0; length];
    reader.read_exact(&mut text).expect("an answer");
    String::from_utf8_lossy(&text).into_owned()
}

fn send(port: u16, words: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(text.as_bytes()).expect("sent");
    stream
}
