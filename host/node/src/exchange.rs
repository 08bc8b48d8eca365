//! The exchange of one node with the others: its membership and its parts.
//!
//! It is pure. Its caller gives it the time in milliseconds, what it receives, and what happens to its own
//! connections; and does the [acts](Act) that it puts out, in their order. So a test can run several nodes in one
//! thread, at any speed, and lose whatever it likes.

use std::collections::BTreeSet;

use wharf_hub::connection_id::{ConnectionId, NodeId};

use crate::addressees::id;
use crate::listings::{MAX_ANSWER, own_start};

use crate::membership::{Change, Membership};
use crate::parts::{Act, Connections, Parts};
use crate::questions::{Asked, Questions};
use crate::topics::{Group, Topic};
use crate::wire::{Beat, Content, DisconnectOf, FrameFor, Message, NoticeTo, Unreadable};

/// The exchange of one node with the others.
#[derive(Debug)]
pub struct Exchange {
    own: NodeId,
    beat: Beat<'static>,
    /// The nodes.
    pub membership: Membership,
    /// The parts in groups.
    pub parts: Parts,
    /// The questions for groups in which this node has no part.
    pub questions: Questions,
    acts: Vec<Act>,
}

/// A message of another node that is for connections of this one.
#[derive(Clone, Debug, PartialEq)]
pub enum ForConnections<'a> {
    /// A message.
    Frame(FrameFor<'a>),
    /// A wish to close them.
    Disconnect(DisconnectOf<'a>),
    /// A notice.
    Notice(NoticeTo<'a>),
}

impl Exchange {
    /// Makes the exchange of a node that has just started. A node that was silent for `timeout` is gone.
    pub fn new(own: NodeId, beat: Beat<'static>, timeout: u64, now: u64) -> Exchange {
        Exchange {
            own,
            membership: Membership::new(own, &beat, timeout, now),
            beat,
            parts: Parts::new(own, now),
            questions: Questions::default(),
            acts: Vec::new(),
        }
    }

    /// Takes the things to do, in their order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        let mut acts = std::mem::take(&mut self.acts);
        acts.extend(self.parts.take_acts());
        acts
    }

    /// Returns the time of the next [`look`](Exchange::look).
    pub fn next_look(&self) -> u64 {
        let questions = self.questions.next_look().unwrap_or(u64::MAX);
        self.membership.next_look().min(self.parts.next_look()).min(questions)
    }

    /// Does what is due.
    pub fn look(&mut self, now: u64, connections: &impl Connections) {
        let look = self.membership.look(now);
        for change in look.changes {
            self.changed(change, now);
        }
        if look.is_beat_due {
            self.publish(Topic::Nodes, Content::Beat(self.beat.clone()));
        }
        if look.was_away {
            self.restore(now);
        }
        self.parts.look(now, connections);
        self.acts.extend(self.questions.look(now).into_iter().map(Act::Counted));
    }

    /// Asks the others for the number of their connections in a group. Returns true if the answer has to be waited for.
    pub fn ask(&mut self, group: &Group, now: u64) -> bool {
        if self.parts.has(group) && !self.parts.is_young(group, now) {
            return false;
        }
        if self.questions.count(group, now).is_some() {
            return false;
        }
        let nodes = self.membership.nodes().map(|(id, _)| id).collect();
        let asked = self.questions.ask(group, nodes, now);
        if let Asked::New(question) = asked {
            self.publish(Topic::Nodes, Content::Count { question, group: group.wire() });
        }
        asked != Asked::Known
    }

    /// Asks the others for their connections in a group. `question` is told the nodes that will answer, and returns the
    /// number of the question. Returns that number, if there is somebody to ask.
    pub fn list(
        &mut self,
        group: &Group,
        after: Option<ConnectionId>,
        limit: u32,
        question: impl FnOnce(BTreeSet<NodeId>) -> Option<u64>,
    ) -> Option<u64> {
        let is_there = |id: &NodeId| after.is_none_or(|after| *id >= after.node);
        let nodes: BTreeSet<NodeId> = match self.parts.has(group) {
            true => {
                self.parts.others(group).into_iter().map(|(id, _)| id).filter(is_there).collect()
            }
            false => self.membership.nodes().map(|(id, _)| id).filter(is_there).collect(),
        };
        let asked: Vec<NodeId> = nodes.iter().copied().collect();
        let question = question(nodes)?;
        let after = after.map(|id| (id.node.number(), id.number));
        for node in asked {
            let list = Content::List { question, group: group.wire_owned(), after, limit };
            self.publish(Topic::Node(node), list);
        }
        Some(question)
    }

    /// Returns the number of connections that other nodes have in a group, as far as this one knows.
    pub fn count_of_others(&self, group: &Group, now: u64) -> u64 {
        let asked = self.questions.count(group, now).unwrap_or(0);
        match self.parts.has(group) {
            // The others may not have told their parts yet.
            true if self.parts.is_young(group, now) => self.parts.count_of_others(group).max(asked),
            true => self.parts.count_of_others(group),
            false => asked,
        }
    }

    /// Returns the number of connections that other nodes have in a group, if all of them have told it.
    pub fn complete_count_of_others(&self, group: &Group, now: u64) -> Option<u64> {
        if self.membership.nodes().next().is_none() {
            return Some(0);
        }
        match self.parts.has(group) && !self.parts.is_young(group, now) {
            true => Some(self.parts.count_of_others(group)),
            false => self.questions.complete_count(group, now),
        }
    }

    /// Gives a sign of life if one is due, while this node cannot listen.
    pub fn beat(&mut self, now: u64) {
        if self.membership.beat(now) {
            self.publish(Topic::Nodes, Content::Beat(self.beat.clone()));
        }
    }

    /// Sets the number of connections that the next sign of life tells.
    pub fn count_connections(&mut self, count: u64) {
        self.beat.connections = count;
    }

    /// Handles a message. Returns it if it is for connections.
    ///
    /// # Errors
    ///
    /// It cannot be read, and was ignored.
    pub fn received<'a>(
        &mut self,
        message: &'a [u8],
        now: u64,
        connections: &impl Connections,
    ) -> Result<Option<ForConnections<'a>>, Unreadable> {
        let (from, content) = Message::read(message)?;
        Ok(self.heard(from, content, now, connections))
    }

    /// Handles the content of a message. Returns it if it is for connections.
    pub fn heard<'a>(
        &mut self,
        from: NodeId,
        content: Content<'a>,
        now: u64,
        connections: &impl Connections,
    ) -> Option<ForConnections<'a>> {
        if from == self.own || self.membership.has_ended(from) {
            return None;
        }
        if let Some(change) = self.membership.heard(from, now) {
            self.changed(change, now);
        }
        match content {
            Content::Beat(beat) => {
                for change in self.membership.described(from, &beat) {
                    self.changed(change, now);
                }
            }
            Content::Bye => {
                if let Some(change) = self.membership.left(from) {
                    self.changed(change, now);
                }
            }
            Content::Restored => self.parts.check(from, now),
            Content::News(news) => {
                let group = Group::from(&news.group);
                self.parts.heard_news(from, &group, news, now);
            }
            Content::State(state) => {
                let group = Group::from(&state.group);
                self.parts.heard_state(from, &group, state, now);
            }
            Content::Ask(groups) => {
                let groups = groups.iter().map(Group::from).collect();
                self.parts.asked(from, groups, connections);
            }
            Content::Count { question, group } => {
                let count = connections.count(&Group::from(&group)) as u64;
                self.publish(Topic::Node(from), Content::Counted { question, count });
            }
            Content::Counted { question, count } => {
                let over = self.questions.answered(from, question, count, now);
                self.acts.extend(over.map(Act::Counted));
            }
            Content::List { question, group, after, limit } => {
                let after = after.map_or(Some(None), |after| {
                    id(after).and_then(|after| own_start(self.own, Some(after)))
                });
                let limit = limit.min(MAX_ANSWER) as usize;
                let connections = match after {
                    Some(after) => connections.members(&Group::from(&group), after, limit),
                    None => Vec::new(),
                };
                self.publish(Topic::Node(from), Content::Listed { question, connections });
            }
            Content::Listed { question, connections } => {
                self.acts.push(Act::Listed(from, question, connections));
            }
            // They are for the operator, and not for the exchange.
            Content::Request { .. } | Content::Reply { .. } => {}
            Content::Notice(notice) => return Some(ForConnections::Notice(notice)),
            Content::Frame(frame) => return Some(ForConnections::Frame(frame)),
            Content::Disconnect(of) => return Some(ForConnections::Disconnect(of)),
            // The receiver takes them before.
            Content::RoomEvent(_)
            | Content::RoomOutcome { .. }
            | Content::RoomTimer(_)
            | Content::RoomReset { .. }
            | Content::RoomsGivenUp { .. } => {}
        }
        None
    }

    /// Tells the others that this node leaves.
    pub fn leave(&mut self) {
        self.publish(Topic::Nodes, Content::Bye);
    }

    /// Notes that a lost link is there again, and all subscriptions with it.
    pub fn restored(&mut self, now: u64, connections: &impl Connections) {
        // They could not be heard.
        self.membership.heard_all(now);
        self.restore(now);
        self.look(now, connections);
    }

    fn restore(&mut self, now: u64) {
        self.publish(Topic::Nodes, Content::Beat(self.beat.clone()));
        self.publish(Topic::Nodes, Content::Restored);
        self.parts.restore(now);
    }

    fn changed(&mut self, change: Change, now: u64) {
        match &change {
            Change::Came { node, has_returned } => {
                // It need not wait for the next one.
                self.publish(Topic::Node(*node), Content::Beat(self.beat.clone()));
                if *has_returned {
                    self.parts.returned(*node);
                }
            }
            Change::Gone { node, .. } => {
                self.parts.gone(*node);
                self.acts.extend(self.questions.gone(*node, now).into_iter().map(Act::Counted));
            }
        }
        self.acts.push(Act::Node(change));
    }

    fn publish(&mut self, topic: Topic, content: Content<'_>) {
        self.acts.push(Act::Publish(topic, Message::new(self.own, content).encode()));
    }
}
