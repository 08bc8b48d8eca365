//! The crates of the host: the crates that each may depend on, and the libraries that it must not
//! know.
//!
//! Cargo enforces the arrows. This table makes a new arrow a decision that a review sees.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::assert_none;
use super::source::{Source, read, repository};

/// The crates of the host from the top down, each with those that it may depend on.
const MAY_DEPEND_ON: &[(&str, &str)] = &[
    ("cli", "author config engine runtime server"),
    ("author", "config hub runtime server"),
    ("server", "cluster config engine hub metrics node runtime"),
    ("runtime", "config engine hub metrics"),
    ("node", "cluster hub"),
    ("hub", "engine metrics"),
    ("cluster", "engine"),
    ("engine", ""),
    ("config", ""),
    ("metrics", ""),
];

/// Libraries that only these crates may name as their own dependencies.
const ONLY_IN: &[(&str, &str)] = &[
    ("wasmtime", "runtime"),
    ("wasmtime-wasi", "runtime"),
    ("wasmtime-wasi-http", "runtime"),
    ("wasmparser", "runtime"),
    ("hyper", "server"),
    ("hyper-util", "server"),
    ("tokio-tungstenite", "server"),
    ("jsonwebtoken", "server"),
    ("clap", "cli"),
    ("figment", "config"),
    ("rusqlite", "engine"),
    ("redis", "cluster"),
    ("async-nats", "cluster"),
];

/// The folder of the one other crate that names hyper, and only as a client.
const HTTP_CLIENT: &str = "host/runtime/src/ports/http_client";

/// Libraries that must not be found anywhere below a crate.
const ABSENT_BELOW: &[(&str, &[&str])] = &[
    ("wharf-contract", &["wasmtime", "hyper", "tokio"]),
    ("wharf-config", &["wasmtime", "hyper", "tokio"]),
    ("wharf-hub", &["wasmtime", "hyper", "tokio-tungstenite"]),
    ("wharf-node", &["wasmtime", "hyper", "tokio-tungstenite"]),
    ("wharf-cluster", &["wasmtime", "hyper", "tokio-tungstenite", "wharf-contract"]),
    ("wharf-metrics", &["wasmtime", "hyper", "tokio", "wharf-contract"]),
    ("wharf-engine", &["wasmtime", "hyper", "tokio-tungstenite", "wharf-contract"]),
];

/// Returns the names in a crate's `[dependencies]`.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = read(&format!("host/{name}/Cargo.toml"));
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn crates_of_the_host_depend_on_those_below_them_only() {
    let mut found = Vec::new();
    for (name, row) in MAY_DEPEND_ON {
        let allowed: BTreeSet<&str> = row.split(' ').filter(|name| !name.is_empty()).collect();
        let used = dependencies(name);
        let used: BTreeSet<&str> = used
            .iter()
            .filter_map(|name| name.strip_prefix("wharf-"))
            .filter(|name| MAY_DEPEND_ON.iter().any(|(known, _)| known == name))
            .collect();
        found.extend(used.difference(&allowed).map(|to| format!("host/{name} depends on {to}")));
        found.extend(
            allowed.difference(&used).map(|to| format!("host/{name} does not depend on {to}")),
        );
    }
    assert_none(
        &found,
        "the table MAY_DEPEND_ON in xtask/tests/tidy/crates.rs says otherwise; hand over what is needed \
         from further up, or, if the layers have changed, change the table and docs/architecture.md:",
    );
}

#[test]
fn every_crate_of_the_host_has_a_row() {
    let mut rows: BTreeMap<&str, bool> =
        MAY_DEPEND_ON.iter().map(|(name, _)| (*name, false)).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join("host")).expect("the host's folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        match rows.get_mut(name.as_str()) {
            Some(is_there) => *is_there = true,
            None => found.push(format!("host/{name} has no row in MAY_DEPEND_ON")),
        }
    }
    let gone = rows.iter().filter(|(_, is_there)| !**is_there);
    found.extend(gone.map(|(name, _)| format!("there is no host/{name}")));
    assert_none(&found, "keep the table in xtask/tests/tidy/crates.rs complete:");
}

#[test]
fn a_library_is_named_where_it_belongs_only() {
    let mut found = Vec::new();
    for (name, _) in MAY_DEPEND_ON {
        for library in dependencies(name) {
            let is_client = *name == "runtime" && ["hyper", "hyper-util"].contains(&&*library);
            if !is_client && ONLY_IN.iter().any(|(l, only)| *l == library && only != name) {
                found.push(format!("host/{name}: {library}"));
            }
        }
    }
    assert_none(
        &found,
        "these crates must not know these libraries (docs/architecture.md, Invariants):",
    );
}

#[test]
fn the_runtime_speaks_http_as_a_client_only() {
    let mut found = Vec::new();
    for source in Source::all_under("host/runtime/src") {
        for (line, name, after) in source.identifiers() {
            let is_hyper = name == "hyper" || name == "hyper_util";
            let is_client = source.path.starts_with(HTTP_CLIENT) && !after.starts_with("::server");
            if is_hyper && !is_client {
                found.push(format!("{}:{line}", source.path));
            }
        }
    }
    assert_none(
        &found,
        "only the port for HTTP requests names hyper in host/runtime, as a client:",
    );
}

#[test]
fn the_contract_the_configuration_and_the_hub_can_be_built_without_wasm_and_http() {
    let mut found = Vec::new();
    for (package, absent) in ABSENT_BELOW {
        let names = crates_below(&["--edges", "normal", "--package", package]);
        assert!(names.contains(*package), "the tree of {package} is {names:?}");
        let present = absent.iter().filter(|library| names.contains(**library));
        found.extend(present.map(|library| format!("{package} has {library} below it")));
    }
    assert_none(&found, "take these out of what the crate depends on:");
}

#[test]
fn a_component_does_not_contain_the_contract() {
    // The attribute's crate runs in the compiler.
    let edges = ["--edges", "normal,no-proc-macro", "--package", "wharf-sdk"];
    let of = |target: &str| crates_below(&[&edges[..], &["--target", target]].concat());
    let component = of("wasm32-wasip2");
    assert!(component.contains("wit-bindgen"), "{component:?}");
    assert!(!component.contains("wharf-contract"), "{component:?}");
    assert!(of("x86_64-unknown-linux-gnu").contains("wharf-contract"), "the test kit uses it");
}

/// Returns the names of the crates in a tree of `cargo tree`.
fn crates_below(arguments: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none"])
        .args(arguments)
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout);
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn native_code_is_taken_from_nowhere_but_the_cache() {
    let mut found = Vec::new();
    for source in Source::all_under("host") {
        let place = source.path.trim_start_matches("host/runtime/src/");
        for (number, name, _) in source.identifiers() {
            let may = match name {
                "NativeCode" => ["plugin/cache.rs", "plugin/component.rs"].contains(&place),
                "deserialize_file" | "deserialize_raw" | "deserialize_open_file" => false,
                _ => true,
            };
            if !may {
                found.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    assert_none(&found, "native code comes from plugin/cache, by way of `NativeCode`:");
}
