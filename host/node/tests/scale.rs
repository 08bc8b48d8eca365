//! The model of a large cluster beside nodes that do all of it: the pure exchange of each, without sockets.

#[path = "../examples/scale/model.rs"]
mod model;

mod dice;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use wharf_hub::connection_id::NodeId;
use wharf_node::exchange::Exchange;
use wharf_node::parts::{Act, COMPARING, Connections};
use wharf_node::topics::{Group, Topic};
use wharf_node::wire::Beat;

use dice::Dice;
use model::{Kind, Load};

const NODES: usize = 12;
const ROOMS: u64 = 60;
const SIZE: u64 = 10;

/// Time for which a connection stays, in milliseconds.
const STAY: u64 = 60_000;

/// Metadata of a member, as long as in the model. So are all other names and numbers.
const META: &str = "{\"at\":1795827000}";
const CONNECTIONS: u64 = 100_000;
const FIRST: u64 = 1 << 46;
const BEGUN: u64 = 1 << 40;

/// Time that is counted, in milliseconds, and that before it.
const COUNTED: u64 = 240_000;
const WARM_UP: u64 = 90_000;

#[derive(Default)]
struct Members(HashMap<Group, BTreeSet<u64>>);

impl Connections for Members {
    fn count(&self, group: &Group) -> usize {
        self.0.get(group).map_or(0, BTreeSet::len)
    }

    fn members(&self, _: &Group, _: Option<u64>, _: usize) -> Vec<u64> {
        Vec::new()
    }

    fn entry(&self, group: &Group, connection: u64) -> Option<(Arc<str>, Arc<str>)> {
        let is_there = self.0.get(group)?.contains(&connection);
        is_there.then(|| (format!("user-{connection:07}").into(), META.into()))
    }

    fn entries(&self, group: &Group) -> Vec<(u64, Arc<str>, Arc<str>)> {
        let members = self.0.get(group).into_iter().flatten();
        members.map(|number| (*number, format!("user-{number:07}").into(), META.into())).collect()
    }
}

struct Node {
    exchange: Exchange,
    members: Members,
    next_look: u64,
}

/// Nodes whose messages arrive a millisecond later.
struct World {
    now: u64,
    nodes: Vec<Node>,
    topics: BTreeMap<String, BTreeSet<usize>>,
    received: u64,
    sent: u64,
    bytes: u64,
    /// Subscriptions that have begun or ended.
    changes: u64,
}

impl World {
    fn new() -> World {
        let mut topics: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let node = |at: usize| {
            let id = NodeId::numbered(FIRST + at as u64).expect("a node");
            topics.entry(Topic::Nodes.name()).or_default().insert(at);
            topics.entry(Topic::Node(id).name()).or_default().insert(at);
            let beat = Beat {
                name: format!("wharf-frankfurt-{at:03}").into(),
                version: "0.1.0".into(),
                started: BEGUN,
                connections: 100_000,
            };
            let exchange = Exchange::new(id, beat, 5_000, BEGUN);
            Node { exchange, members: Members::default(), next_look: 0 }
        };
        let nodes = (0..NODES).map(node).collect();
        World { now: BEGUN, nodes, topics, received: 0, sent: 0, bytes: 0, changes: 0 }
    }

    fn act(&mut self, at: usize) -> Vec<(String, bytes::Bytes)> {
        let mut messages = Vec::new();
        loop {
            let acts = self.nodes[at].exchange.take_acts();
            if acts.is_empty() {
                return messages;
            }
            for act in acts {
                match act {
                    Act::Publish(topic, message) => messages.push((topic.name(), message)),
                    Act::Open(group) => {
                        self.changes += 1;
                        let topic = Topic::Group(group.clone()).name();
                        self.topics.entry(topic).or_default().insert(at);
                        self.nodes[at].exchange.parts.subscribed(&group);
                    }
                    Act::Close(group) => {
                        self.changes += 1;
                        let topic = Topic::Group(group).name();
                        if let Some(nodes) = self.topics.get_mut(&topic) {
                            nodes.remove(&at);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Has the engine take messages and send them, until no node has another one to say.
    fn exchange(&mut self, mut messages: Vec<(String, bytes::Bytes)>) {
        while let Some((topic, message)) = messages.pop() {
            self.received += 1;
            let nodes = self.topics.get(&topic).cloned().unwrap_or_default();
            self.sent += nodes.len() as u64;
            self.bytes += (nodes.len() * message.len()) as u64;
            for at in nodes {
                let node = &mut self.nodes[at];
                if let Ok((from, content)) = wharf_node::wire::Message::read(&message)
                    && from.number() != FIRST + at as u64
                {
                    node.exchange.heard(from, content, self.now, &node.members);
                    node.next_look = 0;
                }
                messages.extend(self.act(at));
            }
        }
    }

    fn change(&mut self, at: usize, group: &Group, connection: u64, comes: bool) {
        let (node, now) = (&mut self.nodes[at], self.now);
        let members = node.members.0.entry(group.clone()).or_default();
        if comes {
            members.insert(connection);
            if members.len() == 1 {
                node.exchange.parts.opened(group, now);
            }
        } else {
            members.remove(&connection);
        }
        node.exchange.parts.changed(group, connection, !comes, now);
        if node.members.count(group) == 0 {
            node.exchange.parts.closed(group, &node.members);
        } else {
            node.exchange.parts.counted(group, now);
        }
        node.next_look = 0;
        let messages = self.act(at);
        self.exchange(messages);
    }

    fn look(&mut self) {
        for at in 0..NODES {
            let (node, now) = (&mut self.nodes[at], self.now);
            if node.next_look <= now {
                node.exchange.look(now, &node.members);
                node.next_look = node.exchange.next_look();
                let messages = self.act(at);
                self.exchange(messages);
            }
        }
    }
}

#[test]
fn the_model_says_what_nodes_do() {
    let (mut world, dice) = (World::new(), Dice::new(7));
    let group =
        |room: u64| Group::room(&Arc::from("community"), &Arc::from(format!("room-{room:07}")));
    let mut places: Vec<(u64, usize, u64)> = Vec::new();
    for connection in CONNECTIONS..CONNECTIONS + ROOMS * SIZE {
        let (room, at) = (connection % ROOMS, dice.below(NODES as u64) as usize);
        world.change(at, &group(room), connection, true);
        places.push((room, at, connection));
    }
    // One of them goes and comes back elsewhere, now and then.
    let pause = STAY / (ROOMS * SIZE);
    let mut next = CONNECTIONS + ROOMS * SIZE;
    while world.now < BEGUN + WARM_UP + COUNTED {
        if world.now == BEGUN + WARM_UP {
            (world.received, world.sent, world.bytes, world.changes) = (0, 0, 0, 0);
        }
        if dice.one_in(pause) {
            let one = dice.below(places.len() as u64) as usize;
            let (room, at, connection) = places[one];
            world.change(at, &group(room), connection, false);
            let at = dice.below(NODES as u64) as usize;
            world.change(at, &group(room), next, true);
            places[one] = (room, at, next);
            next += 1;
        }
        world.look();
        world.now += 1;
    }
    let rooms = Kind {
        name: "rooms",
        is_user: false,
        size: SIZE as f64,
        memberships: 1.0,
        broadcasts: 0.0,
        has_history: false,
    };
    let costs = model::costs(&Load {
        nodes: NODES as f64,
        connections: (ROOMS * SIZE) as f64,
        stay: STAY as f64 / 1000.0,
        payload: 0,
        node_timeout: 5.0,
        kinds: vec![rooms],
    });
    let seconds = COUNTED as f64 / 1000.0;
    let topics: usize = world.topics.values().map(BTreeSet::len).sum();
    for (what, counted, expected) in [
        ("messages in", world.received as f64 / seconds, costs.received()),
        ("messages out", world.sent as f64 / seconds, costs.sent()),
        ("bytes out", world.bytes as f64 / seconds, costs.bytes()),
        ("subscriptions", topics as f64 / NODES as f64, costs.subscriptions),
        ("changes of them", world.changes as f64 / NODES as f64 / seconds, costs.changes),
        ("time of a comparison", COMPARING as f64 / 1000.0, costs.comparing),
    ] {
        let ratio = counted / expected;
        let flows = costs.flows.iter();
        let flows: Vec<_> =
            flows.map(|it| format!("{}: {:.1}, {:.1}", it.name, it.received, it.sent)).collect();
        assert!((0.9..1.1).contains(&ratio), "{what}: {counted:.1}, not {expected:.1}; {flows:?}");
    }
}
