//! Latency of one channel's steady messages while the handlers of another channel compute.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare};
use crate::crowd::{Crowd, Pace, Plan};
use crate::frame::{self, Opcode};
use crate::handshake;
use crate::report::Report;
use crate::server::{Contestant, Kind, Server};
use crate::setting::Setting;
use crate::statistics::percentile_us;

const EXPLANATION: &str = "\
Each of the other channel's handlers computes without end, in an instance of its own. Messages \
leave on schedule, and their latency counts from the time at which they should have left. The \
quiet figures are those of the same messages before the handlers begin.";

/// The mask of the message that starts a handler.
const MASK: [u8; 4] = [0x51, 0x0e, 0xa7, 0x3c];

/// Time for all handlers to have begun.
const BEGIN: Duration = Duration::from_millis(500);

/// The load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Handlers of the other channel that compute
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1000))]
    handlers: u32,

    /// Messages a second over all connections
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// Connections that send
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,

    /// Length of each part of a round, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("quiet p50 µs", "quiet_p50_us", 0),
    Figure::shown("quiet p99 µs", "quiet_p99_us", 0),
    Figure::compared("p50 µs", "p50_us", 0),
    Figure::compared("p99 µs", "p99_us", 0),
    Figure::shown("max µs", "max_us", 0),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or a message is lost.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report
        .begin("spin", "latency while another channel computes, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} messages/s over {} connections, open loop; {} handlers of another channel that \
         compute without end",
        options.rate, options.connections, options.handlers
    ))?;
    report.set("options", options);
    let spins = artefact::fixture(None, "spins")?;
    // The handlers must not end before the round does.
    let budget = 1000 * (2 * options.seconds + 60);
    let flags = [
        format!("--cpu-budget-ms={budget}"),
        format!("--wall-budget-ms={budget}"),
        format!("--max-instances={}", options.handlers + options.connections + 1),
        format!("--max-instances-per-channel={}", options.handlers),
        "--drain-timeout-ms=100".to_owned(),
    ];
    let hosts = [Kind::Wharf, Kind::WharfBaseline, Kind::WharfTwoWorkers];
    let peers = Kind::value_variants().iter().filter(|kind| !hosts.contains(kind));
    let left_out: Vec<_> = peers.map(|&kind| (kind, "it has no channels of plugins")).collect();
    let mut stage = options.setting.prepare_without(&left_out, "echo", &flags, report)?;
    for contestant in &mut stage.contestants {
        if let Contestant::Host(host) = contestant {
            host.plugins.push(spins.clone());
        }
    }
    compare(&stage, FIGURES, report, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> anyhow::Result<Figures> {
    let mut crowd =
        Crowd::open(server.address(), Plan::alone(options.connections), |_| "/echo".to_owned())?;
    let pace = Pace::Open { rate: f64::from(options.rate) };
    let messages = u64::from(options.rate) * u64::from(options.seconds);
    crowd.run(u64::from(options.rate), pace, false).context("warming up")?;
    let quiet = crowd.run(messages, pace, false)?.latencies;

    // All are there before the first begins: they would wait for those that compute.
    let open = |_| handshake::open(server.address(), "/spins");
    let mut handlers = (0..options.handlers).map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let start = frame::encode(Opcode::Text, b"spin", MASK);
    for handler in &mut handlers {
        handler.stream.write_all(&start).context("cannot write")?;
    }
    std::thread::sleep(BEGIN);
    let busy = crowd.run(messages, pace, false)?.latencies;
    ensure!(!quiet.is_empty() && !busy.is_empty(), "no message has come back");
    Ok(vec![
        percentile_us(&quiet, 50.0),
        percentile_us(&quiet, 99.0),
        percentile_us(&busy, 50.0),
        percentile_us(&busy, 99.0),
        percentile_us(&busy, 100.0),
    ])
}
