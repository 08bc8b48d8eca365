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

/// The profile in which plugins are compiled while their author waits: the crate's own release
/// profile, without the options that make compiling several times slower.
const PROFILE: &str = "wharf-dev";
const PROFILE_SETTINGS: [&str; 5] =
    ["inherits=\"release\"", "lto=false", "codegen-units=16", "incremental=true", "debug=false"];

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
    /// Its own folder, and those of the crates beside it that it is built from.
    pub(super) folders: BTreeSet<PathBuf>,
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
    crate_types: Vec<String>,
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
        let mut command = Command::new("cargo");
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
        let mut folders = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![own.id.as_str()];
        while let Some(id) = open.pop() {
            let Some(package) = by_id.get(id).filter(|package| package.source.is_none()) else {
                continue;
            };
            if seen.insert(id) {
                folders.extend(package.manifest_path.parent().map(Path::to_owned));
                let nodes = metadata.resolve.nodes.iter().filter(|node| node.id == id);
                open.extend(nodes.flat_map(|node| &node.dependencies).map(String::as_str));
            }
        }
        Ok(Package { name: own.name.clone(), folder: folder.to_owned(), manifest, folders })
    }

    /// Returns its manifest.
    pub(super) fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// Compiles the crate. Returns the component's bytes; `None` if it does not compile, which
    /// cargo has explained.
    pub(super) fn build(&self, cargo: &Cargo) -> anyhow::Result<Option<Vec<u8>>> {
        let read = |file: PathBuf| {
            fs::read(&file)
                .with_context(|| format!("the component {} cannot be read", file.display()))
        };
        self.compile(cargo)?.map(read).transpose()
    }

    /// Compiles the crate. Returns the component's file; `None` as above.
    pub(super) fn compile(&self, cargo: &Cargo) -> anyhow::Result<Option<PathBuf>> {
        let mut command = Command::new("cargo");
        for setting in PROFILE_SETTINGS {
            command.args(["--config", &format!("profile.{PROFILE}.{setting}")]);
        }
        command
            .args(["build", "--lib", "--profile", PROFILE, "--target", GUEST_TARGET])
            .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
            .arg(&self.manifest);
        let mut component = None;
        let succeeded = cargo.run(&mut command, |line| {
            component = self.component(line).or(component.take());
        })?;
        if !succeeded {
            return Ok(None);
        }
        component.context("cargo has built it, but no .wasm file").map(Some)
    }

    /// Returns the component that a message of cargo names, if it is about this crate.
    fn component(&self, line: &str) -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message.get("reason")? != "compiler-artifact"
            || Path::new(message.get("manifest_path")?.as_str()?) != self.manifest
        {
            return None;
        }
        let files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|end| end == "wasm"))
    }
}
