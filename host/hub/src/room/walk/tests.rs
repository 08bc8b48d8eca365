//! Walks beside joins, leaves and other broadcasts, in orders that are drawn from a seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Waker};

use proptest::prelude::*;

use super::*;
use crate::connection_id::ConnectionId;
use crate::frame::FrameKind;
use crate::interleaved::run_all;
use crate::transport::{Transport, memory};

const ROOMS: usize = 3;
const CONNECTIONS: u64 = 24;

/// One step of a task.
#[derive(Clone, Debug)]
enum Step {
    Broadcast(BTreeSet<usize>),
    Join(u64, usize),
    Leave(u64, usize),
    Pause,
}

fn tasks() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let (connection, room) = (0..CONNECTIONS, 0..ROOMS);
    let step = prop_oneof![
        3 => proptest::collection::btree_set(0..ROOMS, 1..=ROOMS).prop_map(Step::Broadcast),
        2 => (connection.clone(), room.clone()).prop_map(|(c, room)| Step::Join(c, room)),
        2 => (connection, room).prop_map(|(c, room)| Step::Leave(c, room)),
        1 => Just(Step::Pause),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 1..16), 1..6)
}

/// A broadcast and its time.
#[derive(Debug)]
struct Sent {
    task: usize,
    rooms: BTreeSet<usize>,
    start: u32,
    end: u32,
}

/// The times at which a connection came to a room and left it.
type Stay = (u32, u32);

/// Rooms, connections, and notes of all that happens to them.
struct Lab {
    rooms: [Members; ROOMS],
    outbounds: Vec<Arc<Outbound>>,
    clock: Cell<u32>,
    sent: RefCell<Vec<Sent>>,
    /// Times for which a connection was in a room: pairs of beginning and end.
    stays: RefCell<BTreeMap<(u64, usize), Vec<Stay>>>,
}

impl Lab {
    /// Makes rooms of different sizes, the first with all connections.
    fn new() -> Lab {
        let lab = Lab {
            rooms: Default::default(),
            outbounds: (0..CONNECTIONS)
                .map(|_| Outbound::new(1 << 20, Default::default()))
                .collect(),
            clock: Cell::default(),
            sent: RefCell::default(),
            stays: RefCell::default(),
        };
        for number in 0..CONNECTIONS {
            for room in (0..ROOMS).filter(|room| number % (room * room * 3 + 1) as u64 == 0) {
                lab.join(number, room);
            }
        }
        lab
    }

    fn tick(&self) -> u32 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    fn is_in(&self, number: u64, room: usize) -> bool {
        let stays = self.stays.borrow();
        stays
            .get(&(number, room))
            .and_then(|s| s.last())
            .is_some_and(|(_, until)| *until == u32::MAX)
    }

    fn join(&self, number: u64, room: usize) {
        if !self.is_in(number, room) {
            let outbound = self.outbounds[number as usize].clone();
            assert!(self.rooms[room].add(ConnectionId::local(number), outbound));
            let now = self.tick();
            self.stays.borrow_mut().entry((number, room)).or_default().push((now, u32::MAX));
        }
    }

    fn leave(&self, number: u64, room: usize) {
        if self.is_in(number, room) {
            self.rooms[room].remove(ConnectionId::local(number));
            let now = self.tick();
            let mut stays = self.stays.borrow_mut();
            stays.get_mut(&(number, room)).expect("it is in").last_mut().expect("it is in").1 = now;
        }
    }

    async fn run(&self, task: usize, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Broadcast(rooms) => self.broadcast(task, rooms).await,
                Step::Join(number, room) => self.join(number, room),
                Step::Leave(number, room) => self.leave(number, room),
                Step::Pause => tokio::task::yield_now().await,
            }
        }
    }

    async fn broadcast(&self, task: usize, rooms: BTreeSet<usize>) {
        let start = self.tick();
        let number = self.sent.borrow().len();
        let frame = Frame::encode(FrameKind::Binary, &(number as u32).to_be_bytes());
        let members: Vec<&Members> = rooms.iter().map(|room| &self.rooms[*room]).collect();
        self.sent.borrow_mut().push(Sent { task, rooms, start, end: u32::MAX });
        let mut writes = PendingWrites::default();
        let at_once = match &members[..] {
            [room] => room.broadcast_at_once(&frame, None, &mut writes, None),
            _ => None,
        };
        if at_once.is_none() {
            super::broadcast(&members, &frame, &mut writes, None, |_, _| true).await;
        }
        self.sent.borrow_mut()[number].end = self.tick();
    }

    /// Reads the numbers of the broadcasts that were queued for each connection.
    fn received(&self) -> Vec<Vec<usize>> {
        self.outbounds.iter().map(|outbound| numbers(outbound)).collect()
    }
}

/// Reads the numbers that were queued for a connection.
fn numbers(outbound: &Outbound) -> Vec<usize> {
    let number = |frame: &[u8]| u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
    outbound.waiting().chunks(6).map(|frame| number(frame) as usize).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn members_agree_on_the_order_and_get_what_was_sent_while_they_were_there(
        tasks in tasks(),
        seed in any::<u64>(),
    ) {
        let lab = Lab::new();
        let futures = tasks.into_iter().enumerate();
        run_all(futures.map(|(task, steps)| Box::pin(lab.run(task, steps)) as _).collect(), seed);
        let (sent, received) = (lab.sent.borrow(), lab.received());
        // The order of each pair of broadcasts to a common room, as one connection has seen it.
        let mut order: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        for numbers in &received {
            for (at, one) in numbers.iter().enumerate() {
                for other in &numbers[at + 1..] {
                    prop_assert_ne!(one, other, "each broadcast comes once");
                    if sent[*one].rooms.is_disjoint(&sent[*other].rooms) {
                        continue;
                    }
                    let pair = (*one.min(other), *one.max(other));
                    let is_first = *order.entry(pair).or_insert(one < other);
                    prop_assert_eq!(is_first, one < other, "broadcasts {:?}", pair);
                    if sent[*one].task == sent[*other].task {
                        prop_assert!(one < other, "a task's broadcasts keep its order");
                    }
                }
            }
        }
        for (number, sent) in sent.iter().enumerate() {
            prop_assert!(sent.end < u32::MAX);
            for connection in 0..CONNECTIONS {
                let stays = lab.stays.borrow();
                let stays: Vec<Stay> = sent
                    .rooms
                    .iter()
                    .flat_map(|room| stays.get(&(connection, *room)).into_iter().flatten().copied())
                    .collect();
                let has_it = received[connection as usize].contains(&number);
                let was_there = |(from, until): &Stay| *from < sent.start && sent.end < *until;
                let was_away = |(from, until): &Stay| *until < sent.start || sent.end < *from;
                prop_assert!(has_it || !stays.iter().any(was_there), "{connection} misses {number}");
                prop_assert!(!has_it || !stays.iter().all(was_away), "{number} is not for {connection}");
            }
        }
        for room in &lab.rooms {
            prop_assert!(matches!(*room.lock(), State::Quiet(_)), "nobody stands in line");
        }
    }
}

/// Makes a room with `count` members. Returns it and their outbounds.
fn room(count: u64) -> (Members, Vec<Arc<Outbound>>) {
    let members = Members::default();
    let outbounds: Vec<_> =
        (0..count).map(|_| Outbound::new(1 << 20, Default::default())).collect();
    for (number, outbound) in outbounds.iter().enumerate() {
        assert!(members.add(ConnectionId::local(number as u64), outbound.clone()));
    }
    (members, outbounds)
}

fn frame(number: u32) -> Frame {
    Frame::encode(FrameKind::Binary, &number.to_be_bytes())
}

#[test]
fn a_walk_is_for_those_who_were_there_when_it_began_and_have_not_left_since() {
    const LAST: u64 = 4 * AT_ONCE as u64;
    let (room, outbounds) = room(LAST);
    let mut cx = Context::from_waker(Waker::noop());
    let (one, other) = (frame(1), frame(2));
    let (mut writes, mut writes_of_other) = (PendingWrites::default(), PendingWrites::default());
    let rooms = [&room];
    let mut walk = pin!(broadcast(&rooms, &one, &mut writes, None, |_, _| true));
    assert!(walk.as_mut().poll(&mut cx).is_pending(), "others have their turn after a chunk");
    assert_eq!(numbers(&outbounds[0]), [1]);

    let (newcomer, gone) = (Outbound::new(1000, Default::default()), &outbounds[LAST as usize - 1]);
    room.add(ConnectionId::local(LAST), newcomer.clone());
    room.remove(ConnectionId::local(LAST - 1));
    assert_eq!(room.count(), LAST as usize);
    assert_eq!(
        room.broadcast_at_once(&other, None, &mut writes_of_other, None),
        None,
        "it would overtake"
    );
    let mut next = pin!(broadcast(&rooms, &other, &mut writes_of_other, None, |_, _| true));
    assert!(next.as_mut().poll(&mut cx).is_pending(), "it waits for its turn");

    let mut queued = None;
    while queued.is_none() {
        assert!(next.as_mut().poll(&mut cx).is_pending());
        queued = match walk.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(queued) => Some(queued),
            std::task::Poll::Pending => None,
        };
    }
    assert_eq!(queued, Some(LAST as usize - 1));
    while next.as_mut().poll(&mut cx).is_pending() {}
    assert_eq!((numbers(&newcomer), numbers(gone)), (vec![2], Vec::new()));
    assert!(outbounds[..LAST as usize - 1].iter().all(|outbound| numbers(outbound) == [1, 2]));
}

#[test]
fn broadcasts_in_line_leave_their_frames_to_the_last_so_that_they_go_out_together() {
    let (room, outbounds) = room(4 * AT_ONCE as u64);
    let sockets = outbounds.iter().map(|outbound| {
        let (server, client) = memory::pair(1024);
        let (reader, writer) = Transport::from(server).into_split();
        outbound.attach(writer);
        (reader, client)
    });
    let _open: Vec<_> = sockets.collect();
    let mut cx = Context::from_waker(Waker::noop());
    let (frames, rooms) = ([frame(1), frame(2), frame(3)], [&room]);
    let mut writes = [(); 3].map(|()| PendingWrites::default());
    let mut walks: Vec<_> = std::iter::zip(&frames, &mut writes)
        .map(|(frame, writes)| Box::pin(broadcast(&rooms, frame, writes, None, |_, _| true)))
        .collect();
    let mut left = walks.len();
    while left > 0 {
        let polled = walks.iter_mut().map(|walk| walk.as_mut().poll(&mut cx));
        // A walk that has ended is not asked again: they end in their order.
        left -= polled.take(1).filter(std::task::Poll::is_ready).count();
        if left < walks.len() {
            drop(walks.remove(0));
        }
        for walk in walks.iter_mut().skip(1) {
            assert!(walk.as_mut().poll(&mut cx).is_pending());
        }
    }
    drop(walks);
    assert!(outbounds.iter().all(|outbound| numbers(outbound) == [1, 2, 3]), "nothing is written");
    assert_eq!(writes.map(|writes| writes.reaches_many()), [false, false, true]);
}

#[test]
fn a_walk_that_is_given_up_keeps_nobody_waiting() {
    let (room, outbounds) = room(4 * AT_ONCE as u64);
    let mut cx = Context::from_waker(Waker::noop());
    let rooms = [&room];
    let frames = [frame(1), frame(2), frame(3)];
    let mut writes = [(); 3].map(|()| PendingWrites::default());
    let mut walks: Vec<_> = std::iter::zip(&frames, &mut writes)
        .map(|(frame, writes)| Box::pin(broadcast(&rooms, frame, writes, None, |_, _| true)))
        .collect();
    for walk in &mut walks {
        assert!(walk.as_mut().poll(&mut cx).is_pending());
    }
    // The walk whose turn it is, and the one that waits for it.
    drop(walks.remove(0));
    drop(walks.remove(0));
    while walks[0].as_mut().poll(&mut cx).is_pending() {}
    assert!(outbounds.iter().all(|outbound| numbers(outbound).last() == Some(&3)));
    assert!(matches!(*room.lock(), State::Quiet(_)));
}

#[test]
fn a_room_that_is_dissolved_while_broadcasts_wait_lets_them_go() {
    let (room, _) = room(2 * AT_ONCE as u64);
    let mut cx = Context::from_waker(Waker::noop());
    let (frame, rooms) = (frame(1), [&room]);
    let mut writes = [(); 2].map(|()| PendingWrites::default());
    let mut walks: Vec<_> = writes
        .iter_mut()
        .map(|writes| Box::pin(broadcast(&rooms, &frame, writes, None, |_, _| true)))
        .collect();
    for walk in &mut walks {
        assert!(walk.as_mut().poll(&mut cx).is_pending());
    }
    for number in 0..2 * AT_ONCE as u64 {
        room.remove(ConnectionId::local(number));
    }
    assert!(room.dissolve_if_empty());
    for mut walk in walks {
        while walk.as_mut().poll(&mut cx).is_pending() {}
    }
    assert!(!room.add(ConnectionId::local(1), Outbound::new(10, Default::default())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_agree_on_the_order_when_broadcasts_run_on_several_threads() {
    const BROADCASTS: u32 = 40;
    const TASKS: u32 = 6;
    /// Members of the first room, of the second, and of both; each.
    const EACH: u64 = 40;
    let rooms: Arc<[Members; 2]> = Arc::default();
    let outbounds: Vec<_> =
        (0..4 * EACH).map(|_| Outbound::new(1 << 20, Default::default())).collect();
    let is_in = |number: u64, room: usize| number / EACH == room as u64 || number / EACH == 2;
    for number in 0..3 * EACH {
        for room in (0..2).filter(|room| is_in(number, *room)) {
            rooms[room].add(ConnectionId::local(number), outbounds[number as usize].clone());
        }
    }
    let tasks = (0..TASKS).map(|task| {
        let rooms = rooms.clone();
        tokio::spawn(async move {
            let mut writes = PendingWrites::default();
            for number in 0..BROADCASTS {
                let number = task * BROADCASTS + number;
                let to: &[&Members] = match number % 3 {
                    2 => &[&rooms[0], &rooms[1]],
                    room => &[&rooms[room as usize]],
                };
                broadcast(to, &frame(number), &mut writes, None, |_, _| true).await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let churn = tokio::spawn({
        let (rooms, outbounds) = (rooms.clone(), outbounds[3 * EACH as usize..].to_vec());
        async move {
            for step in 0..4_000 {
                let number = step % EACH;
                let id = ConnectionId::local(3 * EACH + number);
                match step / EACH % 2 {
                    0 => drop(rooms[0].add(id, outbounds[number as usize].clone())),
                    _ => drop(rooms[0].remove(id)),
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for task in tasks {
        task.await.expect("it does not panic");
    }
    churn.await.expect("it does not panic");
    for room in 0..2 {
        let is_for = |number: &usize| number % 3 == 2 || number % 3 == room;
        let seen = |number: u64| -> Vec<usize> {
            numbers(&outbounds[number as usize]).into_iter().filter(is_for).collect()
        };
        let expected = seen(room as u64 * EACH);
        assert_eq!(expected.len(), (TASKS * BROADCASTS) as usize * 2 / 3);
        for number in (0..3 * EACH).filter(|number| is_in(*number, room)) {
            assert_eq!(seen(number), expected, "of member {number} in room {room}");
        }
    }
}
