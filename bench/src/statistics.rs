//! Medians, spreads and percentiles of many figures.

use serde::Serialize;

/// The middle of some figures and how far they lie apart. One machine's rounds are few and not
/// normally distributed, so there is neither mean nor deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median: as many figures are above it as below.
    pub median: f64,
    /// The smallest figure.
    pub min: f64,
    /// The largest figure.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of some figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0,
            _ => *sorted.get(middle)?,
        };
        Some(Spread { median, min: *sorted.first()?, max: *sorted.last()? })
    }

    /// Formats the spread with that many decimals: `median (min–max)`.
    pub fn show(&self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}–{:.decimals$})", self.median, self.min, self.max)
    }
}

/// Returns the smallest of the sorted figures that at least `percent` of them do not exceed (the
/// nearest rank); `None` if there are none.
pub fn percentile<T: Copy>(sorted: &[T], percent: f64) -> Option<T> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    let last = sorted.len().checked_sub(1)?;
    sorted.get(rank.saturating_sub(1).min(last)).copied()
}

/// Returns a percentile of sorted nanoseconds, in microseconds; `NAN` if there are none.
pub fn percentile_us(sorted: &[u32], percent: f64) -> f64 {
    percentile(sorted, percent).map_or(f64::NAN, |nanoseconds| f64::from(nanoseconds) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        let odd = Spread::of([3.0, 1.0, 10.0]).expect("figures");
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 10.0));
        let even = Spread::of([4.0, 1.0, 2.0, 9.0]).expect("figures");
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 9.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50.0), Some(50));
        assert_eq!(percentile(&hundred, 99.0), Some(99));
        assert_eq!(percentile(&hundred, 100.0), Some(100));
        assert_eq!(percentile(&hundred, 0.0), Some(1));
        assert_eq!(percentile(&[7, 8, 9], 50.0), Some(8));
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile::<u32>(&[], 50.0), None);
    }

    #[test]
    fn a_spread_is_shown_with_its_ends() {
        let spread = Spread::of([1.0, 2.0, 3.25]).expect("figures");
        assert_eq!(spread.show(1), "2.0 (1.0–3.2)");
    }
}
