//! Presence: who is in a room, by key, and what changes about it.
//!
//! A connection [tracks](crate::Connection::track) itself in a room that it is in, under a key: a
//! user's id mostly, with some JSON to say of itself. Somebody with several tabs is present until the
//! last one goes. A connection that leaves the room is off the list at once; one that just ends stays
//! on it for a moment (`presence_grace_ms`), so that a client that reconnects was never away.
//!
//! A connection that [watches](crate::Connection::watch_presence) a room is sent the list by the
//! host, and from then on what changes about it, without a call of the plugin:
//!
//! - `{"type": "presence_state", "room": …, "sequence": 7, "present": {KEY: {"metas": […]}, …}}`
//! - `{"type": "presence_diff", "room": …, "sequence": 9, "joins": {KEY: {"metas": […]}, …}, "leaves": [KEY, …]}`
//!
//! Each key in `joins` is present now with exactly this metadata, one for each connection; each
//! in `leaves` is absent now. So a client puts the former into its list, takes the latter out, and
//! ignores a diff whose `sequence` is not higher than what it has seen of the room. Changes within
//! `presence_interval_ms` come together, and what changes back in it does not come at all.
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
//! The plugin itself can ask who is there ([`presence_list`], [`presence_count`]), or hear of what
//! changes in [`on_presence`](crate::Channel::on_presence). Tracking and watching are effects;
//! questions see the committed list and this event's own changes.

use serde_json::Value;

use crate::backend;
use crate::error::{Context, Result};

/// How many keys are present in a room with a connection. Whoever only stays on the list for the
/// grace is not counted.
pub fn presence_count(room: &str) -> u32 {
    backend::presence_count(room)
}

/// Who is present in a room, in the order of their keys. They are fetched 1000 at a time; what
/// changes in between may or may not be among them.
pub fn presence_list(room: &str) -> PresenceList {
    let page = Vec::new().into_iter();
    PresenceList { room: room.to_owned(), page, last: None, is_done: false }
}

/// A page of who is present in a room: the keys after `after`, from the start where `None`, at most
/// `limit` and never more than 1000; with the number of the committed list, which is that of
/// the messages that watchers get.
pub fn presence_page(room: &str, after: Option<&str>, limit: u32) -> PresencePage {
    let (sequence, entries) = backend::presence_page(room, after, limit);
    PresencePage { sequence, present: entries.into_iter().map(Present::new).collect() }
}

/// Somebody who is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The key, a user's id mostly.
    pub key: String,
    /// What each connection says of itself, oldest connection first.
    pub metas: Vec<Value>,
}

impl Present {
    /// The host has checked that metadata is JSON; what could still not be read, such as a number
    /// that is too large, is null.
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
    /// Counts the changes of the committed list.
    pub sequence: u64,
    /// In the order of their keys.
    pub present: Vec<Present>,
}

/// What has changed about who is present in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceDiff {
    /// Counts the changes of the list: this is its number after them.
    pub sequence: u64,
    /// Who is present now, with exactly this metadata: who has come, and who says something else.
    pub joins: Vec<Present>,
    /// The keys that are absent now.
    pub leaves: Vec<String>,
}

/// Iterates over who is present in a room; made by [`presence_list`].
#[derive(Debug, Clone)]
pub struct PresenceList {
    room: String,
    page: std::vec::IntoIter<Present>,
    last: Option<String>,
    is_done: bool,
}

/// The most that the host gives at once.
const PAGE: u32 = 1000;

impl Iterator for PresenceList {
    type Item = Present;

    fn next(&mut self) -> Option<Present> {
        if self.page.len() == 0 && !self.is_done {
            let page = presence_page(&self.room, self.last.as_deref(), PAGE).present;
            // A short page is the last one, which saves asking for an empty one.
            self.is_done = page.len() < PAGE as usize;
            self.last = page.last().map(|present| present.key.clone());
            self.page = page.into_iter();
        }
        self.page.next()
    }
}

/// What a connection says of itself, in JSON.
pub(crate) fn metadata(meta: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(meta).context("the metadata")
}
