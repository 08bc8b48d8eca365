//! `wharf-bench`: what Wharf costs, measured beside a server that somebody might write by hand.
//!
//! Layout: three jobs, each a file that reads as the description of its measurement, and the
//! nouns that they are made of.
//!
//! - [`echo`]: CPU time of the server per echoed message;
//! - [`idle`]: resident memory of the server per open connection;
//! - [`reload`]: time from new code in the folder to the first event that it serves;
//! - [`server`]: what is measured: the host, or a [`peer`] that this program is as well;
//! - [`artefact`] and [`component`]: the host's program and plugins, and how a plugin is changed;
//! - [`process`] and [`cores`]: a server's process, its CPU time and memory, and where it runs;
//! - [`generator`], [`message`], [`probe`], [`handshake`] and [`frame`]: the clients;
//! - [`statistics`] and [`report`]: what is made of the figures.
//!
//! A further peer is a variant of [`server::Kind`]; a further job is a file and a variant of
//! [`Job`].

mod echo;

mod idle;

mod reload;

mod server;

mod peer;

mod artefact;

mod component;

mod process;

mod cores;

mod generator;

mod message;

mod probe;

mod handshake;

mod frame;

mod statistics;

mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::{ReaderGone, Report};

const EXAMPLES: &str = "\
Before the first run:
  cargo build --release -p wharf-host
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
    /// Resident memory of the server per open connection
    Idle(idle::Options),
    /// Time from new code in the plugin folder to the first event that it serves
    Reload(reload::Options),
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
        Job::Idle(options) => idle::run(&options, &mut report),
        Job::Reload(options) => reload::run(&options, &mut report),
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
