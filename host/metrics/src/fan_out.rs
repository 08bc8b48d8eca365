//! The numbers of receivers of broadcasts.

use crate::blocks::Own;
use crate::counter::Counter;

/// Number of bounds that have a bucket: the powers of four up to 1,048,576.
pub const BOUNDS: usize = 11;

/// The receivers of broadcasts: a counter for each power of four, and the sum.
#[derive(Debug, Default)]
pub struct FanOut {
    buckets: [Counter; BOUNDS],
    /// Broadcasts to more than the last bound.
    beyond: Counter,
    receivers: Counter,
}

/// The numbers of a [`FanOut`] at some time, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receivers {
    buckets: [u64; BOUNDS],
    /// Number of broadcasts.
    pub broadcasts: u64,
    /// Number of their receivers.
    pub receivers: u64,
}

impl FanOut {
    /// Counts a broadcast in the block that this belongs to.
    pub fn record<T>(&self, own: &Own<'_, T>, receivers: u64) {
        own.add(self.buckets.get(place(receivers)).unwrap_or(&self.beyond), 1);
        own.add(&self.receivers, receivers);
    }
}

/// Returns the bucket of a number, which is within its bound.
fn place(receivers: u64) -> usize {
    match receivers.saturating_sub(1) {
        0 => 0,
        less => less.ilog(4) as usize + 1,
    }
}

impl Receivers {
    /// Returns the sums of several.
    pub fn of<'a>(all: impl Iterator<Item = &'a FanOut>) -> Receivers {
        let mut sums = Receivers::default();
        for one in all {
            for (sum, bucket) in sums.buckets.iter_mut().zip(&one.buckets) {
                let count = bucket.get();
                *sum = sum.wrapping_add(count);
                sums.broadcasts = sums.broadcasts.wrapping_add(count);
            }
            sums.broadcasts = sums.broadcasts.wrapping_add(one.beyond.get());
            sums.receivers = sums.receivers.wrapping_add(one.receivers.get());
        }
        sums
    }

    /// Returns these and others together.
    pub fn with(mut self, others: &Receivers) -> Receivers {
        for (sum, other) in self.buckets.iter_mut().zip(&others.buckets) {
            *sum = sum.wrapping_add(*other);
        }
        self.broadcasts = self.broadcasts.wrapping_add(others.broadcasts);
        self.receivers = self.receivers.wrapping_add(others.receivers);
        self
    }

    /// Returns for each bound the number of broadcasts to no more receivers.
    pub fn shown(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (mut sum, mut bound) = (0_u64, 1_u64);
        self.buckets.iter().map(move |bucket| {
            sum = sum.wrapping_add(*bucket);
            let shown = (bound, sum);
            bound = bound.saturating_mul(4);
            shown
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Blocks;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_exact_at_each_bound(
            all in prop::collection::vec(prop_oneof![0_u64..20, 0_u64..2_000_000], 0..100),
        ) {
            let blocks = Blocks::<FanOut>::default();
            let own = blocks.own().expect("a block");
            all.iter().for_each(|receivers| FanOut::record(&own, &own, *receivers));
            let found = Receivers::of(blocks.all());
            prop_assert_eq!(found.broadcasts, all.len() as u64);
            prop_assert_eq!(found.receivers, all.iter().sum::<u64>());
            for (bound, count) in found.shown() {
                prop_assert_eq!(count, all.iter().filter(|n| **n <= bound).count() as u64);
            }
        }
    }
}
