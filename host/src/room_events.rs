//! Events of rooms, and of channels themselves: one at a time for each, with the state that the
//! host keeps.
//!
//! A task is there only while something waits. An event's changed state and its effects commit
//! together; one that fails is logged, changes nothing, and the next one goes on.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::channel::Channel;
use crate::config::Config;
use crate::host_calls::{Call, Phase};
use crate::inbox::Posted;
use crate::instance::{Apart, Failure, FailureKind, Finished};
use crate::lease::{Unanswered, patient_lease};
use crate::outbound::Drains;
use crate::room_state::{RoomState, Runner};

/// How often an event is tried again whose instance cannot be started.
const RETRIES: u32 = 6;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs the events of a channel's rooms, for as long as there is the channel.
pub struct RoomRunner(Weak<Channel>);

impl RoomRunner {
    /// For the rooms of this channel.
    pub fn new(channel: &Arc<Channel>) -> RoomRunner {
        RoomRunner(Arc::downgrade(channel))
    }
}

impl Runner for RoomRunner {
    fn run(&self, room: Arc<RoomState>) {
        if let Some(channel) = self.0.upgrade() {
            tokio::spawn(run_all(channel, room));
        }
    }
}

/// Run a room's events until none waits.
async fn run_all(channel: Arc<Channel>, room: Arc<RoomState>) {
    let mut drains = Drains::default();
    while let Some(posted) = room.next() {
        match &posted {
            Posted::Event { from, payload, hops } => {
                let event = Apart::RoomEvent { room: room.name(), from: *from, payload };
                run_one(&channel, &room, &event, *hops, &mut drains).await;
            }
            // Whatever sets timers while a removed channel's connections end: nobody wants them.
            Posted::Timer(_) if channel.is_removed() => channel.context.hub.timers.clear(),
            Posted::Timer(firing) if firing.begin() => {
                let (name, payload) = (&firing.name, &firing.payload);
                let event = match &**room.name() {
                    "" => Apart::ChannelTimer { name, payload },
                    room => Apart::RoomTimer { room, name, payload },
                };
                run_one(&channel, &room, &event, 0, &mut drains).await;
            }
            Posted::Timer(_) => {}
        }
        // Whoever else is ready may have something for the same receivers, and the thread is not
        // this room's alone.
        tokio::task::yield_now().await;
        drains.drain().await;
    }
}

async fn run_one(
    channel: &Channel,
    room: &RoomState,
    event: &Apart<'_>,
    hops: u8,
    drains: &mut Drains,
) {
    let state = room.state();
    let mut pause = PAUSE;
    for retries_left in (0..=RETRIES).rev() {
        match call(channel, room, state.as_deref(), event, hops, drains).await {
            Ok(()) => return,
            // It has not begun, and what was posted is not forgotten for that.
            Err(Unanswered::NotStarted(..)) if retries_left > 0 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(unanswered) => return unanswered.log(channel, None, event.name()),
        }
    }
}

/// Call the guest and commit what it did.
async fn call(
    channel: &Channel,
    room: &RoomState,
    state: Option<&[u8]>,
    event: &Apart<'_>,
    hops: u8,
    drains: &mut Drains,
) -> Result<(), Unanswered> {
    let context = &channel.context;
    let config = &context.config;
    let (generation, mut lease) = patient_lease(config, channel, None, event.name()).await?;
    let mut call = Call::apart(Phase::Apart);
    call.hops = hops;
    let finished = lease.instance.handle_apart(call, state, event).await;
    generation.pool.give_back(lease);
    let failed = |failure| Unanswered::Failed(generation.number, failure);
    let Finished { mut call, returned } = finished.map_err(failed)?;
    if let Some(state) = returned {
        keep(room, state, config).map_err(failed)?;
    }
    call.commit(&context.hub, drains).await;
    Ok(())
}

/// Keep a room's new state, if it is within its limits.
fn keep(room: &RoomState, state: Vec<u8>, config: &Config) -> Result<(), Failure> {
    let bytes = state.len();
    let limit = config.max_room_state_bytes;
    let detail = if bytes > limit {
        format!("the room's state has {bytes} bytes; max_room_state_bytes is {limit}")
    } else if !room.keep(Bytes::from(state), config.max_channel_state_bytes) {
        format!(
            "the rooms of this channel have no more than max_channel_state_bytes ({}) of state \
             together",
            config.max_channel_state_bytes
        )
    } else {
        return Ok(());
    };
    Err(Failure { kind: FailureKind::RoomStateTooBig, detail, backtrace: String::new() })
}
