//! The report: aligned lines for people, as the figures come, or one JSON object for programs, at
//! the end.

use std::fs;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cores;

/// Load, averaged over the last minute, above which a note says that other programs are running.
const QUIET_LOAD: f64 = 0.5;

/// A column of a table: its heading, and the width of its widest cell.
pub type Column = (&'static str, usize);

/// The reader of the report, such as `head`, has closed the pipe: a reason to end, not a failure.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the report has closed it")]
pub struct ReaderGone;

/// The report of one run of this program.
pub struct Report {
    json: bool,
    values: Map<String, Value>,
    notes: Vec<String>,
}

impl Report {
    /// Makes an empty report.
    pub fn new(json: bool) -> Report {
        Report { json, values: Map::new(), notes: Vec::new() }
    }

    /// Reports which job runs, and on which machine, with the doubts that are known from the start.
    ///
    /// # Errors
    ///
    /// This and all functions that write lines fail if the line cannot be written; with
    /// [`ReaderGone`] if the reader has closed the pipe.
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

    /// Writes a line for people. Programs get the same by [`set`](Report::set).
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => Ok(()),
            false => say(text),
        }
    }

    /// Writes a warning about how far the figures can be trusted.
    pub fn note(&mut self, text: &str) -> anyhow::Result<()> {
        self.notes.push(text.to_owned());
        self.line(&format!("note: {text}"))
    }

    /// Sets a value for programs.
    pub fn set(&mut self, key: &str, value: impl Serialize) {
        // Only maps with keys that are not strings cannot be represented, and there are none.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.values.insert(key.to_owned(), value);
    }

    /// Writes the headings of a table.
    pub fn headings(&self, columns: &[Column]) -> anyhow::Result<()> {
        let cells: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.line("")?;
        self.row(columns, &cells)
    }

    /// Writes a row of a table: the first column is aligned to the left, figures to the right.
    pub fn row(&self, columns: &[Column], cells: &[String]) -> anyhow::Result<()> {
        self.line(&align(columns, cells))
    }

    /// Shows the state of something slow, to a person at a terminal.
    pub fn progress(&self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
        }
    }

    /// Removes the progress again.
    pub fn progress_done(&self) {
        self.progress("");
    }

    /// Ends the report: prints the JSON object if it was asked for.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        self.values.insert("notes".to_owned(), json!(self.notes));
        say(&Value::Object(self.values).to_string())
    }
}

/// Prints a line. Unlike `println!`, it does not panic if the pipe is closed.
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

/// The machine on which the figures were taken.
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
