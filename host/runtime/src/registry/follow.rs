//! The changes of the folder, in order for each file.
//!
//! Files are loaded beside one another, each in a task of its own, so that none waits for the
//! compilation of another. A file that changes while it is loaded begins anew. Everything that mounts
//! or removes a channel happens here, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::deployed::Order;
use super::load::{FileRefusal, Ready, read_again};
use super::load_outcome::tell_mounted;
use super::mount::Waiting;
use super::{PluginFile, Registry, tidy};
use crate::plugin::watch::Change;
use crate::ports::LoadOutcome;
use wharf_contract::text::escape;

mod departures;
mod deployed;
mod refused;

use departures::Departures;
use deployed::Sources;
use refused::RefusedFiles;

/// Bytes of the files that are being loaded. With more, further changes wait in the folder.
const MAX_LOADING_BYTES: usize = 256 << 20;

/// Time after which an operator wonders where a plugin is.
const LONG_FOR_AN_OPERATOR: Duration = Duration::from_secs(1);

/// Longest time without a timer that is due.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// A file that is being loaded.
struct Loading {
    ticket: u64,
    file: PluginFile,
    /// Number of earlier attempts.
    tries: u32,
    /// True if compiling it takes longer than its limit.
    is_late: bool,
    task: AbortHandle,
}

/// The end of a task that loads a file.
struct Loaded {
    name: String,
    ticket: u64,
    result: Result<Ready, FileRefusal>,
}

/// The channels that give way to new code with their paths.
#[derive(Default)]
struct Displaced {
    /// Names of those whose file is gone.
    departing: Vec<String>,
    /// Files of the start: where two claim a path, the names of their files decide, and not which of
    /// them was loaded first.
    of_start: Vec<PluginFile>,
}

/// The state of the loading of all files.
struct Follower {
    registry: Arc<Registry>,
    tasks: JoinSet<Loaded>,
    loading: BTreeMap<String, Loading>,
    /// Tasks that look for the last good code in place of refused files of the start.
    fallbacks: JoinSet<(String, Option<Ready>)>,
    waiting: Waiting,
    departures: Departures,
    refused: RefusedFiles,
    sources: Sources,
    next_ticket: u64,
    /// Tells of compilations that take longer than their limit.
    late: mpsc::UnboundedSender<(String, u64)>,
    /// Receiver of the end of the first scan, until it is told.
    scanned: Option<oneshot::Sender<()>>,
    /// True once all files of the start are known.
    is_listed: bool,
    /// Names of files of the start that are not served or refused yet.
    first: BTreeSet<String>,
    /// Files of the start that serve, until its end.
    first_served: BTreeMap<String, PluginFile>,
}

impl Registry {
    /// Handles changes until the folder's watcher is gone. `scanned` completes when the files of
    /// the start have been looked at. Until then the registry [is starting](Registry::is_starting).
    pub fn follow(
        self: Arc<Registry>,
        changes: mpsc::Receiver<Change>,
        scanned: oneshot::Sender<()>,
    ) -> impl Future<Output = ()> + Send {
        self.is_starting.store(true, Ordering::SeqCst);
        async move {
            tokio::spawn(tidy::tidy_up(Arc::downgrade(&self)));
            let (late, told_late) = mpsc::unbounded_channel();
            let orders = self.orders.receiver.lock().take();
            let deployed = std::mem::take(&mut *self.orders.expected.lock());
            let follower = Follower {
                registry: self,
                tasks: JoinSet::new(),
                loading: BTreeMap::new(),
                fallbacks: JoinSet::new(),
                waiting: Waiting::new(),
                departures: Departures::default(),
                refused: RefusedFiles::default(),
                first: deployed.clone(),
                sources: Sources::new(deployed),
                next_ticket: 0,
                late,
                scanned: Some(scanned),
                is_listed: false,
                first_served: BTreeMap::new(),
            };
            follower.run(changes, told_late, orders).await;
        }
    }
}

impl Follower {
    async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut late: mpsc::UnboundedReceiver<(String, u64)>,
        mut orders: Option<mpsc::Receiver<Order>>,
    ) {
        loop {
            self.end_first_scan();
            self.end_departures();
            let far = Instant::now() + FAR;
            let retry = self.refused.next_retry().unwrap_or(far);
            let departure = self.departures.next().unwrap_or(far);
            tokio::select! {
                change = changes.recv(), if self.has_room() => match change {
                    Some(change) => self.changed(change),
                    None => {
                        // The watcher ends with the server, and then this line has no reader.
                        tracing::error!(
                            "the folder's watcher has ended; plugins stay as they are"
                        );
                        return;
                    }
                },
                Some(loaded) = self.tasks.join_next() => {
                    // A superseded task was aborted.
                    if let Ok(loaded) = loaded {
                        self.loaded(loaded);
                    }
                }
                Some(fallback) = self.fallbacks.join_next() => {
                    if let Ok((name, ready)) = fallback {
                        self.fallen_back(name, ready);
                    }
                }
                Some((name, ticket)) = late.recv() => self.is_late(&name, ticket),
                Some(order) = next_order(&mut orders) => self.ordered(order),
                () = tokio::time::sleep_until(retry), if self.has_room() => self.try_again(),
                // The next round ends it.
                () = tokio::time::sleep_until(departure) => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.loading.values().map(|loading| loading.file.size).sum();
        bytes < MAX_LOADING_BYTES
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Scanned => self.is_listed = true,
            Change::Settled { name, path, bytes, sha256 } => {
                let size = bytes.len();
                let file = PluginFile { name, path, size, sha256 };
                if self.sources.has_file(&file) {
                    self.consider(file, bytes);
                }
            }
            // Deployed code serves in its place.
            Change::Unreadable { name, .. } | Change::Removed { name }
                if !self.sources.has_no_file(&name) => {}
            Change::Unreadable { name, path, reason } => {
                self.departures.call_off(&name);
                self.refuse(&name, path, None, FileRefusal::of(reason));
                self.fall_back(&name);
            }
            Change::Removed { name } => {
                self.forget(&name);
                self.refused.remove(&name);
                self.registry.refusals.lock().remove(&name);
                self.depart(name);
            }
        }
    }

    /// Takes a channel whose file is gone out of service; later, if files are being loaded to one of
    /// which its paths may move.
    fn depart(&mut self, name: String) {
        let loading = self.loading.iter().filter(|(_, loading)| !loading.is_late);
        let awaited: BTreeSet<String> = loading.map(|(name, _)| name.clone()).collect();
        if awaited.is_empty() || self.registry.find(&name).is_none() {
            self.remove(vec![name]);
            return;
        }
        let longest = self.registry.config.compile_timeout;
        tracing::info!(
            channel = name,
            loading = awaited.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            "a plugin's file is gone; it serves until the files that are being loaded are ready, at \
             most for compile_timeout_ms, since its paths may move to one of them"
        );
        self.departures.add(name, awaited, longest);
    }

    /// Removes the channels for which nothing is loaded any more that could take over their paths.
    fn end_departures(&mut self) {
        let loading = &self.loading;
        let due =
            self.departures.due(|name| loading.get(name).is_some_and(|loading| !loading.is_late));
        if !due.is_empty() {
            self.remove(due);
        }
    }

    fn remove(&mut self, names: Vec<String>) {
        self.change(&names);
        names.into_iter().for_each(|name| self.note_last_good(name, None));
    }

    /// Begins to load a new or changed file, unless it is the one that serves or is loaded already.
    fn consider(&mut self, file: PluginFile, bytes: Arc<[u8]>) {
        let is_same = |sha256: [u8; 32]| sha256 == file.sha256;
        if self.loading.get(&file.name).is_some_and(|loading| is_same(loading.file.sha256))
            || self.waiting.get(&file.name).is_some_and(|ready| is_same(ready.next.sha256))
        {
            self.departures.call_off(&file.name);
            return;
        }
        self.forget(&file.name);
        let serving = self.registry.find(&file.name).map(|channel| channel.current().clone());
        if let Some(generation) = serving.filter(|generation| is_same(generation.sha256)) {
            self.is_served(file.name, generation.sha256, generation.number);
            return;
        }
        self.load(file, Some(bytes), 0);
    }

    /// Begins to load a file, which is read again without its content.
    fn load(&mut self, file: PluginFile, bytes: Option<Arc<[u8]>>, tries: u32) {
        if self.scanned.is_some() {
            self.first.insert(file.name.clone());
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let (registry, late, name) = (self.registry.clone(), self.late.clone(), file.name.clone());
        let task = self.tasks.spawn({
            let file = file.clone();
            async move {
                let is_late = || drop(late.send((name.clone(), ticket)));
                let prepared = async {
                    let bytes = match bytes {
                        Some(bytes) => bytes,
                        None => read_again(&file).await?,
                    };
                    let serving = registry.find(&file.name).map(|it| it.current().number);
                    tokio::select! {
                        prepared = registry.prepare(&file, bytes, is_late) => prepared,
                        never = tell_if_slow(&file, serving) => match never {},
                    }
                };
                // A panic of the host is a bug of the host, and must not be the end of loading.
                let prepared = AssertUnwindSafe(prepared).catch_unwind();
                let result = prepared.await.unwrap_or_else(|_| {
                    Err(FileRefusal::passing(
                        "the host panicked while it loaded it; please report it",
                    ))
                });
                Loaded { name, ticket, result }
            }
        });
        self.loading
            .insert(file.name.clone(), Loading { ticket, file, tries, is_late: false, task });
    }

    /// Stops loading a file, which has changed or is gone. What is being compiled goes into the cache.
    fn forget(&mut self, name: &str) {
        if let Some(loading) = self.loading.remove(name) {
            loading.task.abort();
        }
        self.refused.call_off(name);
        self.waiting.remove(name);
        self.departures.call_off(name);
        self.first.remove(name);
        self.first_served.remove(name);
    }

    fn loaded(&mut self, Loaded { name, ticket, result }: Loaded) {
        if self.loading.get(&name).is_none_or(|loading| loading.ticket != ticket) {
            return;
        }
        let Some(Loading { file, tries, .. }) = self.loading.remove(&name) else {
            return;
        };
        match result {
            Ok(ready) => {
                let Displaced { departing, of_start: displaced } = self.displaced_by(&ready);
                self.waiting.insert(name.clone(), ready);
                let displaced_names = displaced.iter().map(|file| file.name.clone());
                self.change(&departing.iter().cloned().chain(displaced_names).collect::<Vec<_>>());
                departing.into_iter().for_each(|name| self.note_last_good(name, None));
                if self.scanned.is_some() && self.registry.find(&name).is_some() {
                    self.first_served.insert(name.clone(), file.clone());
                }
                // They are told why they do not serve any more.
                displaced.into_iter().for_each(|file| self.load(file, None, 0));
                if let Some(reason) =
                    self.waiting.get(&name).and_then(|ready| self.registry.conflict(ready))
                {
                    let refusal = FileRefusal::of(reason);
                    self.refuse(&name, file.path, Some(file.sha256), refusal);
                }
                self.first.remove(&name);
            }
            Err(refusal) => {
                let is_passing = refusal.is_passing;
                self.refuse(&name, file.path.clone(), Some(file.sha256), refusal);
                if is_passing {
                    self.refused.retry(file, tries);
                }
                self.first.remove(&name);
                self.fall_back(&name);
            }
        }
    }

    /// Takes note of the channels that give way to this code, if all do that hold its paths.
    fn displaced_by(&mut self, ready: &Ready) -> Displaced {
        let holders = self.registry.holders(ready);
        // Deployed code has its paths before any file.
        let is_deployed = self.sources.is_deployed(&ready.name);
        let is_of_start = |name: &String| {
            let gives_way = is_deployed || *name > ready.name;
            self.scanned.is_some() && gives_way && self.first_served.contains_key(name)
        };
        if !holders.iter().all(|name| self.departures.has(name) || is_of_start(name)) {
            return Displaced::default();
        }
        let mut displaced = Displaced::default();
        for name in holders {
            if self.departures.has(&name) {
                self.departures.call_off(&name);
                displaced.departing.push(name);
            } else {
                displaced.of_start.extend(self.first_served.remove(&name));
            }
        }
        displaced
    }

    /// Tells that a compilation takes longer than its limit. It goes on.
    fn is_late(&mut self, name: &str, ticket: u64) {
        let loading = self.loading.get_mut(name).filter(|loading| loading.ticket == ticket);
        let Some(loading) = loading else {
            return;
        };
        loading.is_late = true;
        let (path, sha256) = (loading.file.path.clone(), loading.file.sha256);
        let limit = self.registry.config.compile_timeout;
        let reason = format!(
            "it has not been compiled within {limit:?} (compile_timeout_ms); it is loaded once it is"
        );
        self.refuse(name, path, Some(sha256), FileRefusal::of(reason));
        self.first.remove(name);
        self.fall_back(name);
    }

    /// Takes note of a file that is not served, and tells if that is news.
    fn refuse(
        &mut self,
        name: &str,
        path: PathBuf,
        sha256: Option<[u8; 32]>,
        refusal: FileRefusal,
    ) {
        let FileRefusal { reason, is_passing } = refusal;
        if self.refused.note(name, sha256, &reason) {
            self.registry.tell_refused(name, &path, sha256, &reason, is_passing);
        }
    }

    fn try_again(&mut self) {
        while self.has_room()
            && let Some((file, tries)) = self.refused.take_due()
        {
            self.load(file, None, tries);
        }
    }

    /// Looks for the last good code of a channel whose file of the start is refused: what was bad
    /// before a restart does not replace good code by it.
    fn fall_back(&mut self, name: &str) {
        if self.scanned.is_none() || self.registry.find(name).is_some() {
            return;
        }
        self.first.insert(name.to_owned());
        let (registry, name) = (self.registry.clone(), name.to_owned());
        self.fallbacks.spawn(async move {
            let prepared = AssertUnwindSafe(registry.prepare_last_good(&name)).catch_unwind();
            let ready = prepared.await.ok().flatten();
            (name, ready)
        });
    }

    fn fallen_back(&mut self, name: String, ready: Option<Ready>) {
        if !self.loading.contains_key(&name) {
            self.first.remove(&name);
        }
        // The file may have become good, or be gone, meanwhile.
        let Some(ready) = ready.filter(|_| self.refused.has(&name)) else {
            return;
        };
        if self.registry.find(&name).is_some() || self.waiting.contains_key(&name) {
            return;
        }
        let mut waiting = Waiting::from([(name.clone(), ready)]);
        for news in self.registry.change(&[], &mut waiting) {
            tell_mounted(&news);
            tracing::warn!(
                channel = name,
                "the last good code serves in place of a file that is refused"
            );
        }
    }

    /// Takes channels out of service, and mounts what can be mounted, in one step.
    fn change(&mut self, removed: &[String]) {
        for news in self.registry.change(removed, &mut self.waiting) {
            tell_mounted(&news);
            let name = news.channel.name().to_owned();
            self.note_last_good(name.clone(), Some(news.sha256));
            self.is_served(name, news.sha256, news.number);
        }
    }

    fn is_served(&mut self, name: String, sha256: [u8; 32], generation: u64) {
        self.refused.remove(&name);
        self.registry.refusals.lock().remove(&name);
        self.registry.ports.loads.loaded(LoadOutcome {
            name,
            sha256: Some(sha256),
            serving: Some(generation),
            refused: None,
        });
    }

    /// Notes the last good file of a channel, or that there is none.
    fn note_last_good(&self, name: String, sha256: Option<[u8; 32]>) {
        let registry = self.registry.clone();
        let note = move || registry.engine.note_last_good(&registry.place(&name), sha256.as_ref());
        // Without a thread there is no note, which is of use only after a restart.
        let _ = std::thread::Builder::new().name("note".to_owned()).spawn(note);
    }

    fn end_first_scan(&mut self) {
        if self.is_listed
            && self.first.is_empty()
            && let Some(scanned) = self.scanned.take()
        {
            self.first_served.clear();
            self.registry.log_unused_tables();
            self.registry.is_starting.store(false, Ordering::SeqCst);
            // A host that was complete once stays ready, also if nobody has asked by then.
            self.registry.readiness();
            // The server may be stopping already.
            let _ = scanned.send(());
        }
    }
}

/// Returns the next order about deployed code; `None` if there will be none.
async fn next_order(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    orders.as_mut()?.recv().await
}

/// Tells the operator of a plugin whose loading takes a while.
async fn tell_if_slow(file: &PluginFile, serving: Option<u64>) -> Infallible {
    tokio::time::sleep(LONG_FOR_AN_OPERATOR).await;
    tracing::info!(
        channel = escape(&file.name),
        bytes = file.size,
        serving,
        "a plugin is being compiled; it serves once that is done"
    );
    std::future::pending().await
}
