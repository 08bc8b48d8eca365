//! The memory of a channel's instances together, and the events that wait for some of it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Time after which an event that waits tries again without a sign: memory of the whole system, and
/// of older generations, becomes free without one.
const PAUSE: Duration = Duration::from_millis(100);

/// Size of the memory of a channel's instances together.
#[derive(Debug, Default)]
pub struct ChannelMemory {
    bytes: AtomicUsize,
    /// Number of events that wait for memory, so that the others need not wake anything.
    waiting: AtomicUsize,
    freed: Notify,
}

impl ChannelMemory {
    /// Returns the size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes bytes, if all together are then within the limit.
    pub(crate) fn take(&self, bytes: usize, limit: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_within = before.saturating_add(bytes) <= limit;
        if !is_within {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_within
    }

    /// Takes bytes beyond any limit.
    pub(crate) fn take_anyway(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back. That is no sign for the events that wait: an attempt that fails gives back as
    /// well, and would wake the next one for nothing.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes one of the events that wait: an instance is free, or its memory.
    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Begins to wait for memory, until the result is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }
}

/// One of the events that wait, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a ChannelMemory);

impl Waiting<'_> {
    /// Returns a sign of free memory that counts from now on: it may come while an attempt to get some
    /// is under way.
    pub(crate) fn sign(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    /// Waits for a sign, until `until` at most, or for the time after which an attempt is due without
    /// one.
    pub(crate) async fn until(&self, sign: Pin<&mut Notified<'_>>, until: Instant) {
        let pause = PAUSE.min(until.saturating_duration_since(Instant::now()));
        // Either is a reason to try again.
        let _ = tokio::time::timeout(pause, sign).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn what_is_taken_is_within_the_limit() {
        let memory = ChannelMemory::default();
        assert!(memory.take(6, 10));
        assert!(!memory.take(5, 10));
        assert_eq!(memory.bytes(), 6);
        assert!(memory.take(4, 10));
        memory.take_anyway(3);
        memory.give_back(6);
        assert_eq!(memory.bytes(), 7);
    }

    #[tokio::test]
    async fn a_sign_that_comes_before_the_wait_is_not_missed() {
        let memory = ChannelMemory::default();
        assert!(memory.take(10, 10));
        {
            let waiting = memory.wait();
            let mut sign = pin!(waiting.sign());
            sign.as_mut().enable();
            memory.give_back(10);
            memory.wake();
            assert!(sign.as_mut().enable(), "the sign is there");
        }
        assert_eq!(memory.waiting.load(Ordering::SeqCst), 0);
    }
}
