//! Changes of inputs: bits, bytes, runs of bytes, words, and parts of other inputs.

/// A generator of numbers (SplitMix64): the same seed gives the same numbers.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 for a bound of 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Returns a part of a length, rather short.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let longest = [4, 16, 64, length][self.below(4)];
        start..(start + 1 + self.below(longest)).min(length)
    }
}

/// Bytes at which something often begins or ends.
const EDGES: [u8; 12] = [0, 1, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0xc0, 0xe0, 0xf0, 0xfe, 0xff];

/// Makes new inputs of others.
#[derive(Debug)]
pub struct Mutator<'a> {
    random: Random,
    words: &'a [&'a [u8]],
    max_bytes: usize,
}

impl<'a> Mutator<'a> {
    /// Makes inputs of at most `max_bytes`.
    pub fn new(random: Random, words: &'a [&'a [u8]], max_bytes: usize) -> Mutator<'a> {
        Mutator { random, words, max_bytes }
    }

    /// Returns a change of one of the inputs.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        // Every other time one of the newest, which have led furthest.
        let newest = inputs.len() - inputs.len().min(8);
        let some = if self.random.below(2) == 0 { &inputs[newest..] } else { inputs };
        let mut input = self.one_of(some);
        // Mostly few changes, so that the rest stays meaningful.
        let most = 1 << self.random.below(5);
        let changes = 1 + self.random.below(most);
        for _ in 0..changes {
            self.change_once(&mut input, inputs);
        }
        input.truncate(self.max_bytes);
        input
    }

    fn one_of(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let at = self.random.below(inputs.len());
        inputs.get(at).cloned().unwrap_or_default()
    }

    fn change_once(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        if input.is_empty() {
            let bytes = 1 + self.random.below(16);
            input.extend((0..bytes).map(|_| self.random.next() as u8));
            return;
        }
        let at = self.random.below(input.len());
        let between = self.random.below(input.len() + 1);
        let range = self.random.range(input.len());
        match self.random.below(10) {
            0 => input[at] ^= 1 << self.random.below(8),
            1 => input[at] = self.random.next() as u8,
            2 => input[at] = EDGES[self.random.below(EDGES.len())],
            3 => input[at] = input[at].wrapping_add(1 + self.random.below(3) as u8),
            4 => drop(input.drain(range)),
            5 => {
                let copy = input[range].to_vec();
                input.splice(between..between, copy);
            }
            6 => {
                let bytes = 1 + self.random.below(8);
                let bytes: Vec<u8> = (0..bytes).map(|_| self.random.next() as u8).collect();
                input.splice(between..between, bytes);
            }
            7 | 8 if !self.words.is_empty() => {
                let word = self.words[self.random.below(self.words.len())].iter().copied();
                let replaced = if self.random.below(2) == 0 { between..between } else { range };
                input.splice(replaced, word);
            }
            _ => {
                let other = self.one_of(inputs);
                let part = self.random.range(other.len());
                input.splice(range, other.get(part).unwrap_or_default().to_vec());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(seed: u64, count: usize) -> Vec<Vec<u8>> {
        let inputs = [b"GET / HTTP/1.1".to_vec(), Vec::new(), vec![0; 40]];
        let mut mutator = Mutator::new(Random::new(seed), &[b"Upgrade"], 48);
        (0..count).map(|_| mutator.change(&inputs)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        assert_eq!(changes(7, 200), changes(7, 200));
        assert_ne!(changes(7, 200), changes(8, 200));
    }

    #[test]
    fn inputs_are_bounded_and_have_words() {
        let inputs = changes(1, 5_000);
        assert!(inputs.iter().all(|input| input.len() <= 48));
        let has_word = |input: &&Vec<u8>| input.windows(7).any(|part| part == b"Upgrade");
        assert!(inputs.iter().filter(has_word).count() > 100);
    }
}
