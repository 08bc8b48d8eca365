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
use crate::guest_call::{About, CallError, GuestCall, Patience, Shortage};
use crate::host_calls::{Call, Report};
use crate::instance::{Detached, Failure};
use crate::working::Work;
use wharf_config::Config;
use wharf_contract::fault::{Fault, TooBig};
use wharf_hub::inbox::{AwaitedEvent, Outcome, Posted};
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
    match posted {
        Posted::Event { cause, payload, hops, .. } => {
            let cause = cause.as_ref();
            let event = Detached::RoomEvent { room: room.name(), cause, payload: &payload };
            // A failure is in the log.
            let _ = run_one(channel, room, &event, hops, None, writes).await;
        }
        Posted::Awaited(awaited) => {
            let AwaitedEvent { payload, hops, waiter } = *awaited;
            let event = Detached::RoomEvent { room: room.name(), cause: None, payload: &payload };
            let ran = run_one(channel, room, &event, hops, Some(Box::default()), writes).await;
            // The poster may have given up.
            let _ = waiter.send(outcome(ran));
        }
        // Only connections have a session.
        Posted::SessionWanted(_) => {}
        // Timers that are set while a removed channel's connections end are not wanted.
        Posted::Timer(_) if channel.is_removed() => channel.context.hub.cancel_timers(),
        Posted::Timer(firing) => {
            let Some(payload) = channel.context.hub.begin_timer(&firing) else {
                return;
            };
            let (name, payload) = (&firing.name, &payload);
            let event = match &**room.name() {
                "" => Detached::ChannelTimer { name, payload },
                room => Detached::RoomTimer { room, name, payload },
            };
            let _ = run_one(channel, room, &event, 0, None, writes).await;
        }
    }
}

/// An event that was run to its end.
struct Ran {
    generation: u64,
    is_state_changed: bool,
    report: Option<Box<Report>>,
}

/// Returns the outcome of an event for its poster.
fn outcome(ran: Result<Ran, CallError>) -> Outcome {
    let (failure, is_late) = match ran {
        Ok(Ran { generation, is_state_changed, report }) => {
            let Report { is_undone, failure, invalid } = report.map(|it| *it).unwrap_or_default();
            return match (failure, invalid) {
                (_, Some(invalid)) => Outcome::Invalid(invalid),
                (Some(failure), None) => Outcome::Failed(failure),
                (None, None) if is_undone => Outcome::Undone,
                (None, None) => Outcome::Handled { generation, is_state_changed },
            };
        }
        // Without a slot the event still waits, so that this is about a start.
        Err(CallError::Exhausted(Shortage::Slots)) => {
            return Outcome::Late("no instance is free".to_owned());
        }
        Err(CallError::Exhausted(Shortage::Start(failure))) => (failure, true),
        Err(CallError::NotStarted { failure, .. }) => (failure, false),
        Err(CallError::Failed { failure, .. }) => {
            let is_late = failure.kind == Fault::Deadline;
            (failure, is_late)
        }
    };
    let text = match &failure.place {
        Some(place) => format!("{failure} ({place})"),
        None => failure.to_string(),
    };
    if is_late { Outcome::Late(text) } else { Outcome::Failed(text) }
}

/// Calls the guest and commits its effects. `report` is for an event that somebody waits for.
async fn run_one(
    channel: &Channel,
    room: &RoomState,
    event: &Detached<'_>,
    hops: u8,
    report: Option<Box<Report>>,
    writes: &mut PendingWrites,
) -> Result<Ran, CallError> {
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
        (call.hops, call.report) = (hops, report);
        if let Detached::RoomEvent { cause, .. } = event {
            call.cause = cause.cloned();
        }
        // The state without a name is that of the channel itself.
        call.room = (!room.name().is_empty()).then(|| room.name().clone());
        // An operator may have reset the state while the event waited.
        let state = room.state();
        let finished = instance.handle_detached(call, state.as_deref(), event).await?;
        let is_state_changed = finished.returned.is_some();
        if let Some(state) = finished.returned {
            keep(room, state, &context.config)?;
        }
        Ok((finished.call, instance.generation(), is_state_changed))
    });
    let (mut call, generation, is_state_changed) = finished.await?;
    call.commit(&context.hub, writes).await;
    Ok(Ran { generation, is_state_changed, report: call.report.take() })
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
