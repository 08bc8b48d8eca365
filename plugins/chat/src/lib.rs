//! A chat with rooms.
//!
//! There are two ways into a room: connect to `/chat/:room_id`, or connect to `/chat` and send
//! `{"type": "join", "room_id": "lobby"}`, which also changes rooms later. `?name=Ann` names the
//! user. The default name is `user_` and the connection's id. Names are not unique.
//!
//! | the client sends | the channel sends |
//! | --- | --- |
//! | `{"type": "join", "room_id": "lobby"}` | `joined` to itself, `user_joined` to the others |
//! | `{"type": "chat_message", "message": "hi"}` | `chat_message` to the whole room |
//! | `{"type": "typing_start"}` | `user_typing` to the others |
//! | `{"type": "typing_stop"}` | `user_stopped_typing` to the others |
//! | `{"type": "ping"}` | `pong` |
//! | anything else | `error` |
//!
//! Everything that the channel sends has a `type` and a `timestamp`. The first message after
//! connecting is of type `system` and welcomes the client. This message, `joined`, `pong` and
//! `chat_message` name the `generation` of the plugin that has answered, which shows a reload.

#![forbid(unsafe_code)]

mod messages;
mod timestamp;

// The demo swaps between versions of this plugin, which differ in this file only.
#[cfg_attr(feature = "festive", path = "festive.rs")]
mod voice;

use messages::Incoming;
use wharf::event::generation;
use wharf::prelude::*;

/// The session of one connection.
#[derive(Serialize, Deserialize)]
struct Chat {
    user: String,
    #[serde(default)]
    room: Option<String>,
}

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 1000;
/// Longest name of a user, in characters.
const LONGEST_NAME: usize = 64;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat", "/chat/:room_id"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let name = conn.query("name").map(|name| name.trim().to_owned());
        let user = match name.filter(|name| !name.is_empty()) {
            Some(name) if name.chars().count() > LONGEST_NAME => {
                let why = format!("a name has at most {LONGEST_NAME} characters");
                return Err(Refusal::bad_request(why));
            }
            Some(name) if !messages::is_plain(&name) => {
                return Err(Refusal::bad_request("a name has no control characters"));
            }
            Some(name) => name,
            None => format!("user_{}", conn.id()),
        };
        let mut chat = Chat { user, room: None };
        match conn.param("room_id") {
            Ok(room) => {
                if let Err(why) = messages::check_room(&room) {
                    return Err(Refusal::bad_request(why));
                }
                chat.enter(conn, &room)?;
                conn.send(json!({
                    "type": "system",
                    "message": format!("Welcome to room {room}"),
                    "room_id": room,
                    "user": chat.user,
                    "count": room_count(&room),
                    "generation": generation(),
                    "timestamp": timestamp::now(),
                }))?;
            }
            Err(_) => conn.send(json!({
                "type": "system",
                "message": "Connected. Send a 'join' message with room_id to join a room.",
                "user": chat.user,
                "generation": generation(),
                "timestamp": timestamp::now(),
            }))?,
        }
        Ok(chat)
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        match message {
            Incoming::Join { room_id } => self.join(conn, room_id),
            Incoming::ChatMessage { message } => self.say(conn, message),
            Incoming::TypingStart => self.tell_others(conn, "user_typing"),
            Incoming::TypingStop => self.tell_others(conn, "user_stopped_typing"),
            Incoming::Ping => conn.send(json!({
                "type": "pong",
                "generation": generation(),
                "timestamp": timestamp::now(),
            })),
        }
    }

    fn on_invalid_message(&mut self, conn: &Connection, invalid: InvalidMessage) -> Result {
        if !invalid.is_json() {
            return messages::error(conn, "INVALID_JSON", "Invalid JSON format");
        }
        match messages::unknown_type(invalid.text()) {
            Some(kind) => {
                messages::error(conn, "UNKNOWN_TYPE", &format!("Unknown message type: {kind}"))
            }
            None => messages::error(conn, "INVALID_MESSAGE", &invalid.explanation()),
        }
    }

    fn on_close(&mut self, conn: &Connection, _code: Option<u16>, _reason: &str) -> Result {
        match self.room.take() {
            Some(room) => self.say_goodbye(conn, &room),
            None => Ok(()),
        }
    }
}

impl Chat {
    fn join(&mut self, conn: &Connection, room_id: Option<String>) -> Result {
        let Some(room) = room_id else {
            return messages::error(conn, "ROOM_REQUIRED", "room_id is required");
        };
        if let Err(why) = messages::check_room(&room) {
            return messages::error(conn, "ROOM_INVALID", why);
        }
        if self.room.as_ref() != Some(&room) {
            if let Some(left) = self.room.take() {
                conn.leave(&left)?;
                self.say_goodbye(conn, &left)?;
            }
            self.enter(conn, &room)?;
        }
        conn.send(json!({
            "type": "joined",
            "message": format!("Welcome to room {room}"),
            "room_id": room,
            "user": self.user,
            "count": room_count(&room),
            "generation": generation(),
            "timestamp": timestamp::now(),
        }))
    }

    fn enter(&mut self, conn: &Connection, room: &str) -> Result {
        conn.join(room)?;
        self.room = Some(room.to_owned());
        let count = room_count(room);
        // A line that a stranger can cause is for the level `debug`.
        debug!(room, count; "user joined");
        conn.others().broadcast_to_room(
            room,
            json!({
                "type": "user_joined",
                "message": format!("{} joined the room", self.user),
                "user": self.user,
                "count": count,
                "timestamp": timestamp::now(),
            }),
        )
    }

    /// Tells the room that the user has left it.
    fn say_goodbye(&self, conn: &Connection, room: &str) -> Result {
        let count = room_count(room);
        debug!(room, count; "user left");
        conn.others().broadcast_to_room(
            room,
            json!({
                "type": "user_left",
                "message": format!("{} left the room", self.user),
                "user": self.user,
                "count": count,
                "timestamp": timestamp::now(),
            }),
        )
    }

    fn say(&self, conn: &Connection, message: Option<String>) -> Result {
        let Some(room) = &self.room else { return not_in_a_room(conn) };
        let Some(message) = message else {
            return messages::error(conn, "MESSAGE_REQUIRED", "Message is required");
        };
        if message.chars().count() > LONGEST_MESSAGE {
            return messages::error(conn, "MESSAGE_TOO_LONG", "Message too long");
        }
        if message.trim().is_empty() {
            return messages::error(conn, "MESSAGE_EMPTY", "Message cannot be empty");
        }
        conn.broadcast_to_room(
            room,
            json!({
                "type": "chat_message",
                "message": voice::spoken(message),
                "user": self.user,
                "generation": generation(),
                "timestamp": timestamp::now(),
            }),
        )
    }

    fn tell_others(&self, conn: &Connection, what: &str) -> Result {
        let Some(room) = &self.room else { return not_in_a_room(conn) };
        conn.others().broadcast_to_room(
            room,
            json!({
                "type": what,
                "user": self.user,
                "timestamp": timestamp::now(),
            }),
        )
    }
}

fn not_in_a_room(conn: &Connection) -> Result {
    messages::error(conn, "NOT_IN_ROOM", "Not in a room. Send a 'join' message first.")
}

#[cfg(test)]
mod tests;
