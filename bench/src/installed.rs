//! The peers that this program installs into `target/bench-peers`, once: from npm, each with a
//! pinned version, and one in [`go`].

pub mod go;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::artefact;

/// Time to install or compile one package.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);

/// A peer made of a package and a script of this repository.
pub struct Package {
    /// Name in npm's registry, and of the folder.
    pub name: &'static str,
    /// Exact version, so that figures of different days compare.
    pub version: &'static str,
    /// Text of the script.
    pub script: &'static str,
    /// The program that runs the script.
    pub runtime: Runtime,
}

/// The program that runs a [`Package`]'s script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The program in the package, which is bun.
    Bun,
    /// The `node` on the `PATH`.
    Node,
}

/// The command that starts an installed peer.
#[derive(Clone)]
pub struct Installed {
    /// The program.
    pub program: PathBuf,
    /// The program's arguments: the script, unless that is the program.
    pub arguments: Vec<PathBuf>,
    /// The program with its version, for reports.
    pub version: String,
}

impl Package {
    /// Installs the package if it is missing, and says so on stderr, since it takes a while.
    ///
    /// # Errors
    ///
    /// npm or node is missing, there is no network, or no package for this machine.
    pub fn install(&self) -> anyhow::Result<Installed> {
        let folder = artefact::scratch()?.join("bench-peers").join(self.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if self.installed_version(&folder).as_deref() != Some(self.version) {
            eprintln!("installing {} {} with npm …", self.name, self.version);
            self.run_npm(&folder)?;
            let now = self.installed_version(&folder);
            ensure!(now.as_deref() == Some(self.version), "npm has installed {now:?}");
        }
        let extension = if self.runtime == Runtime::Node { "cjs" } else { "js" };
        let script = folder.join("server").with_extension(extension);
        fs::write(&script, self.script)?;
        let (program, runtime) = match self.runtime {
            Runtime::Bun => bun(&folder)?,
            Runtime::Node => node()?,
        };
        let version = match self.runtime {
            Runtime::Bun => format!("bun {runtime}"),
            Runtime::Node => format!("{} {}, node {runtime}", self.name, self.version),
        };
        Ok(Installed { program, arguments: vec![script], version })
    }

    fn installed_version(&self, folder: &Path) -> Option<String> {
        let manifest = folder.join("node_modules").join(self.name).join("package.json");
        let manifest: Value = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
        Some(manifest.get("version")?.as_str()?.to_owned())
    }

    fn run_npm(&self, folder: &Path) -> anyhow::Result<()> {
        let manifest = json!({ "private": true, "dependencies": { self.name: self.version } });
        fs::write(folder.join("package.json"), manifest.to_string())?;
        let mut npm = Command::new("npm");
        // No script of a package needs to run before the package is used.
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        run_logged(&mut npm, "npm", folder)
    }
}

/// Runs a slow program, with its output in a log in that folder.
///
/// # Errors
///
/// The program is missing, fails, or has not finished in time.
fn run_logged(command: &mut Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    let log = folder.join(name).with_extension("log");
    let output = File::create(&log)?;
    let mut child =
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn().map_err(
            |error| match error.kind() {
                ErrorKind::NotFound => anyhow!("{name} is not installed, or not on the PATH"),
                _ => anyhow!(error).context(format!("cannot start {name}")),
            },
        )?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > INSTALL_LIMIT {
            let _ = child.kill();
            child.wait()?;
            bail!("{name} had not finished after {} s", INSTALL_LIMIT.as_secs());
        }
        // The standard library has no wait with a limit.
        thread::sleep(Duration::from_millis(50));
    };
    let text = fs::read_to_string(&log).unwrap_or_default();
    let is_telling = |line: &&str| line.contains("error") || line.contains("ERR");
    let last = text.lines().rfind(is_telling).or(text.lines().last());
    ensure!(status.success(), "{name} failed ({status}): {}", last.unwrap_or("it says nothing"));
    Ok(())
}

/// Returns bun's program for this machine. npm installs one or several, for processors old and new.
fn bun(folder: &Path) -> anyhow::Result<(PathBuf, String)> {
    let packages = folder.join("node_modules/@oven");
    let mut programs: Vec<PathBuf> = fs::read_dir(&packages)
        .with_context(|| format!("npm has put no program into {}", packages.display()))?
        .map_while(Result::ok)
        .map(|entry| entry.path().join("bin/bun"))
        .collect();
    // The shortest name is the one without `-baseline` or `-musl`.
    programs.sort_by_key(|program| program.as_os_str().len());
    programs
        .into_iter()
        .find_map(|program| version_of(&program).map(|version| (program, version)))
        .context("none of the programs that npm has installed runs here")
}

fn node() -> anyhow::Result<(PathBuf, String)> {
    let program = PathBuf::from("node");
    let version = version_of(&program).context("node is not installed, or not on the PATH")?;
    Ok((program, version))
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().trim_start_matches('v').to_owned();
    (output.status.success() && !version.is_empty()).then_some(version)
}
