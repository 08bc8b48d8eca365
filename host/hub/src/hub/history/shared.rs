//! Messages for rooms whose logs the cluster has: appending, and delivery in the order of the log.
//!
//! A message is appended before its event's effects leave, and other nodes may have it by then. The members of this
//! node get it when it is the next one of its log: at once, or when those before it have come.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use wharf_contract::history::Retention;
use wharf_engine::Unavailable;

use super::{Choice, Hub, KeptIn, RecordedChanges};
use crate::connection_id::ConnectionId;
use crate::effects::Effects;
use crate::frame::Frame;
use crate::history::{
    Answer, CannotRecover, Feed, Feeds, Position, Step, Waiting, Why, joined, skipped,
};
use crate::logs::{LogMessage, Logs, Once};
use crate::outbound::{Outbound, PendingWrites};
use crate::recipients::Recipients;
use crate::room::{Members, broadcast, broadcast_in_turn};

/// Time for which an event waits for the messages before its own, until it reads them.
const PATIENCE: Duration = Duration::from_millis(200);

/// The messages of one event for logs of the cluster.
#[derive(Debug, Default)]
pub(crate) struct SharedAppends(Vec<SharedAppend>);

#[derive(Debug)]
struct SharedAppend {
    /// The place of the broadcast among the effects.
    effect: usize,
    room: Arc<str>,
    retention: Retention,
    message: LogMessage,
}

/// A message in a log of the cluster.
#[derive(Debug)]
pub(super) struct SharedPlace {
    pub(super) room: Arc<str>,
    pub(super) at: Position,
    pub(super) message: LogMessage,
}

impl SharedAppends {
    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the messages of an event for rooms that keep them.
    pub(super) fn add(&mut self, feeds: &Feeds, effects: &mut Effects, hub: &Hub) {
        let at_ms = hub.histories.now();
        effects.for_each_broadcast(|effect, to, frame, except| {
            let names = match to {
                Recipients::Room(name) => std::slice::from_ref(name),
                Recipients::Rooms(names) => &**names,
                _ => return None,
            };
            let kept = |name: &Arc<str>| Some((name.clone(), hub.histories.retention(name)?));
            let mut rooms: Vec<_> = names.iter().filter_map(kept).collect();
            rooms.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            rooms.dedup_by(|(one, _), (other, _)| one == other);
            if rooms.is_empty() {
                return None;
            }
            let once = (names.len() > 1).then(|| feeds.next_once());
            for (room, retention) in rooms {
                let message = LogMessage { frame: Some(frame.clone()), at_ms, except, once };
                self.0.push(SharedAppend { effect, room, retention, message });
            }
            Some(Box::new(KeptIn { once, ..KeptIn::default() }))
        });
    }
}

impl KeptIn {
    /// Returns the place in the log of a room, if the cluster has it.
    pub(crate) fn place_in(&self, room: &str) -> Option<Position> {
        self.shared.iter().find(|place| &*place.room == room).map(|place| place.at)
    }
}

/// Appends messages to one log, one after the other.
async fn append(
    logs: Arc<dyn Logs>,
    appends: Vec<SharedAppend>,
) -> Result<Vec<(usize, SharedPlace)>, Unavailable> {
    let mut places = Vec::with_capacity(appends.len());
    for SharedAppend { effect, room, retention, message } in appends {
        let at = logs.append(&room, &message, &retention).await?;
        places.push((effect, SharedPlace { room, at, message }));
    }
    Ok(places)
}

/// Appending.
impl Hub {
    /// Returns the reason why messages cannot be appended to logs of the cluster, as far as it is known without a try.
    pub fn log_failure(&self) -> Option<Unavailable> {
        let why = self.feeds.as_ref()?.logs.failure()?;
        Some(Unavailable::new(&why))
    }

    /// Records changes, all or none, and waits until they are recorded; messages for logs of the cluster are appended
    /// first. The messages among the effects get their places in logs.
    ///
    /// An event that appends to several logs, or records other changes as well, has no common step for them: if one of
    /// them fails after another one is done, those that were done stay.
    ///
    /// # Errors
    ///
    /// Nothing can be recorded at present. A message whose append has had no answer may be in its log.
    pub async fn record_all(
        &self,
        mut changes: RecordedChanges,
        effects: &mut Effects,
    ) -> Result<(), Unavailable> {
        if let Some(feeds) = &self.feeds
            && !changes.shared.is_empty()
        {
            let shared = std::mem::take(&mut changes.shared);
            Box::pin(self.append_shared(feeds, shared, effects)).await?;
        }
        match self.record(changes, effects)? {
            Some(written) => written.wait().await,
            None => Ok(()),
        }
    }

    async fn append_shared(
        &self,
        feeds: &Feeds,
        SharedAppends(mut appends): SharedAppends,
        effects: &mut Effects,
    ) -> Result<(), Unavailable> {
        // Known without a try, so that an event with several messages is not done in part.
        if let Some(why) = self.log_failure() {
            return Err(why);
        }
        appends.sort_by(|one, other| one.room.cmp(&other.room));
        let is_one = appends.first().map(|one| &one.room) == appends.last().map(|one| &one.room);
        let mut places = Vec::new();
        if is_one {
            places = append(feeds.logs.clone(), appends).await?;
        } else {
            // Logs at the same time, the messages of each in their order.
            let mut tasks = JoinSet::new();
            let mut rest = appends.into_iter().peekable();
            while let Some(first) = rest.next() {
                let mut of_log = vec![first];
                while let Some(next) = rest.next_if(|next| {
                    of_log.last().is_some_and(|last: &SharedAppend| last.room == next.room)
                }) {
                    of_log.push(next);
                }
                tasks.spawn(append(feeds.logs.clone(), of_log));
            }
            let mut failure = None;
            while let Some(ended) = tasks.join_next().await {
                match ended {
                    Ok(Ok(some)) => places.extend(some),
                    Ok(Err(why)) => failure = Some(why),
                    Err(why) => failure = Some(Unavailable::new(&why.to_string())),
                }
            }
            if let Some(why) = failure {
                return Err(why);
            }
        }
        for (effect, place) in places {
            effects.note_kept(effect, |kept| kept.shared.push(place));
        }
        Ok(())
    }
}

/// A thing for the members of a room, each of whom gets it in its form.
enum Form<'a> {
    Message(Choice<'a>),
    /// A note for those who ask for positions.
    Note(Frame),
}

impl Form<'_> {
    fn frame(&self, number: u64, outbound: &Outbound) -> Option<&Frame> {
        match self {
            Form::Message(choice) => choice.frame(number, outbound),
            Form::Note(note) => outbound.wants_positions().then_some(note),
        }
    }
}

/// Delivery.
impl Hub {
    /// Delivers a message that is appended, with all before it.
    pub(super) async fn deliver_shared(
        &self,
        feeds: &Feeds,
        kept: KeptIn,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        writes: &mut PendingWrites,
    ) {
        let KeptIn { shared, once, .. } = kept;
        let is_kept = |name: &Arc<str>| shared.iter().any(|place| place.room == *name);
        let rest: Vec<_> = match to {
            Recipients::Rooms(names) => {
                names.iter().filter(|name| !is_kept(name)).cloned().collect()
            }
            _ => Vec::new(),
        };
        for place in shared {
            self.deliver_own(feeds, place, writes).await;
        }
        if let (Some(once), false) = (once, rest.is_empty()) {
            let to = Recipients::Rooms(rest.into());
            if let Some(peers) = &self.peers {
                peers.deliver_once(&to, frame, except, once);
            }
            self.deliver_once_here(&to, frame, except, once, writes).await;
        }
    }

    /// Queues a frame for the members of rooms on this node that have not got another message of the same name.
    pub async fn deliver_once_here(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        once: Once,
        writes: &mut PendingWrites,
    ) {
        let (Some(feeds), Recipients::Rooms(names)) = (&self.feeds, to) else { return };
        let seen = feeds.seen(once);
        let except = except.and_then(ConnectionId::local_number);
        let rooms = self.rooms.several(names);
        let members: Vec<&Members> = rooms.iter().map(|room| &room.members).collect();
        let is_wanted =
            |number: u64, _: &Outbound| except != Some(number) && seen.lock().insert(number);
        broadcast(&members, frame, writes, None, is_wanted).await;
    }

    /// Delivers an own message to the members of this node, and waits until those before it have come: the effects of an
    /// event keep their order.
    async fn deliver_own(&self, feeds: &Feeds, own: SharedPlace, writes: &mut PendingWrites) {
        let SharedPlace { room, at, message } = own;
        // Without one nobody here is a member.
        let Some(feed) = feeds.get(&room) else { return };
        feed.lock().hear(at, message, false);
        self.deliver_ready(feeds, &feed, writes).await;
        let has_members = || self.rooms.get(&room).is_some_and(|room| room.members.count() > 0);
        if feed.lock().has(at) || !has_members() {
            return;
        }
        // Others must not wait with this event.
        writes.write().await;
        let arrived = async {
            loop {
                // Asked for before the look, so that a delivery in between is not missed.
                let moved = feed.moved.notified();
                {
                    let state = feed.lock();
                    if state.has(at) || state.wants_read() {
                        return state.has(at);
                    }
                }
                moved.await;
            }
        };
        if !tokio::time::timeout(PATIENCE, arrived).await.unwrap_or(false) {
            feed.lock().doubt();
            self.catch_up(feeds, &feed, writes).await;
        }
    }

    /// Delivers what is ready in a feed, in its order.
    pub(super) async fn deliver_ready(
        &self,
        feeds: &Feeds,
        feed: &Feed,
        writes: &mut PendingWrites,
    ) {
        loop {
            let (room, form);
            let before = writes.queued();
            let count = |queued: u64| {
                self.sent.broadcast(queued.saturating_sub(before) as usize);
            };
            let turn = {
                // Held until it is queued, or has its place in the room's line.
                let mut state = feed.lock();
                let Some(step) = state.next_ready() else { break };
                let Some(found) = self.rooms.get(feed.name()) else { continue };
                room = found;
                form = shaped(feeds, feed, step);
                let chosen = |number: u64, outbound: &Outbound| form.frame(number, outbound);
                if room.members.broadcast_chosen_at_once(writes, chosen) {
                    count(writes.queued());
                    continue;
                }
                room.members.stand_in_line()
            };
            let chosen = |number: u64, outbound: &Outbound| form.frame(number, outbound);
            Box::pin(broadcast_in_turn(&room.members, turn, writes, chosen)).await;
            count(writes.queued());
        }
        feed.moved.notify_waiters();
    }
}

/// Makes the forms in which members get a thing.
fn shaped<'a>(feeds: &Feeds, feed: &'a Feed, step: Step<LogMessage>) -> Form<'a> {
    match step {
        Step::Message(at, LogMessage { frame: Some(frame), except, once, .. }) => {
            let except = except.and_then(ConnectionId::local_number);
            let seen = once.map(|once| feeds.seen(once));
            Form::Message(Choice {
                room: feed.name(),
                at,
                message: Waiting { frame, except, seen },
                noted: OnceLock::new(),
                skipped: OnceLock::new(),
            })
        }
        Step::Message(at, LogMessage { frame: None, .. }) => Form::Note(skipped(feed.name(), at)),
        Step::Jump(from, why) => {
            let recovered = match why {
                Why::Started => None,
                Why::Begun => Some(Err(CannotRecover::Unavailable)),
                Why::NewEpoch => Some(Err(CannotRecover::NewEpoch)),
                Why::Trimmed => Some(Err(CannotRecover::Trimmed)),
            };
            let told = Answer { from, messages: Vec::new(), recovered };
            Form::Note(joined(feed.name(), &told))
        }
    }
}
