//! Samples of what handlers have saved: new code is asked to read them before it serves.
//!
//! One session is enough to see that a field is missing or has another type. It is that of the first
//! connection that opens after a swap, so that no other one pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// The sample of a channel's sessions.
#[derive(Debug, Default)]
pub struct SessionSample {
    /// True once there is one of the present generation.
    is_taken: AtomicBool,
    session: Mutex<Option<Arc<[u8]>>>,
}

impl SessionSample {
    /// Notes the first session of a connection.
    pub fn note(&self, session: &[u8]) {
        if !self.is_taken.load(Ordering::Relaxed) && !self.is_taken.swap(true, Ordering::Relaxed) {
            *self.session.lock() = Some(Arc::from(session));
        }
    }

    /// Takes the next session as the sample, because another generation writes it.
    pub(crate) fn renew(&self) {
        self.is_taken.store(false, Ordering::Relaxed);
    }

    /// Returns the sample, if there has been a connection.
    pub(crate) fn get(&self) -> Option<Arc<[u8]>> {
        self.session.lock().clone()
    }
}

/// Samples of a channel's saved data, which new code has to read.
#[derive(Debug)]
pub(crate) struct SavedSamples {
    /// The session of a connection, if any is open.
    pub(crate) session: Option<Arc<[u8]>>,
    /// The state of a room, if any has one.
    pub(crate) room_state: Option<Bytes>,
}

/// The reasons why new code cannot read what earlier code has saved.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    pub(crate) session: Option<String>,
    pub(crate) room_state: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_session_after_a_swap_is_the_sample() {
        let sample = SessionSample::default();
        sample.note(b"one");
        sample.note(b"two");
        assert_eq!(sample.get().as_deref(), Some(&b"one"[..]));
        sample.renew();
        assert_eq!(sample.get().as_deref(), Some(&b"one"[..]));
        sample.note(b"three");
        assert_eq!(sample.get().as_deref(), Some(&b"three"[..]));
    }
}
