//! The place that the nodes share.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::node::Node;
use crate::configuration::Limits;
use crate::deliveries::{Deliveries, Inbox};
use crate::engine::{LinkState, Status};
use crate::error::Unavailable;
use crate::logs::Position;
use crate::outbox::Outbox;
use crate::tables::keys::KeyTable;
use crate::tables::leases::LeaseTable;
use crate::tables::logs::LogTable;

/// The place that the nodes share. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Mutex<Shared>>);

/// The content of a server, and its nodes by their numbers.
pub(super) struct Shared {
    pub(super) keys: KeyTable,
    pub(super) logs: LogTable,
    pub(super) leases: LeaseTable,
    nodes: BTreeMap<u64, Attached>,
    last_node: u64,
    random: u64,
    start: Instant,
}

/// A node as the server sees it.
pub(super) struct Attached {
    name: String,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    topics: HashSet<Arc<str>>,
    is_cut: bool,
    delay: (Duration, Duration),
    /// Time at which the last message that is under way arrives: those after it come later.
    latest: Instant,
    interruptions: u64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.0.lock();
        let names = shared.nodes.values().map(|node| &node.name);
        f.debug_struct("Server").field("nodes", &names.collect::<Vec<_>>()).finish()
    }
}

impl Server {
    /// Makes an empty server. Its random numbers follow from the seed.
    pub fn new(seed: u64) -> Server {
        Server(Arc::new(Mutex::new(Shared {
            keys: KeyTable::default(),
            logs: LogTable::default(),
            leases: LeaseTable::default(),
            nodes: BTreeMap::new(),
            last_node: 0,
            random: seed,
            start: Instant::now(),
        })))
    }

    /// Attaches a node. Its name is for [`cut`](Server::cut) and [`delay`](Server::delay).
    pub fn node(&self, name: &str, limits: &Limits) -> (Node, Deliveries) {
        let (inbox, deliveries) = Inbox::new(limits.inbox_bytes);
        let outbox = Arc::new(Outbox::new(limits));
        let mut shared = self.0.lock();
        shared.last_node += 1;
        let number = shared.last_node;
        let attached = Attached {
            name: name.to_owned(),
            inbox: inbox.clone(),
            outbox: outbox.clone(),
            topics: HashSet::new(),
            is_cut: false,
            delay: (Duration::ZERO, Duration::ZERO),
            latest: Instant::now(),
            interruptions: 0,
        };
        shared.nodes.insert(number, attached);
        (Node { server: self.clone(), number, inbox, outbox }, deliveries)
    }

    /// Cuts the links of the nodes with this name: what they ask is refused, and what is sent to them is lost.
    pub fn cut(&self, name: &str) {
        let mut shared = self.0.lock();
        for node in shared.nodes.values_mut().filter(|node| node.name == name && !node.is_cut) {
            node.is_cut = true;
            node.interruptions += 1;
            node.inbox.interrupt(Instant::now());
        }
    }

    /// Mends links that were cut: waiting messages are sent, unless they are too old.
    pub fn mend(&self, name: &str) {
        let mut shared = self.0.lock();
        let mut mended = Vec::new();
        for (number, node) in &mut shared.nodes {
            if node.name == name && node.is_cut {
                node.is_cut = false;
                node.inbox.restore();
                mended.push(*number);
            }
        }
        for number in mended {
            shared.send_waiting(number);
        }
    }

    /// Delays what the nodes with this name ask and receive, by a random time between two: once on the way there, and
    /// once on the way back. A step whose answer does not come back because the link was cut is done nevertheless.
    pub fn delay(&self, name: &str, least: Duration, most: Duration) {
        let mut shared = self.0.lock();
        for node in shared.nodes.values_mut().filter(|node| node.name == name) {
            node.delay = (least, most.max(least));
        }
    }

    /// Does a step in the name of a node, after the delay of its link.
    pub(super) async fn step<T>(
        &self,
        number: u64,
        step: impl FnOnce(&mut Shared, u64) -> T,
    ) -> Result<T, Unavailable> {
        self.travel(number).await?;
        let answer = {
            let mut shared = self.0.lock();
            shared.sweep();
            let now = shared.now();
            step(&mut shared, now)
        };
        self.travel(number).await?;
        Ok(answer)
    }

    /// Does something with the server at once.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Shared) -> T) -> T {
        step(&mut self.0.lock())
    }

    async fn travel(&self, number: u64) -> Result<(), Unavailable> {
        let delay = self.0.lock().delay(number)?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            self.0.lock().delay(number)?;
        }
        Ok(())
    }
}

impl Shared {
    /// Returns the milliseconds since the server was made.
    fn now(&self) -> u64 {
        crate::tables::milliseconds(Instant::now().saturating_duration_since(self.start))
    }

    /// Returns a random number that is not 0.
    pub(super) fn random(&mut self) -> u64 {
        // The generator splitmix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).max(1)
    }

    /// Returns a delay of a node's link.
    fn delay(&mut self, number: u64) -> Result<Duration, Unavailable> {
        let random = self.random();
        match self.nodes.get(&number) {
            None => Err(Unavailable::closed()),
            Some(node) if node.is_cut => Err(Unavailable::link_lost()),
            Some(node) => Ok(node.draw(random)),
        }
    }

    /// Sends the waiting messages of a node, if its link stands.
    pub(super) fn send_waiting(&mut self, number: u64) {
        let Some(node) = self.nodes.get(&number).filter(|node| !node.is_cut) else { return };
        let outbox = node.outbox.clone();
        loop {
            let batch = outbox.take();
            if batch.is_empty() {
                return;
            }
            for message in batch {
                self.publish(&message.topic, &message.message, None);
            }
        }
    }

    /// Sends a message to all nodes that subscribe to its topic.
    pub(super) fn publish(&mut self, topic: &str, message: &Bytes, position: Option<Position>) {
        let numbers: Vec<u64> = self.nodes.keys().copied().collect();
        for number in numbers {
            let random = self.random();
            let Some(node) = self.nodes.get_mut(&number) else { continue };
            if let Some(topic) = node.topics.get(topic).filter(|_| !node.is_cut) {
                let delay = node.draw(random);
                let due = (!delay.is_zero()).then(|| (Instant::now() + delay).max(node.latest));
                node.latest = due.unwrap_or(node.latest);
                node.inbox.message(topic.clone(), message.clone(), position, due);
            }
        }
    }

    pub(super) fn subscribe(&mut self, number: u64, topics: &[String]) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.topics.extend(topics.iter().map(|topic| Arc::from(topic.as_str())));
        }
    }

    pub(super) fn unsubscribe(&mut self, number: u64, topics: &[String]) {
        if let Some(node) = self.nodes.get_mut(&number) {
            topics.iter().for_each(|topic| drop(node.topics.take(topic.as_str())));
        }
    }

    pub(super) fn detach(&mut self, number: u64) {
        if let Some(node) = self.nodes.remove(&number) {
            node.outbox.close();
            node.inbox.end();
        }
    }

    pub(super) fn status(&self, number: u64) -> Option<Status> {
        let node = self.nodes.get(&number)?;
        let (published, dropped, waiting_bytes) = node.outbox.counters();
        let (received, overrun) = node.inbox.counters();
        Some(Status {
            engine: "memory",
            server: "the memory of this process".to_owned(),
            link: match node.is_cut {
                true => LinkState::Down(Unavailable::link_lost()),
                false => LinkState::Up,
            },
            interruptions: node.interruptions,
            published,
            dropped,
            waiting_bytes,
            received,
            overrun,
            topics: node.topics.len(),
            round_trip: None,
        })
    }

    fn sweep(&mut self) {
        let now = self.now();
        for key in self.keys.expired(now) {
            self.keys.replace(&key, None);
        }
        for name in self.logs.ended(now, "") {
            self.logs.remove(&name);
        }
        self.leases.sweep(now);
    }
}

impl Attached {
    fn draw(&self, random: u64) -> Duration {
        let (least, most) = self.delay;
        let span = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
        least + Duration::from_nanos(random % span.saturating_add(1).max(1))
    }
}
