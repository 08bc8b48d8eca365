//! Runs the threads of a test one step at a time, in an order drawn from a seed. A step ends before
//! each use of one of these atomics and locks.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{self, Ordering};
use std::sync::{Arc, Condvar};
use std::thread;

/// A thread's place in the run that it belongs to.
#[derive(Clone)]
struct Place {
    run: Arc<Run>,
    number: usize,
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Run {
    state: std::sync::Mutex<State>,
    passed_on: Condvar,
}

struct State {
    /// The threads that have not ended, by number.
    alive: Vec<usize>,
    turn: usize,
    random: Random,
}

/// Small numbers drawn from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Draws a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // SplitMix64 accepts any seed.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

impl Run {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Gives the turn to a thread that is alive.
    fn pass_on(&self, state: &mut State) {
        if !state.alive.is_empty() {
            let drawn = state.random.below(state.alive.len());
            state.turn = state.alive[drawn];
        }
        self.passed_on.notify_all();
    }

    fn wait_for_turn(&self, mut state: std::sync::MutexGuard<'_, State>, number: usize) {
        while state.turn != number {
            state = self.passed_on.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

/// Runs threads to their ends. Each has its number as a worker.
///
/// # Panics
///
/// One of them panics.
pub(crate) fn run<'env>(seed: u64, threads: Vec<Box<dyn FnOnce() + Send + 'env>>) {
    let alive: Vec<usize> = (0..threads.len()).collect();
    let mut random = Random::new(seed);
    let turn = random.below(alive.len());
    let state = std::sync::Mutex::new(State { alive, turn, random });
    let run = Arc::new(Run { state, passed_on: Condvar::new() });
    let panics: Vec<Box<dyn Any + Send>> = thread::scope(|scope| {
        let spawn = |(number, work): (usize, Box<dyn FnOnce() + Send + 'env>)| {
            let run = run.clone();
            scope.spawn(move || {
                PLACE.set(Some(Place { run: run.clone(), number }));
                be_worker(number);
                run.wait_for_turn(run.lock(), number);
                let result = catch_unwind(AssertUnwindSafe(work));
                PLACE.set(None);
                let mut state = run.lock();
                state.alive.retain(|other| *other != number);
                run.pass_on(&mut state);
                result.err()
            })
        };
        let threads: Vec<_> = threads.into_iter().enumerate().map(spawn).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap_or_else(Some)).collect()
    });
    if let Some(panic) = panics.into_iter().next() {
        println!("the seed was {seed}");
        std::panic::resume_unwind(panic);
    }
}

/// Lets the threads of the run take steps until it is this one's turn again.
pub(crate) fn step() {
    if let Some(Place { run, number }) = PLACE.with_borrow(Clone::clone) {
        let mut state = run.lock();
        run.pass_on(&mut state);
        run.wait_for_turn(state, number);
    }
}

/// Makes this thread the worker of that number from now on.
pub(crate) fn be_worker(number: usize) {
    WORKER.set(Some(number));
}

/// Returns the number of this thread as a worker, if the test has set one.
pub(crate) fn own_number() -> Option<usize> {
    WORKER.get()
}

/// A number, each use of which begins a step.
#[derive(Debug, Default)]
pub(crate) struct AtomicUsize(atomic::AtomicUsize);

impl AtomicUsize {
    pub(crate) const fn new(value: usize) -> AtomicUsize {
        AtomicUsize(atomic::AtomicUsize::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> usize {
        step();
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, value: usize, ordering: Ordering) {
        step();
        self.0.store(value, ordering);
    }

    pub(crate) fn swap(&self, value: usize, ordering: Ordering) -> usize {
        step();
        self.0.swap(value, ordering)
    }

    pub(crate) fn fetch_add(&self, value: usize, ordering: Ordering) -> usize {
        step();
        self.0.fetch_add(value, ordering)
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        step();
        self.0.compare_exchange_weak(current, new, success, failure)
    }
}

/// A flag, each use of which begins a step.
#[derive(Debug, Default)]
pub(crate) struct AtomicBool(atomic::AtomicBool);

impl AtomicBool {
    pub(crate) const fn new(value: bool) -> AtomicBool {
        AtomicBool(atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> bool {
        step();
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        step();
        self.0.store(value, ordering);
    }

    pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        step();
        self.0.swap(value, ordering)
    }
}

/// A lock. A thread that waits for it gives its turns away.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, T> {
        step();
        if PLACE.with_borrow(Option::is_none) {
            return self.0.lock();
        }
        loop {
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
            step();
        }
    }
}
