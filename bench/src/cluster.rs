//! Time and CPU of deliveries from one host of a cluster to members on others.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare_starts};
use crate::crowd::{Crowd, Pace, Plan};
use crate::files;
use crate::message::STAMP_BYTES;
use crate::process::CpuTime;
use crate::redis::Redis;
use crate::report::Report;
use crate::server::{Contestant, Host, Server};
use crate::setting::HostSetting;
use crate::statistics::percentile_us;

const EXPLANATION: &str = "\
The senders, one in each room, are on the first host, and all other members on the others. Messages leave on \
schedule, and each delivery is checked, as in the job `rooms`. Meanwhile another client publishes a message of the same \
size to itself through the same Redis, 200 times a second: that is the engine's own round trip. The CPU time of a delivery is that \
of the receiving hosts, and beside it that of one host without a cluster, which has the senders as well. All hosts \
run on the server's core, and Redis and the clients on the other one. On a machine with two cores latencies are those of a crowd.";

/// Messages of a round that do not count.
const WARM_UP: u64 = 500;

/// The load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=9))]
    nodes: u32,

    /// Rooms
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rooms: u32,

    /// Members of each room
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=100))]
    members: u32,

    /// Messages a second over all senders
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Messages of a round
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Size of a message, in bytes of text
    #[arg(
        long, default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    size: u32,

    /// The program redis-server
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis: PathBuf,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("p50 µs", "p50_us", 0),
    Figure::shown("p99 µs", "p99_us", 0),
    Figure::shown("engine p50 µs", "engine_p50_us", 0),
    Figure::shown("engine p99 µs", "engine_p99_us", 0),
    Figure::shown("alone p50 µs", "alone_p50_us", 0),
    Figure::shown("alone p99 µs", "alone_p99_us", 0),
    Figure::shown("CPU µs/delivery", "cpu_us_per_delivery", 3),
    Figure::shown("alone CPU µs/delivery", "alone_cpu_us_per_delivery", 3),
    Figure::shown("publishes/broadcast", "publishes_per_broadcast", 2),
    Figure::shown("hosts that get it", "hosts_per_broadcast", 2),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a host fails, or a delivery is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report
        .begin("cluster", "deliveries to members on other hosts, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} hosts, {} rooms, {} members of each, {} messages/s of {} bytes in all, {} a round",
        options.nodes, options.rooms, options.members, options.rate, options.size, options.messages
    ))?;
    report.set("options", options);
    let flags = files::allow_connections(options.rooms * options.members)?;
    let plugin = artefact::plugin(options.setting.plugin.as_deref(), "relay")?;
    let stage = options.setting.prepare_file(plugin, &flags, report)?;
    let core = stage.cores.server;
    compare_starts(&stage, FIGURES, report, |contestant| match contestant {
        Contestant::Host(host) => measure(options, host, core),
        Contestant::Peer { .. } => bail!("only the host has clusters"),
    })
}

fn measure(options: &Options, host: &Host, core: usize) -> anyhow::Result<Figures> {
    let plan = Plan {
        rooms: options.rooms as usize,
        members: options.members as usize,
        senders: 1,
        size: options.size as usize,
        dialect: crate::dialect::Dialect::Plain,
    };
    let pace = Pace::Open { rate: f64::from(options.rate) };
    let path = |room: usize| format!("/room/{room}");
    let alone = {
        let server = Server::start_host(host, Some(1), Some(core))?;
        let mut crowd = Crowd::open(server.address(), plan, path)?;
        crowd.run(WARM_UP, pace, false).context("warming up")?;
        let before = server.process.cpu_time()?;
        let round = crowd.run(options.messages, pace, false)?;
        let cpu = server.process.cpu_time()?.since(&before).as_secs_f64();
        let percentiles = [50.0, 99.0].map(|percent| percentile_us(&round.latencies, percent));
        (cpu * 1e6 / round.latencies.len() as f64, percentiles)
    };
    let (alone, alone_latencies) = alone;
    let redis = Redis::start(&options.redis)?;
    let start = |node: u32| {
        let mut host = host.clone();
        host.flags.extend([
            format!("--cluster={}", redis.url()),
            format!("--node-name=node-{node}"),
            "--data=".to_owned(),
        ]);
        Server::start_host(&host, Some(1), Some(core))
    };
    let nodes = (0..options.nodes).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let receiving = nodes.get(1..).filter(|nodes| !nodes.is_empty()).context("one host only")?;
    let first = nodes.first().context("no host")?.address();
    let address = |number: usize| match number / plan.rooms {
        0 => first,
        other => receiving.get((other - 1) % receiving.len()).map_or(first, Server::address),
    };
    let mut crowd = Crowd::open_at(address, plan, path)?;
    crowd.run(WARM_UP, pace, false).context("warming up")?;
    let cpu = || -> anyhow::Result<Vec<CpuTime>> {
        receiving.iter().map(|node| node.process.cpu_time()).collect()
    };
    let (before, published) = (cpu()?, redis.published()?);
    let round = crowd.run(options.messages, pace, false)?;
    let published = redis.published()?.saturating_sub(published);
    let after = cpu()?;
    let hosts = redis.subscribers("room:")?;
    ensure!(hosts.len() == plan.rooms, "{} topics, not {}", hosts.len(), plan.rooms);
    let spent = after.iter().zip(&before).map(|(after, before)| after.since(before).as_secs_f64());
    let elsewhere = options.messages * (u64::from(options.members) - 1);
    let cpu = spent.sum::<f64>() * 1e6 / elsewhere as f64;
    // A round of its own, so that the probe's messages are not among those that are counted.
    let probe = redis.probe(plan.size)?;
    crowd.run(options.messages, pace, false)?;
    let engine = probe.end()?;
    ensure!(!engine.is_empty(), "the probe has no answer");
    let percentiles = [50.0, 99.0];
    let ours = percentiles.map(|percent| percentile_us(&round.latencies, percent));
    let engines = percentiles.map(|percent| percentile_us(&engine, percent));
    Ok(vec![
        ours[0],
        ours[1],
        engines[0],
        engines[1],
        alone_latencies[0],
        alone_latencies[1],
        cpu,
        alone,
        published as f64 / options.messages as f64,
        hosts.iter().sum::<u64>() as f64 / hosts.len().max(1) as f64,
    ])
}
