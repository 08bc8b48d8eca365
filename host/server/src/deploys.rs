//! Plugins that are deployed: sent to one node, tried by all, and run by all or by none.
//!
//! - [`shelf`]: the place where files and the table of deployed code are kept.
//! - [`follow`]: this node follows the table, and tries code that a coordinator asks it to try.
//! - [`coordinate`]: this node was asked for a deployment.
//!
//! The protocol is pure, and in [`wharf_node::deploy`]. A single host takes the same ways, as the only node.

mod coordinate;
mod follow;
mod shelf;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wharf_config::Config;
use wharf_hub::connection_id::NodeId;
use wharf_hub::peers::{Cluster, NodeFacts};
use wharf_node::Node;
use wharf_node::deploy::{Participant, Table};
use wharf_runtime::registry::{Registry, Tried};

pub(crate) use coordinate::{Change, Deployment, Failed, NodeOutcome, Wish};
pub(crate) use shelf::Shelf;

/// A host among others, or alone.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) name: String,
    /// Time at which it has started, in milliseconds since 1970.
    pub(crate) started: u64,
}

/// The deployed code of this node.
pub(crate) struct Deploys {
    config: Arc<Config>,
    registry: Arc<Registry>,
    host: Host,
    node: Option<Arc<Node>>,
    shelf: Shelf,
    state: Mutex<State>,
    wake: Notify,
    /// Held by the one look at the table at a time.
    looking: tokio::sync::Mutex<()>,
    /// Held by the one deployment that this node coordinates.
    turn: Arc<tokio::sync::Mutex<()>>,
    begun: Instant,
}

struct State {
    participant: Participant,
    trial: Option<Trial>,
    /// The reasons for which deployed code does not run here, by the channel.
    reasons: BTreeMap<String, String>,
    /// The reason for which the table could not be read, when it was tried last.
    unread: Option<String>,
}

/// Code that is tried here, or held ready.
struct Trial {
    deploy: u64,
    task: AbortHandle,
    /// The code, once it is ready.
    tried: Option<Tried>,
}

impl fmt::Debug for Deploys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploys").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Deploys {
    /// Makes the deployed code of a node, which is not looked at yet.
    pub(crate) fn new(
        config: Arc<Config>,
        registry: Arc<Registry>,
        host: Host,
        node: Option<Arc<Node>>,
    ) -> Arc<Deploys> {
        let shelf = match &node {
            Some(node) => Shelf::of_cluster(node.shared_engine().clone()),
            None => Shelf::of_host(config.data.clone()),
        };
        Arc::new(Deploys {
            config,
            registry,
            host,
            node,
            shelf,
            state: Mutex::new(State {
                participant: Participant::new(0),
                trial: None,
                reasons: BTreeMap::new(),
                unread: None,
            }),
            wake: Notify::new(),
            looking: tokio::sync::Mutex::default(),
            turn: Arc::default(),
            begun: Instant::now(),
        })
    }

    /// Returns the place where deployed code is kept: "engine", "folder" or "memory".
    pub(crate) fn place(&self) -> &'static str {
        self.shelf.name()
    }

    /// Returns the table as it is kept now.
    ///
    /// # Errors
    ///
    /// It cannot be read, for the reason in the sentence.
    pub(crate) async fn table(&self) -> Result<Table, String> {
        Ok(self.shelf.table().await?.table.unwrap_or_default())
    }

    /// Returns the table as this node has seen it last.
    pub(crate) fn seen(&self) -> Table {
        self.state.lock().participant.table().clone()
    }

    /// Returns the reasons for which deployed code does not run here, by the channel.
    pub(crate) fn reasons(&self) -> BTreeMap<String, String> {
        self.state.lock().reasons.clone()
    }

    /// Returns the nodes that are there, this one first.
    pub(crate) fn nodes(&self) -> Vec<NodeFacts> {
        match &self.node {
            Some(node) => node.nodes(),
            None => vec![NodeFacts {
                id: NodeId::local(),
                name: self.host.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: self.host.started,
                connections: self.registry.hubs().connection_count() as u64,
                silent_for: None,
            }],
        }
    }

    /// Returns this node of a cluster.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Returns the time since the start, in milliseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the time for which a coordinator waits for all trials: code waits for the compiler, is compiled and is called.
    fn patience(&self) -> Duration {
        self.config.compile_timeout.saturating_mul(2).saturating_add(Duration::from_secs(10))
    }
}
