//! The times of handlers in about the last minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wharf_metrics::histogram::Times;

/// Time between two notes.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// Notes that are kept: the oldest one is about a minute old.
const NOTES: usize = 6;

/// Earlier times of each channel's handlers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent(HashMap<Arc<str>, VecDeque<Times>>);

impl Recent {
    /// Notes the times so far.
    pub(super) fn note(&mut self, channel: &Arc<str>, times: Times) {
        let notes = self.0.entry(channel.clone()).or_default();
        // A channel that came back after it was forgotten counts from zero.
        if notes.back().is_some_and(|last| last.count() > times.count()) {
            notes.clear();
        }
        notes.push_back(times);
        if notes.len() > NOTES {
            notes.pop_front();
        }
    }

    /// Forgets channels that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|channel, _| is_there(channel));
    }

    /// Returns the part of the times that has come in about the last minute.
    pub(super) fn of(&self, channel: &str, times: Times) -> Times {
        match self.0.get(channel).and_then(VecDeque::front) {
            Some(earlier) if earlier.count() <= times.count() => times.since(earlier),
            _ => times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_metrics::histogram::Histogram;

    #[test]
    fn times_are_forgotten_after_a_minute_and_those_of_a_channel_that_is_gone_at_once() {
        let (histogram, mut recent) = (Histogram::default(), Recent::default());
        let so_far = || Times::of([&histogram].into_iter());
        let channel: Arc<str> = Arc::from("chat");
        for _ in 0..NOTES {
            recent.note(&channel, so_far());
            histogram.record(1_000);
        }
        assert_eq!(recent.of("chat", so_far()).count(), NOTES as u64);
        recent.note(&channel, so_far());
        assert_eq!(recent.of("chat", so_far()).count(), NOTES as u64 - 1);
        for _ in 0..NOTES {
            recent.note(&channel, so_far());
        }
        assert_eq!(recent.of("chat", so_far()).quantile(0.5), None);
        assert_eq!(recent.of("another", so_far()).count(), NOTES as u64);
        recent.note(&channel, Times::default());
        assert_eq!(recent.of("chat", so_far()).count(), NOTES as u64, "it counts from zero");
        recent.retain(|_| false);
        assert_eq!(recent.of("chat", so_far()).count(), NOTES as u64);
    }
}
