//! CPU time of the server per delivery in rooms, and the time that deliveries take.

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::comparison::{Figure, Figures, compare};
use crate::crowd::{Arrived, Crowd, Pace, Plan};
use crate::dialect::Dialect;
use crate::files;
use crate::message::STAMP_BYTES;
use crate::process::CpuTime;
use crate::report::Report;
use crate::server::Server;
use crate::setting::Setting;
use crate::statistics::percentile_us;
use crate::system_calls;

const EXPLANATION: &str = "\
A delivery is one message to one member. Each is checked: a message that is lost, doubled, \
changed, or in another order for one member than for another ends the run with an error. Without \
--rate the loop is closed: a sender's next message goes out when all members have the last one, \
or with --arrived own as soon as it has its own copy. With --rate messages leave on schedule, \
whatever the server does, and latency counts from the time at which a message should have left. \
CPU time is that of all threads of the server. System calls are counted in a further run of a \
tenth of the deliveries, with perf, else strace.";

/// The job that supplies the figures that are not given.
#[derive(Clone, Copy)]
pub enum Preset {
    /// One large room.
    Fanout,
    /// Many small rooms.
    Rooms,
}

/// The load, and the servers that it goes to.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Rooms [default: 1; of the job `rooms`: 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rooms: Option<u32>,

    /// Members of each room [default: 1000; of the job `rooms`: 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    members: Option<u32>,

    /// Members of each room that send [default: 8; of the job `rooms`: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    senders: Option<u32>,

    /// Messages that each sender has in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,

    /// The condition under which a sender's next message follows
    #[arg(long, value_enum, default_value = "all")]
    arrived: Arrived,

    /// Messages a second over all senders, instead of a number in flight
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,

    /// Size of a message, in bytes of text
    #[arg(
        long, default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    size: u32,

    /// Deliveries of a round, over all members
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: u64,

    /// Deliveries before each round that do not count
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    warm_up: u64,

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::compared("CPU µs/delivery", "cpu_us_per_delivery", 3),
    Figure::shown("deliveries/s", "deliveries_per_second", 0),
    Figure::shown("p50 µs", "p50_us", 0),
    Figure::compared("p99 µs", "p99_us", 0),
    Figure::shown("server busy %", "server_busy_percent", 0),
    Figure::shown("wake-ups/delivery", "wake_ups_per_delivery", 3),
    // In open loop the generator spins, and this figure says nothing.
    Figure::shown("generator µs/delivery", "generator_us_per_delivery", 3),
    // In open loop, the most that the generator itself adds to a latency.
    Figure::shown("latest send µs", "latest_send_us", 0),
    Figure::shown("system calls/delivery", "system_calls_per_delivery", 3),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or a delivery is wrong.
pub fn run(options: &Options, preset: Preset, report: &mut Report) -> anyhow::Result<()> {
    let (name, rooms, members, senders) = match preset {
        Preset::Fanout => ("fanout", 1, 1000, 8),
        Preset::Rooms => ("rooms", 100, 10, 1),
    };
    let plan = Plan {
        rooms: options.rooms.unwrap_or(rooms) as usize,
        members: options.members.unwrap_or(members) as usize,
        senders: options.senders.unwrap_or(senders) as usize,
        size: options.size as usize,
        dialect: Dialect::Plain,
    };
    ensure!(plan.senders <= plan.members, "a room cannot have more --senders than --members");
    let pace = match options.rate {
        Some(rate) => Pace::Open { rate: f64::from(rate) },
        None => Pace::Closed { in_flight: options.in_flight as usize, arrived: options.arrived },
    };
    report.begin(name, "server CPU per delivery, median (min–max) of the rounds")?;
    let loop_ = match pace {
        Pace::Open { rate } => format!("open loop, {rate} messages/s in all"),
        Pace::Closed { in_flight, arrived } => {
            format!("closed loop, {in_flight} in flight each, arrived: {arrived:?}")
        }
    };
    report.line(&format!(
        "load: rooms {}, members of each {}, senders among them {}; {loop_}; {} bytes of text, \
         {} deliveries a round after {} to warm up",
        plan.rooms, plan.members, plan.senders, plan.size, options.deliveries, options.warm_up
    ))?;
    report.set("options", options);
    let connections = u32::try_from(plan.rooms * plan.members).context("too many members")?;
    let flags = files::allow_connections(connections)?;
    let stage = options.setting.prepare("relay", &flags, report)?;
    compare(&stage, FIGURES, report, |server| measure(options, plan, pace, server))?;
    system_calls::note(report)
}

fn measure(options: &Options, plan: Plan, pace: Pace, server: &Server) -> anyhow::Result<Figures> {
    let messages = |deliveries: u64| deliveries.div_ceil(plan.members as u64);
    let plan = Plan { dialect: server.dialect(), ..plan };
    let mut crowd = Crowd::open(server.address(), plan, |room| format!("/room/{room}"))?;
    crowd.run(messages(options.warm_up), pace, false).context("warming up")?;
    let cpu_before = server.process.cpu_time()?;
    let wake_ups_before = server.process.wake_ups()?;
    let own_before = CpuTime::of_this_thread()?;
    let round = crowd.run(messages(options.deliveries), pace, false)?;
    let cpu = server.process.cpu_time()?.since(&cpu_before).as_secs_f64();
    let wake_ups = server.process.wake_ups()?.saturating_sub(wake_ups_before);
    let own = CpuTime::of_this_thread()?.since(&own_before).as_secs_f64();
    let seconds = round.elapsed.as_secs_f64();
    let deliveries = round.latencies.len() as f64;
    let system_calls = server.process.system_calls_each(options.deliveries, |deliveries| {
        let round = crowd.run(messages(deliveries), pace, false)?;
        Ok(round.latencies.len() as u64)
    })?;
    let is_open = matches!(pace, Pace::Open { .. });
    Ok(vec![
        cpu * 1e6 / deliveries,
        deliveries / seconds,
        percentile_us(&round.latencies, 50.0),
        percentile_us(&round.latencies, 99.0),
        100.0 * cpu / seconds,
        wake_ups as f64 / deliveries,
        if is_open { f64::NAN } else { own * 1e6 / deliveries },
        if is_open { round.latest_send.as_secs_f64() * 1e6 } else { f64::NAN },
        system_calls,
    ])
}
