//! Lists of outbounds in memory, and the tasks that write them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::io::AsyncReadExt;

use super::*;
use crate::frame::FrameKind;
use crate::transport::{Transport, memory};

/// Makes outbounds with the clients' ends of their connections.
fn connections(count: usize) -> Vec<(Arc<Outbound>, memory::Stream)> {
    let connection = |_| {
        let (server, client) = memory::pair(1024);
        let outbound = Outbound::new(1024, Default::default());
        let (reader, writer) = Transport::from(server).into_split();
        // The stream must stay open for as long as the test reads.
        std::mem::forget(reader);
        outbound.attach(writer);
        (outbound, client)
    };
    (0..count).map(connection).collect()
}

fn frame(number: u8) -> Frame {
    Frame::encode(FrameKind::Binary, &[number])
}

/// Reads one frame of each connection.
async fn read_one(connections: &mut [(Arc<Outbound>, memory::Stream)]) -> Vec<u8> {
    let mut numbers = Vec::new();
    for (_, client) in connections {
        let mut frame = [0; 3];
        client.read_exact(&mut frame).await.expect("a frame");
        numbers.push(frame[2]);
    }
    numbers
}

fn has_written(connections: &[(Arc<Outbound>, memory::Stream)]) -> usize {
    connections.iter().filter(|(outbound, _)| outbound.queued_bytes() == 0).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_for_many_is_written_by_several_tasks_and_waited_for() {
    let mut connections = connections(4 * WRITTEN_ALONE);
    let mut writes = PendingWrites::default();
    for round in 0..2 {
        for (outbound, _) in &connections {
            assert!(writes.push(outbound, &frame(round)));
        }
        writes.write().await;
        assert_eq!(has_written(&connections), connections.len());
        assert!(!writes.reaches_many() && !writes.is_urgent());
    }
    for round in 0..2 {
        let numbers = read_one(&mut connections).await;
        assert!(numbers.iter().all(|number| *number == round));
    }
}

#[tokio::test]
async fn what_is_passed_on_while_more_is_queued_is_written_at_once() {
    let connections = connections(3 * WRITES_PER_PART);
    let mut writes = PendingWrites::default();
    for (at, (outbound, _)) in connections.iter().enumerate() {
        writes.push(outbound, &frame(1));
        writes.pass_on_part();
        // One task has taken the first part by now, and others run until it has finished.
        if at == 2 * WRITES_PER_PART {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            assert_eq!(has_written(&connections[..2 * WRITES_PER_PART]), 2 * WRITES_PER_PART);
        }
    }
    writes.write().await;
    assert_eq!(has_written(&connections), connections.len());
}

#[test]
fn what_is_for_many_is_written_where_there_are_no_tasks() {
    let connections = connections(2 * WRITTEN_ALONE);
    let mut writes = PendingWrites::default();
    for (outbound, _) in &connections {
        writes.push(outbound, &frame(1));
    }
    let mut write = std::pin::pin!(writes.write());
    let mut cx = Context::from_waker(Waker::noop());
    while write.as_mut().poll(&mut cx).is_pending() {}
    assert_eq!(has_written(&connections), connections.len());
}

#[test]
fn some_are_written_in_a_row_and_a_dropped_list_writes_the_rest() {
    let connections = connections(2 * WRITES_PER_TURN);
    let mut writes = PendingWrites::default();
    for (outbound, _) in &connections {
        writes.push(outbound, &frame(1));
    }
    assert!(!writes.write_some());
    assert_eq!(has_written(&connections), WRITES_PER_TURN);
    drop(writes);
    assert_eq!(has_written(&connections), 2 * WRITES_PER_TURN);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_owner_hears_of_an_overrun_when_the_list_is_written_and_not_under_the_locks_of_who_pushes() {
    let outbound = Outbound::new(0, Default::default());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let _ = outbound.poll_flushed(&mut Context::from_waker(&waker));
    let mut writes = PendingWrites::default();
    let large = Frame::encode(FrameKind::Binary, &[0; 64 * 1024]);
    assert!(!writes.push(&outbound, &large));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    assert!(!writes.push(&outbound, &large));
    writes.write_now();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}
