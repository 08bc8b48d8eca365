//! The two streams of a cluster: their names and settings.

use serde_json::{Value, json};

/// The two streams of a cluster.
#[derive(Debug)]
pub(super) struct Streams {
    prefix: String,
    replicas: u8,
    pub(super) keys: String,
    pub(super) logs: String,
}

impl Streams {
    pub(super) fn new(prefix: &str, replicas: u8) -> Streams {
        let (keys, logs) = (format!("WHARF_{prefix}_KEYS"), format!("WHARF_{prefix}_LOGS"));
        Streams { prefix: prefix.to_owned(), replicas, keys, logs }
    }

    /// Returns the settings of the stream with records and leases.
    pub(super) fn keys_settings(&self) -> Value {
        let prefix = &self.prefix;
        json!({
            "name": self.keys,
            "subjects": [format!("{prefix}.k.>"), format!("{prefix}.e.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": 1,
            "max_msg_size": -1,
            "num_replicas": self.replicas,
            "duplicate_window": 1_000_000_000,
            "allow_direct": false,
            "allow_msg_ttl": true,
        })
    }

    /// Returns the settings of the stream with the entries of logs.
    pub(super) fn logs_settings(&self) -> Value {
        let prefix = &self.prefix;
        json!({
            "name": self.logs,
            "subjects": [format!("{prefix}.l.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "num_replicas": self.replicas,
            "duplicate_window": 1_000_000_000,
            "allow_direct": true,
            "allow_msg_ttl": true,
            "republish": { "src": format!("{prefix}.l.>"), "dest": format!("{prefix}.t.>") },
        })
    }
}
