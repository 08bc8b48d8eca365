//! The rooms with a history: what was accepted, what was seen, and what is wrong between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use crate::Value;

/// One room.
#[derive(Debug, Default)]
struct Room {
    epoch: Option<String>,
    /// The message of each offset, as the first client saw it.
    seen: BTreeMap<u64, String>,
    /// The offset of each message.
    offsets: HashMap<String, u64>,
    /// The last step of each sender.
    last: HashMap<String, u64>,
    /// Accepted messages that nobody has seen yet: sender and step.
    accepted: BTreeSet<(String, u64)>,
    /// The last offset of each client, by its name.
    readers: BTreeMap<String, u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Histories(Mutex<BTreeMap<String, Room>>);

/// Returns the sender and the step of a message of a writer.
fn writer(message: &Value) -> Option<(String, u64)> {
    let from = message["from"].as_str()?;
    Some((from.to_owned(), message["step"].as_u64()?))
}

impl Histories {
    /// Records that a message was accepted.
    pub fn accepted(&self, room: &str, sender: &str, step: u64) {
        let mut rooms = self.0.lock().expect("no holder panics");
        let room = rooms.entry(room.to_owned()).or_default();
        // Members may have seen it before its sender is told.
        if room.last.get(sender).is_none_or(|last| *last < step) {
            room.accepted.insert((sender.to_owned(), step));
        }
    }

    /// Records the epoch that a client was told. Returns the one that was told before, if it is another.
    pub fn epoch(&self, room: &str, epoch: &str) -> Option<String> {
        let mut rooms = self.0.lock().expect("no holder panics");
        let room = rooms.entry(room.to_owned()).or_default();
        let before = room.epoch.replace(epoch.to_owned());
        before.filter(|before| before != epoch)
    }

    /// Records a message that a client has got, or an offset without one. Returns what is wrong with it.
    pub fn seen(
        &self,
        room: &str,
        reader: &str,
        offset: u64,
        message: Option<&Value>,
    ) -> Option<String> {
        let mut rooms = self.0.lock().expect("no holder panics");
        let state = rooms.entry(room.to_owned()).or_default();
        state.readers.insert(reader.to_owned(), offset);
        let message = message?;
        let text = message.to_string();
        if let Some(known) = state.seen.get(&offset) {
            let is_same = *known == text;
            return (!is_same).then(|| {
                format!("{room}: message {offset} is {text} for {reader}, and was {known}")
            });
        }
        state.seen.insert(offset, text.clone());
        if let Some(other) = state.offsets.insert(text.clone(), offset) {
            return Some(format!("{room}: {text} is there twice: as {other} and as {offset}"));
        }
        let (sender, step) = writer(message)?;
        state.accepted.remove(&(sender.clone(), step));
        let before = state.last.insert(sender, step);
        // Readers go on at different speeds, but the first one sees each offset in its order, except after a gap.
        let is_newest = state.seen.keys().next_back() == Some(&offset);
        (is_newest && before > Some(step))
            .then(|| format!("{room}: {text} comes after step {before:?} of its sender"))
    }

    /// Returns the number of messages in all rooms.
    pub fn messages(&self) -> usize {
        self.0.lock().expect("no holder panics").values().map(|room| room.seen.len()).sum()
    }

    /// Returns what is missing, once nobody writes any more.
    pub fn missing(&self) -> Option<String> {
        let rooms = self.0.lock().expect("no holder panics");
        for (name, room) in rooms.iter() {
            if let Some((sender, step)) = room.accepted.first() {
                let number = room.accepted.len();
                return Some(format!(
                    "{name}: {number} accepted messages were never seen: {sender} {step}"
                ));
            }
            let top = room.seen.keys().next_back().copied().unwrap_or(0);
            if let Some((reader, at)) = room.readers.iter().find(|(_, at)| **at < top) {
                return Some(format!("{name}: {reader} is at {at}, and the last one is {top}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Histories;
    use crate::{Value, json};

    fn message(step: u64) -> Value {
        json!({ "from": "ann", "how": "room", "step": step })
    }

    #[test]
    fn a_loss_a_double_and_another_message_are_found() {
        let histories = Histories::default();
        histories.accepted("red", "ann", 1);
        histories.accepted("red", "ann", 2);
        assert_eq!(histories.seen("red", "bob", 7, Some(&message(1))), None);
        assert!(histories.missing().is_some_and(|what| what.contains("ann 2")));
        assert_eq!(histories.seen("red", "bob", 8, Some(&message(2))), None);
        assert_eq!(histories.missing(), None);
        assert_eq!(histories.seen("red", "eve", 7, Some(&message(1))), None);
        assert!(histories.missing().is_some_and(|what| what.contains("eve is at 7")));
        let twice = histories.seen("red", "bob", 9, Some(&message(2)));
        assert!(twice.is_some_and(|what| what.contains("twice")));
        let another = histories.seen("red", "eve", 8, Some(&message(3)));
        assert!(another.is_some_and(|what| what.contains("and was")));
        assert_eq!(histories.epoch("red", "1"), None);
        assert_eq!(histories.epoch("red", "2").as_deref(), Some("1"));
    }
}
