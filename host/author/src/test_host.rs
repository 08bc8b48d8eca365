//! `wharf test-host`: the host that the SDK's test kit drives, in a process of its own.
//!
//! It is the host that serves: the registry loads the component, its engine runs it, connections,
//! rooms, timers, presence and the store are those of every server. Three parts are under the
//! control of a test: clients are connected in memory, the clock moves when it is told to, and the
//! test answers requests to other servers.
//!
//! Commands are lines on standard input, one at a time; each is answered by a line on standard
//! output when all of its effects have happened. The first line has the version of Wharf.

mod clockwork;
mod happenings;
mod host;
mod limits;
mod lines;
mod script;
mod visitor;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use wharf_contract::kit::{Command, Ready, Reply};
use wharf_runtime::plugin::Machine;

use happenings::Happenings;
use host::Host;
use lines::Lines;

/// Variable by which `wharf test` tells the hosts of its tests the settings for this machine.
pub(crate) const MACHINE: &str = "WHARF_TEST_MACHINE";

/// Writes a machine's settings into one variable.
pub(crate) fn words(machine: Machine) -> String {
    machine.settings().collect::<Vec<_>>().join(" ")
}

/// Reads what [`words`] has written.
fn machine(words: &str) -> Machine {
    Machine::with(|name| words.split(' ').any(|known| known == name))
}

/// Runs the component of a file until there are no more commands.
///
/// # Errors
///
/// There is no runtime, or the test's end of the pipes is closed. A mistake in a command or the
/// component is an answer.
pub fn run(file: &Path, cache: Option<PathBuf>) -> anyhow::Result<()> {
    let happened = Happenings::default();
    let lines = Lines::hear(happened.clone());
    let mut output = io::stdout().lock();
    say(&mut output, &Ready { wharf: env!("CARGO_PKG_VERSION").to_owned() })?;
    let machine = machine(&std::env::var(MACHINE).unwrap_or_default());
    let mut state = State::New(cache);
    for line in io::stdin().lock().lines() {
        let line = line.context("standard input cannot be read")?;
        let done = match (serde_json::from_str(&line), state) {
            (Err(error), unchanged) => {
                state = unchanged;
                Err(format!("it is not a command: {error}"))
            }
            (Ok(Command::Start(setup)), State::New(cache)) => {
                let started = Host::start(file, (machine, cache), setup, happened.clone(), &lines);
                match started {
                    Ok((host, answer)) => {
                        state = State::Started(Box::new(host));
                        Ok(answer)
                    }
                    Err(reason) => {
                        state = State::Failed;
                        Err(format!("this host would not load {}: {reason}", file.display()))
                    }
                }
            }
            (Ok(command), State::Started(mut host)) => {
                let done = host.obey(command);
                state = State::Started(host);
                done
            }
            (Ok(_), unchanged) => {
                state = unchanged;
                Err("the host has not started".to_owned())
            }
        };
        say(&mut output, &Reply { answer: done, happened: happened.take() })?;
    }
    if let State::Started(host) = state {
        host.end();
    }
    Ok(())
}

/// The progress of the host.
enum State {
    New(Option<PathBuf>),
    Started(Box<Host>),
    Failed,
}

fn say(output: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(line).context("a line cannot be written as JSON")?;
    let said = writeln!(output, "{line}").and_then(|()| output.flush());
    said.context("standard output is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_machine_are_read_as_they_were_written() {
        for without_signals in [false, true] {
            for scarce_addresses in [false, true] {
                let written = Machine { without_signals, scarce_addresses };
                assert_eq!(machine(&words(written)), written);
            }
        }
    }
}
