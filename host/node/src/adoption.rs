//! Rooms whose owner has gone, and their way to another node.
//!
//! When a node is gone, or a channel comes into service here, this node looks through the records of its channels'
//! rooms and asks for those without an owner. So their timers fire, though nobody posts to them. Nodes look one after
//! another, so that the first one gets them and the others find nothing left.

use std::sync::Arc;
use std::time::Duration;

use crate::node::Shared;

/// Time between the looks of two nodes.
const TURN: Duration = Duration::from_millis(500);

/// Nodes that wait for their turn. Further ones look together with the last one.
const TURNS: u32 = 6;

/// Shortest pause between two looks, which read all records of rooms.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest pause until a look that is made again.
const LONGEST: Duration = Duration::from_secs(10);

/// Looks for orphans whenever there may be some.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut again: Option<Duration> = None;
    loop {
        match again {
            Some(pause) => tokio::select! {
                () = shared.orphaned.notified() => {}
                () = tokio::time::sleep(pause) => {}
            },
            None => shared.orphaned.notified().await,
        }
        tokio::time::sleep(TURN * shared.turn().min(TURNS)).await;
        again = None;
        for channel in shared.served() {
            let pause = look(&shared, &channel).await;
            again = again.max(pause);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks through the rooms of one channel. Returns the time after which to look again, if that may show more.
async fn look(shared: &Arc<Shared>, channel: &Arc<str>) -> Option<Duration> {
    let owners = shared.room_owners(channel);
    let (mut after, mut again) = (None, None);
    loop {
        let found = owners.orphans(after.as_deref(), |node| shared.has(node)).await;
        // Without an engine nobody finds any.
        let Ok(found) = found else { return Some(LONGEST) };
        again = again.max(found.again);
        if !found.rooms.is_empty()
            && let Some(hub) = shared.hub(channel)
        {
            tracing::info!(
                channel = &**channel,
                rooms = found.rooms.len(),
                "rooms have lost their host and come to this one"
            );
            let left = hub.adopt(found.rooms, shared.room_limits().1);
            if left > 0 {
                shared.no_place_for_rooms(channel, left);
                again = Some(LONGEST);
            }
        }
        match found.next {
            Some(room) => after = Some(room),
            None => return again.map(|pause| pause.min(LONGEST)),
        }
    }
}
