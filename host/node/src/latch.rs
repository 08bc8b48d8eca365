//! A latch: many wait until it is opened, once and for good.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A latch. Clones are of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Latch(Arc<Semaphore>);

impl Default for Latch {
    fn default() -> Latch {
        Latch(Arc::new(Semaphore::new(0)))
    }
}

impl Latch {
    /// Opens it. Those who wait, and those who come later, go on.
    pub(crate) fn open(&self) {
        self.0.close();
    }

    /// Returns true if it is open.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_closed()
    }

    /// Has another latch be opened with this one.
    pub(crate) fn also(&self, other: &Latch) {
        let (this, other) = (self.clone(), other.clone());
        tokio::spawn(async move {
            this.opened().await;
            other.open();
        });
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self) {
        // It has no permits, so that this ends with the closing.
        let _ = self.0.acquire().await;
    }
}
