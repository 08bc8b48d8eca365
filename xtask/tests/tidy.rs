//! The documents' promises about the code, checked whenever the tests run. Each failure says how to
//! make it pass. If the promise has changed, change `docs/architecture.md` with it.

#[path = "tidy/contract.rs"]
mod contract;
#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/english.rs"]
mod english;
#[path = "tidy/features.rs"]
mod features;
#[path = "tidy/lints.rs"]
mod lints;
#[path = "tidy/logs.rs"]
mod logs;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/reliability.rs"]
mod reliability;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use source::{files_under, read, repository, shown};

/// Longest file, in lines. Longer files tell more than one story.
const MAX_LINES: usize = 600;

/// The folder of sources that nobody writes by hand.
const GENERATED: &str = "guest-sdk/src/bindings/";

/// Fails with one line for each finding, after a sentence that says what to do.
#[track_caller]
fn assert_none(findings: &[String], what_to_do: &str) {
    assert!(findings.is_empty(), "{what_to_do}\n  {}", findings.join("\n  "));
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let mut long = Vec::new();
    for file in files_under(&repository()) {
        let path = shown(&file);
        if path.ends_with(".rs") && !path.starts_with(GENERATED) {
            let lines = read(&path).lines().count();
            if lines > MAX_LINES {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert_none(&long, "split these files, one noun a file:");
}

#[test]
fn every_file_of_tests_is_part_of_a_program() {
    let programs = ["front_door", "clusters", "chromium", "balancers"];
    let programs = programs.map(|name| read(&format!("tests/tests/{name}.rs")));
    let manifest = read("tests/Cargo.toml");
    let mut missing = Vec::new();
    for file in files_under(&repository().join("tests/tests")) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let is_module = programs
            .iter()
            .any(|program| program.lines().any(|line| line == format!("mod {stem};")));
        if !is_module && !manifest.contains(&format!("name = \"{stem}\"")) {
            missing.push(shown(&file));
        }
    }
    assert_none(
        &missing,
        "name these files as modules in tests/tests/front_door.rs or clusters.rs, or their tests never run:",
    );
}

#[test]
fn every_fixture_is_used_by_a_test() {
    // The benchmarks of single steps have their own.
    let users = ["tests/tests", "host/server/benches"]
        .map(|folder| files_under(&repository().join(folder)));
    let tests: Vec<String> = users.iter().flatten().map(|file| read(&shown(file))).collect();
    let mut unused = Vec::new();
    for manifest in files_under(&repository().join("tests/fixtures")) {
        if manifest.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let folder = manifest.parent().and_then(|folder| folder.file_name());
        let name = folder.unwrap_or_default().to_string_lossy();
        let forms = [format!("\"{name}\""), format!("{name}.wasm")];
        if !tests.iter().any(|test| forms.iter().any(|form| test.contains(form))) {
            unused.push(format!("tests/fixtures/{name}"));
        }
    }
    assert_none(
        &unused,
        "no file of tests/tests or host/server/benches names these fixtures (as \"NAME\" or NAME.wasm): write the test \
         that each was made for, or remove it:",
    );
}

#[test]
fn no_file_speaks_of_one_persons_machine() {
    // In two parts, so that this file does not find itself.
    let places =
        [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"], ["C:\\", "Users"]];
    let places = places.map(|parts| parts.concat());
    let mut found = Vec::new();
    for file in files_under(&repository()) {
        // A file that is not text has no path that anyone reads.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let names_one = places.iter().any(|place| {
                line.match_indices(place.as_str()).any(|(start, _)| {
                    // Within a longer path or an address it has another meaning.
                    let before = line[..start].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
                })
            });
            if names_one {
                found.push(format!("{}:{}: {}", shown(&file), index + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "write these paths so that they hold on every machine:");
}
