//! Numbers, sizes and times as people read them.

use std::time::Duration;

/// Returns a number with commas: "12,345".
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of things: "1 record", "12,345 records".
pub fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(count))
}

/// Returns a size: "512 B", "4.5 MiB".
pub fn size(bytes: u64) -> String {
    let (mut amount, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{amount:.1} {unit}"),
    }
}

/// Returns the time until something ends: "45 s", "59 min", "12 d".
pub fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", number(seconds / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_have_a_unit() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2].map(|count| counted(count, "record")), ["1 record", "2 records"]);
        let sizes = ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 TiB"];
        assert_eq!([0, 1023, 1024, 3 << 19, 3 << 40].map(size), sizes);
        let times = ["119 s", "2 min", "119 min", "2 h", "2 d"];
        assert_eq!([119, 120, 7199, 7200, 172_800].map(Duration::from_secs).map(left), times);
    }
}
