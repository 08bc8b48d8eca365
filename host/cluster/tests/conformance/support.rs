//! The world of a test: an engine of some kind, and nodes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{
    Configuration, Deliveries, Delivery, Engine, Limits, OpenError, Position, Unavailable, memory,
};

use wharf_test_servers::nats::NatsServer;
use wharf_test_servers::redis::{RedisCluster, RedisServer};

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The kinds of engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Disk,
    Redis,
    Valkey,
    RedisCluster,
    Nats,
}

/// An engine, as a test has it.
pub struct World {
    pub kind: Kind,
    pub limits: Limits,
    memory: memory::Server,
    folder: tempfile::TempDir,
    redis: Option<RedisServer>,
    cluster: Option<RedisCluster>,
    nats: Option<NatsServer>,
}

/// A node of a cluster.
pub struct Node {
    pub engine: Arc<dyn Engine>,
    pub deliveries: Deliveries,
}

/// Runs a property in a world of its own. Tests of the memory have a clock that moves when nothing else does.
pub fn run<F: Future<Output = ()>>(kind: Kind, property: impl FnOnce(World) -> F) {
    let mut builder = match kind {
        Kind::Memory => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().start_paused(kind == Kind::Memory);
    let runtime = runtime.worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let world = World {
            kind,
            limits: Limits::default(),
            memory: memory::Server::new(1),
            folder: tempfile::tempdir().expect("a folder"),
            redis: match kind {
                Kind::Redis => Some(RedisServer::start(&[])),
                Kind::Valkey => Some(RedisServer::start_valkey()),
                _ => None,
            },
            cluster: (kind == Kind::RedisCluster).then(RedisCluster::start),
            nats: (kind == Kind::Nats).then(|| NatsServer::start(&["--jetstream"])),
        };
        property(world).await;
    });
}

impl World {
    /// Starts a node.
    pub async fn node(&self) -> Node {
        self.node_with("wharf").await
    }

    /// Starts a node with a prefix.
    pub async fn node_with(&self, prefix: &str) -> Node {
        let (engine, deliveries): (Arc<dyn Engine>, Deliveries) = match self.kind {
            Kind::Memory => {
                let (node, deliveries) = self.memory.node("node", &self.limits);
                (Arc::new(node), deliveries)
            }
            _ => {
                let mut configuration = Configuration::parse(&self.address()).expect("an address");
                configuration = configuration.with_prefix(prefix).expect("a prefix");
                configuration.limits = self.limits.clone();
                wharf_cluster::open(&configuration).await.expect("an engine")
            }
        };
        Node { engine, deliveries }
    }

    /// Returns the address of the engine.
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Memory => "memory://".to_owned(),
            Kind::Disk => format!("disk://{}", self.folder.path().display()),
            Kind::Redis | Kind::Valkey => format!("redis://127.0.0.1:{}", self.redis().port()),
            Kind::RedisCluster => {
                let cluster = self.cluster.as_ref().expect("a cluster");
                let servers: Vec<_> =
                    cluster.ports().map(|port| format!("127.0.0.1:{port}")).collect();
                format!("redis+cluster://{}", servers.join(","))
            }
            Kind::Nats => format!("nats://127.0.0.1:{}", self.nats().port()),
        }
    }

    pub fn redis(&self) -> &RedisServer {
        self.redis.as_ref().expect("a Redis")
    }

    pub fn nats(&self) -> &NatsServer {
        self.nats.as_ref().expect("a NATS")
    }

    /// Kills the server.
    pub fn kill(&self) {
        match self.kind {
            Kind::Redis | Kind::Valkey => self.redis().server.kill(),
            Kind::Nats => self.nats().server.kill(),
            kind => panic!("{kind:?} has no server to kill"),
        }
    }

    /// Starts the server again on its port.
    pub fn restart(&self) {
        match self.kind {
            Kind::Redis | Kind::Valkey => self.redis().server.restart(),
            Kind::Nats => self.nats().server.restart(),
            kind => panic!("{kind:?} has no server to start"),
        }
    }

    /// Stops the server's process, or lets it go on.
    pub fn pause(&self, is_paused: bool) {
        match self.kind {
            Kind::Redis | Kind::Valkey => self.redis().server.pause(is_paused),
            Kind::Nats => self.nats().server.pause(is_paused),
            kind => panic!("{kind:?} has no server to stop"),
        }
    }
}

/// Opens an engine, which must be refused.
pub async fn refusal(address: &str) -> Unavailable {
    let configuration = Configuration::parse(address).expect("an address");
    match wharf_cluster::open(&configuration).await.err().expect("refused") {
        OpenError::Unavailable { why, .. } => why,
        other => panic!("{other}"),
    }
}

impl Node {
    /// Starts a node at an address.
    pub async fn open(address: &str, limits: &Limits) -> Node {
        let mut configuration = Configuration::parse(address).expect("an address");
        configuration.limits = limits.clone();
        let (engine, deliveries) = wharf_cluster::open(&configuration).await.expect("an engine");
        Node { engine, deliveries }
    }

    pub async fn subscribe(&self, topics: &[&str]) {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.engine.subscribe(topics).await.expect("subscribed");
    }

    pub fn publish(&self, topic: &str, message: &str) {
        let message = Bytes::copy_from_slice(message.as_bytes());
        self.engine.publish(topic, message).expect("published");
    }

    /// Receives the next event.
    pub async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(PATIENCE, self.deliveries.next()).await;
        let next = next.unwrap_or_else(|_| panic!("no event in time: {:?}", self.engine.status()));
        next.expect("an engine that is open")
    }

    /// Receives the next event, which must be a message.
    pub async fn message(&mut self) -> (String, String, Option<Position>) {
        match self.next().await {
            Delivery::Message { topic, message, position } => {
                (topic.to_string(), String::from_utf8_lossy(&message).into_owned(), position)
            }
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Receives events up to one of the kind that is meant.
    pub async fn until(&mut self, is_meant: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        let mut found = Vec::new();
        loop {
            let delivery = self.next().await;
            let is_last = is_meant(&delivery);
            found.push(delivery);
            if is_last {
                return found;
            }
        }
    }

    /// Proves that nothing else waits: a message to itself is the next one.
    pub async fn assert_silent(&mut self) {
        self.subscribe(&["silence"]).await;
        self.publish("silence", "s");
        assert_eq!(self.message().await, ("silence".to_owned(), "s".to_owned(), None));
    }
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns true for an interruption.
pub fn is_interrupted(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Interrupted { .. })
}

/// Returns true for the end of an interruption.
pub fn is_restored(delivery: &Delivery) -> bool {
    *delivery == Delivery::Restored
}
