//! Hosts of one cluster, and the engine between them.

use tempfile::TempDir;
use wharf_test_servers::Server;
use wharf_test_servers::nats::NatsServer;
use wharf_test_servers::redis::RedisServer;

use crate::folder::{configured, folder};
use crate::operator::Operated;
use crate::script::enter_room;
use crate::{Client, Value, eventually};

/// Time after which a silent host is gone, in milliseconds.
pub const NODE_TIMEOUT: u64 = 2000;

/// The engine between hosts. It ends with this value.
pub struct Engine {
    address: String,
    server: Server,
}

impl Engine {
    /// Starts an engine: "redis" or "nats".
    pub fn start(kind: &str) -> Engine {
        match kind {
            "redis" => {
                let RedisServer { server } = RedisServer::start(&[]);
                Engine { address: format!("redis://127.0.0.1:{}", server.port), server }
            }
            "nats" => {
                let NatsServer { server } = NatsServer::start(&["--jetstream"]);
                Engine { address: format!("nats://127.0.0.1:{}", server.port), server }
            }
            other => panic!("no engine is called {other}"),
        }
    }

    /// Returns the server's process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the flags with which a host joins the cluster under a name.
    pub fn flags(&self, name: &str) -> [String; 3] {
        [
            format!("--cluster {}", self.address),
            format!("--node-name {name}"),
            format!("--node-timeout-ms {NODE_TIMEOUT}"),
        ]
    }
}

/// Hosts of one cluster, each in a folder of its own with the same plugins.
pub struct Cluster {
    /// The engine.
    pub engine: Engine,
    /// The hosts. A test says which one a client connects to.
    pub nodes: Vec<Operated>,
}

impl Cluster {
    /// Starts so many hosts with these plugins or fixtures, and waits until each knows the others.
    pub async fn start(engine: &str, plugins: &[&str], count: usize) -> Cluster {
        Cluster::start_in(engine, || folder(plugins), &[], count).await
    }

    /// Starts so many hosts like [`Cluster::start`], with these tables in their `wharf.toml`.
    pub async fn start_with(engine: &str, plugins: &[&str], tables: &str, count: usize) -> Cluster {
        Cluster::start_in(engine, || configured(plugins, tables), &[], count).await
    }

    /// Starts so many hosts like [`Cluster::start`], in folders that are made alike and with these flags.
    pub async fn start_in(
        engine: &str,
        make: impl Fn() -> TempDir,
        flags: &[&str],
        count: usize,
    ) -> Cluster {
        let mut cluster = Cluster { engine: Engine::start(engine), nodes: Vec::new() };
        for _ in 0..count {
            cluster.add_with(make(), flags).await;
        }
        cluster.settled().await;
        cluster
    }

    /// Starts one more host.
    pub async fn add(&mut self, folder: TempDir) {
        self.add_with(folder, &[]).await;
    }

    /// Starts one more host with these flags, which go before those of the cluster.
    async fn add_with(&mut self, folder: TempDir, flags: &[&str]) {
        let name = format!("node-{}", self.nodes.len());
        let own = self.engine.flags(&name);
        let flags: Vec<&str> =
            flags.iter().copied().chain(own.iter().map(String::as_str)).collect();
        self.nodes.push(Operated::start_in(folder, &flags).await);
    }

    /// Waits until each running host knows all of them and no others.
    pub async fn settled(&mut self) {
        let running: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes.get_mut(*node).is_some_and(|it| it.wharf.is_running()))
            .collect();
        for node in &running {
            let it = &self.nodes[*node];
            eventually(&format!("node {node} to know {} nodes", running.len()), async || {
                let (_, found) = it.nodes().await;
                (found["nodes"].as_array().map(Vec::len) == Some(running.len())).then_some(())
            })
            .await;
        }
    }

    /// Connects a client to a host, which must accept it.
    pub async fn connect(&self, node: usize, path: &str) -> Client {
        self.nodes[node].wharf.connect(path).await
    }

    /// Connects a client of the fixture `scripted` to a host, and has it join a room.
    pub async fn enter(&self, node: usize, name: &str, room: &str) -> Client {
        enter_room(&self.nodes[node].wharf, name, room).await
    }

    /// Waits until a question of a client is answered so.
    pub async fn becomes(&self, client: &mut Client, question: Value, answer: Value) {
        let mut last = Value::Null;
        let is_so = async || {
            last = client.ask_json(question.clone()).await;
            (last == answer).then_some(())
        };
        eventually(&format!("{question} to be answered with {answer}"), is_so).await;
    }
}
