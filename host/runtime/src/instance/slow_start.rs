//! Instances that need long for their first events, such as one that makes a table at first use.
//!
//! Such a handler would fail for ever: an instance that uses up its CPU time is dropped, and the next
//! one begins anew. So when events of a generation have failed in this way, each of its instances may
//! take the time of a start for one event. A handler that does not return in that time either is no
//! slow start, and the next try comes after twice as many failures.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Failures before the first try.
const FAILURES: u32 = 3;

/// Failures between two tries at most.
const MOST_FAILURES: u32 = 1 << 16;

/// The failures of one generation's events that have used up their CPU time.
#[derive(Debug)]
pub(crate) struct SlowStart {
    /// True while each instance may take longer for one event.
    is_allowed: AtomicBool,
    failures: AtomicU32,
    /// Failures before the next try.
    needed: AtomicU32,
}

impl Default for SlowStart {
    fn default() -> SlowStart {
        SlowStart {
            is_allowed: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            needed: AtomicU32::new(FAILURES),
        }
    }
}

impl SlowStart {
    /// Returns true while each instance may take longer for one event.
    pub(super) fn is_allowed(&self) -> bool {
        self.is_allowed.load(Ordering::Relaxed)
    }

    /// Notes an event that has used up its CPU time, or also that of a start. Returns true if
    /// instances may take longer from now on.
    pub(super) fn note_failure(&self, was_allowed: bool) -> bool {
        if was_allowed {
            // Of several that fail at the same time, the first counts.
            if self.is_allowed.swap(false, Ordering::Relaxed) {
                let needed = self.needed.load(Ordering::Relaxed);
                self.needed.store(needed.saturating_mul(2).min(MOST_FAILURES), Ordering::Relaxed);
                self.failures.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.needed.load(Ordering::Relaxed)
            && !self.is_allowed.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_after_a_few_failures_and_more_seldom_if_they_fail() {
        let start = SlowStart::default();
        for needed in [3, 6, 12] {
            for failure in 1..=needed {
                assert!(!start.is_allowed());
                assert_eq!(start.note_failure(false), failure == needed, "{failure} of {needed}");
            }
            assert!(start.is_allowed());
            // Others began before that.
            assert!(!start.note_failure(false));
            assert!(!start.note_failure(true) && !start.note_failure(true));
        }
    }
}
