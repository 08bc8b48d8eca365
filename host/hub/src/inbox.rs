//! What others have posted for a connection or a room, until it is handled: a bounded queue whose
//! places are taken in advance.
//!
//! A handler that posts takes the place when it calls, and fills it when its event commits. So an
//! accepted post cannot find the inbox full, and one that overruns it is an error to whoever
//! posts. An inbox that is never used is one pointer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::connection_id::ConnectionId;

/// How much may wait in an inbox.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    /// Notices or room events, those not yet committed included.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// Bytes of the payloads in all inboxes that are counted [together](Addressee::together).
    pub bytes_together: usize,
}

/// The owner of a timer. The timer's name is unique in there, and it goes with its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A connection.
    Connection(ConnectionId),
    /// A room, by its name.
    Room(Arc<str>),
    /// The channel.
    Channel,
}

/// A timer's place in the inbox of its owner: there is one for each name, whatever is set,
/// cancelled and set again under it.
#[derive(Debug)]
pub struct Firing {
    /// The owner.
    pub scope: Scope,
    /// Its name.
    pub name: Arc<str>,
}

/// An event that somebody else caused.
#[derive(Debug)]
pub enum Posted {
    /// A notice to a connection, or an event of a room.
    Event {
        /// The connection whose handler posted it, if one's did.
        from: Option<ConnectionId>,
        /// What it says.
        payload: Bytes,
        /// How many notices and room events led to it, itself included.
        hops: u8,
    },
    /// A timer has fired. It has no place among the others: timers are bounded by themselves, and
    /// of each name one waits at most.
    Timer(Arc<Firing>),
}

/// Why no place could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// As much waits as may.
    Full,
    /// As much waits as may in all inboxes that are counted [together](Addressee::together).
    FullTogether,
    /// Nothing is handled here any more.
    Closed,
}

/// A bounded queue of what others have posted.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    Open(Box<Content>),
    /// Nothing is taken any more.
    Closed,
}

#[derive(Debug, Default)]
struct Content {
    waiting: VecDeque<Posted>,
    /// Places taken, whether they are filled yet or not.
    places: usize,
    bytes: usize,
}

impl State {
    /// What there is, from now on if there was nothing; `None` if it is closed.
    fn open(&mut self) -> Option<&mut Content> {
        if let State::Unused = self {
            *self = State::Open(Box::default());
        }
        match self {
            State::Open(content) => Some(content),
            _ => None,
        }
    }

    /// A burst must not leave its memory with whoever is idle from now on.
    fn shrink(&mut self) {
        if let State::Open(content) = self
            && content.waiting.is_empty()
            && content.places == 0
        {
            *self = State::Unused;
        }
    }
}

/// Whoever has an inbox, and is to be told when there is something in it.
pub trait Addressee: Send + Sync {
    /// The inbox.
    fn inbox(&self) -> &Inbox;

    /// Counts the bytes of all payloads in this inbox and in others, if their sum is bounded as
    /// well. Whoever takes an event out of the inbox counts it off.
    fn together(&self) -> Option<&AtomicUsize> {
        None
    }

    /// Something waits in the inbox.
    fn attend(self: Arc<Self>);
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
    /// Take the next event out. Its place is free again.
    pub fn pop(&self) -> Option<Posted> {
        let mut state = self.0.lock();
        let State::Open(content) = &mut *state else {
            return None;
        };
        let posted = content.waiting.pop_front()?;
        if let Posted::Event { payload, .. } = &posted {
            content.places -= 1;
            content.bytes -= payload.len();
        }
        state.shrink();
        Some(posted)
    }

    /// Whether nothing waits and no place is taken.
    pub fn is_empty(&self) -> bool {
        !matches!(*self.0.lock(), State::Open(_))
    }

    /// Forget what waits, and take nothing more.
    pub fn close(&self) {
        *self.0.lock() = State::Closed;
    }

    fn take_place(&self, bytes: usize, limits: InboxLimits) -> Result<(), NoPlace> {
        let mut state = self.0.lock();
        let content = state.open().ok_or(NoPlace::Closed)?;
        if content.places >= limits.events || content.bytes.saturating_add(bytes) > limits.bytes {
            state.shrink();
            return Err(NoPlace::Full);
        }
        content.places += 1;
        content.bytes += bytes;
        Ok(())
    }

    fn give_place_back(&self, bytes: usize) {
        let mut state = self.0.lock();
        if let State::Open(content) = &mut *state {
            content.places = content.places.saturating_sub(1);
            content.bytes = content.bytes.saturating_sub(bytes);
            state.shrink();
        }
    }

    /// Queue what needs or has a place. `false` if the inbox is closed.
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
    /// Take a place for a payload of so many bytes.
    ///
    /// # Errors
    ///
    /// As much waits as may, or nothing is handled any more.
    pub fn take(
        to: Arc<dyn Addressee>,
        bytes: usize,
        limits: InboxLimits,
    ) -> Result<Place, NoPlace> {
        if let Some(together) = to.together()
            && together.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
                > limits.bytes_together
        {
            together.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NoPlace::FullTogether);
        }
        if let Err(why) = to.inbox().take_place(bytes, limits) {
            count_off(&*to, bytes);
            return Err(why);
        }
        Ok(Place { to: Some(to), bytes })
    }

    /// Post an event with the payload that the place was taken for.
    pub fn fill(mut self, from: Option<ConnectionId>, payload: Bytes, hops: u8) {
        debug_assert_eq!(payload.len(), self.bytes);
        let Some(to) = self.to.take() else { return };
        match to.inbox().put(Posted::Event { from, payload, hops }) {
            true => to.attend(),
            false => count_off(&*to, self.bytes),
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

/// A payload is in the inbox no more.
fn count_off(to: &dyn Addressee, bytes: usize) {
    if let Some(together) = to.together() {
        together.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Post a timer's firing, which needs no place. `false` if nothing is handled any more.
pub fn post_firing(to: Arc<dyn Addressee>, firing: Arc<Firing>) -> bool {
    let is_posted = to.inbox().put(Posted::Timer(firing));
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

    const LIMITS: InboxLimits = InboxLimits { events: 4, bytes: 10, bytes_together: usize::MAX };

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
    fn a_closed_inbox_takes_nothing_and_a_place_in_it_is_no_harm() {
        let to = Arc::new(Anybody::default());
        let place = Place::take(to.clone(), 3, LIMITS).expect("there is room");
        to.0.close();
        place.fill(None, Bytes::from_static(b"abc"), 0);
        assert!(to.0.pop().is_none());
        assert_eq!(Place::take(to, 1, LIMITS).err(), Some(NoPlace::Closed));
    }
}
