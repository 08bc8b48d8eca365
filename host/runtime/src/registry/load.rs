//! One file: compiled, compared with the contract, called once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PluginFile, Registry};
use crate::channel::Generation;
use crate::channel_context::ChannelContext;
use crate::instance::{Failure, Instance};
use crate::plugin::watch::{Change, look_once};
use crate::plugin::{Component, LastGood, WorkError, on_thread};
use crate::pool::Pool;
use crate::saved_samples::{SavedSamples, Unreadable};
use wharf_contract::description::Description;
use wharf_contract::pattern::Pattern;
use wharf_engine::Unavailable;

/// Largest number of instances that new code has warm when it begins to serve.
const MAX_WARM: usize = 16;

/// The reason why a file is not served.
#[derive(Debug)]
pub(super) struct FileRefusal {
    pub(super) reason: String,
    /// True if the reason is not the file, and may be gone in a moment.
    pub(super) is_passing: bool,
}

impl FileRefusal {
    pub(super) fn of(reason: impl Into<String>) -> FileRefusal {
        FileRefusal { reason: reason.into(), is_passing: false }
    }

    pub(super) fn passing(reason: impl Into<String>) -> FileRefusal {
        FileRefusal { reason: reason.into(), is_passing: true }
    }

    fn of_failure(what: &str, failure: &Failure) -> FileRefusal {
        let mut reason = format!("{what}: {failure}");
        if !failure.backtrace.is_empty() {
            reason = format!("{reason} ({})", failure.backtrace);
        }
        FileRefusal { reason, is_passing: failure.is_passing }
    }
}

/// Code that is fit to serve.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) context: Arc<ChannelContext>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) next: Generation,
    /// The reasons why it cannot read what earlier code has saved.
    pub(super) unreadable: Unreadable,
    /// Size of the file in bytes; `None` for code that was only in the cache.
    pub(super) bytes: Option<usize>,
    /// True if it was not compiled just now.
    pub(super) is_cached: bool,
    pub(super) compile_time: Duration,
    pub(super) trial_time: Duration,
}

impl Registry {
    /// Compiles a plugin or takes it from the cache, checks it, and calls it once. `is_late` is called
    /// if compiling takes longer than its limit.
    pub(super) async fn prepare(
        &self,
        file: &PluginFile,
        bytes: Arc<[u8]>,
        is_late: impl Fn(),
    ) -> Result<Ready, FileRefusal> {
        let begun = Instant::now();
        let sha256 = file.sha256;
        let limit = self.config.compile_timeout;
        let loaded = self.engine.load_in_background(bytes, sha256, limit, is_late).await;
        let (component, is_cached) = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(refused)) if refused.is_passing() => {
                return Err(FileRefusal::passing(refused.to_string()));
            }
            Ok(Err(refused)) => return Err(FileRefusal::of(refused.to_string())),
            Err(error @ WorkError::NoThread(_)) => {
                return Err(FileRefusal::passing(error.to_string()));
            }
            Err(error @ WorkError::Panicked(_)) => return Err(FileRefusal::of(error.to_string())),
        };
        let compile_time = begun.elapsed();
        let ready = self.try_out(&file.name, component, file.sha256).await?;
        Ok(Ready { bytes: Some(file.size), is_cached, compile_time, ..ready })
    }

    /// Compiles code that may be loaded later, into the cache. Code that cannot be compiled is refused
    /// when it is loaded.
    pub async fn compile_ahead(&self, bytes: Arc<[u8]>, sha256: [u8; 32]) {
        let limit = self.config.compile_timeout;
        drop(self.engine.load_in_background(bytes, sha256, limit, || ()).await);
    }

    /// Prepares the last good code of a channel, if it is in the cache.
    pub(super) async fn prepare_last_good(&self, name: &str) -> Option<Ready> {
        let begun = Instant::now();
        let (component, sha256) = self.engine.load_last_good(self.place(name)).await?;
        let compile_time = begun.elapsed();
        let ready = self.try_out(name, component, sha256).await.ok()?;
        Some(Ready { is_cached: true, compile_time, ..ready })
    }

    /// Returns the place of a channel in the notes about last good code.
    pub(super) fn place(&self, name: &str) -> LastGood {
        let folder = &self.config.plugins;
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        LastGood { folder, channel: name.to_owned() }
    }

    /// Makes the first instance and lets it describe itself.
    async fn try_out(
        &self,
        name: &str,
        component: Component,
        sha256: [u8; 32],
    ) -> Result<Ready, FileRefusal> {
        let begun = Instant::now();
        let (context, number, warm) = self.next_of(name).await.map_err(|why| {
            FileRefusal::passing(format!("the channel's data cannot be read: {why}"))
        })?;
        let (first, description) = trial(&component, &context, number).await?;
        let patterns =
            description.patterns().map_err(|wrong| FileRefusal::of(wrong.to_string()))?;
        let pool = Pool::new(component, context.clone(), number, first);
        let unreadable = check_saved(&pool, &context).await;
        // A busy channel does not begin with one instance.
        pool.warm_up(warm.min(MAX_WARM)).await;
        let next = Generation::new(number, sha256, description, pool);
        Ok(Ready {
            name: name.to_owned(),
            context,
            patterns,
            next,
            unreadable,
            bytes: None,
            is_cached: false,
            compile_time: Duration::ZERO,
            trial_time: begun.elapsed(),
        })
    }

    /// Returns the data of a channel, new or not, the number of its next generation, and the number of
    /// instances that the present one has warm.
    async fn next_of(&self, name: &str) -> Result<(Arc<ChannelContext>, u64, usize), Unavailable> {
        if let Some(mounted) = self.channels.lock().get(name) {
            let current = mounted.channel.current();
            let context = mounted.channel.context.clone();
            return Ok((context, current.number + 1, current.pool.idle_count()));
        }
        let kept = self.kept.lock().get(name);
        match kept {
            Some((context, last)) => Ok((context, last + 1, 0)),
            None => Ok((self.context(name).await?, 1, 0)),
        }
    }
}

/// Asks new code to read what earlier code has saved. A failure of that is no reason to refuse it:
/// its events will show it again.
async fn check_saved(pool: &Pool, context: &ChannelContext) -> Unreadable {
    let Some(mut instance) = pool.take_warm() else {
        return Unreadable::default();
    };
    // A session without a connection is of no use any more.
    let is_open = context.hub.connection_count() > 0;
    let session = if is_open { context.session_sample.get() } else { None };
    let samples = SavedSamples { session, room_state: context.hub.sample_room_state() };
    let checked = instance.check_saved(&samples).await;
    pool.give_back(instance);
    checked.unwrap_or_default()
}

/// Reads the content of a file again.
///
/// # Errors
///
/// It has changed, or cannot be read. The folder's watcher tells of it if that lasts.
pub(super) async fn read_again(file: &PluginFile) -> Result<Arc<[u8]>, FileRefusal> {
    let path = file.path.clone();
    let read = on_thread(move |read| drop(read.send(look_once(&path)))).await;
    match read {
        Ok(Change::Settled { bytes, sha256, .. }) if sha256 == file.sha256 => Ok(bytes),
        Ok(Change::Unreadable { reason, .. }) => Err(FileRefusal::passing(reason)),
        Ok(_) => Err(FileRefusal::passing("it is being replaced")),
        Err(error) => Err(FileRefusal::passing(error.to_string())),
    }
}

/// Makes the first instance and lets it describe itself.
async fn trial(
    component: &Component,
    context: &Arc<ChannelContext>,
    number: u64,
) -> Result<(Instance, Description), FileRefusal> {
    let started = Instance::start_trial(component, context, number).await;
    let mut instance =
        started.map_err(|failure| FileRefusal::of_failure("it does not start", &failure))?;
    let described = instance.describe().await;
    let description =
        described.map_err(|failure| FileRefusal::of_failure("its describe fails", &failure))?;
    match description.problem {
        Some(problem) => Err(FileRefusal::of(problem.to_string())),
        None => Ok((instance, description)),
    }
}
