//! The traffic of a cluster in numbers: expected values, for connections that a balancer spreads over the nodes at random.

use wharf_hub::connection_id::NodeId;
use wharf_node::parts::{COMPARED_AT_ONCE, COMPARING, GATHERING, ROUND};
use wharf_node::wire::{Beat, Content, Entry, FrameFor, GroupName, Message, News, Place, To};

/// Signs of life of a node in the time after which it is gone.
const BEATS: f64 = 5.0;

/// Milliseconds of a second.
const SECOND: f64 = 1000.0;

/// Rooms of one kind, or users.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Name of the kind.
    pub name: &'static str,
    /// True for users, who are in no presence list.
    pub is_user: bool,
    /// Members of each; connections of each user.
    pub size: f64,
    /// Groups of this kind of which each connection is a member.
    pub memberships: f64,
    /// Broadcasts to each group in a second.
    pub broadcasts: f64,
    /// True if the rooms keep messages. A broadcast is an append then.
    pub has_history: bool,
}

/// The load of a cluster.
#[derive(Clone, Debug)]
pub struct Load {
    /// Nodes.
    pub nodes: f64,
    /// Connections.
    pub connections: f64,
    /// Time for which a connection stays, in seconds.
    pub stay: f64,
    /// Payload of a broadcast, in bytes.
    pub payload: usize,
    /// Time after which a silent node is gone, in seconds.
    pub node_timeout: f64,
    /// Rooms and users.
    pub kinds: Vec<Kind>,
}

/// Messages of one cause, in a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Cause.
    pub name: String,
    /// Messages that the engine gets.
    pub received: f64,
    /// Messages that it sends to nodes.
    pub sent: f64,
    /// Bytes of one message.
    pub size: f64,
}

/// The costs of a load.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Messages, by their cause.
    pub flows: Vec<Flow>,
    /// Topics to which each node subscribes.
    pub subscriptions: f64,
    /// Subscriptions that each node begins or ends in a second.
    pub changes: f64,
    /// Time in which a node compares all of its groups once, in seconds.
    pub comparing: f64,
}

impl Costs {
    /// Returns the messages that the engine gets in a second.
    pub fn received(&self) -> f64 {
        self.flows.iter().map(|flow| flow.received).sum()
    }

    /// Returns the messages that the engine sends in a second.
    pub fn sent(&self) -> f64 {
        self.flows.iter().map(|flow| flow.sent).sum()
    }

    /// Returns the bytes that the engine sends in a second.
    pub fn bytes(&self) -> f64 {
        self.flows.iter().map(|flow| flow.sent * flow.size).sum()
    }
}

/// Returns the number of nodes on which a group of this size has connections.
pub fn spread(nodes: f64, size: f64) -> f64 {
    nodes * (1.0 - (1.0 - 1.0 / nodes).powf(size))
}

/// Returns the costs of a load.
pub fn costs(load: &Load) -> Costs {
    let nodes = load.nodes;
    let flow = |name: String, received: f64, sent: f64, size: usize| Flow {
        name,
        received,
        sent,
        size: size as f64,
    };
    let beats = nodes * BEATS / load.node_timeout;
    let mut flows = vec![flow("signs of life".to_owned(), beats, beats * nodes, beat())];
    let groups_of = |kind: &Kind| load.connections * kind.memberships / kind.size;
    let parts: f64 = load.kinds.iter().map(|kind| groups_of(kind) * spread(nodes, kind.size)).sum();
    // Parts in groups in which other nodes have a part as well: only those are compared.
    let shared = |kind: &Kind| {
        groups_of(kind) * (spread(nodes, kind.size) - nodes.powf(1.0 - kind.size)).max(0.0)
    };
    let compared: f64 = load.kinds.iter().map(shared).sum::<f64>() / nodes;
    let at_once = COMPARED_AT_ONCE as f64 / (ROUND as f64 / SECOND);
    let comparing = (COMPARING as f64 / SECOND).max(compared / at_once);
    let mut changes = 0.0;
    for kind in &load.kinds {
        let (groups, on) = (groups_of(kind), spread(nodes, kind.size));
        let name = |what: &str| format!("{}: {what}", kind.name);
        // Nodes with a part hear a message to the group, also the one that has sent it.
        let broadcasts = groups * kind.broadcasts;
        flows.push(flow(name("broadcasts"), broadcasts, broadcasts * on, frame(load.payload)));
        // The first connection of a group on a node opens a part, and the last one closes it: the node tells so, asks, and
        // each other one answers.
        let alone = (1.0 - 1.0 / nodes).powf(kind.size - 1.0);
        let opened = groups * kind.size / load.stay * alone;
        let told = 2.0 * opened;
        flows.push(flow(name("parts that begin and end"), told, told * on, news(kind, 1.0)));
        flows.push(flow(name("questions for parts"), opened, opened * on, ask()));
        let answers = opened * (on - 1.0).max(0.0);
        flows.push(flow(name("answers"), answers, answers, news(kind, kind.size / on)));
        changes += 2.0 * opened / nodes;
        // Other joins and leaves are gathered by each node.
        let rate = (groups * 2.0 * kind.size / load.stay - 2.0 * opened).max(0.0) / (groups * on);
        let window = GATHERING as f64 / SECOND;
        // The first change opens a window, and those in it are told together.
        let messages = rate / (1.0 + rate * window);
        let counted = messages * groups * on;
        let entries = (rate / messages.max(f64::MIN_POSITIVE)).max(1.0);
        flows.push(flow(name("counts and presence"), counted, counted * on, news(kind, entries)));
        // A part of which no other node knows yet is compared for the time of two comparisons.
        let young = if kind.size > 1.0 { 0.0 } else { 2.0 * opened * COMPARING as f64 / SECOND };
        let compared = (shared(kind) + young) / comparing;
        flows.push(flow(name("comparisons"), compared, compared * on, news(kind, 0.0)));
    }
    flows.retain(|flow| flow.received > 0.0);
    let logs = load.kinds.iter().filter(|kind| kind.has_history);
    let logs: f64 = logs.map(|kind| groups_of(kind) * spread(nodes, kind.size)).sum();
    Costs { flows, subscriptions: (parts + logs) / nodes + 3.0, changes, comparing }
}

fn name() -> GroupName<'static> {
    GroupName { channel: "community".into(), is_user: false, name: "room-0123456".into() }
}

fn size_of(content: Content<'_>) -> usize {
    let from = NodeId::numbered(1 << 47).map(|from| Message::new(from, content).encode());
    from.map_or(0, |bytes| bytes.len())
}

fn beat() -> usize {
    let beat = Beat {
        name: "wharf-frankfurt-042".into(),
        version: "0.1.0".into(),
        started: 1 << 40,
        connections: 100_000,
    };
    size_of(Content::Beat(beat))
}

fn frame(payload: usize) -> usize {
    let payload = vec![b'x'; payload];
    let to = To {
        rooms: vec!["room-0123456".into()],
        except: vec![(1 << 47, 1 << 20)],
        ..To::default()
    };
    let frame = FrameFor {
        channel: "community".into(),
        to,
        is_binary: false,
        once: None,
        payload: &payload,
    };
    size_of(Content::Frame(frame))
}

/// Returns the size of a message about so many members.
fn news(kind: &Kind, entries: f64) -> usize {
    let place = Place::Present { key: "user-0123456".into(), meta: "{\"at\":1795827000}".into() };
    let entry = Entry { connection: 100_000, place };
    let entries = if kind.is_user { 0 } else { entries.round() as usize };
    size_of(Content::News(News {
        group: name(),
        part: 1 << 40,
        number: 1000,
        count: 100,
        is_over: false,
        entries: vec![entry; entries],
    }))
}

fn ask() -> usize {
    size_of(Content::Ask(vec![name()]))
}
