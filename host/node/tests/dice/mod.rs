//! Random numbers that follow from a seed, for simulations.

use std::cell::Cell;

/// SplitMix64.
pub struct Dice(Cell<u64>);

impl Dice {
    /// Makes dice whose numbers follow from a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed))
    }

    /// Returns the next number.
    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut drawn = self.0.get();
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// Returns a number from 0 to `end`, without `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns true in one of `count` cases.
    pub fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }
}
