//! `wharf:channel/log`: lines of a channel in the host's log, limited in rate and size.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::bindings::wharf::channel::log::{Host, Level};
use crate::instance::InstanceState;

/// Bytes of a message that are kept.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Fields that are kept.
const MAX_FIELDS: usize = 16;
/// Bytes of a field's name and value that are kept.
const MAX_FIELD_BYTES: usize = 1024;

impl Host for InstanceState {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        let mut line = escape(cut(&message, MAX_MESSAGE_BYTES));
        for (name, value) in fields.iter().take(MAX_FIELDS) {
            let (name, value) = (cut(name, MAX_FIELD_BYTES), cut(value, MAX_FIELD_BYTES));
            // Writing into a String cannot fail.
            let _ = write!(line, " {}={:?}", escape(name), value);
        }
        self.log_line(level, &line);
    }
}

impl InstanceState {
    /// Write a line of the channel, whose control characters are escaped already.
    pub(super) fn log_line(&self, level: Level, line: &str) {
        if !self.channel.log_budget.take() {
            return;
        }
        let connection = self.call.as_ref().map(|call| call.client.id.to_string());
        write_line(&self.channel.name, self.generation, connection.as_deref(), level, line);
    }
}

/// Write a line of a channel.
pub(super) fn write_line(
    channel: &str,
    generation: u64,
    connection: Option<&str>,
    level: Level,
    line: &str,
) {
    // A level has to be known at compile time, hence one arm each.
    macro_rules! line {
        ($level:ident) => {
            tracing::event!(
                target: "wharf::guest",
                tracing::Level::$level,
                channel,
                generation,
                connection,
                "{line}"
            )
        };
    }
    match level {
        Level::Error => line!(ERROR),
        Level::Warn => line!(WARN),
        Level::Info => line!(INFO),
        Level::Debug => line!(DEBUG),
        Level::Trace => line!(TRACE),
    }
}

/// How many lines a channel may still write in this second; all of its instances share it.
#[derive(Debug)]
pub struct LogBudget {
    channel: String,
    start: Instant,
    lines_per_second: u32,
    /// The second since `start` in the upper half, the lines of that second in the lower.
    window: AtomicU64,
}

impl LogBudget {
    /// A budget of so many lines in each second.
    pub fn new(channel: &str, lines_per_second: u32) -> LogBudget {
        LogBudget {
            channel: channel.to_owned(),
            start: Instant::now(),
            lines_per_second,
            window: AtomicU64::new(0),
        }
    }

    /// Take one line; `false` if it must be dropped. When a second in which lines were dropped
    /// is over, one line says how many.
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
                        tracing::warn!(
                            channel = %self.channel,
                            dropped = before - limit,
                            "log lines dropped: log_lines_per_second is {limit}"
                        );
                    }
                    return lines < limit;
                }
                Err(now) => window = now,
            }
        }
    }
}

/// The first `limit` bytes of a text, less what would cut a character in two.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// A text on one line: control characters, which could forge lines or drive a terminal, as
/// Rust would write them in a literal.
pub fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_forge_a_line_or_drive_a_terminal() {
        assert_eq!(escape("a\nb\u{1b}[2Jc\r"), "a\\nb\\u{1b}[2Jc\\r");
    }

    #[test]
    fn a_cut_leaves_whole_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
    }

    #[test]
    fn a_budget_ends_and_does_not_go_below_zero() {
        let budget = LogBudget::new("test", 3);
        let taken = (0..10).filter(|_| budget.take()).count();
        // The clock may cross into a second second while this runs, hardly into a third.
        assert!((3..=6).contains(&taken), "{taken}");
    }
}
