//! Looks for leaks of the host.

use std::process::Command;

use crate::host::{self, Build};
use crate::plugins::{self, Selection};
use crate::process::{Outcome, run};
use crate::setup;
use crate::workspace::Workspace;

pub const HELP: &str = "\
Look for leaks: drive the host with many connections, swaps and channels, and watch it.

Usage: cargo xtask leaks [--quick] [--connects N] [--swaps N] [--names N]

  --quick     6,000 connections, 600 swaps and 120 names of channels instead of 100,000, 10,000
              and 1,000: enough to find large leaks
  --connects  Connections that come into a room and go
  --swaps     Swaps of one plugin; one in ten is to code that has to be compiled
  --names     Channels with names and code of their own that come, are visited, and are removed

Compiles the host, the plugins and the instrument with optimisations, and runs `wharf-bench leaks`:
a real host on a loopback port, with compiled plugins. After each part of a load it reads the
host's memory, descriptors and mappings. At the end it prints where each began after the warm-up,
where it ended, and its slope by 1,000 operations. It fails if a slope is above its bound. Linux
only: the figures come from /proc.
";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    setup::ensure(workspace)?;
    println!("leaks: compiling the plugins");
    plugins::build(workspace, Selection::All)?;
    println!("leaks: compiling the host and the instrument with optimisations");
    let mut command = Command::new(host::compile_instrument(workspace)?);
    command.args(["leaks", "--host"]).arg(host::program(workspace, Build::Optimised));
    run(command.args(arguments))
}
