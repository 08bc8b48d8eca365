//! Questions for the connections that other nodes have in a group, which are not known one by one.

use std::collections::{BTreeSet, HashMap};

use wharf_hub::connection_id::{ConnectionId, NodeId};

use crate::latch::Latch;

/// Questions that may be open. Beyond them a list has the connections of this node only.
const MAX: usize = 1000;

/// Connections that one node may answer with.
pub(crate) const MAX_ANSWER: u32 = 1001;

/// The open questions of one node.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    last: u64,
    open: HashMap<u64, Listing>,
}

#[derive(Debug)]
struct Listing {
    missing: BTreeSet<NodeId>,
    found: Vec<ConnectionId>,
    complete: Latch,
}

impl Listings {
    /// Opens a question that these nodes answer. Returns its number, and the latch of its last answer; `None` if there
    /// is nobody to ask, or too much is asked already.
    pub(crate) fn open(&mut self, nodes: BTreeSet<NodeId>) -> Option<(u64, Latch)> {
        if nodes.is_empty() || self.open.len() >= MAX {
            return None;
        }
        self.last += 1;
        let complete = Latch::default();
        let listing = Listing { missing: nodes, found: Vec::new(), complete: complete.clone() };
        self.open.insert(self.last, listing);
        Some((self.last, complete))
    }

    /// Notes the answer of a node.
    pub(crate) fn answered(&mut self, from: NodeId, question: u64, numbers: &[u64]) {
        let Some(listing) = self.open.get_mut(&question) else { return };
        if !listing.missing.remove(&from) {
            return;
        }
        let numbers = numbers.iter().take(MAX_ANSWER as usize);
        listing.found.extend(numbers.map(|number| ConnectionId { node: from, number: *number }));
        if listing.missing.is_empty() {
            listing.complete.open();
        }
    }

    /// Notes that a node is gone, which will not answer.
    pub(crate) fn gone(&mut self, node: NodeId) {
        for listing in self.open.values_mut() {
            if listing.missing.remove(&node) && listing.missing.is_empty() {
                listing.complete.open();
            }
        }
    }

    /// Ends a question. Returns what was found, in ascending order.
    pub(crate) fn close(&mut self, question: u64) -> Vec<ConnectionId> {
        let found = self.open.remove(&question).map(|listing| listing.found);
        let mut found = found.unwrap_or_default();
        found.sort_unstable();
        found
    }
}

/// Returns the number after which this node's connections begin in a list that begins after `after`; `None` if it has
/// none there, since its connections come before.
pub(crate) fn own_start(own: NodeId, after: Option<ConnectionId>) -> Option<Option<u64>> {
    match after {
        Some(id) if id.node == own => Some(Some(id.number)),
        Some(id) if id.node > own => None,
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::numbered(number).expect("a node")
    }

    #[test]
    fn a_list_is_complete_when_all_have_answered_or_are_gone() {
        let mut listings = Listings::default();
        assert!(listings.open(BTreeSet::new()).is_none());
        let (question, complete) = listings.open([node(2), node(3)].into()).expect("a question");
        listings.answered(node(3), question, &[5, 1]);
        listings.answered(node(3), question, &[9]);
        listings.answered(node(4), question, &[9]);
        assert!(!complete.is_open());
        listings.gone(node(2));
        assert!(complete.is_open());
        let id = |number| ConnectionId { node: node(3), number };
        assert_eq!(listings.close(question), [id(1), id(5)]);
        assert_eq!(listings.close(question), []);
    }

    #[test]
    fn lists_of_several_nodes_follow_each_other() {
        let after = Some(ConnectionId { node: node(2), number: 7 });
        assert_eq!(own_start(node(1), after), None);
        assert_eq!(own_start(node(2), after), Some(Some(7)));
        assert_eq!(own_start(node(3), after), Some(None));
        assert_eq!(own_start(node(3), None), Some(None));
    }
}
