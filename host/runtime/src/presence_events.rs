//! Tells a channel the changes of its rooms' presence lists, one call at a time for each room.
//!
//! A task exists only while there are changes to tell. A call that fails is logged, and the next
//! one goes on.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;

use crate::channel::Channel;
use crate::channel_context::ChannelContext;
use crate::guest_call::{About, GuestCall, Patience};
use crate::host_calls::Call;
use crate::instance::Detached;
use crate::working::Work;
use wharf_hub::outbound::PendingWrites;
use wharf_hub::presence::{Diff, Listener, PresenceRoom};

/// The listener of a channel, as long as the channel exists and has a handler.
pub struct PresenceTeller(Weak<ChannelContext>);

impl PresenceTeller {
    /// Makes the listener for the rooms of this channel.
    pub fn new(context: &Arc<ChannelContext>) -> PresenceTeller {
        PresenceTeller(Arc::downgrade(context))
    }

    fn channel(&self) -> Option<Arc<Channel>> {
        self.0.upgrade()?.channel()
    }
}

impl Listener for PresenceTeller {
    fn listens(&self) -> bool {
        let channel = self.channel();
        channel.is_some_and(|channel| channel.current().pool.component().exports().presence_events)
    }

    fn tell(&self, room: Arc<PresenceRoom>) -> bool {
        let Some(channel) = self.channel() else {
            return false;
        };
        let work = channel.context.working.begin();
        tokio::spawn(tell_all(channel, room, work));
        true
    }
}

async fn tell_all(mut channel: Arc<Channel>, room: Arc<PresenceRoom>, _work: Work) {
    while let Some(diff) = channel.context.hub.next_untold(&room) {
        channel = channel.successor();
        // A panic of the host is a bug of the host, and must not be the end of the room's events.
        let told = AssertUnwindSafe(tell_one(&channel, &room, &diff)).catch_unwind();
        if told.await.is_err() && channel.context.failure_budget.take() {
            tracing::error!(
                channel = channel.name(),
                "the host panicked while it told of a room's presence; please report it"
            );
        }
    }
}

/// Calls the guest and commits its effects.
async fn tell_one(channel: &Channel, room: &PresenceRoom, diff: &Diff) {
    let event = Detached::Presence { room: room.name(), diff };
    let guest_call = GuestCall {
        channel,
        about: About::Room(room.name()),
        event: event.kind(),
        // Changes must not be lost because there is no instance for them.
        patience: Patience::Persistent,
    };
    let finished = guest_call.run(async |instance| {
        let mut call = Call::detached();
        call.room = Some(Arc::from(room.name()));
        instance.handle_detached(call, None, &event).await
    });
    // The log has the failure, and the next diff is told even so.
    if let Ok(mut finished) = finished.await {
        let mut writes = PendingWrites::default();
        // The log has the disk's failure.
        let _ = finished.call.commit(&channel.context.hub, &mut writes).await;
        writes.write().await;
    }
}
