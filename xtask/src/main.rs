//! `cargo xtask`: the project's own commands, in Rust, so that nothing but a Rust toolchain is
//! needed to set up, build, run and test Wharf.
//!
//! Layout, in the order of a newcomer's first minutes:
//!
//! - [`setup`]: makes the `wasm32-wasip2` target work;
//! - [`plugins`]: compiles the example plugins and the tests' fixtures;
//! - [`demo`]: fills the folder of the demo page;
//! - [`host`]: compiles the host;
//! - [`serve`]: runs the host with the example plugins;
//! - [`cluster`]: runs several hosts as one;
//! - [`chaos`]: runs a cluster under faults;
//! - [`mod@bench`]: measures the host beside its peers;
//! - [`autobahn`]: runs the Autobahn testsuite against the host;
//! - [`fuzz`]: runs fuzz targets for longer than the tests do;
//! - [`leaks`]: looks for leaks of the host;
//! - [`instructions`]: counts the instructions of single steps, and compares;
//! - [`image`]: builds the container image, and tries it;
//! - [`book`]: makes the documents a book with a search;
//! - [`chromium`]: finds or installs the browser that tests drive;
//! - [`servers`]: finds or installs the servers of Redis and NATS that tests start;
//! - [`proxies`]: finds or installs the proxies that tests put in front of hosts;
//! - [`lint`]: runs clippy and rustdoc;
//! - [`mod@test`]: runs all checks that must pass before a change lands;
//! - [`workspace`] and [`process`]: the folders, and running other programs.

mod setup;

mod plugins;

mod demo;

mod host;

mod serve;

mod cluster;

mod chaos;

mod bench;

mod autobahn;

mod fuzz;

mod leaks;

mod instructions;

mod image;

mod book;

mod chromium;

mod servers;

mod proxies;

mod lint;

mod test;

mod workspace;

mod process;

use std::process::ExitCode;

use process::Outcome;
use workspace::Workspace;

const HELP: &str = "\
Wharf's own commands.

Usage: cargo xtask <COMMAND>

Commands:
  setup              Make the wasm32-wasip2 target work (the other commands do it as well)
  plugins [NAME...]  Compile plugins/*, demo/* and tests/fixtures/* and copy them into target/
  serve [-- ARGS]    Run the host with the example plugins; with --release, an optimised one
  cluster            Run several hosts as one, with the example plugins
  chaos              Run a cluster under faults, with clients that check what they were promised
  bench [JOB...]     Measure what the host costs, beside other servers
  autobahn           Run the Autobahn testsuite for WebSockets against the host
  fuzz [TARGET...]   Feed hostile bytes to the code that reads what strangers send
  leaks              Drive the host with many connections, swaps and channels, and watch it
  instructions       Count what single steps cost, and compare with the last count
  image              Build the container image from the program compiled here, and try it
  book               Make the documents a book with a search
  test [FILTER...]   Check formatting, lints, documentation and run every test
  help [COMMAND]     Explain a command

`cargo xtask help <COMMAND>` says more. docs/set-up.md explains the set-up.
";

/// Exit status for an invalid command line, as shells and clap use it.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(scratch) = lint::scratch() {
        return lint::replace_compiler(&scratch, &arguments);
    }
    let (command, rest) = match arguments.split_first() {
        None => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some((command, rest)) => (command.as_str(), rest),
    };
    if let Some(text) = asked_for_help(command, rest) {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let run: fn(&Workspace, &[String]) -> Outcome = match command {
        "setup" => setup::command,
        "plugins" => plugins::command,
        "serve" => serve::command,
        "cluster" => cluster::command,
        "chaos" => chaos::command,
        "bench" => bench::command,
        "autobahn" => autobahn::command,
        "fuzz" => fuzz::command,
        "leaks" => leaks::command,
        "instructions" => instructions::command,
        "image" => image::command,
        "book" => book::command,
        "test" => test::command,
        other => {
            eprint!("error: there is no command `{other}`\n\n{HELP}");
            return ExitCode::from(USAGE_ERROR);
        }
    };
    match Workspace::find().and_then(|workspace| run(&workspace, rest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the help text if the arguments ask for one. Arguments after `--` belong to the host.
fn asked_for_help(command: &str, rest: &[String]) -> Option<&'static str> {
    let topic = match command {
        "help" | "-h" | "--help" => rest.first().map_or("", String::as_str),
        _ => {
            let own = rest.iter().take_while(|argument| *argument != "--");
            let wanted = own.clone().any(|a| a == "-h" || a == "--help");
            wanted.then_some(command)?
        }
    };
    Some(match topic {
        "setup" => setup::HELP,
        "plugins" => plugins::HELP,
        "serve" => serve::HELP,
        "cluster" => cluster::HELP,
        "chaos" => chaos::HELP,
        "bench" => bench::HELP,
        "autobahn" => autobahn::HELP,
        "fuzz" => fuzz::HELP,
        "leaks" => leaks::HELP,
        "instructions" => instructions::HELP,
        "image" => image::HELP,
        "book" => book::HELP,
        "test" => test::HELP,
        _ => HELP,
    })
}
