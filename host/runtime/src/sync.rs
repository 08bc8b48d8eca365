//! Atomics and locks that threads share on the path of each event, and the numbers of those threads.
//! Tests replace them with others, which run the threads in an order drawn from a seed; the crate
//! `wharf-models` replaces them with those of `loom`.

use std::sync::atomic;

#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(test)]
pub(crate) use crate::interleaving::{AtomicBool, AtomicUsize, Mutex};

/// The number of the next thread that asks for one.
static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = NEXT.fetch_add(1, atomic::Ordering::Relaxed);
}

/// Returns this thread's number.
pub(crate) fn own_number() -> usize {
    #[cfg(test)]
    if let Some(number) = crate::interleaving::own_number() {
        return number;
    }
    NUMBER.with(|number| *number)
}
