//! `wharf dev`: a server, and plugins that are built again whenever their sources are saved.
//!
//! A thread of its own builds with cargo, whose messages go to the terminal as they are, and puts
//! the component into the plugin folder by one rename. The server loads it like any other file; a
//! line reports the result. A build that fails leaves the folder, and so the running code, as it
//! is.

mod inputs;
mod progress;
mod snapshot;
mod watcher;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::package::{Build, Cargo, Package, Purpose};
use super::{MISSING_TARGET, install, lacks_target};
use inputs::Inputs;
use progress::Progress;
use snapshot::{Changes, Snapshot};
use watcher::SourceWatcher;
use wharf_config::{Config, Source, Sources};
use wharf_runtime::plugin::Machine;
use wharf_server::listener::Listener;
use wharf_server::log_tail::LogTail;
use wharf_server::server::{self, Observers};

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
/// builds again after changes, until `shutdown` completes. The operator may read the last lines of `log`.
///
/// # Errors
///
/// A folder has no plugin's crate; the toolchain lacks the target; the plugin folder cannot be
/// made; or the server ends with an error. A plugin that does not build is not an error.
pub async fn dev(
    mut config: Config,
    folders: Vec<PathBuf>,
    machine: Machine,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
    log: Option<Arc<LogTail>>,
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
    // Each session of work begins anew, and leaves nothing beside the crate.
    config.data = None;
    let observers = Observers { loads: Arc::new(outcomes), log };
    let served = server::run(config, machine, listener, shutdown, observers).await;
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
    /// The files that the last build has read.
    inputs: Inputs,
    /// Their state when it began; `None` before the first one.
    built: Option<Snapshot>,
    changes: Changes,
}

impl Builder {
    fn new(
        folders: Vec<PathBuf>,
        plugins: PathBuf,
        progress: Arc<Progress>,
        cargo: Arc<Cargo>,
    ) -> anyhow::Result<Builder> {
        let folders = if folders.is_empty() { vec![PathBuf::from(".")] } else { folders };
        let mut crates: Vec<Package> = Vec::new();
        for folder in &folders {
            let package = Package::find(&cargo, folder)?;
            if let Some(other) = crates.iter().find(|other| other.name == package.name) {
                let name = &package.name;
                bail!("{other} and {package} are both called {name}");
            }
            crates.push(package);
        }
        if folders.first().is_some_and(|folder| lacks_target(folder)) {
            bail!(MISSING_TARGET);
        }
        if install::make_folder(&plugins)? {
            progress.say(&format!("made the plugin folder {}", plugins.display()));
        }
        let plugins = plugins.canonicalize().context("the plugin folder is gone")?;
        let crates = crates.into_iter().map(|package| Crate {
            inputs: Inputs::of(&package, &plugins),
            package,
            built: None,
            changes: Changes::default(),
        });
        let crates = crates.collect();
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
            let now = Snapshot::take(&one.inputs);
            let has_changed = one
                .built
                .as_ref()
                .is_none_or(|built| one.changes.call_for_build(&one.inputs, built, &now));
            folders.extend(one.inputs.folders());
            folders.extend(now.folders().iter().cloned());
            self.watcher.watch(folders.iter());
            if has_changed && !self.cargo.is_stopped() {
                one.build(&self.plugins, &self.progress, &self.cargo);
                folders.extend(one.inputs.folders());
            }
        }
        self.watcher.watch(folders.iter());
        self.watcher.forget_all_but(&folders);
    }
}

impl Crate {
    /// Builds it, and notes the state of what was read, so that a save during the build leads to the
    /// next one.
    fn build(&mut self, plugins: &Path, progress: &Progress, cargo: &Cargo) {
        let began = SystemTime::now();
        // It is not known yet which of its files are read.
        let mut all = self.inputs.clone();
        all.whole.extend(self.package.folders.iter().cloned());
        let mut before = Snapshot::take(&all);
        if self.package.has_scripts() {
            before.read();
        }
        let inputs = match self.build_and_install(plugins, progress, cargo) {
            Some(Build { component: Some(component), read_whole }) => {
                Inputs::of(&self.package, plugins).built(&component, read_whole)
            }
            _ => Inputs::of(&self.package, plugins).failed(&self.package, &self.inputs),
        };
        self.built = Some(before.of_build(&inputs, began));
        self.inputs = inputs;
    }

    /// Returns the result of the build; `None` if there was none.
    fn build_and_install(
        &mut self,
        plugins: &Path,
        progress: &Progress,
        cargo: &Cargo,
    ) -> Option<Build> {
        let begun = Instant::now();
        // The manifest may have changed with the sources.
        match Package::find(cargo, &self.package.folder) {
            Ok(package) if package.name == self.package.name => self.package = package,
            Ok(package) => {
                let was = &self.package.name;
                let name = &package.name;
                progress.failed(was, &format!("is now called {name}; start again for that"));
                return None;
            }
            Err(error) => {
                progress.failed(&self.package.name, &format!("cannot be built: {error:#}"));
                return None;
            }
        }
        let name = self.package.name.clone();
        let built = self.package.compile(cargo, Purpose::Work);
        if cargo.is_stopped() {
            return None;
        }
        let installed = match &built {
            Ok(Build { component: Some(component), .. }) => {
                let file = plugins.join(format!("{name}.wasm"));
                fs::read(component)
                    .with_context(|| {
                        format!("the component {} cannot be read", component.display())
                    })
                    .and_then(|bytes| progress.install(&name, &bytes, &file, begun.elapsed()))
            }
            // Cargo has printed the reason.
            Ok(Build { component: None, .. }) => {
                let why = match lacks_target(&self.package.folder) {
                    true => format!("does not build: {MISSING_TARGET}"),
                    false => "does not build".to_owned(),
                };
                progress.failed(&name, &why);
                Ok(())
            }
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        if let Err(error) = installed {
            progress.failed(&name, &format!("{error:#}"));
        }
        built.ok()
    }
}
