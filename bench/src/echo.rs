//! CPU time of the server per echoed message.
//!
//! Each round has a fresh process, fresh connections and a warm-up that does not count; the
//! servers take turns, so that what changes on the machine changes for all of them. Nothing is
//! in flight when the CPU time is read, at the start as at the end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::artefact;
use crate::cores::{self, Cores};
use crate::generator::Generator;
use crate::message::STAMP_BYTES;
use crate::process::CpuTime;
use crate::report::{Column, Report};
use crate::server::{Host, Kind, Server};
use crate::statistics::{Spread, percentile};

const EXPLANATION: &str = "\
CPU time is that of all threads of the server, user and system, from /proc/PID/task/*/schedstat. \
Every echo is checked: one that is lost, doubled, out of order or changed ends the run with an \
error. The ratio is that of the first server to each of the others: of their medians, and, in \
parentheses, the smallest and largest of the rounds'. Where the generator is busier than the \
server, throughput and latency are the generator's more than the server's.";

/// What is sent, how often, and to whom.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections that send at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,

    /// Messages that each connection has in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,

    /// Size of a message, in bytes of text
    #[arg(
        long, default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    size: u32,

    /// Messages of a round, over all connections
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Messages before each round that do not count
    #[arg(long, default_value_t = 50_000)]
    warm_up: u64,

    /// Rounds of each server
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Servers to measure; the others are compared with the first
    #[arg(long, value_enum, value_delimiter = ',', default_value = "wharf,tungstenite")]
    servers: Vec<Kind>,

    /// The host's program [default: target/release/wharf]
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,

    /// A plugin that echoes at /echo [default: target/plugins/echo.wasm]
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,

    /// A further flag of `wharf serve`, such as --host-flag=--log=warn; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    host_flag: Vec<String>,

    /// The server's core [default: the first]
    #[arg(long, value_name = "NUMBER")]
    server_core: Option<usize>,

    /// The generator's core [default: the next]
    #[arg(long, value_name = "NUMBER")]
    generator_core: Option<usize>,
}

const COLUMNS: [Column; 8] = [
    ("server", 11),
    ("round", 5),
    ("CPU µs/message", 14),
    ("messages/s", 10),
    ("p50 µs", 8),
    ("p99 µs", 8),
    ("server busy", 11),
    ("generator busy", 14),
];

const SUMMARY: [Column; 5] =
    [("server", 11), ("CPU µs/message", 22), ("messages/s", 24), ("p50 µs", 22), ("p99 µs", 22)];

/// One round of one server.
#[derive(Clone, Serialize)]
struct Round {
    server: Kind,
    round: u32,
    cpu_us_per_message: f64,
    messages_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// CPU time by time, of all of the server's threads.
    server_busy: f64,
    /// The same of the generator. Near 1 it is the generator that limits the throughput.
    generator_busy: f64,
}

#[derive(Serialize)]
struct Summary {
    server: Kind,
    cpu_us_per_message: Spread,
    messages_per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

#[derive(Serialize)]
struct Ratio {
    of: Kind,
    to: Kind,
    cpu_medians: f64,
    cpu_rounds: Spread,
}

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or an echo is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    Kind::check_distinct(&options.servers)?;
    let host = match options.servers.contains(&Kind::Wharf) {
        true => Some(Host {
            program: artefact::host(options.host.as_deref())?,
            plugin: artefact::plugin(options.plugin.as_deref(), "echo")?,
            flags: options.host_flag.clone(),
        }),
        false => None,
    };
    let cores = Cores::choose(options.server_core, options.generator_core)?;
    describe(options, host.as_ref(), cores, report)?;
    cores::stay_on(cores.generator)?;

    let mut rounds = Vec::new();
    report.headings(&COLUMNS)?;
    for round in 1..=options.rounds {
        for &kind in &options.servers {
            report.progress(&format!("{} round {round} …", kind.name()));
            let measured = measure(options, kind, host.as_ref(), cores, round)
                .with_context(|| format!("{}, round {round}", kind.name()))?;
            report.progress_done();
            report.row(
                &COLUMNS,
                &[
                    kind.name().to_owned(),
                    round.to_string(),
                    format!("{:.3}", measured.cpu_us_per_message),
                    format!("{:.0}", measured.messages_per_second),
                    format!("{:.1}", measured.p50_us),
                    format!("{:.1}", measured.p99_us),
                    format!("{:.0}%", 100.0 * measured.server_busy),
                    format!("{:.0}%", 100.0 * measured.generator_busy),
                ],
            )?;
            rounds.push(measured);
        }
    }
    report.set("rounds", &rounds);
    summarise(options, &rounds, report)
}

fn describe(
    options: &Options,
    host: Option<&Host>,
    cores: Cores,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.begin("echo", "server CPU per echoed message, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} connections, {} in flight each, {} bytes of text, {} messages a round after {} \
         to warm up",
        options.connections, options.in_flight, options.size, options.messages, options.warm_up
    ))?;
    report.line(&format!(
        "servers: 1 worker, on core {}; generator on core {}; a fresh process each round",
        cores.server, cores.generator
    ))?;
    if let Some(host) = host {
        report.line(&format!("wharf: {}", host.describe()))?;
        report.set("host", host.describe());
        if host.looks_unoptimised() {
            report.note("the host is not optimised: `cargo build --release -p wharf-host`")?;
        }
    }
    if cores.are_shared() {
        report.note(
            "server and generator share one core: CPU per message is higher than it would be, \
             latency and throughput say nothing",
        )?;
    }
    report.set("options", options);
    Ok(())
}

fn measure(
    options: &Options,
    kind: Kind,
    host: Option<&Host>,
    cores: Cores,
    round: u32,
) -> anyhow::Result<Round> {
    let server = Server::start(kind, host, Some(cores.server))?;
    let in_flight = options.in_flight as usize;
    let exchange = || {
        let mut generator = Generator::open(
            server.address(),
            "/echo",
            options.connections as usize,
            options.size as usize,
        )?;
        generator.run(options.warm_up, in_flight).context("warming up")?;
        let cpu_before = server.process.cpu_time()?;
        let own_before = CpuTime::of_this_thread()?;
        let measured = generator.run(options.messages, in_flight)?;
        let cpu = server.process.cpu_time()?.since(&cpu_before);
        let own = CpuTime::of_this_thread()?.since(&own_before);
        Ok((measured, cpu, own))
    };
    let (measured, cpu, own) = exchange().map_err(|error| server.process.explain(error))?;
    let latency_us = |percent| {
        percentile(&measured.latencies, percent).map_or(f64::NAN, |ns| f64::from(ns) / 1e3)
    };
    let seconds = measured.elapsed.as_secs_f64();
    let busy = |cpu: Duration| cpu.as_secs_f64() / seconds;
    Ok(Round {
        server: kind,
        round,
        cpu_us_per_message: cpu.as_secs_f64() * 1e6 / options.messages as f64,
        messages_per_second: options.messages as f64 / seconds,
        p50_us: latency_us(50.0),
        p99_us: latency_us(99.0),
        server_busy: busy(cpu),
        generator_busy: busy(own),
    })
}

fn summarise(options: &Options, rounds: &[Round], report: &mut Report) -> anyhow::Result<()> {
    let of = |kind: Kind, figure: fn(&Round) -> f64| -> Vec<f64> {
        let rounds = rounds.iter().filter(|round| round.server == kind);
        rounds.map(figure).collect()
    };
    let spread = |kind, figure| Spread::of(of(kind, figure));
    let summary = |kind| {
        Some(Summary {
            server: kind,
            cpu_us_per_message: spread(kind, |round| round.cpu_us_per_message)?,
            messages_per_second: spread(kind, |round| round.messages_per_second)?,
            p50_us: spread(kind, |round| round.p50_us)?,
            p99_us: spread(kind, |round| round.p99_us)?,
        })
    };
    let summaries: Vec<Summary> = options.servers.iter().copied().filter_map(summary).collect();
    report.headings(&SUMMARY)?;
    for summary in &summaries {
        report.row(
            &SUMMARY,
            &[
                summary.server.name().to_owned(),
                summary.cpu_us_per_message.show(3),
                summary.messages_per_second.show(0),
                summary.p50_us.show(1),
                summary.p99_us.show(1),
            ],
        )?;
    }
    report.line("")?;
    let mut ratios = Vec::new();
    if let [first, others @ ..] = &summaries[..] {
        for other in others {
            let ours = of(first.server, |round| round.cpu_us_per_message);
            let theirs = of(other.server, |round| round.cpu_us_per_message);
            let each = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
            let Some(cpu_rounds) = Spread::of(each) else {
                continue;
            };
            let ratio = Ratio {
                of: first.server,
                to: other.server,
                cpu_medians: first.cpu_us_per_message.median / other.cpu_us_per_message.median,
                cpu_rounds,
            };
            report.line(&format!(
                "{} / {}: {:.3} times the CPU per message ({:.3}–{:.3})",
                first.server.name(),
                other.server.name(),
                ratio.cpu_medians,
                ratio.cpu_rounds.min,
                ratio.cpu_rounds.max
            ))?;
            ratios.push(ratio);
        }
    }
    report.set("summary", summaries);
    report.set("ratios", ratios);
    Ok(())
}
