//! Runs fuzz targets for longer than the tests do.

use crate::process::{Outcome, run};
use crate::setup;
use crate::test;
use crate::workspace::{Workspace, entries};

pub const HELP: &str = "\
Feed hostile bytes to the code that reads what strangers send, for as long as you like.

Usage: cargo xtask fuzz [TARGET...] [--seconds N] [--seed N]

  TARGET     frames, handshake, patterns, configuration, token, keys, sdk or plugins; all of them,
             one after the other, where none is given
  --seconds  Time for each target; 60 where it is not given
  --seed     The seed that a failure has printed: the same inputs again, as far as time allows

A target is a test named `fuzz_TARGET` in a file fuzz.rs beside the code. `cargo xtask test` runs
each for a second. Inputs are those in fuzz/corpus/TARGET and changes of them; those with a result
that is new are changed further. The stable toolchain is enough.

An input that fails is kept in fuzz/corpus/TARGET: once the code is right, give it a name that tells
what it was and commit it. An input that ends the process or never ends is found there as well, the
latter by a limit of two minutes.
";

/// The arguments of all calls of cargo.
const TESTS: [&str; 5] = ["test", "--workspace", "--lib", "--no-fail-fast", "--"];

/// Folders below the corpus that belong to the tests of the fuzzer itself.
const OWN: &str = "self";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let known = targets(workspace)?;
    let (mut names, mut seconds, mut seed) = (Vec::new(), 60, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || {
            let given = rest.next().ok_or_else(|| format!("`{argument}` needs a number"))?;
            given.parse::<u64>().map_err(|_| format!("`{argument} {given}`: it is no number"))
        };
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = Some(number()?),
            name if known.iter().any(|target| target == name) => names.push(name.to_owned()),
            other => {
                let known = known.join(", ");
                return Err(format!("there is no target `{other}`; there are: {known}"));
            }
        }
    }
    if names.is_empty() {
        names = known;
    }
    setup::ensure(workspace)?;
    let filters: Vec<String> = names.iter().map(|name| format!("fuzz_{name}")).collect();
    let found = test::named(test::in_root(workspace, &TESTS), &filters)?;
    let is_missing = |filter: &&String| !found.iter().any(|test| test.ends_with(filter.as_str()));
    if let Some(missing) = filters.iter().find(is_missing) {
        return Err(format!("there is a corpus, but no test `{missing}`"));
    }
    println!("fuzz: {} for {seconds} s each", names.join(", "));
    let mut command = test::in_root(workspace, &TESTS);
    command.args(["--nocapture", "--test-threads", "1"]).args(filters);
    command.env("WHARF_FUZZ_SECONDS", seconds.to_string());
    if let Some(seed) = seed {
        command.env("WHARF_FUZZ_SEED", seed.to_string());
    }
    run(&mut command)
}

/// Returns the names of the targets, which are those of the folders with their inputs.
fn targets(workspace: &Workspace) -> Outcome<Vec<String>> {
    let mut names = entries(&workspace.root.join("fuzz/corpus"))?;
    names.retain(|name| !name.starts_with(OWN));
    Ok(names)
}
