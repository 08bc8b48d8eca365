//! CPU time of the server for the traffic of a chat: people who type and speak in many rooms, and
//! others who come, listen and go.

mod party;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::comparison::{Figure, Figures, compare};
use crate::files;
use crate::message::STAMP_BYTES;
use crate::report::Report;
use crate::server::{Kind, Server};
use crate::setting::Setting;
use crate::statistics::percentile_us;
use crate::system_calls;
use party::{Party, Plan};

const EXPLANATION: &str = "\
Members speak in turn, on schedule, whatever the server does: that they type, what they say, and \
that they type no more; two small messages and a larger one. All members of the room receive \
each of them. Each room has a seat for visitors: one comes, which is a handshake and a join, \
listens, and goes, which is a close, and then the next one comes. Every delivery to a member is \
checked as in the job `rooms`; those to a visitor must be without a gap from the first message \
that was sent after it was inside, in the order of the members. CPU time is that of all threads \
of the server, visitors included, and latency that of deliveries to members, from the time at \
which a message should have left.";

/// The load, and the servers that it goes to.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Rooms
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rooms: u32,

    /// Members of each room that stay
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=5000))]
    members: u32,

    /// Messages a second over all members
    #[arg(long, value_name = "PER SECOND", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,

    /// Visitors that come in a second, over all rooms
    #[arg(long, value_name = "PER SECOND", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    visits: u32,

    /// Size of a message, in bytes of text
    #[arg(
        long, default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    size: u32,

    /// Size of a typing notice, in bytes of text; must differ from --size
    #[arg(
        long, default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    typing_size: u32,

    /// Messages of a round, over all members
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Messages before each round that do not count
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    warm_up: u64,

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::compared("CPU µs/message", "cpu_us_per_message", 2),
    Figure::compared("CPU µs/delivery", "cpu_us_per_delivery", 3),
    Figure::shown("deliveries/s", "deliveries_per_second", 0),
    Figure::shown("p50 µs", "p50_us", 0),
    Figure::compared("p99 µs", "p99_us", 0),
    Figure::shown("server busy %", "server_busy_percent", 0),
    Figure::shown("visits/s", "visits_per_second", 0),
    // The most that the generator itself adds to a latency.
    Figure::shown("latest send µs", "latest_send_us", 0),
    Figure::shown("system calls/delivery", "system_calls_per_delivery", 3),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or a delivery is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    ensure!(options.size != options.typing_size, "--size and --typing-size must differ");
    let plan = Plan {
        rooms: options.rooms as usize,
        members: options.members as usize,
        size: options.size as usize,
        typing_size: options.typing_size as usize,
        rate: f64::from(options.rate),
        visits: f64::from(options.visits),
    };
    report.begin("mixed", "server CPU of a chat, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: rooms {}, members of each {}; open loop, {} messages/s in all, of {} bytes, {} and \
         {}; {} visitors/s; {} messages a round after {} to warm up",
        plan.rooms,
        plan.members,
        options.rate,
        plan.typing_size,
        plan.size,
        plan.typing_size,
        options.visits,
        options.messages,
        options.warm_up
    ))?;
    report.set("options", options);
    let connections = options.rooms.checked_mul(options.members + 2);
    let flags = files::allow_connections(connections.context("too many members")?)?;
    let speaks_otherwise = (Kind::SocketIo, "this job does not speak its protocol");
    let stage = options.setting.prepare_without(&[speaks_otherwise], "relay", &flags, report)?;
    compare(&stage, FIGURES, report, |server| measure(options, plan, server))?;
    system_calls::note(report)
}

fn measure(options: &Options, plan: Plan, server: &Server) -> anyhow::Result<Figures> {
    let mut party = Party::open(server.address(), plan)?;
    party.run(options.warm_up).context("warming up")?;
    let cpu_before = server.process.cpu_time()?;
    let round = party.run(options.messages)?;
    let cpu = server.process.cpu_time()?.since(&cpu_before).as_secs_f64();
    let seconds = round.elapsed.as_secs_f64();
    let deliveries = round.latencies.len() as f64 + round.overheard as f64;
    let system_calls = server.process.system_calls_each(options.messages, |messages| {
        let round = party.run(messages)?;
        Ok(round.latencies.len() as u64 + round.overheard)
    })?;
    Ok(vec![
        cpu * 1e6 / options.messages as f64,
        cpu * 1e6 / deliveries,
        deliveries / seconds,
        percentile_us(&round.latencies, 50.0),
        percentile_us(&round.latencies, 99.0),
        100.0 * cpu / seconds,
        round.visits as f64 / seconds,
        round.latest_send.as_secs_f64() * 1e6,
        system_calls,
    ])
}
