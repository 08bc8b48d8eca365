//! The sessions of a test's connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::connection_id::ConnectionId;
use wharf_runtime::ports::SessionObserver;

/// Connections and their sessions.
#[derive(Debug, Default)]
pub(in crate::test_host) struct Sessions(Mutex<BTreeMap<ConnectionId, KeptSession>>);

/// A connection and its session, as last committed.
#[derive(Clone, Debug)]
pub(in crate::test_host) struct KeptSession {
    pub(in crate::test_host) client: Arc<ConnectionRecord>,
    pub(in crate::test_host) session: Vec<u8>,
}

impl Sessions {
    /// Returns the connection that was accepted last.
    pub(in crate::test_host) fn newest(&self) -> Option<ConnectionId> {
        self.0.lock().last_key_value().map(|(id, _)| *id)
    }

    /// Returns the connection and its session, if it is kept.
    pub(in crate::test_host) fn of(&self, id: ConnectionId) -> Option<KeptSession> {
        self.0.lock().get(&id).cloned()
    }
}

impl SessionObserver for Sessions {
    fn committed(&self, client: &Arc<ConnectionRecord>, session: &[u8]) {
        let kept = KeptSession { client: client.clone(), session: session.to_vec() };
        self.0.lock().insert(client.id, kept);
    }
}
