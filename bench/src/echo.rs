//! CPU time of the server per echoed message.
//!
//! Each round has a fresh process, fresh connections and a warm-up that does not count. The servers
//! take turns, so that a change of the machine affects all of them. Nothing is in flight when the
//! CPU time is read, at the start or at the end.

use anyhow::Context;
use serde::Serialize;

use crate::comparison::{Figure, Figures, compare};
use crate::files;
use crate::generator::Generator;
use crate::message::STAMP_BYTES;
use crate::process::CpuTime;
use crate::report::Report;
use crate::server::Server;
use crate::setting::Setting;
use crate::statistics::percentile_us;
use crate::system_calls;

const EXPLANATION: &str = "\
CPU time is that of all threads of the server, user and system, from /proc/PID/task/*/schedstat. \
System calls are counted in a further run of a tenth of the messages, with perf, else strace. \
Every echo is checked: one that is lost, doubled, out of order or changed ends the run with an \
error. The ratio is that of the first server to each of the others: of their medians, and, in \
parentheses, the smallest and largest of the rounds'. Where the generator is busier than the \
server, throughput and latency are the generator's more than the server's.";

/// The load, and the servers that it goes to.
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

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::compared("CPU µs/message", "cpu_us_per_message", 3),
    Figure::shown("messages/s", "messages_per_second", 0),
    Figure::shown("p50 µs", "p50_us", 1),
    Figure::shown("p99 µs", "p99_us", 1),
    // CPU time of all of the server's threads divided by elapsed time, in per cent; and the same of
    // the generator. Near 100 it is the generator that limits the throughput.
    Figure::shown("server busy %", "server_busy_percent", 0),
    Figure::shown("generator busy %", "generator_busy_percent", 0),
    Figure::shown("generator µs/message", "generator_us_per_message", 3),
    Figure::shown("system calls/message", "system_calls_per_message", 3),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or an echo is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("echo", "server CPU per echoed message, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} connections, {} in flight each, {} bytes of text, {} messages a round after {} \
         to warm up",
        options.connections, options.in_flight, options.size, options.messages, options.warm_up
    ))?;
    report.set("options", options);
    let flags = files::allow_connections(options.connections)?;
    let stage = options.setting.prepare("echo", &flags, report)?;
    compare(&stage, FIGURES, report, |server| measure(options, server))?;
    system_calls::note(report)
}

fn measure(options: &Options, server: &Server) -> anyhow::Result<Figures> {
    let mut generator = Generator::open(
        server.address(),
        "/echo",
        server.dialect(),
        options.connections as usize,
        options.size as usize,
    )?;
    let in_flight = options.in_flight;
    let mut figures =
        exchange(&mut generator, server, options.warm_up, options.messages, in_flight)?;
    figures.push(server.process.system_calls_each(options.messages, |messages| {
        generator.run(messages, in_flight as usize)?;
        Ok(messages)
    })?);
    Ok(figures)
}

/// Returns the figures of `messages` messages, in the order of [`FIGURES`], without that of system
/// calls.
pub fn exchange(
    generator: &mut Generator,
    server: &Server,
    warm_up: u64,
    messages: u64,
    in_flight: u32,
) -> anyhow::Result<Figures> {
    generator.run(warm_up, in_flight as usize).context("warming up")?;
    let cpu_before = server.process.cpu_time()?;
    let own_before = CpuTime::of_this_thread()?;
    let measured = generator.run(messages, in_flight as usize)?;
    let cpu = server.process.cpu_time()?.since(&cpu_before).as_secs_f64();
    let own = CpuTime::of_this_thread()?.since(&own_before).as_secs_f64();
    let seconds = measured.elapsed.as_secs_f64();
    let messages = messages as f64;
    Ok(vec![
        cpu * 1e6 / messages,
        messages / seconds,
        percentile_us(&measured.latencies, 50.0),
        percentile_us(&measured.latencies, 99.0),
        100.0 * cpu / seconds,
        100.0 * own / seconds,
        own * 1e6 / messages,
    ])
}
