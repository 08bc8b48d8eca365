//! The rate of lines in the host's log that others cause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines about failures of a channel in a second, at the least.
const MIN_FAILURE_LINES: u32 = 10;

/// The number of lines that may still be written in this second: by a channel, whose instances
/// share it, or about strangers.
#[derive(Debug)]
pub struct LogBudget {
    subject: Subject,
    start: Instant,
    lines_per_second: u32,
    /// Second since `start` in the upper half, lines of that second in the lower.
    window: AtomicU64,
}

/// The subject of a budget's lines.
#[derive(Debug)]
enum Subject {
    /// Lines of a channel itself.
    Channel(Box<str>),
    /// Failures of a channel.
    Failures(Box<str>),
    /// Clients of the host, and the kind of lines.
    Clients(&'static str),
}

impl LogBudget {
    /// Makes a budget of a channel's own lines in each second.
    pub fn of_channel(channel: &str, lines_per_second: u32) -> LogBudget {
        LogBudget::of(Subject::Channel(channel.into()), lines_per_second)
    }

    /// Makes a budget of the host's lines about failures of a channel in each second. There are some
    /// also for a channel that may log nothing itself.
    pub fn of_failures(channel: &str, lines_per_second: u32) -> LogBudget {
        let lines = lines_per_second.max(MIN_FAILURE_LINES);
        LogBudget::of(Subject::Failures(channel.into()), lines)
    }

    /// Makes a budget of the host's lines of one kind about clients in each second.
    pub fn of_clients(about: &'static str, lines_per_second: u32) -> LogBudget {
        LogBudget::of(Subject::Clients(about), lines_per_second)
    }

    fn of(subject: Subject, lines_per_second: u32) -> LogBudget {
        LogBudget { subject, start: Instant::now(), lines_per_second, window: AtomicU64::new(0) }
    }

    /// Takes one line; `false` if it must be dropped. When a second in which lines were dropped is
    /// over, one line reports their number.
    pub fn take(&self) -> bool {
        let second = self.start.elapsed().as_secs() & u64::from(u32::MAX);
        let mut window = self.window.load(Ordering::Relaxed);
        loop {
            let (known, lines) = (window >> 32, window & u64::from(u32::MAX));
            let lines = if known == second { lines } else { 0 };
            let next = second << 32 | (lines + 1).min(u64::from(u32::MAX));
            match self.window.compare_exchange_weak(
                window,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    let before = window & u64::from(u32::MAX);
                    let limit = u64::from(self.lines_per_second);
                    if known != second && before > limit {
                        self.tell(before - limit);
                    }
                    return lines < limit;
                }
                Err(now) => window = now,
            }
        }
    }

    /// Reports the number of lines that were dropped in a second that is over, if no further line
    /// has led to that.
    pub fn settle(&self) {
        let second = self.start.elapsed().as_secs() & u64::from(u32::MAX);
        let window = self.window.load(Ordering::Relaxed);
        let (known, lines) = (window >> 32, window & u64::from(u32::MAX));
        let limit = u64::from(self.lines_per_second);
        if known == second || lines <= limit {
            return;
        }
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        // A task that has changed it meanwhile has reported it.
        if self.window.compare_exchange(window, second << 32, set, get).is_ok() {
            self.tell(lines - limit);
        }
    }

    fn tell(&self, dropped: u64) {
        let limit = self.lines_per_second;
        match &self.subject {
            Subject::Channel(channel) => {
                tracing::warn!(
                    channel,
                    dropped,
                    "log lines dropped: log_lines_per_second is {limit}"
                );
            }
            Subject::Failures(channel) => tracing::warn!(
                channel,
                dropped,
                "log lines about failures dropped: at most {limit} a second"
            ),
            Subject::Clients(about) => {
                tracing::warn!(
                    about,
                    dropped,
                    "log lines about clients dropped: at most {limit} a second"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_does_not_go_below_zero() {
        let budget = LogBudget::of_channel("test", 3);
        let taken = (0..10).filter(|_| budget.take()).count();
        // The clock may enter a second second during this loop, but hardly a third.
        assert!((3..=6).contains(&taken), "{taken}");
    }
}
