use super::*;
use crate::inbox::{InboxLimits, NoPlace, Place};
use std::sync::atomic::AtomicBool;

const GRACE: Duration = Duration::from_secs(30);

fn sweep(rooms: &RoomStates, members: &[&str], timers: &[&str]) {
    let has_timers = |name: &Arc<str>| timers.contains(&&**name);
    let now = Instant::now() - Duration::from_nanos(1);
    while rooms.sweep(now, GRACE, |name| members.contains(&name), has_timers, &|_| ()) {}
}

#[test]
fn a_sweep_ends_though_it_keeps_more_rooms_than_it_looks_at_in_one_go() {
    let rooms = RoomStates::default();
    for number in 0..3 * SWEPT_AT_ONCE {
        rooms.open(&number.to_string().into(), usize::MAX).expect("a room");
    }
    // The clock goes on meanwhile, and every room has a timer.
    let now = Instant::now();
    let mut calls = 0;
    while rooms.sweep(now, GRACE, |_| false, |_| true, &|_| ()) {
        calls += 1;
        assert!(calls <= 3, "it begins again with rooms that it has looked at");
    }
    assert_eq!(rooms.count(), 3 * SWEPT_AT_ONCE);
}

async fn pass(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(1)).await;
}

#[test]
fn rooms_with_data_come_in_pages_in_the_order_of_their_names() {
    let rooms = RoomStates::default();
    for name in ["b", "c", "a"] {
        rooms.open(&name.into(), 10).expect("a room");
    }
    let page = |after: Option<&str>| -> Vec<String> {
        rooms.page(after, 2).iter().map(|name| name.to_string()).collect()
    };
    assert_eq!((page(None), page(Some("b"))), (vec!["a".into(), "b".into()], vec!["c".into()]));
    assert!(page(Some("c")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_room_loses_its_state_when_it_has_been_idle_for_the_grace_and_not_before() {
    let rooms = RoomStates::default();
    for number in 0..1000 {
        let room = rooms.open(&number.to_string().into(), 1000).expect("a room");
        // Half of the rooms get a state, and the others' event is discarded.
        if number % 2 == 0 {
            assert!(room.keep(Bytes::from_static(b"state"), 10_000) && room.next().is_none());
        }
    }
    pass(Duration::ZERO).await;
    sweep(&rooms, &[], &[]);
    assert_eq!(rooms.count(), 500, "rooms without a state are dropped at once");
    pass(GRACE / 2).await;
    assert!(rooms.find("0").expect("it has a state").next().is_none(), "an event has run");
    pass(GRACE / 2).await;
    sweep(&rooms, &["2", "4"], &["6"]);
    let names = ["0", "2", "4", "6", "8"].map(|name| rooms.find(name).is_some());
    assert_eq!((names, rooms.count()), ([true, true, true, true, false], 4));
    rooms.emptied("2");
    pass(GRACE / 2).await;
    sweep(&rooms, &["4"], &["6"]);
    assert!(rooms.find("0").is_none(), "its last event was a grace ago");
    assert!(rooms.find("2").is_some(), "its last member left half a grace ago");
    pass(GRACE).await;
    let held = rooms.find("6");
    sweep(&rooms, &["4"], &[]);
    assert_eq!(rooms.count(), 2, "one has members, and one is about to get an event");
    drop(held);
    rooms.emptied("4");
    pass(GRACE).await;
    sweep(&rooms, &[], &[]);
    assert_eq!(rooms.count(), 0);
    assert_eq!(rooms.shared.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_planned_state_is_for_the_next_event_only_and_counts_until_it_is_settled() {
    let rooms = RoomStates::default();
    let room = rooms.open(&"a".into(), 1).expect("a room");
    let seen = || (room.state(), room.newest(), rooms.bytes());
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert!(room.keep(Bytes::from_static(b"aa"), 5));
    for (planned, bytes) in [("bbbb", 4), ("c", 1)] {
        assert!(room.plan(Bytes::from_static(planned.as_bytes()), 5));
        assert_eq!(seen(), (text("aa"), text(planned), bytes));
        assert!(room.settle(false), "it is dropped");
        assert_eq!(seen(), (text("aa"), text("aa"), 2));
    }
    assert!(!room.plan(Bytes::from_static(b"bbbbbb"), 5), "it is too big");
    assert_eq!(seen(), (text("aa"), text("aa"), 2));
    // The second of two events plans on.
    assert!(room.plan(Bytes::from_static(b"bbb"), 5) && room.plan(Bytes::from_static(b"bbbb"), 5));
    assert!(room.settle(true) && !room.settle(true));
    assert_eq!(seen(), (text("bbbb"), text("bbbb"), 4));
    // One that is forgotten before it is recorded does not come back.
    assert!(room.plan(Bytes::from_static(b"c"), 5));
    let mut recorded = 0;
    assert!(room.forget(|| recorded += 1) && !room.forget(|| recorded += 1));
    assert!(!room.settle(true));
    assert_eq!((seen(), recorded), ((None, None, 0), 1));
}

#[tokio::test(start_paused = true)]
async fn empty_events_count_among_all_rooms_of_a_channel() {
    let limits = InboxLimits { events: 1000, bytes: 1000, channel_bytes: 10 * 64 };
    let rooms = RoomStates::default();
    let open = |name: u64| rooms.open(&name.to_string().into(), 20).expect("a room");
    let places: Vec<_> = (0..10).map(|at| Place::take(open(at), 0, limits)).collect();
    assert!(places.iter().all(Result::is_ok));
    assert_eq!(Place::take(open(10), 0, limits).err(), Some(NoPlace::ChannelFull));
    for place in places {
        place.expect("a place").fill(None, Bytes::new(), 1);
    }
    assert!(open(0).next().is_some());
    assert!(Place::take(open(10), 0, limits).is_ok());
}

/// A runner that can be asked for nothing until it is ready, and counts the runs after that.
#[derive(Clone, Default)]
struct Later {
    is_ready: Arc<AtomicBool>,
    runs: Arc<AtomicUsize>,
}

impl Runner for Later {
    fn run(&self, _: Arc<RoomState>) -> bool {
        let is_ready = self.is_ready.load(Ordering::Relaxed);
        self.runs.fetch_add(usize::from(is_ready), Ordering::Relaxed);
        is_ready
    }
}

#[test]
fn events_that_no_code_can_handle_wait_until_there_is_some() {
    let limits = InboxLimits { events: 10, bytes: 100, channel_bytes: 1000 };
    let (rooms, runner) = (RoomStates::default(), Later::default());
    rooms.run_with(Box::new(runner.clone()));
    let room = rooms.open(&Arc::from("a"), 1).expect("a room");
    let post = |to: &Arc<RoomState>| {
        let place = Place::take(to.clone(), 1, limits).expect("a place");
        place.fill(None, Bytes::from_static(b"1"), 1);
    };
    post(&room);
    post(rooms.channel());
    assert_eq!(runner.runs.load(Ordering::Relaxed), 0);
    runner.is_ready.store(true, Ordering::Relaxed);
    rooms.attend_all();
    rooms.attend_all();
    assert_eq!(runner.runs.load(Ordering::Relaxed), 2, "the room and the channel, once each");
    post(&room);
    assert_eq!(runner.runs.load(Ordering::Relaxed), 2, "its events are being run");
    assert!(room.next().is_some() && room.next().is_some() && room.next().is_none());
    post(&room);
    assert_eq!(runner.runs.load(Ordering::Relaxed), 3);
}

#[test]
fn the_inboxes_of_all_rooms_are_bounded_together() {
    let limits = InboxLimits { events: 10, bytes: 100, channel_bytes: 150 };
    let rooms = RoomStates::default();
    let open = |name: &str| rooms.open(&Arc::from(name), 2).expect("a room");
    let place = |room: &Arc<RoomState>, bytes, limits| Place::take(room.clone(), bytes, limits);
    let (a, b) = (open("a"), open("b"));
    let taken = place(&a, 80, limits).expect("there is nothing yet");
    assert_eq!(place(&a, 21, limits).err(), Some(NoPlace::Full));
    assert_eq!(place(&b, 71, limits).err(), Some(NoPlace::ChannelFull));
    let payload = Bytes::from_static(&[0; 70]);
    place(&b, 70, limits).expect("150 bytes").fill(None, payload, 1);
    assert_eq!(place(&b, 1, limits).err(), Some(NoPlace::ChannelFull));
    drop(taken);
    let again = place(&a, 80, limits).expect("as many as were given back");
    assert!(b.next().is_some());
    place(&b, 70, limits).expect("what was taken out waits no more");
    drop(again);
}
