//! A plugin's crate, as cargo knows it, and its build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::Value;

use crate::GUEST_TARGET;

/// The folder of the profile in which plugins are compiled while their author waits. It is the one of
/// `cargo test`, so that both share the compiled macros and build scripts.
pub(super) const PROFILE_FOLDER: &str = "debug";
/// The settings of that profile: code that is as fast and checks as much as that of a release, without
/// the options that make compiling several times slower. What runs while compiling is as for
/// `cargo test`.
const PROFILE_SETTINGS: [&str; 10] = [
    "opt-level=\"s\"",
    "lto=false",
    "codegen-units=16",
    "incremental=true",
    "debug=false",
    "debug-assertions=false",
    "overflow-checks=false",
    "build-override.debug-assertions=true",
    "build-override.overflow-checks=true",
    "build-override.strip=false",
];

/// The use of a component, which decides how it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its author waits for it.
    Work,
    /// It goes into a host's folder: the crate's own release profile.
    Release,
}

/// Runs cargo, one process at a time, until it is stopped.
#[derive(Debug, Default)]
pub(super) struct Cargo {
    stopped: AtomicBool,
    /// The process group of the running process.
    running: Mutex<Option<Pid>>,
    /// True if Ctrl-C at the keyboard ends it along with this program.
    in_foreground: bool,
}

impl Cargo {
    /// Makes one that ends only with this program.
    pub(super) fn in_foreground() -> Cargo {
        Cargo { in_foreground: true, ..Cargo::default() }
    }

    /// Ends the running process, including compilers, and prevents further ones.
    pub(super) fn stop(&self) {
        let running = self.running.lock();
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(group) = *running {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Runs a command, and hands each line of its standard output to `read`. Standard error is the
    /// terminal's, unless it is taken. Returns true if it succeeded.
    fn run(&self, command: &mut Command, mut read: impl FnMut(&str)) -> anyhow::Result<bool> {
        let mut running = self.running.lock();
        if self.is_stopped() {
            bail!("it was stopped");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if !self.in_foreground {
            // A group of its own, which this program ends after the server.
            command.process_group(0);
        }
        let mut child = command
            .spawn()
            .context("cargo does not run; is Rust installed, and its `bin` folder on the PATH?")?;
        *running = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        drop(running);
        let output = child.stdout.take().map(BufReader::new);
        for line in output.into_iter().flat_map(BufReader::lines) {
            match line {
                Ok(line) => read(&line),
                Err(_) => break,
            }
        }
        // From here on another process may get its number.
        *self.running.lock() = None;
        Ok(child.wait().context("cargo cannot be waited for")?.success())
    }
}

/// A crate that is compiled to a component.
#[derive(Debug)]
pub(super) struct Package {
    /// Name, which becomes the channel's.
    pub(super) name: String,
    /// The folder as given.
    pub(super) folder: PathBuf,
    manifest: PathBuf,
    /// Its own folder, and those of the crates on this machine that it is built from.
    pub(super) folders: BTreeSet<PathBuf>,
    /// The manifests that cargo reads: those of the workspace, and of all crates on this machine.
    pub(super) manifests: BTreeSet<PathBuf>,
    /// The folder whose manifest has the workspace.
    pub(super) workspace: PathBuf,
    /// The folders that a build writes to.
    pub(super) outputs: BTreeSet<PathBuf>,
    /// The names of the libraries that are compiled in `folders`.
    pub(super) libraries: BTreeSet<String>,
    /// The folders of crates with a build script, by the ids of their packages.
    scripts: BTreeMap<String, PathBuf>,
}

/// The result of a build.
#[derive(Debug, Default)]
pub(super) struct Build {
    /// The component's file; `None` if the crate does not compile, which cargo has explained.
    pub(super) component: Option<PathBuf>,
    /// The folders of crates whose build script does not name the files that it reads.
    pub(super) read_whole: BTreeSet<PathBuf>,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.display().fmt(f)
    }
}

/// The parts of `cargo metadata` that matter here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    resolve: Resolve,
    workspace_root: PathBuf,
    target_directory: PathBuf,
    /// The folder for intermediate files. Older versions of cargo have one folder for all.
    build_directory: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    /// The place it was downloaded from; `None` if it lies on this machine.
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    crate_types: Vec<String>,
}

impl Target {
    fn is_build_script(&self) -> bool {
        self.kind.iter().any(|kind| kind == "custom-build")
    }
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<PackageNode>,
}

#[derive(Deserialize)]
struct PackageNode {
    id: String,
    dependencies: Vec<String>,
}

impl Package {
    /// Asks cargo about the crate in a folder.
    pub(super) fn find(cargo: &Cargo, folder: &Path) -> anyhow::Result<Package> {
        let shown = folder.display();
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest.canonicalize().map_err(|_| {
            anyhow!(
                "there is no Cargo.toml in {shown}; run this in a plugin's folder, or name that folder \
                 (`wharf new NAME` makes one)"
            )
        })?;
        let mut command = cargo_in(manifest.parent());
        command.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
        let mut text = String::new();
        if !cargo.run(&mut command, |line| text.push_str(line))? {
            bail!("cargo cannot read {}", manifest.display());
        }
        let metadata: Metadata =
            serde_json::from_str(&text).context("what cargo says of the crate cannot be read")?;
        let by_id: BTreeMap<&str, &MetadataPackage> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let own = metadata.packages.iter().find(|package| package.manifest_path == manifest);
        let own = own.ok_or_else(|| {
            anyhow!(
                "{} is that of a workspace; name the folders of its plugins",
                manifest.display()
            )
        })?;
        let is_component = |target: &Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        if !own.targets.iter().any(is_component) {
            bail!(
                "{} makes no component; it needs\n    [lib]\n    crate-type = [\"cdylib\"]",
                manifest.display()
            );
        }
        let mut package = Package {
            name: own.name.clone(),
            folder: folder.to_owned(),
            manifest,
            folders: BTreeSet::new(),
            manifests: BTreeSet::from([metadata.workspace_root.join("Cargo.toml")]),
            outputs: BTreeSet::new(),
            libraries: BTreeSet::new(),
            scripts: BTreeMap::new(),
            workspace: metadata.workspace_root,
        };
        let target = metadata.target_directory;
        for folder in [metadata.build_directory.unwrap_or_else(|| target.clone()), target] {
            // Nothing but folders of its own: the whole may be one with sources beside them.
            package.outputs.extend([folder.join(GUEST_TARGET), folder.join(PROFILE_FOLDER)]);
        }
        let here = metadata.packages.iter().filter(|package| package.source.is_none());
        package.manifests.extend(here.map(|package| package.manifest_path.clone()));
        let mut seen = BTreeSet::new();
        let mut open = vec![own.id.as_str()];
        while let Some(id) = open.pop() {
            let Some(used) = by_id.get(id).filter(|used| used.source.is_none()) else {
                continue;
            };
            if seen.insert(id) {
                package.add(used);
                let nodes = metadata.resolve.nodes.iter().filter(|node| node.id == id);
                open.extend(nodes.flat_map(|node| &node.dependencies).map(String::as_str));
            }
        }
        Ok(package)
    }

    /// Notes a crate on this machine that it is built from.
    fn add(&mut self, used: &MetadataPackage) {
        let Some(folder) = used.manifest_path.parent() else {
            return;
        };
        self.folders.insert(folder.to_owned());
        for target in &used.targets {
            if target.is_build_script() {
                self.scripts.insert(used.id.clone(), folder.to_owned());
            } else if target.crate_types.iter().any(|kind| kind != "bin") {
                self.libraries.insert(target.name.replace('-', "_"));
            }
        }
    }

    /// Returns true if a build script runs for it.
    pub(super) fn has_scripts(&self) -> bool {
        !self.scripts.is_empty()
    }

    /// Returns its manifest.
    pub(super) fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// Compiles the crate.
    pub(super) fn compile(&self, cargo: &Cargo, purpose: Purpose) -> anyhow::Result<Build> {
        let mut command = cargo_in(self.manifest.parent());
        command.args(["build", "--lib", "--target", GUEST_TARGET]);
        match purpose {
            Purpose::Release => {
                command.arg("--release");
            }
            Purpose::Work => {
                for setting in PROFILE_SETTINGS {
                    command.args(["--config", &format!("profile.dev.{setting}")]);
                }
            }
        }
        // The paths in the list of files that were read are then relative to one known folder.
        command.args(["--config", "build.dep-info-basedir=\"/\""]);
        command
            .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
            .arg(&self.manifest);
        let mut build = Build::default();
        let succeeded = cargo.run(&mut command, |line| {
            if let Ok(message) = serde_json::from_str(line) {
                build.component = self.component(&message).or(build.component.take());
                build.read_whole.extend(self.read_whole(&message));
            }
        })?;
        match build.component {
            None if succeeded => bail!("cargo has built it, but no .wasm file"),
            component => Ok(Build { component: component.filter(|_| succeeded), ..build }),
        }
    }

    /// Returns the component that a message of cargo names, if it is about this crate.
    fn component(&self, message: &Value) -> Option<PathBuf> {
        if message.get("reason")? != "compiler-artifact"
            || Path::new(message.get("manifest_path")?.as_str()?) != self.manifest
        {
            return None;
        }
        let files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|end| end == "wasm"))
    }

    /// Returns the folder of the crate whose build script a message of cargo is about, if the script
    /// does not say which files it reads. Cargo runs it again after any change in that folder.
    fn read_whole(&self, message: &Value) -> Option<PathBuf> {
        if message.get("reason")? != "build-script-executed" {
            return None;
        }
        let folder = self.scripts.get(message.get("package_id")?.as_str()?)?;
        let output = Path::new(message.get("out_dir")?.as_str()?).with_file_name("output");
        let says = |line: &str| {
            line.starts_with("cargo:rerun-if-") || line.starts_with("cargo::rerun-if-")
        };
        // Cargo keeps the script's lines there. Without them any file may have been read.
        let names_files = fs::read(output)
            .is_ok_and(|printed| String::from_utf8_lossy(&printed).lines().any(says));
        (!names_files).then(|| folder.clone())
    }
}

/// Returns a command of cargo for the crate in a folder, which also has its settings and its
/// toolchain.
fn cargo_in(folder: Option<&Path>) -> Command {
    let mut command = Command::new("cargo");
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    command
}
