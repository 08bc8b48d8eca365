//! Events of rooms, and of channels themselves: one at a time for each, with the state that the
//! host keeps.
//!
//! A task exists only while an event waits. An event's changed state and its effects commit
//! together. One that fails is logged and changes nothing, and the next one goes on.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::channel::Channel;
use crate::channel_context::ChannelContext;
use crate::guest_call::{About, CallError, GuestCall, Patience, Shortage};
use crate::host_calls::{Call, Report, recorded};
use crate::instance::{Detached, Failure};
use crate::owned_rooms;
use crate::working::Work;
use wharf_contract::CallRefusal;
use wharf_contract::fault::{Fault, TooBig};
use wharf_engine::Unavailable;
use wharf_hub::effects::Effects;
use wharf_hub::hub::{Hub, RecordedChanges};
use wharf_hub::inbox::{AwaitedEvent, Outcome, Posted};
use wharf_hub::outbound::PendingWrites;
use wharf_hub::room_state::{RoomState, Runner};

/// Time until a timer fires again whose firing could not be recorded.
const AGAIN: Duration = Duration::from_secs(1);

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
    if channel.context.hub.has_owners() {
        return Box::pin(owned_rooms::run_all(channel, &room)).await;
    }
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
    room: &Arc<RoomState>,
    posted: Posted,
    writes: &mut PendingWrites,
) {
    let hub = &channel.context.hub;
    let mut changes = RecordedChanges::default();
    match posted {
        Posted::Event { cause, payload, hops, .. } => {
            let cause = cause.as_ref();
            let event = Detached::RoomEvent { room: room.name(), cause, payload: &payload };
            let ran = run_one(channel, room, &event, hops, None).await;
            // A failure is in the log.
            let _ = settle(ran, hub, room, changes, writes).await;
        }
        Posted::Awaited(awaited) => {
            let AwaitedEvent { payload, hops, waiter } = *awaited;
            let event = Detached::RoomEvent { room: room.name(), cause: None, payload: &payload };
            let ran = run_one(channel, room, &event, hops, Some(Box::default())).await;
            let outcome = settle(ran, hub, room, changes, writes).await;
            // The poster may have given up.
            let _ = waiter.send(outcome.unwrap_or_else(|failed| failed));
        }
        // Only connections have a session, and there are no owners without a cluster.
        Posted::SessionWanted(_) | Posted::TimerChange(_) | Posted::Orphaned => {}
        // Timers that are set while a removed channel's connections end are not wanted.
        Posted::Timer(_) if channel.is_removed() => hub.cancel_timers(),
        Posted::Timer(firing) => {
            let Some(begun) = hub.begin_timer(&firing) else {
                return;
            };
            let (name, payload) = (&firing.name, &begun.payload);
            let event = match &**room.name() {
                "" => Detached::ChannelTimer { name, payload },
                room => Detached::RoomTimer { room, name, payload },
            };
            let ran = run_one(channel, room, &event, 0, None).await;
            changes.fired(&firing, &begun);
            match settle(ran, hub, room, changes, writes).await {
                Err(Outcome::DataUnavailable(_)) => {
                    hub.fire_again(&firing, begun, room.clone(), AGAIN);
                }
                _ => hub.end_record_if_gone(&firing, &begun),
            }
        }
    }
}

/// Records what an event has changed, and performs its effects then. Nobody has seen anything of it
/// before.
///
/// # Errors
///
/// The outcome of an event that has failed, or cannot be recorded: it has changed nothing.
async fn settle(
    ran: Result<(Ran, Box<Call>, Option<Bytes>), CallError>,
    hub: &Hub,
    room: &RoomState,
    mut changes: RecordedChanges,
    writes: &mut PendingWrites,
) -> Result<Outcome, Outcome> {
    let (ran, mut call, state) = match ran {
        Ok(ran) => ran,
        Err(failure) => {
            // The timer whose handler failed has fired as well.
            return match recorded(hub, changes, &mut Effects::default()).await {
                Ok(()) => Err(outcome_of_failure(failure)),
                Err(why) => Err(data_unavailable(&why)),
            };
        }
    };
    if call.seen.is_some()
        && let Err(why) = Box::pin(call.wait_for_seen()).await
    {
        // An event that has acted on what was undone is undone as well, before it is recorded.
        room.settle(false);
        return Err(data_unavailable(&why));
    }
    changes.history(&mut call.effects, hub);
    changes.timers(&mut call.effects, hub);
    // Without records it is kept already.
    let state = state.filter(|_| hub.is_recorded());
    let has_state = state.is_some();
    if let Some(state) = state {
        changes.room_state(room.name(), state);
    }
    if !changes.is_empty() {
        let recorded = recorded(hub, changes, &mut call.effects).await;
        if has_state && !room.settle(recorded.is_ok()) && recorded.is_ok() {
            // An operator has reset it between its planning and its record, which must not outlive it.
            hub.record_forgotten(room.name());
        }
        if let Err(why) = recorded {
            return Err(data_unavailable(&why));
        }
    }
    call.perform(hub, writes).await;
    Ok(outcome(ran, call.report.take()))
}

pub(crate) fn data_unavailable(why: &Unavailable) -> Outcome {
    Outcome::DataUnavailable(CallRefusal::DataUnavailable { why: why.to_string() }.to_string())
}

/// An event that was run to its end.
pub(crate) struct Ran {
    generation: u64,
    is_state_changed: bool,
}

/// Returns the outcome of an event for its poster.
pub(crate) fn outcome(ran: Ran, report: Option<Box<Report>>) -> Outcome {
    let Ran { generation, is_state_changed } = ran;
    let Report { is_undone, failure, invalid } = report.map(|it| *it).unwrap_or_default();
    match (failure, invalid) {
        (_, Some(invalid)) => Outcome::Invalid(invalid),
        (Some(failure), None) => Outcome::Failed(failure),
        (None, None) if is_undone => Outcome::Undone,
        (None, None) => Outcome::Handled { generation, is_state_changed },
    }
}

/// Returns the outcome of an event that failed, for its poster.
pub(crate) fn outcome_of_failure(failure: CallError) -> Outcome {
    let (failure, is_late) = match failure {
        // Without a slot the event still waits, so that this is about a start.
        CallError::Exhausted(Shortage::Slots) => {
            return Outcome::Late("no instance is free".to_owned());
        }
        CallError::Exhausted(Shortage::Start(failure)) => (failure, true),
        CallError::NotStarted { failure, .. } => (failure, false),
        CallError::Failed { failure, .. } => {
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

/// Calls the guest. Returns the event with its effects, and the new state of the room, which is kept
/// already, or planned until it is recorded. `report` is for an event that somebody waits for.
pub(crate) async fn run_one(
    channel: &Channel,
    room: &RoomState,
    event: &Detached<'_>,
    hops: u8,
    report: Option<Box<Report>>,
) -> Result<(Ran, Box<Call>, Option<Bytes>), CallError> {
    let context = &channel.context;
    room.begin_run();
    let guest_call = GuestCall {
        channel,
        about: About::Room(room.name()),
        event: event.kind(),
        // An event must not be lost because there is no instance for it.
        patience: Patience::Persistent,
    };
    guest_call
        .run(async |instance| {
            let mut call = Call::detached();
            (call.hops, call.report) = (hops, report);
            call.is_owned = context.hub.has_owners();
            if let Detached::RoomEvent { cause, .. } = event {
                call.cause = cause.cloned();
            }
            // The state without a name is that of the channel itself.
            call.room = (!room.name().is_empty()).then(|| room.name().clone());
            // An operator may have reset the state while the event waited.
            let state = room.newest();
            let finished = instance.handle_detached(call, state.as_deref(), event).await?;
            let state = finished.returned.map(Bytes::from);
            if let Some(state) = &state {
                keep(room, state, context)?;
            }
            let ran = Ran { generation: instance.generation(), is_state_changed: state.is_some() };
            Ok((ran, finished.call, state))
        })
        .await
}

/// Keeps a room's new state if it is within its limits, or plans it where it is recorded first.
fn keep(room: &RoomState, state: &Bytes, context: &ChannelContext) -> Result<(), Failure> {
    let config = &context.config;
    TooBig::check_room_state(state.len(), config.max_room_state_bytes)?;
    let limit = config.max_channel_state_bytes;
    let is_kept = match context.hub.is_recorded() || context.hub.has_owners() {
        true => room.plan(state.clone(), limit),
        false => room.keep(state.clone(), limit),
    };
    match is_kept {
        true => Ok(()),
        false => Err(TooBig::ChannelState { limit }.into()),
    }
}
