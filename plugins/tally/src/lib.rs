//! A chat that counts, to measure the cost of a message that is parsed, checked, broadcast to a room
//! and counted in the session. The room is the last part of the path, `/tally/:room_id`.
//!
//! `{"type": "chat_message", "message": "hi"}` reaches all members of the room, the sender included,
//! as `{"type": "chat_message", "user": …, "number": 1, "message": "hi"}`; `number` counts the
//! sender's messages.

#![forbid(unsafe_code)]

use wharf::Json;
use wharf::prelude::*;

/// Longest message, in bytes.
const LONGEST_MESSAGE: usize = 1000;

#[derive(Serialize, Deserialize)]
struct Tally {
    user: String,
    room: String,
    number: u64,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    ChatMessage { message: String },
}

/// The answer. It is a struct, since `json!` would build a tree first.
#[derive(Serialize)]
struct Told<'a> {
    r#type: &'static str,
    user: &'a str,
    number: u64,
    message: &'a str,
}

#[wharf::channel]
impl Channel for Tally {
    const PATHS: &[&str] = &["/tally/:room_id"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let room = conn.param("room_id")?;
        if conn.join(&room).is_err() {
            return Err(Refusal::bad_request("a room's name has 1 to 255 bytes"));
        }
        Ok(Tally { user: format!("user_{}", conn.id()), room, number: 0 })
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        let Incoming::ChatMessage { message } = message;
        if message.trim().is_empty() || message.len() > LONGEST_MESSAGE {
            let why = format!("a message has 1 to {LONGEST_MESSAGE} bytes");
            return conn.send(json!({ "type": "error", "message": why }));
        }
        self.number += 1;
        let outgoing = Told {
            r#type: "chat_message",
            user: &self.user,
            number: self.number,
            message: &message,
        };
        conn.broadcast_to_room(&self.room, Json(&outgoing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::TestHost;

    #[test]
    fn each_message_has_its_senders_number() {
        let host = TestHost::new::<Tally>();
        let ann = host.connect("/tally/lobby").expect_open();
        let bob = host.connect("/tally/lobby").expect_open();
        for (sender, number) in [(&ann, 1), (&ann, 2), (&bob, 1)] {
            sender.send(r#"{"type":"chat_message","message":"hi"}"#);
            for member in [&ann, &bob] {
                let message = member.next_json();
                assert_eq!(message["number"], number);
                assert_eq!(message["message"], "hi");
            }
        }
    }

    #[test]
    fn an_empty_message_is_refused_and_not_counted() {
        let client = TestHost::new::<Tally>().connect("/tally/lobby").expect_open();
        client.send(r#"{"type":"chat_message","message":" "}"#);
        assert_eq!(client.next_json()["type"], "error");
        client.send(r#"{"type":"chat_message","message":"hi"}"#);
        assert_eq!(client.next_json()["number"], 1);
    }
}
