//! The mounted channels: the content of the plugin folder as generations and routes.
//!
//! Changes are handled one at a time, in order. A plugin is compiled off the event loop, its world
//! is compared with the contract, and it is called once (`describe`) before it serves: bad code
//! never replaces good code. A refused file is kept and looked at again when it changes or, after a
//! conflict over a path, when another plugin changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use crate::channel::{Channel, Generation};
use crate::channel_context::ChannelContext;
use crate::instance::Instance;
use crate::live_instances::LiveInstances;
use crate::log_budget::LogBudget;
use crate::plugin::watch::Change;
use crate::plugin::{Component, Engine};
use crate::pool::Pool;
use crate::ports::{LoadOutcome, Ports};
use crate::presence_events::PresenceTeller;
use crate::room_events::{RoomRunner, Working};
use crate::slots::{ChannelSlots, SharedSlots};
use wharf_config::Config;
use wharf_contract::close::Reason;
use wharf_contract::description::{Description, Misdescribed, THE_PLUGIN_ITSELF};
use wharf_contract::pattern::Pattern;
use wharf_contract::router::Router;
use wharf_contract::text::escape;
use wharf_hub::hub::{Channels, Hub};
use wharf_hub::presence::PresenceTiming;
use wharf_hub::store::Memory;

mod load_outcome;

/// Time between two trims of idle instances.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Shortest and longest time between two looks at the rooms' states.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(10);
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Time limit for compiling a plugin. After that, the compilation goes on without the registry, so
/// that others can be loaded.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(60);

/// Path patterns and the channels that they belong to.
pub type Routes = Router<Arc<Channel>>;

/// The mounted channels.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    engine: Engine,
    shared_slots: SharedSlots,
    live: LiveInstances,
    working: Working,
    ports: Ports,
    routes: ArcSwap<Routes>,
    channels: Mutex<BTreeMap<String, Mounted>>,
    /// Hubs of the channels in service.
    hubs: Arc<Channels>,
}

#[derive(Clone, Debug)]
struct Mounted {
    channel: Arc<Channel>,
    patterns: Vec<Pattern>,
}

/// A plugin's file with its content.
#[derive(Clone)]
struct PluginFile {
    name: String,
    path: PathBuf,
    bytes: Arc<[u8]>,
    sha256: [u8; 32],
}

/// A file that is not served.
struct RefusedFile {
    file: PluginFile,
    /// True if its only problem is that another channel has its path.
    is_conflict: bool,
    /// Logged reason, so that looking again does not repeat it.
    reason: String,
}

impl Registry {
    /// Creates a registry without channels.
    pub fn new(config: Arc<Config>, engine: Engine, ports: Ports) -> Registry {
        Registry {
            ports,
            shared_slots: SharedSlots::new(config.max_instances),
            live: LiveInstances::new(config.max_instances),
            working: Working::default(),
            config,
            engine,
            routes: ArcSwap::from_pointee(Router::default()),
            channels: Mutex::default(),
            hubs: Arc::default(),
        }
    }

    /// Returns the hubs of the channels in service, by name, to which channels publish.
    pub fn hubs(&self) -> &Arc<Channels> {
        &self.hubs
    }

    /// Returns the present routes, to be used at once: they are lent and not counted.
    pub fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Returns every channel that was mounted once, by name.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().values().map(|mounted| mounted.channel.clone()).collect()
    }

    /// Returns the channels in service, by name.
    pub fn in_service(&self) -> Vec<Arc<Channel>> {
        self.channels().into_iter().filter(|channel| !channel.is_removed()).collect()
    }

    /// Returns the channel of that name, if it is in service.
    pub fn find(&self, name: &str) -> Option<Arc<Channel>> {
        let channel = self.channels.lock().get(name).map(|mounted| mounted.channel.clone());
        channel.filter(|channel| !channel.is_removed())
    }

    /// Returns the number of rooms whose events are being run.
    pub fn working_rooms(&self) -> usize {
        self.working.count()
    }

    /// Asks every connection of every channel to end.
    pub fn end_all(&self, reason: Reason) {
        for channel in self.channels() {
            channel.context.hub.end_all(reason);
        }
    }

    /// Handles changes until the folder's watcher is gone. `scanned` completes when the files of
    /// the start have been looked at.
    pub async fn follow(
        self: Arc<Registry>,
        mut changes: mpsc::Receiver<Change>,
        scanned: tokio::sync::oneshot::Sender<()>,
    ) {
        let mut refused: BTreeMap<String, RefusedFile> = BTreeMap::new();
        let mut scanned = Some(scanned);
        tokio::spawn(tidy_up(Arc::downgrade(&self)));
        loop {
            match changes.recv().await {
                None => {
                    // The watcher ends with the server, and then this line has no reader.
                    tracing::error!("the folder's watcher has ended; plugins stay as they are");
                    return;
                }
                Some(Change::Scanned) => {
                    self.log_unused_tables();
                    if let Some(scanned) = scanned.take() {
                        let _ = scanned.send(());
                    }
                }
                Some(Change::Settled { name, path, bytes, sha256 }) => {
                    let file = PluginFile { name, path, bytes, sha256 };
                    if self.consider(file, &mut refused).await {
                        self.look_again(&mut refused).await;
                    }
                }
                Some(Change::Unreadable { name, path, reason }) => {
                    self.tell_refused(&name, &path, None, &reason);
                }
                Some(Change::Removed { name }) => {
                    refused.remove(&name);
                    if self.remove(&name) {
                        self.look_again(&mut refused).await;
                    }
                }
            }
        }
    }

    /// Handles a new or changed file. Returns true if routes changed.
    async fn consider(
        &self,
        file: PluginFile,
        refused: &mut BTreeMap<String, RefusedFile>,
    ) -> bool {
        let serving = self.channels.lock().get(&file.name).cloned();
        if let Some(mounted) = serving
            && !mounted.channel.is_removed()
            && mounted.channel.current().sha256 == file.sha256
        {
            refused.remove(&file.name);
            self.ports.loads.loaded(LoadOutcome {
                name: file.name,
                sha256: Some(file.sha256),
                serving: Some(mounted.channel.current().number),
                refused: None,
            });
            return false;
        }
        match self.load(&file).await {
            Ok(()) => {
                refused.remove(&file.name);
                true
            }
            Err(FileRefusal { reason, is_conflict }) => {
                let known = refused.get(&file.name);
                let is_news = known
                    .is_none_or(|known| known.reason != reason || known.file.sha256 != file.sha256);
                if is_news {
                    self.tell_refused(&file.name, &file.path, Some(file.sha256), &reason);
                }
                refused.insert(file.name.clone(), RefusedFile { file, is_conflict, reason });
                false
            }
        }
    }

    /// Looks again at the files that were refused over a path that may be free now.
    async fn look_again(&self, refused: &mut BTreeMap<String, RefusedFile>) {
        loop {
            let conflicts = refused.values().filter(|refused| refused.is_conflict);
            let files: Vec<PluginFile> = conflicts.map(|refused| refused.file.clone()).collect();
            let mut changed = false;
            for file in files {
                changed |= self.consider(file, refused).await;
            }
            if !changed {
                return;
            }
        }
    }

    /// Compiles a plugin or takes it from the cache, checks it, calls it once, and swaps.
    async fn load(&self, file: &PluginFile) -> Result<(), FileRefusal> {
        let begun = Instant::now();
        let (component, cached) = self.compile(file).await?;
        let compile_time = begun.elapsed();
        let served = self.serve(file, component.clone(), compile_time, cached).await;
        if !cached {
            // This is done in the background, and also for a refused file: a file that waits for a
            // path is looked at again.
            let (engine, sha256) = (self.engine.clone(), file.sha256);
            tokio::task::spawn_blocking(move || engine.keep(&component, &sha256));
        }
        served
    }

    /// Calls a plugin once, and swaps.
    async fn serve(
        &self,
        file: &PluginFile,
        component: Component,
        compile_time: Duration,
        cached: bool,
    ) -> Result<(), FileRefusal> {
        let begun = Instant::now();
        let known = self.channels.lock().get(&file.name).cloned();
        let is_swap = known.as_ref().is_some_and(|mounted| !mounted.channel.is_removed());
        let (context, number) = match &known {
            Some(Mounted { channel, .. }) => {
                (channel.context.clone(), channel.current().number + 1)
            }
            None => (self.context(&file.name), 1),
        };
        let (first, description) = trial(&component, &context, number).await?;
        let patterns =
            description.patterns().map_err(|wrong| FileRefusal::of(wrong.to_string()))?;
        let pool = Pool::new(component, context.clone(), number, first);
        let next = Generation { number, sha256: file.sha256, description, pool };
        let paths = context.shown(&next.description.paths.join(" "), usize::MAX);
        let session_format = next.description.session_format;
        self.mount(&file.name, known, patterns, context, next)?;
        let sha256 = hex(&file.sha256);
        tracing::info!(
            channel = %file.name,
            generation = number,
            paths,
            session_format,
            sha256 = sha256.get(..16),
            bytes = file.bytes.len(),
            cached,
            compile_ms = compile_time.as_millis() as u64,
            swap_ms = begun.elapsed().as_millis() as u64,
            "{}", if is_swap { "plugin swapped" } else { "plugin loaded" }
        );
        self.ports.loads.loaded(LoadOutcome {
            name: file.name.clone(),
            sha256: Some(file.sha256),
            serving: Some(number),
            refused: None,
        });
        Ok(())
    }

    /// Returns the component, and true if it was in the cache.
    async fn compile(&self, file: &PluginFile) -> Result<(Component, bool), FileRefusal> {
        let compiling = self.engine.load_in_background(file.bytes.clone(), file.sha256);
        match tokio::time::timeout(COMPILE_TIMEOUT, compiling).await {
            Ok(Ok(Ok(loaded))) => Ok(loaded),
            Ok(Ok(Err(refused))) => Err(FileRefusal::of(refused.to_string())),
            // The compiler itself has panicked. The file is to blame, and the host goes on.
            Ok(Err(error)) => Err(FileRefusal::of(format!("the compiler gave up: {error}"))),
            Err(_) => {
                Err(FileRefusal::of(format!("it has not been compiled within {COMPILE_TIMEOUT:?}")))
            }
        }
    }

    /// Makes a generation the one that serves, if no other channel has its paths.
    fn mount(
        &self,
        name: &str,
        known: Option<Mounted>,
        patterns: Vec<Pattern>,
        context: Arc<ChannelContext>,
        next: Generation,
    ) -> Result<(), FileRefusal> {
        let mut channels = self.channels.lock();
        // The claims are tried before anything changes, so that a conflict leaves everything as it
        // was.
        let mut claims = Router::default();
        for (other, mounted) in channels.iter().filter(|(other, _)| *other != name) {
            if !mounted.channel.is_removed() {
                for pattern in &mounted.patterns {
                    let _ = claims.insert(pattern.clone(), other.clone());
                }
            }
        }
        for pattern in &patterns {
            if let Err(conflict) = claims.insert(pattern.clone(), name.to_owned()) {
                let holder = match claims.holder(&conflict) {
                    Some(holder) if holder != name => format!("the plugin {holder}"),
                    _ => THE_PLUGIN_ITSELF.to_owned(),
                };
                let claimed = Misdescribed::PathClaimed { path: conflict.pattern, holder };
                return Err(FileRefusal { reason: claimed.to_string(), is_conflict: true });
            }
        }
        let channel = match known {
            Some(mounted) => {
                mounted.channel.swap(next);
                mounted.channel
            }
            None => {
                let channel = Arc::new(Channel::new(context, self.slots(), next));
                let runner = Box::new(RoomRunner::new(&channel, self.working.clone()));
                channel.context.hub.run_room_events_with(runner);
                let teller = Box::new(PresenceTeller::new(&channel));
                channel.context.hub.tell_of_presence(teller);
                channel
            }
        };
        self.hubs.add(name, &channel.context.hub);
        channels.insert(name.to_owned(), Mounted { channel, patterns });
        self.routes.store(Arc::new(routes(&channels)));
        Ok(())
    }

    /// Takes a channel out of service. Returns true if it was in service.
    fn remove(&self, name: &str) -> bool {
        let channels = self.channels.lock();
        let Some(mounted) = channels.get(name).filter(|mounted| !mounted.channel.is_removed())
        else {
            return false;
        };
        let connections = mounted.channel.context.hub.connection_count();
        self.hubs.remove(name);
        mounted.channel.remove();
        self.routes.store(Arc::new(routes(&channels)));
        tracing::info!(channel = name, connections, "plugin removed");
        true
    }

    /// Returns the number of the generation that serves a channel.
    fn serving(&self, name: &str) -> Option<u64> {
        let channels = self.channels.lock();
        let mounted = channels.get(name).filter(|mounted| !mounted.channel.is_removed())?;
        Some(mounted.channel.current().number)
    }

    /// Logs the tables of channels that do not exist: such a table is a typo, or waits for a
    /// plugin.
    fn log_unused_tables(&self) {
        let mounted = self.channels();
        for name in self.config.channels.keys() {
            if !mounted.iter().any(|channel| self.config.is_table_of(name, channel.name())) {
                tracing::warn!(
                    channel = %escape(name),
                    "the configuration has a table for a channel whose plugin is not there"
                );
            }
        }
    }

    fn context(&self, name: &str) -> Arc<ChannelContext> {
        let lines = u32::try_from(self.config.log_lines_per_second).unwrap_or(u32::MAX);
        Arc::new(ChannelContext {
            name: Arc::from(name),
            hub: Arc::new(Hub::new(PresenceTiming {
                interval: self.config.presence_interval,
                grace: self.config.presence_grace,
            })),
            channels: self.hubs.clone(),
            store: Arc::new(Memory::new(self.config.max_store_bytes)),
            config: self.config.clone(),
            own: self.config.channel(name),
            log_budget: LogBudget::new(name, lines),
            failure_budget: LogBudget::new(name, lines),
            http_requests: Arc::new(Semaphore::new(self.config.max_http_requests_per_channel)),
            memory_bytes: AtomicUsize::new(0),
            live: self.live.clone(),
            ports: self.ports.clone(),
        })
    }

    fn slots(&self) -> ChannelSlots {
        let config = &self.config;
        ChannelSlots::new(
            config.max_instances_per_channel,
            config.reserved_instances_per_channel,
            self.shared_slots.clone(),
        )
    }

    async fn sweep(&self) {
        for channel in self.channels() {
            channel.context.hub.sweep(self.config.room_state_grace).await;
        }
    }

    async fn trim(&self) {
        for channel in self.channels() {
            channel.slots.trim();
            channel.current().pool.trim();
            while channel.context.store.sweep() {
                tokio::task::yield_now().await;
            }
            channel.context.log_budget.settle();
            channel.context.failure_budget.settle();
        }
    }
}

/// Drops unused instances and states, as long as the registry exists. Separate from the changes,
/// since one of them may take long.
async fn tidy_up(registry: Weak<Registry>) {
    let Some(interval) = registry.upgrade().map(|registry| sweep_interval(&registry.config)) else {
        return;
    };
    let mut trim = tokio::time::interval(TRIM_INTERVAL);
    let mut sweep = tokio::time::interval(interval);
    loop {
        let is_trim = tokio::select! {
            _ = trim.tick() => true,
            _ = sweep.tick() => false,
        };
        match registry.upgrade() {
            Some(registry) if is_trim => registry.trim().await,
            Some(registry) => registry.sweep().await,
            None => return,
        }
    }
}

/// Returns the time between two looks at rooms that may have been empty for long enough.
fn sweep_interval(config: &Config) -> Duration {
    (config.room_state_grace / 2).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

/// The reason why a file is not served.
struct FileRefusal {
    reason: String,
    is_conflict: bool,
}

impl FileRefusal {
    fn of(reason: impl Into<String>) -> FileRefusal {
        FileRefusal { reason: reason.into(), is_conflict: false }
    }
}

/// Makes the first instance and lets it describe itself.
async fn trial(
    component: &Component,
    context: &Arc<ChannelContext>,
    number: u64,
) -> Result<(Instance, Description), FileRefusal> {
    let started = Instance::start(component, context, number).await;
    let mut instance =
        started.map_err(|failure| FileRefusal::of(format!("it does not start: {failure}")))?;
    let described = instance.describe().await;
    let description = described.map_err(|failure| {
        FileRefusal::of(format!("its describe fails: {failure} ({})", failure.backtrace))
    })?;
    match description.problem {
        Some(problem) => Err(FileRefusal::of(problem.to_string())),
        None => Ok((instance, description)),
    }
}

/// Returns the routes of all channels in service. Patterns have been compared before a channel is
/// mounted, so that no two of them are the same here.
fn routes(channels: &BTreeMap<String, Mounted>) -> Routes {
    let mut routes = Router::default();
    for mounted in channels.values().filter(|mounted| !mounted.channel.is_removed()) {
        for pattern in &mounted.patterns {
            let _ = routes.insert(pattern.clone(), mounted.channel.clone());
        }
    }
    routes
}

/// Returns bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
