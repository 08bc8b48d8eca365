//! What watchers of a room are sent.

use std::sync::Arc;

use wharf_contract::presence::{diff_message, state_message};

/// The metadata of one connection: JSON.
pub type Meta = Arc<str>;

/// Keys, and the metadata of the connections behind each, oldest connection first.
pub type Entries = Vec<(Arc<str>, Vec<Meta>)>;

/// What has changed about a list, by whole entries: applying it twice is applying it once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The list's number after the changes.
    pub sequence: u64,
    /// The keys that are present now, with exactly this metadata.
    pub joins: Entries,
    /// The keys that are absent now.
    pub leaves: Vec<Arc<str>>,
}

impl Diff {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty()
    }

    /// Returns the message for watchers.
    pub fn message(&self, room: &str) -> String {
        let joins = self.joins.iter().map(|(key, metas)| (&**key, metas.as_slice()));
        diff_message(room, self.sequence, joins, self.leaves.iter().map(|key| &**key))
    }
}

/// Returns the message for a new watcher: the whole list.
pub fn state(room: &str, sequence: u64, present: &Entries) -> String {
    let present = present.iter().map(|(key, metas)| (&**key, metas.as_slice()));
    state_message(room, sequence, present)
}
