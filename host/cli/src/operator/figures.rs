//! Figures for people: with as many digits as count, and their unit.

use std::time::Duration;

const SIZES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Returns a count in groups of three digits.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a rate, without its unit.
pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if value < 0.1 => "<0.1".to_owned(),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => count(value.round() as u64),
    }
}

/// Returns a size.
pub(super) fn bytes(value: u64) -> String {
    let (mut size, mut unit) = (value as f64, SIZES.iter());
    let mut name = unit.next().unwrap_or(&"");
    while size >= 1000.0
        && let Some(next) = unit.next()
    {
        (size, name) = (size / 1024.0, next);
    }
    match *name {
        "B" => format!("{value} B"),
        name => format!("{} {name}", digits(size)),
    }
}

/// Returns a time in microseconds.
pub(super) fn micros(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 1e3 => format!("{value:.0} µs"),
        Some(value) if value < 1e6 => format!("{} ms", digits(value / 1e3)),
        Some(value) => format!("{} s", digits(value / 1e6)),
    }
}

/// Returns a share of one core.
pub(super) fn percent(value: Option<f64>) -> String {
    match value.map(|value| value * 100.0) {
        None => "-".to_owned(),
        Some(0.0) => "0 %".to_owned(),
        Some(value) if value < 0.1 => "<0.1 %".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.1} %"),
        Some(value) => format!("{value:.0} %"),
    }
}

/// Returns a span of time in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(amount, _)| *amount > 0).unwrap_or(parts.len() - 1);
    let shown = parts.iter().skip(first).take(2);
    shown.map(|(amount, unit)| format!("{amount} {unit}")).collect::<Vec<_>>().join(" ")
}

/// Returns three digits that count.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_count() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let rates = [None, Some(0.0), Some(0.01), Some(12.34), Some(97_863.4)];
        assert_eq!(rates.map(rate), ["-", "0", "<0.1", "12.3", "97,863"]);
        assert_eq!([0, 999, 1_000, 162 << 20].map(bytes), ["0 B", "999 B", "0.98 KiB", "162 MiB"]);
        let times = [None, Some(42.4), Some(4_800.0), Some(2.64e6)];
        assert_eq!(times.map(micros), ["-", "42 µs", "4.80 ms", "2.64 s"]);
        assert_eq!(
            [None, Some(0.0), Some(0.05), Some(0.7)].map(percent),
            ["-", "0 %", "5.0 %", "70 %"]
        );
        let spans = [0, 59, 3_600, 273_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["0 s", "59 s", "1 h 0 min", "3 d 3 h"]);
    }
}
