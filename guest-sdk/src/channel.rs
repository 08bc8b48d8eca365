//! What an author writes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::incoming::InvalidMessage;
use crate::refusal::Refusal;

/// A channel.
pub trait Channel: Serialize + DeserializeOwned + Sized + 'static {
    /// Path patterns.
    const PATHS: &'static [&'static str];

    /// Subprotocols.
    const SUBPROTOCOLS: &'static [&'static str] = &[];

    /// Format version of session bytes.
    const SESSION_FORMAT: u32 = 0;

    /// What text messages are decoded into.
    type Message: DeserializeOwned + 'static;

    #[doc(hidden)]
    const __WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL: Exports;

    /// A client asks to connect.
    fn on_connect(conn: &Connection) -> Result<Self, Refusal>;

    /// A text message has arrived.
    fn on_message(&mut self, conn: &Connection, message: Self::Message) -> Result {
        let _ = (conn, message);
        Ok(())
    }

    /// A binary message has arrived.
    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// A text message has arrived that is not a [`Message`](Channel::Message).
    fn on_invalid_message(&mut self, conn: &Connection, invalid: InvalidMessage) -> Result {
        conn.send(json!({
            "type": "error",
            "code": "INVALID_JSON",
            "message": invalid.explanation(),
        }))
    }

    /// The client sent a ping; it has been answered already.
    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// The client sent a pong.
    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// A handler returned `Err`.
    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        let _ = error;
        conn.send(json!({ "type": "error", "code": "INTERNAL_ERROR" }))
    }

    /// Something went wrong that no handler saw.
    fn on_fault(&mut self, conn: &Connection, fault: Fault) -> Result {
        let _ = (conn, fault);
        Ok(())
    }

    /// The connection has ended.
    fn on_close(&mut self, conn: &Connection, code: Option<u16>, reason: &str) -> Result {
        let _ = (conn, code, reason);
        Ok(())
    }
}

/// Why a connection is about to be closed, as [`on_fault`](Channel::on_fault) hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// One of `protocol-error`, `invalid-utf8`, `message-too-big` (the client's doing) or `trap`,
    /// `deadline`, `out-of-memory`, `session-too-big` (a handler's doing: what it did is undone).
    /// The set grows.
    pub code: String,
    /// A sentence for the log. Not for clients.
    pub detail: String,
}

/// What the attribute found the author to have written, beyond what every channel has.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Exports {
    pub control_frames: bool,
    pub faults: bool,
}

/// Looks at [`Channel::PATHS`] when the plugin is compiled, for what every host would refuse. The
/// host looks again, and knows more: whether two patterns are the same, for one.
#[doc(hidden)]
pub const fn check_paths(paths: &[&str]) {
    assert!(!paths.is_empty(), "PATHS is empty: a channel needs a path such as \"/chat/:room_id\"");
    assert!(paths.len() <= 64, "PATHS has more than 64 patterns");
    let mut number = 0;
    while number < paths.len() {
        let path = paths[number].as_bytes();
        assert!(path.len() <= 255, "a pattern in PATHS is longer than 255 bytes");
        assert!(!path.is_empty() && path[0] == b'/', "a pattern in PATHS must begin with `/`");
        let mut at = 1;
        while at < path.len() {
            let is_start = path[at - 1] == b'/';
            if is_start && (path[at] == b':' || path[at] == b'*') {
                assert!(
                    at + 1 < path.len() && path[at + 1] != b'/',
                    "a parameter in PATHS has no name: write `:name` or `*name`"
                );
            }
            if is_start && path[at] == b'*' {
                let mut rest = at + 1;
                while rest < path.len() {
                    assert!(path[rest] != b'/', "in PATHS `*name` must be the last segment");
                    rest += 1;
                }
            }
            at += 1;
        }
        number += 1;
    }
}
