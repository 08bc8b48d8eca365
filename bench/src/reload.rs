//! Time from new code in the plugin folder to the first event that it serves.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use crate::artefact;
use crate::comparison::{Figure, describe};
use crate::component;
use crate::probe::Probe;
use crate::report::{Column, Report};
use crate::server::{Host, Server, own_folder, wait_for_entries};
use crate::statistics::Spread;

const EXPLANATION: &str = "\
The plugin is changed by a custom section at its end, and renamed into the folder in one step. \
The time is that from the rename to the arrival of the first pong of a new generation. One connection is open throughout and \
sends pings, one at a time; each must be answered, and no generation may be older than the last. \
The longest pong is the longest that a ping waited during a swap.";

/// The number of swaps, and the plugin that is swapped.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Swaps
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,

    /// The path to connect to
    #[arg(long, default_value = "/chat/lobby?name=bench")]
    path: String,

    /// Swap two versions to and fro that the host has compiled already
    #[arg(long)]
    cached: bool,

    /// Pause between a pong and the next ping, in milliseconds. It bounds how exact the times
    /// are, and how much the pings keep the host from compiling
    #[arg(long, value_name = "MS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pause_ms: u64,

    /// Time for a swap, in seconds, after which it has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,

    /// Threads of the host; 0 for one a core
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=512))]
    workers: u32,

    /// The host's program [default: target/release/wharf]
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,

    /// A plugin that answers {"type":"ping"} with {"type":"pong","generation":…}
    /// [default: target/plugins/chat.wasm]
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,

    /// A further flag of `wharf serve`, such as --host-flag=--settle-ms=10; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    host_flag: Vec<String>,
}

const COLUMNS: [Column; 5] =
    [("run", 6), ("generation", 10), ("ms", 8), ("pongs meanwhile", 15), ("longest pong ms", 15)];

/// The figures of all swaps together, in JSON.
const FIGURES: &[Figure] = &[
    Figure::shown("rename to first event, ms", "reload_ms", 0),
    Figure::shown("longest pong of a swap, ms", "longest_pong_ms", 1),
];

/// One swap.
#[derive(Serialize)]
struct Swap {
    run: u32,
    /// The first generation that served after the rename.
    generation: u64,
    milliseconds: f64,
    /// Number of pings answered since the rename, including the first of the new generation.
    pongs: u64,
    longest_pong_ms: f64,
}

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or a swap does not happen or loses a ping.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let cache = own_folder()?;
    let host = Host {
        program: artefact::host(options.host.as_deref())?,
        plugins: vec![artefact::plugin(options.plugin.as_deref(), "chat")?],
        flags: options.host_flag.clone(),
        cache: Some(cache.path().join("cache")),
        workers: 1,
        is_baseline: false,
    };
    let file = &host.plugins[0];
    let plugin = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    report.begin("reload", "from a plugin's rename to the first event its new code serves")?;
    let version = format!("wharf: {}", host.describe());
    report.line(&version)?;
    report.set("versions", [version]);
    if host.looks_unoptimised() {
        report.note("the host is not optimised: `cargo build --release -p wharf`")?;
    }
    report.set("options", options);

    let server = Server::start_host(&host, Some(options.workers as usize), None)?;
    let swaps = swaps(options, &host, &server, &plugin, report)
        .map_err(|error| server.process.explain(error))?;
    summarise(&swaps, report)?;
    report.set("runs", swaps);
    Ok(())
}

fn swaps(
    options: &Options,
    host: &Host,
    server: &Server,
    plugin: &[u8],
    report: &mut Report,
) -> anyhow::Result<Vec<Swap>> {
    let name = host.plugins[0].file_name().context("the plugin has no name")?;
    let target = server.folder().join("plugins").join(name);
    // The file lies beside the watched folder, not in it: writing it must not start the host's
    // clock.
    let next = server.folder().join("next.wasm");
    let mut probe = Probe::open(server.address(), &options.path)?;
    let begun = nanoseconds_since_1970();
    let version = |number: u32| {
        component::changed(plugin, format!("{number} {begun}").as_bytes())
            .context("cannot change the plugin")
    };
    if let (true, Some(cache)) = (options.cached, &host.cache) {
        for number in [0, 1] {
            fs::write(&next, version(number)?)?;
            let before = probe.ping()?.generation;
            fs::rename(&next, &target)?;
            follow(options, &mut probe, number, before, Instant::now())?;
        }
        wait_for_entries(cache, 3)?;
    }
    let mut swaps = Vec::new();
    report.headings(&COLUMNS)?;
    for run in 1..=options.runs {
        let number = if options.cached { (run + 1) % 2 } else { run };
        fs::write(&next, version(number)?)?;
        let before = probe.ping()?.generation;
        let renamed = Instant::now();
        fs::rename(&next, &target)?;
        let swap = follow(options, &mut probe, run, before, renamed)
            .with_context(|| format!("run {run}"))?;
        report.row(
            &COLUMNS,
            &[
                swap.run.to_string(),
                swap.generation.to_string(),
                format!("{:.1}", swap.milliseconds),
                swap.pongs.to_string(),
                format!("{:.1}", swap.longest_pong_ms),
            ],
        )?;
        swaps.push(swap);
    }
    Ok(swaps)
}

/// Pings until another generation than the last one answers.
fn follow(
    options: &Options,
    probe: &mut Probe,
    run: u32,
    before: u64,
    renamed: Instant,
) -> anyhow::Result<Swap> {
    let limit = Duration::from_secs(options.limit);
    let pause = Duration::from_millis(options.pause_ms);
    let turnover = probe.follow(renamed, before, pause, limit)?;
    Ok(Swap {
        run,
        generation: turnover.generation,
        milliseconds: turnover.took.as_secs_f64() * 1e3,
        pongs: turnover.pongs,
        longest_pong_ms: turnover.longest.as_secs_f64() * 1e3,
    })
}

/// Returns a number that makes the changed plugins of one run of this program differ from those of
/// every other.
pub fn nanoseconds_since_1970() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

fn summarise(swaps: &[Swap], report: &mut Report) -> anyhow::Result<()> {
    let reload = Spread::of(swaps.iter().map(|swap| swap.milliseconds));
    let pong = Spread::of(swaps.iter().map(|swap| swap.longest_pong_ms));
    let (Some(reload), Some(pong)) = (reload, pong) else {
        return Ok(());
    };
    report.line("")?;
    report.line(&format!(
        "reload: median {:.1} ms, max {:.1} ms; longest pong of a run: median {:.1} ms, max {:.1} ms",
        reload.median, reload.max, pong.median, pong.max
    ))?;
    describe(FIGURES, report);
    report.set(
        "summary",
        [json!({ "server": "wharf", "reload_ms": reload, "longest_pong_ms": pong })],
    );
    Ok(())
}
