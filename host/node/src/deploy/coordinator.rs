//! The node that was asked for a deployment: it has all nodes that are there try the code.

use std::collections::{BTreeMap, BTreeSet};

use wharf_hub::connection_id::NodeId;

use crate::wire::Report;

/// Time between two questions to a node that has not finished. A lost message costs as much.
pub const ASK_EVERY: u64 = 200;

/// Time after which a node that has not said a word is silent: its version may not know deployments.
pub const SILENT_AFTER: u64 = 5_000;

/// The trials of one deployment.
#[derive(Clone, Debug)]
pub struct Coordinator {
    nodes: BTreeMap<NodeId, Asked>,
    /// Nodes that have been asked once.
    known: BTreeSet<NodeId>,
    next_ask: u64,
    ends_at: u64,
}

#[derive(Clone, Debug)]
struct Asked {
    standing: Standing,
    heard_at: u64,
}

/// The state of the trial on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The node has not answered yet.
    Asked,
    /// The node tries the code.
    Trying,
    /// The code is ready there.
    Ready,
    /// The node has refused the code, for this reason.
    Refused(String),
    /// The node tries code of another deployment.
    Busy,
    /// The node has not answered in time.
    Silent,
    /// The node has not finished in time.
    Late,
}

impl Standing {
    /// Returns true if there is nothing to wait for.
    pub fn is_final(&self) -> bool {
        !matches!(self, Standing::Asked | Standing::Trying)
    }
}

/// The result of all trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The code is ready on all nodes that are there.
    Ready,
    /// It is not, on one of them.
    Failed,
}

impl Coordinator {
    /// Begins the trials, which end after `patience` at the latest.
    pub fn new(now: u64, patience: u64) -> Coordinator {
        Coordinator {
            nodes: BTreeMap::new(),
            known: BTreeSet::new(),
            next_ask: now,
            ends_at: now.saturating_add(patience),
        }
    }

    /// Notes the nodes that are there now, this one included. Those that have come are asked as well; those that are gone are
    /// not waited for.
    pub fn present(&mut self, nodes: &BTreeSet<NodeId>, now: u64) {
        self.nodes.retain(|node, _| nodes.contains(node));
        for node in nodes {
            if self.known.insert(*node) {
                self.next_ask = now;
            }
            let asked = Asked { standing: Standing::Asked, heard_at: now };
            self.nodes.entry(*node).or_insert(asked);
        }
    }

    /// Returns the nodes to ask now.
    pub fn to_ask(&mut self, now: u64) -> Vec<NodeId> {
        if now < self.next_ask {
            return Vec::new();
        }
        self.next_ask = now + ASK_EVERY;
        // A node that holds the code ready forgets it if it is not asked.
        let is_asked =
            |asked: &Asked| !asked.standing.is_final() || asked.standing == Standing::Ready;
        self.nodes.iter().filter(|(_, asked)| is_asked(asked)).map(|(node, _)| *node).collect()
    }

    /// Notes the report of a node.
    pub fn heard(&mut self, from: NodeId, report: &Report, now: u64) {
        let Some(asked) = self.nodes.get_mut(&from) else { return };
        asked.heard_at = now;
        asked.standing = match report {
            Report::Trying => Standing::Trying,
            Report::Ready => Standing::Ready,
            Report::Refused { reason } => Standing::Refused(reason.clone()),
            Report::Busy => Standing::Busy,
            Report::Forgotten | Report::Looked { .. } => return,
        };
    }

    /// Returns the result, once nothing is to be waited for.
    pub fn outcome(&mut self, now: u64) -> Option<Outcome> {
        let is_over = now >= self.ends_at;
        for asked in self.nodes.values_mut() {
            let is_silent = now.saturating_sub(asked.heard_at) >= SILENT_AFTER;
            if asked.standing.is_final() && !(asked.standing == Standing::Ready && is_silent) {
                continue;
            }
            if is_silent {
                asked.standing = Standing::Silent;
            } else if is_over && !asked.standing.is_final() {
                asked.standing = Standing::Late;
            }
        }
        if self.nodes.values().any(|asked| !asked.standing.is_final()) {
            return None;
        }
        let is_ready = self.nodes.values().all(|asked| asked.standing == Standing::Ready);
        Some(if is_ready { Outcome::Ready } else { Outcome::Failed })
    }

    /// Returns the states of the trials.
    pub fn standings(&self) -> impl Iterator<Item = (NodeId, &Standing)> {
        self.nodes.iter().map(|(node, asked)| (*node, &asked.standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::numbered(number).expect("a node")
    }

    fn coordinator() -> Coordinator {
        let mut coordinator = Coordinator::new(0, 60_000);
        coordinator.present(&[node(1), node(2)].into(), 0);
        coordinator
    }

    #[test]
    fn code_is_ready_when_it_is_on_all_nodes_also_on_one_that_has_come_meanwhile() {
        let mut trials = coordinator();
        assert_eq!(trials.to_ask(0), [node(1), node(2)]);
        trials.heard(node(1), &Report::Ready, 10);
        trials.present(&[node(1), node(2), node(3)].into(), 20);
        assert_eq!(trials.to_ask(20), [node(1), node(2), node(3)], "at once");
        trials.heard(node(2), &Report::Ready, 30);
        assert_eq!(trials.outcome(30), None);
        trials.heard(node(3), &Report::Ready, 40);
        assert_eq!(trials.outcome(40), Some(Outcome::Ready));
    }

    #[test]
    fn a_node_that_is_gone_is_not_waited_for() {
        let mut trials = coordinator();
        trials.heard(node(1), &Report::Ready, 10);
        trials.present(&[node(1)].into(), 20);
        trials.heard(node(2), &Report::Trying, 25);
        assert_eq!(trials.outcome(30), Some(Outcome::Ready));
    }

    #[test]
    fn one_refusal_fails_and_the_others_are_waited_for_to_tell_theirs() {
        let mut trials = coordinator();
        let refused = Report::Refused { reason: "it does not fit".to_owned() };
        trials.heard(node(1), &refused, 10);
        trials.heard(node(2), &Report::Trying, 10);
        assert_eq!(trials.outcome(10), None);
        assert_eq!(trials.to_ask(10), [node(2)]);
        trials.heard(node(2), &Report::Ready, 20);
        assert_eq!(trials.outcome(20), Some(Outcome::Failed));
    }

    #[test]
    fn a_node_that_says_nothing_or_never_ends_fails_in_time() {
        let mut trials = coordinator();
        let mut now = 0;
        while now < 60_000 {
            trials.heard(node(1), &Report::Trying, now);
            trials.heard(node(2), &Report::Ready, now);
            assert_eq!(trials.outcome(now), None);
            now += 1000;
        }
        assert_eq!(trials.outcome(now), Some(Outcome::Failed));
        let standings: Vec<_> = trials.standings().map(|(_, standing)| standing.clone()).collect();
        assert_eq!(standings, [Standing::Late, Standing::Ready]);
        let mut trials = coordinator();
        trials.heard(node(1), &Report::Ready, SILENT_AFTER - 1);
        assert_eq!(trials.outcome(SILENT_AFTER), Some(Outcome::Failed));
    }
}
