//! What is measured: the host, and the peers beside it, each with the same settings.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::process::Process;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The host with a plugin
    Wharf,
    /// An echo server written by hand with tokio-tungstenite
    Tungstenite,
}

impl Kind {
    /// Check that each is named once.
    ///
    /// # Errors
    ///
    /// One is there twice: their rounds could not be told apart.
    pub fn check_distinct(kinds: &[Kind]) -> anyhow::Result<()> {
        for (index, kind) in kinds.iter().enumerate() {
            ensure!(!kinds[..index].contains(kind), "--servers names {} twice", kind.name());
        }
        Ok(())
    }

    /// What it is called on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wharf => "wharf",
            Kind::Tungstenite => "tungstenite",
        }
    }
}

/// The host's program and the one plugin that it serves.
#[derive(Clone, Debug)]
pub struct Host {
    /// The program.
    pub program: PathBuf,
    /// The plugin's component.
    pub plugin: PathBuf,
    /// Further flags of `wharf serve`.
    pub flags: Vec<String>,
}

impl Host {
    /// In one line: which program of what version, which plugin, which flags.
    pub fn describe(&self) -> String {
        let version = Command::new(&self.program).arg("--version").output().ok();
        let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
        let version = version.as_deref().map_or("", str::trim);
        let size = fs::metadata(&self.plugin).map_or(0, |file| file.len());
        let (program, plugin) = (self.program.display(), self.plugin.display());
        let flags = self.flags.join(" ");
        format!("{program} ({version}) with {plugin} ({size} bytes) {flags}").trim_end().to_owned()
    }

    /// Whether the program lies where cargo puts what it has not optimised.
    pub fn looks_unoptimised(&self) -> bool {
        self.program.parent().is_some_and(|p| p.ends_with("debug"))
    }
}

/// A folder with a name that says whose it is, should it be left behind.
fn own_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("wharf-bench-").tempdir();
    folder.context("cannot make a folder for the server")
}

/// A running server.
pub struct Server {
    /// Its process.
    pub process: Process,
    folder: TempDir,
}

impl Server {
    /// Starts a host that serves its plugin, and no other, from a folder of its own.
    ///
    /// `workers` of `None` leaves the number of threads to the host.
    ///
    /// # Errors
    ///
    /// The plugin cannot be copied or the host does not start.
    pub fn start_host(
        host: &Host,
        workers: Option<usize>,
        core: Option<usize>,
    ) -> anyhow::Result<Server> {
        let folder = own_folder()?;
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins)?;
        let name = host.plugin.file_name().context("the plugin has no name")?;
        fs::copy(&host.plugin, plugins.join(name))
            .with_context(|| format!("cannot copy {}", host.plugin.display()))?;
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--plugins".into(), plugins.into()];
        arguments.extend(["--listen", "127.0.0.1:0", "--log-format", "json"].map(Into::into));
        if let Some(workers) = workers {
            arguments.extend(["--workers".into(), workers.to_string().into()]);
        }
        arguments.extend(host.flags.iter().map(Into::into));
        let name = Kind::Wharf.name();
        let process = Process::start(name, &host.program, &arguments, folder.path(), core)?;
        Ok(Server { process, folder })
    }

    /// Starts a server of that kind with one worker.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(kind: Kind, host: Option<&Host>, core: Option<usize>) -> anyhow::Result<Server> {
        match kind {
            Kind::Wharf => {
                let host = host.ok_or_else(|| anyhow!("no host has been looked for"))?;
                Server::start_host(host, Some(1), core)
            }
            Kind::Tungstenite => {
                let folder = own_folder()?;
                let arguments = ["peer", kind.name(), "--workers", "1"].map(Into::into);
                let program = std::env::current_exe()?;
                let process =
                    Process::start(kind.name(), &program, &arguments, folder.path(), core)?;
                Ok(Server { process, folder })
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// A folder that lives as long as the server; a host's plugins are in `plugins` below it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
