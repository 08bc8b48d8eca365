//! Random numbers that a seed makes the same again.

/// A SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Returns the numbers of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns numbers of their own for one of several tasks.
    pub fn for_task(&mut self) -> Dice {
        Dice(self.next())
    }

    /// Returns a number below a bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = self.next() % u64::try_from(bound).expect("a bound");
        usize::try_from(number).expect("it is below the bound")
    }

    /// Returns a number from one to another.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// Puts things into a random order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_has_the_same_order_each_time_and_another_one_has_another() {
        let order = |seed| {
            let mut things: Vec<usize> = (0..20).collect();
            Dice::new(seed).shuffle(&mut things);
            things
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
