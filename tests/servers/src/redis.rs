//! Redis: one server, and a cluster.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Server;

const VARIABLE: &str = "WHARF_REDIS_SERVER";

/// A server.
pub struct RedisServer {
    pub server: Server,
}

impl RedisServer {
    /// Starts a server with more arguments, which writes each change to its disk.
    pub fn start(more: &[&str]) -> RedisServer {
        let server = Server::start(VARIABLE, |port, folder| {
            let port = port.to_string();
            let folder = folder.display().to_string();
            let common = [
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--dir",
                &folder,
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--daemonize",
                "no",
            ];
            common.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
        });
        let redis = RedisServer { server };
        redis.wait_until_loaded();
        redis
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

/// Three primaries, which have the slots among them.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> RedisCluster {
        let start =
            |_| RedisServer::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let servers: Vec<RedisServer> = (0..3).map(start).collect();
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (number, (server, (first, last))) in servers.iter().zip(ranges).enumerate() {
            let epoch = (number + 1).to_string();
            assert_eq!(server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "+OK");
            assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "+OK");
            let port = servers[0].port().to_string();
            // The bus has a port of its own, which follows from the first one unless it is said.
            assert_eq!(server.command(&["CLUSTER", "MEET", "127.0.0.1", &port]), "+OK");
        }
        let begun = Instant::now();
        for server in &servers {
            loop {
                let info = info(server.port(), &["CLUSTER", "INFO"]);
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(30), "no cluster: {info}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        RedisCluster { servers }
    }

    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.iter().map(RedisServer::port)
    }
}

/// Starts a sentinel, which alone decides on a failover of the primary `m`.
pub fn sentinel(primary: u16) -> Server {
    Server::start(VARIABLE, |port, folder| {
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
