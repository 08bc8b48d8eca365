//! `wharf data export`: records as lines of JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use wharf_engine::{Damaged, Stored};

use super::line;
use super::words::counted;
use crate::output;

/// The outcome of an export.
#[derive(Debug, Default)]
struct Exported {
    records: u64,
    skipped: u64,
}

impl Exported {
    fn in_words(&self) -> String {
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!("; skipped {}", counted(skipped, "damaged record")),
        };
        format!("exported {}{skipped}", counted(self.records, "record"))
    }
}

/// Writes the records of a channel, or of all, to a file or to standard output.
pub fn export(
    stored: &Stored,
    to: Option<&Path>,
    channel: Option<&str>,
    skip_damaged: bool,
) -> anyhow::Result<()> {
    let Some(file) = to else {
        let mut out = BufWriter::new(io::stdout().lock());
        return match write(stored, &mut out, channel, skip_damaged) {
            Ok(exported) => {
                output::complain(exported.in_words());
                Ok(())
            }
            // A reader that has gone is no error.
            Err(error) => error.downcast().map_or_else(Err, |error| output::finished(Err(error))),
        };
    };
    let exported = into_file(stored, file, channel, skip_damaged)?;
    output::print(&format!("{} to {}\n", exported.in_words(), file.display()))
}

/// Writes under another name first, so that the file is there as a whole or as it was.
fn into_file(
    stored: &Stored,
    to: &Path,
    channel: Option<&str>,
    skip_damaged: bool,
) -> anyhow::Result<Exported> {
    let cannot = || format!("{} cannot be written", to.display());
    // A device or a pipe has its name already.
    if std::fs::metadata(to).is_ok_and(|file| !file.is_file()) {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(to).with_context(cannot)?);
        return write(stored, &mut out, channel, skip_damaged).with_context(cannot);
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let written = || -> anyhow::Result<Exported> {
        // One that was cut off may be left.
        let _ = std::fs::remove_file(&partial);
        // The records are for this user alone, as those in the folder.
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut out = BufWriter::new(options.open(&partial)?);
        let exported = write(stored, &mut out, channel, skip_damaged)?;
        let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&partial, to)?;
        Ok(exported)
    };
    written().map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        match error.is::<io::Error>() {
            true => error.context(cannot()),
            false => error,
        }
    })
}

fn write(
    stored: &Stored,
    out: &mut impl Write,
    channel: Option<&str>,
    skip_damaged: bool,
) -> anyhow::Result<Exported> {
    let mut exported = Exported::default();
    writeln!(out, "{}", line::first()?)?;
    stored.read(channel, None, |entry| {
        if entry.is_damaged {
            let what = Damaged { kind: entry.kind, key: entry.key };
            if !skip_damaged {
                bail!(
                    "channel {}: {what}; restore a backup, or export the others with --skip-damaged",
                    entry.channel
                );
            }
            output::complain(format_args!("channel {}: {what}; skipped", entry.channel));
            exported.skipped += 1;
            return Ok(());
        }
        writeln!(out, "{}", line::recorded(&entry)?)?;
        exported.records += 1;
        anyhow::Ok(())
    })?;
    writeln!(out, "{}", line::last(exported.records)?)?;
    out.flush()?;
    Ok(exported)
}
