//! Tells a channel who has come to its rooms and who has gone, one call at a time for each room.
//!
//! A task is there only while there is something to tell. A call that fails is logged, and the
//! next one goes on.

use std::sync::{Arc, Weak};

use crate::channel::Channel;
use crate::host_calls::{Call, Phase};
use crate::instance::Apart;
use crate::lease::{About, Unanswered, patient_lease};
use wharf_hub::outbound::Drains;
use wharf_hub::presence::{Listener, PresenceRoom};

/// Tells a channel, for as long as it is there and wants to hear.
pub struct PresenceTeller(Weak<Channel>);

impl PresenceTeller {
    /// For the rooms of this channel.
    pub fn new(channel: &Arc<Channel>) -> PresenceTeller {
        PresenceTeller(Arc::downgrade(channel))
    }
}

impl Listener for PresenceTeller {
    fn listens(&self) -> bool {
        let channel = self.0.upgrade();
        channel.is_some_and(|channel| channel.current().pool.component().handlers().presence)
    }

    fn tell(&self, room: Arc<PresenceRoom>) {
        if let Some(channel) = self.0.upgrade() {
            tokio::spawn(tell_all(channel, room));
        }
    }
}

async fn tell_all(channel: Arc<Channel>, room: Arc<PresenceRoom>) {
    while let Some(diff) = channel.context.hub.next_untold(&room) {
        let event = Apart::Presence { room: room.name(), diff: &diff };
        if let Err(unanswered) = call(&channel, &room, &event).await {
            unanswered.log(&channel, About::Room(room.name()), event.name());
        }
    }
}

/// Call the guest and commit what it did.
async fn call(channel: &Channel, room: &PresenceRoom, event: &Apart<'_>) -> Result<(), Unanswered> {
    let context = &channel.context;
    let (generation, mut lease) =
        patient_lease(&context.config, channel, About::Room(room.name()), event.name()).await?;
    let mut call = Call::apart(Phase::Apart);
    call.room = Some(Arc::from(room.name()));
    let finished = lease.instance.handle_apart(call, None, event).await;
    generation.pool.give_back(lease);
    let failed = |failure| Unanswered::Failed(generation.number, failure);
    let mut finished = finished.map_err(failed)?;
    let mut drains = Drains::default();
    finished.call.commit(&context.hub, &mut drains).await;
    drains.drain().await;
    Ok(())
}
