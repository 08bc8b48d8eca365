//! The hubs of the channels that are in service, by the channels' names: how one channel reaches the
//! rooms of another.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::Hub;

/// The channels in service.
#[derive(Debug, Default)]
pub struct Channels(RwLock<HashMap<Box<str>, Weak<Hub>>>);

impl Channels {
    /// A channel has come into service.
    pub fn add(&self, name: &str, hub: &Arc<Hub>) {
        self.0.write().insert(name.into(), Arc::downgrade(hub));
    }

    /// A channel has been taken out of service.
    pub fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }

    /// The hub of a channel, if that is in service.
    pub fn find(&self, name: &str) -> Option<Arc<Hub>> {
        self.0.read().get(name)?.upgrade()
    }
}
