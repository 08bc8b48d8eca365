//! The messages that rooms keep, where the operator lets them.
//!
//! A room keeps what is broadcast to it as a whole, within the bounds of its channel's `history` in the host's
//! configuration. A client that comes back can get what it has missed from the host itself, and new members the
//! last messages; a plugin needs none of this for it. It can read the messages with
//! [`Room::history`](crate::Room::history):
//!
//! ```
//! use wharf::prelude::*;
//! # use wharf::testing::{HistoryRule, TestHost};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reader;
//!
//! #[wharf::channel]
//! impl Channel for Reader {
//!     const PATHS: &[&str] = &["/news"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         conn.join("news")?;
//!         Ok(Reader)
//!     }
//!
//!     fn on_message(&mut self, conn: &Connection, text: String) -> Result {
//!         if text != "last" {
//!             return conn.broadcast_to_room("news", text);
//!         }
//!         let last = Room::new("news").history(1)?;
//!         conn.send(last.first().and_then(|entry| entry.text()).unwrap_or("nothing yet"))
//!     }
//! }
//!
//! # let host = TestHost::new::<Reader>();
//! # host.set_history(vec![HistoryRule::default()]);
//! # let ann = host.connect("/news").expect_open();
//! # ann.send("one");
//! # ann.send("last");
//! # ann.assert_received("one");
//! # ann.assert_received("one");
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend;
use crate::error::Result;
use crate::outgoing::Kind;

/// The messages that a page has at most.
pub const MAX_PAGE: u32 = 1000;

/// A message that a room keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    pub(crate) offset: u64,
    pub(crate) sent_at_ms: u64,
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
}

impl HistoryEntry {
    /// Returns its offset, which is one more than that of the room's message before.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the time at which it was sent.
    pub fn sent_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.sent_at_ms)
    }

    /// Returns the text; `None` for a binary message.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(&self.data).ok(),
            Kind::Binary => None,
        }
    }

    /// Returns the bytes of a text or binary message.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Returns the value of a message in JSON.
    ///
    /// Errors: it is not JSON, or not that of such a value.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.data)?)
    }
}

/// Returns the last messages of a room before an offset.
pub(crate) fn read(room: &str, before: Option<u64>, limit: u32) -> Result<Vec<HistoryEntry>> {
    Ok(backend::history(room, before, limit)?)
}
