//! Packs the files that `wharf new` puts into a plugin's folder: the SDK's sources, with manifests
//! that need no workspace, and the versions of the crates that it depends on.
//!
//! The result depends only on the packed files. `src/author/sdk.rs` includes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The crates: their folders in this repository and in the copy. The first uses the others.
const CRATES: [(&str, &str); 3] =
    [("guest-sdk", ""), ("guest-sdk/macros", "macros/"), ("contract", "contract/")];

/// The folders of each crate that its users need.
const FOLDERS: [&str; 2] = ["src", "wit"];

/// Files of the whole repository that belong to every copy.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Dependencies of a new plugin besides the SDK.
const PLUGIN_DEPENDENCIES: [&str; 1] = ["serde"];

/// The tables that list what a crate's users have to build.
const DEPENDENCIES: [&str; 2] = ["dependencies", "build-dependencies"];

fn main() {
    let host = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = host.ancestors().nth(2).expect("the crate is in the repository").to_owned();
    println!("cargo::rerun-if-changed=build.rs");

    let workspace = table(&root.join("Cargo.toml"));
    let workspace = workspace["workspace"].as_table().expect("a workspace");
    let mut files = BTreeMap::new();
    // The SDK's own crates, with the dependencies of each.
    let mut own = Vec::new();
    for (folder, place) in CRATES {
        let mut manifest = table(&root.join(folder).join("Cargo.toml"));
        resolve(&mut manifest, workspace);
        point_to_the_copy(&mut manifest, place);
        let dependencies = dependencies(&manifest);
        let package = manifest["package"].as_table().expect("a package");
        let text = |key: &str| package[key].as_str().expect("text").to_owned();
        own.push((text("name"), dependencies));
        let written = format!("{place}Cargo.toml");
        files.insert(written, format!("{:?}", write_manifest(&manifest)));
        for sources in FOLDERS {
            let sources = root.join(folder).join(sources);
            for file in files_under(&sources) {
                let relative = file.strip_prefix(root.join(folder)).expect("it is in there");
                let name = format!("{place}{}", relative.to_str().expect("a name in UTF-8"));
                files.insert(name, include(&file));
            }
        }
    }
    for name in LICENCES {
        files.insert(name.to_owned(), include(&root.join(name)));
    }

    let mut code = String::from("pub const FILES: &[(&str, &str)] = &[\n");
    for (name, content) in &files {
        writeln!(code, "    ({name:?}, {content}),").expect("strings take everything");
    }
    code.push_str("];\n\npub const LOCKED: &[(&str, &str)] = &[\n");
    for (name, entry) in locked(&table(&root.join("Cargo.lock")), &own) {
        writeln!(code, "    ({name:?}, {entry:?}),").expect("strings take everything");
    }
    code.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sdk.rs"), code).expect("cargo's folder can be written to");
}

/// Returns a file of the repository as TOML. The build depends on it from now on.
fn table(file: &Path) -> Table {
    println!("cargo::rerun-if-changed={}", file.display());
    let text = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("the SDK is packed from {}: {error}", file.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn include(file: &Path) -> String {
    println!("cargo::rerun-if-changed={}", file.display());
    format!("include_str!({:?})", file.to_str().expect("a path in UTF-8"))
}

/// Returns all files under a folder, in order; empty if there is no such folder.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    if !folder.exists() {
        return Vec::new();
    }
    // New files count as well.
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(files_under(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// Writes into a manifest the values that it takes from the workspace, and removes those that only
/// this repository needs.
fn resolve(manifest: &mut Table, workspace: &Table) {
    manifest.remove("dev-dependencies");
    manifest.remove("lints");
    let inherited = workspace["package"].as_table().expect("a table");
    let package = manifest["package"].as_table_mut().expect("a package");
    for (key, value) in package.iter_mut() {
        if is_inherited(value) {
            *value = inherited[key.as_str()].clone();
        }
    }
    let known = workspace["dependencies"].as_table().expect("a table");
    for dependencies in dependency_tables(manifest) {
        for (name, wanted) in dependencies.iter_mut().filter(|(_, wanted)| is_inherited(wanted)) {
            let mut dependency = match &known[name.as_str()] {
                Value::Table(table) => table.clone(),
                version => Table::from_iter([("version".to_owned(), version.clone())]),
            };
            for (key, value) in wanted.as_table().into_iter().flatten() {
                match (key.as_str(), dependency.get_mut(key)) {
                    ("workspace", _) => {}
                    ("features", Some(Value::Array(features))) => {
                        features.extend(value.as_array().into_iter().flatten().cloned());
                    }
                    _ => drop(dependency.insert(key.clone(), value.clone())),
                }
            }
            *wanted = Value::Table(dependency);
        }
    }
}

/// Changes the paths in a manifest to those of the crates in the copy. `place` is the manifest's
/// own folder.
fn point_to_the_copy(manifest: &mut Table, place: &str) {
    for dependencies in dependency_tables(manifest) {
        let tables = dependencies.iter_mut().filter_map(|(_, wanted)| wanted.as_table_mut());
        for path in tables.filter_map(|table| table.get_mut("path")) {
            let folder = path.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let up = "../".repeat(place.matches('/').count());
            *path = Value::String(format!("{up}{folder}"));
        }
    }
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// Returns the tables of dependencies, including those for certain targets.
fn dependency_tables(manifest: &mut Table) -> Vec<&mut Table> {
    let mut tables = Vec::new();
    for (key, value) in manifest.iter_mut() {
        let Value::Table(table) = value else {
            continue;
        };
        if DEPENDENCIES.contains(&key.as_str()) {
            tables.push(table);
        } else if key == "target" {
            let targets = table.iter_mut().filter_map(|(_, target)| target.as_table_mut());
            tables.extend(targets.flat_map(dependency_tables));
        }
    }
    tables
}

fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let mut manifest = manifest.clone();
    let tables = dependency_tables(&mut manifest);
    tables.into_iter().flat_map(|table| table.keys().cloned().collect::<Vec<_>>()).collect()
}

/// Returns a manifest with its subject at its top.
fn write_manifest(manifest: &Table) -> String {
    let mut text = String::from("# A copy of Wharf's SDK, which `wharf new` has made.\n");
    let first = ["package", "lib", "features", "dependencies"];
    let rest = manifest.keys().map(String::as_str).filter(|key| !first.contains(key));
    for key in first.into_iter().chain(rest) {
        if let Some(value) = manifest.get(key) {
            let section = Table::from_iter([(key.to_owned(), value.clone())]);
            text.push('\n');
            text.push_str(&toml::to_string(&section).expect("it was TOML before"));
        }
    }
    text
}

/// Returns the entries of a lock file for the SDK and all dependencies of plugins, by the names of
/// their packages.
fn locked(lock: &Table, own: &[(String, BTreeSet<String>)]) -> Vec<(String, String)> {
    let packages = lock["package"].as_array().expect("a list");
    let packages: Vec<&Table> = packages.iter().filter_map(Value::as_table).collect();
    let text = |index: usize, key: &str| packages[index][key].as_str().expect("text");
    // `name`, or `name version` if there are several.
    let find = |wanted: &str| -> usize {
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let fits = |index: &usize| {
            text(*index, "name") == name && version.is_none_or(|v| text(*index, "version") == v)
        };
        let found: Vec<usize> = (0..packages.len()).filter(fits).collect();
        assert_eq!(found.len(), 1, "Cargo.lock should have one {wanted}");
        found[0]
    };
    // The SDK's own crates, without the dependencies of their tests.
    let uses = |index: usize| -> Vec<usize> {
        let list = packages[index].get("dependencies").and_then(Value::as_array);
        let list = list.into_iter().flatten().filter_map(Value::as_str);
        let list = list.filter(|used| {
            let name = used.split(' ').next().unwrap_or_default();
            let limits = own.iter().find(|(package, _)| package == text(index, "name"));
            limits.is_none_or(|(_, dependencies)| dependencies.contains(name))
        });
        list.map(find).collect()
    };
    let mut all = BTreeSet::new();
    let mut open: Vec<usize> = own.iter().map(|(name, _)| find(name)).collect();
    open.extend(PLUGIN_DEPENDENCIES.map(find));
    while let Some(index) = open.pop() {
        if all.insert(index) {
            open.extend(uses(index));
        }
    }
    // A version is only given if the name alone would be ambiguous.
    let shown = |index: usize| {
        let name = text(index, "name");
        match all.iter().filter(|other| text(**other, "name") == name).count() {
            1 => name.to_owned(),
            _ => format!("{name} {}", text(index, "version")),
        }
    };
    let entry = |index: &usize| {
        let used: Vec<String> = uses(*index).into_iter().map(shown).collect();
        (text(*index, "name").to_owned(), entry(packages[*index], &used))
    };
    let mut entries: Vec<(String, String)> = all.iter().map(entry).collect();
    entries.sort();
    entries
}

fn entry(package: &Table, dependencies: &[String]) -> String {
    let mut text = String::from("[[package]]\n");
    for key in ["name", "version", "source", "checksum"] {
        if let Some(value) = package.get(key) {
            writeln!(text, "{key} = {value}").expect("strings take everything");
        }
    }
    if !dependencies.is_empty() {
        text.push_str("dependencies = [\n");
        for dependency in dependencies {
            writeln!(text, " {dependency:?},").expect("strings take everything");
        }
        text.push_str("]\n");
    }
    text
}
