//! The hubs of the channels in service, by the channels' names, so that one channel can reach the
//! rooms of another.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::Hub;

/// The channels in service.
#[derive(Debug, Default)]
pub struct Channels(RwLock<HashMap<Box<str>, Weak<Hub>>>);

impl Channels {
    /// Adds a channel that has come into service.
    pub fn add(&self, name: &str, hub: &Arc<Hub>) {
        self.0.write().insert(name.into(), Arc::downgrade(hub));
    }

    /// Removes a channel that has gone out of service.
    pub fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }

    /// Returns the number of connections of all channels.
    pub fn connection_count(&self) -> usize {
        let hubs = self.0.read();
        hubs.values().filter_map(Weak::upgrade).map(|hub| hub.connection_count()).sum()
    }

    /// Returns the hub of a channel, if it is in service.
    pub fn find(&self, name: &str) -> Option<Arc<Hub>> {
        self.0.read().get(name)?.upgrade()
    }
}
