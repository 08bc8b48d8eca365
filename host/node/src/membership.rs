//! The nodes of the cluster, as one of them knows them.
//!
//! Each node gives a sign of life five times in [`node_timeout`](Membership::new). A node that was not heard for that
//! time is gone, and one that says goodbye at once. It is pure: its caller gives it the time, in milliseconds, and
//! the messages.

use std::collections::BTreeMap;

use wharf_hub::connection_id::NodeId;

use crate::wire::Beat;

/// Signs of life in the time after which a silent node is gone.
const BEATS: u64 = 5;

/// Nodes that are gone and are remembered. A message that comes after a goodbye does not bring a node back.
const REMEMBERED: usize = 64;

/// A node, as it has described itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name of the node, unique in its cluster; empty until its first sign of life.
    pub name: String,
    /// Version of the host.
    pub version: String,
    /// Time at which it has started, in milliseconds since 1970.
    pub started: u64,
    /// Number of its connections.
    pub connections: u64,
    /// Time at which it was heard last.
    pub heard_at: u64,
}

/// A node that has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node is there.
    Came {
        /// The node.
        node: NodeId,
        /// True if it was given up before, so that what is known of it may be old.
        has_returned: bool,
    },
    /// The node is gone.
    Gone {
        /// The node.
        node: NodeId,
        /// Its name, if it has told it.
        name: String,
        /// The reason.
        why: Why,
    },
}

/// The reason why a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has said goodbye.
    Goodbye,
    /// It was not heard for too long.
    Silence,
    /// Another one of its name has started after it.
    Replaced,
}

/// The other nodes of a cluster.
#[derive(Debug)]
pub struct Membership {
    own: NodeId,
    own_name: String,
    own_start: u64,
    /// True once a node of the same name has started later: all others ignore this one for good.
    is_replaced: bool,
    timeout: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Nodes that have ended, the last one at the end.
    ended: Vec<NodeId>,
    /// Nodes that were silent for too long, the last one at the end.
    given_up: Vec<NodeId>,
    next_beat: u64,
    looked_at: u64,
}

impl Membership {
    /// Makes the membership of a node that knows no others. `timeout` is the time after which a silent node is gone.
    pub fn new(own: NodeId, beat: &Beat<'_>, timeout: u64, now: u64) -> Membership {
        Membership {
            own,
            own_name: beat.name.clone().into_owned(),
            own_start: beat.started,
            is_replaced: false,
            timeout: timeout.max(BEATS),
            nodes: BTreeMap::new(),
            ended: Vec::new(),
            given_up: Vec::new(),
            next_beat: now,
            looked_at: now,
        }
    }

    /// Returns the other nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// Returns true if a node is there.
    pub fn has(&self, id: NodeId) -> bool {
        id == self.own || self.nodes.contains_key(&id)
    }

    /// Returns true if another living node has the name of this one, or has taken its place.
    pub fn is_name_taken(&self) -> bool {
        self.is_replaced || self.nodes.values().any(|node| node.name == self.own_name)
    }

    /// Returns the time of the next sign of life.
    pub fn next_beat(&self) -> u64 {
        self.next_beat
    }

    /// Returns true if a sign of life is due, while this node cannot listen: it gives nobody up meanwhile.
    pub fn beat(&mut self, now: u64) -> bool {
        self.heard_all(now);
        self.looked_at = now;
        self.take_beat(now)
    }

    /// Notes that all nodes were heard: their silence has another reason.
    pub fn heard_all(&mut self, now: u64) {
        self.nodes.values_mut().for_each(|node| node.heard_at = now);
    }

    fn take_beat(&mut self, now: u64) -> bool {
        let is_due = now >= self.next_beat;
        if is_due {
            self.next_beat = now + self.timeout / BEATS;
        }
        is_due
    }

    /// Notes that a node was heard. Returns the change if it was not there.
    pub fn heard(&mut self, from: NodeId, now: u64) -> Option<Change> {
        if from == self.own || self.ended.contains(&from) {
            return None;
        }
        match self.nodes.get_mut(&from) {
            Some(node) => {
                node.heard_at = now;
                None
            }
            None => {
                self.nodes.insert(from, Node { heard_at: now, ..Node::default() });
                let known = self.given_up.iter().position(|id| *id == from);
                known.map(|at| self.given_up.remove(at));
                Some(Change::Came { node: from, has_returned: known.is_some() })
            }
        }
    }

    /// Returns true if messages of a node count no more.
    pub fn has_ended(&self, id: NodeId) -> bool {
        self.ended.contains(&id)
    }

    /// Notes the description in a sign of life. Returns the nodes that it replaces.
    pub fn described(&mut self, from: NodeId, beat: &Beat<'_>) -> Vec<Change> {
        let Some(node) = self.nodes.get_mut(&from) else { return Vec::new() };
        self.is_replaced |= *beat.name == self.own_name && beat.started > self.own_start;
        node.name.clone_from(&beat.name.clone().into_owned());
        node.version.clone_from(&beat.version.clone().into_owned());
        (node.started, node.connections) = (beat.started, beat.connections);
        let started = beat.started;
        let is_older = |(id, node): &(&NodeId, &Node)| {
            **id != from && node.name == *beat.name && node.started < started
        };
        let replaced: Vec<NodeId> = self.nodes.iter().filter(is_older).map(|(id, _)| *id).collect();
        replaced.into_iter().map(|id| self.end(id, Why::Replaced)).collect()
    }

    /// Notes that a node has said goodbye.
    pub fn left(&mut self, from: NodeId) -> Option<Change> {
        self.nodes.contains_key(&from).then(|| self.end(from, Why::Goodbye))
    }

    fn end(&mut self, id: NodeId, why: Why) -> Change {
        let name = self.nodes.remove(&id).map(|node| node.name).unwrap_or_default();
        // A silent node may be heard again: it was perhaps cut off.
        let list = if why == Why::Silence { &mut self.given_up } else { &mut self.ended };
        if list.len() >= REMEMBERED {
            list.remove(0);
        }
        list.push(id);
        Change::Gone { node: id, name, why }
    }

    /// Returns the time of the next [`look`](Membership::look).
    pub fn next_look(&self) -> u64 {
        let first_end = self.nodes.values().map(|node| node.heard_at + self.timeout).min();
        first_end.map_or(self.next_beat, |end| end.min(self.next_beat))
    }

    /// Looks for nodes that are gone, and if a sign of life is due.
    pub fn look(&mut self, now: u64) -> Look {
        // One that has not looked for so long has not heard either, and others may have given it up.
        let was_away = now.saturating_sub(self.looked_at) >= self.timeout / 2;
        self.looked_at = now;
        if was_away {
            self.heard_all(now);
        }
        let timeout = self.timeout;
        let is_gone = |node: &Node| now.saturating_sub(node.heard_at) >= timeout;
        let gone: Vec<NodeId> =
            self.nodes.iter().filter(|(_, node)| is_gone(node)).map(|(id, _)| *id).collect();
        let changes = gone.into_iter().map(|id| self.end(id, Why::Silence)).collect();
        let is_beat_due = self.take_beat(now);
        Look { changes, is_beat_due, was_away }
    }
}

/// The result of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The nodes that are gone.
    pub changes: Vec<Change>,
    /// True if a sign of life is due.
    pub is_beat_due: bool,
    /// True if this node has not looked for so long that others may have given it up.
    pub was_away: bool,
}
