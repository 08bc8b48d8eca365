//! The record of one connection: its id, its client's request, its outgoing side, and its rooms.
//!
//! The connection's own task and the guest calls that it makes share this record; no other task
//! changes it.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::connection_id::ConnectionId;
use crate::history::{AskedPositions, Position};
use crate::outbound::{Labels, Outbound};
use crate::remote::Remote;
use crate::room::Room;
use crate::token::Token;
use wharf_contract::close::Reason;

/// One connection, open or about to open.
#[derive(Debug)]
pub struct ConnectionRecord {
    /// Id.
    pub id: ConnectionId,
    /// Request of its client.
    pub request: UpgradeRequest,
    /// Outgoing side.
    pub outbound: Arc<Outbound>,
    groups: Mutex<Groups>,
    ending: OnceLock<Reason>,
    /// The last token of its client, if the host checks any.
    token: OnceLock<Box<Mutex<Token>>>,
    /// The places in rooms' logs where its client says that it was.
    positions: Option<Box<Mutex<AskedPositions>>>,
}

/// A token has another subject or issuer than the one before it, or no subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectChanged;

/// The memberships of a connection. Once it ends these are its last ones.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Its rooms, in the order joined.
    pub(crate) joined: Vec<Arc<Room>>,
    /// Its user.
    pub(crate) user: Option<Arc<Room>>,
}

impl ConnectionRecord {
    /// Makes the record of a connection that is about to open, with a new id.
    pub fn new(request: UpgradeRequest, outbound: Arc<Outbound>) -> ConnectionRecord {
        ConnectionRecord {
            id: ConnectionId::next(),
            request,
            outbound,
            groups: Mutex::default(),
            ending: OnceLock::new(),
            token: OnceLock::new(),
            positions: None,
        }
    }

    /// Notes that its client asks for the positions of messages that rooms keep, and where it was.
    pub fn with_positions(self, asked: Option<AskedPositions>) -> ConnectionRecord {
        if asked.is_some() {
            self.outbound.ask_for_positions();
        }
        ConnectionRecord { positions: asked.map(|asked| Box::new(Mutex::new(asked))), ..self }
    }

    /// Takes out the place where its client says that it was in a room.
    pub(crate) fn take_position(&self, room: &str) -> Option<Position> {
        self.positions.as_ref()?.lock().take(room)
    }

    /// Adds the token that it is let in with.
    pub fn with_token(self, token: Option<Token>) -> ConnectionRecord {
        let token = token.map(|token| Box::new(Mutex::new(token)).into());
        ConnectionRecord { token: token.unwrap_or_default(), ..self }
    }

    /// Returns the number of bytes that its request and its token hold for as long as it is open.
    pub fn kept_bytes(&self) -> usize {
        let token = self.token.get().map_or(0, |token| token.lock().claims.len());
        let positions = self.positions.as_ref().map_or(0, |positions| positions.lock().bytes());
        self.request.bytes() + token + positions
    }

    /// Returns the claims of its token, as JSON, if it has one.
    pub fn claims(&self) -> Option<String> {
        Some(self.token.get()?.lock().claims.to_string())
    }

    /// Returns the time at which its token expires, if it has one.
    pub fn token_expires(&self) -> Option<Instant> {
        Some(self.token.get()?.lock().expires)
    }

    /// Replaces its token, or sets its first one.
    ///
    /// # Errors
    ///
    /// The token has another subject or issuer, or no subject; nothing has changed.
    pub fn renew_token(&self, token: Token) -> Result<(), SubjectChanged> {
        // Only the connection's own events come here, and they run one at a time.
        let Some(known) = self.token.get() else {
            let _ = self.token.set(Box::new(Mutex::new(token)));
            return Ok(());
        };
        let mut known = known.lock();
        if !token.identity.may_follow(&known.identity) {
            return Err(SubjectChanged);
        }
        *known = token;
        Ok(())
    }

    /// Returns the reason for its end; `None` while it is open.
    pub fn ending(&self) -> Option<Reason> {
        self.ending.get().copied()
    }

    /// Sets the reason for its end; the first reason stays.
    pub fn set_ending(&self, reason: Reason) {
        let _ = self.ending.set(reason);
    }

    /// Returns the names of its rooms, in the order joined.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        self.groups.lock().joined.iter().map(|room| room.name().clone()).collect()
    }

    /// Returns the number of its rooms.
    pub fn room_count(&self) -> usize {
        self.groups.lock().joined.len()
    }

    /// Returns true if it is in the room.
    pub fn is_in(&self, name: &str) -> bool {
        self.groups.lock().joined.iter().any(|room| &**room.name() == name)
    }

    /// Returns the user it belongs to, if it has been identified.
    pub fn user(&self) -> Option<Arc<str>> {
        self.groups.lock().user.as_ref().map(|user| user.name().clone())
    }

    /// Changes its labels.
    pub(crate) fn change_labels(&self, change: impl FnOnce(&mut Labels)) {
        // Only this connection's events come here, one at a time.
        let mut labels = self.outbound.labels();
        change(&mut labels);
        self.outbound.set_labels(labels);
    }

    /// Returns its memberships, for the hub to change.
    pub(crate) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock()
    }
}

/// A client's upgrade request, kept as small as possible.
#[derive(Debug)]
pub struct UpgradeRequest {
    /// The path as requested, still percent-encoded.
    pub path: Box<str>,
    /// The query as requested, still percent-encoded; empty if there was none.
    pub query: Box<str>,
    /// The path parameters by name, decoded.
    pub params: Box<[(Box<str>, Box<str>)]>,
    /// The headers.
    pub headers: RequestHeaders,
    /// The client's address and port.
    pub remote: Remote,
    /// The subprotocol agreed upon.
    pub subprotocol: Option<Box<str>>,
}

impl UpgradeRequest {
    /// Returns the number of bytes that it holds.
    pub fn bytes(&self) -> usize {
        let params = self.params.iter().map(|(name, value)| name.len() + value.len());
        self.path.len() + self.query.len() + params.sum::<usize>() + self.headers.bytes.len()
    }
}

/// Request headers in one piece of memory: thousands of idle connections keep theirs.
#[derive(Debug, Default)]
pub struct RequestHeaders {
    /// Names and values, one behind the other.
    bytes: Box<[u8]>,
    /// Ends of each name and each value.
    ends: Box<[(u32, u32)]>,
}

impl RequestHeaders {
    /// Keeps these headers, names in lower case already.
    pub fn collect(headers: &[(&str, &[u8])]) -> RequestHeaders {
        // Each is one piece of memory and of the right size from the start.
        let size = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_bytes());
            let name_end = bytes.len() as u32;
            bytes.extend_from_slice(value);
            ends.push((name_end, bytes.len() as u32));
        }
        RequestHeaders { bytes: bytes.into(), ends: ends.into() }
    }

    /// Returns names and values in the order kept.
    #[expect(clippy::indexing_slicing, reason = "the ends are places in these bytes, ascending")]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let name = &self.bytes[start..name_end as usize];
            let value = &self.bytes[name_end as usize..value_end as usize];
            start = value_end as usize;
            // Names were `str` when they were collected.
            (std::str::from_utf8(name).unwrap_or_default(), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(
            headers in proptest::collection::vec(("[a-z-]{0,12}", any::<Vec<u8>>()), 0..20),
        ) {
            let given: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            let kept = RequestHeaders::collect(&given);
            let back: Vec<_> = kept.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, headers);
        }
    }
}
