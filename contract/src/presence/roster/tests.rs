use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::presence::OVERHEAD;

/// Time since the test began.
type Instant = Duration;

type Roster = super::Roster<u64, Instant>;

const GRACE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
enum Step {
    Track(u64, u8, u8),
    Untrack(u64),
    End(u64),
    Advance(u64),
    /// A watcher applies the changes.
    Diff,
    /// A watcher comes anew, and gets the whole list.
    Watch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u64, 0..4u8, 0..3u8).prop_map(|(n, key, meta)| Step::Track(n, key, meta)),
        1 => (0..6u64).prop_map(Step::Untrack),
        3 => (0..6u64).prop_map(Step::End),
        3 => (0..80u64).prop_map(Step::Advance),
        3 => Just(Step::Diff),
        1 => Just(Step::Watch),
    ];
    proptest::collection::vec(step, 0..150)
}

fn text(value: impl ToString) -> Arc<str> {
    Arc::from(value.to_string())
}

/// The expected list, computed from scratch each time.
#[derive(Debug, Default)]
struct Model {
    /// Connection → key and metadata.
    tracked: BTreeMap<u64, (Arc<str>, Meta)>,
    /// Key → its last metadata, and its end.
    lingering: BTreeMap<Arc<str>, (Vec<Meta>, Instant)>,
}

impl Model {
    fn shown(&self) -> BTreeMap<Arc<str>, Vec<Meta>> {
        let mut shown: BTreeMap<_, Vec<Meta>> = BTreeMap::new();
        for (key, meta) in self.tracked.values() {
            shown.entry(key.clone()).or_default().push(meta.clone());
        }
        for (key, (metas, _)) in &self.lingering {
            shown.entry(key.clone()).or_insert_with(|| metas.clone());
        }
        shown
    }

    fn keys(&self) -> BTreeSet<&Arc<str>> {
        self.tracked.values().map(|(key, _)| key).collect()
    }
}

/// A client that follows the contract.
#[derive(Debug, Default)]
struct Watcher {
    sequence: u64,
    present: BTreeMap<Arc<str>, Vec<Meta>>,
}

impl Watcher {
    fn apply(&mut self, diff: &Diff) {
        if diff.sequence <= self.sequence {
            return;
        }
        self.sequence = diff.sequence;
        self.present.extend(diff.joins.iter().cloned());
        for key in &diff.leaves {
            self.present.remove(key);
        }
    }
}

proptest! {
    #[test]
    fn the_list_is_what_connections_make_it_and_diffs_reproduce_it(steps in steps()) {
        let mut roster = Roster::after(10);
        let mut model = Model::default();
        let mut now = Instant::ZERO;
        let beginning = || Watcher { sequence: 10, ..Watcher::default() };
        let mut watchers = [beginning(), beginning()];
        let mut before = (model.shown(), 10);
        // Numbers that have ended: no connection tracks itself after that, and none comes twice.
        let mut lives = [0; 6];
        for step in steps {
            let number = |n: u64| n + 10 * lives[n as usize];
            match step {
                Step::Track(n, key, meta) => {
                    let (key, meta) = (text(key), text(meta));
                    roster.track(number(n), &key, &meta);
                    model.lingering.remove(&key);
                    model.tracked.insert(number(n), (key, meta));
                }
                Step::Untrack(n) => {
                    roster.untrack(number(n));
                    model.tracked.remove(&number(n));
                }
                Step::End(n) => {
                    let shown = model.shown();
                    roster.end(number(n), now, GRACE);
                    if let Some((key, _)) = model.tracked.remove(&number(n))
                        && !model.keys().contains(&key)
                    {
                        let metas = shown[&key].clone();
                        model.lingering.insert(key, (metas, now + GRACE));
                    }
                    lives[n as usize] += 1;
                }
                Step::Advance(millis) => {
                    now += Duration::from_millis(millis);
                    roster.expire(now);
                    model.lingering.retain(|_, (_, until)| *until > now);
                }
                Step::Diff => {
                    let changes = roster.take_changes();
                    let diff = roster.diff(&changes);
                    if !diff.is_empty() {
                        watchers.iter_mut().for_each(|watcher| watcher.apply(&diff));
                    }
                    let shown = model.shown();
                    prop_assert_eq!(&watchers[0].present, &shown, "from the beginning");
                    prop_assert_eq!(&watchers[1].present, &shown, "from the last list");
                }
                Step::Watch => {
                    roster.shown_between();
                    let present = roster.page(None, usize::MAX, None).into_iter().collect();
                    watchers[1] = Watcher { sequence: roster.sequence(), present };
                }
            }
            let shown = model.shown();
            let list: BTreeMap<_, _> = roster.page(None, usize::MAX, None).into_iter().collect();
            prop_assert_eq!(&list, &shown);
            prop_assert_eq!(roster.count(None), model.keys().len(), "without grace");
            let bytes: usize = shown
                .iter()
                .map(|(key, metas)| {
                    key.len() + 2 + OVERHEAD + metas.iter().map(|m| m.len() + OVERHEAD).sum::<usize>()
                })
                .sum();
            prop_assert_eq!(roster.bytes(), bytes);
            // The number grows with each change and only then.
            prop_assert_eq!(before.0 != shown, roster.sequence() > before.1);
            before = (shown, roster.sequence());
        }
        // The list is empty when all connections have gone and the grace is over.
        for number in model.tracked.into_keys() {
            roster.end(number, now, GRACE);
        }
        roster.expire(now + GRACE);
        prop_assert!(roster.is_empty() && roster.bytes() == 0 && roster.next_expiry().is_none());
        prop_assert!(roster.keys.is_empty() && roster.expiries.is_empty());
    }

    #[test]
    fn what_an_event_sees_of_its_own_is_what_it_will_be(
        steps in proptest::collection::vec((0..5u64, 0..4u8, 0..3u8, any::<bool>()), 0..12),
        own in (0..5u64, proptest::option::of((0..4u8, 0..3u8))),
        after in proptest::option::of(0..4u8),
        limit in 0..6usize,
    ) {
        let now = Instant::ZERO;
        let mut roster = Roster::default();
        for (number, key, meta, ends) in steps {
            roster.track(number, &text(key), &text(meta));
            if ends {
                roster.end(number, now, GRACE);
            }
        }
        let own = OwnChanges { id: own.0, track: own.1.map(|(key, meta)| (text(key), text(meta))) };
        let after = after.map(text);
        let foreseen = roster.page(after.as_deref(), limit, Some(&own));
        let count = roster.count(Some(&own));
        match &own.track {
            Some((key, meta)) => roster.track(own.id, key, meta),
            None => roster.untrack(own.id),
        }
        prop_assert_eq!(foreseen, roster.page(after.as_deref(), limit, None));
        prop_assert_eq!(count, roster.count(None));
    }
}

#[test]
fn whoever_comes_back_within_the_grace_was_never_away() {
    let (ann, meta) = (text("ann"), text("1"));
    let now = Instant::ZERO;
    let mut roster = Roster::default();
    roster.track(1, &ann, &meta);
    roster.take_changes();
    let sequence = roster.sequence();
    roster.end(1, now, GRACE);
    assert_eq!((roster.count(None), roster.page(None, 9, None).len()), (0, 1));
    roster.track(2, &ann, &meta);
    roster.expire(now + GRACE);
    assert_eq!(roster.count(None), 1);
    assert_eq!(roster.sequence(), sequence);
    assert!(roster.take_changes().is_empty());
    // The next time it has a grace of its own.
    roster.end(2, now + GRACE / 2, GRACE);
    roster.expire(now + GRACE);
    assert_eq!(roster.page(None, 9, None).len(), 1);
    roster.expire(now + 2 * GRACE);
    assert!(roster.is_empty());
}

#[test]
fn somebody_with_several_tabs_is_present_until_the_last_one_goes() {
    let (ann, now) = (text("ann"), Instant::ZERO);
    let mut roster = Roster::default();
    roster.track(1, &ann, &text("\"phone\""));
    roster.track(2, &ann, &text("\"laptop\""));
    assert_eq!(roster.count(None), 1);
    roster.end(1, now, GRACE);
    assert_eq!(roster.page(None, 9, None), [(ann.clone(), vec![text("\"laptop\"")])]);
    roster.untrack(2);
    assert!(roster.is_empty(), "who says goodbye has no grace");
}

#[test]
fn messages_are_json_whatever_is_in_names_and_keys() {
    let mut roster = Roster::default();
    for (number, key) in ["\"", "\\\n\u{1}", "ü🚢", "plain"].into_iter().enumerate() {
        roster.track(number as u64, &text(key), &text(r#"{"a": [1, "}"]}"#));
    }
    let room = "r\"oom";
    let message = roster.message(room);
    let state: serde_json::Value = serde_json::from_str(&message).expect("JSON");
    assert_eq!(state["type"], "presence_state");
    assert_eq!((&state["room"], &state["sequence"]), (&room.into(), &4.into()));
    assert_eq!(state["present"]["ü🚢"]["metas"][0]["a"][1], "}");
    assert_eq!(state["present"].as_object().expect("an object").len(), 4);
    roster.untrack(0);
    roster.untrack(1);
    let changes = roster.take_changes();
    let diff = roster.diff(&changes).message(room);
    let diff: serde_json::Value = serde_json::from_str(&diff).expect("JSON");
    assert_eq!(diff["joins"].as_object().expect("an object").len(), 2, "net of the start");
    assert_eq!(diff["leaves"], serde_json::json!([]));
    roster.track(9, &text("\\\n\u{1}"), &text("1"));
    roster.take_changes();
    roster.untrack(9);
    let changes = roster.take_changes();
    let diff = roster.diff(&changes).message(room);
    let diff: serde_json::Value = serde_json::from_str(&diff).expect("JSON");
    assert_eq!(diff["leaves"], serde_json::json!(["\\\n\u{1}"]));
}

#[test]
fn a_key_that_comes_and_goes_often_leaves_one_expiry() {
    let mut roster = Roster::default();
    for n in 0..1_000_u64 {
        roster.track(n, &text("ann"), &text("{}"));
        roster.end(n, Duration::from_millis(n), GRACE);
        assert_eq!(roster.expiries.len(), 1);
    }
    roster.track(1_000, &text("ann"), &text("{}"));
    assert_eq!((roster.next_expiry(), roster.count(None)), (None, 1));
}
