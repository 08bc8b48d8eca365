//! The port by which the runtime and the operator see the cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use wharf_cluster::LinkState;
use wharf_hub::logs::Logs;
use wharf_hub::owners::Owners;
use wharf_hub::peers::{Cluster, LinkFacts, NodeFacts, Peers};
use wharf_hub::store::Store;

use crate::channel_owners::ChannelOwners;
use crate::channel_peers::ChannelPeers;
use crate::histories::ChannelLogs;
use crate::node::Node;
use crate::store::store;

impl Cluster for Node {
    fn peers(&self, channel: &str) -> Box<dyn Peers> {
        // It is served here until the port is dropped.
        let channel: Arc<str> = Arc::from(channel);
        self.shared.serve(&channel);
        Box::new(ChannelPeers::new(self.shared.clone(), channel))
    }

    fn owners(&self, channel: &str) -> Box<dyn Owners> {
        Box::new(ChannelOwners::new(self.shared.clone(), channel))
    }

    fn adopt_orphans(&self) {
        self.shared.orphaned.notify_one();
    }

    fn failure(&self) -> Option<String> {
        if self.shared.exchange.lock().membership.is_name_taken() {
            return Some(self.shared.name_taken());
        }
        if self.tasks.lock().iter().any(JoinHandle::is_finished) {
            return Some(
                "a task of the host has ended; please report it, and restart the host".into(),
            );
        }
        match self.shared.engine.status().link {
            LinkState::Up => None,
            LinkState::Down(why) => Some(why.to_string()),
            LinkState::Closed => Some("the engine is closed".to_owned()),
        }
    }

    fn nodes(&self) -> Vec<NodeFacts> {
        let shared = &self.shared;
        let (now, settings) = (shared.now(), &shared.settings);
        let own = NodeFacts {
            id: shared.own,
            name: settings.name.clone(),
            version: settings.version.clone(),
            started: settings.started,
            connections: shared.hubs.connection_count() as u64,
            silent_for: None,
        };
        let exchange = shared.exchange.lock();
        let others = exchange.membership.nodes().map(|(id, node)| NodeFacts {
            id,
            name: node.name.clone(),
            version: node.version.clone(),
            started: node.started,
            connections: node.connections,
            silent_for: Some(Duration::from_millis(now.saturating_sub(node.heard_at))),
        });
        std::iter::once(own).chain(others).collect()
    }

    fn engine(&self) -> String {
        self.shared.engine.status().server
    }

    fn link(&self) -> LinkFacts {
        let status = self.shared.engine.status();
        LinkFacts {
            published: status.published,
            received: status.received,
            lost: status.dropped,
            overrun: status.overrun,
            waiting_bytes: status.waiting_bytes,
            topics: status.topics,
            interruptions: status.interruptions,
            round_trip: status.round_trip,
        }
    }

    fn logs(&self, channel: &str, max_bytes: usize) -> Arc<dyn Logs> {
        Arc::new(ChannelLogs::new(self.shared.clone(), Arc::from(channel), max_bytes))
    }

    fn store(&self, channel: &str, max_bytes: usize) -> Arc<dyn Store> {
        Arc::new(store(self.shared.engine.clone(), channel, max_bytes))
    }
}
