//! The clock that preempts guests: it advances an engine's epoch, but only while guests run. A host that
//! has nothing to do would otherwise wake up a thousand times a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::per_worker::PerWorker;
use crate::sync::{AtomicBool, AtomicUsize};

/// Time between two ticks: the unit in which guests are preempted and their CPU time is counted.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(1);

/// Ticks without a guest after which the clock stops. To stop and to start again costs about as much
/// as a few ticks.
const LINGER: u32 = 4;

/// An engine's clock. Cheap to clone. Its thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct EpochClock(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    turns: Arc<Turns>,
    thread: Thread,
}

/// The turns of guests, counted by each worker for itself.
#[derive(Debug)]
pub(crate) struct Turns {
    workers: PerWorker<Counts>,
    /// True if the clock stands still until the next turn. Written only when it stops and starts.
    is_stopped: AtomicBool,
    has_ended: AtomicBool,
}

/// One worker's turns. Both numbers only grow, and may wrap.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// The sums of all workers at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    begun: usize,
    ended: usize,
}

/// The ticks without a turn, and the sums since then.
#[derive(Debug)]
struct Quiet {
    since: Sums,
    ticks: u32,
}

/// A guest's turn, from before it runs to when it has returned or yielded.
#[derive(Debug)]
pub struct GuestTurn<'a>(&'a Counts);

impl EpochClock {
    /// Starts a clock that calls `advance` at each tick.
    ///
    /// # Errors
    ///
    /// No thread can be started for it.
    pub fn start(advance: impl Fn() + Send + 'static) -> io::Result<EpochClock> {
        let turns = Arc::new(Turns::new(PerWorker::new()));
        let run = {
            let turns = turns.clone();
            move || turns.run(advance)
        };
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(run)?;
        Ok(EpochClock(Arc::new(Handle { turns, thread: thread.thread().clone() })))
    }

    /// Begins a guest's turn, which is preempted at the next tick.
    pub fn turn(&self) -> GuestTurn<'_> {
        let turn = self.0.turns.begin();
        if self.0.turns.start_again() {
            self.0.thread.unpark();
        }
        turn
    }
}

impl Turns {
    pub(crate) fn new(workers: PerWorker<Counts>) -> Turns {
        let (is_stopped, has_ended) = Default::default();
        Turns { workers, is_stopped, has_ended }
    }

    pub(crate) fn begin(&self) -> GuestTurn<'_> {
        let counts = self.workers.own();
        counts.begun.fetch_add(1, SeqCst);
        GuestTurn(counts)
    }

    /// Returns true if the clock stood still, and makes it run. Must be called after the beginning
    /// of a turn.
    pub(crate) fn start_again(&self) -> bool {
        self.is_stopped.load(SeqCst) && self.is_stopped.swap(false, SeqCst)
    }

    pub(crate) fn sums(&self) -> Sums {
        // Ended turns are counted first: a turn that ends meanwhile then counts as one that runs.
        let ended = self.workers.all().map(|counts| counts.ended.load(SeqCst));
        let ended = ended.fold(0, usize::wrapping_add);
        let begun = self.workers.all().map(|counts| counts.begun.load(SeqCst));
        let begun = begun.fold(0, usize::wrapping_add);
        Sums { begun, ended }
    }

    fn run(&self, advance: impl Fn()) {
        let mut quiet = Quiet { since: self.sums(), ticks: 0 };
        while !self.has_ended.load(SeqCst) {
            thread::sleep(EPOCH_TICK);
            advance();
            if self.is_quiet(&mut quiet) && self.stop(quiet.since) {
                while self.sleeps() {
                    thread::park();
                }
            }
        }
    }

    /// Returns true if no guest runs and none has run for a while. Must be called once a tick.
    fn is_quiet(&self, quiet: &mut Quiet) -> bool {
        let sums = self.sums();
        let is_quiet = sums.begun == sums.ended && sums == quiet.since;
        *quiet = Quiet { since: sums, ticks: if is_quiet { quiet.ticks + 1 } else { 0 } };
        quiet.ticks >= LINGER
    }

    pub(crate) fn sleeps(&self) -> bool {
        self.is_stopped.load(SeqCst) && !self.has_ended.load(SeqCst)
    }

    /// Stops the clock, unless there has been a turn since `before`.
    pub(crate) fn stop(&self, before: Sums) -> bool {
        self.is_stopped.store(true, SeqCst);
        // A turn that began before this is seen here, and one that begins later sees the flag.
        let is_quiet = self.sums() == before;
        if !is_quiet {
            self.is_stopped.store(false, SeqCst);
        }
        is_quiet
    }
}

impl Drop for GuestTurn<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.turns.has_ended.store(true, SeqCst);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic;
    use std::time::Instant;

    use super::*;
    use crate::interleaving::{self, Random, step};

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            thread::sleep(EPOCH_TICK);
        }
    }

    #[test]
    fn a_clock_ticks_while_a_guest_runs_and_stands_still_while_none_does() {
        let ticks = Arc::new(atomic::AtomicUsize::new(0));
        let clock = EpochClock::start({
            let ticks = ticks.clone();
            move || {
                ticks.fetch_add(1, SeqCst);
            }
        });
        let clock = clock.expect("there is a thread for it");
        for _ in 0..3 {
            let turn = clock.turn();
            let before = ticks.load(SeqCst);
            wait_until("it ticks on", || ticks.load(SeqCst) > before + 2 * LINGER as usize);
            drop(turn);
            wait_until("it stops", || clock.0.turns.is_stopped.load(SeqCst));
            let stopped = ticks.load(SeqCst);
            thread::sleep(20 * EPOCH_TICK);
            assert_eq!(ticks.load(SeqCst), stopped);
        }
        drop(clock);
        wait_until("its thread ends", || Arc::strong_count(&ticks) == 1);
    }

    /// The number of guests left, the last of which ends the clock.
    struct GuestsLeft<'a>(atomic::AtomicUsize, &'a Turns);

    struct Leaving<'a>(&'a GuestsLeft<'a>);

    impl Drop for Leaving<'_> {
        fn drop(&mut self) {
            let GuestsLeft(count, turns) = self.0;
            if count.fetch_sub(1, SeqCst) == 1 {
                turns.has_ended.store(true, SeqCst);
            }
        }
    }

    /// More steps than a running clock needs until its turn.
    const MANY_STEPS: usize = 10_000;

    #[test]
    fn in_no_order_of_steps_does_a_guest_run_while_the_clock_stands_still() {
        let stops = atomic::AtomicUsize::new(0);
        for seed in 0..300 {
            let turns = Turns::new(PerWorker::for_workers(4));
            let ticks = atomic::AtomicUsize::new(0);
            let clock = || {
                let mut quiet = Quiet { since: turns.sums(), ticks: 0 };
                while !turns.has_ended.load(SeqCst) {
                    ticks.fetch_add(1, SeqCst);
                    if turns.is_quiet(&mut quiet) && turns.stop(quiet.since) {
                        stops.fetch_add(1, SeqCst);
                        while turns.sleeps() {
                            step();
                        }
                    }
                }
            };
            // A single guest has no other one to start the clock for it.
            let guests = 1 + seed as usize % 2;
            let guests_left = GuestsLeft(atomic::AtomicUsize::new(guests), &turns);
            let guest = || {
                let _leaving = Leaving(&guests_left);
                let mut random = Random::new(seed);
                for number in 0..6 {
                    // Sometimes this is long enough for the clock to stop.
                    (0..random.below(200)).for_each(|_| step());
                    let turn = turns.begin();
                    turns.start_again();
                    let tick = ticks.load(SeqCst);
                    // Every other guest runs until it is preempted.
                    let mut steps = 0;
                    while number % 2 == 0 && ticks.load(SeqCst) == tick {
                        assert!(steps < MANY_STEPS, "a guest is not preempted");
                        steps += 1;
                        step();
                    }
                    drop(turn);
                }
            };
            let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new(clock)];
            threads.extend((0..guests).map(|_| Box::new(guest) as Box<dyn FnOnce() + Send>));
            interleaving::run(seed, threads);
        }
        assert!(stops.load(SeqCst) > 300, "the clock stops {stops:?} times");
    }
}
