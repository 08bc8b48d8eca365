//! The node that owns a room, as this one knows it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::RoomState;
use crate::connection_id::NodeId;
use crate::inbox::Addressee;
use crate::inbox::post_timer_change;
use crate::owners::{Hold, KeptTimer, TimerChange};

/// Time for which another node is taken for the owner without a look at the room's record.
const FRESH: Duration = Duration::from_secs(10);

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
