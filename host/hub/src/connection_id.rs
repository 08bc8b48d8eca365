//! Names of connections, unique across nodes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a node's name.
const NODE_BITS: u32 = 48;

/// The name of a node: 48 bits, chosen at random for the life of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// Returns the name of this node.
    pub fn local() -> NodeId {
        static LOCAL: OnceLock<NodeId> = OnceLock::new();
        *LOCAL.get_or_init(|| {
            // The standard library's hash keys are random and need no further dependency.
            let random = RandomState::new().hash_one(std::process::id());
            let name = NonZeroU64::new(random >> (u64::BITS - NODE_BITS));
            NodeId(name.unwrap_or(NonZeroU64::MIN))
        })
    }

    /// Returns the name as a number.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// Returns the node whose name is this number; `None` if none can have it.
    pub fn numbered(number: u64) -> Option<NodeId> {
        NonZeroU64::new(number).filter(|number| number.get() < 1 << NODE_BITS).map(NodeId)
    }
}

impl fmt::Display for NodeId {
    /// Writes 12 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// The name of a connection: unique across nodes, and never used again.
///
/// Inside the host this is the only name of a connection. A table that holds only connections of
/// this node is keyed by [numbers](ConnectionId::local_number), and a foreign id finds nothing in
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The node that holds the connection.
    pub node: NodeId,
    /// Number of the connection on that node.
    pub number: u64,
}

/// Number of the connection that has come last.
static LAST: AtomicU64 = AtomicU64::new(0);

impl ConnectionId {
    /// Returns a new id of this node.
    pub fn next() -> ConnectionId {
        ConnectionId::local(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Returns a function that returns true for the ids of this node until now, and false for those of
    /// connections that come later.
    pub fn all_until_now() -> impl Fn(ConnectionId) -> bool {
        let last = LAST.load(Ordering::Relaxed);
        move |id| id.number <= last
    }

    /// Returns the id of this node with a number.
    pub fn local(number: u64) -> ConnectionId {
        ConnectionId { node: NodeId::local(), number }
    }

    /// Returns the number, if the id is one of this node.
    pub fn local_number(self) -> Option<u64> {
        (self.node == NodeId::local()).then_some(self.number)
    }

    /// Parses an id of any node from its text, as a guest gives it.
    pub fn parse(text: &str) -> Option<ConnectionId> {
        let (node, number) = text.split_once('-')?;
        let node = NodeId::numbered(u64::from_str_radix(node, 16).ok()?)?;
        let number = u64::from_str_radix(number, 16).ok()?;
        let id = ConnectionId { node, number };
        // Only the printed form is an id.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ConnectionId {
    /// Writes at most 29 bytes: the node, a hyphen, and the number, both in hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.node, self.number)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_is_an_id_only_in_the_form_that_ids_have(
            text in prop_oneof![any::<String>(), "[0-9a-fA-F+]{0,17}-[0-9a-f+]{0,17}"],
        ) {
            if let Some(id) = ConnectionId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn ids_of_all_nodes_survive_their_text(node in 1..1_u64 << NODE_BITS, number in any::<u64>()) {
            let node = NodeId(NonZeroU64::new(node).expect("not zero"));
            let id = ConnectionId { node, number };
            prop_assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
            prop_assert!(id.to_string().len() <= 29);
        }
    }

    #[test]
    fn ids_are_never_repeated_and_those_of_this_node_are_known_as_such() {
        let (one, other) = (ConnectionId::next(), ConnectionId::next());
        assert!(one < other);
        assert_eq!(one.local_number(), Some(one.number));
        let foreign = ConnectionId::parse("000000000001-1").expect("an id");
        assert_eq!(foreign.local_number(), None);
    }

    #[test]
    fn other_forms_of_an_id_are_none() {
        let id = ConnectionId::local(10).to_string();
        assert_eq!(ConnectionId::parse(&id.replace('-', "-0")), None);
        assert_eq!(ConnectionId::parse(&id.to_uppercase()), None);
        assert_eq!(ConnectionId::parse("000000000000-a"), None, "no node has this name");
        assert_eq!(ConnectionId::parse("1000000000000-a"), None, "49 bits");
    }
}
