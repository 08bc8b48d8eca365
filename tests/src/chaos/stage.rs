//! The hosts of a run, and the engine between them, each with what can be done to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::board::HOSTS;
use super::engine::Engine;
use super::namespace::Namespace;
use crate::cluster::NODE_TIMEOUT;
use crate::proxy::Proxy;
use crate::{Wharf, configured};

/// The rooms with a history keep more than a client can miss in a run's longest fault.
const RULES: &str = r#"
    [channels.scripted]
    history = [
        { rooms = "kept-*", messages = 1500, bytes = "2MiB" },
        { rooms = "tallied", messages = 1500, bytes = "2MiB" },
    ]
    "#;

/// A host, with its own way to the engine.
pub struct Node {
    pub wharf: Wharf,
    proxy: Proxy,
    flags: Vec<String>,
    /// The last to end, since the host is in it.
    namespace: Option<Namespace>,
}

/// All hosts.
pub struct Stage {
    pub nodes: Vec<Node>,
    pub engine: Arc<Engine>,
}

impl Stage {
    /// Starts the engine and the hosts, the last one in a namespace if there is one.
    pub async fn start(engine: &str, mut namespace: Option<Namespace>) -> Stage {
        let engine = Arc::new(Engine::start(engine));
        let mut nodes = Vec::new();
        for host in 0..HOSTS {
            let namespace = if host == HOSTS - 1 { namespace.take() } else { None };
            nodes.push(Node::start(&engine, host, namespace).await);
        }
        Stage { nodes, engine }
    }

    /// Returns the addresses of the hosts.
    pub fn addresses(&self) -> [SocketAddr; HOSTS] {
        std::array::from_fn(|host| self.nodes[host].wharf.address)
    }

    /// Does something to the engine that takes its time.
    pub async fn with_engine(&self, act: impl FnOnce(&Engine) + Send + 'static) {
        let engine = self.engine.clone();
        let acting = tokio::task::spawn_blocking(move || act(&engine));
        acting.await.expect("the engine obeys");
    }

    /// Writes the logs of the hosts to files, each since its last start, and says where.
    pub fn keep_logs(&self, seed: u64) {
        let folder = std::env::temp_dir().join(format!("wharf-chaos-{seed}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (host, node) in self.nodes.iter().enumerate() {
            let lines: Vec<String> =
                node.wharf.log.lines().into_iter().map(|line| line.text).collect();
            let file = folder.join(format!("node-{host}.log"));
            std::fs::write(file, lines.join("\n")).expect("a file");
        }
        println!("chaos: the logs of the hosts are in {}", folder.display());
    }

    /// Slows the engine for all hosts.
    pub fn slow(&self, delay: Duration) {
        for node in &self.nodes {
            node.proxy.delay(delay);
        }
    }
}

impl Node {
    async fn start(engine: &Engine, host: usize, namespace: Option<Namespace>) -> Node {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let at = |inside: fn(&Namespace) -> std::net::IpAddr| {
            namespace.as_ref().map_or(loopback, |it| SocketAddr::new(inside(it), 0))
        };
        let proxy = Proxy::start(at(Namespace::outside), engine.target()).await;
        let flags = vec![
            format!("--cluster {}", engine.setting(proxy.address)),
            format!("--node-name node-{host}"),
            format!("--node-timeout-ms {NODE_TIMEOUT}"),
            format!("--listen {}", at(Namespace::inside)),
        ];
        let wrapper = namespace.as_ref().map_or_else(Vec::new, |it| it.wrapper().to_vec());
        let all: Vec<&str> = flags.iter().map(String::as_str).collect();
        let wharf = Wharf::start_under(&wrapper, configured(&["scripted"], RULES), &all).await;
        Node { wharf, proxy, flags, namespace }
    }

    /// Starts the host again after it was killed.
    pub async fn start_again(&mut self) {
        let wrapper = self.namespace.as_ref().map_or_else(Vec::new, |it| it.wrapper().to_vec());
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.wharf.start_again_under(&wrapper, &flags).await;
    }

    /// Cuts the host off its engine, or connects it again.
    pub fn cut(&self, is_cut: bool) {
        match &self.namespace {
            Some(namespace) => namespace.cut(is_cut),
            None => self.proxy.cut(is_cut),
        }
    }

    /// Returns true if the host is in a namespace.
    pub fn is_in_namespace(&self) -> bool {
        self.namespace.is_some()
    }
}
