//! A follower beside the log that it follows: messages are lost, doubled, late and in another order, links break, reads
//! are slow or fail, logs are trimmed and begin anew.
//!
//! `WHARF_SIMULATION_RUNS` is the number of runs, 5,000 by default. `WHARF_SIMULATION_SEED` is the seed of the first
//! one; a failure names its own.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A log as an engine has it. Epoch 0: there is none.
#[derive(Default)]
struct Log {
    last: Position,
    kept: BTreeMap<u64, u64>,
}

impl Log {
    fn first(&self) -> u64 {
        self.kept.keys().next().copied().unwrap_or(self.last.offset + 1)
    }

    fn part(&self, after: u64, most: usize) -> Read<u64> {
        let messages = self.kept.range(after.saturating_add(1)..).take(most);
        Read {
            last: self.last,
            first: self.first(),
            messages: messages.map(|(offset, content)| (*offset, 1, *content)).collect(),
        }
    }
}

struct World {
    dice: Dice,
    log: Log,
    last_epoch: u64,
    /// Every message that there ever was.
    all: BTreeMap<(u64, u64), u64>,
    /// Messages on their way, in their order.
    wire: VecDeque<(Position, u64)>,
    /// Answers to the appends of this node, which come by another way.
    answers: Vec<(Position, u64)>,
    is_cut: bool,
    follower: Follower<u64>,
    /// The offset after which a read begins, and what it has found.
    reading: Option<(Option<u64>, Option<Read<u64>>)>,
    /// The place at which a question for the end was asked, and its answer.
    asking: Option<(Option<Position>, Option<Position>)>,
    /// The place of the members.
    at: Option<Position>,
    seen: BTreeSet<(u64, u64)>,
    out: VecDeque<Step<u64>>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            dice: Dice(seed),
            log: Log::default(),
            last_epoch: 0,
            all: BTreeMap::new(),
            wire: VecDeque::new(),
            answers: Vec::new(),
            is_cut: false,
            follower: Follower::default(),
            reading: None,
            asking: None,
            at: None,
            seen: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    fn append(&mut self) {
        if self.log.last == Position::NONE {
            self.last_epoch += 1;
            self.log.last.epoch = Epoch(self.last_epoch);
        }
        self.log.last.offset += 1;
        let (place, content) = (self.log.last, self.all.len() as u64);
        self.log.kept.insert(place.offset, content);
        self.all.insert((place.epoch.0, place.offset), content);
        if !self.is_cut {
            self.wire.push_back((place, content));
        }
        if self.dice.one_in(3) {
            self.answers.push((place, content));
        }
    }

    fn trim(&mut self) {
        for _ in 0..self.dice.below(6) {
            self.log.kept.pop_first();
        }
    }

    fn hear(&mut self) {
        if self.wire.len() > 1 && self.dice.one_in(10) {
            self.wire.swap(0, 1);
        }
        let Some((place, content)) = self.wire.pop_front() else { return };
        if self.dice.one_in(8) {
            return;
        }
        for _ in 0..1 + u64::from(self.dice.one_in(8)) {
            self.follower.hear(place, 1, content, true, &mut self.out);
        }
    }

    fn answer(&mut self) {
        if !self.answers.is_empty() {
            let at = self.dice.below(self.answers.len() as u64) as usize;
            let (place, content) = self.answers.swap_remove(at);
            self.follower.hear(place, 1, content, false, &mut self.out);
        }
    }

    /// Goes on with a read: it begins, the log answers, the answer comes.
    fn read(&mut self, may_fail: bool) {
        match self.reading.take() {
            None => {
                self.reading = self.follower.begin_read().map(|after| (after, None));
            }
            Some(_) if may_fail && self.dice.one_in(8) => self.follower.read_failed(),
            Some((after, None)) => {
                let most = if after.is_some() { 1 + self.dice.below(5) as usize } else { 0 };
                let part = self.log.part(after.unwrap_or(u64::MAX), most);
                self.reading = Some((after, Some(part)));
            }
            Some((_, Some(part))) => self.follower.read(part, &mut self.out),
        }
    }

    fn ask(&mut self) {
        self.asking = match self.asking.take() {
            None => Some((self.follower.at(), None)),
            Some((from, None)) => Some((from, Some(self.log.last))),
            Some((from, Some(last))) => {
                self.follower.ends_at(last, from);
                None
            }
        };
    }

    fn disturb(&mut self) {
        match self.dice.below(64) {
            0..16 => self.append(),
            16..34 => self.hear(),
            34..40 => self.answer(),
            40..54 => self.read(true),
            54..58 => self.ask(),
            58 | 59 => self.trim(),
            60 => {
                self.is_cut = true;
                self.wire.truncate(self.dice.below(3) as usize);
            }
            61 => {
                if std::mem::take(&mut self.is_cut) {
                    self.follower.doubt();
                }
            }
            // Removed, or lost with its server.
            62 => self.log = Log::default(),
            _ => self.follower.doubt(),
        }
        self.check();
    }

    /// Has the members take what was put out.
    fn check(&mut self) {
        while let Some(step) = self.out.pop_front() {
            match step {
                Step::Message(place, content) => {
                    let at = self.at.expect("a place comes before the first message");
                    let is_next = at.epoch == place.epoch && at.offset + 1 == place.offset;
                    assert!(is_next, "{place:?} after {at:?}");
                    let number = (place.epoch.0, place.offset);
                    assert_eq!(self.all.get(&number), Some(&content), "{place:?}");
                    assert!(self.seen.insert(number), "{place:?} came twice");
                    self.at = Some(place);
                }
                Step::Jump(to, why) => {
                    match (why, self.at) {
                        (Why::Begun, at) => assert_eq!(at, None),
                        (Why::Started, at) => {
                            assert_eq!((at, to.offset), (Some(Position::NONE), 0));
                        }
                        (_, None) => panic!("{why:?} before the first place"),
                        (Why::NewEpoch, Some(at)) => assert!(to.epoch.0 > at.epoch.0),
                        (Why::Trimmed, Some(at)) => {
                            let is_known = to.epoch == at.epoch || at == Position::NONE;
                            assert!(is_known && to.offset > at.offset);
                            let is_gone = self.log.last.epoch != to.epoch
                                || !self.log.kept.contains_key(&(at.offset + 1));
                            assert!(is_gone, "{at:?} to {to:?}, and the log has what is between");
                        }
                    }
                    self.at = Some(to);
                }
            }
        }
        assert_eq!(self.at.unwrap_or_default(), self.follower.at().unwrap_or_default());
        assert!(self.follower.held.len() <= HELD_MESSAGES);
    }

    /// Ends all disturbances. Reads until the follower wants no more.
    fn calm(&mut self) {
        self.wire.clear();
        self.follower.doubt();
        for _ in 0..1000 {
            if self.reading.is_none() && !self.follower.is_in_doubt {
                return;
            }
            self.read(false);
            self.check();
        }
        panic!("it reads without an end");
    }
}

#[test]
fn members_get_each_message_once_in_the_order_of_the_log_or_are_told_of_a_jump() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let runs = number("WHARF_SIMULATION_RUNS").unwrap_or(5_000_u64);
    let first = number("WHARF_SIMULATION_SEED").unwrap_or(1);
    for seed in first..first + runs {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..300 {
                world.disturb();
            }
            world.calm();
            if world.log.last != Position::NONE {
                assert_eq!(world.at, Some(world.log.last), "nothing is missing in the end");
            }
            world.seen.len()
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_waits_is_bounded_and_read_later() {
    let (mut follower, mut out) = (Follower::default(), VecDeque::new());
    let place = |offset| Position { epoch: Epoch(1), offset };
    assert_eq!(follower.begin_read(), Some(None));
    follower.read(Read { last: place(0), first: 1, messages: Vec::new() }, &mut out);
    let all = 2 * HELD_MESSAGES as u64;
    for offset in 2..=all {
        follower.hear(place(offset), 1, offset, true, &mut out);
    }
    assert_eq!(follower.held.len(), HELD_MESSAGES);
    follower.hear(place(all + 1), HELD_BYTES + 1, 0, true, &mut out);
    while let Some(after) = follower.begin_read() {
        let messages = (after.expect("a place") + 1..=all + 1).take(100);
        let messages = messages.map(|offset| (offset, 1, offset)).collect();
        follower.read(Read { last: place(all + 1), first: 1, messages }, &mut out);
    }
    let got = out.into_iter().filter_map(|step| match step {
        Step::Message(place, _) => Some(place.offset),
        Step::Jump(..) => None,
    });
    assert_eq!(got.collect::<Vec<_>>(), (1..=all + 1).collect::<Vec<_>>());
}

#[test]
fn a_log_that_has_lost_its_end_is_a_jump_back() {
    let (mut follower, mut out) = (Follower::default(), VecDeque::new());
    let place = |offset| Position { epoch: Epoch(1), offset };
    let read = |last, first| Read { last: place(last), first, messages: Vec::new() };
    follower.begin_read();
    follower.read(read(7, 1), &mut out);
    follower.hear(place(8), 1, 8, true, &mut out);
    follower.ends_at(place(5), follower.at());
    assert_eq!(follower.begin_read(), Some(Some(8)));
    follower.read(read(5, 1), &mut out);
    follower.hear(place(6), 1, 66, true, &mut out);
    let expected = [
        Step::Jump(place(7), Why::Begun),
        Step::Message(place(8), 8),
        Step::Jump(place(5), Why::NewEpoch),
        Step::Message(place(6), 66),
    ];
    assert_eq!(out, expected);
}
