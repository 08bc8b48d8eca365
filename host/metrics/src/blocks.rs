//! Counters of each thread.
//!
//! Threads that count at the same time then do not write to the same cache line, and need no locked instruction. A
//! block is made when its thread first counts something: most channels are served by few threads.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::counter::Counter;
use crate::histogram::Histogram;

/// The number of the next thread that asks for one.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread; the largest of all means none.
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A block of counters for each thread. The last block is that of all threads beyond the others.
pub struct Blocks<T> {
    blocks: Box<[OnceLock<Box<Aligned<T>>>]>,
}

/// A block with its cache lines to itself: two, because processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Aligned<T>(T);

/// The block of this thread.
#[derive(Debug)]
pub struct Own<'a, T> {
    block: &'a T,
    /// True if no other thread writes to it.
    is_alone: bool,
}

impl<T> Default for Blocks<T> {
    fn default() -> Blocks<T> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        // Some threads are not workers, and a host may have more workers than cores.
        Blocks::of(workers.saturating_mul(2).saturating_add(6))
    }
}

impl<T> Blocks<T> {
    /// Makes places for the blocks of this many threads, and for one that the further ones share.
    fn of(threads: usize) -> Blocks<T> {
        Blocks { blocks: (0..=threads).map(|_| OnceLock::new()).collect() }
    }

    /// Iterates over the blocks that there are.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().filter_map(|block| Some(&block.get()?.0))
    }

    /// Returns the sum of a counter.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.all().map(|block| counter(block).get()).fold(0, u64::wrapping_add)
    }
}

impl<T: Default> Blocks<T> {
    /// Returns this thread's block; `None` in no case that can happen.
    pub fn own(&self) -> Option<Own<'_, T>> {
        let shared = self.blocks.len().saturating_sub(1);
        let number = own_number();
        let block = self.blocks.get(number.min(shared))?;
        let block = &block.get_or_init(Box::default).0;
        Some(Own { block, is_alone: number < shared })
    }
}

impl<T> Own<'_, T> {
    /// Adds a number to a counter of the block.
    pub fn add(&self, counter: &Counter, number: u64) {
        match self.is_alone {
            true => counter.add_alone(number),
            false => counter.add(number),
        }
    }

    /// Notes a time, in nanoseconds, in a histogram of the block.
    pub fn record(&self, histogram: &Histogram, nanoseconds: u64) {
        if let Some(bucket) = histogram.bucket(nanoseconds) {
            self.add(bucket, 1);
        }
        self.add(histogram.sum(), nanoseconds);
    }
}

impl<T> Deref for Own<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.block
    }
}

impl<T: fmt::Debug> fmt::Debug for Blocks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

/// Returns this thread's number, which no other thread has or gets.
fn own_number() -> usize {
    NUMBER.with(|number| match number.get() {
        usize::MAX => {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(new);
            new
        }
        known => known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Block {
        counter: Counter,
        histogram: Histogram,
    }

    #[test]
    fn threads_lose_no_count_whether_they_have_a_block_or_share_one() {
        const THREADS: usize = 12;
        const COUNTS: u64 = 20_000;
        for places in [0, 2, 100] {
            let blocks = Blocks::<Block>::of(places);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for nanoseconds in 0..COUNTS {
                            let own = blocks.own().expect("a block");
                            own.add(&own.counter, 2);
                            own.record(&own.histogram, nanoseconds);
                        }
                    });
                }
            });
            assert_eq!(blocks.sum(|block| &block.counter), 2 * COUNTS * THREADS as u64);
            let times = crate::histogram::Times::of(blocks.all().map(|block| &block.histogram));
            assert_eq!(times.count(), COUNTS * THREADS as u64);
            assert_eq!(times.nanoseconds(), THREADS as u64 * COUNTS * (COUNTS - 1) / 2);
        }
    }

    #[test]
    fn a_thread_that_counts_nothing_has_no_block() {
        let blocks = Blocks::<Block>::default();
        assert_eq!(blocks.all().count(), 0);
        let own = blocks.own().expect("a block");
        own.add(&own.counter, 1);
        assert_eq!(blocks.all().count(), 1);
    }
}
