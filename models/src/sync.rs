//! The atomics and locks of `loom`, under the names that the runtime has for its own.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use loom::sync::atomic::{self, fence};
use loom::sync::{self, MutexGuard};

loom::thread_local! {
    static NUMBER: Cell<usize> = Cell::new(0);
}

/// Makes this thread the worker of that number from now on.
pub(crate) fn be_worker(number: usize) {
    NUMBER.with(|own| own.set(number));
}

/// Returns this thread's number.
pub(crate) fn own_number() -> usize {
    NUMBER.with(Cell::get)
}

/// Takes a step. To `loom` a sequentially consistent step alone is no more than an acquiring and
/// releasing one; between two fences it is what the language promises.
fn step<R>(ordering: Ordering, act: impl FnOnce() -> R) -> R {
    if ordering != Ordering::SeqCst {
        return act();
    }
    fence(Ordering::SeqCst);
    let result = act();
    fence(Ordering::SeqCst);
    result
}

#[derive(Debug, Default)]
pub(crate) struct AtomicUsize(atomic::AtomicUsize);

impl AtomicUsize {
    pub(crate) fn new(value: usize) -> AtomicUsize {
        AtomicUsize(atomic::AtomicUsize::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> usize {
        step(ordering, || self.0.load(ordering))
    }

    pub(crate) fn store(&self, value: usize, ordering: Ordering) {
        step(ordering, || self.0.store(value, ordering));
    }

    pub(crate) fn swap(&self, value: usize, ordering: Ordering) -> usize {
        step(ordering, || self.0.swap(value, ordering))
    }

    pub(crate) fn fetch_add(&self, value: usize, ordering: Ordering) -> usize {
        step(ordering, || self.0.fetch_add(value, ordering))
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        step(success, || self.0.compare_exchange_weak(current, new, success, failure))
    }
}

#[derive(Debug, Default)]
pub(crate) struct AtomicBool(atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> AtomicBool {
        AtomicBool(atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> bool {
        step(ordering, || self.0.load(ordering))
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        step(ordering, || self.0.store(value, ordering));
    }

    pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        step(ordering, || self.0.swap(value, ordering))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
