//! `wharf:channel/log`: lines of a channel in the host's log, limited in rate and size.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::bindings::wharf::channel::log::{Host, Level};
use crate::instance::InstanceState;
use crate::stage::StagedLine;
use wharf_contract::text::cut;

/// Bytes of a message that are kept.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Fields that are kept.
const MAX_FIELDS: usize = 16;
/// Bytes of a field's name and value that are kept.
const MAX_FIELD_BYTES: usize = 1024;
/// Bytes of a whole line, once it is escaped.
const MAX_LINE_BYTES: usize = 8 * 1024;

impl Host for InstanceState {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        if let Some(stage) = &self.channel.stage {
            let level = name(level);
            return stage.logged(StagedLine { level, message, fields, is_complaint: false });
        }
        // Lines that nobody would see must not use up the budget of those that are.
        if !is_enabled(level) || !self.channel.log_budget.take() {
            return;
        }
        let mut line = self.channel.shown(&message, MAX_MESSAGE_BYTES);
        for (name, value) in fields.iter().take(MAX_FIELDS) {
            let value = self.channel.own.secrets.hide(value, MAX_FIELD_BYTES);
            // Writing into a String cannot fail.
            let _ = write!(line, " {}={:?}", self.channel.shown(name, MAX_FIELD_BYTES), value);
        }
        let line = cut(&line, MAX_LINE_BYTES);
        let connection = self.client().map(|client| client.id.to_string());
        write_line(&self.channel.name, self.generation, connection.as_deref(), level, line);
    }

    fn max_level(&mut self) -> Option<Level> {
        match self.channel.stage {
            // A test sees everything.
            Some(_) => Some(Level::Trace),
            None => LEVELS.into_iter().rev().find(|level| is_enabled(*level)),
        }
    }
}

/// All levels, each with more detail than the one before.
const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

/// A level's name.
pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Whether the operator wants to see a channel's lines of this level.
pub(super) fn is_enabled(level: Level) -> bool {
    // A level has to be known at compile time, here and below, hence one arm each.
    macro_rules! enabled {
        ($level:ident) => {
            tracing::enabled!(target: "wharf::guest", tracing::Level::$level)
        };
    }
    match level {
        Level::Error => enabled!(ERROR),
        Level::Warn => enabled!(WARN),
        Level::Info => enabled!(INFO),
        Level::Debug => enabled!(DEBUG),
        Level::Trace => enabled!(TRACE),
    }
}

/// Write a line of a channel, whose control characters are escaped already.
pub(super) fn write_line(
    channel: &str,
    generation: u64,
    connection: Option<&str>,
    level: Level,
    line: &str,
) {
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

/// How many lines may still be written in this second: by a channel, whose instances share it,
/// or about what strangers do.
#[derive(Debug)]
pub struct LogBudget {
    /// Whose lines they are; the host's own where there is none.
    channel: Option<Box<str>>,
    start: Instant,
    lines_per_second: u32,
    /// The second since `start` in the upper half, the lines of that second in the lower.
    window: AtomicU64,
}

impl LogBudget {
    /// A budget of so many lines of a channel in each second.
    pub fn new(channel: &str, lines_per_second: u32) -> LogBudget {
        LogBudget { channel: Some(channel.into()), ..LogBudget::of_host(lines_per_second) }
    }

    /// A budget of so many lines of the host's own in each second.
    pub fn of_host(lines_per_second: u32) -> LogBudget {
        LogBudget {
            channel: None,
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
                        self.tell(before - limit);
                    }
                    return lines < limit;
                }
                Err(now) => window = now,
            }
        }
    }

    /// Say how many lines were dropped in a second that is over, where no further line has led to
    /// that.
    pub fn settle(&self) {
        let second = self.start.elapsed().as_secs() & u64::from(u32::MAX);
        let window = self.window.load(Ordering::Relaxed);
        let (known, lines) = (window >> 32, window & u64::from(u32::MAX));
        let limit = u64::from(self.lines_per_second);
        if known == second || lines <= limit {
            return;
        }
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        // Whoever has changed it meanwhile has told.
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
            None => tracing::warn!(
                dropped,
                "log lines about refused clients dropped: at most {limit} a second"
            ),
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
        // The clock may cross into a second second while this runs, hardly into a third.
        assert!((3..=6).contains(&taken), "{taken}");
    }
}
