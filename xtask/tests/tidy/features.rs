//! The features of libraries: the same, whichever packages of the workspace are compiled together.
//!
//! Cargo compiles a library with the features that the selected packages need. If the program alone
//! and the workspace needed different ones, wasmtime would be compiled once for `cargo xtask serve`
//! and once more for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::assert_none;
use super::source::repository;

/// The lists of features that a library is compiled with, by its name and version. There may be two: one for the
/// program, one for macros and build scripts.
type Features = BTreeMap<String, BTreeSet<String>>;

/// Returns the libraries of other people below a selection of packages.
fn features(selection: &[&str]) -> Features {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"])
        .args(selection)
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let mut found = Features::new();
    for line in text.lines() {
        // A repeated line is marked.
        let Some((package, list)) = line.trim_end_matches(" (*)").split_once('|') else { continue };
        // Packages of the workspace are shown with their folder.
        if !package.contains('/') {
            found.entry(package.to_owned()).or_default().insert(list.to_owned());
        }
    }
    found
}

#[test]
fn the_program_alone_and_the_workspace_share_one_build_of_the_libraries() {
    let workspace = features(&["--workspace", "--edges", "all"]);
    let alone = features(&["--package", "wharf", "--edges", "normal,build"]);
    assert!(alone.keys().any(|package| package.starts_with("wasmtime v")), "{alone:?}");
    let mut found = Vec::new();
    for (package, lists) in &alone {
        let together = workspace.get(package);
        let differs = |list: &&String| together.is_none_or(|together| !together.contains(*list));
        for list in lists.iter().filter(differs) {
            found.push(format!("{package}: alone with {list}; together with {together:?}"));
        }
    }
    assert_none(
        &found,
        "these libraries have other features for `--package wharf` than for `--workspace`. Put the features \
         into [workspace.dependencies] where a crate of the host names the library; otherwise name it in the \
         list at the end of [dependencies] in host/runtime/Cargo.toml:",
    );
}
