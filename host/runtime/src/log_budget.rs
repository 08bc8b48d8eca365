//! The rate of lines in the host's log that others cause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The number of lines that may still be written in this second: by a channel, whose instances
/// share it, or about strangers.
#[derive(Debug)]
pub struct LogBudget {
    /// Channel of the lines; `None` for the host's own.
    channel: Option<Box<str>>,
    start: Instant,
    lines_per_second: u32,
    /// Second since `start` in the upper half, lines of that second in the lower.
    window: AtomicU64,
}

impl LogBudget {
    /// Makes a budget of a channel's lines in each second.
    pub fn new(channel: &str, lines_per_second: u32) -> LogBudget {
        LogBudget { channel: Some(channel.into()), ..LogBudget::of_host(lines_per_second) }
    }

    /// Makes a budget of the host's own lines in each second.
    pub fn of_host(lines_per_second: u32) -> LogBudget {
        LogBudget {
            channel: None,
            start: Instant::now(),
            lines_per_second,
            window: AtomicU64::new(0),
        }
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
        let channel = self.channel.as_deref();
        match channel {
            Some(_) => tracing::warn!(
                channel,
                dropped,
                "log lines dropped: log_lines_per_second is {limit}"
            ),
            None => {
                tracing::warn!(dropped, "log lines about clients dropped: at most {limit} a second")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_does_not_go_below_zero() {
        let budget = LogBudget::new("test", 3);
        let taken = (0..10).filter(|_| budget.take()).count();
        // The clock may enter a second second during this loop, but hardly a third.
        assert!((3..=6).contains(&taken), "{taken}");
    }
}
