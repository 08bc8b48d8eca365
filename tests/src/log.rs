//! The log of a server: collected by a thread, searched by tests.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use crate::soon;

/// One line of a log.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line as it was written.
    pub text: String,
    /// The line as JSON; null if it is not JSON.
    pub fields: Value,
}

impl Line {
    fn read(text: String) -> Line {
        let fields = serde_json::from_str(&text).unwrap_or(Value::Null);
        Line { text, fields }
    }

    /// Returns the line's message; empty if it has none.
    pub fn message(&self) -> &str {
        self.str("message")
    }

    /// Returns true if this is the message.
    pub fn says(&self, message: &str) -> bool {
        self.message() == message
    }

    /// Returns true if the message begins like this.
    pub fn begins(&self, beginning: &str) -> bool {
        self.message().starts_with(beginning)
    }

    /// Returns a field that is text; empty if it is missing.
    pub fn str(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// Returns a field that is a number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The log of one server process, growing while the process lives.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    /// Number of lines; closed when the process has closed its end.
    count: watch::Receiver<usize>,
}

impl Log {
    /// Collects lines until the stream ends.
    pub fn collect(from: impl Read + Send + 'static) -> Log {
        Log::collect_to(from, |_| false)
    }

    /// Collects lines until one is the last, and then reads no more: the writer has to wait.
    pub fn collect_to(
        from: impl Read + Send + 'static,
        is_last: impl Fn(&Line) -> bool + Send + 'static,
    ) -> Log {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (counter, count) = watch::channel(0);
        let written = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
                bytes.clear();
                let mut lines = written.lock().expect("no reader panics");
                let line = Line::read(text);
                let is_last = is_last(&line);
                lines.push(line);
                counter.send_replace(lines.len());
                drop(lines);
                if is_last {
                    loop {
                        std::thread::park();
                    }
                }
            }
        });
        Log { lines, count }
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Returns the lines so far that a predicate selects.
    pub fn find(&self, predicate: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.lines().into_iter().filter(predicate).collect()
    }

    /// Returns the number of lines, from which a test may wait.
    pub fn len(&self) -> usize {
        self.lines.lock().expect("no reader panics").len()
    }

    /// Returns true if nothing has been logged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the first line that the predicate selects.
    pub async fn wait_for(&self, what: &str, predicate: impl Fn(&Line) -> bool) -> Line {
        self.wait_for_after(0, what, predicate).await
    }

    /// Waits for the first line after the first `start` ones that the predicate selects.
    pub async fn wait_for_after(
        &self,
        start: usize,
        what: &str,
        predicate: impl Fn(&Line) -> bool,
    ) -> Line {
        let mut seen = start;
        let mut count = self.count.clone();
        soon(&format!("the log to have {what}"), async {
            loop {
                // Marked before the search, so that no line is missed in between.
                count.borrow_and_update();
                let lines = self.lines();
                let new = lines.get(seen..).unwrap_or_default();
                if let Some(line) = new.iter().find(|line| predicate(line)) {
                    return line.clone();
                }
                seen = seen.max(lines.len());
                if count.changed().await.is_err() {
                    // The process has ended, so no line can come in between.
                    let lines = self.lines();
                    let rest = lines.get(seen..).unwrap_or_default();
                    match rest.iter().find(|line| predicate(line)) {
                        Some(line) => return line.clone(),
                        None => panic!("the server ended before its log had {what}"),
                    }
                }
            }
        })
        .await
    }

    /// Prints the end of the log, to explain a failed test.
    pub fn print_tail(&self, title: &str) {
        const TAIL: usize = 60;
        let lines = self.lines();
        let start = lines.len().saturating_sub(TAIL);
        eprintln!("--- {title}, {} of {} lines ---", lines.len() - start, lines.len());
        for line in &lines[start..] {
            let end = line.text.floor_char_boundary(500);
            eprintln!("{}", &line.text[..end]);
        }
        eprintln!("--- end ---");
    }
}
