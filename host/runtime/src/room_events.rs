//! Events of rooms, and of channels themselves: one at a time for each, with the state that the
//! host keeps.
//!
//! A task exists only while an event waits. An event's changed state and its effects commit
//! together. One that fails is logged and changes nothing, and the next one goes on.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::FutureExt;

use crate::channel::Channel;
use crate::channel_context::ChannelContext;
use crate::guest_call::{About, GuestCall, Patience};
use crate::host_calls::Call;
use crate::instance::{Detached, Failure};
use crate::working::Work;
use wharf_config::Config;
use wharf_contract::fault::TooBig;
use wharf_hub::inbox::Posted;
use wharf_hub::outbound::PendingWrites;
use wharf_hub::room_state::{RoomState, Runner};

/// The runner of the events of a channel's rooms, as long as the channel exists.
pub struct RoomRunner(Weak<ChannelContext>);

impl RoomRunner {
    /// Makes the runner for the rooms of this channel.
    pub fn new(context: &Arc<ChannelContext>) -> RoomRunner {
        RoomRunner(Arc::downgrade(context))
    }
}

impl Runner for RoomRunner {
    fn run(&self, room: Arc<RoomState>) -> bool {
        // A removed channel that is freed has no code. Its rooms are attended again if it comes back.
        let Some(channel) = self.0.upgrade().and_then(|context| context.channel()) else {
            return false;
        };
        let work = channel.context.working.begin();
        tokio::spawn(run_all(channel, room, work));
        true
    }
}

/// Runs a room's events until none waits.
async fn run_all(mut channel: Arc<Channel>, room: Arc<RoomState>, _work: Work) {
    let mut writes = PendingWrites::default();
    while let Some(posted) = room.next() {
        channel = channel.successor();
        // A panic of the host is a bug of the host, and must not be the end of the room.
        let run = AssertUnwindSafe(run_posted(&channel, &room, posted, &mut writes));
        if run.catch_unwind().await.is_err() && channel.context.failure_budget.take() {
            tracing::error!(
                channel = channel.name(),
                "the host panicked while it ran an event of a room; please report it"
            );
        }
        // Another ready task may have frames for the same receivers, and the thread is not this
        // room's alone.
        tokio::task::yield_now().await;
        writes.write().await;
    }
}

async fn run_posted(
    channel: &Channel,
    room: &RoomState,
    posted: Posted,
    writes: &mut PendingWrites,
) {
    match &posted {
        Posted::Event { cause, payload, hops, .. } => {
            let cause = cause.as_ref();
            let event = Detached::RoomEvent { room: room.name(), cause, payload };
            run_one(channel, room, &event, *hops, writes).await;
        }
        // Timers that are set while a removed channel's connections end are not wanted.
        Posted::Timer(_) if channel.is_removed() => channel.context.hub.cancel_timers(),
        Posted::Timer(firing) => {
            let Some(payload) = channel.context.hub.begin_timer(firing) else {
                return;
            };
            let (name, payload) = (&firing.name, &payload);
            let event = match &**room.name() {
                "" => Detached::ChannelTimer { name, payload },
                room => Detached::RoomTimer { room, name, payload },
            };
            run_one(channel, room, &event, 0, writes).await;
        }
    }
}

/// Calls the guest and commits its effects.
async fn run_one(
    channel: &Channel,
    room: &RoomState,
    event: &Detached<'_>,
    hops: u8,
    writes: &mut PendingWrites,
) {
    let context = &channel.context;
    let guest_call = GuestCall {
        channel,
        about: About::Room(room.name()),
        event: event.name(),
        // An event must not be lost because there is no instance for it.
        patience: Patience::Persistent,
    };
    let finished = guest_call.run(async |instance| {
        let mut call = Call::detached();
        call.hops = hops;
        if let Detached::RoomEvent { cause, .. } = event {
            call.cause = cause.cloned();
        }
        // The state without a name is that of the channel itself.
        call.room = (!room.name().is_empty()).then(|| room.name().clone());
        // An operator may have reset the state while the event waited.
        let state = room.state();
        let finished = instance.handle_detached(call, state.as_deref(), event).await?;
        if let Some(state) = finished.returned {
            keep(room, state, &context.config)?;
        }
        Ok(finished.call)
    });
    if let Ok(mut call) = finished.await {
        call.commit(&context.hub, writes).await;
    }
}

/// Keeps a room's new state, if it is within its limits.
fn keep(room: &RoomState, state: Vec<u8>, config: &Config) -> Result<(), Failure> {
    TooBig::check_room_state(state.len(), config.max_room_state_bytes)?;
    let limit = config.max_channel_state_bytes;
    match room.keep(Bytes::from(state), limit) {
        true => Ok(()),
        false => Err(TooBig::ChannelState { limit }.into()),
    }
}
