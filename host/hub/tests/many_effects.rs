//! An event that records many effects: what it sees of its own rooms, and what that costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wharf_contract::effects::EffectLimits;
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::effects::{Effect, Effects};
use wharf_hub::hub::Hub;
use wharf_hub::outbound::{Outbound, PendingWrites};
use wharf_hub::presence::PresenceTiming;

const LIMITS: EffectLimits = EffectLimits { count: 1_000_000, bytes: usize::MAX };

fn hub() -> Hub {
    Hub::new(PresenceTiming { interval: Duration::from_secs(1), grace: Duration::ZERO })
}

fn connection() -> ConnectionRecord {
    let request = UpgradeRequest {
        path: "/".into(),
        query: "".into(),
        params: Box::default(),
        headers: RequestHeaders::default(),
        remote: wharf_hub::remote::Remote::Unix,
        subprotocol: None,
    };
    ConnectionRecord::new(request, Outbound::new(1 << 20, Default::default()))
}

/// Joins like the host call, which records nothing for a room that the connection is in.
fn join(effects: &mut Effects, hub: &Hub, connection: &ConnectionRecord, room: &Arc<str>) {
    if !effects.membership(room).unwrap_or_else(|| connection.is_in(room)) {
        effects.record(Effect::Join(room.clone(), None), hub, LIMITS).expect("within the limits");
        effects.count_room(1);
    }
}

fn leave(effects: &mut Effects, hub: &Hub, connection: &ConnectionRecord, room: &Arc<str>) {
    let was_in = effects.membership(room).unwrap_or_else(|| connection.is_in(room));
    effects.record(Effect::Leave(room.clone()), hub, LIMITS).expect("within the limits");
    if was_in {
        effects.count_room(-1);
    }
}

proptest! {
    #[test]
    fn an_event_sees_its_rooms_as_they_will_be(
        before in prop::collection::vec(0..6u8, 0..6),
        steps in prop::collection::vec((any::<bool>(), 0..6u8), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (hub, connection) = (hub(), connection());
        let name = |room: u8| Arc::<str>::from(room.to_string());
        let mut expected: Vec<Arc<str>> = Vec::new();
        for room in before {
            hub.join(&connection, &name(room));
            if !expected.contains(&name(room)) {
                expected.push(name(room));
            }
        }
        let mut effects = Effects::default();
        for (is_join, room) in steps {
            let room = name(room);
            if is_join {
                join(&mut effects, &hub, &connection, &room);
                if !expected.contains(&room) {
                    expected.push(room);
                }
            } else {
                leave(&mut effects, &hub, &connection, &room);
                expected.retain(|known| *known != room);
            }
            prop_assert_eq!(effects.rooms(connection.rooms()), expected.clone());
            prop_assert_eq!(effects.room_count(&connection), expected.len());
        }
        runtime.block_on(effects.commit(Some(&connection), 0, &hub, &mut PendingWrites::default()));
        prop_assert_eq!(connection.rooms(), expected);
    }
}

#[test]
fn many_joins_of_one_event_do_not_cost_the_cube_of_their_number() {
    let (hub, connection) = (hub(), connection());
    let mut effects = Effects::default();
    let begun = Instant::now();
    for room in 0..20_000 {
        join(&mut effects, &hub, &connection, &Arc::from(room.to_string()));
    }
    assert_eq!(effects.room_count(&connection), 20_000);
    // The cube would take hours.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
