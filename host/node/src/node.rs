//! A running node.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wharf_cluster::{Deliveries, Engine};
use wharf_hub::connection_id::{ConnectionId, NodeId};
use wharf_hub::hub::Channels;
use wharf_hub::inbox::InboxLimits;

use crate::adoption;
use crate::exchange::Exchange;
use crate::histories::{self, Following};
use crate::hubs::Hubs;
use crate::latch::Latch;
use crate::listings::Listings;
use crate::membership::{Change, Why};
use crate::owners::RoomOwners;
use crate::parts::Act;
use crate::receiver::{self, ChannelQueue};
use crate::requests::Requests;
use crate::returned_posts::{self, Returned};
use crate::room_posts::Outcomes;
use crate::session::Sessions;
use crate::subscriber::Subscriber;
use crate::topics::{Group, Topic};
use crate::wire::{Beat, Content, Message};

/// Time between two warnings about messages that could not be published, or read.
const WARNING_PAUSE: u64 = 1000;

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the node, unique in its cluster.
    pub name: String,
    /// Version of the host.
    pub version: String,
    /// Time at which the host has started, in milliseconds since 1970.
    pub started: u64,
    /// Time after which a silent node is gone.
    pub timeout: Duration,
    /// Bounds of the inboxes of connections, for notices of other nodes.
    pub inbox: InboxLimits,
    /// Bounds of the inboxes of rooms, for events from other nodes.
    pub room_inbox: InboxLimits,
    /// Rooms of a channel that may have data.
    pub max_rooms: usize,
}

/// A running node. Dropping it ends its tasks, and the other nodes find out in time; [`stop`](Node::stop) tells them.
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
}

pub(crate) struct Shared {
    pub(crate) own: NodeId,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) hubs: Arc<Channels>,
    pub(crate) settings: Settings,
    begun: Instant,
    pub(crate) exchange: Mutex<Exchange>,
    /// Groups whose connections, or entries in a presence list, have changed.
    touched: Mutex<HashMap<Group, BTreeMap<u64, bool>>>,
    pub(crate) wake: Notify,
    subscriber: Subscriber,
    /// Groups whose topic is wanted: `None` once it is subscribed to, otherwise those who wait for it.
    opening: Mutex<HashMap<Group, Option<Latch>>>,
    /// Those who wait for the connections of others in a group.
    pub(crate) listings: Mutex<Listings>,
    /// Requests to other nodes, and the port that answers theirs.
    pub(crate) requests: Requests,
    /// Those who wait for the count of a group.
    counting: Mutex<HashMap<Group, Latch>>,
    /// The logs of rooms that this node follows.
    pub(crate) following: Following,
    /// The receivers of the channels in service.
    channels: Mutex<HashMap<Arc<str>, Served>>,
    sessions: Arc<Sessions>,
    /// The posters that wait for events which run elsewhere.
    pub(crate) outcomes: Outcomes,
    /// Events and timers for rooms of channels without a plugin here, on their way back.
    pub(crate) returned: Returned,
    /// Notified when rooms may have lost their owner.
    pub(crate) orphaned: Notify,
    refused: AtomicU64,
    unpublished: AtomicU64,
    unreadable: AtomicU64,
    warned_at: AtomicU64,
    /// True once another node had the name of this one.
    was_taken: AtomicBool,
}

/// A channel in service. One that is removed and comes back may be there twice for a moment.
struct Served {
    users: usize,
    queue: ChannelQueue,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.shared.own).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node. `hubs` has the channels in service.
    pub fn start(
        engine: Arc<dyn Engine>,
        deliveries: Deliveries,
        hubs: Arc<Channels>,
        settings: Settings,
    ) -> Arc<Node> {
        let own = NodeId::local();
        let beat = Beat {
            name: Cow::Owned(settings.name.clone()),
            version: Cow::Owned(settings.version.clone()),
            started: settings.started,
            connections: 0,
        };
        let timeout = u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX);
        let sessions = Arc::new(Sessions::new(engine.clone(), own, settings.timeout));
        let (returned, to_return) = Returned::new();
        let shared = Arc::new(Shared {
            own,
            engine,
            hubs,
            settings,
            begun: Instant::now(),
            exchange: Mutex::new(Exchange::new(own, beat, timeout, 0)),
            touched: Mutex::default(),
            wake: Notify::new(),
            subscriber: Subscriber::default(),
            opening: Mutex::default(),
            listings: Mutex::default(),
            requests: Requests::default(),
            counting: Mutex::default(),
            following: Following::default(),
            channels: Mutex::default(),
            sessions,
            outcomes: Outcomes::default(),
            returned,
            orphaned: Notify::new(),
            refused: AtomicU64::new(0),
            unpublished: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            warned_at: AtomicU64::new(0),
            was_taken: AtomicBool::new(false),
        });
        shared.subscriber.open(Topic::Nodes);
        shared.subscriber.open(Topic::Node(own));
        let subscriptions = tokio::spawn({
            let shared = shared.clone();
            async move {
                let engine = shared.engine.clone();
                shared.subscriber.run(engine, |topics| shared.subscribed(&topics)).await;
            }
        });
        let receiving = tokio::spawn(receiver::run(shared.clone(), deliveries));
        let renewing = tokio::spawn({
            let sessions = shared.sessions.clone();
            async move {
                loop {
                    tokio::time::sleep(sessions.look().await).await;
                }
            }
        });
        let adopting = tokio::spawn(adoption::run(shared.clone()));
        let checking = tokio::spawn(histories::check(shared.clone()));
        let returning = tokio::spawn(returned_posts::run(shared.clone(), to_return));
        let tasks = vec![subscriptions, receiving, renewing, adopting, checking, returning];
        let tasks = Mutex::new(tasks);
        Arc::new(Node { shared, tasks })
    }

    /// Tells the other nodes that this one leaves, and ends its tasks.
    pub async fn stop(&self) {
        // The others take over its rooms as soon as they know that it is gone.
        self.shared.sessions.end().await;
        self.shared.look_with(|exchange, _| exchange.leave());
        self.shared.engine.close().await;
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// Returns the time since the start, in milliseconds; at least 1.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Returns the hub of a channel in service.
    pub(crate) fn hub(&self, channel: &str) -> Option<Arc<wharf_hub::hub::Hub>> {
        self.hubs.find(channel)
    }

    /// Publishes a message to other nodes. A message that cannot be queued is lost, as one of a lost link is.
    pub(crate) fn publish(&self, topic: &Topic, content: Content<'_>) {
        self.publish_encoded(topic, self.encoded(content));
    }

    /// Returns the bytes of a message of this node.
    pub(crate) fn encoded(&self, content: Content<'_>) -> Bytes {
        Message::new(self.own, content).encode()
    }

    /// Counts an event of another node for which there is no place.
    pub(crate) fn refused(&self, channel: &str, reason: &str) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if self.may_warn() {
            tracing::warn!(
                channel,
                reason,
                count,
                "an event of another host for a room is dropped"
            );
        }
    }

    /// Tells of rooms without a host that do not come to this one either.
    pub(crate) fn no_place_for_rooms(&self, channel: &str, rooms: usize) {
        if self.may_warn() {
            let max_room_states = self.settings.max_rooms;
            tracing::warn!(
                channel,
                rooms,
                max_room_states,
                "rooms have lost their host, and this one has no place for them; their timers stand still until one has"
            );
        }
    }

    /// Returns the owners of a channel's rooms.
    pub(crate) fn room_owners(&self, channel: &str) -> RoomOwners {
        RoomOwners::new(self.engine.clone(), self.sessions.clone(), self.own, channel)
    }

    /// Has the hub of a channel read the record of a room again.
    pub(crate) fn reread(&self, channel: &str, room: &str) {
        if let Some(hub) = self.hub(channel) {
            hub.reread(room);
        }
    }

    /// Returns the bounds of rooms' inboxes, and the number of rooms that may have data.
    pub(crate) fn room_limits(&self) -> (InboxLimits, usize) {
        (self.settings.room_inbox, self.settings.max_rooms)
    }

    /// Returns the number of the nodes before this one.
    pub(crate) fn turn(&self) -> u32 {
        let exchange = self.exchange.lock();
        let before = exchange.membership.nodes().filter(|(id, _)| *id < self.own).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Returns the channels in service.
    pub(crate) fn served(&self) -> Vec<Arc<str>> {
        self.channels.lock().keys().cloned().collect()
    }

    pub(crate) fn publish_encoded(&self, topic: &Topic, message: Bytes) {
        if let Err(why) = self.engine.publish(&topic.name(), message) {
            let lost = self.unpublished.fetch_add(1, Ordering::Relaxed) + 1;
            if self.may_warn() {
                let reason = why.to_string();
                tracing::warn!(reason, lost, "messages to other nodes are lost");
            }
        }
    }

    /// Counts a message that cannot be read.
    pub(crate) fn ignore(&self, why: &crate::wire::Unreadable) {
        let count = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        if self.may_warn() {
            tracing::warn!(reason = why.to_string(), count, "a message of another node is ignored");
        }
    }

    fn may_warn(&self) -> bool {
        let (now, last) = (self.now(), self.warned_at.load(Ordering::Relaxed));
        let is_due = last == 0 || now.saturating_sub(last) >= WARNING_PAUSE;
        is_due
            && self
                .warned_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Does something with the exchange, and then what it puts out, in its order.
    pub(crate) fn look_with<R>(&self, act: impl FnOnce(&mut Exchange, u64) -> R) -> R {
        let mut exchange = self.exchange.lock();
        let result = act(&mut exchange, self.now());
        self.perform(&mut exchange);
        result
    }

    /// Handles a content of another node that is not for connections.
    pub(crate) fn heard(&self, from: NodeId, content: Content<'_>) {
        let hubs = Hubs(&self.hubs);
        let mut exchange = self.exchange.lock();
        exchange.heard(from, content, self.now(), &hubs);
        self.perform(&mut exchange);
    }

    /// Gives a sign of life if one is due, while this node cannot listen. Returns the time until the next one.
    pub(crate) fn beat(&self) -> Duration {
        let mut exchange = self.exchange.lock();
        let now = self.now();
        exchange.beat(now);
        self.perform(&mut exchange);
        Duration::from_millis(exchange.membership.next_beat().saturating_sub(now).max(1))
    }

    /// Does what is due, and tells what has changed here. Returns the time until the next look.
    pub(crate) fn look(&self) -> Duration {
        let touched = std::mem::take(&mut *self.touched.lock());
        let hubs = Hubs(&self.hubs);
        let mut exchange = self.exchange.lock();
        let now = self.now();
        for (group, listed) in touched {
            let has_part = exchange.parts.has(&group);
            // Taken away before the count that decides: a connection that comes later than that count finds nothing
            // here, and is looked at again.
            let opening = self.opening.lock().remove(&group);
            let is_there = hubs.count(&group) > 0;
            if is_there && !has_part {
                exchange.parts.opened(&group, now);
            }
            for (connection, has_ended) in listed {
                exchange.parts.changed(&group, connection, has_ended, now);
            }
            if is_there {
                exchange.parts.counted(&group, now);
                self.keep_opening(group, opening);
                continue;
            }
            if has_part {
                exchange.parts.closed(&group, &hubs);
            }
            if let Some(Some(waiting)) = opening {
                waiting.open();
            }
        }
        exchange.count_connections(self.hubs.connection_count() as u64);
        exchange.look(now, &hubs);
        self.perform(&mut exchange);
        let is_taken = exchange.membership.is_name_taken();
        if is_taken && !self.was_taken.swap(is_taken, Ordering::Relaxed) {
            tracing::error!("{}", self.name_taken());
        }
        Duration::from_millis(exchange.next_look().saturating_sub(self.now()))
    }

    pub(crate) fn name_taken(&self) -> String {
        let name = &self.settings.name;
        format!(
            "another host of the cluster has the name {name}; give each a `node_name` of its own, and restart the older one"
        )
    }

    /// Tells the others everything, after a link that was lost is there again, and has the logs be checked.
    pub(crate) fn restored(&self) {
        for channel in self.served() {
            if let Some(hub) = self.hub(&channel) {
                hub.check_all_logs_soon();
            }
        }
        self.following.look_soon();
        let hubs = Hubs(&self.hubs);
        let mut exchange = self.exchange.lock();
        exchange.restored(self.now(), &hubs);
        self.perform(&mut exchange);
    }

    /// Does what the exchange has put out. It is still locked, so that others hear of it in this order.
    fn perform(&self, exchange: &mut Exchange) {
        loop {
            let acts = exchange.take_acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                match act {
                    Act::Publish(topic, message) => self.publish_encoded(&topic, message),
                    Act::Open(group) => self.subscriber.open(Topic::Group(group)),
                    Act::Close(group) => self.subscriber.close(Topic::Group(group)),
                    Act::List(group, node, number, listed) => {
                        if let Some(hub) = self.hubs.find(&group.channel) {
                            hub.list_here(&group.name, ConnectionId { node, number }, listed);
                        }
                    }
                    Act::Node(change) => {
                        if let Change::Gone { node, .. } = &change {
                            self.listings.lock().gone(*node);
                            self.orphaned.notify_one();
                            self.requests.gone(*node);
                        }
                        log(exchange, &change);
                    }
                    Act::Listed(from, question, numbers) => {
                        self.listings.lock().answered(from, question, &numbers);
                    }
                    Act::Counted(group) => {
                        if let Some(waiting) = self.counting.lock().remove(&group) {
                            waiting.open();
                        }
                    }
                }
            }
        }
    }

    /// Puts the state of a subscription back. Connections that have come meanwhile wait for the same.
    fn keep_opening(&self, group: Group, before: Option<Option<Latch>>) {
        let Some(before) = before else { return };
        let mut opening = self.opening.lock();
        let meanwhile = opening.insert(group, before.clone()).flatten();
        if let Some(meanwhile) = meanwhile {
            match before {
                // It is subscribed to.
                None => meanwhile.open(),
                // Both are opened: the one that is told, and this one by it.
                Some(first) => first.also(&meanwhile),
            }
        }
    }

    /// Notes topics that are subscribed to.
    fn subscribed(&self, topics: &[Topic]) {
        for topic in topics {
            let group = match topic {
                Topic::Group(group) => group,
                Topic::Log(group) => {
                    self.following.subscribed(group);
                    continue;
                }
                _ => continue,
            };
            // In one step with the look that closes groups.
            self.look_with(|exchange, _| {
                if exchange.parts.has(group) {
                    let waiting = self.opening.lock().insert(group.clone(), None).flatten();
                    waiting.inspect(Latch::open);
                    exchange.parts.subscribed(group);
                }
            });
        }
    }

    /// Notes that something has changed in a group.
    pub(crate) fn touch(&self, group: Group, listed: Option<(u64, bool)>) {
        self.touched.lock().entry(group).or_default().extend(listed);
        self.wake.notify_one();
    }

    /// Returns the latch of the subscription of a group in which a connection is now; `None` if it is subscribed to.
    pub(crate) fn opening(&self, group: &Group) -> Option<Latch> {
        let mut opening = self.opening.lock();
        let state = opening.entry(group.clone()).or_insert_with(|| Some(Latch::default()));
        state.clone()
    }

    /// Returns the latch of the answer for the count of a group; `None` if there is nothing to wait for.
    pub(crate) fn asking(&self, group: &Group) -> Option<Latch> {
        let waiting = self.look_with(|exchange, now| {
            let is_open = exchange.ask(group, now);
            is_open.then(|| self.counting.lock().entry(group.clone()).or_default().clone())
        });
        // The question has an end, which is to be looked for.
        if waiting.is_some() {
            self.wake.notify_one();
        }
        waiting
    }

    /// Asks the others for their connections in a group. Returns the number of the question and the latch of its last
    /// answer, if there is somebody to ask.
    pub(crate) fn list(
        &self,
        group: &Group,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Option<(u64, Latch)> {
        let mut latch = None;
        let question = self.look_with(|exchange, _| {
            exchange.list(group, after, limit, |nodes| {
                let (question, complete) = self.listings.lock().open(nodes)?;
                latch = Some(complete);
                Some(question)
            })
        });
        question.zip(latch)
    }

    /// Returns the number of connections that others have in a group.
    pub(crate) fn count_of_others(&self, group: &Group) -> usize {
        let count = self.exchange.lock().count_of_others(group, self.now());
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Returns the number of connections that others have in a group, if all of them have told it.
    pub(crate) fn complete_count_of_others(&self, group: &Group) -> Option<usize> {
        let count = self.exchange.lock().complete_count_of_others(group, self.now());
        count.map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(crate) fn inbox_limits(&self) -> InboxLimits {
        self.settings.inbox
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.exchange.lock().membership.has(node)
    }

    /// Has a topic be subscribed to, or no longer.
    pub(crate) fn want(&self, topic: Topic, is_wanted: bool) {
        match is_wanted {
            true => self.subscriber.open(topic),
            false => self.subscriber.close(topic),
        }
    }

    /// Returns the queue of a channel in service.
    pub(crate) fn queue(&self, channel: &str) -> Option<ChannelQueue> {
        self.channels.lock().get(channel).map(|served| served.queue.clone())
    }

    pub(crate) fn serve(self: &Arc<Shared>, channel: &Arc<str>) {
        let mut channels = self.channels.lock();
        let served = channels.entry(channel.clone()).or_insert_with(|| {
            let (queue, waiting) = ChannelQueue::new();
            tokio::spawn(receiver::serve(Arc::downgrade(self), channel.clone(), waiting));
            self.subscriber.open(Topic::Channel(channel.clone()));
            Served { users: 0, queue }
        });
        served.users += 1;
    }

    pub(crate) fn end_service(&self, channel: &Arc<str>) {
        let mut channels = self.channels.lock();
        let Some(served) = channels.get_mut(channel) else { return };
        served.users -= 1;
        if served.users == 0 {
            channels.remove(channel);
            self.subscriber.close(Topic::Channel(channel.clone()));
        }
    }
}

/// Logs that a node has come or gone.
fn log(exchange: &Exchange, change: &Change) {
    match change {
        Change::Came { node, has_returned } => {
            let known = exchange.membership.nodes().find(|(id, _)| id == node);
            let name = known.map_or("", |(_, node)| &*node.name);
            let node = node.to_string();
            tracing::info!(node, name, returned = has_returned, "node is there");
        }
        Change::Gone { node, name, why } => {
            let node = node.to_string();
            match why {
                Why::Goodbye => tracing::info!(node, name, "node has left"),
                Why::Replaced => {
                    tracing::info!(node, name, "node was replaced by a newer one of its name");
                }
                Why::Silence => {
                    tracing::warn!(node, name, "node was silent for too long and is given up");
                }
            }
        }
    }
}
