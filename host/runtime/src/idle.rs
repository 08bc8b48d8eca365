//! Values that are kept for the worker threads that used them last.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use crate::per_worker::PerWorker;
use crate::sync::{AtomicUsize, Mutex};

/// Idle values: a stack for each worker.
#[derive(Debug)]
pub(crate) struct Idle<T>(PerWorker<Stack<T>>);

#[derive(Debug)]
pub(crate) struct Stack<T> {
    /// Length of the stack, so that other workers need not lock an empty one.
    count: AtomicUsize,
    things: Mutex<Things<T>>,
}

#[derive(Debug)]
struct Things<T> {
    /// Values; the front is the coldest.
    stack: VecDeque<T>,
    /// Smallest length since the last trim, which is the number of values that were not needed.
    fewest: usize,
}

impl<T> Default for Stack<T> {
    fn default() -> Stack<T> {
        let things = Things { stack: VecDeque::new(), fewest: 0 };
        Stack { count: AtomicUsize::new(0), things: Mutex::new(things) }
    }
}

impl<T> Stack<T> {
    /// Takes a value, if there may be one.
    fn take(&self, take: impl FnOnce(&mut VecDeque<T>) -> Option<T>) -> Option<T> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut things = self.things.lock();
        let taken = take(&mut things.stack);
        things.fewest = things.fewest.min(things.stack.len());
        self.count.store(things.stack.len(), Relaxed);
        taken
    }
}

impl<T> Idle<T> {
    /// Makes empty stacks.
    pub(crate) fn new() -> Idle<T> {
        Idle::of(PerWorker::new())
    }

    pub(crate) fn of(workers: PerWorker<Stack<T>>) -> Idle<T> {
        Idle(workers)
    }

    /// Takes the warmest value of this worker, else the coldest of another's.
    pub(crate) fn take(&self) -> Option<T> {
        let own = self.0.own().take(VecDeque::pop_back);
        own.or_else(|| self.0.all().find_map(|stack| stack.take(VecDeque::pop_front)))
    }

    /// Keeps a value for this worker.
    pub(crate) fn put(&self, thing: T) {
        let own = self.0.own();
        let mut things = own.things.lock();
        things.stack.push_back(thing);
        own.count.store(things.stack.len(), Relaxed);
    }

    /// Returns true if no worker has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.all().all(|stack| stack.count.load(Relaxed) == 0)
    }

    /// Returns the number of values of all workers.
    pub(crate) fn count(&self) -> usize {
        self.0.all().map(|stack| stack.count.load(Relaxed)).sum()
    }

    /// Takes out the values that no worker has needed since the last trim, the coldest first. At
    /// least `min` values stay. A value that moves to another worker meanwhile may count twice.
    pub(crate) fn trim(&self, min: usize) -> Vec<T> {
        let mut surplus = Vec::new();
        let mut kept = 0;
        for stack in self.0.all() {
            let mut things = stack.things.lock();
            let unneeded = things.fewest.min(things.stack.len());
            surplus.extend(things.stack.drain(..unneeded));
            things.fewest = things.stack.len();
            kept += things.stack.len();
            stack.count.store(things.stack.len(), Relaxed);
        }
        for thing in surplus.split_off(surplus.len().saturating_sub(min.saturating_sub(kept))) {
            self.put(thing);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interleaving::{self, Random, be_worker};

    const WORKERS: usize = 4;

    fn idle<T>(things: impl IntoIterator<Item = T>) -> Idle<T> {
        let idle = Idle(PerWorker::for_workers(WORKERS));
        be_worker(0);
        things.into_iter().for_each(|thing| idle.put(thing));
        idle
    }

    #[test]
    fn a_worker_takes_its_own_warmest_thing_and_then_the_coldest_of_another() {
        let idle = idle([1, 2, 3]);
        be_worker(1);
        idle.put(4);
        idle.put(5);
        let taken: Vec<_> = std::iter::from_fn(|| idle.take()).collect();
        assert_eq!(taken, [5, 4, 1, 2, 3]);
        assert!(idle.is_empty());
    }

    #[test]
    fn a_trim_takes_what_was_not_needed_since_the_last_but_for_the_fewest_that_stay() {
        let idle = idle([1, 2, 3]);
        assert!(idle.trim(1).is_empty(), "there is no last one yet");
        let used = [idle.take(), idle.take()];
        used.into_iter().flatten().for_each(|thing| idle.put(thing));
        assert_eq!(idle.trim(1), [1]);
        assert_eq!(idle.trim(1), [3], "the warmest stays, though it was not needed");
        assert!(idle.trim(1).is_empty());
        assert_eq!(idle.trim(0), [2]);
    }

    #[test]
    fn no_order_of_steps_loses_a_thing_or_gives_it_to_two() {
        for seed in 0..300 {
            let idle = idle(0..3_usize);
            let in_use: [std::sync::atomic::AtomicUsize; 3] = Default::default();
            let work = (0..4).map(|number| {
                let (idle, in_use) = (&idle, &in_use);
                let work: Box<dyn FnOnce() + Send> = Box::new(move || {
                    let mut random = Random::new(seed * 10 + number);
                    for _ in 0..5 {
                        if let Some(thing) = idle.take() {
                            assert_eq!(in_use[thing].fetch_add(1, Relaxed), 0);
                            interleaving::step();
                            in_use[thing].fetch_sub(1, Relaxed);
                            idle.put(thing);
                        }
                        if random.below(4) == 0 {
                            idle.trim(3).into_iter().for_each(|thing| idle.put(thing));
                        }
                    }
                });
                work
            });
            interleaving::run(seed, work.collect());
            let mut left: Vec<_> = std::iter::from_fn(|| idle.take()).collect();
            left.sort_unstable();
            assert_eq!(left, [0, 1, 2], "after seed {seed}");
        }
    }
}
