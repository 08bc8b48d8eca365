//! What watchers of a room are sent.

use std::sync::Arc;

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

/// Returns the message for a new watcher: the whole list.
pub fn state(room: &str, sequence: u64, present: &Entries) -> String {
    let mut text = beginning("presence_state", room, sequence);
    text.push_str(r#","present":{"#);
    write_entries(&mut text, present.iter().map(|(key, metas)| (&**key, metas.as_slice())));
    text.push_str("}}");
    text
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
