//! The cost of further plugins that do nothing: memory, CPU per echo, and time to start.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;

use crate::comparison::{Figure, describe};
use crate::component;
use crate::echo;
use crate::generator::Generator;
use crate::report::{Column, Report};
use crate::server::{Contestant, Host, Server, own_folder, wait_for_entries};
use crate::setting::HostSetting;
use crate::statistics::Spread;

const EXPLANATION: &str = "\
The plugins are copies of one that echoes at /echo, which have other paths of the same length: \
/e001, /e002 and so on. Only the first is spoken to. Memory is the Rss of \
/proc/PID/smaps_rollup before the first connection, by plugin beyond the first. The start is the \
time from starting the process to the log line that says where it listens.";

/// The path of the plugin that is copied.
const PATH: &str = "/echo";

/// The numbers of plugins, and the load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Numbers of plugins to compare; the others are compared with the first
    #[arg(long, value_delimiter = ',', default_value = "1,10,20,100", value_parser = clap::value_parser!(u32).range(1..=1000))]
    plugins: Vec<u32>,

    /// Connections that send at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=5000))]
    connections: u32,

    /// Messages of a round, over all connections
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Messages before each round that do not count
    #[arg(long, default_value_t = 50_000)]
    warm_up: u64,

    /// Start with every plugin in the host's cache, so that none is compiled
    #[arg(long)]
    cached: bool,

    #[command(flatten)]
    setting: HostSetting,
}

const COLUMNS: [Column; 5] = [
    ("plugins", 8),
    ("MiB", 20),
    ("KiB/plugin beyond the first", 20),
    ("CPU µs/message", 20),
    ("started in ms", 20),
];

/// The figures in JSON.
const FIGURES: &[Figure] = &[
    Figure::shown("MiB", "mib", 1),
    Figure::shown("KiB/plugin beyond the first", "kib_per_further_plugin", 0),
    Figure::compared("CPU µs/message", "cpu_us_per_message", 3),
    Figure::shown("started in ms", "started_ms", 0),
];

/// The result of one round.
struct Round {
    plugins: u32,
    bytes: f64,
    cpu_us_per_message: f64,
    started_ms: f64,
}

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the plugin cannot be copied, the host fails, or an echo is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("guests", "the cost of further plugins, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} connections, 1 in flight each, {} messages a round after {} to warm up",
        options.connections, options.messages, options.warm_up
    ))?;
    report.set("options", options);
    let stage = options.setting.prepare("echo", &[], report)?;
    let Some(Contestant::Host(host)) = stage.contestants.first() else {
        return Ok(());
    };
    let copies = own_folder()?;
    let most = options.plugins.iter().copied().max().unwrap_or(1);
    let files = copy(host, most, copies.path())?;
    let cache = options.cached.then(|| copies.path().join("cache"));
    if let Some(cache) = &cache {
        report.progress("filling the cache …");
        let host = Host { plugins: files.clone(), cache: Some(cache.clone()), ..host.clone() };
        let server = Server::start_host(&host, None, None)?;
        wait_for_entries(cache, files.len()).map_err(|error| server.process.explain(error))?;
        report.progress_done();
    }
    let mut rounds = Vec::new();
    for round in 1..=options.setting.rounds {
        for &plugins in &options.plugins {
            report.progress(&format!("{plugins} plugins, round {round} …"));
            let plugin_files = files[..plugins as usize].to_vec();
            let host = Host { plugins: plugin_files, cache: cache.clone(), ..host.clone() };
            let server = Server::start_host(&host, Some(1), Some(stage.cores.server))?;
            let measured = measure(options, plugins, &server)
                .map_err(|error| server.process.explain(error))
                .with_context(|| format!("{plugins} plugins, round {round}"))?;
            rounds.push(measured);
            report.progress_done();
        }
    }
    summarise(options, &rounds, report)
}

/// Writes the largest number of plugins that a round needs. The first keeps its path.
fn copy(host: &Host, count: u32, folder: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let file = host.plugins.first().context("there is no plugin to copy")?;
    let plugin = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut files = vec![file.clone()];
    for number in 1..count {
        let path = format!("/e{number:03}");
        let moved = component::moved(&plugin, PATH, &path)
            .with_context(|| format!("cannot copy {}", file.display()))?;
        let copy = folder.join(format!("e{number:03}.wasm"));
        fs::write(&copy, moved)?;
        files.push(copy);
    }
    Ok(files)
}

fn measure(options: &Options, plugins: u32, server: &Server) -> anyhow::Result<Round> {
    let bytes = server.process.settled_memory()? as f64;
    let connections = options.connections as usize;
    let mut generator = Generator::open(server.address(), PATH, server.dialect(), connections, 64)?;
    let figures = echo::exchange(&mut generator, server, options.warm_up, options.messages, 1)?;
    let cpu_us_per_message = *figures.first().context("there is no figure")?;
    // An answer of the last plugin proves that it is loaded, and not only its file there.
    if plugins > 1 {
        let path = format!("/e{:03}", plugins - 1);
        Generator::open(server.address(), &path, server.dialect(), 1, 64)?.run(1, 1)?;
    }
    let started_ms = server.process.started_in().as_secs_f64() * 1e3;
    Ok(Round { plugins, bytes, cpu_us_per_message, started_ms })
}

fn summarise(options: &Options, rounds: &[Round], report: &mut Report) -> anyhow::Result<()> {
    let spread = |plugins: u32, figure: &dyn Fn(&Round) -> f64| {
        Spread::of(rounds.iter().filter(|round| round.plugins == plugins).map(figure))
    };
    let first = options.plugins.first().copied().unwrap_or(1);
    let base = spread(first, &|round| round.bytes);
    let base_cpu = spread(first, &|round| round.cpu_us_per_message);
    let (Some(base), Some(base_cpu)) = (base, base_cpu) else {
        return Ok(());
    };
    ensure!(base_cpu.median > 0.0, "the echoes cost nothing");
    report.headings(&COLUMNS)?;
    let (mut values, mut ratios) = (Vec::new(), Vec::new());
    for &plugins in &options.plugins {
        let more = f64::from(plugins) - f64::from(first);
        let mib = spread(plugins, &|round| round.bytes / 1024.0 / 1024.0);
        let each = spread(plugins, &|round| (round.bytes - base.median) / more / 1024.0);
        let each = each.filter(|_| plugins > first);
        let cpu = spread(plugins, &|round| round.cpu_us_per_message);
        let started = spread(plugins, &|round| round.started_ms);
        let show = |spread: Option<Spread>, decimals| {
            spread.map_or_else(|| "-".to_owned(), |spread| spread.show(decimals))
        };
        report.row(
            &COLUMNS,
            &[plugins.to_string(), show(mib, 1), show(each, 0), show(cpu, 3), show(started, 0)],
        )?;
        values.push(json!({
            "server": plural(plugins), "plugins": plugins, "mib": mib, "kib_per_further_plugin": each,
            "cpu_us_per_message": cpu, "started_ms": started,
        }));
        if let Some(cpu) = cpu.filter(|_| plugins != first) {
            ratios.push((plugins, cpu.median / base_cpu.median));
        }
    }
    report.line("")?;
    for (plugins, ratio) in &ratios {
        report.line(&format!("{plugins} plugins / {first}, CPU µs/message: {ratio:.3}"))?;
    }
    report.set("summary", values);
    let ratio = |(plugins, ratio): &(u32, f64)| {
        json!({
            "of": plural(*plugins), "to": plural(first), "figure": "cpu_us_per_message",
            "heading": "CPU µs/message", "medians": ratio,
        })
    };
    report.set("ratios", ratios.iter().map(ratio).collect::<Vec<_>>());
    describe(FIGURES, report);
    Ok(())
}

fn plural(plugins: u32) -> String {
    format!("{plugins} plugin{}", if plugins == 1 { "" } else { "s" })
}
