//! The growth of a figure over many operations, and its bound.

use serde::Serialize;

use crate::statistics::Spread;

/// A reading: the number of operations before it, and the figure.
pub type Reading = (u32, f64);

/// The course of a figure after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// The first reading.
    pub start: f64,
    /// The last reading.
    pub end: f64,
    /// The slope: growth by 1,000 operations.
    pub per_thousand: f64,
    /// Number of operations from the first reading to the last.
    pub operations: u32,
}

impl Growth {
    /// Returns the growth over these readings, which are in order; `None` if there are fewer than two.
    ///
    /// The slope is the median of the slopes between any two readings (Theil and Sen), so that a
    /// reading in a busy moment does not count for more than others.
    pub fn of(readings: &[Reading]) -> Option<Growth> {
        let ((first, start), (last, end)) = (*readings.first()?, *readings.last()?);
        let slopes = readings.iter().enumerate().flat_map(|(index, &(from, before))| {
            let later = readings.get(index + 1..).unwrap_or_default();
            later.iter().map(move |&(to, after)| (after - before) / f64::from(to - from))
        });
        let per_thousand = Spread::of(slopes)?.median * 1e3;
        Some(Growth { start, end, per_thousand, operations: last - first })
    }
}

/// The growth that is allowed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bound {
    /// Largest slope, by 1,000 operations.
    pub per_thousand: f64,
    /// Growth that may have other reasons than the operations, however steep the slope over few of them.
    pub noise: f64,
}

impl Bound {
    /// Returns true if a figure grows by more than both allow.
    pub fn is_exceeded_by(&self, growth: &Growth) -> bool {
        let grown = growth.per_thousand / 1e3 * f64::from(growth.operations);
        growth.per_thousand > self.per_thousand && grown > self.noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(readings: &[Reading]) -> Growth {
        Growth::of(readings).expect("enough readings")
    }

    #[test]
    fn a_line_has_its_slope() {
        let line = growth(&[(1000, 50.0), (2000, 52.0), (3000, 54.0)]);
        let expected = Growth { start: 50.0, end: 54.0, per_thousand: 2.0, operations: 2000 };
        assert_eq!(line, expected);
    }

    #[test]
    fn one_reading_apart_from_the_others_does_not_make_a_slope() {
        let flat = [(100, 5.0), (200, 5.0), (300, 900.0), (400, 5.0), (500, 5.0), (600, 5.0)];
        assert_eq!(growth(&flat).per_thousand, 0.0);
    }

    #[test]
    fn one_reading_has_no_growth() {
        assert_eq!(Growth::of(&[(1, 2.0)]), None);
        assert_eq!(Growth::of(&[]), None);
    }

    #[test]
    fn a_leak_exceeds_its_bound_and_a_little_growth_over_few_operations_does_not() {
        let bound = Bound { per_thousand: 10.0, noise: 100.0 };
        assert!(bound.is_exceeded_by(&growth(&[(0, 0.0), (10_000, 200.0)])));
        assert!(!bound.is_exceeded_by(&growth(&[(0, 0.0), (100, 20.0)])));
        assert!(!bound.is_exceeded_by(&growth(&[(0, 0.0), (100_000, 200.0)])));
        assert!(!bound.is_exceeded_by(&growth(&[(0, 900.0), (10_000, 0.0)])));
    }
}
