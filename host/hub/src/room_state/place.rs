//! The node that owns a room, as this one knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::RoomState;
use crate::connection_id::NodeId;
use crate::inbox::Addressee;
use crate::inbox::post_timer_change;
use crate::owners::{Hold, KeptTimer, TimerChange};

/// Time for which another node is taken for the owner without a look at the room's record.
const FRESH: Duration = Duration::from_secs(10);

/// Time for which a node may send events of a room back. It gives the room up meanwhile.
const RETURNING: Duration = Duration::from_secs(30);

/// The runs and members of a room that owners have to know of.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// True once effects of the event that runs have left.
    has_flushed: AtomicBool,
    /// True if the last sweep has found members on other nodes, or has not been told of all.
    had_members_elsewhere: AtomicBool,
    /// The node that sends events back, and the time of the first one.
    returned: Mutex<Option<Box<(NodeId, Instant)>>>,
}

/// The place of a room in the cluster.
#[derive(Debug)]
pub(super) enum Place {
    /// It is here. The timers are those of the record.
    Here(Hold, Vec<KeptTimer>),
    /// It is at another node, as was found at this time.
    Elsewhere(NodeId, Instant),
    /// This node has given it up, and no other is known to have it.
    Nowhere,
}

/// The place of a room in a cluster.
impl RoomState {
    /// Returns the hold of this node; `None` if it does not own the room.
    pub(crate) fn hold(&self) -> Option<Hold> {
        match self.place.lock().as_deref() {
            Some(Place::Here(hold, _)) => Some(*hold),
            _ => None,
        }
    }

    /// Returns the hold of this node and the timers of the record.
    pub(crate) fn held(&self) -> Option<(Hold, Vec<KeptTimer>)> {
        match self.place.lock().as_deref() {
            Some(Place::Here(hold, timers)) => Some((*hold, timers.clone())),
            _ => None,
        }
    }

    /// Returns the other node that owns the room, if it was found a moment ago.
    pub(crate) fn elsewhere(&self) -> Option<NodeId> {
        match self.place.lock().as_deref() {
            Some(Place::Elsewhere(node, at)) if at.elapsed() < FRESH => Some(*node),
            _ => None,
        }
    }

    /// Notes that this node owns the room.
    pub(crate) fn note_here(&self, hold: Hold, timers: Vec<KeptTimer>) {
        *self.marks.returned.lock() = None;
        *self.place.lock() = Some(Box::new(Place::Here(hold, timers)));
    }

    /// Notes that this node has written the record, unless the room was to be looked at again meanwhile.
    pub(crate) fn note_written(&self, before: Hold, hold: Hold, timers: Vec<KeptTimer>) {
        let mut place = self.place.lock();
        if matches!(place.as_deref(), Some(Place::Here(known, _)) if *known == before) {
            *place = Some(Box::new(Place::Here(hold, timers)));
        }
    }

    /// Notes that another node owns the room.
    pub(crate) fn note_elsewhere(&self, node: NodeId) {
        *self.place.lock() = Some(Box::new(Place::Elsewhere(node, Instant::now())));
    }

    /// Notes that an event of the room begins to run.
    pub fn begin_run(&self) {
        self.marks.has_flushed.store(false, Ordering::Relaxed);
    }

    /// Notes that effects of the event that runs leave before its end.
    pub(crate) fn note_flushed(&self) {
        self.marks.has_flushed.store(true, Ordering::Relaxed);
    }

    /// Returns true if effects of the event that runs, or has run last, have left before its end.
    pub fn has_flushed(&self) -> bool {
        self.marks.has_flushed.load(Ordering::Relaxed)
    }

    /// Returns true if this node owns the room, as far as it knows.
    pub fn is_held(&self) -> bool {
        self.hold().is_some()
    }

    /// Notes if the room has no members on other nodes now. Returns true if it had none at the look before either.
    pub(super) fn is_empty_again(&self, is_empty: bool) -> bool {
        let had_members = self.marks.had_members_elsewhere.swap(!is_empty, Ordering::Relaxed);
        is_empty && !had_members
    }

    /// Notes that a node has sent an event of the room back.
    pub(crate) fn note_returned(&self, from: NodeId) {
        let mut returned = self.marks.returned.lock();
        if returned.as_deref().is_none_or(|(node, _)| *node != from) {
            *returned = Some(Box::new((from, Instant::now())));
        }
    }

    /// Returns true if a node has sent events of the room back for too long.
    pub(crate) fn is_refused_by(&self, node: NodeId) -> bool {
        let returned = self.marks.returned.lock();
        let is_late =
            |(from, since): &(NodeId, Instant)| *from == node && since.elapsed() > RETURNING;
        returned.as_deref().is_some_and(is_late)
    }

    /// Notes that this node has given the room up.
    pub(crate) fn note_nowhere(&self) {
        *self.place.lock() = Some(Box::new(Place::Nowhere));
    }

    /// Returns true if nothing is known of the room's place.
    pub(crate) fn is_lost(&self) -> bool {
        self.place.lock().is_none()
    }

    /// Forgets the place, so that the next event asks for it.
    pub(crate) fn forget_place(&self) {
        *self.place.lock() = None;
    }

    /// Forgets the place if it is another node, which thinks that it is this one.
    pub(crate) fn forget_elsewhere(&self) {
        let mut place = self.place.lock();
        if matches!(place.as_deref(), Some(Place::Elsewhere(..))) {
            *place = None;
        }
    }

    /// Posts a change of a timer, which needs no place: the number of those that wait is bounded by the calls.
    pub(crate) fn post_timer(self: Arc<Self>, change: TimerChange) {
        self.timer_changes.fetch_add(1, Ordering::Relaxed);
        let to: Arc<dyn Addressee> = self.clone();
        if !post_timer_change(to, change) {
            self.timer_changes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of the changes of timers that wait.
    pub(crate) fn timer_changes(&self) -> usize {
        self.timer_changes.load(Ordering::Relaxed)
    }
}
