//! Measures the host beside its peers and writes the figures into the documents.

use std::ffi::OsString;
use std::process::Command;

use crate::host::{self, Build};
use crate::plugins::{self, Selection};
use crate::process::{Outcome, cargo, run};
use crate::setup;
use crate::workspace::Workspace;

pub const HELP: &str = "\
Measure what the host costs, beside other servers.

Usage: cargo xtask bench [--quick] [--no-write] [JOB...] [-- ARGS]
       cargo xtask bench micro [STEP...]

  JOB         Only the jobs whose names contain one of these words, such as `echo` or `fanout`;
              all of them where none is given
  --quick     2 rounds instead of 5: enough to see that everything works
  --no-write  Print the figures only
  ARGS        Given to `wharf-bench suite`; `cargo xtask bench -- --help` lists them

Compiles the host, the plugins and the instrument with optimisations, installs the peers with npm
below target/bench-peers where they are missing, runs the jobs, and writes docs/performance.md
and docs/performance.svg. Figures of jobs that are not run are those of their last run, which
lie in target/bench-results. All jobs take about 40 minutes; nothing else should run meanwhile.

Two builds of the host are compared in one run, round by round, without writing, by
`cargo xtask bench --no-write -- --servers wharf,wharf-baseline --baseline FILE`.

The peer `gorilla` is in Go, and is left out where that is missing (Debian: `apt-get install
golang-go golang-github-gorilla-websocket-dev`). System calls are counted with perf, which mostly
takes root, else with strace, and not where there is neither.

`micro` times single steps of a message's journey instead, such as one guest call: those whose
names contain one of the words after it, or all. It writes nothing. `cargo xtask instructions`
counts the same steps.
";

/// The word that asks for single steps in place of servers.
const MICRO: &str = "micro";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    if let Some((MICRO, steps)) = arguments.split_first().map(|(first, rest)| (&**first, rest)) {
        return micro(workspace, steps);
    }
    let is_separator = |argument: &String| argument == "--";
    let (own, given) = match arguments.iter().position(is_separator) {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[][..]),
    };
    let mut for_suite = vec![OsString::from("suite")];
    let mut writes = true;
    for argument in own {
        match argument.as_str() {
            "--no-write" => writes = false,
            "--quick" => for_suite.push("--quick".into()),
            option if option.starts_with('-') => {
                return Err(format!(
                    "there is no option `{option}`: `cargo xtask help bench` lists them, and \
                     those of `wharf-bench suite` stand behind `--`"
                ));
            }
            job => for_suite.push(job.into()),
        }
    }
    if writes {
        let page = workspace.root.join("docs").join("performance.md");
        for_suite.extend(["--write".into(), page.into()]);
    }

    setup::ensure(workspace)?;
    println!("bench: compiling the plugins");
    plugins::build(workspace, Selection::All)?;
    println!("bench: compiling the host and the instrument with optimisations");
    let mut command = Command::new(host::compile_instrument(workspace)?);
    command.args(for_suite).arg("--host").arg(host::program(workspace, Build::Optimised));
    run(command.arg("--plugins").arg(plugins::examples_folder(workspace)).args(given))
}

/// Measures the time of single steps.
fn micro(workspace: &Workspace, steps: &[String]) -> Outcome {
    setup::ensure(workspace)?;
    println!("bench: compiling the plugins");
    plugins::build(workspace, Selection::All)?;
    println!("bench: compiling the host with optimisations");
    run(cargo(&["bench", "--package", "wharf-server", "--bench", MICRO, "--"])
        .args(steps)
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))
}
