//! Growth of the host over many connections, swaps and names of channels.

mod growth;
mod load;

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::artefact;
use crate::process::Footprint;
use crate::report::{Column, Report};
use crate::server::{Host, Server};
use growth::{Bound, Growth, Reading};
use load::{Names, Swaps};

const EXPLANATION: &str = "\
One host serves all three loads, one after the other. Connections come into rooms of a chat and \
go, 32 at a time. Swaps are of that chat, under an open connection that must be served by each \
generation; one in ten is to code that has to be compiled. Names are those of channels with a \
store, 8 at a time, which are visited and then removed. After each part of a load, memory (Rss of \
/proc/PID/smaps_rollup), descriptors and mappings are read. The first third warms up; the slope is \
the median of the slopes between any two later readings. A leak is a slope above its bound if the \
growth is also more than noise. A leak ends the program with exit status 1.";

/// The numbers of operations.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections that come and go [default: 100000, or 6000 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(OPERATIONS))]
    connects: Option<u32>,

    /// Swaps of one plugin [default: 10000, or 600 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(OPERATIONS))]
    swaps: Option<u32>,

    /// Names of channels that come and go [default: 1000, or 120 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(30..=100_000))]
    names: Option<u32>,

    /// Take fewer operations: enough to find large leaks
    #[arg(long)]
    quick: bool,

    /// The host's program [default: target/release/wharf]
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,

    /// A further flag of `wharf serve`, such as --host-flag=--workers=1; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    host_flag: Vec<String>,
}

/// Allowed numbers of operations: one for each reading, at least.
const OPERATIONS: std::ops::RangeInclusive<i64> = 30..=10_000_000;

/// Number of readings of a load, and of those that warm up.
const READINGS: u32 = 30;
const WARM_UP: usize = 10;

/// Flags of the host: changes of the folder are taken soon, removed channels are freed before the next
/// reading, and old code leaves the cache.
const FLAGS: [&str; 4] = [
    "--settle-ms=5",
    "--removal-grace-ms=50",
    "--room-state-grace-ms=50",
    "--max-cache-bytes=134217728",
];

/// A load, and the memory that it may take for good, in KiB.
struct Load {
    name: &'static str,
    count: u32,
    memory: Bound,
}

/// Descriptors and mappings that any load may take for good. Those of a thread or of an arena of the
/// allocator come and go.
const DESCRIPTORS: Bound = Bound { per_thousand: 1.0, noise: 8.0 };
const MAPPINGS: Bound = Bound { per_thousand: 10.0, noise: 64.0 };

const READING_COLUMNS: [Column; 5] =
    [("load", 10), ("operations", 10), ("memory MiB", 10), ("descriptors", 11), ("mappings", 8)];

const COLUMNS: [Column; 7] = [
    ("load", 10),
    ("figure", 13),
    ("start", 9),
    ("end", 9),
    ("slope per 1,000", 15),
    ("bound", 9),
    ("", 4),
];

/// One figure of one load.
#[derive(Serialize)]
struct Finding {
    load: &'static str,
    figure: Figure,
    #[serde(flatten)]
    growth: Growth,
    bound: Bound,
    leaks: bool,
}

/// Drives the loads, reports, and fails if the host grows.
///
/// # Errors
///
/// Something is missing, the host fails, or a figure grows by more than its bound.
pub fn run(options: &Options, mut report: Report) -> anyhow::Result<()> {
    let count =
        |given: Option<u32>, quick, all| given.unwrap_or([all, quick][usize::from(options.quick)]);
    let loads = [
        Load {
            name: "connects",
            count: count(options.connects, 6_000, 100_000),
            memory: Bound { per_thousand: 32.0, noise: 4096.0 },
        },
        Load {
            name: "swaps",
            count: count(options.swaps, 600, 10_000),
            memory: Bound { per_thousand: 1024.0, noise: 8192.0 },
        },
        Load {
            name: "names",
            count: count(options.names, 120, 1_000),
            memory: Bound { per_thousand: 4096.0, noise: 32768.0 },
        },
    ];
    let chat = artefact::plugin(None, "chat")?;
    let stores = artefact::fixture(None, "stores")?;
    let flags = FLAGS.into_iter().map(str::to_owned).chain(options.host_flag.iter().cloned());
    let host = Host {
        program: artefact::host(options.host.as_deref())?,
        // The folder is never empty: then removed files would be kept for a while.
        plugins: vec![chat.clone(), artefact::plugin(None, "echo")?],
        flags: flags.collect(),
        cache: None,
        workers: 0,
        is_baseline: false,
    };
    report.begin("leaks", "growth of the host over many connections, swaps and channels")?;
    report.line(&host.describe())?;
    report.set("options", options);
    let server = Server::start_host(&host, None, None)?;
    let explain = |error| server.process.explain(error);

    report.headings(&READING_COLUMNS)?;
    let [connects, swaps, names] = &loads;
    let connect = |numbers| load::connect(&server, numbers);
    let mut findings = watch(connects, &server, &report, connect).map_err(explain)?;
    let mut swapping = Swaps::begin(&server, &chat)?;
    let swap = |numbers| swapping.swap(numbers);
    findings.extend(watch(swaps, &server, &report, swap).map_err(explain)?);
    let naming = Names::begin(&stores)?;
    let name = |numbers| naming.come_and_go(&server, numbers);
    findings.extend(watch(names, &server, &report, name).map_err(explain)?);

    show(&findings, &report)?;
    report.set("findings", &findings);
    let leaks: Vec<String> = findings.iter().filter(|found| found.leaks).map(sentence).collect();
    report.finish()?;
    if !leaks.is_empty() {
        bail!("the host grows {}", leaks.join(", "));
    }
    Ok(())
}

/// Drives a load in parts, with a reading after each.
fn watch(
    load: &Load,
    server: &Server,
    report: &Report,
    mut drive: impl FnMut(Range<u32>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Finding>> {
    let mut readings: Vec<(u32, Footprint)> = Vec::new();
    let at = |part: u32| (u64::from(load.count) * u64::from(part) / u64::from(READINGS)) as u32;
    for part in 0..READINGS {
        report.progress(&format!(
            "{} {} to {} of {} …",
            load.name,
            at(part),
            at(part + 1),
            load.count
        ));
        drive(at(part)..at(part + 1)).with_context(|| load.name)?;
        let footprint = server.process.settled_footprint()?;
        report.progress_done();
        report.row(
            &READING_COLUMNS,
            &[
                load.name.to_owned(),
                at(part + 1).to_string(),
                format!("{:.1}", Figure::Memory.of(&footprint) / 1024.0),
                footprint.descriptors.to_string(),
                footprint.mappings.to_string(),
            ],
        )?;
        readings.push((at(part + 1), footprint));
    }
    let later = readings.get(WARM_UP..).unwrap_or_default();
    let find = |figure: Figure, bound: Bound| {
        let value = |read| figure.of(read);
        let values: Vec<Reading> = later.iter().map(|(at, read)| (*at, value(read))).collect();
        let growth = Growth::of(&values).context("there are too few readings")?;
        Ok(Finding { load: load.name, figure, growth, bound, leaks: bound.is_exceeded_by(&growth) })
    };
    [
        find(Figure::Memory, load.memory),
        find(Figure::Descriptors, DESCRIPTORS),
        find(Figure::Mappings, MAPPINGS),
    ]
    .into_iter()
    .collect()
}

/// A thing of the system that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Figure {
    Memory,
    Descriptors,
    Mappings,
}

impl Figure {
    /// Returns the figure's name, with its unit.
    fn name(self) -> &'static str {
        match self {
            Figure::Memory => "KiB of memory",
            Figure::Descriptors => "descriptors",
            Figure::Mappings => "mappings",
        }
    }

    /// Returns the figure, in its unit.
    fn of(self, footprint: &Footprint) -> f64 {
        match self {
            Figure::Memory => footprint.resident_bytes as f64 / 1024.0,
            Figure::Descriptors => footprint.descriptors as f64,
            Figure::Mappings => footprint.mappings as f64,
        }
    }
}

fn show(findings: &[Finding], report: &Report) -> anyhow::Result<()> {
    report.headings(&COLUMNS)?;
    for found in findings {
        report.row(
            &COLUMNS,
            &[
                found.load.to_owned(),
                found.figure.name().to_owned(),
                format!("{:.0}", found.growth.start),
                format!("{:.0}", found.growth.end),
                format!("{:+.1}", found.growth.per_thousand),
                format!("{:.0}", found.bound.per_thousand),
                if found.leaks { "LEAK" } else { "ok" }.to_owned(),
            ],
        )?;
    }
    Ok(())
}

fn sentence(found: &Finding) -> String {
    let (growth, bound) = (found.growth.per_thousand, found.bound.per_thousand);
    let (figure, load) = (found.figure.name(), found.load);
    format!("by {growth:.1} {figure} with each 1,000 {load} (allowed: {bound:.0})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_told_with_its_slope_and_its_bound() {
        let growth = Growth { start: 0.0, end: 1.0, per_thousand: 3072.0, operations: 5000 };
        let bound = Bound { per_thousand: 1024.0, noise: 4096.0 };
        let (load, figure) = ("swaps", Figure::Memory);
        let found = Finding { load, figure, growth, bound, leaks: true };
        let expected = "by 3072.0 KiB of memory with each 1,000 swaps (allowed: 1024)";
        assert_eq!(sentence(&found), expected);
    }
}
