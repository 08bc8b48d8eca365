//! The outcome of a group of writes.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::error::Unavailable;

/// The outcome of a write, which it shares with the others of its group. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Outcome>);

#[derive(Debug, Default)]
struct Outcome {
    result: OnceLock<Result<(), Unavailable>>,
    decided: Notify,
}

impl Written {
    /// Returns the outcome, if it is known.
    pub fn get(&self) -> Option<&Result<(), Unavailable>> {
        self.0.result.get()
    }

    /// Returns true if the outcome is known. What has failed is undone by then.
    pub fn is_decided(&self) -> bool {
        self.get().is_some()
    }

    /// Waits until the group is written.
    ///
    /// # Errors
    ///
    /// The group failed; nothing has changed.
    pub async fn wait(&self) -> Result<(), Unavailable> {
        loop {
            // Asked for before the look, so that a decision in between is not missed.
            let decided = self.0.decided.notified();
            if let Some(result) = self.get() {
                return result.clone();
            }
            decided.await;
        }
    }

    pub(crate) fn decide(&self, result: Result<(), Unavailable>) {
        if self.0.result.set(result).is_ok() {
            self.0.decided.notify_waiters();
        }
    }
}
