//! What the test kit and its host say to each other: one JSON object a line.
//!
//! It is private between a kit and a host of one version, which is what the host says first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use wharf_config::Config;
use wharf_runtime::registry::hex;

/// What the kit wants.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Command {
    /// Load the component; the first command.
    Start(Setup),
    /// Have a client ask for a path.
    Connect {
        target: String,
        headers: Vec<(String, Bytes)>,
        remote: SocketAddr,
        /// Those of a token that the host has checked, as JSON.
        claims: Option<String>,
    },
    /// What a client sends.
    SendText {
        client: usize,
        text: String,
    },
    SendBinary {
        client: usize,
        data: Bytes,
    },
    Ping {
        client: usize,
        data: Bytes,
    },
    Pong {
        client: usize,
        data: Bytes,
    },
    /// A client's close frame.
    Disconnect {
        client: usize,
        code: u16,
        reason: String,
    },
    /// A client is gone.
    Vanish {
        client: usize,
    },
    /// A client breaks a rule.
    Violate {
        client: usize,
        rule: String,
    },
    /// What the host keeps of a connection.
    Connection {
        client: usize,
    },
    /// What it keeps of a room.
    Room {
        name: String,
    },
    /// The connections of a user.
    User {
        name: String,
    },
    /// Time passes.
    Advance {
        milliseconds: u64,
        nanoseconds: u32,
    },
    /// A message from outside.
    Outside {
        message: Value,
    },
    /// Script the answer to requests for a URL.
    HttpAnswer {
        url: String,
        answer: Answer,
    },
    /// A token that holds.
    Token {
        token: String,
        claims: String,
    },
    /// Another channel goes out of service.
    RemoveChannel {
        name: String,
    },
    /// Other code.
    Reload {
        file: PathBuf,
    },
    /// An entry of the store.
    Stored {
        key: String,
    },
    /// Give it a value.
    Store {
        key: String,
        value: Bytes,
    },
}

/// What the host is like.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Setup {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) limits: Option<Limits>,
    pub(super) publish_to: Vec<String>,
}

/// The kit's limits: settings of the same names.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Limits {
    max_message_bytes: usize,
    max_outbound_message_bytes: usize,
    max_rooms_per_connection: usize,
    max_session_bytes: usize,
    max_effects_per_event: usize,
    max_effect_bytes_per_event: usize,
    max_store_bytes: usize,
    max_store_value_bytes: usize,
    inbox_events: usize,
    room_inbox_events: usize,
    max_payload_bytes: usize,
    max_room_state_bytes: usize,
    max_presence_bytes: usize,
    max_room_presence_bytes: usize,
    max_timers_per_connection: usize,
    max_timers_per_room: usize,
    max_timers_per_channel: usize,
}

impl Limits {
    /// Set them. Those that contain them grow where they must, since nobody has said anything of them.
    pub(super) fn apply(self, config: &mut Config) {
        let Config { outbound_queue_bytes, hostcall_bytes, max_memory_bytes, .. } = *config;
        let largest = [
            self.max_outbound_message_bytes,
            self.max_store_value_bytes,
            self.max_session_bytes,
            self.max_room_state_bytes,
            self.max_payload_bytes,
        ];
        let sent = self.max_outbound_message_bytes.max(self.max_effect_bytes_per_event);
        *config = Config {
            max_message_bytes: self.max_message_bytes,
            max_frame_bytes: config.max_frame_bytes.max(self.max_message_bytes),
            max_outbound_message_bytes: self.max_outbound_message_bytes,
            max_rooms_per_connection: self.max_rooms_per_connection,
            max_session_bytes: self.max_session_bytes,
            max_effects_per_event: self.max_effects_per_event,
            max_effect_bytes_per_event: self.max_effect_bytes_per_event,
            max_store_bytes: self.max_store_bytes,
            max_store_value_bytes: self.max_store_value_bytes,
            inbox_events: self.inbox_events,
            inbox_bytes: config.inbox_bytes.max(self.max_payload_bytes),
            room_inbox_events: self.room_inbox_events,
            room_inbox_bytes: config.room_inbox_bytes.max(self.max_payload_bytes),
            max_payload_bytes: self.max_payload_bytes,
            max_room_state_bytes: self.max_room_state_bytes,
            max_presence_bytes: self.max_presence_bytes,
            max_room_presence_bytes: self.max_room_presence_bytes,
            max_timers_per_connection: self.max_timers_per_connection,
            max_timers_per_room: self.max_timers_per_room,
            max_timers_per_channel: self.max_timers_per_channel,
            outbound_queue_bytes: outbound_queue_bytes.max(sent).max(self.max_room_presence_bytes),
            hostcall_bytes: largest.into_iter().fold(hostcall_bytes, usize::max),
            max_memory_bytes: max_memory_bytes.max(self.max_message_bytes.saturating_mul(4)),
            ..config.clone()
        };
    }
}

/// Another server's answer, or the code of a host call and a sentence.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Response { status: u16, headers: Vec<(String, Bytes)>, body: Bytes },
    Failure { code: String, detail: String },
}

/// Bytes, as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes.map(Bytes).ok_or_else(|| serde::de::Error::custom("bytes are hexadecimal digits"))
    }
}

/// What has happened since the last command, in its order, for the next answer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Happened(Arc<Mutex<Vec<Value>>>);

impl Happened {
    /// Something has.
    pub(super) fn note(&self, what: Value) {
        self.0.lock().push(what);
    }

    /// A client got a message or a ping.
    pub(super) fn received(&self, client: usize, kind: &str, data: &[u8]) {
        self.note(match (kind, std::str::from_utf8(data)) {
            ("text", Ok(text)) => json!({ "client": client, "text": text }),
            _ => json!({ "client": client, kind: hex(data) }),
        });
    }

    /// All of it, once.
    pub(super) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pairs_of_digits_and_nothing_else_is() {
        let read = |text: &str| serde_json::from_value::<Bytes>(json!(text)).ok();
        assert_eq!(read("00ff7A"), Some(Bytes(vec![0, 255, 0x7a])));
        assert_eq!(read(""), Some(Bytes(Vec::new())));
        for wrong in ["0", "0g", "é", "+1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_take_those_with_them_that_contain_them() {
        let mut limits: BTreeMap<String, usize> = BTreeMap::new();
        for (name, value) in [
            ("max_message_bytes", 1 << 20),
            ("max_outbound_message_bytes", 1 << 25),
            ("max_rooms_per_connection", 0),
            ("max_session_bytes", 1),
            ("max_effects_per_event", 2),
            ("max_effect_bytes_per_event", 3),
            ("max_store_bytes", 4),
            ("max_store_value_bytes", 5),
            ("inbox_events", 6),
            ("room_inbox_events", 7),
            ("max_payload_bytes", 8),
            ("max_room_state_bytes", 9),
            ("max_presence_bytes", 10),
            ("max_room_presence_bytes", 11),
            ("max_timers_per_connection", 12),
            ("max_timers_per_room", 13),
            ("max_timers_per_channel", 14),
        ] {
            limits.insert(name.to_owned(), value);
        }
        let limits: Limits = serde_json::from_value(json!(limits)).expect("limits");
        let mut config = Config::default();
        limits.apply(&mut config);
        assert_eq!((config.max_rooms_per_connection, config.max_timers_per_channel), (0, 14));
        assert_eq!((config.outbound_queue_bytes, config.hostcall_bytes), (1 << 25, 1 << 25));
    }
}
