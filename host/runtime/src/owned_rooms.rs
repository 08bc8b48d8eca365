//! Events of rooms in a cluster: they run on the node that owns the room, and others take them there.
//!
//! The new state of a room is in its record on the engine before the effects of the event leave. An event that finds
//! the room lost has changed nothing, and runs again where the room is now.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::channel::Channel;
use crate::guest_call::CallError;
use crate::host_calls::{Call, recorded};
use crate::instance::Detached;
use crate::room_events::{Ran, data_unavailable, outcome, outcome_of_failure, run_one};
use wharf_engine::Unavailable;
use wharf_hub::hub::{Located, OwnedChanges, RecordedChanges, moved};
use wharf_hub::inbox::{AwaitedEvent, Firing, Outcome, Posted};
use wharf_hub::outbound::PendingWrites;
use wharf_hub::owners::{Refused, TimerChange};
use wharf_hub::room_state::RoomState;
use wharf_hub::timer::Begun;

/// Pause while the engine cannot be used. The events wait in the inbox, whose bound the posters feel.
const PAUSE: Duration = Duration::from_millis(200);

/// Time until a timer fires again whose firing could not be recorded.
const AGAIN: Duration = Duration::from_secs(1);

/// The end of an event.
enum Ended {
    /// It is over.
    Over,
    /// The room is not this node's any more. The event has changed nothing.
    Lost(Posted),
}

/// Runs a room's events, or takes them to the room's owner, until none waits.
pub(crate) async fn run_all(mut channel: Arc<Channel>, room: &Arc<RoomState>) {
    let mut writes = PendingWrites::default();
    let mut again = None;
    let mut is_told = false;
    while let Some(posted) = again.take().or_else(|| room.next()) {
        channel = channel.successor();
        let hub = &channel.context.hub;
        match hub.locate(room).await {
            Ok(Located::Elsewhere(node)) => {
                if !hub.forward(node, room, posted) {
                    report(&channel, room, Happened::Dropped, &no_code());
                }
            }
            Ok(Located::Here) => {
                is_told = false;
                // A panic of the host is a bug of the host, and must not be the end of the room.
                let run = AssertUnwindSafe(run_posted(&channel, room, posted, &mut writes));
                match run.catch_unwind().await {
                    Ok(Ended::Over) => {}
                    Ok(Ended::Lost(posted)) => again = Some(posted),
                    Err(_) => report_panic(&channel),
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut is_told, true) {
                    report(&channel, room, Happened::Waiting, &why);
                }
                again = wait(&channel, posted, &why).await;
            }
        }
        // Another ready task may have frames for the same receivers, and the thread is not this room's alone.
        tokio::task::yield_now().await;
        writes.write().await;
    }
    // Another node may have code for its events.
    if channel.is_removed() {
        channel.context.hub.give_up(room).await;
    }
}

fn report_panic(channel: &Channel) {
    if channel.context.failure_budget.take() {
        tracing::error!(
            channel = channel.name(),
            "the host panicked while it ran an event of a room; please report it"
        );
    }
}

/// The lot of an event that a room's owner cannot run, or cannot record.
#[derive(Clone, Copy)]
enum Happened {
    /// It waits.
    Waiting,
    /// It is dropped.
    Dropped,
    /// It is a timer's, which fires again.
    FiringAgain,
    /// It is recorded, and what it has said to rooms with a history may be lost.
    Unkept,
}

fn report(channel: &Channel, room: &RoomState, happened: Happened, why: &Unavailable) {
    if channel.context.failure_budget.take() {
        tracing::warn!(
            channel = channel.name(),
            room = channel.context.shown(room.name(), usize::MAX),
            reason = why.to_string(),
            "{}",
            match happened {
                Happened::Waiting => {
                    "events of a room wait, since it is not known which host has the room"
                }
                Happened::Dropped => "an event of a room is dropped",
                Happened::FiringAgain => {
                    "the firing of a room's timer could not be recorded; it fires again"
                }
                Happened::Unkept => {
                    "an event is recorded, but its messages to rooms with a history may be lost"
                }
            }
        );
    }
}

fn no_code() -> Unavailable {
    Unavailable::new("the host that has the room has no plugin for it")
}

/// Has the room looked at again, with its timers, after an event that could not be recorded.
fn give_back(channel: &Channel, room: &RoomState, why: &Unavailable) {
    report(channel, room, Happened::Dropped, why);
    channel.context.hub.adopt([room.name().clone()], usize::MAX);
}

/// Waits for the engine. Returns the event, unless nobody wants it any more.
async fn wait(channel: &Channel, posted: Posted, why: &Unavailable) -> Option<Posted> {
    match posted {
        Posted::Awaited(event) => {
            // The poster may have given up.
            let _ = event.waiter.send(data_unavailable(why));
            None
        }
        _ if channel.is_removed() => None,
        posted => {
            tokio::time::sleep(PAUSE).await;
            Some(posted)
        }
    }
}

async fn run_posted(
    channel: &Channel,
    room: &Arc<RoomState>,
    posted: Posted,
    writes: &mut PendingWrites,
) -> Ended {
    match posted {
        Posted::Event { cause, payload, hops, bytes } => {
            let event =
                Detached::RoomEvent { room: room.name(), cause: cause.as_ref(), payload: &payload };
            let ran = run_one(channel, room, &event, hops, None).await;
            match settle(ran, channel, room, None, writes).await {
                // A failure is in the log.
                Ok(_) => Ended::Over,
                Err(Refused::Lost | Refused::Moved) => {
                    Ended::Lost(Posted::Event { cause, payload, hops, bytes })
                }
                Err(Refused::Unavailable(why)) => {
                    give_back(channel, room, &why);
                    Ended::Over
                }
            }
        }
        Posted::Awaited(awaited) => {
            let AwaitedEvent { payload, hops, waiter } = *awaited;
            let event = Detached::RoomEvent { room: room.name(), cause: None, payload: &payload };
            let ran = run_one(channel, room, &event, hops, Some(Box::default())).await;
            let outcome = match settle(ran, channel, room, None, writes).await {
                Ok(outcome) => outcome,
                Err(Refused::Lost | Refused::Moved) => {
                    let awaited = AwaitedEvent { payload, hops, waiter };
                    return Ended::Lost(Posted::Awaited(Box::new(awaited)));
                }
                Err(Refused::Unavailable(why)) => {
                    give_back(channel, room, &why);
                    data_unavailable(&why)
                }
            };
            // The poster may have given up.
            let _ = waiter.send(outcome);
            Ended::Over
        }
        Posted::TimerChange(change) => change_timer(channel, room, *change).await,
        // It is this node's now. Only connections have a session.
        Posted::Orphaned | Posted::SessionWanted(_) => Ended::Over,
        // A removed channel has no code for it. The record keeps it for those that have, and this node gives the room up.
        Posted::Timer(_) if channel.is_removed() => Ended::Over,
        Posted::Timer(firing) => {
            fire(channel, room, &firing, writes).await;
            Ended::Over
        }
    }
}

/// Fires a timer. One whose firing cannot be recorded is set again by the record.
async fn fire(
    channel: &Channel,
    room: &Arc<RoomState>,
    firing: &Firing,
    writes: &mut PendingWrites,
) {
    let hub = &channel.context.hub;
    let Some(begun) = hub.begin_timer(firing) else { return };
    let (name, payload) = (&firing.name, &begun.payload);
    let event = match &**room.name() {
        "" => Detached::ChannelTimer { name, payload },
        room => Detached::RoomTimer { room, name, payload },
    };
    let ran = run_one(channel, room, &event, 0, None).await;
    if let Err(why) = settle(ran, channel, room, Some((firing, &begun)), writes).await {
        if let Refused::Unavailable(why) = &why {
            report(channel, room, Happened::FiringAgain, why);
            // One that is refused each time must not fire at the pace of the refusals.
            tokio::time::sleep(AGAIN).await;
        }
        // Whichever node has the room fires it, by the record.
        hub.adopt([room.name().clone()], usize::MAX);
    }
}

/// Changes a timer that an event elsewhere has set or cancelled.
async fn change_timer(channel: &Channel, room: &Arc<RoomState>, change: TimerChange) -> Ended {
    let config = &channel.context.config;
    let limit = match &**room.name() {
        "" => config.max_timers_per_channel,
        _ => config.max_timers_per_room,
    };
    if let TimerChange::Set(timer) = &change
        && channel.context.hub.has_timers_to(room, &timer.name, limit)
    {
        if channel.context.failure_budget.take() {
            tracing::warn!(
                channel = channel.name(),
                room = channel.context.shown(room.name(), usize::MAX),
                timer = channel.context.shown(&timer.name, usize::MAX),
                limit,
                "a timer that another host has set is dropped, since its room has too many"
            );
        }
        return Ended::Over;
    }
    let changes = OwnedChanges { timers: vec![change.clone()], ..OwnedChanges::default() };
    match channel.context.hub.write_owned(room, changes).await {
        Ok(()) => Ended::Over,
        Err(Refused::Lost | Refused::Moved) => Ended::Lost(Posted::TimerChange(Box::new(change))),
        Err(Refused::Unavailable(why)) => {
            give_back(channel, room, &why);
            Ended::Over
        }
    }
}

/// Records what an event has changed, and performs its effects then.
///
/// # Errors
///
/// The event has changed nothing: the room is lost, or the engine cannot be used.
async fn settle(
    ran: Result<(Ran, Box<Call>, Option<Bytes>), CallError>,
    channel: &Channel,
    room: &Arc<RoomState>,
    fired: Option<(&Firing, &Begun)>,
    writes: &mut PendingWrites,
) -> Result<Outcome, Refused> {
    let hub = &channel.context.hub;
    let (ran, mut call, state) = match ran {
        Ok(ran) => ran,
        Err(failure) => {
            if fired.is_some() {
                // The timer whose handler failed has fired as well.
                let changes = OwnedChanges { fired, ..OwnedChanges::default() };
                hub.write_owned(room, changes).await?;
            } else if !room.is_held() && !room.has_flushed() {
                // A handler may fail because its room has moved, which a flush finds out.
                return Err(Refused::Lost);
            }
            return Ok(outcome_of_failure(failure));
        }
    };
    let timers = hub.own_timers(room, &mut call.effects);
    let mut changes = RecordedChanges::default();
    changes.history(&mut call.effects, hub);
    // Asked for before the record: what follows it has no way back.
    if !changes.is_empty()
        && let Some(why) = hub.log_failure()
    {
        // The record has the state and the timers as they were before.
        hub.disown(room);
        return Err(Refused::Unavailable(why));
    }
    match hub.write_owned(room, OwnedChanges { state, timers, fired }).await {
        // A part of its effects has left already.
        Err(Refused::Lost | Refused::Moved) if room.has_flushed() => {
            return Err(Refused::Unavailable(moved()));
        }
        written => written?,
    }
    let kept = match changes.is_empty() {
        true => Ok(()),
        false => recorded(hub, changes, &mut call.effects).await,
    };
    call.perform(hub, writes).await;
    match kept {
        Ok(()) => Ok(outcome(ran, call.report.take())),
        Err(why) => {
            report(channel, room, Happened::Unkept, &why);
            Ok(Outcome::Failed(format!(
                "the event is recorded, but its messages to rooms with a history may be lost: {why}"
            )))
        }
    }
}
