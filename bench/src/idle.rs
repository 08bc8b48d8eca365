//! Resident memory of the server per open connection.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::artefact;
use crate::generator::Generator;
use crate::message::STAMP_BYTES;
use crate::report::{Column, Report};
use crate::server::{Host, Kind, Server};
use crate::statistics::Spread;

const EXPLANATION: &str = "\
Memory is the Rss of /proc/PID/smaps_rollup: the server's own, without the kernel's socket \
buffers. Before the first reading one connection has been opened and has had a message echoed, so \
that what a server allocates once is not counted. The connections are opened one after the other, \
by one address, so that the ports of a usual machine suffice for about 25,000. The host's \
keep-alive is switched off meanwhile.";

/// Files that a process has open beside its connections, generously.
const OTHER_FILES: u64 = 100;

/// How many connections, how often, and to whom.
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

    /// Fresh processes of each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Servers to measure
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
}

const COLUMNS: [Column; 5] = [
    ("server", 11),
    ("round", 5),
    ("MiB before", 10),
    ("KiB/connection", 14),
    ("after a message", 15),
];

const SUMMARY: [Column; 3] = [("server", 11), ("KiB/connection", 20), ("after a message", 20)];

/// One process of one server.
#[derive(Serialize)]
struct Round {
    server: Kind,
    round: u32,
    bytes_before: u64,
    bytes_per_connection: f64,
    bytes_per_connection_after_message: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    server: Kind,
    bytes_per_connection: Option<Spread>,
    bytes_per_connection_after_message: Option<Spread>,
}

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, a server fails, or the connections cannot all be opened.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    Kind::check_distinct(&options.servers)?;
    let host = match options.servers.contains(&Kind::Wharf) {
        true => Some(host(options)?),
        false => None,
    };
    allow_files(u64::from(options.connections) + OTHER_FILES)?;
    report.begin("idle", "resident memory of the server per open connection, 1 worker")?;
    report.line(&format!("load: {} connections", options.connections))?;
    if let Some(host) = &host {
        report.line(&format!("wharf: {}", host.describe()))?;
        report.set("host", host.describe());
        if host.looks_unoptimised() {
            report.note("the host is not optimised: `cargo build --release -p wharf-host`")?;
        }
    }
    report.set("options", options);

    let mut rounds = Vec::new();
    report.headings(&COLUMNS)?;
    for round in 1..=options.rounds {
        for &kind in &options.servers {
            report.progress(&format!("{} round {round} …", kind.name()));
            let measured = measure(options, kind, host.as_ref(), round)
                .with_context(|| format!("{}, round {round}", kind.name()))?;
            report.progress_done();
            report.row(
                &COLUMNS,
                &[
                    kind.name().to_owned(),
                    round.to_string(),
                    format!("{:.1}", measured.bytes_before as f64 / 1024.0 / 1024.0),
                    format!("{:.2}", measured.bytes_per_connection / 1024.0),
                    match measured.bytes_per_connection_after_message {
                        Some(bytes) => format!("{:.2}", bytes / 1024.0),
                        None => "-".to_owned(),
                    },
                ],
            )?;
            rounds.push(measured);
        }
    }
    report.set("rounds", &rounds);
    summarise(options, &rounds, report)
}

fn host(options: &Options) -> anyhow::Result<Host> {
    let connections = u64::from(options.connections) + OTHER_FILES;
    let mut flags = vec![
        format!("--max-connections={connections}"),
        // A day: silent connections are what is measured.
        "--keep-alive-interval-ms=86400000".to_owned(),
    ];
    flags.extend(options.host_flag.iter().cloned());
    Ok(Host {
        program: artefact::host(options.host.as_deref())?,
        plugin: artefact::plugin(options.plugin.as_deref(), "echo")?,
        flags,
    })
}

/// Raises the limit of open files, of this process and so of the servers that it starts.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "a process may have {} files open here, and this takes {wanted}: ask for fewer \
         --connections, or raise the limit (`ulimit -Hn`)",
        limit.maximum.unwrap_or_default()
    );
    let raised = Rlimit { current: Some(wanted), ..limit };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

fn measure(
    options: &Options,
    kind: Kind,
    host: Option<&Host>,
    round: u32,
) -> anyhow::Result<Round> {
    let server = Server::start(kind, host, None)?;
    let open = |connections| {
        let size = options.size as usize;
        Generator::open(server.address(), "/echo", connections, size)
    };
    let load = || {
        let mut first = open(1)?;
        first.run(1, 1)?;
        let before = server.process.settled_memory()?;
        let mut generator = open(options.connections as usize)?;
        let opened = server.process.settled_memory()?;
        let messaged = match options.after_message {
            true => {
                generator.run(u64::from(options.connections), 1)?;
                Some(server.process.settled_memory()?)
            }
            false => None,
        };
        Ok((before, opened, messaged))
    };
    let (before, opened, messaged) = load().map_err(|error| server.process.explain(error))?;
    let per_connection = |now: u64| (now as f64 - before as f64) / f64::from(options.connections);
    Ok(Round {
        server: kind,
        round,
        bytes_before: before,
        bytes_per_connection: per_connection(opened),
        bytes_per_connection_after_message: messaged.map(per_connection),
    })
}

fn summarise(options: &Options, rounds: &[Round], report: &mut Report) -> anyhow::Result<()> {
    let show = |spread: Option<Spread>| match spread {
        Some(bytes) => {
            let kib = [bytes.median, bytes.min, bytes.max].map(|bytes| bytes / 1024.0);
            format!("{:.2} ({:.2}–{:.2})", kib[0], kib[1], kib[2])
        }
        None => "-".to_owned(),
    };
    let mut summaries = Vec::new();
    report.headings(&SUMMARY)?;
    for &kind in &options.servers {
        let rounds = || rounds.iter().filter(|round| round.server == kind);
        let summary = Summary {
            server: kind,
            bytes_per_connection: Spread::of(rounds().map(|round| round.bytes_per_connection)),
            bytes_per_connection_after_message: Spread::of(
                rounds().filter_map(|round| round.bytes_per_connection_after_message),
            ),
        };
        report.row(
            &SUMMARY,
            &[
                kind.name().to_owned(),
                show(summary.bytes_per_connection),
                show(summary.bytes_per_connection_after_message),
            ],
        )?;
        summaries.push(summary);
    }
    report.set("summary", summaries);
    Ok(())
}
