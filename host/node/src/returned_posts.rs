//! Events and timers of rooms that have reached a node without the room's plugin. They go back to the node that has sent
//! them, which looks for the room's owner again.
//!
//! A node that loses a plugin gives its rooms up, and others may send it events until they know. Those wait for a moment
//! before they go back, so that the room is given up by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wharf_hub::connection_id::NodeId;

use crate::node::Shared;
use crate::topics::Topic;
use crate::wire::{Content, RoomEventFor, RoomOutcome};

/// Time for which a message waits before it goes back.
const PAUSE: Duration = Duration::from_millis(200);

/// Messages that wait at most, and their bytes. Further ones are dropped.
const WAITING: usize = 1024;
const WAITING_BYTES: usize = 16 << 20;

/// Times that one message goes back, at most, while neither node has the plugin.
const TIMES: u8 = 10;

/// A message on its way back.
#[derive(Debug)]
pub(crate) struct Post {
    due: Instant,
    to: NodeId,
    message: Bytes,
}

/// The messages that wait.
#[derive(Debug)]
pub(crate) struct Returned {
    waiting: mpsc::Sender<Post>,
    bytes: AtomicUsize,
}

impl Returned {
    pub(crate) fn new() -> (Returned, mpsc::Receiver<Post>) {
        let (sender, waiting) = mpsc::channel(WAITING);
        (Returned { waiting: sender, bytes: AtomicUsize::new(0) }, waiting)
    }

    /// Queues a message. Returns false if there is no place for it.
    fn put(&self, post: Post) -> bool {
        let length = post.message.len();
        let bytes = self.bytes.fetch_add(length, Ordering::Relaxed) + length;
        let is_put = bytes <= WAITING_BYTES && self.waiting.try_send(post).is_ok();
        if !is_put {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        is_put
    }
}

/// Gives an event or a timer of a room back to the node that has sent it. A poster that waits for the outcome is told, and may try
/// again.
pub(crate) fn give_back(shared: &Shared, to: NodeId, content: &Content<'_>) {
    if let Content::RoomEvent(RoomEventFor { channel, room, question: Some(question), .. }) =
        content
    {
        let why = "the host that has the room has lost its plugin; try again".into();
        let (question, outcome) = (*question, RoomOutcome::Late(why));
        shared.publish(&Topic::Node(to), Content::RoomOutcome { question, outcome });
        let (channel, room) = (channel.clone(), room.clone());
        return shared.publish(&Topic::Node(to), Content::RoomReset { channel, room });
    }
    let mut back = content.clone();
    let (channel, returned) = match &mut back {
        Content::RoomEvent(event) => (event.channel.clone(), &mut event.returned),
        Content::RoomTimer(change) => (change.channel.clone(), &mut change.returned),
        _ => return,
    };
    *returned = returned.saturating_add(1);
    if *returned > TIMES {
        return shared.refused(&channel, "the host that has the room has no plugin for it");
    }
    let post = Post { due: Instant::now() + PAUSE, to, message: shared.encoded(back) };
    if !shared.returned.put(post) {
        shared.refused(&channel, "too many events for rooms without a plugin here");
    }
}

/// Sends the messages back, in their order.
pub(crate) async fn run(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Post>) {
    while let Some(Post { due, to, message }) = waiting.recv().await {
        tokio::time::sleep_until(due).await;
        shared.returned.bytes.fetch_sub(message.len(), Ordering::Relaxed);
        shared.publish_encoded(&Topic::Node(to), message);
    }
}

#[cfg(test)]
mod tests {
    use wharf_cluster::{Delivery, Limits, Topics, memory};
    use wharf_hub::inbox::InboxLimits;

    use super::*;
    use crate::wire::{Message, RoomTimerFor};
    use crate::{Node, Settings};

    #[tokio::test(start_paused = true)]
    async fn a_post_for_a_host_without_the_plugin_comes_back_a_bounded_number_of_times() {
        let server = memory::Server::new(1);
        let limits = InboxLimits { events: 1, bytes: 1, channel_bytes: 1 };
        let settings = Settings {
            name: "here".to_owned(),
            version: "1".to_owned(),
            started: 0,
            timeout: Duration::from_secs(5),
            inbox: limits,
            room_inbox: limits,
            max_rooms: 1,
        };
        let (engine, deliveries) = server.node("here", &Limits::default());
        let node = Node::start(Arc::new(engine), deliveries, Arc::default(), settings);
        let (poster, mut heard) = server.node("there", &Limits::default());
        let there = NodeId::numbered(7).expect("a node");
        poster.subscribe(vec![Topic::Node(there).name()]).await.expect("a subscription");
        let timer = |returned| {
            Content::RoomTimer(RoomTimerFor {
                channel: "chat".into(),
                room: "red".into(),
                name: "tick".into(),
                timer: None,
                returned,
            })
        };
        give_back(&node.shared, there, &timer(TIMES));
        give_back(&node.shared, there, &timer(0));
        let Some(Delivery::Message { message, .. }) = heard.next().await else {
            panic!("a message")
        };
        // The first one has come back too often.
        assert_eq!(Message::read(&message).map(|(_, content)| content), Ok(timer(1)));
        assert_eq!(node.shared.returned.bytes.load(Ordering::Relaxed), 0);
    }
}
