//! The demo mode: prepared versions of plugins that visitors of the page may put into service, and
//! texts that the page shows, such as the sources of the plugins.
//!
//! A visitor names a version of the demo folder, which was listed at the start, and never a path. Its
//! file is put into the plugin folder in one step, and from there it is loaded like an operator's.

mod folder;
mod swap;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use wharf_config::Config;
use wharf_runtime::ports::{LoadObserver, LoadOutcome};
use wharf_runtime::registry::Registry;

use folder::{Code, Version};
pub(crate) use swap::Refused;

/// Path of the list of versions and texts.
pub(crate) const LIST: &str = "/_wharf/demo.json";

/// Path of a version, without its name.
pub(crate) const VERSIONS: &str = "/_wharf/demo/";

/// Path of a text, without its name.
pub(crate) const TEXTS: &str = "/_wharf/texts/";

/// Time that a swap may take besides that for compiling.
const PATIENCE: Duration = Duration::from_secs(10);

/// The prepared versions and texts of a demo folder, and the state of their channels.
#[derive(Debug)]
pub struct Demo {
    /// The plugin folder.
    plugins: PathBuf,
    /// Time that a swap may take.
    patience: Duration,
    /// Versions by name, such as `chat@festive`.
    versions: BTreeMap<String, Version>,
    /// Texts by their path in the folder.
    texts: BTreeMap<String, String>,
    channels: Mutex<BTreeMap<String, ChannelState>>,
    /// Number of outcomes so far.
    outcomes: watch::Sender<u64>,
    /// The one swap at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    next: Arc<dyn LoadObserver>,
}

/// The state of a channel that has versions.
#[derive(Debug, Default)]
struct ChannelState {
    /// Number of the last outcome, and the outcome.
    last: Option<(u64, LoadOutcome)>,
    /// Code that serves.
    serving: Option<Code>,
    /// Code that was refused last, with the reason.
    refused: Option<(Code, String)>,
    /// Names of versions by their code. A file may be replaced while the host runs.
    names: BTreeMap<Code, String>,
}

impl Demo {
    /// Reads the folder that the configuration names; `None` without one, or without the page. The
    /// outcomes of loading go to `next` as well.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or has too much in it.
    pub fn open(
        config: &Config,
        next: &Arc<dyn LoadObserver>,
    ) -> anyhow::Result<Option<Arc<Demo>>> {
        let Some(path) = config.demo.as_ref().filter(|_| config.page) else { return Ok(None) };
        let content = folder::read(path)
            .with_context(|| format!("the demo folder {} cannot be used", path.display()))?;
        let mut channels = BTreeMap::<String, ChannelState>::new();
        for (name, version) in &content.versions {
            let channel = channels.entry(version.channel.clone()).or_default();
            channel.names.insert(version.code, name.clone());
        }
        Ok(Some(Arc::new(Demo {
            plugins: config.plugins.clone(),
            patience: config.compile_timeout + PATIENCE,
            versions: content.versions,
            texts: content.texts,
            channels: Mutex::new(channels),
            outcomes: watch::channel(0).0,
            turn: Arc::default(),
            next: next.clone(),
        })))
    }

    /// Compiles all versions, so that the first swap is as quick as the others.
    pub(crate) async fn compile_ahead(self: Arc<Demo>, registry: Arc<Registry>) {
        for version in self.versions.values() {
            let file = version.file.clone();
            if let Ok(Ok(bytes)) = tokio::task::spawn_blocking(move || std::fs::read(file)).await {
                let code = folder::code(&bytes);
                registry.compile_ahead(bytes.into(), code).await;
            }
        }
    }

    /// Returns the text at a path below [`TEXTS`].
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path.strip_prefix(TEXTS)?).map(String::as_str)
    }

    /// Returns the list of versions, texts and channels as JSON.
    pub(crate) fn list(demo: Option<&Demo>) -> Value {
        let Some(demo) = demo else {
            return json!({ "on": false, "versions": [], "texts": [], "channels": [] });
        };
        let channels = demo.channels.lock();
        let channels: Vec<Value> = channels.iter().map(|(name, state)| state.show(name)).collect();
        json!({
            "on": true,
            "versions": demo.versions.keys().collect::<Vec<_>>(),
            "texts": demo.texts.keys().collect::<Vec<_>>(),
            "channels": channels,
        })
    }
}

impl ChannelState {
    fn show(&self, name: &str) -> Value {
        let version = |code: &Code| self.names.get(code);
        let generation = self.last.as_ref().and_then(|(_, last)| last.serving);
        let refused = self
            .refused
            .as_ref()
            .map(|(code, reason)| json!({ "version": version(code), "reason": reason }));
        json!({
            "name": name,
            "version": self.serving.as_ref().and_then(version),
            "generation": generation,
            "refused": refused,
        })
    }
}

impl LoadObserver for Demo {
    fn loaded(&self, outcome: LoadOutcome) {
        if let Some(state) = self.channels.lock().get_mut(&outcome.name) {
            let number = *self.outcomes.borrow() + 1;
            match (&outcome.refused, outcome.sha256) {
                (None, code) => state.serving = code,
                (Some(reason), Some(code)) => state.refused = Some((code, reason.clone())),
                (Some(_), None) => {}
            }
            state.last = Some((number, outcome.clone()));
            // Under the lock, so that numbers rise.
            self.outcomes.send_replace(number);
        }
        self.next.loaded(outcome);
    }
}
