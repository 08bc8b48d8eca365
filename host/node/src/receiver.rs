//! The receiver of a node: its messages in their order, those of each channel in a task of its own.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use wharf_cluster::Deliveries;
use wharf_contract::close::Close;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::outbound::PendingWrites;

use crate::node::{Shared, taken};
use crate::notices;
use crate::wire::{Content, DisconnectOf, FrameFor, Message};

/// Messages of a channel that are handled before what they have queued is written.
const AT_ONCE: usize = 64;

/// Receives until the engine is closed.
pub(crate) async fn run(shared: Arc<Shared>, mut deliveries: Deliveries) {
    let mut next_look = Duration::ZERO;
    loop {
        tokio::select! {
            delivery = deliveries.next() => {
                let Some(delivery) = delivery else { return };
                if let Some((topic, message)) = taken(&shared, delivery) {
                    dispatch(&shared, &topic, message).await;
                }
                continue;
            }
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(next_look) => {}
        }
        next_look = shared.look();
    }
}

/// Gives a message to the channel that it is for, or handles it.
async fn dispatch(shared: &Arc<Shared>, topic: &str, message: Bytes) {
    // A topic of a channel is its kind, the channel, and perhaps a name, separated by colons.
    let of_topic = match topic.split_once(':') {
        Some(("channel" | "room" | "user", rest)) => rest.split(':').next(),
        _ => None,
    };
    let channel = match of_topic {
        Some(channel) => shared.queue(channel),
        None => match Message::read(&message) {
            Ok((from, _)) if from == shared.own => return,
            Ok((_, content)) if channel_of(&content).is_some() => {
                channel_of(&content).and_then(|channel| shared.queue(channel))
            }
            Ok((from, content)) => return shared.heard(from, content),
            Err(why) => return shared.ignore(&why),
        },
    };
    // A channel that has gone out of service hears nothing more.
    if let Some(channel) = channel {
        let _ = channel.send(message).await;
    }
}

/// Returns the channel of whose connections a content is.
fn channel_of<'a>(content: &'a Content<'_>) -> Option<&'a str> {
    match content {
        Content::Frame(frame) => Some(&frame.channel),
        Content::Disconnect(of) => Some(&of.channel),
        Content::Notice(notice) => Some(&notice.channel),
        _ => None,
    }
}

/// Handles the messages for one channel, until it goes out of service.
pub(crate) async fn serve(shared: Weak<Shared>, mut waiting: mpsc::Receiver<Bytes>) {
    let mut writes = PendingWrites::default();
    while let Some(message) = waiting.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let (mut next, mut handled) = (Some(message), 1);
        while let Some(message) = next {
            handle(&shared, &message, &mut writes).await;
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

async fn handle(shared: &Shared, message: &[u8], writes: &mut PendingWrites) {
    match Message::read(message) {
        Ok((from, _)) if from == shared.own => {}
        Ok((_, Content::Frame(frame))) => deliver(shared, &frame, writes).await,
        Ok((_, Content::Disconnect(of))) => disconnect(shared, &of).await,
        Ok((_, Content::Notice(notice))) => notices::post(shared, &notice).await,
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
    match message.to.connection {
        Some(number) => {
            hub.send_to(ConnectionId::local(number), &frame, writes);
        }
        None => {
            let (to, except) = message.to.read();
            hub.deliver_here(&to, &frame, except, writes).await;
        }
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
