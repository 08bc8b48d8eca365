//! CPU time of the server per connection that comes and goes.

use anyhow::Context;
use serde::Serialize;

use crate::comparison::{Figure, Figures, compare};
use crate::files;
use crate::process::CpuTime;
use crate::report::Report;
use crate::server::Server;
use crate::setting::Setting;
use crate::statistics::percentile_us;
use crate::visitors::Visitors;

const EXPLANATION: &str = "\
Each connection is opened with the request of a browser (about 700 bytes), waits for the 101, \
sends a close frame, waits for the server's, and is reset, so that its port is free again at once. \
CPU time is that of all threads of the server for all of it: accept, handshake and close. Latency \
is the time from connecting to the 101. Of socket.io it is the connection that is measured, \
without the packets that join its namespace.";

/// Connections that are over for the client and not yet for the server; a generous estimate.
const STILL_CLOSING: u32 = 2000;

/// The load, and the servers that it goes to.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections of a round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Connections before each round that do not count
    #[arg(long, default_value_t = 5_000)]
    warm_up: u32,

    /// Connections that are open at the same time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=2000))]
    at_once: u32,

    /// The path to connect to
    #[arg(long, default_value = "/echo")]
    path: String,

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::compared("CPU µs/connection", "cpu_us_per_connection", 1),
    Figure::shown("connections/s", "connections_per_second", 0),
    Figure::shown("p50 µs", "p50_us", 0),
    Figure::shown("p99 µs", "p99_us", 0),
    Figure::shown("server busy %", "server_busy_percent", 0),
    Figure::shown("generator µs/connection", "generator_us_per_connection", 1),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or it refuses a connection.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("storm", "server CPU per connection opened and closed, median (min–max)")?;
    report.line(&format!(
        "load: {} connections a round after {} to warm up, {} at once",
        options.connections, options.warm_up, options.at_once
    ))?;
    report.set("options", options);
    // Connections that a server has not closed yet count as open, too.
    let flags = files::allow_connections(options.at_once + STILL_CLOSING)?;
    let stage = options.setting.prepare("echo", &flags, report)?;
    compare(&stage, FIGURES, report, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> anyhow::Result<Figures> {
    let target = server.dialect().target(&options.path);
    let mut visitors = Visitors::new(server.address(), &target, options.at_once as usize)?;
    visitors.run(options.warm_up).context("warming up")?;
    let cpu_before = server.process.cpu_time()?;
    let own_before = CpuTime::of_this_thread()?;
    let round = visitors.run(options.connections)?;
    let cpu = server.process.cpu_time()?.since(&cpu_before).as_secs_f64();
    let own = CpuTime::of_this_thread()?.since(&own_before).as_secs_f64();
    let seconds = round.elapsed.as_secs_f64();
    let connections = f64::from(options.connections);
    Ok(vec![
        cpu * 1e6 / connections,
        connections / seconds,
        percentile_us(&round.latencies, 50.0),
        percentile_us(&round.latencies, 99.0),
        100.0 * cpu / seconds,
        own * 1e6 / connections,
    ])
}
