//! Runs a cluster under faults for longer than the tests do.

use crate::plugins::{self, Selection};
use crate::process::{Outcome, run};
use crate::servers;
use crate::setup;
use crate::test;
use crate::workspace::Workspace;

pub const HELP: &str = "\
Run a cluster of three hosts under faults, with clients that check what they were promised.

Usage: cargo xtask chaos [--rounds N] [--engine redis|nats] [--seed N]

  --rounds  Rounds with each engine; 3 where it is not given. One takes about a minute
  --engine  The engine; both, one after the other, where it is not given
  --seed    The seed that a run has printed: the same order of faults and the same victims again

In each round, in a random order: `kill -9` of a host, a restart of the engine, the engine stopped for 5 s (SIGSTOP),
a host cut off its engine, the engine's memory filled, the engine slower by 200 ms. Meanwhile clients on all hosts
speak, write to rooms with a history and follow them, post to rooms with a state, and come and go in presence. The
command fails if a promise of docs/cluster.md is broken, with what was broken and the seed, and prints figures in any
case. `Tried under faults` in docs/cluster.md says what is checked.

A host is cut off by a network namespace, which takes root and the program `ip` on Linux. Where that is not allowed, the
command says NOT RUN for this fault, and fails if the variable CI is set. The engine is the one of the variable
WHARF_REDIS_SERVER or WHARF_NATS_SERVER, of the PATH, or installed, as for the tests. `cargo xtask test` runs a short
round with each engine in the step `engines`.
";

/// Rounds where their number is not given.
const ROUNDS: u64 = 3;

/// The engines, by which the tests are named.
const ENGINES: [&str; 2] = ["redis", "nats"];

/// The whole workspace, as for the other tests of engines: another selection would compile with other features.
const TESTS: [&str; 7] =
    ["test", "--workspace", "--no-fail-fast", "--test", "clusters", "--", "--ignored"];

/// The wishes of a command line.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    rounds: u64,
    engines: Vec<&'static str>,
    seed: Option<u64>,
}

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let Wish { rounds, engines, seed } = parsed(arguments)?;
    setup::ensure(workspace)?;
    plugins::build(workspace, Selection::Named(&["scripted".to_owned()]))?;
    test::build_host(workspace)?;
    let mut command = test::in_root(workspace, &TESTS);
    // One engine at a time: what one costs must not slow the other.
    command.args(["--nocapture", "--test-threads", "1"]);
    command.args(engines.iter().map(|engine| format!("through_all_faults_with_{engine}")));
    command.env("WHARF_CHAOS_ROUNDS", rounds.to_string());
    if let Some(seed) = seed {
        command.env("WHARF_CHAOS_SEED", seed.to_string());
    }
    servers::with_servers(workspace, &mut command)?;
    run(test::with_artefacts(workspace, &mut command))
}

fn parsed(arguments: &[String]) -> Outcome<Wish> {
    let mut wish = Wish { rounds: ROUNDS, engines: ENGINES.to_vec(), seed: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{argument}` needs a value"));
        let number = |text: &String| {
            text.parse::<u64>().map_err(|_| format!("`{argument} {text}`: it is no number"))
        };
        match argument.as_str() {
            "--rounds" => {
                wish.rounds = number(value()?)?;
                if wish.rounds == 0 {
                    return Err("`--rounds` takes a number from 1".to_owned());
                }
            }
            "--seed" => wish.seed = Some(number(value()?)?),
            "--engine" => {
                let name = value()?;
                let known = ENGINES.into_iter().find(|known| known == name);
                let known = known.ok_or_else(|| {
                    format!("there is no engine `{name}`; there are: {}", ENGINES.join(", "))
                })?;
                wish.engines = vec![known];
            }
            other => {
                return Err(format!("`{other}` is no option; `cargo xtask help chaos` lists them"));
            }
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::{ENGINES, ROUNDS, Wish, parsed};

    #[test]
    fn options_are_read_and_others_refused() {
        let read = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parsed(&arguments).ok()
        };
        let wish = |rounds, engines: &[&'static str], seed| {
            Some(Wish { rounds, engines: engines.to_vec(), seed })
        };
        assert_eq!(read(""), wish(ROUNDS, &ENGINES, None));
        let all = "--rounds 10 --engine nats --seed 18446744073709551615";
        assert_eq!(read(all), wish(10, &["nats"], Some(u64::MAX)));
        for wrong in ["--rounds", "--rounds 0", "--engine etcd", "--seed -1", "redis"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
