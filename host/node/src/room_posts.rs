//! Events of rooms that other nodes have sent to the owner, and their outcomes on the way back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wharf_hub::connection_id::NodeId;
use wharf_hub::hub::{Hub, NotTaken};
use wharf_hub::inbox::{AwaitedEvent, Cause, Outcome};
use wharf_hub::owners::{Forwarded, TimerChange};

use crate::addressees::id;
use crate::node::Shared;
use crate::returned_posts;
use crate::topics::Topic;
use crate::wire::{Content, RoomEventFor, RoomOutcome, RoomTimerFor};

/// Events that are waited for and run elsewhere, at most. Further ones are answered as late.
const MAX_OPEN: usize = 10_000;

/// The posters that wait for the outcome of an event which runs on another node.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
}

impl Outcomes {
    pub(crate) fn next_question(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes who waits for an outcome.
    pub(crate) fn open(&self, question: u64, waiter: oneshot::Sender<Outcome>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_OPEN {
            waiting.retain(|_, waiter| !waiter.is_closed());
        }
        if waiting.len() >= MAX_OPEN {
            // The poster may have given up.
            let _ = waiter.send(Outcome::Late("too many events wait for other hosts".to_owned()));
            return;
        }
        waiting.insert(question, waiter);
    }

    /// Notes an outcome.
    pub(crate) fn answered(&self, question: u64, outcome: RoomOutcome<'_>) {
        if let Some(waiter) = self.waiting.lock().remove(&question) {
            let _ = waiter.send(outcome.read());
        }
    }
}

/// Takes an event of a room, which another node thinks to be here. If it is not, it goes on from here. One that this node
/// has sent itself comes back if the other one has no plugin for it.
pub(crate) fn take(shared: &Arc<Shared>, from: NodeId, event: RoomEventFor<'_>) {
    let Some(hub) = shared.hub(&event.channel) else {
        return returned_posts::give_back(shared, from, &Content::RoomEvent(event));
    };
    if event.returned > 0 {
        hub.note_returned(&event.room, from);
    }
    let payload = Bytes::copy_from_slice(event.payload);
    let Some(question) = event.question else {
        let text = |text: &Cow<'_, str>| Arc::from(&**text);
        let cause = event.cause.and_then(id).map(|connection| {
            Arc::new(Cause {
                connection,
                user: event.user.as_ref().map(text),
                reference: event.reference.as_ref().map(text),
            })
        });
        let event_of = Forwarded::Event { cause, payload, hops: event.hops };
        put(shared, &hub, &event.channel, &event.room, event_of);
        return;
    };
    let (waiter, outcome) = oneshot::channel();
    let awaited = AwaitedEvent { payload, hops: event.hops, waiter };
    // The receiver is that of the place in the inbox, which stands for the waiter here.
    drop(outcome);
    let awaited = Forwarded::Awaited(Box::new(awaited));
    let taken = put(shared, &hub, &event.channel, &event.room, awaited);
    let shared = shared.clone();
    tokio::spawn(async move {
        let outcome = match taken {
            Some(outcome) => outcome.await.ok(),
            None => {
                Some(Outcome::Late("the host that has the room has no place for it".to_owned()))
            }
        };
        if let Some(outcome) = outcome {
            let outcome = RoomOutcome::of(&outcome);
            shared.publish(&Topic::Node(from), Content::RoomOutcome { question, outcome });
        }
    });
}

/// Takes a change of a room's timer.
pub(crate) fn take_timer(shared: &Shared, from: NodeId, change: RoomTimerFor<'_>) {
    let Some(hub) = shared.hub(&change.channel) else {
        return returned_posts::give_back(shared, from, &Content::RoomTimer(change));
    };
    if change.returned > 0 {
        hub.note_returned(&change.room, from);
    }
    let name: Arc<str> = Arc::from(&*change.name);
    let of = match &change.timer {
        Some(timer) => TimerChange::Set(timer.read(name)),
        None => TimerChange::Cancel(name),
    };
    put(shared, &hub, &change.channel, &change.room, Forwarded::Timer(of));
}

fn put(
    shared: &Shared,
    hub: &Hub,
    channel: &str,
    room: &str,
    event: Forwarded,
) -> Option<oneshot::Receiver<Outcome>> {
    let (limits, max_rooms) = shared.room_limits();
    match hub.take_forwarded(&Arc::from(room), event, limits, max_rooms) {
        Ok(taken) => taken,
        Err(why) => {
            let why = match why {
                NotTaken::Inbox(_) => "the inbox of the room is full",
                NotTaken::Rooms => "too many rooms have data",
            };
            shared.refused(channel, why);
            None
        }
    }
}
