//! The files that a build reads.
//!
//! After a build that succeeded, cargo's list of them is known, and no other file matters. While a
//! build fails nobody knows which file it lacks, so that every file of its crates counts.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::GUEST_TARGET;
use crate::package::{PROFILE_FOLDER, Package};

/// Files that cargo and rustup look for in the folder of a crate and in each folder above it.
const LOOKED_FOR: [&str; 5] =
    ["Cargo.toml", ".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"];

/// Longest chain of settings files that include one another.
const MAX_INCLUDES: u8 = 8;

/// The places that a build reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// Files and folders by name, which need not exist.
    pub(super) named: BTreeSet<PathBuf>,
    /// Folders of which any file may be read.
    pub(super) whole: BTreeSet<PathBuf>,
    /// Folders within these with the results of builds.
    pub(super) outputs: BTreeSet<PathBuf>,
    /// The files among the named ones that cargo has listed.
    pub(super) listed: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Returns those of a crate that has never been built. Nothing is read from `plugins`.
    pub(super) fn of(package: &Package, plugins: &Path) -> Inputs {
        let mut outputs = package.outputs.clone();
        outputs.insert(plugins.to_owned());
        // An earlier one remains when a variable or setting names another.
        outputs.extend(package.folders.iter().map(|folder| folder.join("target")));
        outputs.retain(|output| !package.folders.iter().any(|folder| folder.starts_with(output)));
        let (named, whole) = (settings(package), package.folders.clone());
        Inputs { named, whole, outputs, listed: BTreeSet::new() }
    }

    /// Adds the files that cargo has listed beside a component. Any file in the folders `whole` may
    /// be read besides. Without such a list nothing is known.
    pub(super) fn built(mut self, component: &Path, whole: BTreeSet<PathBuf>) -> Inputs {
        let listed = listed(&component.with_extension("d"), Path::new("/"));
        self.listed = listed.into_iter().filter(|file| !self.is_output(file)).collect();
        if !self.listed.is_empty() {
            self.whole = whole;
        }
        self.named.extend(self.listed.iter().cloned());
        self
    }

    /// Adds the files of the last build that succeeded, and those that the compiler has listed
    /// before it failed.
    pub(super) fn failed(mut self, package: &Package, last: &Inputs) -> Inputs {
        self.listed.clone_from(&last.listed);
        self.named.extend(self.listed.iter().cloned());
        for output in package.outputs.iter() {
            let profile = match output.ends_with(GUEST_TARGET) {
                true => output.join(PROFILE_FOLDER),
                false => output.clone(),
            };
            for entry in fs::read_dir(profile.join("deps")).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let library = name.to_str().and_then(|name| name.strip_suffix(".d"));
                let library = library.and_then(|name| name.rsplit_once('-'));
                if library.is_some_and(|(name, _)| package.libraries.contains(name)) {
                    let mut listed = listed(&entry.path(), &package.workspace);
                    listed.retain(|file| !self.is_output(file));
                    self.named.extend(listed);
                }
            }
        }
        self
    }

    /// Returns true if this file or folder is among them.
    pub(super) fn covers(&self, path: &Path) -> bool {
        let is_in = |places: &BTreeSet<PathBuf>| path.ancestors().any(|one| places.contains(one));
        is_in(&self.named) || is_in(&self.whole)
    }

    /// Returns true if a build has written this file.
    pub(super) fn is_output(&self, path: &Path) -> bool {
        path.ancestors().any(|folder| self.outputs.contains(folder))
    }

    /// Returns the folders of the files that cargo has listed, also of those that links lead to.
    /// Those of settings are not among them: other programs write to some of them all the time.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::new();
        for file in &self.listed {
            folders.extend(file.parent().map(Path::to_owned));
            if file.is_symlink() {
                let target = file.canonicalize().ok();
                folders.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
            }
        }
        folders
    }
}

/// Returns the files with the settings of a build.
fn settings(package: &Package) -> BTreeSet<PathBuf> {
    let mut files = package.manifests.clone();
    files.insert(package.workspace.join("Cargo.lock"));
    for folder in &package.folders {
        // Cargo finds it by its name.
        files.insert(folder.join("build.rs"));
        files.extend(folder.ancestors().map(|above| above.join("Cargo.toml")));
    }
    let mut configs = Vec::new();
    for folder in package.manifest().ancestors().skip(1) {
        let found = LOOKED_FOR.iter().map(|name| folder.join(name));
        configs.extend(found.clone().filter(|file| file.starts_with(folder.join(".cargo"))));
        files.extend(found);
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    if let Some(home) = home {
        configs.extend([home.join("config.toml"), home.join("config")]);
    }
    for config in configs {
        add_config(config, MAX_INCLUDES, &mut files);
    }
    files
}

/// Adds a file of cargo's settings, and those that it includes.
fn add_config(config: PathBuf, depth: u8, files: &mut BTreeSet<PathBuf>) {
    let text = fs::read_to_string(&config).unwrap_or_default();
    // It may be broken at the moment; cargo tells.
    let table: Table = text.parse().unwrap_or_default();
    let folder = config.parent().map(Path::to_owned).unwrap_or_default();
    files.insert(config);
    let included = match table.get("include") {
        Some(Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    for one in included.iter().filter(|_| depth > 0) {
        if let Some(path) = one.get("path").unwrap_or(one).as_str() {
            add_config(folder.join(path), depth - 1, files);
        }
    }
}

/// Returns the files in a list of dependencies, as make reads it. Relative ones are in `base`.
fn listed(file: &Path, base: &Path) -> BTreeSet<PathBuf> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let rules = text.lines().filter(|line| !line.starts_with('#'));
    rules
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, files)| words(files))
        .map(|file| base.join(file))
        .collect()
}

/// Returns the words of a line. A space within a word stands behind a backslash.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek(), words.last_mut()) {
            ('\\', Some(' '), Some(word)) => {
                word.push(' ');
                rest.next();
            }
            (' ', ..) => words.push(String::new()),
            (c, _, Some(word)) => word.push(c),
            (_, _, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cargo_and_of_the_compiler_are_read() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("x.d");
        let list = |text: &str, base: &str| {
            fs::write(&file, text).expect("a file");
            listed(&file, Path::new(base))
        };
        let wanted = ["/w/my plugin/src/lib.rs", "/w/shared/x.json"].map(PathBuf::from);
        let of_cargo = "/w/target/x.wasm: w/my\\ plugin/src/lib.rs /w/shared/x.json\n";
        assert_eq!(list(of_cargo, "/"), BTreeSet::from(wanted.clone()));
        let of_compiler = "/w/target/deps/x-1.d: my\\ plugin/src/lib.rs shared/x.json\n\n\
            my\\ plugin/src/lib.rs:\nshared/x.json:\n\n# env-dep:HOME=/: /root\n";
        assert_eq!(list(of_compiler, "/w"), BTreeSet::from(wanted));
        assert!(listed(Path::new("/none"), Path::new("/")).is_empty());
    }

    #[test]
    fn settings_may_include_others() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        fs::write(at("config.toml"), "include = [\"a.toml\", { path = \"b.toml\" }]")
            .expect("a file");
        fs::write(at("a.toml"), "include = \"config.toml\"").expect("a file");
        let mut files = BTreeSet::new();
        add_config(at("config.toml"), MAX_INCLUDES, &mut files);
        assert_eq!(files, ["config.toml", "a.toml", "b.toml"].map(at).into());
    }
}
