//! The last lines of each channel's log, for the operator.
//!
//! The program hands over the lines that have a channel. They are kept within bounds; the oldest ones make room for
//! new ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Level;

/// Largest number of lines of a channel, and their size in bytes.
const MAX_LINES: usize = 200;
const MAX_BYTES: usize = 256 * 1024;

/// Largest size of all lines, in bytes.
const MAX_TOTAL_BYTES: usize = 8 * 1024 * 1024;

/// Largest line, in bytes. Longer ones are not kept.
const MAX_LINE_BYTES: usize = 32 * 1024;

/// Bytes that a line counts beside its text.
const LINE_BYTES: usize = 64;

/// The last lines. An empty one costs nothing.
#[derive(Debug)]
pub struct LogTail {
    kept: Mutex<Kept>,
    /// Number of the last line, for those that follow.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    bytes: usize,
    channels: BTreeMap<Box<str>, Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: usize,
    lines: VecDeque<TailLine>,
}

/// A line.
#[derive(Clone, Debug)]
pub struct TailLine {
    /// Its number: later lines, of any channel, have larger ones.
    pub number: u64,
    /// Its level.
    pub level: Level,
    /// The line as a JSON object.
    pub json: Arc<str>,
}

impl TailLine {
    fn bytes(&self) -> usize {
        self.json.len() + LINE_BYTES
    }
}

impl Default for LogTail {
    fn default() -> LogTail {
        LogTail { kept: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl LogTail {
    /// Keeps a line of a channel: a JSON object on one line.
    pub fn push(&self, channel: &str, level: Level, json: &str) {
        if json.len() > MAX_LINE_BYTES {
            return;
        }
        let mut kept = self.kept.lock();
        kept.next += 1;
        let number = kept.next;
        kept.add(channel, TailLine { number, level, json: json.into() });
        drop(kept);
        self.last.send_replace(number);
    }

    /// Returns the names of the channels that have lines.
    pub fn channels(&self) -> Vec<String> {
        self.kept.lock().channels.keys().map(|name| name.to_string()).collect()
    }

    /// Returns the last lines of a channel after a number, which are at least as severe as a level; `None` if none of
    /// its lines is kept.
    pub(crate) fn lines(&self, channel: &str, after: u64, level: Level) -> Option<Vec<TailLine>> {
        let kept = self.kept.lock();
        let lines = &kept.channels.get(channel)?.lines;
        let start = lines.partition_point(|line| line.number <= after);
        // A smaller level is a more severe one.
        Some(lines.range(start..).filter(|line| line.level <= level).cloned().collect())
    }

    /// Follows the numbers of lines.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

impl Kept {
    fn add(&mut self, channel: &str, line: TailLine) {
        let bytes = line.bytes();
        // A channel that has lines already needs no name of its own again.
        match self.channels.get_mut(channel) {
            Some(lines) => lines.add(line),
            None => self.channels.entry(channel.into()).or_default().add(line),
        }
        self.bytes += bytes;
        while self.channels.get(channel).is_some_and(Lines::is_too_long) {
            self.drop_first(channel.into());
        }
        while self.bytes > MAX_TOTAL_BYTES {
            let first = |lines: &Lines| lines.lines.front().map_or(0, |line| line.number);
            let oldest = self.channels.iter().min_by_key(|(_, lines)| first(lines));
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            self.drop_first(oldest);
        }
    }

    fn drop_first(&mut self, channel: Box<str>) {
        let Some(lines) = self.channels.get_mut(&channel) else { return };
        if let Some(line) = lines.lines.pop_front() {
            lines.bytes -= line.bytes();
            self.bytes -= line.bytes();
        }
        if lines.lines.is_empty() {
            self.channels.remove(&channel);
        }
    }
}

impl Lines {
    fn add(&mut self, line: TailLine) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
    }

    fn is_too_long(&self) -> bool {
        self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tail: &LogTail, channel: &str, after: u64, level: Level) -> Vec<String> {
        let lines = tail.lines(channel, after, level).unwrap_or_default();
        lines.iter().map(|line| line.json.to_string()).collect()
    }

    #[test]
    fn the_last_lines_of_a_channel_are_kept_by_their_level() {
        let tail = LogTail::default();
        for number in 0..250 {
            let level = if number % 2 == 0 { Level::INFO } else { Level::WARN };
            tail.push("chat", level, &number.to_string());
        }
        tail.push("echo", Level::DEBUG, "another");
        assert_eq!(texts(&tail, "chat", 0, Level::TRACE).len(), MAX_LINES);
        assert_eq!(texts(&tail, "chat", 248, Level::TRACE), ["248", "249"]);
        assert_eq!(texts(&tail, "chat", 246, Level::WARN), ["247", "249"]);
        assert_eq!(texts(&tail, "echo", 0, Level::TRACE), ["another"]);
        assert!(tail.lines("nobody", 0, Level::TRACE).is_none());
    }

    #[test]
    fn the_size_of_a_channels_lines_and_of_all_of_them_is_bounded() {
        let tail = LogTail::default();
        let line = "x".repeat(MAX_LINE_BYTES);
        tail.push("long", Level::INFO, &format!("{line}x"));
        assert!(tail.lines("long", 0, Level::TRACE).is_none());
        for number in 0..400 {
            tail.push(&format!("channel-{}", number / 8), Level::INFO, &line);
            let kept = tail.kept.lock();
            assert!(kept.bytes <= MAX_TOTAL_BYTES);
            assert!(kept.channels.values().all(|lines| lines.bytes <= MAX_BYTES));
            let sum: usize = kept.channels.values().map(|lines| lines.bytes).sum();
            assert_eq!(kept.bytes, sum);
        }
        // The oldest ones have made room.
        assert!(tail.lines("channel-0", 0, Level::TRACE).is_none());
        assert!(tail.lines("channel-49", 0, Level::TRACE).is_some());
    }
}
