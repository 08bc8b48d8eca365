//! Nodes that deploy code, in one thread, with a simulated engine and clock: coordinators and others are killed at any
//! moment, nodes come, links are cut, messages vanish, and two deploy at once. No node ever runs code that was not
//! committed, nothing is committed that a node has refused, and in the end all run the same.
//!
//! `WHARF_SIMULATION_RUNS` is the number of runs, 200 by default. `WHARF_SIMULATION_SEED` is the seed of the first
//! one; a failure names its own.

mod dice;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use wharf_hub::connection_id::NodeId;
use wharf_node::deploy::coordinator::Outcome;
use wharf_node::deploy::participant::LOOK_SOON;
use wharf_node::deploy::{Act, Coordinator, Participant, Table, Version};
use wharf_node::wire::{Report, Step, Try};

use dice::Dice;

const NODES: usize = 3;
const CHANNELS: u64 = 2;
/// Time between two steps.
const STEP: u64 = 5;
/// Longest trial of good code.
const TRIAL: u64 = 3_000;
/// Time for which a coordinator waits for all trials.
const PATIENCE: u64 = 8_000;
/// Time after which a silent node is known to be gone.
const TIMEOUT: u64 = 2_000;

enum Said {
    Step(Step),
    /// The answer to a step of a deployment.
    Report(u64, Report),
}

/// A deployment that a node coordinates.
struct Running {
    asked: Try,
    base: Table,
    trials: Coordinator,
}

struct Node {
    id: NodeId,
    participant: Participant,
    /// Trials that go on here, with their ends.
    trying: Vec<(u64, Try)>,
    /// The deployment whose code is held ready.
    held: Option<u64>,
    running: Option<Running>,
    /// The code that serves, by the channel.
    serving: BTreeMap<String, String>,
    started: u64,
    cut_since: Option<u64>,
    is_dead: bool,
}

struct World {
    dice: Dice,
    now: u64,
    nodes: Vec<Node>,
    last_node: u64,
    last_deploy: u64,
    table: Option<Table>,
    /// Code that was ever committed, by the channel.
    committed: BTreeSet<(String, String)>,
    messages: VecDeque<(u64, NodeId, NodeId, Said)>,
    loses: bool,
    /// Time of the last commitment.
    committed_at: Option<u64>,
    /// Commitments that another deployment has forestalled.
    overtaken: u64,
}

/// Returns true if a node takes code: one in six is bad, on one of the nodes or on all.
fn is_good(sha256: &str, place: usize) -> bool {
    let number: u64 = sha256.parse().expect("a number");
    let is_good_elsewhere =
        !number.is_multiple_of(12) && number / 12 % NODES as u64 != place as u64;
    !number.is_multiple_of(6) || is_good_elsewhere
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            dice: Dice::new(seed),
            now: 1_000_000,
            nodes: Vec::new(),
            last_node: 0,
            last_deploy: 0,
            table: None,
            committed: BTreeSet::new(),
            messages: VecDeque::new(),
            loses: false,
            committed_at: None,
            overtaken: 0,
        };
        for _ in 0..NODES {
            let node = world.start();
            world.nodes.push(node);
        }
        world
    }

    fn start(&mut self) -> Node {
        self.last_node += 1;
        Node {
            id: NodeId::numbered(self.last_node).expect("a node"),
            participant: Participant::new(self.now),
            trying: Vec::new(),
            held: None,
            running: None,
            serving: BTreeMap::new(),
            started: self.now,
            cut_since: None,
            is_dead: false,
        }
    }

    /// Returns the nodes that others believe to be there.
    fn present(&self) -> BTreeSet<NodeId> {
        let now = self.now;
        let is_silent = |node: &Node| node.cut_since.is_some_and(|since| now - since > TIMEOUT);
        let there = self.nodes.iter().filter(|node| !node.is_dead && !is_silent(node));
        there.map(|node| node.id).collect()
    }

    fn send(&mut self, from: NodeId, to: NodeId, said: Said) {
        if self.loses && self.dice.one_in(10) {
            return;
        }
        let at = self.now + 1 + self.dice.below(30);
        self.messages.push_back((at, from, to, said));
    }

    /// Begins a deployment on a node.
    fn deploy(&mut self, at: usize) {
        let node = &self.nodes[at];
        if node.is_dead || node.running.is_some() || node.cut_since.is_some() {
            return;
        }
        self.last_deploy += 1;
        let channel = format!("channel {}", self.dice.below(CHANNELS));
        let sha256 = self.last_deploy.to_string();
        let asked = Try { deploy: self.last_deploy, channel, sha256, bytes: 1 };
        let base = self.table.clone().unwrap_or_default();
        let trials = Coordinator::new(self.now, PATIENCE);
        self.nodes[at].running = Some(Running { asked, base, trials });
    }

    /// Takes a channel out of the table. Nobody has to try anything for it.
    fn withdraw(&mut self) {
        let channel = format!("channel {}", self.dice.below(CHANNELS));
        let table = self.table.clone().unwrap_or_default().without(&channel);
        self.table = table.ok().or(self.table.take());
    }

    fn coordinate(&mut self, at: usize) {
        let (now, present, own) = (self.now, self.present(), self.nodes[at].id);
        let Some(mut running) = self.nodes[at].running.take() else { return };
        // A node that is cut off sees the others go.
        let present = if self.nodes[at].cut_since.is_some() { [own].into() } else { present };
        running.trials.present(&present, now);
        for to in running.trials.to_ask(now) {
            match to == own {
                true => {
                    let report = self.asked(at, &running.asked);
                    running.trials.heard(own, &report, now);
                }
                false => self.send(own, to, Said::Step(Step::Try(running.asked.clone()))),
            }
        }
        let Some(outcome) = running.trials.outcome(now) else {
            self.nodes[at].running = Some(running);
            return;
        };
        let is_committed = outcome == Outcome::Ready && self.commit(at, &running);
        for to in present {
            let step = match is_committed {
                true => Step::Look { number: 0, channel: running.asked.channel.clone() },
                false => Step::Forget { deploy: running.asked.deploy },
            };
            match to == own {
                true => self.stepped(at, own, step),
                false => self.send(own, to, Said::Step(step)),
            }
        }
    }

    /// Replaces the table, unless it has changed since the deployment began.
    fn commit(&mut self, at: usize, running: &Running) -> bool {
        if self.nodes[at].cut_since.is_some() {
            return false;
        }
        if self.table.clone().unwrap_or_default().number != running.base.number {
            self.overtaken += 1;
            return false;
        }
        let sha256 = running.asked.sha256.clone();
        for (place, node) in self.nodes.iter().enumerate() {
            let was_asked = running.trials.standings().any(|(id, _)| id == node.id);
            assert!(!was_asked || is_good(&sha256, place), "{sha256} was refused by node {place}");
            let is_old = !node.is_dead && node.started < self.now && node.cut_since.is_none();
            assert!(!is_old || was_asked, "node {place} was not asked for {sha256}");
        }
        let version = Version {
            sha256: sha256.clone(),
            bytes: 1,
            at_ms: self.now,
            by: String::new(),
            node: String::new(),
        };
        let table = running.base.with(&running.asked.channel, version).expect("there is room");
        self.table = Some(table);
        self.committed.insert((running.asked.channel.clone(), sha256));
        self.committed_at = Some(self.now);
        // It may end before it tells anybody.
        if self.dice.one_in(4) {
            self.nodes[at].is_dead = true;
        }
        true
    }

    fn asked(&mut self, at: usize, asked: &Try) -> Report {
        let (report, act) = self.nodes[at].participant.asked(asked, self.now);
        if let Some(Act::Try(asked)) = act {
            let ends = self.now + 1 + self.dice.below(TRIAL);
            self.nodes[at].trying.push((ends, asked));
        }
        report
    }

    fn stepped(&mut self, at: usize, from: NodeId, step: Step) {
        if self.nodes[at].is_dead {
            return;
        }
        match step {
            Step::Try(asked) => {
                let report = self.asked(at, &asked);
                let own = self.nodes[at].id;
                self.send(own, from, Said::Report(asked.deploy, report));
            }
            Step::Forget { deploy } => {
                let act = self.nodes[at].participant.forget(deploy);
                self.forgotten(at, act);
            }
            Step::Look { .. } => self.look(at),
        }
    }

    fn forgotten(&mut self, at: usize, act: Option<Act>) {
        if let Some(Act::Forget { deploy }) = act {
            let node = &mut self.nodes[at];
            node.trying.retain(|(_, asked)| asked.deploy != deploy);
            node.held = node.held.filter(|held| *held != deploy);
        }
    }

    /// Looks at the table, and runs what it says.
    fn look(&mut self, at: usize) {
        let (now, table) = (self.now, self.table.clone());
        let node = &mut self.nodes[at];
        if node.cut_since.is_some() {
            return;
        }
        for act in node.participant.saw(table, now) {
            match act {
                Act::Serve { channel, sha256 } => {
                    let is_held = node.participant.ready(&channel, &sha256);
                    assert!(is_held.is_none() || is_held == node.held, "it is held");
                    if is_held.is_some() || is_good(&sha256, at) {
                        node.serving.insert(channel.clone(), sha256.clone());
                    }
                    node.participant.settled(&channel, &sha256);
                }
                Act::Withdraw { channel } => {
                    node.serving.remove(&channel);
                    node.participant.withdrawn(&channel);
                }
                other => panic!("it is no answer to a look: {other:?}"),
            }
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        let mut due = Vec::new();
        for _ in 0..self.messages.len() {
            let Some(message) = self.messages.pop_front() else { break };
            if message.0 <= now { due.push(message) } else { self.messages.push_back(message) }
        }
        for (_, from, to, said) in due {
            let is_cut = |node: &Node| node.cut_since.is_some();
            let is_lost =
                self.nodes.iter().any(|node| [from, to].contains(&node.id) && is_cut(node));
            let Some(at) = self.nodes.iter().position(|node| node.id == to) else { continue };
            if is_lost || self.nodes[at].is_dead {
                continue;
            }
            match said {
                Said::Step(step) => self.stepped(at, from, step),
                Said::Report(deploy, report) => {
                    if let Some(running) = &mut self.nodes[at].running
                        && running.asked.deploy == deploy
                    {
                        running.trials.heard(from, &report, now);
                    }
                }
            }
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_dead {
                continue;
            }
            let node = &mut self.nodes[at];
            let (ended, goes_on): (Vec<_>, Vec<_>) =
                node.trying.drain(..).partition(|(ends, _)| *ends <= now);
            node.trying = goes_on;
            for (_, asked) in ended {
                let result = match is_good(&asked.sha256, at) {
                    true => Ok(()),
                    false => Err("it is bad".to_owned()),
                };
                if node.participant.tried(asked.deploy, result) {
                    node.held = Some(asked.deploy);
                }
            }
            let act = node.participant.look(now);
            self.forgotten(at, act);
            self.coordinate(at);
            if !self.nodes[at].is_dead && self.nodes[at].participant.next_look() <= now {
                self.look(at);
            }
        }
        for node in &self.nodes {
            for (channel, sha256) in &node.serving {
                let code = (channel.clone(), sha256.clone());
                assert!(self.committed.contains(&code), "{code:?} was not committed");
            }
        }
    }

    fn run(&mut self, time: u64) {
        for _ in 0..time / STEP {
            self.step();
        }
    }

    /// Does something at random.
    fn disturb(&mut self) {
        let at = self.dice.below(self.nodes.len() as u64) as usize;
        match self.dice.below(16) {
            0..=6 => self.deploy(at),
            7 | 8 => {
                // Two at once.
                self.deploy(at);
                self.deploy((at + 1) % NODES);
            }
            9 => self.nodes[at].is_dead = true,
            10 | 11 => self.restart(),
            12 => {
                let now = self.now;
                self.nodes[at].cut_since.get_or_insert(now);
            }
            13 => self.nodes[at].cut_since = None,
            14 => self.withdraw(),
            _ => self.loses = self.dice.one_in(3),
        }
    }

    /// Starts another node in the place of each that is dead.
    fn restart(&mut self) {
        for at in 0..NODES {
            if self.nodes[at].is_dead {
                self.nodes[at] = self.start();
            }
        }
    }

    fn check(&self) {
        let table = self.table.clone().unwrap_or_default();
        for (place, node) in self.nodes.iter().enumerate() {
            assert_eq!(*node.participant.table(), table, "node {place} knows the table");
            let held = node.participant.clone().look(u64::MAX);
            assert_eq!(held, None, "node {place} holds nothing");
            let is_deployed = |channel: &String| table.channels.contains_key(channel);
            assert!(node.serving.keys().all(is_deployed), "node {place}: {:?}", node.serving);
            for (channel, deployed) in &table.channels {
                let sha256 = &deployed.current.sha256;
                let serves = node.serving.get(channel) == Some(sha256);
                assert!(serves || !is_good(sha256, place), "node {place}: {channel} {sha256}");
            }
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs a simulation for each of many seeds. A failure names its seed.
fn with_seeds(simulate: impl Fn(u64) -> World) -> Vec<World> {
    struct Told(u64);
    impl Drop for Told {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("WHARF_SIMULATION_SEED={}", self.0);
            }
        }
    }
    let runs = number("WHARF_SIMULATION_RUNS").unwrap_or(200);
    let first = number("WHARF_SIMULATION_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let seeds = (0..runs).map(|run| first.wrapping_add(run));
    let run = |seed| {
        let _told = Told(seed);
        simulate(seed)
    };
    seeds.map(run).collect()
}

#[test]
fn whatever_happens_no_node_runs_code_that_another_has_refused_and_all_run_the_same_soon() {
    let worlds = with_seeds(|seed| {
        let mut world = World::new(seed);
        for _ in 0..world.dice.below(40) {
            let time = world.dice.below(2_500);
            world.run(time);
            world.disturb();
        }
        world.loses = false;
        world.nodes.iter_mut().for_each(|node| node.cut_since = None);
        world.restart();
        world.run(PATIENCE + 20_000);
        // A coordinator may have died with its commitment.
        world.restart();
        world.run(20_000);
        world.check();
        world
    });
    let committed: usize = worlds.iter().map(|world| world.committed.len()).sum();
    let overtaken: u64 = worlds.iter().map(|world| world.overtaken).sum();
    if worlds.len() >= 100 {
        assert!(committed > worlds.len() && overtaken > 0, "{committed} {overtaken}");
    }
}

#[test]
fn all_nodes_swap_within_a_second_also_if_the_coordinator_ends_after_the_commitment() {
    with_seeds(|seed| {
        let mut world = World::new(seed);
        world.run(100);
        let place = world.dice.below(NODES as u64) as usize;
        loop {
            world.deploy(place);
            let deadline = world.now + PATIENCE + 1_000;
            while world.committed_at.is_none() && world.now < deadline {
                world.step();
            }
            if world.committed_at.is_some() {
                break;
            }
        }
        world.run(LOOK_SOON + 100);
        let table = world.table.clone().expect("it is committed");
        for node in world.nodes.iter().filter(|node| !node.is_dead) {
            for (channel, deployed) in &table.channels {
                assert_eq!(node.serving.get(channel), Some(&deployed.current.sha256));
            }
        }
        world
    });
}
