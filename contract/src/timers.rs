//! The times of timers.

use std::time::Duration;

use crate::refusal::CallRefusal;

/// Longest delay and interval, in days.
pub(crate) const MAX_DELAY_DAYS: u64 = 366;
/// Longest delay and interval.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(MAX_DELAY_DAYS * 24 * 60 * 60);
/// Shortest interval, in milliseconds.
pub(crate) const MIN_INTERVAL_MS: u64 = 10;
/// Shortest delay and interval.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(MIN_INTERVAL_MS);

/// The times of a timer: its first firing, and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time until the first firing.
    pub delay: Duration,
    /// Time between firings, if the timer repeats.
    pub interval: Option<Duration>,
}

impl Times {
    /// Checks the times of a plugin, in milliseconds. A delay below the shortest is raised to it: a
    /// handler that sets its timer again with no delay would run forever.
    ///
    /// # Errors
    ///
    /// `timer-interval-invalid`.
    pub fn read(delay_ms: u64, repeat_ms: Option<u64>) -> Result<Times, CallRefusal> {
        let delay = Duration::from_millis(delay_ms).max(MIN_INTERVAL);
        let interval = repeat_ms.map(Duration::from_millis);
        let is_allowed = delay <= MAX_DELAY
            && interval.is_none_or(|interval| (MIN_INTERVAL..=MAX_DELAY).contains(&interval));
        match is_allowed {
            true => Ok(Times { delay, interval }),
            false => Err(CallRefusal::TimerIntervalInvalid),
        }
    }
}

/// Returns whole milliseconds, rounded up: after them the time has passed.
pub fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_delay_is_raised_and_a_short_interval_refused() {
        let times = Times::read(0, Some(10)).expect("they are allowed");
        assert_eq!(times, Times { delay: MIN_INTERVAL, interval: Some(MIN_INTERVAL) });
        assert_eq!(Times::read(0, Some(9)), Err(CallRefusal::TimerIntervalInvalid));
    }

    #[test]
    fn nothing_is_later_than_the_longest_delay() {
        let longest = MAX_DELAY_DAYS * 24 * 60 * 60 * 1000;
        assert!(Times::read(longest, Some(longest)).is_ok());
        assert_eq!(Times::read(longest + 1, None), Err(CallRefusal::TimerIntervalInvalid));
        assert_eq!(Times::read(0, Some(longest + 1)), Err(CallRefusal::TimerIntervalInvalid));
        assert_eq!(Times::read(u64::MAX, None), Err(CallRefusal::TimerIntervalInvalid));
    }
}
