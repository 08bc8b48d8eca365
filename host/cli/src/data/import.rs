//! `wharf data import`: the records of an export, all or none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use wharf_engine::Edit;

use super::line::{self, Line};
use super::words::{counted, number};

/// Length of the longest line, in bytes. It is held in memory, and longer ones are no records.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// Adds the records of a file, or of standard input, to a folder. Returns the sentence about it.
pub fn import(folder: &Path, from: Option<&Path>, replace: bool) -> anyhow::Result<String> {
    let (lines, name): (Box<dyn BufRead>, _) = match from {
        Some(file) => {
            let opened = File::open(file);
            let opened = opened.with_context(|| format!("{} cannot be read", file.display()))?;
            (Box::new(BufReader::new(opened)), file.display().to_string())
        }
        None => (Box::new(io::stdin().lock()), "standard input".to_owned()),
    };
    let edit = Edit::begin(folder)?;
    let mut lines = Lines { lines, number: 0, line: Vec::new() };
    let mut import = Import::new(edit, replace)?;
    let ended = import.add_all(&mut lines);
    let at = || format!("{name}, line {}", number(lines.number));
    ended.with_context(at).context("nothing is imported")?;
    let Import { edit, channels, records, removed, .. } = import;
    edit.commit().context("nothing is imported")?;
    let removed = match removed {
        0 => String::new(),
        removed => format!(" in place of {}", counted(removed, "record")),
    };
    let (records, channels) =
        (counted(records, "record"), counted(channels.len() as u64, "channel"));
    Ok(format!("imported {records} of {channels}{removed} into {}\n", folder.display()))
}

/// The lines of an export.
struct Lines {
    lines: Box<dyn BufRead>,
    /// Number of lines that are read.
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Reads the next line that is not empty.
    fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut bounded = self.lines.by_ref().take(MAX_LINE_BYTES);
            if bounded.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            ensure!((self.line.len() as u64) < MAX_LINE_BYTES, "the line is longer than 1 GiB");
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(&self.line));
            }
        }
    }
}

/// An import that is under way.
struct Import {
    edit: Edit,
    replace: bool,
    /// Records that the channels of the folder had before.
    before: BTreeMap<String, u64>,
    /// The channels of the export, with their numbers.
    channels: BTreeMap<String, i64>,
    records: u64,
    removed: u64,
}

impl Import {
    fn new(edit: Edit, replace: bool) -> anyhow::Result<Import> {
        let mut before = BTreeMap::new();
        for count in edit.counts()? {
            *before.entry(count.channel).or_default() += count.records;
        }
        Ok(Import { edit, replace, before, channels: BTreeMap::new(), records: 0, removed: 0 })
    }

    fn add_all(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        line::read_first(lines.next()?.unwrap_or_default())?;
        while let Some(line) = lines.next()? {
            match line::read(line)? {
                Line::Record { channel, kind, key, record } => {
                    let number = self.channel(channel)?;
                    if !self.edit.insert(number, kind, &key, &record)? {
                        let key = String::from_utf8_lossy(&key).into_owned();
                        bail!("the record ({} {key:?}) is there twice", kind.name());
                    }
                    self.records += 1;
                }
                Line::Last(records) => {
                    ensure!(
                        records == self.records,
                        "the export should have {}, and has {}; export again",
                        counted(records, "record"),
                        number(self.records)
                    );
                    ensure!(lines.next()?.is_none(), "something comes after the last line");
                    return Ok(());
                }
            }
        }
        bail!(
            "the export was cut off: its last line, with the number of records, is missing; export again"
        )
    }

    /// Returns the number of a channel, whose records from before are removed.
    fn channel(&mut self, name: String) -> anyhow::Result<i64> {
        if let Some(number) = self.channels.get(&name) {
            return Ok(*number);
        }
        let before = self.before.get(&name).copied().unwrap_or_default();
        if before > 0 {
            ensure!(
                self.replace,
                "channel {name} has {} already; add --replace to remove them first",
                counted(before, "record")
            );
            self.edit.remove(&name)?;
            self.removed += before;
        }
        let number = self.edit.channel(&name)?;
        self.channels.insert(name, number);
        Ok(number)
    }
}
