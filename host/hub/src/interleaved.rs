//! Tasks in an order that is drawn from a seed, for tests.

use std::pin::Pin;
use std::task::{Context, Waker};

/// A task of a test.
pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs tasks to their end. The next one is drawn from the seed each time one yields.
pub(crate) fn run_all(mut tasks: Vec<Task<'_>>, mut seed: u64) {
    let mut cx = Context::from_waker(Waker::noop());
    for polls in 1..=5_000_000_u32 {
        if tasks.is_empty() {
            return;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let next = (seed >> 33) as usize % tasks.len();
        if tasks[next].as_mut().poll(&mut cx).is_ready() {
            drop(tasks.swap_remove(next));
        }
        if polls.is_multiple_of(1_000) {
            // Some wait for a disk.
            std::thread::yield_now();
        }
    }
    panic!("{} tasks wait for each other", tasks.len());
}
