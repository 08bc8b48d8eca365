//! The clock of the server, as far as a node knows it.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::tables::milliseconds;

/// The clock of the server: a time that it has told, and the time that has passed since. It is never ahead of the
/// server's, so that nothing expires too early.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Option<(u64, Instant)>>);

impl Clock {
    /// Notes a time that the server has told.
    pub(super) fn told(&self, at: u64) {
        *self.0.lock() = Some((at, Instant::now()));
    }

    /// Returns the milliseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        let told = *self.0.lock();
        told.map_or(0, |(at, since)| at.saturating_add(floor(since.elapsed())))
    }
}

fn floor(duration: std::time::Duration) -> u64 {
    milliseconds(duration).saturating_sub(1)
}

/// Reads a time such as `2026-11-28T01:02:03.456789Z`, in milliseconds since 1970.
pub(super) fn read_time(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let is_fit = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds < 61
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_fit {
        return None;
    }
    // Years begin with March, so that the day of a leap year is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let milliseconds: u64 = fraction
        .bytes()
        .chain(*b"000")
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit.saturating_sub(b'0')));
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000 + milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.5Z", Some(500)),
            ("2000-02-29T12:00:00.123456789Z", Some(951_825_600_123)),
            ("2026-11-28T01:02:03Z", Some(1_795_827_723_000)),
            ("2026-13-28T01:02:03Z", None),
            ("2026-11-28T01:02:03", None),
            ("2026-11-28T01:02:03.xZ", None),
            ("99999999999999999999-11-28T01:02:03Z", None),
            ("", None),
        ];
        for (text, time) in cases {
            assert_eq!(read_time(text), time, "{text}");
        }
    }
}
