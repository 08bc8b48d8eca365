//! Broadcasts to several rooms, and to rooms that are too large to be reached in one piece.
//!
//! A walk has its turn in all of its rooms at a time, in the order of locks. It visits their
//! members by number, a chunk at a time, each once even if it is in several of the rooms, and lets
//! other tasks run in between. It does not visit members that come while it is under way, nor
//! members that go before their visit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::members::{AT_ONCE, Announce, CHUNK, Members, State, Turn};
use crate::frame::Frame;
use crate::outbound::{Outbound, PendingWrites};

/// Queues a frame for the wanted members of several rooms, once each. `rooms` has no duplicates and
/// is in the order of locks. Returns the number of members. `announce` is called when the place of the frame in the
/// order is fixed.
pub(crate) async fn broadcast(
    rooms: &[&Members],
    frame: &Frame,
    writes: &mut PendingWrites,
    announce: Announce<'_>,
    is_wanted: impl Fn(u64, &Outbound) -> bool,
) -> usize {
    let members = rooms.iter().map(|room| room.count()).fold(0, usize::saturating_add);
    if members <= AT_ONCE {
        let rooms: Vec<_> = rooms.iter().map(|room| room.lock()).collect();
        if rooms.iter().all(|room| room.is_quiet()) {
            if let Some(announce) = announce {
                announce();
            }
            let mut queued = 0;
            visit(&rooms, 0, usize::MAX, |number, outbound| {
                if is_wanted(number, outbound) {
                    queued += usize::from(writes.push(outbound, frame));
                }
            });
            return queued;
        }
    }
    // Frames of others wait behind those that this task has queued before, so that they must not
    // wait for long. In the line of a single room the next one writes them soon.
    let is_shared = rooms.len() == 1;
    let mut turns = Vec::with_capacity(rooms.len());
    for room in rooms {
        let mut turn = room.stand_in_line();
        if !turn.has_begun() {
            match is_shared {
                true => turn.leave_writes(writes),
                false => writes.write().await,
            }
            turn.begin().await;
        }
        turns.push(turn);
    }
    if let Some(announce) = announce {
        announce();
    }
    let chosen = |number: u64, outbound: &Outbound| is_wanted(number, outbound).then_some(frame);
    let queued = walk(rooms, writes, is_shared, chosen).await;
    for turn in turns {
        turn.end(writes, is_shared);
    }
    queued
}

/// Queues for each member of a room the frame that is chosen for it, when it is this turn. Returns the number of
/// members that got one.
pub(crate) async fn broadcast_in_turn<'a>(
    room: &Members,
    mut turn: Turn<'_>,
    writes: &mut PendingWrites,
    choose: impl Fn(u64, &Outbound) -> Option<&'a Frame>,
) -> usize {
    if !turn.has_begun() {
        turn.leave_writes(writes);
        turn.begin().await;
    }
    let queued = walk(&[room], writes, true, choose).await;
    turn.end(writes, true);
    queued
}

/// Visits the members of rooms whose turns have begun, a chunk at a time.
async fn walk<'a>(
    rooms: &[&Members],
    writes: &mut PendingWrites,
    is_shared: bool,
    choose: impl Fn(u64, &Outbound) -> Option<&'a Frame>,
) -> usize {
    let (mut queued, mut is_first, mut next) = (0, true, Some(0));
    while let Some(start) = next {
        {
            let mut rooms: Vec<_> = rooms.iter().map(|room| room.lock()).collect();
            if std::mem::take(&mut is_first) {
                rooms.iter_mut().for_each(|room| room.begin());
            }
            next = visit(&rooms, start, CHUNK, |number, outbound| {
                if let Some(frame) = choose(number, outbound) {
                    queued += usize::from(writes.push(outbound, frame));
                }
            });
        }
        if !is_shared {
            writes.pass_on_part();
        }
        if next.is_some() {
            tokio::task::yield_now().await;
        }
    }
    queued
}

/// Visits members of rooms in ascending order of their numbers from `start` on, each once, and at
/// most `limit`. Returns the start of the next visit, if there may be more members.
#[expect(clippy::indexing_slicing, reason = "`at` is the place of a room in lists of one length")]
fn visit<'a>(
    rooms: &'a [MutexGuard<'_, State>],
    start: u64,
    limit: usize,
    mut act: impl FnMut(u64, &'a Arc<Outbound>),
) -> Option<u64> {
    let mut left = limit;
    if let [room] = rooms {
        for (number, outbound) in room.list()?.range(start) {
            if left == 0 {
                return Some(number);
            }
            left -= 1;
            if !room.is_late(number) {
                act(number, outbound);
            }
        }
        return None;
    }
    let mut ranges: Vec<_> =
        rooms.iter().map(|room| room.list().map(|list| list.range(start))).collect();
    // The next member of each room.
    let mut heads: Vec<_> = vec![None; rooms.len()];
    let mut order = BinaryHeap::with_capacity(rooms.len());
    let mut advance = |at: usize, order: &mut BinaryHeap<_>| {
        let head = ranges[at].as_mut().and_then(Iterator::next);
        order.extend(head.map(|(number, _)| Reverse((number, at))));
        std::mem::replace(&mut heads[at], head.map(|(_, outbound)| outbound))
    };
    for at in 0..rooms.len() {
        advance(at, &mut order);
    }
    let mut last = None;
    while let Some(Reverse((number, at))) = order.pop() {
        if left == 0 && last != Some(number) {
            return Some(number);
        }
        left = left.saturating_sub(1);
        let outbound = advance(at, &mut order);
        if last != Some(number) && !rooms[at].is_late(number) {
            last = Some(number);
            outbound.into_iter().for_each(|outbound| act(number, outbound));
        }
    }
    None
}

#[cfg(test)]
mod tests;
