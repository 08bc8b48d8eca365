//! Nodes that share rooms, in one thread, with a simulated engine and clock: they connect and lose clients, are
//! killed, cut off and paused, and messages between them are late or vanish. In the end all agree, and none has a
//! ghost.
//!
//! `WHARF_SIMULATION_RUNS` is the number of runs, 2,000 by default. `WHARF_SIMULATION_SEED` is the seed of the first
//! one; a failure names its own.

mod dice;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf_contract::presence::{Entries, Roster};
use wharf_hub::connection_id::{ConnectionId, NodeId};
use wharf_hub::peers::Listed;
use wharf_node::exchange::Exchange;
use wharf_node::parts::{Act, Connections};
use wharf_node::topics::{Group, Topic};
use wharf_node::wire::Beat;

use dice::Dice;

const NODES: usize = 3;
const ROOMS: u64 = 3;
const KEYS: u64 = 4;
const TIMEOUT: u64 = 5_000;
const GRACE: Duration = Duration::from_secs(2);

/// A time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, time: Duration) -> Moment {
        Moment(self.0 + time.as_millis() as u64)
    }
}

/// The key and the metadata of a member in a presence list; `None` for one that is not present.
type Listing = Option<(Arc<str>, Arc<str>)>;

/// The connections of one node, and its lists of rooms.
#[derive(Default)]
struct Rooms {
    /// Members of each room: those of this node, with their entry.
    members: BTreeMap<Group, BTreeMap<u64, Listing>>,
    lists: BTreeMap<Group, Roster<ConnectionId, Moment>>,
}

impl Connections for Rooms {
    fn count(&self, group: &Group) -> usize {
        self.members.get(group).map_or(0, BTreeMap::len)
    }

    fn members(&self, group: &Group, after: Option<u64>, limit: usize) -> Vec<u64> {
        let members = self.members.get(group).into_iter().flat_map(BTreeMap::keys).copied();
        members.filter(|number| after.is_none_or(|after| *number > after)).take(limit).collect()
    }

    fn entry(&self, group: &Group, connection: u64) -> Option<(Arc<str>, Arc<str>)> {
        self.members.get(group)?.get(&connection)?.clone()
    }

    fn entries(&self, group: &Group) -> Vec<(u64, Arc<str>, Arc<str>)> {
        let members = self.members.get(group).into_iter().flatten();
        let entry = |(number, entry): (&u64, &Listing)| {
            entry.clone().map(|(key, meta)| (*number, key, meta))
        };
        members.filter_map(entry).collect()
    }
}

struct Node {
    id: NodeId,
    exchange: Exchange,
    rooms: Rooms,
    topics: BTreeSet<String>,
    /// Messages that the engine has sent and this node has not received, with the time at which they arrive. `None`: its link is
    /// there again.
    incoming: VecDeque<(u64, Option<Bytes>)>,
    /// Messages that it has published and the engine has not received.
    outgoing: VecDeque<(u64, String, Bytes)>,
    is_cut: bool,
    paused_until: u64,
    next_connection: u64,
}

struct World {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    last_node: u64,
    /// True while messages vanish without a word, one in fifty.
    loses: bool,
    has_lost: bool,
}

fn group(room: u64) -> Group {
    Group::room(&Arc::from("chat"), &Arc::from(format!("room {room}")))
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            dice: Dice::new(seed),
            now: 1_000_000,
            nodes: Vec::new(),
            last_node: 0,
            loses: false,
            has_lost: false,
        };
        for place in 0..NODES {
            let node = world.start(place);
            world.nodes.push(node);
        }
        world
    }

    fn start(&mut self, place: usize) -> Node {
        self.last_node += 1;
        let id = NodeId::numbered(self.last_node).expect("a node");
        let beat =
            Beat { name: format!("node {place}").into(), started: self.now, ..Beat::default() };
        let topics = [Topic::Nodes.name(), Topic::Node(id).name()];
        Node {
            id,
            exchange: Exchange::new(id, beat, TIMEOUT, self.now),
            rooms: Rooms::default(),
            topics: topics.into(),
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            is_cut: false,
            paused_until: 0,
            next_connection: 1,
        }
    }

    /// Does what a node's exchange has put out.
    fn act(&mut self, at: usize) {
        let now = self.now;
        loop {
            let node = &mut self.nodes[at];
            let acts = node.exchange.take_acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                match act {
                    Act::Publish(topic, message) => {
                        let delay = 1 + self.dice.below(30);
                        let last = node.outgoing.back().map_or(0, |(at, ..)| *at);
                        if !node.is_cut {
                            let arrives = last.max(now + delay);
                            node.outgoing.push_back((arrives, topic.name(), message));
                        }
                    }
                    Act::Open(group) => {
                        node.topics.insert(Topic::Group(group.clone()).name());
                        node.exchange.parts.subscribed(&group);
                    }
                    Act::Close(group) => _ = node.topics.remove(&Topic::Group(group).name()),
                    Act::List(group, from, connection, listed) => {
                        let id = ConnectionId { node: from, number: connection };
                        let list = node.rooms.lists.entry(group).or_default();
                        match listed {
                            Listed::Present(key, meta) => list.track(id, &key, &meta),
                            Listed::Absent => list.untrack(id),
                            Listed::Ended => list.end(id, Moment(now), GRACE),
                            Listed::Unknown => list.forget(id),
                        }
                    }
                    Act::Node(_) | Act::Counted(_) | Act::Listed(..) => {}
                }
            }
        }
    }

    /// Goes on by a millisecond.
    fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        for at in 0..self.nodes.len() {
            // The engine receives.
            while self.nodes[at].outgoing.front().is_some_and(|(arrives, ..)| *arrives <= now) {
                let (_, topic, message) = self.nodes[at].outgoing.pop_front().expect("it is there");
                for to in &mut self.nodes {
                    if !to.topics.contains(&topic) || to.is_cut {
                        continue;
                    }
                    if self.loses && self.dice.one_in(50) {
                        self.has_lost = true;
                        continue;
                    }
                    let last = to.incoming.back().map_or(0, |(at, _)| *at);
                    let arrives = last.max(now + 1 + self.dice.below(30));
                    to.incoming.push_back((arrives, Some(message.clone())));
                }
            }
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].paused_until > now {
                continue;
            }
            while self.nodes[at].incoming.front().is_some_and(|(arrives, _)| *arrives <= now) {
                let node = &mut self.nodes[at];
                let (_, message) = node.incoming.pop_front().expect("it is there");
                match message {
                    Some(message) => {
                        let handled = node.exchange.received(&message, now, &node.rooms);
                        assert!(matches!(handled, Ok(None)), "{handled:?}");
                    }
                    None => node.exchange.restored(now, &node.rooms),
                }
                self.act(at);
            }
            let node = &mut self.nodes[at];
            for list in node.rooms.lists.values_mut() {
                list.expire(Moment(now));
            }
            if node.exchange.next_look() <= now {
                node.exchange.look(now, &node.rooms);
                self.act(at);
            }
        }
    }

    fn run(&mut self, time: u64) {
        for _ in 0..time {
            self.step();
        }
    }

    /// Does something at random.
    fn disturb(&mut self) {
        let at = self.dice.below(self.nodes.len() as u64) as usize;
        let now = self.now;
        let what = self.dice.below(40);
        match what {
            0..=13 => self.join(at),
            14..=19 => self.change_entry(at),
            20..=28 => self.end(at),
            29..=31 => {
                let node = &mut self.nodes[at];
                if !node.is_cut {
                    node.is_cut = true;
                    // Messages on their way are lost with the link, a part of them in each direction.
                    let kept = self.dice.below(4) as usize;
                    node.outgoing.truncate(kept);
                    let kept = self.dice.below(4) as usize;
                    node.incoming.truncate(kept);
                }
            }
            32..=34 => self.heal(at),
            35 => self.nodes[at].paused_until = now + self.dice.below(2 * TIMEOUT),
            36 | 37 => {
                // Killed, and another one starts in its place.
                self.nodes[at] = self.start(at);
            }
            38 => {
                self.nodes[at].exchange.leave();
                self.act(at);
                let farewell = std::mem::take(&mut self.nodes[at].outgoing);
                self.nodes[at] = self.start(at);
                // The engine gets what it has said.
                self.nodes[at].outgoing = farewell;
            }
            _ => self.loses = self.dice.one_in(3),
        }
    }

    fn heal(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        if std::mem::take(&mut node.is_cut) {
            let last = node.incoming.back().map_or(now, |(at, _)| *at);
            node.incoming.push_back((last.max(now), None));
        }
    }

    fn join(&mut self, at: usize) {
        let (room, now) = (group(self.dice.below(ROOMS)), self.now);
        let node = &mut self.nodes[at];
        let number = node.next_connection;
        node.next_connection += 1;
        let members = node.rooms.members.entry(room.clone()).or_default();
        members.insert(number, None);
        if members.len() == 1 {
            node.exchange.parts.opened(&room, now);
        } else {
            node.exchange.parts.counted(&room, now);
        }
        if !self.dice.one_in(4) {
            self.track(at, &room, number);
        }
        self.act(at);
    }

    fn track(&mut self, at: usize, room: &Group, number: u64) {
        let key: Arc<str> = format!("key {}", self.dice.below(KEYS)).into();
        let meta: Arc<str> = self.dice.below(100).to_string().into();
        let now = self.now;
        let node = &mut self.nodes[at];
        let id = ConnectionId { node: node.id, number };
        node.rooms.lists.entry(room.clone()).or_default().track(id, &key, &meta);
        let members = node.rooms.members.get_mut(room).expect("it is a member");
        members.insert(number, Some((key, meta)));
        node.exchange.parts.changed(room, number, false, now);
    }

    /// Chooses a member of a room.
    fn member(&mut self, at: usize) -> Option<(Group, u64)> {
        let members = &self.nodes[at].rooms.members;
        let all: Vec<(Group, u64)> = members
            .iter()
            .flat_map(|(room, members)| members.keys().map(|number| (room.clone(), *number)))
            .collect();
        (!all.is_empty()).then(|| all[self.dice.below(all.len() as u64) as usize].clone())
    }

    fn change_entry(&mut self, at: usize) {
        let Some((room, number)) = self.member(at) else { return };
        if self.dice.one_in(2) {
            self.track(at, &room, number);
        } else {
            let now = self.now;
            let node = &mut self.nodes[at];
            let id = ConnectionId { node: node.id, number };
            node.rooms.lists.entry(room.clone()).or_default().untrack(id);
            node.rooms.members.get_mut(&room).expect("a room").insert(number, None);
            node.exchange.parts.changed(&room, number, false, now);
        }
        self.act(at);
    }

    /// Ends a connection, or has it leave.
    fn end(&mut self, at: usize) {
        let Some((room, number)) = self.member(at) else { return };
        let (now, has_ended) = (self.now, self.dice.one_in(2));
        let node = &mut self.nodes[at];
        let id = ConnectionId { node: node.id, number };
        let list = node.rooms.lists.entry(room.clone()).or_default();
        if has_ended {
            list.end(id, Moment(now), GRACE);
        } else {
            list.untrack(id);
        }
        let members = node.rooms.members.get_mut(&room).expect("a room");
        members.remove(&number);
        let is_last = members.is_empty();
        node.exchange.parts.changed(&room, number, has_ended, now);
        if is_last {
            node.exchange.parts.closed(&room, &node.rooms);
        } else {
            node.exchange.parts.counted(&room, now);
        }
        self.act(at);
    }

    /// Returns the list of a room as it should be everywhere, and the number of its members.
    fn truth(&self, room: &Group) -> (Entries, u64) {
        let mut list: Roster<ConnectionId, Moment> = Roster::default();
        let mut count = 0;
        for node in &self.nodes {
            for (number, entry) in node.rooms.members.get(room).into_iter().flatten() {
                count += 1;
                if let Some((key, meta)) = entry {
                    list.track(ConnectionId { node: node.id, number: *number }, key, meta);
                }
            }
        }
        (list.page(None, usize::MAX, None), count)
    }

    fn check(&self, seed: u64) {
        for room in (0..ROOMS).map(group) {
            let (truth, count) = self.truth(&room);
            for node in &self.nodes {
                let own = node.rooms.count(&room) as u64;
                if own == 0 {
                    continue;
                }
                let list = node.rooms.lists.get(&room);
                let seen = list.map(|list| list.page(None, usize::MAX, None)).unwrap_or_default();
                let about = format!("WHARF_SIMULATION_SEED={seed}, {}, {room:?}", node.id);
                assert_eq!(seen, truth, "{about}: {list:?} {:?}", node.exchange);
                let others = node.exchange.parts.count_of_others(&room);
                assert_eq!(
                    own + others,
                    count,
                    "{about}: {:?} lost {}",
                    node.exchange.parts,
                    self.has_lost
                );
            }
        }
        for node in &self.nodes {
            assert_eq!(node.exchange.membership.nodes().count(), NODES - 1, "seed {seed}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_to_nodes_and_their_links_all_agree_soon_and_nobody_sees_a_ghost() {
    let runs = number("WHARF_SIMULATION_RUNS").unwrap_or(2000);
    let first = number("WHARF_SIMULATION_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    for seed in (0..runs).map(|run| first.wrapping_add(run)) {
        let mut world = World::new(seed);
        for _ in 0..world.dice.below(60) {
            let time = world.dice.below(400);
            world.run(time);
            world.disturb();
        }
        world.loses = false;
        for at in 0..NODES {
            world.nodes[at].paused_until = 0;
            world.heal(at);
        }
        // A node that was killed is given up, and what its last messages have said.
        world.run(TIMEOUT + 1000);
        if world.has_lost {
            // Nothing but a comparison finds that out.
            world.run(95_000);
        }
        world.check(seed);
    }
}
