//! The number of live instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the live instances of all channels together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveInstances {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl LiveInstances {
    /// Makes a counter without instances, and with room for `max`.
    pub fn new(max: usize) -> LiveInstances {
        LiveInstances { count: Arc::default(), max }
    }

    /// Returns true if all live instances may stay.
    pub(crate) fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) <= self.max
    }

    /// Counts one instance, until the result is dropped.
    pub(crate) fn add(&self) -> Live {
        self.count.fetch_add(1, Ordering::Relaxed);
        Live(self.count.clone())
    }
}

/// One of the counted instances, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
