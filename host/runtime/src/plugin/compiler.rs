//! Work for threads of their own: compiling plugins, and reading compiled ones.
//!
//! The compiler works on a pool of threads. Each compilation has its own, because one that cannot be
//! started, or has panicked, would otherwise be the end of compiling until a restart.

use std::any::Any;
use std::fs;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinError;

/// Compilations that are waited for at a time.
const TURNS: usize = 2;

/// Compilations under way at a time, with those that nobody waits for any more: a compilation cannot
/// be stopped.
const MAX_RUNNING: usize = 6;

/// Memory that one thread of a compilation may take, est.: a host with less than this for each core
/// compiles on fewer threads.
const BYTES_PER_THREAD: u64 = 64 << 20;

/// Memory below which one plugin is compiled at a time.
const BYTES_FOR_TURNS: u64 = 512 << 20;

/// Files of the limit of memory of a container or service, in version 2 and 1 of Linux' control groups.
const LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The reason why work on a thread has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// The system starts no thread.
    #[error("no thread can be started for it: {0}")]
    NoThread(String),
    /// The work has panicked.
    #[error("the compiler gave up: {0}")]
    Panicked(String),
}

/// The bounds of compiling. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    turns: Arc<Semaphore>,
    running: Arc<Semaphore>,
    threads: usize,
}

/// The part of a turn that the compilation itself keeps.
pub(crate) struct Running {
    _running: OwnedSemaphorePermit,
    threads: usize,
}

impl Compiler {
    /// Makes the bounds for this machine, and for the memory that the host may use.
    pub(crate) fn new() -> Compiler {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let memory = memory_limit();
        let (turns, threads) = bounds(cores, memory);
        Compiler {
            turns: Arc::new(Semaphore::new(turns)),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            threads,
        }
    }

    /// Waits for a turn. Splits it: the first part ends with the wait for the result, the second with
    /// the compilation.
    pub(crate) async fn turn(&self) -> Option<(OwnedSemaphorePermit, Running)> {
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        let running = self.running.clone().acquire_owned().await.ok()?;
        Some((turn, Running { _running: running, threads: self.threads }))
    }
}

impl Running {
    /// Compiles on a pool of threads that ends with it, or on this thread where no other can be
    /// started.
    pub(crate) fn compile<R: Send>(&self, compile: impl FnOnce() -> R + Send) -> R {
        match self.pool() {
            Ok(pool) => pool.install(compile),
            // The compiler's own pool is left, which is made once.
            Err(_) => compile(),
        }
    }

    fn pool(&self) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
        let named = || ThreadPoolBuilder::new().thread_name(|number| format!("compiler-{number}"));
        named()
            .num_threads(self.threads)
            .build()
            .or_else(|_| named().num_threads(1).use_current_thread().build())
    }
}

/// Does work that blocks on a thread of the runtime's pool, whose clock, if it is a test's, stands still
/// meanwhile. The work may go on after it has sent its result.
pub(crate) async fn on_thread<R: Send + 'static>(
    work: impl FnOnce(oneshot::Sender<R>) + Send + 'static,
) -> Result<R, WorkError> {
    let (sender, done) = oneshot::channel();
    // The runtime panics if it cannot start the first thread of the pool.
    let begin = AssertUnwindSafe(|| tokio::task::spawn_blocking(move || work(sender)));
    let working = catch_unwind(begin).map_err(|payload| WorkError::NoThread(text_of(&*payload)))?;
    if let Ok(result) = done.await {
        return Ok(result);
    }
    let text = match working.await.map_err(JoinError::try_into_panic) {
        Err(Ok(payload)) => text_of(&*payload),
        _ => "no result".to_owned(),
    };
    Err(WorkError::Panicked(text))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// Returns the number of compilations at a time, and of threads of each.
fn bounds(cores: usize, memory: Option<u64>) -> (usize, usize) {
    let Some(memory) = memory else {
        return (TURNS, cores);
    };
    let turns = if memory < BYTES_FOR_TURNS { 1 } else { TURNS };
    let threads = usize::try_from(memory / BYTES_PER_THREAD).unwrap_or(usize::MAX);
    (turns, threads.clamp(1, cores))
}

/// Returns the limit of memory of the host's container or service, if it has one that can be read.
fn memory_limit() -> Option<u64> {
    let read = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    LIMITS.iter().filter_map(|file| read(file)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_means_fewer_threads_and_one_compilation_at_a_time() {
        assert_eq!(bounds(16, None), (TURNS, 16));
        assert_eq!(bounds(16, Some(96 << 20)), (1, 1));
        assert_eq!(bounds(16, Some(400 << 20)), (1, 6));
        assert_eq!(bounds(16, Some(16 << 30)), (TURNS, 16));
        assert_eq!(bounds(1, Some(1 << 20)), (1, 1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_with_its_text_and_the_next_one_is_done() {
        let panicking = on_thread(|_: oneshot::Sender<()>| panic!("no {}", "good")).await;
        assert_eq!(
            panicking.map_err(|error| error.to_string()),
            Err("the compiler gave up: no good".to_owned())
        );
        let compiler = Compiler::new();
        let (_turn, running) = compiler.turn().await.expect("a turn");
        let sum = on_thread(move |done| {
            let _ = done.send(running.compile(|| {
                use rayon::prelude::*;
                (0..1000).into_par_iter().sum::<u64>()
            }));
        });
        assert_eq!(sum.await.expect("a sum"), 499_500);
    }
}
