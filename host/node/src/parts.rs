//! The parts that nodes have in groups: the number of their connections, and their entries in presence lists.
//!
//! A node has a *part* in a group, a room or a user, while it has connections in it. It tells the others with a part
//! in the same group of its changes, gathered over a while; and its whole part when it is asked. Changes of a part
//! are numbered. A node that misses one asks for the whole part. So do those that have just got a part of their own,
//! and all after a lost link. It is pure: its caller gives it the time and the messages, and does what it puts out.
//!
//! If messages are lost, doubled or late, the parts agree in the end. A part of a node that is gone is dropped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use wharf_hub::connection_id::NodeId;
use wharf_hub::peers::Listed;

use crate::membership::Change;
use crate::topics::{Group, Topic};
use crate::wire::{Content, Entry, Message, News, Place};

/// Time over which changes are gathered, in milliseconds.
pub const GATHERING: u64 = 100;

/// Time after which a question that was not answered is asked again, in milliseconds.
const PATIENCE: u64 = 1000;

/// Time between two comparisons of a part, in milliseconds: a message that an engine has lost without a word is found
/// by it. It is longer on a node with more groups than are compared in it.
pub const COMPARING: u64 = 30_000;

/// Rounds into which the groups are divided for the comparison, so that it is no burst.
const ROUNDS: u64 = 30;

/// Time between two rounds, in milliseconds.
pub const ROUND: u64 = COMPARING / ROUNDS;

/// Messages of the comparison in one round, at most. Otherwise the comparisons alone would be more messages than all others,
/// where nodes have very many groups.
pub const COMPARED_AT_ONCE: usize = 100;

/// Age of a part up to which those of others may not be known, in milliseconds.
const YOUNG: u64 = 1000;

/// Groups that are told after a lost link, in one look, and the time to the next ones in milliseconds. All of them at once
/// would be more than the engine's queue takes.
const RESTORED_AT_ONCE: usize = 1000;
const RESTORING: u64 = 50;

/// Groups that one question names.
const ASKED_AT_ONCE: usize = 256;

/// The connections of this node in its groups.
pub trait Connections {
    /// Returns the number of this node's connections in a group.
    fn count(&self, group: &Group) -> usize;

    /// Returns the numbers of this node's connections in a group in ascending order, beginning after one, at most
    /// `limit`.
    fn members(&self, group: &Group, after: Option<u64>, limit: usize) -> Vec<u64>;

    /// Returns the place of one of this node's connections in a room's presence list; `None` if it has none.
    fn entry(&self, group: &Group, connection: u64) -> Option<(Arc<str>, Arc<str>)>;

    /// Returns this node's connections in a room's presence list, with keys and metadata.
    fn entries(&self, group: &Group) -> Vec<(u64, Arc<str>, Arc<str>)>;
}

/// The thing that a node is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Publish a message.
    Publish(Topic, Bytes),
    /// Subscribe to the topic of a group, and then ask the others for their parts.
    Open(Group),
    /// Unsubscribe from the topic of a group.
    Close(Group),
    /// Change the place of a node's connection in the presence list of a room.
    List(Group, NodeId, u64, Listed),
    /// Note that a node has come or gone.
    Node(Change),
    /// Note that the count of a group is known that was asked for.
    Counted(Group),
    /// Note the connections of a node, which were asked for with this question.
    Listed(NodeId, u64, Vec<u64>),
}

/// The parts of this node, and those of others in the same groups.
#[derive(Debug)]
pub struct Parts {
    own: NodeId,
    groups: HashMap<Group, Known>,
    /// Groups with changes to tell, by the time at which they are told.
    gathering: BTreeSet<(u64, Group)>,
    /// Number of the last part.
    last_part: u64,
    next_comparison: u64,
    /// Number of the last round of the comparison.
    round: u64,
    /// Groups that are still to be compared.
    comparing: VecDeque<Group>,
    /// Groups that are still to be told after a lost link, and the time of the next ones.
    restoring: VecDeque<Group>,
    next_restoring: u64,
    acts: Vec<Act>,
}

/// A group in which this node has a part, or a presence list that others are in.
#[derive(Debug, Default)]
struct Known {
    own: Option<Own>,
    others: BTreeMap<NodeId, Other>,
}

/// The part of this node.
#[derive(Debug)]
struct Own {
    part: u64,
    /// Time from which on it is there.
    since: u64,
    /// Number of the last change that was told.
    number: u64,
    /// Connections whose entries have changed since, and those of them that have ended.
    changed: BTreeMap<u64, bool>,
    /// Time at which the changes are told, if there are any.
    told_at: Option<u64>,
}

/// The part of another node.
#[derive(Debug, Default)]
struct Other {
    part: u64,
    number: u64,
    count: u64,
    entries: BTreeSet<u64>,
    /// Time of the last question, if its answer has not come.
    asked_at: Option<u64>,
    /// Number of the highest change that was heard of, while some before it are missing.
    heard_of: (u64, u64),
    /// Time at which it was told last.
    told_at: u64,
}

impl Parts {
    /// Makes the parts of a node without any.
    pub fn new(own: NodeId, now: u64) -> Parts {
        Parts {
            own,
            groups: HashMap::new(),
            gathering: BTreeSet::new(),
            last_part: now,
            next_comparison: now + ROUND,
            round: 0,
            comparing: VecDeque::new(),
            restoring: VecDeque::new(),
            next_restoring: 0,
            acts: Vec::new(),
        }
    }

    /// Takes the things to do, in their order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Returns the number of connections that other nodes have in a group.
    pub fn count_of_others(&self, group: &Group) -> u64 {
        let others = self.groups.get(group).into_iter().flat_map(|known| known.others.values());
        others.fold(0, |sum: u64, other| sum.saturating_add(other.count))
    }

    /// Returns the nodes with a part in a group, without this one, and the numbers of their connections in it.
    pub fn others(&self, group: &Group) -> Vec<(NodeId, u64)> {
        let known = self.groups.get(group);
        let others = known.into_iter().flat_map(|known| &known.others);
        others
            .filter(|(_, other)| other.count > 0)
            .map(|(node, other)| (*node, other.count))
            .collect()
    }

    /// Returns true if this node has its part in a group for so short a time that others may not have told theirs.
    pub fn is_young(&self, group: &Group, now: u64) -> bool {
        let own = self.groups.get(group).and_then(|known| known.own.as_ref());
        own.is_some_and(|own| now < own.since + YOUNG)
    }

    /// Returns true if this node has a part in a group.
    pub fn has(&self, group: &Group) -> bool {
        self.groups.get(group).is_some_and(|known| known.own.is_some())
    }

    /// Notes that the first connection of this node is in a group.
    pub fn opened(&mut self, group: &Group, now: u64) {
        let known = self.groups.entry(group.clone()).or_default();
        if known.own.is_none() {
            self.last_part = now.max(self.last_part + 1);
            let part = self.last_part;
            let changed = BTreeMap::new();
            known.own = Some(Own { part, since: now, number: 0, changed, told_at: None });
            self.acts.push(Act::Open(group.clone()));
        }
        self.gather(group, now);
    }

    /// Notes that the number of this node's connections in a group has changed.
    pub fn counted(&mut self, group: &Group, now: u64) {
        self.gather(group, now);
    }

    /// Notes that the entry of a connection in a room's list has changed.
    pub fn changed(&mut self, group: &Group, connection: u64, has_ended: bool, now: u64) {
        if let Some(own) = self.groups.get_mut(group).and_then(|known| known.own.as_mut()) {
            own.changed.insert(connection, has_ended);
            self.gather(group, now);
        }
    }

    /// Notes that the last connection of this node has left a group.
    pub fn closed(&mut self, group: &Group, connections: &impl Connections) {
        if !self.has(group) {
            return;
        }
        self.tell(group, connections, true);
        let known = self.groups.remove(group);
        // Nobody here reads the list any more; a later one has to begin with those that are there then.
        for (node, other) in known.into_iter().flat_map(|known| known.others) {
            self.forget(group, node, other, &Listed::Unknown);
        }
        self.acts.push(Act::Close(group.clone()));
    }

    fn gather(&mut self, group: &Group, now: u64) {
        let Some(own) = self.groups.get_mut(group).and_then(|known| known.own.as_mut()) else {
            return;
        };
        if own.told_at.is_none() {
            // The first change of a part is told at once: others wait for it.
            let at = if own.number == 0 { now } else { now + GATHERING };
            own.told_at = Some(at);
            self.gathering.insert((at, group.clone()));
        }
    }

    /// Tells the changes of this node's part.
    fn tell(&mut self, group: &Group, connections: &impl Connections, is_over: bool) {
        let Some(own) = self.groups.get_mut(group).and_then(|known| known.own.as_mut()) else {
            return;
        };
        if let Some(at) = own.told_at.take() {
            self.gathering.remove(&(at, group.clone()));
        }
        own.number += 1;
        let (part, number) = (own.part, own.number);
        let changed = std::mem::take(&mut own.changed);
        let mut entries = Vec::with_capacity(changed.len());
        for (connection, has_ended) in changed {
            let place = match connections.entry(group, connection) {
                Some((key, meta)) => {
                    Place::Present { key: key.to_string().into(), meta: meta.to_string().into() }
                }
                None if has_ended => Place::Ended,
                None => Place::Absent,
            };
            entries.push(Entry { connection, place });
        }
        let count = if is_over { 0 } else { connections.count(group) as u64 };
        let news = News { group: group.wire(), part, number, count, is_over, entries };
        self.publish(Topic::Group(group.clone()), Content::News(news));
    }

    fn publish(&mut self, topic: Topic, content: Content<'_>) {
        self.acts.push(Act::Publish(topic, Message::new(self.own, content).encode()));
    }

    /// Returns this node's whole part in a group, as it was last told.
    fn whole(&self, group: &Group, connections: &impl Connections) -> Option<News<'static>> {
        let own = self.groups.get(group)?.own.as_ref()?;
        // An entry that has changed since is told with the next change as well, which does no harm.
        let entries = connections.entries(group).into_iter().map(|(connection, key, meta)| {
            let place = Place::Present {
                key: Cow::Owned(key.to_string()),
                meta: Cow::Owned(meta.to_string()),
            };
            Entry { connection, place }
        });
        Some(News {
            group: group.wire_owned(),
            part: own.part,
            number: own.number,
            count: connections.count(group) as u64,
            is_over: false,
            entries: entries.collect(),
        })
    }

    /// Does what is due.
    pub fn look(&mut self, now: u64, connections: &impl Connections) {
        while let Some((at, group)) = self.gathering.first().cloned()
            && at <= now
        {
            self.gathering.pop_first();
            if let Some(own) = self.groups.get_mut(&group).and_then(|known| known.own.as_mut()) {
                own.told_at = None;
                self.tell(&group, connections, false);
            }
        }
        if now >= self.next_comparison {
            self.next_comparison = now + ROUND;
            self.compare(now, connections);
        }
        if !self.restoring.is_empty() && now >= self.next_restoring {
            self.next_restoring = now + RESTORING;
            for _ in 0..RESTORED_AT_ONCE {
                let Some(group) = self.restoring.pop_front() else { break };
                if let Some(state) = self.whole(&group, connections) {
                    self.publish(Topic::Group(group.clone()), Content::State(state));
                    self.subscribed(&group);
                }
            }
        }
    }

    /// Returns the time of the next [`look`](Parts::look).
    pub fn next_look(&self) -> u64 {
        let gathered = self.gathering.first().map_or(u64::MAX, |(at, _)| *at);
        let restored = if self.restoring.is_empty() { u64::MAX } else { self.next_restoring };
        self.next_comparison.min(gathered).min(restored)
    }

    /// Tells a change without a content in each group that others are in, so that those that have missed one find
    /// out; and asks where an answer, or such a change of another node, has not come. Each call does so for a part of
    /// the groups.
    fn compare(&mut self, now: u64, connections: &impl Connections) {
        // Others with as many groups need as long for them.
        let lasting = COMPARING.max(self.groups.len() as u64 * ROUND / COMPARED_AT_ONCE as u64);
        // Nodes that have opened a group at the same time may know nothing of each other.
        let is_new = |own: &Own| now < own.since + 2 * lasting;
        let is_shared = |known: &Known| {
            known.others.values().any(|other| other.count > 0)
                || known.own.as_ref().is_some_and(is_new)
        };
        let round = (self.round + 1) % ROUNDS;
        let is_due = |group: &Group| {
            let mut hasher = DefaultHasher::new();
            group.hash(&mut hasher);
            hasher.finish() % ROUNDS == round
        };
        let (mut told, mut is_begun) = (0, false);
        while told < COMPARED_AT_ONCE {
            let Some(group) = self.comparing.pop_front() else {
                // While some of the round before were left, this one has waited for its turn.
                if std::mem::replace(&mut is_begun, true) {
                    break;
                }
                self.round = round;
                let due = self.groups.keys().filter(|group| is_due(group));
                let mut due: Vec<Group> = due.cloned().collect();
                due.sort();
                self.comparing = due.into();
                continue;
            };
            if !self.groups.get(&group).is_some_and(is_shared) {
                continue;
            }
            self.tell(&group, connections, false);
            told += 1;
            let Some(known) = self.groups.get_mut(&group) else { continue };
            let mut late = Vec::new();
            for (node, other) in &mut known.others {
                let is_unanswered = other.asked_at.is_some_and(|at| at + PATIENCE <= now);
                let is_silent = other.count > 0 && other.told_at + 2 * lasting <= now;
                if is_unanswered || is_silent {
                    other.asked_at = Some(now);
                    late.push(*node);
                }
            }
            told += late.len();
            for node in late {
                self.ask(node, std::slice::from_ref(&group));
            }
        }
    }

    /// Asks all others for their parts in a group, once it is subscribed to.
    pub fn subscribed(&mut self, group: &Group) {
        if self.has(group) {
            self.publish(Topic::Group(group.clone()), Content::Ask(vec![group.wire_owned()]));
        }
    }

    /// Asks all others for their parts in all groups, and tells them this node's: something may have been lost.
    pub fn restore(&mut self, now: u64) {
        let others = self.groups.values().flat_map(|known| known.others.keys().copied());
        // Those whose part is over hear no question to a group.
        for node in others.collect::<BTreeSet<NodeId>>() {
            self.check(node, now);
        }
        let own = self.groups.iter().filter(|(_, known)| known.own.is_some());
        let mut own: Vec<Group> = own.map(|(group, _)| group.clone()).collect();
        own.sort();
        self.restoring = own.into();
        self.next_restoring = now;
    }

    /// Asks a node that has come back for its parts in the groups of this one.
    pub fn returned(&mut self, node: NodeId) {
        let mut own: Vec<Group> =
            self.groups.keys().filter(|group| self.has(group)).cloned().collect();
        own.sort();
        self.ask(node, &own);
    }

    /// Asks a node for its parts that are known here: some may be over.
    pub fn check(&mut self, node: NodeId, now: u64) {
        let mut known: Vec<Group> = Vec::new();
        for (group, of) in &mut self.groups {
            if let Some(other) = of.others.get_mut(&node).filter(|other| other.count > 0) {
                other.asked_at = Some(now);
                known.push(group.clone());
            }
        }
        known.sort();
        self.ask(node, &known);
    }

    fn ask(&mut self, node: NodeId, groups: &[Group]) {
        for groups in groups.chunks(ASKED_AT_ONCE) {
            let names = groups.iter().map(Group::wire_owned).collect();
            self.publish(Topic::Node(node), Content::Ask(names));
        }
    }

    /// Drops the parts of a node that is gone.
    pub fn gone(&mut self, node: NodeId) {
        let with = self.groups.iter_mut().filter_map(|(group, known)| {
            known.others.remove(&node).map(|other| (group.clone(), other))
        });
        let mut dropped: Vec<(Group, Other)> = with.collect();
        dropped.sort_by(|a, b| a.0.cmp(&b.0));
        for (group, other) in dropped {
            self.forget(&group, node, other, &Listed::Absent);
        }
    }

    fn forget(&mut self, group: &Group, node: NodeId, other: Other, listed: &Listed) {
        for connection in other.entries {
            self.acts.push(Act::List(group.clone(), node, connection, listed.clone()));
        }
    }

    /// Handles a question of another node.
    pub fn asked(&mut self, from: NodeId, groups: Vec<Group>, connections: &impl Connections) {
        for group in groups {
            let state = self.whole(&group, connections).unwrap_or_else(|| News {
                group: group.wire_owned(),
                // After all parts that it has had there, and before the next one.
                part: self.last_part,
                number: u64::MAX,
                count: 0,
                is_over: true,
                entries: Vec::new(),
            });
            self.publish(Topic::Node(from), Content::State(state));
        }
    }

    /// Handles the changes of another node's part.
    pub fn heard_news(&mut self, from: NodeId, group: &Group, news: News<'_>, now: u64) {
        let Some(known) = self.groups.get_mut(group).filter(|known| known.own.is_some()) else {
            return;
        };
        let other = known.others.entry(from).or_default();
        if news.part < other.part || (news.part == other.part && news.number <= other.number) {
            return;
        }
        let begins = news.part > other.part && news.number == 1;
        let follows = news.part == other.part && news.number == other.number + 1;
        if !begins && !follows && !news.is_over {
            other.heard_of = (news.part, news.number);
            if other.asked_at.is_none_or(|at| at + PATIENCE <= now) {
                other.asked_at = Some(now);
                self.ask(from, std::slice::from_ref(group));
            }
            return;
        }
        // The record of a part that is over stays, so that an answer that is late does not bring it back.
        let before = if begins || news.is_over {
            std::mem::take(&mut other.entries)
        } else {
            BTreeSet::new()
        };
        (other.part, other.number, other.count) = (news.part, news.number, news.count);
        other.told_at = now;
        let told: BTreeSet<u64> = news.entries.iter().map(|entry| entry.connection).collect();
        for connection in before.difference(&told) {
            self.acts.push(Act::List(group.clone(), from, *connection, Listed::Ended));
        }
        for Entry { connection, place } in news.entries.into_iter().filter(|_| !group.is_user) {
            let listed = other.listed(connection, place);
            self.acts.push(Act::List(group.clone(), from, connection, listed));
        }
    }

    /// Handles another node's whole part.
    pub fn heard_state(&mut self, from: NodeId, group: &Group, state: News<'_>, now: u64) {
        let Some(known) = self.groups.get_mut(group).filter(|known| known.own.is_some()) else {
            return;
        };
        let other = known.others.entry(from).or_default();
        if (state.part, state.number) < (other.part, other.number) {
            return;
        }
        let mut before = std::mem::take(&mut other.entries);
        (other.part, other.number, other.count) = (state.part, state.number, state.count);
        other.told_at = now;
        for Entry { connection, place } in state.entries.into_iter().filter(|_| !group.is_user) {
            before.remove(&connection);
            let listed = other.listed(connection, place);
            self.acts.push(Act::List(group.clone(), from, connection, listed));
        }
        for connection in before {
            self.acts.push(Act::List(group.clone(), from, connection, Listed::Ended));
        }
        other.asked_at = None;
        // Of a part that is over nothing more comes.
        if other.heard_of.0 == other.part && other.heard_of.1 > other.number {
            other.asked_at = Some(now);
            self.ask(from, std::slice::from_ref(group));
        }
    }
}

impl Other {
    fn listed(&mut self, connection: u64, place: Place<'_>) -> Listed {
        match place {
            Place::Present { key, meta } if is_fit(&key, &meta) => {
                self.entries.insert(connection);
                Listed::Present(key.as_ref().into(), meta.as_ref().into())
            }
            Place::Present { .. } | Place::Absent => {
                self.entries.remove(&connection);
                Listed::Absent
            }
            Place::Ended => {
                self.entries.remove(&connection);
                Listed::Ended
            }
        }
    }
}

/// Returns true for a key and metadata that watchers can be sent.
fn is_fit(key: &str, meta: &str) -> bool {
    !key.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(meta).is_ok()
}
