//! `wharf dev`: a server, and plugins that are built again whenever their sources are saved.
//!
//! A thread of its own builds with cargo, whose messages go to the terminal as they are, and puts
//! the component into the plugin folder by one rename. The server loads it like any other file; a
//! line reports the result. A build that fails leaves the folder, and so the running code, as it
//! is.

mod progress;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::package::{Cargo, Package};
use super::{MISSING_TARGET, lacks_target};
use progress::Progress;
use sources::{Snapshot, SourceWatcher};
use wharf_config::{Config, Source, Sources};
use wharf_runtime::plugin::Machine;
use wharf_server::listener::Listener;
use wharf_server::server;

/// Default log directives: all lines but those about the loading of plugins, which has lines of its
/// own.
const LOG: &str = "warn,wharf=info,wharf_runtime::registry=warn";

/// Outcomes of loading that may wait to be reported.
const OUTCOMES: usize = 256;

/// Changes the configuration of a server for an author.
pub fn prepared(mut config: Config, sources: &Sources) -> Config {
    if *sources.of("log") == Source::Default {
        config.log = LOG.to_owned();
    }
    config
}

/// Builds the plugins in these folders (the working directory if there are none), serves, and
/// builds again after changes, until `shutdown` completes.
///
/// # Errors
///
/// A folder has no plugin's crate; the toolchain lacks the target; the plugin folder cannot be
/// made; or the server ends with an error. A plugin that does not build is not an error.
pub async fn dev(
    config: Config,
    folders: Vec<PathBuf>,
    machine: Machine,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::pin!(shutdown);
    let progress = Arc::new(Progress::default());
    let cargo = Arc::new(Cargo::default());
    let plugins = config.plugins.clone();
    let beginning = tokio::task::spawn_blocking({
        let (progress, cargo) = (progress.clone(), cargo.clone());
        move || {
            let mut builder = Builder::new(folders, plugins, progress, cargo)?;
            builder.build_changed();
            anyhow::Ok(builder)
        }
    });
    let begun = tokio::select! {
        begun = beginning => begun,
        () = &mut shutdown => {
            cargo.stop();
            return Ok(());
        }
    };
    let builder = begun.context("the first build panicked")??;

    let (outcomes, mut told) = mpsc::channel(OUTCOMES);
    let telling = tokio::spawn(async move {
        while let Some(outcome) = told.recv().await {
            progress.loaded(outcome);
        }
    });
    let building = tokio::task::spawn_blocking(move || builder.run());
    let served =
        server::run_observed(config, machine, listener, shutdown, Arc::new(outcomes)).await;
    cargo.stop();
    telling.abort();
    let _ = building.await;
    served
}

/// Builds after changes, one crate after the other.
struct Builder {
    crates: Vec<Crate>,
    /// Folder of the plugins.
    plugins: PathBuf,
    watcher: SourceWatcher,
    progress: Arc<Progress>,
    cargo: Arc<Cargo>,
}

struct Crate {
    package: Package,
    /// Its sources at the time of the last build.
    built: Snapshot,
}

impl Builder {
    fn new(
        folders: Vec<PathBuf>,
        plugins: PathBuf,
        progress: Arc<Progress>,
        cargo: Arc<Cargo>,
    ) -> anyhow::Result<Builder> {
        let folders = if folders.is_empty() { vec![PathBuf::from(".")] } else { folders };
        let mut crates: Vec<Crate> = Vec::new();
        for folder in &folders {
            let package = Package::find(&cargo, folder)?;
            if let Some(other) = crates.iter().find(|other| other.package.name == package.name) {
                let name = &package.name;
                bail!("{} and {} are both called {name}", other.package, package);
            }
            crates.push(Crate { package, built: Snapshot::default() });
        }
        if folders.first().is_some_and(|folder| lacks_target(folder)) {
            bail!(MISSING_TARGET);
        }
        if !plugins.exists() {
            fs::create_dir_all(&plugins).with_context(|| {
                format!("the plugin folder {} cannot be made", plugins.display())
            })?;
            progress.say(&format!("made the plugin folder {}", plugins.display()));
        }
        let plugins = plugins.canonicalize().context("the plugin folder is gone")?;
        Ok(Builder { crates, plugins, watcher: SourceWatcher::new(), progress, cargo })
    }

    /// Builds after changes until cargo is stopped.
    fn run(mut self) {
        while !self.cargo.is_stopped() {
            self.watcher.wait(|| self.cargo.is_stopped());
            self.build_changed();
        }
    }

    fn build_changed(&mut self) {
        let mut folders = BTreeSet::new();
        for one in &mut self.crates {
            // The snapshot is taken before the build, so that a save during the build leads to the
            // next one.
            let sources = Snapshot::take(&one.package.folders, &self.plugins);
            self.watcher.watch(sources.folders());
            let changed = sources != one.built;
            folders.extend(sources.folders().cloned());
            if changed && !self.cargo.is_stopped() {
                one.built = sources;
                one.build(&self.plugins, &self.progress, &self.cargo);
            }
        }
        self.watcher.forget_all_but(&folders);
    }
}

impl Crate {
    fn build(&mut self, plugins: &Path, progress: &Progress, cargo: &Cargo) {
        let begun = Instant::now();
        // The manifest may have changed with the sources.
        match Package::find(cargo, &self.package.folder) {
            Ok(package) if package.name == self.package.name => self.package = package,
            Ok(package) => {
                let was = &self.package.name;
                let name = &package.name;
                progress.failed(was, &format!("is now called {name}; start again for that"));
                return;
            }
            Err(error) => {
                progress.failed(&self.package.name, &format!("cannot be built: {error:#}"));
                return;
            }
        }
        let name = self.package.name.clone();
        let built = self.package.build(cargo);
        // Cargo writes this file itself.
        self.built.renew(Path::new("Cargo.lock"));
        if cargo.is_stopped() {
            return;
        }
        let installed = match built {
            Ok(Some(component)) => progress.install(
                &name,
                &component,
                &plugins.join(format!("{name}.wasm")),
                begun.elapsed(),
            ),
            // Cargo has printed the reason.
            Ok(None) => {
                progress.failed(&name, "does not build");
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = installed {
            progress.failed(&name, &format!("{error:#}"));
        }
    }
}
