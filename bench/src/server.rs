//! The measured servers: the host, and the peers beside it, each with the same settings.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::dialect::Dialect;
use crate::installed::{Installed, Package, Runtime, go};
use crate::process::Process;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The host with a plugin
    Wharf,
    /// The host with two workers, which is left to run on any core
    WharfTwoWorkers,
    /// Another build of the host, for a comparison of two revisions; needs --baseline
    WharfBaseline,
    /// A server written by hand with tokio-tungstenite, 4 KiB read buffers
    Tungstenite,
    /// The WebSocket server of bun, which is uWebSockets, installed from npm
    Bun,
    /// A server written by hand with axum, 4 KiB read buffers
    Axum,
    /// The library ws on Node, installed from npm
    Ws,
    /// The library socket.io on Node, installed from npm, with its own protocol
    #[value(name = "socket.io")]
    #[serde(rename = "socket.io")]
    SocketIo,
    /// The library gorilla/websocket, where Debian's packages of it and of Go are installed
    Gorilla,
    /// A bare loop around epoll: the work that the kernel asks of every server
    Floor,
}

impl Kind {
    /// Checks that each server is named once.
    ///
    /// # Errors
    ///
    /// A server is named twice: its rounds could not be told apart.
    pub fn check_distinct(kinds: &[Kind]) -> anyhow::Result<()> {
        for (index, kind) in kinds.iter().enumerate() {
            ensure!(!kinds[..index].contains(kind), "--servers names {} twice", kind.name());
        }
        Ok(())
    }

    /// Returns the name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wharf => "wharf",
            Kind::WharfTwoWorkers => "wharf-two-workers",
            Kind::WharfBaseline => "wharf-baseline",
            Kind::Tungstenite => "tungstenite",
            Kind::Bun => "bun",
            Kind::Axum => "axum",
            Kind::Ws => "ws",
            Kind::SocketIo => "socket.io",
            Kind::Gorilla => "gorilla",
            Kind::Floor => "floor",
        }
    }

    /// Returns the protocol between its clients and the server.
    pub fn dialect(self) -> Dialect {
        match self {
            Kind::SocketIo => Dialect::SocketIo,
            _ => Dialect::Plain,
        }
    }

    /// Installs this peer if it needs that; `None` for the host and for peers in this program.
    fn install(self) -> anyhow::Result<Option<Installed>> {
        let package = match self {
            Kind::Wharf
            | Kind::WharfTwoWorkers
            | Kind::WharfBaseline
            | Kind::Tungstenite
            | Kind::Axum
            | Kind::Floor => return Ok(None),
            Kind::Gorilla => return go::gorilla().map(Some),
            Kind::Bun => Package {
                name: "bun",
                version: "1.4.5",
                script: include_str!("../peers/bun.js"),
                runtime: Runtime::Bun,
            },
            Kind::Ws => Package {
                name: "ws",
                version: "8.23.0",
                script: include_str!("../peers/ws.cjs"),
                runtime: Runtime::Node,
            },
            Kind::SocketIo => Package {
                name: "socket.io",
                version: "4.8.4",
                script: include_str!("../peers/socket.io.cjs"),
                runtime: Runtime::Node,
            },
        };
        package.install().map(Some)
    }
}

/// A server that is ready to be started, once a round.
#[derive(Clone)]
pub enum Contestant {
    /// The host.
    Host(Host),
    /// One of the peers.
    Peer {
        /// The peer's kind.
        kind: Kind,
        /// The program.
        program: PathBuf,
        /// The program's arguments.
        arguments: Vec<OsString>,
        /// The program and its version, in words.
        version: String,
    },
}

impl Contestant {
    /// Prepares a peer: installs it, unless it is this program.
    ///
    /// # Errors
    ///
    /// The peer cannot be installed here.
    pub fn peer(kind: Kind) -> anyhow::Result<Contestant> {
        let Some(installed) = kind.install()? else {
            return Ok(Contestant::Peer {
                kind,
                program: std::env::current_exe()?,
                arguments: ["peer", kind.name(), "--workers", "1"].map(Into::into).to_vec(),
                version: "compiled into this program".to_owned(),
            });
        };
        Ok(Contestant::Peer {
            kind,
            program: installed.program,
            arguments: installed.arguments.into_iter().map(Into::into).collect(),
            version: installed.version,
        })
    }

    /// Returns the server's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Contestant::Host(host) if host.is_baseline => Kind::WharfBaseline,
            Contestant::Host(host) if host.workers > 1 => Kind::WharfTwoWorkers,
            Contestant::Host(_) => Kind::Wharf,
            Contestant::Peer { kind, .. } => *kind,
        }
    }

    /// Describes the server in one line: the program and its version.
    pub fn describe(&self) -> String {
        match self {
            Contestant::Host(host) => host.describe(),
            Contestant::Peer { version, .. } => version.clone(),
        }
    }

    /// Starts the server. A host of one worker and every peer run on that core.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(&self, core: Option<usize>) -> anyhow::Result<Server> {
        match self {
            Contestant::Host(host) => {
                let core = core.filter(|_| host.workers == 1);
                Server::start_host(host, Some(host.workers), core)
            }
            Contestant::Peer { kind, program, arguments, .. } => {
                let folder = own_folder()?;
                let process = Process::start(kind.name(), program, arguments, folder.path(), core)?;
                Ok(Server { process, folder, dialect: kind.dialect() })
            }
        }
    }
}

/// The host's program and the plugins that it serves.
#[derive(Clone, Debug)]
pub struct Host {
    /// The program.
    pub program: PathBuf,
    /// The plugins' components.
    pub plugins: Vec<PathBuf>,
    /// Further flags of `wharf serve`.
    pub flags: Vec<String>,
    /// The folder for compiled plugins; `None` for one of each process's own, which is empty at its
    /// start.
    pub cache: Option<PathBuf>,
    /// The number of workers, unless the job sets it.
    pub workers: usize,
    /// True for the build that the host is compared with.
    pub is_baseline: bool,
}

impl Host {
    /// Describes the host in one line: its program and version, its plugin and its flags.
    pub fn describe(&self) -> String {
        let version = Command::new(&self.program).arg("--version").output().ok();
        let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
        let version = version.as_deref().map_or("", str::trim);
        let name = |file: &PathBuf| {
            let size = fs::metadata(file).map_or(0, |file| file.len());
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("{name} ({size} bytes)")
        };
        let plugins = match &self.plugins[..] {
            [] => "no plugin".to_owned(),
            [plugin] => name(plugin),
            [first, others @ ..] => format!("{} and {} others", name(first), others.len()),
        };
        format!("{version} with {plugins} {}", self.flags.join(" ")).trim_end().to_owned()
    }

    /// Returns true if the program lies in cargo's folder for programs without optimisation.
    pub fn looks_unoptimised(&self) -> bool {
        self.program.parent().is_some_and(|p| p.ends_with("debug"))
    }
}

/// Makes a folder with a name that tells its owner, should it be left behind.
pub fn own_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("wharf-bench-").tempdir();
    folder.context("cannot make a folder for the server")
}

/// A running server.
pub struct Server {
    /// Its process.
    pub process: Process,
    folder: TempDir,
    dialect: Dialect,
}

impl Server {
    /// Starts a host that serves these plugins, and no others, from a folder of its own.
    ///
    /// `workers` of `None` leaves the number of threads to the host.
    ///
    /// # Errors
    ///
    /// A plugin cannot be copied or the host does not start.
    pub fn start_host(
        host: &Host,
        workers: Option<usize>,
        core: Option<usize>,
    ) -> anyhow::Result<Server> {
        let folder = own_folder()?;
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins)?;
        for plugin in &host.plugins {
            let name = plugin.file_name().context("the plugin has no name")?;
            fs::copy(plugin, plugins.join(name))
                .with_context(|| format!("cannot copy {}", plugin.display()))?;
        }
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--plugins".into(), plugins.into()];
        arguments.extend(["--listen", "127.0.0.1:0", "--log-format", "json"].map(Into::into));
        let cache = host.cache.clone().unwrap_or_else(|| folder.path().join("cache"));
        arguments.extend(["--cache".into(), cache.into()]);
        if let Some(workers) = workers {
            arguments.extend(["--workers".into(), workers.to_string().into()]);
        }
        arguments.extend(host.flags.iter().map(Into::into));
        let name = Kind::Wharf.name();
        let process = Process::start(name, &host.program, &arguments, folder.path(), core)?;
        Ok(Server { process, folder, dialect: Dialect::Plain })
    }

    /// Returns the address at which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Returns the protocol between its clients and the server.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns a folder that lives as long as the server; a host's plugins are in `plugins` below
    /// it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Time limit for the host to keep compiled plugins, once they are served.
const KEEPING_LIMIT: Duration = Duration::from_secs(60);

/// Waits until a cache has `count` entries.
///
/// # Errors
///
/// The entries do not come in time.
pub fn wait_for_entries(cache: &Path, count: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let is_entry = |file: &fs::DirEntry| file.path().extension().is_some_and(|end| end == "native");
    loop {
        let there = fs::read_dir(cache)
            .map_or(0, |files| files.map_while(Result::ok).filter(is_entry).count());
        if there >= count {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < KEEPING_LIMIT,
            "the host keeps {there} compiled plugins instead of {count}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}
