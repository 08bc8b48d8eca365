//! `wharf-bench`: the costs of Wharf, measured beside servers written by hand.
//!
//! Layout: the jobs, each a file that reads as the description of its measurement, and the nouns
//! that they are made of.
//!
//! - [`echo`]: CPU time of the server per echoed message;
//! - [`fanout`]: CPU time of the server per delivery in rooms, in closed and open loop;
//! - [`idle`]: resident memory of the server per open connection;
//! - [`storm`]: CPU time of the server per connection opened and closed;
//! - [`reload`]: time from new code in the folder to the first event that it serves;
//! - [`swaps`]: latency of steady messages while their plugin is swapped;
//! - [`spin`]: latency of steady messages while another channel computes;
//! - [`guests`]: the cost of further plugins;
//! - [`mod@json`]: the cost of a message that is parsed, above an echo;
//! - [`mixed`]: CPU time of the server for the traffic of a chat;
//! - [`joined`]: resident memory of the host per joined room;
//! - [`history`]: start, memory, size and recovery of rooms that keep their messages;
//! - [`kept`]: CPU time of the server for a room's event whose state is on disk;
//! - [`cluster`]: time and CPU of deliveries to members on other hosts;
//! - [`suite`]: all of these, into a document and a chart;
//! - [`leaks`]: growth of the host over many swaps, connections and channels;
//! - [`setting`] and [`comparison`]: servers that take turns, and the report of their figures;
//! - [`server`]: the measured servers: the host, a [`peer`] in this program, or an [`installed`]
//!   one;
//! - [`artefact`] and [`component`]: the host's program and plugins, and changes to a plugin;
//! - [`process`], [`cores`] and [`files`]: a server's process, its CPU time and memory, and the
//!   resources that it may use; [`redis`]: the engine between hosts;
//! - [`system_calls`]: the number of system calls that a server makes;
//! - [`generator`] (echoes), [`crowd`] (rooms), [`socket`], [`visitor`], [`visitors`], [`probe`],
//!   [`message`], [`dialect`], [`handshake`] and [`frame`]: the clients;
//! - [`statistics`] and [`report`]: the evaluation of the figures.
//!
//! A further peer is a variant of [`server::Kind`]; a further job is a file and a variant of
//! [`Job`].

mod echo;

mod fanout;

mod idle;

mod storm;

mod reload;

mod swaps;

mod guests;

mod json;

mod mixed;

mod joined;

mod history;

mod kept;

mod cluster;

mod leaks;

mod suite;

mod setting;

mod comparison;

mod server;

mod peer;

mod installed;

mod artefact;

mod component;

mod process;

mod cores;

mod files;

mod generator;

mod crowd;

mod message;

mod probe;

mod redis;

mod handshake;

mod dialect;

mod socket;
mod spin;

mod visitor;

mod visitors;

mod frame;

mod system_calls;

mod statistics;

mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use fanout::Preset;
use report::{ReaderGone, Report};

const EXAMPLES: &str = "\
Before the first run:
  cargo build --release -p wharf
  cargo xtask plugins

Examples:
  cargo run --release -p wharf-bench -- echo
      CPU per echoed message, the host beside tokio-tungstenite
  cargo run --release -p wharf-bench -- echo --connections 8 --in-flight 16 --size 1024
      The same with fewer connections, pipelined, and larger messages
  cargo run --release -p wharf-bench -- idle --after-message --json
      Memory per connection, for a program to read
  cargo run --release -p wharf-bench -- reload --runs 30
      How long a swap takes, 30 times

Nothing else should run meanwhile. Linux only: the figures come from /proc.";

/// Measures what Wharf costs, beside a server written by hand.
#[derive(Parser)]
#[command(name = "wharf-bench", version, after_help = EXAMPLES)]
struct Arguments {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// CPU time of the server per echoed message
    Echo(echo::Options),
    /// CPU time of the server per delivery in one large room
    Fanout(fanout::Options),
    /// CPU time of the server per delivery in many small rooms
    Rooms(fanout::Options),
    /// Resident memory of the server per open connection
    Idle(idle::Options),
    /// CPU time of the server per connection opened and closed
    Storm(storm::Options),
    /// Time from new code in the plugin folder to the first event that it serves
    Reload(reload::Options),
    /// Latency of steady messages while their plugin is swapped
    Swaps(swaps::Options),
    /// Latency of steady messages while handlers of another channel compute
    Spin(spin::Options),
    /// Cost of further plugins: memory, CPU per echo, time to start
    Guests(guests::Options),
    /// Cost of parsing, checking, broadcasting and storing a message, above an echo
    Json(json::Options),
    /// CPU time of the server for the traffic of a chat
    Mixed(mixed::Options),
    /// Resident memory of the host per joined room
    Joined(joined::Options),
    /// CPU time of a room's event whose state is kept on disk, beside one in memory
    Kept(kept::Options),
    /// Time and CPU of deliveries to members on other hosts of a cluster, with Redis between them
    Cluster(cluster::Options),
    /// Start, memory, size on disk and recovery of rooms that keep their messages
    History(history::Options),
    /// All of these, one after the other, into a document and a chart
    Suite(suite::Options),
    /// Growth of the host over many connections, swaps and names of channels; fails if there is any
    Leaks(leaks::Options),
    /// Be one of the servers that the host is compared with.
    #[command(hide = true)]
    Peer(peer::Options),
    /// Become another program, on one core.
    #[command(hide = true)]
    Launch(process::Launch),
}

fn main() -> ExitCode {
    let Arguments { json, job } = Arguments::parse();
    let mut report = Report::new(json);
    let done = match job {
        Job::Echo(options) => echo::run(&options, &mut report),
        Job::Fanout(options) => fanout::run(&options, Preset::Fanout, &mut report),
        Job::Rooms(options) => fanout::run(&options, Preset::Rooms, &mut report),
        Job::Idle(options) => idle::run(&options, &mut report),
        Job::Storm(options) => storm::run(&options, &mut report),
        Job::Reload(options) => reload::run(&options, &mut report),
        Job::Swaps(options) => swaps::run(&options, &mut report),
        Job::Spin(options) => spin::run(&options, &mut report),
        Job::Guests(options) => guests::run(&options, &mut report),
        Job::Json(options) => json::run(&options, &mut report),
        Job::Mixed(options) => mixed::run(&options, &mut report),
        Job::Joined(options) => joined::run(&options, &mut report),
        Job::History(options) => history::run(&options, &mut report),
        Job::Cluster(options) => cluster::run(&options, &mut report),
        Job::Kept(options) => kept::run(&options, &mut report),
        Job::Suite(options) => return exit(suite::run(&options)),
        Job::Leaks(options) => return exit(leaks::run(&options, report)),
        Job::Peer(options) => return exit(peer::run(&options)),
        Job::Launch(launch) => return exit(launch.exec()),
    };
    exit(done.and_then(|()| report.finish()))
}

fn exit(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        super::Arguments::command().debug_assert();
    }
}
