//! What is said to people, in aligned lines as the figures come; or to programs, as one JSON
//! object at the end.

use std::fs;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cores;

/// Load, averaged over the last minute, above which other programs must be running.
const QUIET_LOAD: f64 = 0.5;

/// A column of a table: its heading, and the width of its widest cell.
pub type Column = (&'static str, usize);

/// Whoever read the report has read enough, such as `head`: a reason to end, not a failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the report")]
pub struct ReaderGone;

/// What one run of this program has to say.
pub struct Report {
    json: bool,
    values: Map<String, Value>,
    notes: Vec<String>,
}

impl Report {
    /// An empty report.
    pub fn new(json: bool) -> Report {
        Report { json, values: Map::new(), notes: Vec::new() }
    }

    /// Says which job runs, where, and what makes its figures doubtful from the start.
    ///
    /// # Errors
    ///
    /// Of this and all that write lines: the line cannot be written; [`ReaderGone`] if nobody
    /// wants it.
    pub fn begin(&mut self, job: &str, about: &str) -> anyhow::Result<()> {
        self.set("job", job);
        let machine = Machine::read();
        self.line(&format!("{job}: {about}"))?;
        self.line(&format!("machine: {}", machine.describe()))?;
        if machine.load > QUIET_LOAD {
            self.note(&format!(
                "the load average is {:.2}: other programs are running, or were a moment ago",
                machine.load
            ))?;
        }
        if cfg!(debug_assertions) {
            self.note(
                "this program is not optimised, and the peers are this program: \
                 use `cargo run --release -p wharf-bench`",
            )?;
        }
        self.set("about", about);
        self.set("machine", machine.describe());
        self.set("load_average", machine.load);
        Ok(())
    }

    /// A line for people. Programs get the same by [`set`](Report::set).
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => Ok(()),
            false => say(text),
        }
    }

    /// Something to know before the figures are believed.
    pub fn note(&mut self, text: &str) -> anyhow::Result<()> {
        self.notes.push(text.to_owned());
        self.line(&format!("note: {text}"))
    }

    /// A value for programs.
    pub fn set(&mut self, key: &str, value: impl Serialize) {
        // Only maps whose keys are no strings cannot be represented, and there are none.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.values.insert(key.to_owned(), value);
    }

    /// The headings of a table.
    pub fn headings(&self, columns: &[Column]) -> anyhow::Result<()> {
        let cells: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.line("")?;
        self.row(columns, &cells)
    }

    /// A row of a table: the first column is aligned to the left, figures to the right.
    pub fn row(&self, columns: &[Column], cells: &[String]) -> anyhow::Result<()> {
        self.line(&align(columns, cells))
    }

    /// What is going on, for people who wait at a terminal for something slow.
    pub fn progress(&self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
        }
    }

    /// Takes the progress away again.
    pub fn progress_done(&self) {
        self.progress("");
    }

    /// The end: prints the JSON object, if that is what is wanted.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        self.values.insert("notes".to_owned(), json!(self.notes));
        say(&Value::Object(self.values).to_string())
    }
}

/// Unlike `println!`, does not panic where nobody reads.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        result => result.context("cannot write the report"),
    }
}

fn align(columns: &[Column], cells: &[String]) -> String {
    let mut line = String::new();
    for (index, ((name, width), cell)) in columns.iter().zip(cells).enumerate() {
        let width = (*width).max(name.chars().count());
        match index {
            0 => line.push_str(&format!("{cell:<width$}")),
            _ => line.push_str(&format!("  {cell:>width$}")),
        }
    }
    line.trim_end().to_owned()
}

/// Where the figures were taken.
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    load: f64,
}

impl Machine {
    fn read() -> Machine {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.trim().to_owned());
        let load = read("/proc/loadavg");
        Machine {
            cpu,
            cores: cores::allowed().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }

    fn describe(&self) -> String {
        let Machine { cpu, cores, kernel, .. } = self;
        let plural = if *cores == 1 { "" } else { "s" };
        format!("{cpu}, {cores} core{plural}, Linux {kernel}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_on_the_left_and_figures_on_the_right() {
        let columns = [("server", 11), ("µs", 6)];
        let cells = ["wharf".to_owned(), "9.25".to_owned()];
        assert_eq!(align(&columns, &cells), "wharf          9.25");
        let headings = columns.map(|(name, _)| name.to_owned());
        assert_eq!(align(&columns, &headings), "server           µs");
    }

    #[test]
    fn a_heading_that_is_wider_than_its_cells_makes_the_column_wider() {
        let columns = [("a", 1), ("heading", 2)];
        assert_eq!(align(&columns, &["x".to_owned(), "1".to_owned()]), "x        1");
    }
}
