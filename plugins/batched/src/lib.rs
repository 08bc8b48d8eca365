//! Sends the messages of many connections to all clients in batches: as soon as there are ten, and
//! 100 ms after the first one at the latest. The open batch is the state of a room.
//!
//! Every text that a client sends reaches all clients as part of
//! `{"type": "batch", "number": 1, "messages": [{"from": …, "message": "hi"}, …]}`.

#![forbid(unsafe_code)]

use std::time::Duration;

use wharf::prelude::*;

const SIZE: usize = 10;
const PATIENCE: Duration = Duration::from_millis(100);
/// Longest message, in bytes. A batch of such messages must fit into one message to a client.
const LONGEST_MESSAGE: usize = 4096;

const ROOM: &str = "everybody";

#[derive(Serialize, Deserialize)]
struct Batched;

#[derive(Serialize, Deserialize)]
struct Entry {
    from: String,
    message: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Batch {
    messages: Vec<Entry>,
    /// Number of batches sent so far.
    number: u64,
}

#[wharf::channel]
impl Channel for Batched {
    const PATHS: &[&str] = &["/batched"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.join(ROOM)?;
        Ok(Batched)
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        if message.len() > LONGEST_MESSAGE {
            return conn.send(json!({ "type": "error", "message": "too long" }));
        }
        Self::post(ROOM, &Entry { from: conn.id().to_owned(), message })
    }

    fn on_room_event(batch: &mut Batch, room: &Room, entry: Entry) -> Result {
        if batch.messages.is_empty() {
            room.after(PATIENCE, "patience", &())?;
        }
        batch.messages.push(entry);
        match batch.messages.len() {
            SIZE.. => batch.tell(room),
            _ => Ok(()),
        }
    }

    fn on_room_timer(batch: &mut Batch, room: &Room, _: Timer) -> Result {
        batch.tell(room)
    }
}

impl Batch {
    fn tell(&mut self, room: &Room) -> Result {
        room.cancel_timer("patience")?;
        if self.messages.is_empty() {
            return Ok(());
        }
        self.number += 1;
        let messages = std::mem::take(&mut self.messages);
        room.broadcast(json!({ "type": "batch", "number": self.number, "messages": messages }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn a_batch_is_told_when_it_is_full_or_its_time_has_come() {
        let host = TestHost::new::<Batched>();
        let (ann, ben) = (host.connect("/batched"), host.connect("/batched"));
        let (ann, ben) = (ann.expect_open(), ben.expect_open());
        for number in 0..12 {
            [&ann, &ben][number % 2].send(format!("message {number}"));
        }
        let full = ann.next_json();
        assert_eq!(full["messages"].as_array().map(Vec::len), Some(10));
        host.advance(PATIENCE - Duration::from_millis(1));
        ann.assert_received_nothing();
        host.advance(Duration::from_millis(1));
        let rest = ann.next_json();
        assert_eq!(
            (&rest["number"], &rest["messages"][1]["message"]),
            (&json!(2), &json!("message 11"))
        );
        host.advance(PATIENCE * 3);
        ann.assert_received_nothing();
    }
}
