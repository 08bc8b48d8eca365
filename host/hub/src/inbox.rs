//! The posted events of a connection or a room, until they are handled: a bounded queue whose
//! places are taken in advance.
//!
//! A handler that posts takes the place when it calls, and fills it when its event commits. So an
//! accepted post cannot find the inbox full, and a post to a full inbox is an error of the call. An
//! inbox that is never used is one pointer.

mod awaited;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::client_bytes::{self, FREE_BYTES, Share};
use crate::connection_id::ConnectionId;
use crate::owners::TimerChange;
use wharf_contract::limits::event_charge;
use wharf_metrics::limits::Limit;

pub use awaited::{AwaitedEvent, Outcome};

/// The bounds of an inbox.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    /// Number of notices or room events, including those not yet committed.
    pub events: usize,
    /// Size of their payloads, in bytes.
    pub bytes: usize,
    /// Size of the payloads in all inboxes that share a [counter](Addressee::channel_bytes), in
    /// bytes: those of a channel's rooms. Each counts for at least 64.
    pub channel_bytes: usize,
}

/// The owner of a timer. The timer's name is unique within it, and the timer ends with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A connection.
    Connection(ConnectionId),
    /// A room, by its name.
    Room(Arc<str>),
    /// The channel.
    Channel,
}

/// A timer's place in the inbox of its owner. There is one for each name, however often it is set,
/// cancelled and set again.
#[derive(Debug)]
pub struct Firing {
    /// The owner.
    pub scope: Scope,
    /// Name.
    pub name: Arc<str>,
}

/// The cause of a posted event: the connection whose handler posted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The connection.
    pub connection: ConnectionId,
    /// Its user at that time.
    pub user: Option<Arc<str>>,
    /// The `ref` of the message that was handled, as JSON, if the handler has named it.
    pub reference: Option<Arc<str>>,
}

/// An event that another handler or a timer caused.
#[derive(Debug)]
pub enum Posted {
    /// A notice to a connection, or an event of a room.
    Event {
        /// Connection whose handler posted it; `None` for other handlers.
        cause: Option<Arc<Cause>>,
        /// Payload.
        payload: Bytes,
        /// Number of notices and room events that led to it, itself included.
        hops: u8,
        /// Bytes that its place was taken for.
        bytes: usize,
    },
    /// An event of a room whose poster waits for the outcome. Boxed: it is rare.
    Awaited(Box<AwaitedEvent>),
    /// A timer's firing. It takes no place: timers have their own bound, and of each name at most
    /// one firing waits.
    Timer(Arc<Firing>),
    /// A change of a timer of the room, which another event has caused. It takes no place: the calls that change timers bound
    /// those that wait.
    TimerChange(Box<TimerChange>),
    /// The wish that this node becomes the owner of the room, which has lost its own.
    Orphaned,
    /// The operator's question for a connection's session. It takes no place, and those that nobody
    /// waits for any more are dropped with the next one.
    SessionWanted(oneshot::Sender<Box<[u8]>>),
}

impl Posted {
    /// Returns the size of the payload that a place was taken for, if one was.
    pub(crate) fn placed_bytes(&self) -> Option<usize> {
        match self {
            Posted::Event { bytes, .. } => Some(*bytes),
            Posted::Awaited(event) => Some(event.payload.len()),
            Posted::Timer(_)
            | Posted::TimerChange(_)
            | Posted::Orphaned
            | Posted::SessionWanted(_) => None,
        }
    }
}

/// The reason why no place could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The inbox is full.
    Full,
    /// The inboxes that share a [counter](Addressee::channel_bytes) are full.
    ChannelFull,
    /// Events are no longer handled here.
    Closed,
}

/// A bounded queue of posted events.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    Open(Box<Content>),
    /// No event is accepted any more.
    Closed,
}

#[derive(Debug, Default)]
struct Content {
    waiting: VecDeque<Posted>,
    /// Places taken, filled or not.
    places: usize,
    bytes: usize,
    /// The part of them that counts for this connection in the sum of all clients.
    small_bytes: usize,
    share: Share,
}

impl Content {
    /// Returns true if all clients together may make the host hold one more event for this one.
    fn is_covered(&mut self, bytes: usize) -> bool {
        let small = self.small_bytes + small_part(bytes);
        if self.bytes + bytes <= FREE_BYTES && small <= FREE_BYTES {
            return true;
        }
        !client_bytes::is_exhausted() && self.share.cover(small)
    }

    /// Notes that a place is free again.
    fn free(&mut self, bytes: usize) {
        self.places = self.places.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        // Nothing is counted for a room.
        self.small_bytes = self.small_bytes.saturating_sub(small_part(bytes));
        self.share.cover(self.small_bytes);
    }
}

/// Returns the part of an event that counts for its receiver. A payload that is not small counts by
/// itself.
fn small_part(bytes: usize) -> usize {
    event_charge(if client_bytes::is_small(bytes) { bytes } else { 0 })
}

impl State {
    /// Returns the content, which is made if there was none; `None` if the inbox is closed.
    fn open(&mut self) -> Option<&mut Content> {
        if let State::Unused = self {
            *self = State::Open(Box::default());
        }
        match self {
            State::Open(content) => Some(content),
            _ => None,
        }
    }

    /// Frees the memory of a burst, which an idle connection must not keep.
    fn shrink(&mut self) {
        if let State::Open(content) = self
            && content.waiting.is_empty()
            && content.places == 0
        {
            *self = State::Unused;
        }
    }
}

/// An owner of an inbox, which is woken when it has an event.
pub trait Addressee: Send + Sync {
    /// Returns the inbox.
    fn inbox(&self) -> &Inbox;

    /// Returns the counter of the [charges](event_charge) in this inbox and others, if their sum is
    /// bounded for the channel. The code that takes an event out of the inbox subtracts its charge.
    fn channel_bytes(&self) -> Option<&AtomicUsize> {
        None
    }

    /// Handles the event that waits in the inbox.
    fn attend(self: Arc<Self>);

    /// Returns true if another node handles the events, as far as this one knows.
    fn is_elsewhere(&self) -> bool {
        false
    }
}

/// A place in an inbox, taken and not yet filled. Dropping it gives it back.
pub struct Place {
    to: Option<Arc<dyn Addressee>>,
    bytes: usize,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Inbox {
    /// Takes the next event out. Its place is free again.
    pub fn pop(&self) -> Option<Posted> {
        let mut state = self.0.lock();
        let State::Open(content) = &mut *state else {
            return None;
        };
        let posted = content.waiting.pop_front()?;
        if let Some(bytes) = posted.placed_bytes() {
            content.free(bytes);
        }
        state.shrink();
        Some(posted)
    }

    /// Returns true if nothing waits and no place is taken.
    pub fn is_empty(&self) -> bool {
        !matches!(*self.0.lock(), State::Open(_))
    }

    /// Returns the number of events that wait.
    pub fn waiting(&self) -> usize {
        match &*self.0.lock() {
            State::Open(content) => content.waiting.len(),
            _ => 0,
        }
    }

    /// Drops the waiting events, and accepts no more.
    pub fn close(&self) {
        *self.0.lock() = State::Closed;
    }

    fn take_place(
        &self,
        bytes: usize,
        limits: InboxLimits,
        of_client: bool,
    ) -> Result<(), NoPlace> {
        let mut state = self.0.lock();
        let content = state.open().ok_or(NoPlace::Closed)?;
        let is_full = content.places >= limits.events
            || content.bytes.saturating_add(bytes) > limits.bytes
            || (of_client && !content.is_covered(bytes));
        if is_full {
            state.shrink();
            return Err(NoPlace::Full);
        }
        if of_client {
            content.small_bytes += small_part(bytes);
        }
        content.places += 1;
        content.bytes += bytes;
        Ok(())
    }

    fn give_place_back(&self, bytes: usize) {
        let mut state = self.0.lock();
        if let State::Open(content) = &mut *state {
            content.free(bytes);
            state.shrink();
        }
    }

    /// Queues a question for the session before all events. `false` if the inbox is closed.
    fn put_question(&self, answer: oneshot::Sender<Box<[u8]>>) -> bool {
        match self.0.lock().open() {
            Some(content) => {
                let is_wanted = |posted: &Posted| match posted {
                    Posted::SessionWanted(answer) => !answer.is_closed(),
                    _ => true,
                };
                content.waiting.retain(is_wanted);
                content.waiting.push_front(Posted::SessionWanted(answer));
                true
            }
            None => false,
        }
    }

    /// Queues an event that has a place or needs none. `false` if the inbox is closed.
    fn put(&self, posted: Posted) -> bool {
        match self.0.lock().open() {
            Some(content) => {
                content.waiting.push_back(posted);
                true
            }
            None => false,
        }
    }
}

impl Place {
    /// Takes a place for a payload of `bytes` bytes, the `ref` that it carries on included.
    ///
    /// # Errors
    ///
    /// The inbox is full, or events are no longer handled.
    pub fn take(
        to: Arc<dyn Addressee>,
        bytes: usize,
        limits: InboxLimits,
    ) -> Result<Place, NoPlace> {
        let charge = event_charge(bytes);
        if let Some(channel_bytes) = to.channel_bytes()
            && channel_bytes.fetch_add(charge, Ordering::Relaxed).saturating_add(charge)
                > limits.channel_bytes
        {
            channel_bytes.fetch_sub(charge, Ordering::Relaxed);
            Limit::MaxChannelInboxBytes.reached();
            return Err(NoPlace::ChannelFull);
        }
        // Inboxes without a bound of their channel's are those of connections.
        let of_client = to.channel_bytes().is_none();
        if let Err(why) = to.inbox().take_place(bytes, limits, of_client) {
            count_off(&*to, bytes);
            match why {
                NoPlace::Full if of_client => Limit::Inbox.reached(),
                NoPlace::Full => Limit::RoomInbox.reached(),
                _ => {}
            }
            return Err(why);
        }
        Ok(Place { to: Some(to), bytes })
    }

    /// Returns true if another node handles the events of the inbox, as far as this one knows.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.is_elsewhere())
    }

    /// Posts an event with the payload that the place was taken for.
    pub fn fill(self, cause: Option<Arc<Cause>>, payload: Bytes, hops: u8) {
        debug_assert!(payload.len() <= self.bytes);
        let bytes = self.bytes;
        self.put(Posted::Event { cause, payload, hops, bytes });
    }

    /// Posts an event of the operator's with the payload that the place was taken for. Returns the
    /// receiver of its outcome, to which nothing is sent if it is never handled.
    pub fn fill_awaited(self, payload: Bytes, hops: u8) -> oneshot::Receiver<Outcome> {
        let (waiter, outcome) = oneshot::channel();
        self.put(Posted::Awaited(Box::new(AwaitedEvent { payload, hops, waiter })));
        outcome
    }

    fn put(mut self, posted: Posted) {
        debug_assert_eq!(posted.placed_bytes(), Some(self.bytes));
        let Some(to) = self.to.take() else { return };
        let bytes = self.bytes;
        match to.inbox().put(posted) {
            true => to.attend(),
            false => count_off(&*to, bytes),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(to) = &self.to {
            to.inbox().give_place_back(self.bytes);
            count_off(&**to, self.bytes);
        }
    }
}

/// Subtracts a payload that is no longer in the inbox.
fn count_off(to: &dyn Addressee, bytes: usize) {
    if let Some(channel_bytes) = to.channel_bytes() {
        channel_bytes.fetch_sub(event_charge(bytes), Ordering::Relaxed);
    }
}

/// Asks the owner of a connection for its session. The receiver gets it when no handler runs; `None`
/// if events are no longer handled.
pub(crate) fn ask_session(to: Arc<dyn Addressee>) -> Option<oneshot::Receiver<Box<[u8]>>> {
    let (answer, answered) = oneshot::channel();
    to.inbox().put_question(answer).then(|| {
        to.attend();
        answered
    })
}

/// Posts a change of a room's timer, which needs no place. `false` if events are no longer handled.
pub(crate) fn post_timer_change(to: Arc<dyn Addressee>, change: TimerChange) -> bool {
    post_without_place(to, Posted::TimerChange(Box::new(change)))
}

/// Posts the wish that this node becomes the owner of a room.
pub(crate) fn post_orphaned(to: Arc<dyn Addressee>) {
    post_without_place(to, Posted::Orphaned);
}

/// Posts a timer's firing, which needs no place. `false` if events are no longer handled.
pub(crate) fn post_firing(to: Arc<dyn Addressee>, firing: Arc<Firing>) -> bool {
    post_without_place(to, Posted::Timer(firing))
}

fn post_without_place(to: Arc<dyn Addressee>, posted: Posted) -> bool {
    let is_posted = to.inbox().put(posted);
    if is_posted {
        to.attend();
    }
    is_posted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Anybody(Inbox);

    impl Addressee for Anybody {
        fn inbox(&self) -> &Inbox {
            &self.0
        }

        fn attend(self: Arc<Self>) {}
    }

    const LIMITS: InboxLimits = InboxLimits { events: 4, bytes: 10, channel_bytes: usize::MAX };

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize),
        Fill,
        GiveBack,
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..8_usize).prop_map(Step::Take),
            Just(Step::Fill),
            Just(Step::GiveBack),
            Just(Step::Pop),
        ];
        proptest::collection::vec(step, 0..100)
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_out_once_in_order_and_bounds_hold(steps in steps()) {
            let to = Arc::new(Anybody::default());
            let (mut taken, mut waiting) = (Vec::new(), VecDeque::new());
            for step in steps {
                let places: usize = taken.len() + waiting.len();
                let bytes: usize = taken.iter().map(|place: &Place| place.bytes).sum::<usize>()
                    + waiting.iter().sum::<usize>();
                match step {
                    Step::Take(size) => match Place::take(to.clone(), size, LIMITS) {
                        Ok(place) => taken.push(place),
                        Err(why) => {
                            prop_assert_eq!(why, NoPlace::Full);
                            prop_assert!(places == LIMITS.events || bytes + size > LIMITS.bytes);
                        }
                    },
                    Step::Fill => if let Some(place) = taken.pop() {
                        waiting.push_back(place.bytes);
                        let payload = Bytes::from(vec![0; place.bytes]);
                        place.fill(None, payload, 0);
                    },
                    Step::GiveBack => drop(taken.pop()),
                    Step::Pop => match (to.0.pop(), waiting.pop_front()) {
                        (Some(Posted::Event { payload, .. }), Some(size)) => {
                            prop_assert_eq!(payload.len(), size);
                        }
                        (None, None) => {}
                        other => prop_assert!(false, "{other:?}"),
                    },
                }
                prop_assert_eq!(to.0.is_empty(), taken.is_empty() && waiting.is_empty());
            }
        }
    }

    #[test]
    fn the_inboxes_of_all_connections_are_bounded_together() {
        let _alone = client_bytes::alone();
        let before = client_bytes::counted();
        client_bytes::set_limit(before + 200_000);
        let limits = InboxLimits { events: 1000, bytes: 1 << 20, channel_bytes: usize::MAX };
        let all: Vec<_> = (0..10).map(|_| Arc::new(Anybody::default())).collect();
        let mut places = Vec::new();
        let mut refused = 0;
        for _ in 0..20 {
            for to in &all {
                match Place::take(to.clone(), 4_000, limits) {
                    Ok(place) => places.push(place),
                    Err(why) => {
                        assert_eq!(why, NoPlace::Full);
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 0 && places.len() > 10 * 4, "the first 16 KiB of each are free");
        assert!(client_bytes::counted() <= before + 200_000);
        drop(places);
        assert_eq!(client_bytes::counted(), before);
        client_bytes::set_limit(usize::MAX);
    }

    #[test]
    fn a_question_for_the_session_comes_before_events_and_takes_no_place_of_theirs() {
        let to = Arc::new(Anybody::default());
        for _ in 0..LIMITS.events {
            let place = Place::take(to.clone(), 1, LIMITS).expect("there is room");
            place.fill(None, Bytes::from_static(b"a"), 0);
        }
        for _ in 0..100 {
            drop(ask_session(to.clone()).expect("it is open"));
        }
        let _answered = ask_session(to.clone()).expect("it is open");
        assert_eq!(to.0.waiting(), LIMITS.events + 1, "those that were given up are dropped");
        assert!(matches!(to.0.pop(), Some(Posted::SessionWanted(_))));
        assert!(matches!(to.0.pop(), Some(Posted::Event { .. })));
        to.0.close();
        assert!(ask_session(to).is_none());
    }

    #[test]
    fn a_closed_inbox_takes_nothing_and_a_place_in_it_is_no_harm() {
        let to = Arc::new(Anybody::default());
        let place = Place::take(to.clone(), 3, LIMITS).expect("there is room");
        to.0.close();
        place.fill(None, Bytes::from_static(b"abc"), 0);
        assert!(to.0.pop().is_none());
        assert_eq!(Place::take(to, 1, LIMITS).err(), Some(NoPlace::Closed));
    }
}
