//! Values of each worker thread. Threads that run at the same time then do not write to the same cache
//! line.

use std::fmt;
use std::thread;

use crate::sync::own_number;

/// A value for each worker thread. Threads beyond the number of cores share values with others, so the
/// values are atomic or locked.
pub(crate) struct PerWorker<T> {
    first: Padded<T>,
    others: Box<[Padded<T>]>,
}

/// A value with its cache lines to itself: two, because processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// Creates as many values as there are cores.
    pub(crate) fn new() -> PerWorker<T> {
        PerWorker::for_workers(thread::available_parallelism().map_or(1, usize::from))
    }

    /// Creates values for `workers` workers, or a few more.
    pub(crate) fn for_workers(workers: usize) -> PerWorker<T> {
        let others = workers.next_power_of_two() - 1;
        PerWorker {
            first: Padded::default(),
            others: (0..others).map(|_| Padded::default()).collect(),
        }
    }
}

impl<T> PerWorker<T> {
    /// Returns the number of values.
    pub(crate) fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Returns this thread's value.
    pub(crate) fn own(&self) -> &T {
        self.of_worker(own_number())
    }

    /// Iterates over all values, beginning with this thread's.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> + Clone {
        let own = own_number();
        (0..self.count()).map(move |distance| self.of_worker(own.wrapping_add(distance)))
    }

    fn of_worker(&self, number: usize) -> &T {
        // The count is a power of two. The last number, beyond the others, is that of the first.
        let index = number & self.others.len();
        &self.others.get(index).unwrap_or(&self.first).0
    }
}

impl<T: fmt::Debug> fmt::Debug for PerWorker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn all_values_are_distinct_and_begin_with_this_threads() {
        for workers in [1, 2, 3, 8] {
            let values = PerWorker::<AtomicUsize>::for_workers(workers);
            assert_eq!(values.count(), workers.next_power_of_two());
            let places: Vec<_> = values.all().map(std::ptr::from_ref).collect();
            assert_eq!(places[0], std::ptr::from_ref(values.own()));
            assert_eq!(places.iter().collect::<HashSet<_>>().len(), values.count());
        }
    }
}
