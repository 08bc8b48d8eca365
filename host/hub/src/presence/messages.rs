//! What watchers of a room are sent.

use std::sync::Arc;

use super::roster::{Entries, Meta, Roster};

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

    /// The message for watchers.
    pub fn message(&self, room: &str) -> String {
        let mut text = beginning("presence_diff", room, self.sequence);
        text.push_str(r#","joins":{"#);
        let joins = self.joins.iter().map(|(key, metas)| (&**key, metas.as_slice()));
        write_entries(&mut text, joins);
        text.push_str(r#"},"leaves":["#);
        for (number, key) in self.leaves.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            text.push_str(&quoted(key));
        }
        text.push_str("]}");
        text
    }
}

impl Roster {
    /// The message for a new watcher: the whole list.
    pub fn message(&self, room: &str) -> String {
        let mut text = beginning("presence_state", room, self.sequence());
        text.push_str(r#","present":{"#);
        let entries = self.page(None, usize::MAX, None);
        write_entries(&mut text, entries.iter().map(|(key, metas)| (&**key, metas.as_slice())));
        text.push_str("}}");
        text
    }
}

fn beginning(kind: &str, room: &str, sequence: u64) -> String {
    format!(r#"{{"type":"{kind}","room":{},"sequence":{sequence}"#, quoted(room))
}

fn write_entries<'a>(text: &mut String, entries: impl Iterator<Item = (&'a str, &'a [Meta])>) {
    for (number, (key, metas)) in entries.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&quoted(key));
        text.push_str(r#":{"metas":["#);
        // The metadata is JSON itself, checked when it was taken in.
        text.push_str(&metas.join(","));
        text.push_str("]}");
    }
}

/// A text in JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
