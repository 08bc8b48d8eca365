//! Times that things took.
//!
//! The buckets of a histogram grow by a quarter of a power of two, from 250 ns to 16.8 s, so that a quantile is right
//! within an eighth. A scrape gets one bucket for each power of four, of microseconds.

use crate::counter::Counter;

/// Number of buckets, with the last one for all that took longer.
pub const BUCKETS: usize = 101;

/// Width of the first buckets, in nanoseconds.
const UNIT: u64 = 250;

/// The bounds of the buckets that a scrape gets, in nanoseconds. Each is the bound of a bucket here.
pub const SHOWN: [u64; 13] = {
    let mut bounds = [0; 13];
    let (mut at, mut bound) = (0, 1000);
    while at < bounds.len() {
        #[expect(clippy::indexing_slicing, reason = "a constant, which is made by the compiler")]
        {
            bounds[at] = bound;
        }
        (at, bound) = (at + 1, bound * 4);
    }
    bounds
};

/// Times that things took: a counter for each bucket, and the sum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    /// Nanoseconds.
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { Counter::new() }; BUCKETS], sum: Counter::new() }
    }
}

impl Histogram {
    /// Notes a time. For things that are seldom: all threads write to the same counters.
    pub fn record(&self, nanoseconds: u64) {
        if let Some(bucket) = self.bucket(nanoseconds) {
            bucket.count();
        }
        self.sum.add(nanoseconds);
    }

    pub(crate) fn bucket(&self, nanoseconds: u64) -> Option<&Counter> {
        self.buckets.get(place(nanoseconds))
    }

    pub(crate) fn sum(&self) -> &Counter {
        &self.sum
    }
}

/// Returns the bucket of a time. Its bound is not less than the time.
fn place(nanoseconds: u64) -> usize {
    let units = nanoseconds.saturating_sub(1) / UNIT;
    if units < 4 {
        return units as usize;
    }
    // The power of two, of which there are four buckets each, and the bucket within it.
    let power = units.ilog2() as usize;
    let quarter = (units >> (power - 2)) as usize & 3;
    ((power - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// Returns the bound of a bucket, in nanoseconds: the longest time in it. The last bucket has none.
fn bound(place: usize) -> u64 {
    let units = match place {
        0..4 => place as u64 + 1,
        _ => (4 + (place as u64 & 3) + 1) << (place / 4 - 1),
    };
    units.saturating_mul(UNIT)
}

/// The numbers of a histogram at some time, or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    buckets: Box<[u64]>,
    nanoseconds: u64,
}

impl Default for Times {
    fn default() -> Times {
        Times { buckets: vec![0; BUCKETS].into(), nanoseconds: 0 }
    }
}

impl Times {
    /// Returns the sums of histograms.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Times {
        let mut times = Times::default();
        for histogram in histograms {
            for (sum, bucket) in times.buckets.iter_mut().zip(&histogram.buckets) {
                *sum = sum.wrapping_add(bucket.get());
            }
            times.nanoseconds = times.nanoseconds.wrapping_add(histogram.sum.get());
        }
        times
    }

    /// Returns these and others together.
    pub fn with(mut self, others: &Times) -> Times {
        for (sum, other) in self.buckets.iter_mut().zip(&others.buckets) {
            *sum = sum.wrapping_add(*other);
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(others.nanoseconds);
        self
    }

    /// Returns what has come since an earlier time.
    pub fn since(mut self, earlier: &Times) -> Times {
        for (sum, before) in self.buckets.iter_mut().zip(&earlier.buckets) {
            *sum = sum.saturating_sub(*before);
        }
        self.nanoseconds = self.nanoseconds.saturating_sub(earlier.nanoseconds);
        self
    }

    /// Returns the number of times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(*bucket))
    }

    /// Returns their sum, in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds
    }

    /// Returns a bound that a part of the times is within, in nanoseconds; `None` without any.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let all = self.count();
        let wanted = ((all as f64 * part).ceil() as u64).clamp(1, all.max(1));
        let mut sum = 0_u64;
        for (place, bucket) in self.buckets.iter().enumerate() {
            sum = sum.saturating_add(*bucket);
            if sum >= wanted && all > 0 {
                return Some(bound(place));
            }
        }
        None
    }

    /// Returns for each of the [shown](SHOWN) bounds the number of times within it.
    pub fn shown(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (mut sum, mut places) = (0_u64, self.buckets.iter().enumerate().peekable());
        SHOWN.into_iter().map(move |shown| {
            while let Some((_, bucket)) = places.next_if(|(place, _)| bound(*place) <= shown) {
                sum = sum.saturating_add(*bucket);
            }
            (shown, sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bounds_of_a_scrape_are_bounds_of_buckets_and_all_but_the_last_bucket_have_one() {
        let bounds: Vec<u64> = (0..BUCKETS).map(bound).collect();
        assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        for shown in SHOWN {
            assert!(bounds.contains(&shown), "{shown}");
        }
        assert_eq!(SHOWN.last(), Some(&16_777_216_000));
        assert_eq!(bounds[BUCKETS - 2], 16_777_216_000);
    }

    #[test]
    fn without_times_there_is_no_quantile() {
        assert_eq!(Times::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_bucket_whose_bound_it_does_not_exceed(nanoseconds in any::<u64>()) {
            let place = place(nanoseconds);
            prop_assert!(place < BUCKETS);
            prop_assert!(nanoseconds <= bound(place) || place == BUCKETS - 1);
            prop_assert!(place == 0 || nanoseconds > bound(place - 1));
        }

        #[test]
        fn quantiles_are_right_within_a_quarter_and_shown_counts_are_exact(
            mut times in prop::collection::vec(1_000_u64..16_000_000_000, 1..200),
            part in 0.0_f64..=1.0,
        ) {
            let histogram = Histogram::default();
            times.iter().for_each(|time| histogram.record(*time));
            times.sort_unstable();
            let found = Times::of([&histogram].into_iter());
            let at = ((times.len() as f64 * part).ceil() as usize).clamp(1, times.len());
            let (exact, about) = (times[at - 1], found.quantile(part).expect("there are some"));
            prop_assert!(about >= exact && about as f64 <= exact as f64 * 1.25 + 1.0, "{exact} {about}");
            for (bound, count) in found.shown() {
                prop_assert_eq!(count, times.iter().filter(|time| **time <= bound).count() as u64);
            }
            prop_assert_eq!(found.nanoseconds(), times.iter().sum::<u64>());
            let twice = found.clone().with(&found);
            prop_assert_eq!(twice.since(&found), found);
        }
    }
}
