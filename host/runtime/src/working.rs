//! Work that no connection waits for, and that a host which stops waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counter of such work: events of rooms, calls about presence, deeds of the operator. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Working(Arc<AtomicUsize>);

/// A piece of work, which is counted until it is dropped.
#[derive(Debug)]
pub struct Work(Working);

impl Working {
    /// Begins a piece of work.
    pub fn begin(&self) -> Work {
        self.0.fetch_add(1, Ordering::SeqCst);
        Work(self.clone())
    }

    /// Returns the number of pieces that are under way.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
