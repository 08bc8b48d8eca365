//! The models: each is a small scene that `loom` runs in every order.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use loom::future::block_on;
use loom::thread;

use crate::epoch::Turns;
use crate::idle::Idle;
use crate::per_worker::PerWorker;
use crate::slots::{ChannelSlots, SharedSlots};
use crate::sync::{AtomicUsize, be_worker};

/// Switches between threads that are not forced by a lock, in one run. More find nothing new in
/// scenes as small as these, and take hours.
const MAX_PREEMPTIONS: usize = 4;

fn try_every_order(scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(MAX_PREEMPTIONS);
    model.check(scene);
}

/// Runs threads, each with its number as a worker, to their ends.
fn run(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let mut threads = threads.into_iter();
    let own = threads.next();
    let others: Vec<_> = threads
        .enumerate()
        .map(|(number, work)| {
            thread::spawn(move || {
                be_worker(number + 1);
                work();
            })
        })
        .collect();
    be_worker(0);
    if let Some(work) = own {
        work();
    }
    for other in others {
        if let Err(panic) = other.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Counts those who use something at the same time.
#[derive(Default)]
struct InUse(AtomicUsize);

impl InUse {
    fn by_at_most(&self, most: usize) {
        assert!(self.0.fetch_add(1, SeqCst) < most, "more use it than there are");
        self.0.fetch_add(usize::MAX, SeqCst);
    }
}

/// Two workers take and put values; none is lost, and none is with both.
pub fn an_idle_value_is_neither_lost_nor_given_to_two() {
    try_every_order(|| {
        let idle = Arc::new(Idle::of(PerWorker::for_workers(2)));
        idle.put(0);
        let in_use = Arc::new(InUse::default());
        let work = || {
            let (idle, in_use) = (idle.clone(), in_use.clone());
            Box::new(move || {
                if let Some(value) = idle.take() {
                    in_use.by_at_most(1);
                    idle.put(value);
                }
                idle.trim(0).into_iter().for_each(|value| idle.put(value));
            }) as Box<dyn FnOnce() + Send>
        };
        run(vec![work(), work()]);
        assert_eq!(idle.take(), Some(0));
        assert_eq!(idle.take(), None);
    });
}

/// Tasks of one channel share its slots: each gets one in the end, and no more run than there are.
pub fn each_task_of_a_channel_gets_a_slot(tasks: usize, max: usize) {
    try_every_order(move || {
        let shared = SharedSlots::new(1);
        let free = PerWorker::for_workers(2);
        let slots = Arc::new(ChannelSlots::with(max, 1, shared, free));
        let in_use = Arc::new(InUse::default());
        let work = || {
            let (slots, in_use) = (slots.clone(), in_use.clone());
            Box::new(move || {
                let _slot = block_on(slots.take());
                in_use.by_at_most(max);
            }) as Box<dyn FnOnce() + Send>
        };
        run((0..tasks).map(|_| work()).collect());
        drop(block_on(slots.take()));
    });
}

/// Two channels want the one shared slot beyond their own: both get it in the end.
pub fn a_shared_slot_goes_to_each_channel_that_waits_for_it() {
    try_every_order(|| {
        let shared = SharedSlots::new(1);
        let work = || {
            let shared = shared.clone();
            let slots = ChannelSlots::with(2, 1, shared, PerWorker::for_workers(1));
            Box::new(move || {
                let first = block_on(slots.take());
                let second = block_on(slots.take());
                drop(first);
                drop(second);
                slots.trim();
            }) as Box<dyn FnOnce() + Send>
        };
        run(vec![work(), work()]);
    });
}

/// A guest begins its turn while the clock stops: the clock runs on, or is started again.
pub fn the_clock_does_not_stand_still_while_a_guest_runs(guests: usize) {
    try_every_order(move || {
        let turns = Arc::new(Turns::new(PerWorker::for_workers(2)));
        let quiet = turns.sums();
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![Box::new({
            let turns = turns.clone();
            move || {
                turns.stop(quiet);
            }
        })];
        threads.extend((0..guests).map(|_| {
            let turns = turns.clone();
            Box::new(move || {
                // It runs on when the scene is over.
                std::mem::forget(turns.begin());
                turns.start_again();
            }) as Box<dyn FnOnce() + Send>
        }));
        run(threads);
        assert!(!turns.sleeps(), "a guest is not preempted");
    });
}
