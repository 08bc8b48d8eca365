//! Tests of the rule by its promises, and of the table by a model.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn rate(count: u32, per_ms: u64) -> Rate {
    Rate::read(count, per_ms).expect("a rate")
}

/// Takes one from a limit whose time is `free`.
fn take(rate: Rate, free: &mut Option<Duration>, now: Duration) -> Result<(), Duration> {
    *free = Some(rate.take(*free, now)?);
    Ok(())
}

#[test]
fn the_whole_number_is_there_at_once_and_then_one_after_each_interval() {
    let (rate, mut free) = (rate(5, 10_000), None);
    for _ in 0..5 {
        assert_eq!(take(rate, &mut free, 7 * MS), Ok(()));
    }
    assert_eq!(take(rate, &mut free, 7 * MS), Err(2000 * MS));
    assert_eq!(take(rate, &mut free, 2006 * MS), Err(MS));
    assert_eq!(take(rate, &mut free, 2007 * MS), Ok(()));
    assert_eq!(take(rate, &mut free, 2007 * MS), Err(2000 * MS));
    // After the whole period it is as if nothing had been taken.
    for _ in 0..5 {
        assert_eq!(take(rate, &mut free, 12_007 * MS), Ok(()));
    }
}

#[test]
fn a_rate_lets_in_one_at_least_in_a_millisecond_at_least() {
    assert_eq!(Rate::read(0, 1000), Err(CallRefusal::RateLimitInvalid));
    assert_eq!(Rate::read(1, 0), Err(CallRefusal::RateLimitInvalid));
    assert_eq!(Rate::read(1, MAX_PERIOD_MS + 1), Err(CallRefusal::RateLimitInvalid));
    assert_eq!(Rate::read(1, u64::MAX), Err(CallRefusal::RateLimitInvalid));
    assert!(Rate::read(1, MAX_PERIOD_MS).is_ok());
    // The interval is a nanosecond at least.
    assert_eq!(rate(u32::MAX, 1).take(None, MS), Ok(MS + Duration::from_nanos(1)));
}

#[test]
fn what_was_taken_at_another_rate_makes_nobody_wait_longer_than_an_interval() {
    let free = rate(1, MAX_PERIOD_MS).take(None, MS).expect("the first");
    assert_eq!(rate(5, 10_000).take(Some(free), MS), Err(2000 * MS));
}

#[test]
fn a_key_names_one_limit_of_one_subject() {
    let subjects = [
        Subject::Connection(1),
        Subject::Connection(256),
        Subject::User("a"),
        Subject::User("ab"),
        Subject::Channel,
    ];
    let names = ["b", "ab", "u", "\u{1}"];
    let all: Vec<_> =
        subjects.iter().flat_map(|subject| names.iter().map(|name| subject.key(name))).collect();
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    for (at, key) in all.iter().enumerate() {
        for (other, subject) in subjects.iter().enumerate() {
            assert_eq!(key.starts_with(&subject.prefix()), at / names.len() == other, "{key:?}");
        }
    }
}

#[test]
fn limits_are_forgotten_by_their_time_or_with_their_subject() {
    let mut table = RateLimits::default();
    let take = |table: &mut RateLimits, subject: Subject<'_>, name: &str, per_ms: u64| {
        table.take(&subject.key(name), rate(1, per_ms), Duration::ZERO, |_| true)
    };
    for (name, per_ms) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(take(&mut table, Subject::Connection(1), name, per_ms), Taken::Yes);
        assert_eq!(take(&mut table, Subject::User("ann"), name, per_ms), Taken::Yes);
    }
    assert_eq!(take(&mut table, Subject::User("ann"), "c", 3), Taken::After(3));
    assert_eq!(table.forget(Subject::Connection(2)), 0);
    assert_eq!(table.forget(Subject::Connection(1)), 3 * (10 + OVERHEAD));
    assert_eq!(table.forget_passed(2 * MS, 1), (1, 6 + OVERHEAD));
    assert_eq!(table.forget_passed(2 * MS, 9), (1, 6 + OVERHEAD));
    assert_eq!(table.len(), 1);
    assert_eq!(table.forget_passed(3 * MS, 9), (1, 6 + OVERHEAD));
    assert!(table.is_empty() && table.by_time.is_empty());
}

proptest! {
    /// Takes in any time no more than the whole number and one for each interval. One that is refused
    /// can be taken after its wait, and not before.
    #[test]
    fn no_time_has_more_than_it_may_and_none_waits_in_vain(
        count in 1..20_u32,
        per_ms in 1..5_000_u64,
        pauses in proptest::collection::vec(0..2_000_u64, 1..200),
    ) {
        let rate = rate(count, per_ms);
        let (mut now, mut free, mut taken) = (Duration::ZERO, None, Vec::new());
        for pause in pauses {
            now += Duration::from_millis(pause);
            match take(rate, &mut free, now) {
                Ok(()) => taken.push(now),
                Err(wait) => {
                    prop_assert!(wait <= rate.interval && !wait.is_zero());
                    let early = wait - Duration::from_nanos(1);
                    prop_assert!(rate.take(free, now + early).is_err());
                    prop_assert!(rate.take(free, now + wait).is_ok());
                    prop_assert!(rate.take(free, now + Duration::from_millis(whole_milliseconds(wait))).is_ok());
                }
            }
        }
        for (at, from) in taken.iter().enumerate() {
            for (until, to) in taken.iter().enumerate().skip(at) {
                let intervals = (*to - *from).as_nanos() / rate.interval.as_nanos();
                let most = u128::from(count) + intervals;
                prop_assert!((until - at + 1) as u128 <= most);
            }
        }
    }

    /// Decides the same, whatever the table forgets.
    #[test]
    fn a_table_decides_as_the_rule_does_whatever_it_forgets(
        steps in proptest::collection::vec((0..3_u8, 1..4_u32, 1..50_u64, 0..20_u64, 0..3_usize), 0..300),
        most in 1..400_usize,
    ) {
        let mut table = RateLimits::default();
        let mut model: BTreeMap<u8, Duration> = BTreeMap::new();
        let (mut now, mut bytes) = (Duration::ZERO, 0);
        for (name, count, per_ms, pause, forget) in steps {
            now += Duration::from_millis(pause);
            let (key, rate) = (Subject::Channel.key(&name.to_string()), rate(count, per_ms));
            bytes -= table.forget_passed(now, forget).1;
            let is_known = table.free.contains_key(&key[..]);
            let expected = match rate.take(model.get(&name).copied(), now) {
                Ok(_) if !is_known && bytes + entry_bytes(&key) > most => Taken::Full,
                Ok(free) => {
                    model.insert(name, free);
                    Taken::Yes
                }
                Err(wait) => Taken::After(whole_milliseconds(wait)),
            };
            let answer = table.take(&key, rate, now, |more| {
                let fits = bytes + more <= most;
                bytes += if fits { more } else { 0 };
                fits
            });
            prop_assert_eq!(answer, expected);
            prop_assert_eq!(table.len(), table.by_time.len());
            prop_assert_eq!(bytes, table.len() * (2 + OVERHEAD));
        }
    }
}
