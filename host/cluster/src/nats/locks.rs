//! Locks by name, so that the tasks of one node do not race for the same record.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Number of locks from which those that nobody has are dropped.
const MANY: usize = 10_000;

/// Locks by name, each with what is known of the record.
#[derive(Debug)]
pub(super) struct Locks<T>(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<T>>>>>);

impl<T> Default for Locks<T> {
    fn default() -> Locks<T> {
        Locks(Mutex::default())
    }
}

impl<T> Locks<T> {
    /// Returns the lock of a name.
    pub(super) fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<Option<T>>> {
        let mut locks = self.0.lock();
        if let Some(lock) = locks.get(name) {
            return lock.clone();
        }
        if locks.len() >= MANY {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(name.to_owned()).or_default().clone()
    }
}
