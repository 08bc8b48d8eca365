//! The tests that pass at one level only: on the component, or natively.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Longest time for the native run, which is for the comparison alone. It takes milliseconds, unless a
/// test waits for something.
const NATIVE_PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at the native run.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that are read at once.
const CHUNK: usize = 8 * 1024;

/// The outcomes that a run of `cargo test` has printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    failed: BTreeSet<String>,
    passed: BTreeSet<String>,
}

impl Outcomes {
    /// Reads the text of Rust's test harness. What another harness prints is not understood, and leads
    /// to no outcomes.
    fn read(text: &str) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let mut is_list = false;
        for line in text.lines() {
            if line == "failures:" {
                // The last such list has the names alone.
                is_list = true;
            } else if let Some(name) = line.strip_prefix("    ").filter(|_| is_list) {
                outcomes.failed.insert(name.trim().to_owned());
            } else if line.starts_with("test result:") || line.starts_with("----") {
                is_list = false;
            } else if let Some(line) = line.strip_prefix("test ")
                && let Some(name) = line.strip_suffix(" ... ok")
            {
                let name = name.strip_suffix(" - should panic").unwrap_or(name);
                outcomes.passed.insert(name.to_owned());
            }
        }
        // Printed text may look like a line of the harness.
        outcomes.passed.retain(|name| !outcomes.failed.contains(name));
        outcomes
    }

    /// Returns those that have failed here and passed there.
    fn failed_only_here<'a>(&'a self, there: &'a Outcomes) -> Vec<&'a str> {
        self.failed.intersection(&there.passed).map(String::as_str).collect()
    }
}

/// Runs a command, whose standard output is shown and read.
pub(super) fn shown(command: &mut Command) -> anyhow::Result<(ExitStatus, Outcomes)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo does not run")?;
    let mut text = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = output.read(&mut chunk) {
            let read = chunk.get(..length).unwrap_or_default();
            text.extend_from_slice(read);
            // A closed pipe is not a reason to stop the tests.
            let mut out = io::stdout().lock();
            let _ = out.write_all(read).and_then(|()| out.flush());
        }
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    Ok((status, Outcomes::read(&String::from_utf8_lossy(&text))))
}

/// Runs a command, whose output is only read. `None` if it does not come to an end.
pub(super) fn silent(command: &mut Command) -> Option<Outcomes> {
    let output = tempfile::tempfile().ok()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().ok()?)
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if begun.elapsed() > NATIVE_PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(LOOK);
    }
    let mut text = Vec::new();
    let mut output = output;
    io::Seek::rewind(&mut output).ok()?;
    output.read_to_end(&mut text).ok()?;
    Some(Outcomes::read(&String::from_utf8_lossy(&text)))
}

/// Returns the differences between the levels in words. `None` if there are none.
pub(super) fn differences(component: &Outcomes, native: &Outcomes) -> Option<String> {
    let mut text = String::new();
    for (names, where_) in [
        (component.failed_only_here(native), "pass under `cargo test`, and fail on the component"),
        (native.failed_only_here(component), "pass on the component, and fail under `cargo test`"),
    ] {
        if !names.is_empty() {
            let _ = writeln!(text, "wharf test: these {where_}:");
            for name in names {
                let _ = writeln!(text, "    {name}");
            }
        }
    }
    (!text.is_empty()).then(|| text + HINTS)
}

/// The usual reasons. The table of all is in the guide.
const HINTS: &str = "\
Usual reasons:
    a `static` or `thread_local!`   keeps its value natively; on the component each event finds it new
    `Instant`, `SystemTime`, sleep  natively the system's clock, which `host.advance` does not move: use
                                    `wharf::now()`
    deadlines and memory            bounded on the component only
    tokens that expire, keep-alive  on the component only
    `host.run(…)`                   natively only; `TestHost::native` says so
The guide's page on testing (docs/guide/testing.md) has the whole table.
";

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &str = "
running 3 tests
test tests::a ... ok
test tests::b ... FAILED
test tests::c - should panic ... ok

failures:

---- tests::b stdout ----
assertion failed
    test tests::b ... ok
test tests::b ... ok

failures:
    tests::b

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
    const NATIVE: &str = "
running 3 tests
test tests::a ... ok
test tests::b ... ok
test tests::c - should panic ... FAILED

failures:

---- tests::c stdout ----
note: test did not panic as expected at src/lib.rs:3:4

failures:
    tests::c

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn what_passes_at_one_level_only_is_named() {
        let (component, native) = (Outcomes::read(COMPONENT), Outcomes::read(NATIVE));
        let text = differences(&component, &native).expect("two differences");
        let (first, second) = text.split_once("pass on the component").expect("both directions");
        assert!(first.contains("    tests::b\n") && !first.contains("tests::c"), "{text}");
        assert!(second.contains("    tests::c\n") && !second.contains("tests::b"), "{text}");
        assert!(!text.contains("tests::a"), "{text}");
    }

    #[test]
    fn what_fails_at_both_levels_is_no_difference() {
        let outcomes = Outcomes::read(COMPONENT);
        assert_eq!(differences(&outcomes, &Outcomes::read(COMPONENT)), None);
        assert_eq!(differences(&outcomes, &Outcomes::read("another harness")), None);
    }
}
