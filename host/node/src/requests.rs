//! Requests of the operator to other nodes, and the answers to theirs.
//!
//! A request goes to one node or to several, and each answers with one message. The asker waits for a bounded time,
//! and is told which nodes have answered. Nothing is sent twice: a request that was lost is a node that has not
//! answered.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wharf_cluster::Engine;
use wharf_hub::connection_id::NodeId;

use crate::latch::Latch;
use crate::node::{Node, Shared};
use crate::topics::Topic;
use crate::wire::{Content, Reply, Report, Request};

/// Requests of this node that may be open. Beyond it nobody is asked, so that no node answers.
const MAX_OPEN: usize = 256;

/// Requests of other nodes that are answered at a time. Beyond it they are not answered.
const MAX_ANSWERING: usize = 64;

/// Bytes of a reply: an engine takes messages of 1 MiB. A larger one is not sent.
pub const MAX_REPLY_BYTES: usize = 960 << 10;

/// Bytes of the replies that are kept until their requests are over. A reply beyond it is dropped.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A future reply.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The port that answers the requests of other nodes.
pub trait Responder: Send + Sync {
    /// Begins to answer a request.
    fn answer(&self, request: Request) -> Answering;
}

/// The open requests of one node.
#[derive(Default)]
pub(crate) struct Requests {
    open: Mutex<Open>,
    responder: OnceLock<Arc<dyn Responder>>,
    answering: OnceLock<Arc<Semaphore>>,
}

#[derive(Default)]
struct Open {
    last: u64,
    requests: BTreeMap<u64, Asked>,
    kept_bytes: usize,
}

struct Asked {
    missing: BTreeSet<NodeId>,
    found: BTreeMap<NodeId, Reply>,
    complete: Latch,
}

impl Requests {
    /// Opens a request that these nodes answer. Returns its number, and the latch of its last answer.
    fn open(&self, nodes: BTreeSet<NodeId>) -> Option<(u64, Latch)> {
        let mut open = self.open.lock();
        if nodes.is_empty() || open.requests.len() >= MAX_OPEN {
            return None;
        }
        open.last += 1;
        let (number, complete) = (open.last, Latch::default());
        let asked = Asked { missing: nodes, found: BTreeMap::new(), complete: complete.clone() };
        open.requests.insert(number, asked);
        Some((number, complete))
    }

    /// Notes the answer of a node.
    pub(crate) fn replied(&self, from: NodeId, number: u64, reply: Reply) {
        let mut open = self.open.lock();
        let bytes = bytes_of(&reply);
        if open.kept_bytes.saturating_add(bytes) > MAX_KEPT_BYTES {
            return;
        }
        let Some(asked) = open.requests.get_mut(&number) else { return };
        if !asked.missing.remove(&from) {
            return;
        }
        asked.found.insert(from, reply);
        if asked.missing.is_empty() {
            asked.complete.open();
        }
        open.kept_bytes += bytes;
    }

    /// Notes that a node is gone, which will not answer.
    pub(crate) fn gone(&self, node: NodeId) {
        for asked in self.open.lock().requests.values_mut() {
            if asked.missing.remove(&node) && asked.missing.is_empty() {
                asked.complete.open();
            }
        }
    }

    /// Ends a request. Returns its answers.
    fn close(&self, number: u64) -> BTreeMap<NodeId, Reply> {
        let mut open = self.open.lock();
        let found = open.requests.remove(&number).map(|asked| asked.found).unwrap_or_default();
        let bytes: usize = found.values().map(bytes_of).sum();
        open.kept_bytes = open.kept_bytes.saturating_sub(bytes);
        found
    }
}

fn bytes_of(reply: &Reply) -> usize {
    match reply {
        Reply::Operator { body, .. } => body.len(),
        Reply::Deploy(Report::Refused { reason }) => reason.len(),
        Reply::Deploy(_) => 0,
    }
}

/// An open request, which is ended when its asker goes on or is gone.
struct Guard<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.shared.requests.close(self.number);
    }
}

impl Node {
    /// Has requests of other nodes answered. It is called once, and until then none is.
    pub fn respond_with(&self, responder: Arc<dyn Responder>) {
        // A second one would be a bug, and the first goes on.
        let _ = self.shared.requests.responder.set(responder);
    }

    /// Sends a request to nodes, and waits until all have answered or are gone, at most for `limit`. Returns the answers.
    pub async fn ask(
        &self,
        nodes: BTreeSet<NodeId>,
        request: &Request,
        limit: Duration,
    ) -> BTreeMap<NodeId, Reply> {
        let shared = &*self.shared;
        let Some((number, complete)) = shared.requests.open(nodes.clone()) else {
            return BTreeMap::new();
        };
        let asked = Guard { shared, number };
        for node in nodes {
            let content = Content::Request { question: number, request: request.clone() };
            shared.publish(&Topic::Node(node), content);
        }
        // Those who have not answered by then are known by their absence.
        let _ = tokio::time::timeout(limit, complete.opened()).await;
        shared.requests.close(asked.number)
    }

    /// Returns the engine of the cluster.
    pub fn shared_engine(&self) -> &Arc<dyn Engine> {
        &self.shared.engine
    }
}

/// Answers a request of another node, in a task of its own.
pub(crate) fn asked(shared: &Arc<Shared>, from: NodeId, question: u64, request: Request) {
    let requests = &shared.requests;
    let Some(responder) = requests.responder.get() else { return };
    let answering =
        requests.answering.get_or_init(|| Arc::new(Semaphore::new(MAX_ANSWERING))).clone();
    let Ok(turn) = answering.try_acquire_owned() else { return };
    let reply = responder.answer(request);
    let shared = shared.clone();
    tokio::spawn(async move {
        let reply = reply.await;
        drop(turn);
        // The engine would refuse it, with a line in the log. The asker finds that nobody has answered.
        if bytes_of(&reply) <= MAX_REPLY_BYTES {
            shared.publish(&Topic::Node(from), Content::Reply { question, reply });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn node(number: u64) -> NodeId {
        NodeId::numbered(number).expect("a node")
    }

    fn reply(bytes: usize) -> Reply {
        Reply::Operator { status: 200, body: Bytes::from(vec![b' '; bytes]) }
    }

    #[test]
    fn a_request_is_complete_when_all_have_answered_once_or_are_gone() {
        let requests = Requests::default();
        assert!(requests.open(BTreeSet::new()).is_none());
        let (number, complete) = requests.open([node(2), node(3)].into()).expect("a request");
        requests.replied(node(3), number, reply(1));
        requests.replied(node(3), number, reply(2));
        requests.replied(node(4), number, reply(3));
        requests.replied(node(2), number + 1, reply(3));
        assert!(!complete.is_open());
        requests.gone(node(2));
        assert!(complete.is_open());
        assert_eq!(requests.close(number), [(node(3), reply(1))].into());
        assert_eq!(requests.close(number), BTreeMap::new());
    }

    #[test]
    fn open_requests_and_the_bytes_of_their_answers_are_bounded() {
        let requests = Requests::default();
        let opened: Vec<u64> =
            (0..MAX_OPEN).map(|_| requests.open([node(2)].into()).expect("a request").0).collect();
        assert!(requests.open([node(2)].into()).is_none());
        for number in &opened {
            requests.replied(node(2), *number, reply(1 << 20));
        }
        let found: usize = opened.iter().map(|number| requests.close(*number).len()).sum();
        assert_eq!(found, MAX_KEPT_BYTES >> 20);
        assert_eq!(requests.open.lock().kept_bytes, 0);
        assert!(requests.open([node(2)].into()).is_some());
    }
}
