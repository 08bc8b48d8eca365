use super::*;
use crate::timer::Again;

fn kept(name: &str, due_at: u64) -> KeptTimer {
    KeptTimer { name: name.into(), due_at, interval: None, payload: Bytes::from_static(b"1") }
}

fn firing(name: &str) -> Firing {
    Firing { scope: Scope::Room("red".into()), name: name.into() }
}

fn begun(again: Option<Again>) -> Begun {
    Begun { payload: Bytes::new(), record: 0, again }
}

#[test]
fn a_timer_that_has_fired_is_gone_unless_it_fires_again() {
    let before = [kept("one", 5), kept("two", 6)];
    let (firing, over) = (firing("one"), begun(None));
    let changes = OwnedChanges { fired: Some((&firing, &over)), ..OwnedChanges::default() };
    assert_eq!(changes.timers_after(&before, 100), Some(vec![kept("two", 6)]));
    let second = Duration::from_secs(1);
    for (interval, due_at) in [(second, Some(1_100)), (second / 2, None)] {
        let again = begun(Some(Again { due_in: second, interval }));
        let changes = OwnedChanges { fired: Some((&firing, &again)), ..OwnedChanges::default() };
        let after = changes.timers_after(&before, 100);
        assert_eq!(after.map(|timers| timers[0].due_at), due_at, "frequent ones are not followed");
    }
}

#[test]
fn the_last_change_of_a_timer_counts_and_a_handler_may_set_the_one_that_fired() {
    let before = [kept("one", 5)];
    let (firing, over) = (firing("one"), begun(None));
    let timers = vec![
        TimerChange::Set(kept("two", 7)),
        TimerChange::Cancel("two".into()),
        TimerChange::Set(kept("one", 8)),
        TimerChange::Set(kept("one", 9)),
    ];
    let changes = OwnedChanges { timers, fired: Some((&firing, &over)), ..OwnedChanges::default() };
    assert_eq!(changes.timers_after(&before, 100), Some(vec![kept("one", 9)]));
    let nothing =
        OwnedChanges { timers: vec![TimerChange::Cancel("x".into())], ..OwnedChanges::default() };
    assert_eq!(nothing.timers_after(&before, 100), None, "nothing is written");
}
