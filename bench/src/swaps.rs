//! Latency of steady messages while their plugin is swapped.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::comparison::{Figure, Figures, compare_starts};
use crate::component;
use crate::crowd::{Crowd, Pace, Plan};
use crate::reload::nanoseconds_since_1970;
use crate::report::Report;
use crate::server::{Contestant, Host, Server};
use crate::setting::HostSetting;
use crate::statistics::{Spread, percentile_us};

const EXPLANATION: &str = "\
Messages leave on schedule, and their latency counts from the time at which they should have \
left. Their plugin is renamed into the folder in one step once a period, changed by a custom \
section. A message belongs to a swap if it was due between the rename and 100 ms after the host \
has logged that the new code is loaded; all others are the quiet ones that it is compared with. \
No message may be lost, doubled or overtaken. The host is not pinned to a core unless --pinned is \
given: compiling is meant to have another core than serving.";

/// Time after the log line in which a message still belongs to a swap: the first calls of new code
/// are part of it.
const AFTERMATH: Duration = Duration::from_millis(100);

/// The load, and the number of swaps.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Swaps of a round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    swaps: u32,

    /// Time from one swap to the next, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    period_ms: u32,

    /// Messages a second over all connections
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Connections that send
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=5000))]
    connections: u32,

    /// Keep the host, compilation included, on one core
    #[arg(long)]
    pinned: bool,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("quiet p50 µs", "quiet_p50_us", 0),
    Figure::shown("quiet p99 µs", "quiet_p99_us", 0),
    Figure::shown("swap p50 µs", "swap_p50_us", 0),
    Figure::shown("swap p99 µs", "swap_p99_us", 0),
    Figure::shown("swap max µs", "swap_max_us", 0),
    Figure::shown("added p99 µs", "added_p99_us", 0),
    // Median of the round, from the rename to the log line that reports the swap.
    Figure::shown("loaded in ms", "loaded_ms", 0),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, a swap does not happen, or a message is lost.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("swaps", "latency while the plugin is swapped, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} messages/s over {} connections, open loop; {} swaps, one each {} ms",
        options.rate, options.connections, options.swaps, options.period_ms
    ))?;
    report.set("options", options);
    let stage = options.setting.prepare("echo", &[], report)?;
    if !options.pinned {
        report.line("the host may use every core, its 1 worker included")?;
    }
    let core = options.pinned.then_some(stage.cores.server);
    compare_starts(&stage, FIGURES, report, |contestant| {
        let Contestant::Host(host) = contestant else {
            return Ok(Figures::new());
        };
        let server = Server::start_host(host, Some(1), core)?;
        measure(options, host, &server).map_err(|error| server.process.explain(error))
    })
}

fn measure(options: &Options, host: &Host, server: &Server) -> anyhow::Result<Figures> {
    let file = host.plugins.first().context("there is no plugin to swap")?;
    let plugin = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().context("the plugin has no name")?;
    let target = server.folder().join("plugins").join(name);
    // The files are written before the load begins, beside the watched folder and not in it.
    let mut nexts: Vec<PathBuf> = Vec::new();
    for number in 0..options.swaps {
        let payload = format!("{number} {}", nanoseconds_since_1970());
        let next = server.folder().join(format!("next-{number}.wasm"));
        fs::write(&next, component::changed(&plugin, payload.as_bytes())?)?;
        nexts.push(next);
    }

    let mut crowd =
        Crowd::open(server.address(), Plan::alone(options.connections), |_| "/echo".to_owned())?;
    let pace = Pace::Open { rate: f64::from(options.rate) };
    crowd.run(u64::from(options.rate), pace, false).context("warming up")?;

    let period = Duration::from_millis(options.period_ms.into());
    let seconds = period.as_secs_f64() * (f64::from(options.swaps) + 0.5);
    let begun = Instant::now();
    // The first half period is quiet.
    let due = |number: usize| begun + period.mul_f64(number as f64 + 0.5);
    let swapper = thread::spawn({
        let due: Vec<Instant> = (0..nexts.len()).map(due).collect();
        move || -> std::io::Result<Vec<Instant>> {
            let mut renamed = Vec::new();
            for (next, due) in nexts.iter().zip(due) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                renamed.push(Instant::now());
                fs::rename(next, &target)?;
            }
            Ok(renamed)
        }
    });
    let round = crowd.run((f64::from(options.rate) * seconds) as u64, pace, true)?;
    let renamed = swapper.join().ok().context("the thread that swaps has failed")??;

    let mut windows = Vec::new();
    for (number, renamed) in renamed.into_iter().enumerate() {
        let generation = number as u64 + 2;
        let loaded = server.process.loaded_at(generation);
        let loaded = loaded.with_context(|| {
            format!(
                "swap {} had not happened before the load ended: give a longer --period-ms",
                number + 1
            )
        })?;
        windows.push((renamed, loaded));
    }
    let (mut quiet, mut swap) = (Vec::new(), Vec::new());
    for (due, latency) in round.samples {
        let is_swap = windows.iter().any(|(from, to)| (*from..*to + AFTERMATH).contains(&due));
        if is_swap { swap.push(latency) } else { quiet.push(latency) }
    }
    ensure!(!quiet.is_empty(), "there was no quiet time: give a longer --period-ms");
    quiet.sort_unstable();
    swap.sort_unstable();
    let loaded_ms = windows.iter().map(|(from, to)| to.duration_since(*from).as_secs_f64() * 1e3);
    Ok(vec![
        percentile_us(&quiet, 50.0),
        percentile_us(&quiet, 99.0),
        percentile_us(&swap, 50.0),
        percentile_us(&swap, 99.0),
        percentile_us(&swap, 100.0),
        percentile_us(&swap, 99.0) - percentile_us(&quiet, 99.0),
        Spread::of(loaded_ms).map_or(f64::NAN, |spread| spread.median),
    ])
}
