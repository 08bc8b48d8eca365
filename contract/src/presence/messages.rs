//! The messages to watchers of a room.

use std::sync::Arc;

use super::quoted;

/// The metadata of one connection: JSON.
pub type Meta = Arc<str>;

/// Keys, and the metadata of the connections behind each, oldest connection first.
pub type Entries = Vec<(Arc<str>, Vec<Meta>)>;

/// The changes of a list, by whole entries: applying them twice is applying them once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Number of the list after the changes.
    pub sequence: u64,
    /// Entries that are present now, with exactly this metadata.
    pub joins: Entries,
    /// Keys that are absent now.
    pub leaves: Vec<Arc<str>>,
}

impl Diff {
    /// Returns true if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty()
    }

    /// Returns the message for watchers.
    pub fn message(&self, room: &str) -> String {
        let mut text = beginning("presence_diff", room, self.sequence);
        text.push_str(r#","joins":{"#);
        write_entries(&mut text, &self.joins);
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
pub(super) fn state(room: &str, sequence: u64, present: &Entries) -> String {
    let mut text = beginning("presence_state", room, sequence);
    text.push_str(r#","present":{"#);
    write_entries(&mut text, present);
    text.push_str("}}");
    text
}

fn beginning(kind: &str, room: &str, sequence: u64) -> String {
    format!(r#"{{"type":"{kind}","room":{},"sequence":{sequence}"#, quoted(room))
}

fn write_entries(text: &mut String, entries: &Entries) {
    for (number, (key, metas)) in entries.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&quoted(key));
        text.push_str(r#":{"metas":["#);
        // The metadata is JSON itself, checked when it was tracked.
        text.push_str(&metas.join(","));
        text.push_str("]}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_json_however_keys_and_rooms_are_called() {
        let metas: Vec<Meta> = vec!["1".into(), r#"{"a":2}"#.into()];
        let present = vec![("a\"b".into(), metas.clone()), ("c".into(), metas[..1].to_vec())];
        assert_eq!(
            state("x\ny", 7, &present),
            r#"{"type":"presence_state","room":"x\ny","sequence":7,"present":{"a\"b":{"metas":[1,{"a":2}]},"c":{"metas":[1]}}}"#
        );
        let joins = present[1..].to_vec();
        let diff = Diff { sequence: 8, joins, leaves: vec!["d".into(), "\\".into()] };
        assert_eq!(
            diff.message("x"),
            r#"{"type":"presence_diff","room":"x","sequence":8,"joins":{"c":{"metas":[1]}},"leaves":["d","\\"]}"#
        );
    }
}
