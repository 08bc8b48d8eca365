//! The receiver of a node: its messages in their order, those of each channel in a task of its own.

use std::pin::pin;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use wharf_cluster::{Deliveries, Position};
use wharf_contract::close::Close;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::outbound::PendingWrites;
use wharf_hub::recipients::Recipients;

use crate::histories::hear;
use crate::node::Shared;
use crate::taken::{Taken, taken};
use crate::wire::{Content, DisconnectOf, FrameFor, Message};
use crate::{notices, requests, returned_posts, room_posts};

/// Messages of a channel that are handled before what they have queued is written.
const AT_ONCE: usize = 64;

/// Messages that wait for one channel, at most.
const WAITING_FOR_CHANNEL: usize = 1024;

/// Bytes of messages that wait for one channel. Beyond them those for all channels wait, up to the bound of the
/// engine's deliveries.
const WAITING_BYTES: u32 = 16 << 20;

/// A message that waits for its channel.
pub(crate) struct Waiting {
    bytes: Bytes,
    /// The room and the place in its log, if it is an entry of one.
    entry: Option<(Box<str>, Position)>,
    _room: OwnedSemaphorePermit,
}

/// The queue of one channel. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ChannelQueue {
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

impl ChannelQueue {
    /// Makes both ends of a queue.
    pub(crate) fn new() -> (ChannelQueue, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(WAITING_FOR_CHANNEL);
        let room = Arc::new(Semaphore::new(WAITING_BYTES as usize));
        (ChannelQueue { sender, room }, receiver)
    }

    /// Puts a message into the queue, and waits until there is room for it.
    async fn put(&self, bytes: Bytes, entry: Option<(Box<str>, Position)>) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(WAITING_BYTES);
        // It is never closed.
        if let Ok(room) = self.room.clone().acquire_many_owned(size).await {
            // A channel that has gone out of service hears nothing more.
            let _ = self.sender.send(Waiting { bytes, entry, _room: room }).await;
        }
    }
}

/// Receives until the engine is closed.
pub(crate) async fn run(shared: Arc<Shared>, mut deliveries: Deliveries) {
    // A point in time, which no amount of messages puts off.
    let mut due = Instant::now();
    loop {
        tokio::select! {
            delivery = deliveries.next() => {
                let Some(delivery) = delivery else { return };
                if let Some(taken) = taken(&shared, delivery) {
                    let mut dispatched = pin!(dispatch(&shared, taken));
                    // A channel that is behind must not make others give this node up.
                    loop {
                        tokio::select! {
                            // In this order: a node that need not wait has listened, and gives up those it has not heard.
                            biased;
                            () = &mut dispatched => break,
                            () = tokio::time::sleep_until(due) => due = Instant::now() + shared.beat(),
                        }
                    }
                }
                if Instant::now() < due {
                    continue;
                }
            }
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        due = Instant::now() + shared.look();
    }
}

/// Gives a message to the channel that it is for, or handles it.
async fn dispatch(shared: &Arc<Shared>, Taken { topic, message, position }: Taken) {
    let mut entry = None;
    // A topic of a channel is its kind, the channel, and perhaps a name, separated by colons.
    let of_topic = match topic.split_once(':') {
        Some(("channel" | "room" | "user", rest)) => rest.split(':').next(),
        Some(("log", rest)) => match (rest.split_once(':'), position) {
            (Some((channel, room)), Some(position)) => {
                entry = Some((room.into(), position));
                Some(channel)
            }
            // Nothing else is published there.
            _ => return,
        },
        _ => None,
    };
    let channel = match of_topic {
        Some(channel) => shared.queue(channel),
        None => match Message::read(&message) {
            Ok((from, _)) if from == shared.own => return,
            Ok((from, content)) if channel_of(&content).is_some() => {
                let queue = channel_of(&content).and_then(|channel| shared.queue(channel));
                if queue.is_none() {
                    returned_posts::give_back(shared, from, &content);
                }
                queue
            }
            Ok((_, Content::RoomsGivenUp { .. })) => return shared.orphaned.notify_one(),
            Ok((_, Content::RoomOutcome { question, outcome })) => {
                return shared.outcomes.answered(question, outcome);
            }
            Ok((from, Content::Request { question, request })) => {
                return requests::asked(shared, from, question, request);
            }
            Ok((from, Content::Reply { question, reply })) => {
                return shared.requests.replied(from, question, reply);
            }
            Ok((from, content)) => return shared.heard(from, content),
            Err(why) => return shared.ignore(&why),
        },
    };
    if let Some(channel) = channel {
        channel.put(message, entry).await;
    }
}

/// Returns the channel of whose connections a content is.
fn channel_of<'a>(content: &'a Content<'_>) -> Option<&'a str> {
    match content {
        Content::Frame(frame) => Some(&frame.channel),
        Content::Disconnect(of) => Some(&of.channel),
        Content::Notice(notice) => Some(&notice.channel),
        Content::RoomEvent(event) => Some(&event.channel),
        Content::RoomTimer(change) => Some(&change.channel),
        Content::RoomReset { channel, .. } => Some(channel),
        _ => None,
    }
}

/// Handles the messages for one channel, until it goes out of service.
pub(crate) async fn serve(
    shared: Weak<Shared>,
    channel: Arc<str>,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let mut writes = PendingWrites::default();
    while let Some(message) = waiting.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let (mut next, mut handled) = (Some(message), 1);
        while let Some(message) = next {
            match &message.entry {
                Some((room, at)) => {
                    hear(&shared, &channel, room, *at, message.bytes.clone(), &mut writes).await;
                }
                None => handle(&shared, &message.bytes, &mut writes).await,
            }
            if writes.is_urgent() {
                writes.write().await;
            }
            // The frames of several messages for the same member are written at once.
            next = if handled < AT_ONCE { waiting.try_recv().ok() } else { None };
            handled += 1;
        }
        writes.write().await;
    }
}

async fn handle(shared: &Arc<Shared>, message: &[u8], writes: &mut PendingWrites) {
    match Message::read(message) {
        Ok((from, _)) if from == shared.own => {}
        Ok((_, Content::Frame(frame))) => deliver(shared, &frame, writes).await,
        Ok((_, Content::Disconnect(of))) => disconnect(shared, &of).await,
        Ok((_, Content::Notice(notice))) => notices::post(shared, &notice).await,
        Ok((from, Content::RoomEvent(event))) => room_posts::take(shared, from, event),
        Ok((from, Content::RoomTimer(change))) => room_posts::take_timer(shared, from, change),
        Ok((_, Content::RoomReset { channel, room })) => shared.reread(&channel, &room),
        Ok((from, content)) => shared.heard(from, content),
        Err(why) => shared.ignore(&why),
    }
}

async fn deliver(shared: &Shared, message: &FrameFor<'_>, writes: &mut PendingWrites) {
    let Some(hub) = shared.hub(&message.channel) else { return };
    let kind = if message.is_binary { FrameKind::Binary } else { FrameKind::Text };
    // A client ends its connection at text that is not UTF-8.
    if kind == FrameKind::Text && std::str::from_utf8(message.payload).is_err() {
        return;
    }
    let frame = Frame::encode(kind, message.payload);
    if let Some(number) = message.to.connection {
        hub.send_to(ConnectionId::local(number), &frame, writes);
        return hub.note_sent(writes);
    }
    let (to, except) = message.to.read();
    match message.once {
        // One room is written as such, and is several all the same.
        Some(once) => {
            let rooms = match to {
                Recipients::Room(room) => Recipients::Rooms([room].into()),
                other => other,
            };
            hub.deliver_once_here(&rooms, &frame, except, once, writes).await;
            hub.note_sent(writes);
        }
        None => _ = hub.deliver_here(&to, &frame, except, writes).await,
    }
}

async fn disconnect(shared: &Shared, of: &DisconnectOf<'_>) {
    let Some(hub) = shared.hub(&of.channel) else { return };
    let Ok(close) = Close::new(of.code, of.reason.clone().into_owned()) else { return };
    if let Some(number) = of.to.connection {
        hub.disconnect(ConnectionId::local(number), &close);
    }
    for user in &of.to.users {
        hub.disconnect_user_here(user, &close).await;
    }
}
