//! Counts the instructions of single steps of a message's journey, and compares the counts with
//! those that the repository keeps. Unlike timings, counts are exact on a busy machine.
//!
//! It counts the instructions of the dev profile, which the tests use, so that nothing has to be
//! compiled for this alone. They are more than those of the release profile, but grow with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::plugins::{self, Selection};
use crate::process::{Outcome, capture, cargo, is_installed, run, run_logged};
use crate::setup;
use crate::workspace::{Workspace, write_by_rename};

pub const HELP: &str = "\
Count the instructions of single steps, and compare them with host/server/benches/instructions.toml.

Usage: cargo xtask instructions [--renew]

  --renew  Write what was counted into that file, to be committed with the change that causes it

Fails where a step has grown by more than 5%. Needs valgrind (Debian: `apt-get install valgrind`)
on x86-64 Linux. docs/performance.md says more.
";

/// The counts that are compared with, below the repository's root.
const BASELINE: &str = "host/server/benches/instructions.toml";

/// The head of the baseline.
const BASELINE_HEAD: &str = "\
# Instructions of one run of each step: host/server/benches/jobs/, dev profile, x86-64 Linux.
# Written by `cargo xtask instructions --renew`; `cargo xtask test` fails where one grows by more
# than 5%.

[instructions]
";

/// Largest growth of a count that is accepted, in percent.
const MAX_GROWTH: u64 = 5;

/// The function of `host/server/benches/instructions.rs` below which instructions are counted.
const COUNTED: &str = "wharf_counted";

/// Runs of each step, of which the median counts: now and then the epoch preempts a guest, or a
/// vector grows.
const RUNS: &str = "31";

/// Time limit for one step under valgrind. It takes about a second, and longer if its plugin must
/// be compiled first.
const LIMIT: Duration = Duration::from_secs(300);

/// Instructions of a run by step.
type Counts = BTreeMap<String, u64>;

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let renews = match arguments {
        [] => false,
        [option] if option == "--renew" => true,
        _ => return Err(format!("cannot understand {arguments:?}\n\n{HELP}")),
    };
    if let Some(obstacle) = obstacle() {
        return Err(format!("nothing can be counted: {obstacle}"));
    }
    setup::ensure(workspace)?;
    plugins::build(workspace, Selection::All)?;
    let (counts, units) = count(workspace)?;
    if !renews {
        return compare(&counts, &units, &baseline(workspace)?);
    }
    let lines = counts.iter().map(|(name, count)| format!("{name} = {count}\n"));
    let text = format!("{BASELINE_HEAD}{}", lines.collect::<String>());
    write_by_rename(&workspace.root.join(BASELINE), text.as_bytes())?;
    println!("instructions: {BASELINE} is written");
    Ok(())
}

/// Returns the reason why this machine cannot count instructions, if there is one.
pub fn obstacle() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some(format!("the counts in {BASELINE} are those of x86-64 Linux"));
    }
    (!is_installed("valgrind"))
        .then(|| "`valgrind` is not installed (Debian: `apt-get install valgrind`)".to_owned())
}

/// Counts, and compares the counts with the baseline. The plugins have been compiled.
pub fn check(workspace: &Workspace) -> Outcome {
    let (counts, units) = count(workspace)?;
    compare(&counts, &units, &baseline(workspace)?)
}

/// Returns the instructions and units of a run, by step.
fn count(workspace: &Workspace) -> Outcome<(Counts, Counts)> {
    let program = program(workspace)?;
    let folder = workspace.scratch("instructions")?;
    let mut units = Counts::new();
    for line in capture(&mut Command::new(&program))?.lines() {
        if let Some((name, number)) = line.split_once(' ')
            && let Ok(number) = number.parse()
        {
            units.insert(name.to_owned(), number);
        }
    }
    let mut counts = Counts::new();
    for name in units.keys() {
        counts.insert(name.clone(), count_step(&program, name, &folder)?);
    }
    Ok((counts, units))
}

/// Compiles the benchmark, and returns its path.
fn program(workspace: &Workspace) -> Outcome<PathBuf> {
    let build = |more: &[&str]| {
        // As the tests build it, with the whole workspace: alone it would want other features of
        // its dependencies, and all of wasmtime would be compiled once more.
        let mut command = cargo(&["build", "--workspace", "--bench", "instructions"]);
        command.args(more).current_dir(&workspace.root);
        command.env("CARGO_TARGET_DIR", &workspace.target);
        command
    };
    run(&mut build(&[]))?;
    // A second call, which has nothing left to do, returns the file's name.
    let messages = capture(&mut build(&["--quiet", "--message-format", "json"]))?;
    executable(&messages).ok_or_else(|| "cargo does not say where it put the program".to_owned())
}

/// Returns the program in cargo's messages. They are searched and not parsed, since this is all
/// that is needed of JSON. Paths on Linux rarely contain a character that JSON would escape.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut found = messages.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let path = PathBuf::from(rest.split_once('"')?.0);
        path.file_name()?.to_str()?.starts_with("instructions-").then_some(path)
    });
    found.next()
}

fn count_step(program: &Path, name: &str, folder: &Path) -> Outcome<u64> {
    let log = folder.join("valgrind.log");
    // A tool that counts nothing compiles a plugin several times faster, for the same processor.
    // The cache has the compiled plugin afterwards.
    let mut first = Command::new("valgrind");
    first.args(["-q", "--tool=none"]).arg(program).args([name, "0"]);
    run_logged(&mut first, &log, LIMIT)?;

    let output = folder.join(format!("{name}.callgrind"));
    let mut counting = Command::new("valgrind");
    counting
        .args(["-q", "--tool=callgrind", "--combine-dumps=yes"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(program)
        .args([name, RUNS]);
    run_logged(&mut counting, &log, LIMIT)?;
    let profile = fs::read_to_string(&output)
        .map_err(|e| format!("cannot read {}: {e}", output.display()))?;
    median(&profile)
        .ok_or_else(|| format!("callgrind has counted nothing of {name}: see {}", output.display()))
}

/// Returns the median of the counts in a profile that has one part for each run.
fn median(profile: &str) -> Option<u64> {
    let mut counts = Vec::new();
    let mut is_run = false;
    for line in profile.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            // The last part is that of the program's end.
            is_run = trigger.starts_with("--dump-after=");
        } else if let Some(total) = line.strip_prefix("totals: ")
            && is_run
        {
            counts.push(total.trim().parse().ok()?);
        }
    }
    counts.sort_unstable();
    counts.get(counts.len().checked_sub(1)? / 2).copied().filter(|count| *count > 0)
}

fn baseline(workspace: &Workspace) -> Outcome<Counts> {
    let file = workspace.root.join(BASELINE);
    match fs::read_to_string(&file) {
        Ok(text) => parse(&text),
        // Every step is new then.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Counts::new()),
        Err(e) => Err(format!("cannot read {BASELINE}: {e}")),
    }
}

/// Parses the baseline by lines, since `name = number` is all that is needed of TOML.
fn parse(text: &str) -> Outcome<Counts> {
    let mut counts = Counts::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let entry = line.split_once('=').and_then(|(name, count)| {
            Some((name.trim().to_owned(), count.trim().parse().ok().filter(|count| *count > 0)?))
        });
        let (name, count) = entry.ok_or_else(|| format!("{BASELINE}: cannot read `{line}`"))?;
        counts.insert(name, count);
    }
    Ok(counts)
}

/// Prints the counts beside those of the baseline.
fn compare(counts: &Counts, units: &Counts, baseline: &Counts) -> Outcome {
    println!("    {:<24}{:>12}{:>12}{:>9}{:>10}", "step", "before", "now", "change", "per unit");
    let mut faults = Vec::new();
    for (name, count) in counts {
        let per_unit = count / units.get(name).copied().unwrap_or(1).max(1);
        let Some(before) = baseline.get(name) else {
            println!("    {name:<24}{:>12}{count:>12}{:>9}{per_unit:>10}", "-", "-");
            faults.push(format!("{name} is not in {BASELINE}"));
            continue;
        };
        let growth = (*count as f64 / *before as f64 - 1.0) * 100.0;
        println!("    {name:<24}{before:>12}{count:>12}{growth:>+8.1}%{per_unit:>10}");
        // Whole numbers keep a count at the limit within it.
        if count * 100 > before * (100 + MAX_GROWTH) {
            faults.push(format!(
                "{name} has grown by {growth:.1}%, from {before} to {count} instructions"
            ));
        } else if count * 100 < before * (100 - MAX_GROWTH) {
            println!("    {name} has become cheaper: renew the counts, so that it stays so");
        }
    }
    for name in baseline.keys().filter(|name| !counts.contains_key(*name)) {
        faults.push(format!("{name} is in {BASELINE}, but no step has that name"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}.\nWhere that is the price of something wanted, or the compiler has changed, run `cargo \
         xtask instructions --renew` and commit {BASELINE}.",
        faults.join(";\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: &[(&str, u64)]) -> Counts {
        entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_beyond_the_bound_is_a_fault_and_says_how_to_renew() {
        let before = counts(&[("echo", 1000), ("pool", 100)]);
        let units = counts(&[("echo", 1), ("pool", 1)]);
        let now = counts(&[("echo", 1050), ("pool", 20)]);
        assert_eq!(compare(&now, &units, &before), Ok(()));
        let now = counts(&[("echo", 1051), ("pool", 100)]);
        let fault = compare(&now, &units, &before).expect_err("it has grown");
        assert!(fault.contains("echo has grown by 5.1%, from 1000 to 1051"), "{fault}");
        assert!(!fault.contains("pool"), "{fault}");
        assert!(fault.contains("cargo xtask instructions --renew"), "{fault}");
    }

    #[test]
    fn a_step_that_only_one_side_knows_is_a_fault() {
        let (old, new) = (counts(&[("old", 1)]), counts(&[("new", 1)]));
        let fault = compare(&new, &new, &old).expect_err("they differ");
        assert!(fault.contains("new is not in"), "{fault}");
        assert!(fault.contains("old is in"), "{fault}");
    }

    #[test]
    fn a_baseline_is_read_and_what_is_no_count_is_named() {
        let text = format!("{BASELINE_HEAD}guest-echo = 13392\n");
        assert_eq!(parse(&text), Ok(counts(&[("guest-echo", 13392)])));
        for bad in ["guest-echo", "guest-echo = many", "guest-echo = 0"] {
            assert!(parse(bad).expect_err("no count").contains(bad));
        }
    }

    #[test]
    fn the_median_is_that_of_the_runs() {
        let part =
            |trigger: &str, total: u64| format!("desc: Trigger: {trigger}\ntotals: {total}\n");
        let run = "--dump-after=wharf_counted";
        let profile = part(run, 900) + &part(run, 10) + &part(run, 11);
        assert_eq!(median(&(profile + &part("Program termination", 0))), Some(11));
        assert_eq!(median(&part("Program termination", 7)), None);
        assert_eq!(median(&part(run, 0)), None);
    }

    #[test]
    fn the_program_is_found_in_cargo_s_messages() {
        let messages = "{\"executable\":null}\n{\"a\":1,\"executable\":\"/t/deps/wharf\"}\n\
                        {\"executable\":\"/t/deps/instructions-0a\",\"fresh\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/deps/instructions-0a")));
    }
}
