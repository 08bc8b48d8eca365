//! The commands for the data folder: `wharf backup` and `wharf data`.
//!
//! - [`export`] and [`import`]: records as lines of JSON, which are in [`mod@line`].
//! - [`words`]: numbers, sizes and times as people read them.

mod export;
mod import;
mod line;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use wharf_contract::names::distance;
use wharf_engine::backup::{Progress, backup};
use wharf_engine::records::LAST_VERSION;
use wharf_engine::stored::{Count, Entry, bytes_on_disk};
use wharf_engine::{Edit, Kind, Stored, holder};

use crate::arguments::DataCommand;
use crate::output::{self, complain, print};
use words::{counted, left, number, size};

/// Time between two lines about the progress of a backup, on a terminal and elsewhere.
const REPORTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Runs a command for this data folder; `None` is that of a host that keeps everything in memory.
pub fn run(command: &DataCommand, folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else {
        let nothing = "data is kept in memory (`data` is \"\"), so that nothing is stored";
        return match command {
            DataCommand::Overview => print(&format!("{nothing}\n")),
            _ => bail!("{nothing}; name a folder with --data or --config"),
        };
    };
    match command {
        DataCommand::Backup(to) => print(&back_up(folder, to)?),
        DataCommand::Overview => print(&overview(folder)?),
        DataCommand::Show { channel, kind } => show(&stored(folder)?, channel, *kind),
        DataCommand::Export { to, channel, skip_damaged } => {
            let stored = stored(folder)?;
            if let Some(channel) = channel {
                known(&stored, channel)?;
            }
            export::export(&stored, to.as_deref(), channel.as_deref(), *skip_damaged)
        }
        DataCommand::Import { from, replace } => {
            print(&import::import(folder, from.as_deref(), *replace)?)
        }
        DataCommand::Drop { channel } => {
            known(&stored(folder)?, channel)?;
            print(&drop_channel(folder, channel)?)
        }
    }
}

/// Opens the records of a folder, which must have some.
fn stored(folder: &Path) -> anyhow::Result<Stored> {
    Stored::open(folder)?.with_context(|| {
        format!(
            "nothing is stored in the data folder {}; name another one with --data or --config",
            folder.display()
        )
    })
}

/// Checks that a channel has ever kept something.
fn known(stored: &Stored, channel: &str) -> anyhow::Result<()> {
    let channels = stored.channels()?;
    if channels.iter().any(|known| known == channel) {
        return Ok(());
    }
    let similar = 1 + channel.chars().count() / 3;
    let near: Vec<&str> = channels
        .iter()
        .filter(|known| distance(channel, known) <= similar)
        .map(String::as_str)
        .collect();
    let help = match near.is_empty() {
        false => format!("did you mean {}?", near.join(" or ")),
        true => "`wharf data` shows those that are there".to_owned(),
    };
    bail!("nothing is stored of a channel {channel:?}: {help}")
}

/// Copies a folder, and returns the sentence about it.
fn back_up(folder: &Path, to: &Path) -> anyhow::Result<String> {
    let (on_terminal, elsewhere) = REPORTS;
    let between = if io::stderr().is_terminal() { on_terminal } else { elsewhere };
    let begun = Instant::now();
    let mut next = begun + between;
    let copied = backup(folder, to, |progress| {
        if Instant::now() < next {
            return;
        }
        next = Instant::now() + between;
        match progress {
            Progress::Copied { bytes, of } => {
                complain(format_args!("copied {} of {}", size(bytes), size(of)));
            }
            Progress::Checked { records } => {
                complain(format_args!("checked {}", counted(records, "record")));
            }
        }
    })?;
    Ok(format!(
        "copied {} of {} ({}) to {} in {:.2} s\n",
        counted(copied.records, "record"),
        counted(copied.channels, "channel"),
        size(copied.bytes),
        to.display(),
        begun.elapsed().as_secs_f64()
    ))
}

/// Returns what a folder holds, in words.
fn overview(folder: &Path) -> anyhow::Result<String> {
    let Some(stored) = Stored::open(folder)? else {
        return Ok(format!("nothing is stored in the data folder {} yet\n", folder.display()));
    };
    let counts = stored.counts()?;
    let silent = stored.channels()?.len() - by_channel(&counts).len();
    let mut text = format!(
        "folder     {}\non disk    {}\nformat     {}\nin use by  {}\n\n{}",
        folder.display(),
        size(bytes_on_disk(folder)),
        stored.format(),
        holder(folder).unwrap_or_else(|| "no process".to_owned()),
        table(&counts)
    );
    if silent > 0 {
        let silent = counted(silent as u64, "further channel");
        writeln!(text, "{silent} without records")?;
    }
    Ok(text)
}

fn by_channel(counts: &[Count]) -> BTreeMap<&str, Vec<&Count>> {
    let mut channels: BTreeMap<&str, Vec<&Count>> = BTreeMap::new();
    for count in counts {
        channels.entry(&count.channel).or_default().push(count);
    }
    channels
}

/// Returns a table with a line for each channel and a column for each kind. The last line has the sums.
fn table(counts: &[Count]) -> String {
    let mut kinds: Vec<Option<Kind>> = Kind::ALL.map(Some).to_vec();
    if counts.iter().any(|count| count.kind.is_none()) {
        kinds.push(None);
    }
    let cell = |counts: &[&Count], kind: Option<Kind>| {
        let of_kind = || counts.iter().filter(|count| count.kind == kind);
        let records: u64 = of_kind().map(|count| count.records).sum();
        let bytes = of_kind().map(|count| count.bytes).sum();
        match records {
            0 => "-".to_owned(),
            _ => format!("{} ({})", number(records), size(bytes)),
        }
    };
    let row = |name: &str, counts: &[&Count]| {
        let cells = kinds.iter().map(|kind| cell(counts, *kind));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    // Records of a kind that only a newer version knows.
    let names = kinds.iter().map(|kind| kind.map_or("other", Kind::name).to_owned());
    let mut rows = vec![["channel".to_owned()].into_iter().chain(names).collect()];
    rows.extend(by_channel(counts).iter().map(|(name, counts)| row(name, counts)));
    rows.push(row("all", &counts.iter().collect::<Vec<_>>()));
    aligned(&rows)
}

/// Returns rows with columns of equal width; the first is aligned to the left.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match index {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("   {cell:>width$}")),
            }
        }
        text.push('\n');
    }
    text
}

/// Prints the keys of a channel.
fn show(stored: &Stored, channel: &str, kind: Option<Kind>) -> anyhow::Result<()> {
    known(stored, channel)?;
    let counts = stored.counts()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut shown: Option<Kind> = None;
    let printed = stored.read(Some(channel), kind, |entry| {
        if shown.replace(entry.kind) != Some(entry.kind) {
            let of_kind =
                |count: &&Count| count.channel == channel && count.kind == Some(entry.kind);
            let records = counts.iter().find(of_kind).map_or(0, |count| count.records);
            writeln!(out, "{}: {}", entry.kind.name(), counted(records, "record"))?;
            writeln!(out, "{:>12} {:>12} {:>10}  key", "bytes", "version", "expires")?;
        }
        let expires = match entry.record.expires_at.map(Duration::from_millis) {
            None => "-".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(at) => left(at - now),
        };
        let (bytes, version) = (number(entry.record.value.len() as u64), entry.record.version);
        writeln!(out, "{bytes:>12} {version:>12} {expires:>10}  {}", shown_key(&entry))?;
        anyhow::Ok(())
    });
    match printed.and_then(|()| Ok(out.flush()?)) {
        Ok(()) if shown.is_none() => {
            drop(out);
            print(&format!("{channel} has no such records\n"))
        }
        Ok(()) => Ok(()),
        Err(error) => error.downcast().map_or_else(Err, |error| output::finished(Err(error))),
    }
}

/// Returns a key as text; bytes that are none are hexadecimal.
fn shown_key(entry: &Entry<'_>) -> String {
    let key = &*entry.key;
    let text = match (entry.kind, <[u8; 8]>::try_from(key)) {
        (Kind::Timer, Ok(number)) => u64::from_be_bytes(number).to_string(),
        (Kind::Store, _) if key == LAST_VERSION.as_bytes() => "(the last version)".to_owned(),
        _ => match std::str::from_utf8(key) {
            Ok(text) => format!("\"{}\"", text.escape_debug()),
            Err(_) => key.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
        },
    };
    match entry.is_damaged {
        true => format!("{text} (damaged)"),
        false => text,
    }
}

/// Removes a channel's records, and returns the sentence about it.
fn drop_channel(folder: &Path, channel: &str) -> anyhow::Result<String> {
    let mut edit = Edit::begin(folder)?;
    let counts = edit.counts()?;
    let counts: Vec<&Count> = counts.iter().filter(|count| count.channel == channel).collect();
    edit.remove(channel)?;
    edit.commit().context("nothing is removed")?;
    let removed: Vec<String> = counts
        .iter()
        .map(|count| {
            let kind = count.kind.map_or("other", Kind::name);
            format!("{kind} {} ({})", number(count.records), size(count.bytes))
        })
        .collect();
    let removed = match removed.is_empty() {
        true => "it had no records".to_owned(),
        false => removed.join(", "),
    };
    Ok(format!("removed {channel} from {}: {removed}\n", folder.display()))
}
