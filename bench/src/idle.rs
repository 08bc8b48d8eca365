//! Resident memory of the server per open connection.

use serde::Serialize;

use crate::comparison::{Figure, Figures, compare};
use crate::files;
use crate::generator::Generator;
use crate::message::STAMP_BYTES;
use crate::report::Report;
use crate::server::Server;
use crate::setting::Setting;

const EXPLANATION: &str = "\
Memory is the Rss of /proc/PID/smaps_rollup: the server's own, without the kernel's socket \
buffers. Before the first reading one connection has been opened and has had a message echoed, so \
that what a server allocates once is not counted. The connections are opened one after the other, \
by one address, so that the ports of a usual machine suffice for about 25,000, each with the 700 \
bytes of headers that a browser sends. The host's keep-alive is switched off meanwhile.";

/// The number of connections, and the servers that they go to.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections that are open at the same time
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,

    /// Also send one message on each connection, all at once, and read the memory again
    #[arg(long)]
    after_message: bool,

    /// Size of that message, in bytes of text
    #[arg(
        long, default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576)
    )]
    size: u32,

    /// The path to connect to
    #[arg(long, default_value = "/echo")]
    path: String,

    #[command(flatten)]
    setting: Setting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("MiB before", "mib_before", 1),
    Figure::shown("bytes/connection", "bytes_per_connection", 0),
    Figure::compared("after a message", "bytes_per_connection_after_message", 0),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or the connections cannot all be opened.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("idle", "resident memory of the server per open connection")?;
    report.line(&format!("load: {} connections", options.connections))?;
    report.set("options", options);
    let mut flags = files::allow_connections(options.connections)?;
    // A day, since the connections stay silent.
    flags.push("--keep-alive-interval-ms=86400000".to_owned());
    let stage = options.setting.prepare("echo", &flags, report)?;
    compare(&stage, FIGURES, report, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> anyhow::Result<Figures> {
    let open = |connections| {
        let size = options.size as usize;
        Generator::open(server.address(), &options.path, server.dialect(), connections, size)
    };
    let mut first = open(1)?;
    first.run(1, 1)?;
    let before = server.process.settled_memory()?;
    let per_connection = |now: u64| (now as f64 - before as f64) / f64::from(options.connections);
    let mut generator = open(options.connections as usize)?;
    let opened = per_connection(server.process.settled_memory()?);
    let messaged = match options.after_message {
        true => {
            generator.run(u64::from(options.connections), 1)?;
            per_connection(server.process.settled_memory()?)
        }
        false => f64::NAN,
    };
    Ok(vec![before as f64 / 1024.0 / 1024.0, opened, messaged])
}
