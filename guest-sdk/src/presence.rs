//! Presence: the list of a room, by key, and its changes.
//!
//! A connection [tracks](crate::Connection::track) itself in a room that it is in, under a key,
//! mostly a user's id, and with JSON metadata. A user with several tabs is present until the last
//! one goes. A connection that leaves the room is off the list at once. One that just ends stays on
//! it for a moment (`presence_grace_ms`), so that a client that reconnects was never away.
//!
//! The host sends a connection that [watches](crate::Connection::watch_presence) a room its list,
//! and from then on its changes, without a call of the plugin:
//!
//! - `{"type": "presence_state", "room": …, "sequence": 7, "present": {KEY: {"metas": […]}, …}}`
//! - `{"type": "presence_diff", "room": …, "sequence": 9, "joins": {KEY: {"metas": […]}, …}, "leaves": [KEY, …]}`
//!
//! Each key in `joins` is present now with exactly this metadata, one for each connection. Each key
//! in `leaves` is absent now. So a client puts the former into its list, takes the latter out, and
//! ignores a diff whose `sequence` is not higher than the last one of the room. Changes within
//! `presence_interval_ms` come together, and a change that is undone in that time does not come at
//! all.
//!
//! ```
//! use wharf::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Lobby;
//!
//! #[wharf::channel]
//! impl Channel for Lobby {
//!     const PATHS: &[&str] = &["/lobby"];
//!
//!     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
//!         let user = conn.query("user").ok_or(Refusal::unauthorized("user is required"))?;
//!         conn.join("lobby")?;
//!         conn.track("lobby", &user, json!({ "status": "online" }))?;
//!         conn.watch_presence("lobby")?;
//!         Ok(Lobby)
//!     }
//! }
//!
//! # use std::time::Duration;
//! # let host = wharf::testing::TestHost::new::<Lobby>();
//! # let ann = host.connect("/lobby?user=ann").expect_open();
//! # ann.assert_received(json!({
//! #     "type": "presence_state", "room": "lobby", "sequence": 1,
//! #     "present": { "ann": { "metas": [{ "status": "online" }] } },
//! # }));
//! # let bob = host.connect("/lobby?user=bob").expect_open();
//! # host.advance(Duration::from_secs(1));
//! # ann.assert_received(json!({
//! #     "type": "presence_diff", "room": "lobby", "sequence": 2,
//! #     "joins": { "bob": { "metas": [{ "status": "online" }] } }, "leaves": [],
//! # }));
//! # bob.vanish();
//! # host.advance(Duration::from_secs(1));
//! # ann.assert_received_nothing();
//! # host.advance(Duration::from_secs(2));
//! # ann.assert_received(json!({
//! #     "type": "presence_diff", "room": "lobby", "sequence": 3, "joins": {}, "leaves": ["bob"],
//! # }));
//! ```
//!
//! The plugin itself can ask for the list ([`presence_list`], [`presence_count`]), or handle its
//! changes in [`on_presence`](crate::Channel::on_presence). Tracking and watching are effects;
//! questions see the committed list and this event's own changes.
//!
//! With several nodes the list covers all of them. Entries of other nodes may lag behind, and those
//! of a node that has died are removed after a while. The number belongs to the node that sends the
//! list.

use serde_json::Value;

use crate::backend;
use crate::error::{Context, Result};
use crate::pages::{Named, Pages};

/// Returns the number of keys that are present in a room with a connection. A key that is only on
/// the list for the grace is not counted.
pub fn presence_count(room: &str) -> u32 {
    backend::presence_count(room)
}

/// Returns the list of a room, in the order of its keys. It is fetched 1000 entries at a time; a
/// change in between may or may not be in it.
pub fn presence_list(room: &str) -> PresenceList {
    PresenceList(Pages::of(room, |room, after, limit| {
        let (_, entries) = backend::presence_page(room, after, limit);
        Ok(Present::all(entries))
    }))
}

/// Returns a page of the list of a room: the entries after the key `after`, from the start for
/// `None`, at most `limit` and never more than 1000. It has the number of the committed list, which
/// is that of the messages that watchers get.
pub fn presence_page(room: &str, after: Option<&str>, limit: u32) -> PresencePage {
    let (sequence, entries) = backend::presence_page(room, after, limit);
    PresencePage { sequence, present: entries.into_iter().map(Present::new).collect() }
}

/// A present entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Key, mostly a user's id.
    pub key: String,
    /// Metadata of each connection, oldest connection first.
    pub metas: Vec<Value>,
}

impl Present {
    /// Makes an entry. The host has checked that metadata is JSON; a value that still cannot be
    /// read, such as a number that is too large, is null.
    fn new((key, metas): (String, Vec<String>)) -> Self {
        let metas = metas.iter().map(|meta| serde_json::from_str(meta).unwrap_or_default());
        Self { key, metas: metas.collect() }
    }

    pub(crate) fn all(entries: Vec<(String, Vec<String>)>) -> Vec<Self> {
        entries.into_iter().map(Self::new).collect()
    }
}

/// Part of a list; made by [`presence_page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresencePage {
    /// Number of the committed list, which counts its changes.
    pub sequence: u64,
    /// Entries, in the order of their keys.
    pub present: Vec<Present>,
}

/// The changes of a room's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceDiff {
    /// Number of the list after the changes.
    pub sequence: u64,
    /// Entries that are present now with exactly this metadata: new ones, and those with new
    /// metadata.
    pub joins: Vec<Present>,
    /// Keys that are absent now.
    pub leaves: Vec<String>,
}

/// Iterates over the list of a room; made by [`presence_list`].
#[derive(Debug, Clone)]
pub struct PresenceList(Pages<Present>);

impl Named for Present {
    fn name(&self) -> &str {
        &self.key
    }
}

impl Iterator for PresenceList {
    type Item = Present;

    fn next(&mut self) -> Option<Present> {
        // Asking who is present is never refused.
        self.0.next()?.ok()
    }
}

/// Encodes a connection's metadata as JSON.
pub(crate) fn metadata(meta: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(meta).context("the metadata")
}
