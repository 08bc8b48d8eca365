//! CPU time of the server for a room's event whose state is kept on disk, beside one in memory only.

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare};
use crate::dialect::Dialect;
use crate::echo::exchange;
use crate::generator::Generator;
use crate::message::Messages;
use crate::report::Report;
use crate::server::{Contestant, Host, Server};
use crate::setting::HostSetting;

const EXPLANATION: &str = "\
Each connection is in a room of its own and posts its messages to it. The room's event counts them in \
the room's state and tells the room: one message in, one event with a changed state, one message out. \
The same program is measured with its data on disk, with the defaults of the host, and with data = \"\". \
The folder is in the system's folder for temporary files, which should be on the disk that is meant.";

/// Bytes of a message.
const SIZE: usize = 64;

/// The load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections, and rooms, that have a message under way at the same time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=5000))]
    connections: u32,

    /// Messages of each of the two, over all connections
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Messages before each that do not count
    #[arg(long, default_value_t = 50_000)]
    warm_up: u64,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("in memory CPU µs", "memory_cpu_us", 3),
    Figure::shown("on disk CPU µs", "disk_cpu_us", 3),
    Figure::shown("ratio", "ratio", 2),
    Figure::shown("on disk events/s", "disk_events_per_s", 0),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or an answer is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("kept", "server CPU per event of a room, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} rooms, 1 event at a time each, {SIZE} bytes, {} events of each after {} to warm up",
        options.connections, options.messages, options.warm_up
    ))?;
    report.set("options", options);
    let plugin = artefact::fixture(options.setting.plugin.as_deref(), "kept")?;
    let stage = options.setting.prepare_file(plugin, &[], report)?;
    let host = stage.contestants.iter().find_map(|contestant| match contestant {
        Contestant::Host(host) => Some(host.clone()),
        Contestant::Peer { .. } => None,
    });
    let mut in_memory = host.context("the host is not measured")?;
    in_memory.flags.push("--data=".to_owned());
    let core = stage.cores.server;
    compare(&stage, FIGURES, report, |server| measure(options, server, &in_memory, core))
}

fn measure(
    options: &Options,
    server: &Server,
    in_memory: &Host,
    core: usize,
) -> anyhow::Result<Figures> {
    let figures = |server: &Server| {
        let mut generator = Generator::open_each(
            server.address(),
            |number| format!("/kept/{number}"),
            options.connections as usize,
            |number| Messages::speaking(Dialect::Chat, number, SIZE),
        )?;
        exchange(&mut generator, server, options.warm_up, options.messages, 1)
    };
    let on_disk = figures(server)?;
    let in_memory = figures(&Server::start_host(in_memory, Some(1), Some(core))?)?;
    let (Some(disk), Some(memory)) = (on_disk.first(), in_memory.first()) else {
        anyhow::bail!("there is no figure");
    };
    let rate = on_disk.get(1).copied().context("there is no rate")?;
    ensure!(*memory > 0.0, "the host has used no CPU time");
    Ok(vec![*memory, *disk, disk / memory, rate])
}
