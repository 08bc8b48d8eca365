use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::AtomicUsize as Count;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::interleaving::{self, Random, step};

const WORKERS: usize = 4;

/// A channel's `max` and `reserved`.
type Limits = (usize, usize);

fn channel((max, reserved): Limits, shared: &SharedSlots) -> ChannelSlots {
    ChannelSlots::with(max, reserved, shared.clone(), PerWorker::for_workers(WORKERS))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The expected slots of channels: one queue, and no slot kept by a thread.
struct Model {
    shared: usize,
    channels: Vec<ModelChannel>,
}

struct ModelChannel {
    max: usize,
    reserved: usize,
    in_use: usize,
    /// Waiting tasks by the order of arrival over all channels.
    waiting: BTreeMap<usize, ()>,
}

impl Model {
    fn free(&self) -> usize {
        let beyond = self.channels.iter().map(|c| c.in_use.saturating_sub(c.reserved));
        self.shared - beyond.sum::<usize>()
    }

    /// Returns the task that gets the next slot, if one can be had.
    fn next(&self) -> Option<(usize, usize)> {
        let first =
            |index: usize| Some((*self.channels[index].waiting.first_key_value()?.0, index));
        let indices = 0..self.channels.len();
        let in_reserve = indices.clone().filter(|index| {
            let channel = &self.channels[*index];
            channel.in_use < channel.reserved
        });
        let beyond = indices.filter(|index| {
            let channel = &self.channels[*index];
            channel.in_use < channel.max && self.free() > 0
        });
        let next = in_reserve.filter_map(first).min();
        next.or_else(|| beyond.filter_map(first).min()).map(|(task, index)| (index, task))
    }

    /// Gives slots to the waiting tasks, as long as there are any.
    fn grant(&mut self) -> Vec<usize> {
        let mut granted = Vec::new();
        while let Some((index, task)) = self.next() {
            let channel = &mut self.channels[index];
            channel.waiting.remove(&task);
            channel.in_use += 1;
            granted.push(task);
        }
        granted
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Take,
    GiveUp,
    GiveBack,
    Trim,
}

fn acts() -> impl Strategy<Value = Vec<(Act, usize, usize)>> {
    let act = prop_oneof![
        5 => Just(Act::Take),
        1 => Just(Act::GiveUp),
        4 => Just(Act::GiveBack),
        1 => Just(Act::Trim),
    ];
    prop::collection::vec((act, 0..1000_usize, 0..WORKERS), 1..80)
}

fn limits() -> impl Strategy<Value = Vec<Limits>> {
    prop::collection::vec((1..6_usize, 1..4_usize), 1..4)
}

proptest! {
    /// Shows that tasks get slots as from a single queue, whichever threads take them and give them
    /// back.
    #[test]
    fn slots_kept_by_threads_are_given_as_if_no_thread_kept_any(
        limits in limits(),
        shared in 0..4_usize,
        acts in acts(),
    ) {
        let all = SharedSlots::new(shared);
        let channels: Vec<_> = limits.iter().map(|limits| channel(*limits, &all)).collect();
        let model = |&(max, reserved): &Limits| ModelChannel {
            max,
            reserved: reserved.min(max),
            in_use: 0,
            waiting: BTreeMap::new(),
        };
        let mut model = Model { shared, channels: limits.iter().map(model).collect() };
        let mut waiting = BTreeMap::new();
        let mut in_use = BTreeMap::new();
        for (task, (act, which, worker)) in acts.into_iter().enumerate() {
            interleaving::be_worker(worker);
            let index = which % channels.len();
            match act {
                Act::Take => {
                    let channel = &channels[index];
                    waiting.insert(task, (index, Box::pin(channel.take())));
                    model.channels[index].waiting.insert(task, ());
                }
                Act::GiveUp => {
                    let task = waiting.keys().nth(which % waiting.len().max(1)).copied();
                    if let Some((task, (index, future))) = task.and_then(|t| waiting.remove_entry(&t)) {
                        drop(future);
                        model.channels[index].waiting.remove(&task);
                    }
                }
                Act::GiveBack => {
                    let task = in_use.keys().nth(which % in_use.len().max(1)).copied();
                    if let Some((index, slot)) = task.and_then(|t| in_use.remove(&t)) {
                        drop::<Slot<'_>>(slot);
                        let index: usize = index;
                        model.channels[index].in_use -= 1;
                    }
                }
                Act::Trim => channels[index].trim(),
            }
            let mut granted = model.grant();
            granted.sort_unstable();
            let mut ready = Vec::new();
            waiting.retain(|task, (index, future)| match poll(future) {
                Some(slot) => {
                    ready.push(*task);
                    in_use.insert(*task, (*index, slot));
                    false
                }
                None => true,
            });
            prop_assert_eq!(ready, granted);
        }
    }
}

/// More steps than any run needs in which each task gets its slot.
const MANY_STEPS: usize = 100_000;

/// A channel, and its slots that are in use.
struct Use {
    slots: ChannelSlots,
    max: usize,
    reserved: usize,
    in_use: Count,
}

/// Takes and gives back slots of the channels, and now and then gives up waiting.
fn take_and_give_back(channels: &[Use], shared: usize, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..4 {
        let channel = &channels[random.below(channels.len())];
        let patience = if random.below(4) == 0 { random.below(20) } else { MANY_STEPS };
        let mut slot = pin!(channel.slots.take());
        let mut polls = 0;
        let slot = loop {
            match poll(&mut slot) {
                Some(slot) => break Some(slot),
                None if polls == MANY_STEPS => panic!("a task waits for ever"),
                None if polls >= patience => break None,
                None => {
                    polls += 1;
                    step();
                }
            }
        };
        if let Some(slot) = slot {
            let in_use = channel.in_use.fetch_add(1, SeqCst) + 1;
            assert!(in_use <= channel.max, "{in_use} are in use");
            let beyond = channels.iter().map(|c| c.in_use.load(SeqCst).saturating_sub(c.reserved));
            assert!(beyond.sum::<usize>() <= shared, "more are in use than there are");
            step();
            channel.in_use.fetch_sub(1, SeqCst);
            drop(slot);
        }
        if random.below(8) == 0 {
            channel.slots.trim();
        }
    }
}

/// Shows that in any order of their steps, threads never have more slots than there are, each gets
/// one in the end, and none is lost.
#[test]
fn no_order_of_steps_loses_a_slot_or_gives_one_twice() {
    for seed in 0..600 {
        let mut random = Random::new(seed);
        let shared = random.below(3);
        let all = SharedSlots::new(shared);
        let channels: Vec<_> = (0..1 + random.below(2))
            .map(|_| {
                let max = 1 + random.below(3);
                let reserved = 1 + random.below(max);
                let slots = channel((max, reserved), &all);
                Use { slots, max, reserved, in_use: Count::new(0) }
            })
            .collect();
        let work = (0..3).map(|number| {
            let (channels, seed) = (&channels, seed * 10 + number);
            let work: Box<dyn FnOnce() + Send> =
                Box::new(move || take_and_give_back(channels, shared, seed));
            work
        });
        interleaving::run(seed, work.collect());
        for channel in &channels {
            channel.slots.trim();
            let free = channel.slots.credits.sweep();
            assert_eq!(free, channel.reserved, "after seed {seed}");
        }
        let ledger = all.0.ledger.lock();
        assert_eq!(ledger.free(), shared, "after seed {seed}");
    }
}
