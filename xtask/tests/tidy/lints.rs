//! The lints that each crate must have: the compiler and clippy enforce them, if they are told to.

use std::fs;

use super::assert_none;
use super::source::{files_under, read, repository, shown};

/// Lints against panics. A failed test is a panic, so `clippy.toml` allows them in tests.
const AGAINST_PANICS: [&str; 8] = [
    "expect_used",
    "indexing_slicing",
    "panic",
    "string_slice",
    "todo",
    "unimplemented",
    "unreachable",
    "unwrap_used",
];

/// Roots of the crates outside `host` that serve guests or clients.
const SERVING: [&str; 2] = ["contract/src/lib.rs", "guest-sdk/src/lib.rs"];

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let mut found = Vec::new();
    for file in files_under(&repository()) {
        let path = shown(&file);
        if path.ends_with("/Cargo.toml") && !read(&path).contains("\n[lints]\nworkspace = true\n") {
            found.push(path);
        }
    }
    assert_none(&found, "give these crates `[lints]` with `workspace = true`:");
}

#[test]
fn the_host_the_contract_and_the_sdk_do_not_panic_outside_their_tests() {
    let mut roots: Vec<String> = SERVING.map(str::to_owned).into();
    for entry in fs::read_dir(repository().join("host")).expect("the host's folder") {
        let source = entry.expect("an entry").path().join("src");
        let root = ["lib.rs", "main.rs"].map(|name| source.join(name));
        roots.extend(root.iter().filter(|file| file.exists()).map(|file| shown(file)));
    }
    let mut found = Vec::new();
    for root in roots {
        let text = read(&root);
        let lines: String = text.lines().filter(|line| line.starts_with("#![deny(")).collect();
        let missing = AGAINST_PANICS.iter().filter(|lint| {
            ![",", ")"].iter().any(|end| lines.contains(&format!("clippy::{lint}{end}")))
        });
        found.extend(missing.map(|lint| format!("{root}: #![deny(clippy::{lint})]")));
    }
    assert_none(&found, "add these to the roots of the crates:");
}
