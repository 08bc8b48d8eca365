//! The exchange of one node with the others: its membership and its parts.
//!
//! It is pure. Its caller gives it the time in milliseconds, what it receives, and what happens to its own
//! connections; and does the [acts](Act) that it puts out, in their order. So a test can run several nodes in one
//! thread, at any speed, and lose whatever it likes.

use bytes::Bytes;
use wharf_hub::connection_id::NodeId;

use crate::membership::{Change, Membership};
use crate::parts::{Act, Connections, Parts};
use crate::topics::{Group, Topic};
use crate::wire::{Beat, Content, DisconnectOf, FrameFor, Message, Unreadable};

/// The exchange of one node with the others.
#[derive(Debug)]
pub struct Exchange {
    own: NodeId,
    beat: Beat<'static>,
    /// The nodes.
    pub membership: Membership,
    /// The parts in groups.
    pub parts: Parts,
    acts: Vec<Act>,
}

/// A message of another node that is for connections of this one.
#[derive(Clone, Debug, PartialEq)]
pub enum ForConnections<'a> {
    /// A message.
    Frame(FrameFor<'a>),
    /// A wish to close them.
    Disconnect(DisconnectOf<'a>),
}

impl Exchange {
    /// Makes the exchange of a node that has just started. A node that was silent for `timeout` is gone.
    pub fn new(own: NodeId, beat: Beat<'static>, timeout: u64, now: u64) -> Exchange {
        Exchange {
            own,
            membership: Membership::new(own, &beat.name, timeout, now),
            beat,
            parts: Parts::new(own, now),
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
        self.membership.next_look().min(self.parts.next_look())
    }

    /// Does what is due.
    pub fn look(&mut self, now: u64, connections: &impl Connections) {
        let look = self.membership.look(now);
        for change in look.changes {
            self.changed(change);
        }
        if look.is_beat_due {
            self.publish(Topic::Nodes, Content::Beat(self.beat.clone()));
        }
        if look.was_away {
            self.restore(now, connections);
        }
        self.parts.look(now, connections);
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
        if from == self.own || self.membership.has_ended(from) {
            return Ok(None);
        }
        if let Some(change) = self.membership.heard(from, now) {
            self.changed(change);
        }
        match content {
            Content::Beat(beat) => {
                for change in self.membership.described(from, &beat) {
                    self.changed(change);
                }
            }
            Content::Bye => {
                if let Some(change) = self.membership.left(from) {
                    self.changed(change);
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
            Content::Frame(frame) => return Ok(Some(ForConnections::Frame(frame))),
            Content::Disconnect(of) => return Ok(Some(ForConnections::Disconnect(of))),
        }
        Ok(None)
    }

    /// Tells the others that this node leaves.
    pub fn leave(&mut self) {
        self.publish(Topic::Nodes, Content::Bye);
    }

    /// Notes that a lost link is there again, and all subscriptions with it.
    pub fn restored(&mut self, now: u64, connections: &impl Connections) {
        self.restore(now, connections);
        self.look(now, connections);
    }

    fn restore(&mut self, now: u64, connections: &impl Connections) {
        self.publish(Topic::Nodes, Content::Beat(self.beat.clone()));
        self.publish(Topic::Nodes, Content::Restored);
        self.parts.restore(now, connections);
    }

    fn changed(&mut self, change: Change) {
        match &change {
            Change::Came { node, has_returned: true } => self.parts.returned(*node),
            Change::Came { .. } => {}
            Change::Gone(node, _) => self.parts.gone(*node),
        }
        self.acts.push(Act::Node(change));
    }

    fn publish(&mut self, topic: Topic, content: Content<'_>) {
        self.acts.push(Act::Publish(topic, Message::new(self.own, content).encode()));
    }

    /// Returns a message for connections of other nodes.
    pub fn message(&self, content: Content<'_>) -> Bytes {
        Message::new(self.own, content).encode()
    }
}
