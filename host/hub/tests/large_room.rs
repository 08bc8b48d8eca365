//! A room so large that a broadcast to it takes turns, and several tasks write it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use wharf_contract::close::Reason;
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::hub::{EndPace, Hub};
use wharf_hub::inbox::InboxLimits;
use wharf_hub::outbound::{Outbound, PendingWrites};
use wharf_hub::recipients::{Group, Recipients};
use wharf_hub::transport::{Reader, Transport, memory};

const MEMBERS: usize = 6_000;
const SENDERS: u32 = 4;
const BROADCASTS: u32 = 6;

/// Bytes of a frame that carries a number.
const FRAME_BYTES: usize = 6;

struct Member {
    record: Arc<ConnectionRecord>,
    client: memory::Stream,
    /// Kept, since the stream ends with it.
    _reader: Reader,
}

fn member(hub: &Hub) -> Member {
    let request = UpgradeRequest {
        path: "/".into(),
        query: "".into(),
        params: Box::new([]),
        headers: RequestHeaders::default(),
        remote: wharf_hub::remote::Remote::Unix,
        subprotocol: None,
    };
    let (server, client) = memory::pair(64 * 1024);
    let (reader, writer) = Transport::from(server).into_split();
    let record =
        Arc::new(ConnectionRecord::new(request, Outbound::new(64 * 1024, Default::default())));
    record.outbound.attach(writer);
    hub.connect(&record);
    hub.join(&record, &Arc::from("lobby"));
    Member { record, client, _reader: reader }
}

fn frame(number: u32) -> Frame {
    Frame::encode(FrameKind::Binary, &number.to_be_bytes())
}

/// Reads the numbers of `frames` frames.
async fn read(client: &mut memory::Stream, frames: usize) -> Vec<u32> {
    let mut bytes = vec![0; frames * FRAME_BYTES];
    client.read_exact(&mut bytes).await.expect("all frames arrive");
    let number = |frame: &[u8]| u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
    bytes.chunks(FRAME_BYTES).map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_members_get_all_broadcasts_in_one_order_and_a_sender_its_own_answers_after_them() {
    let hub = Arc::new(Hub::default());
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| member(&hub)).collect();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (hub, record) = (hub.clone(), members[sender as usize].record.clone());
            tokio::spawn(async move {
                let mut writes = PendingWrites::default();
                for number in (0..BROADCASTS).map(|number| sender * BROADCASTS + number) {
                    let to = match number % 2 {
                        0 => Recipients::Room(Arc::from("lobby")),
                        _ => Recipients::Rooms(Box::new([Arc::from("empty"), Arc::from("lobby")])),
                    };
                    let queued =
                        hub.deliver(Some(&record), &to, &frame(number), None, &mut writes).await;
                    assert_eq!(queued, MEMBERS);
                    // The answer comes after the broadcast.
                    assert!(hub.send_to(record.id, &frame(1000 + number), &mut writes));
                    if number % 3 == 0 {
                        writes.write().await;
                    }
                }
                writes.write().await;
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("it does not panic");
    }
    let frames = (SENDERS * BROADCASTS) as usize;
    let mut order: Option<Vec<u32>> = None;
    for (at, member) in members.iter_mut().enumerate() {
        let own = if at < SENDERS as usize { BROADCASTS as usize } else { 0 };
        let mut numbers = read(&mut member.client, frames + own).await;
        for own in numbers.iter().filter(|number| **number >= 1000) {
            let at = |wanted: u32| numbers.iter().position(|number| *number == wanted);
            assert!(at(*own) > at(own - 1000), "{numbers:?}");
        }
        numbers.retain(|number| *number < 1000);
        assert_eq!(*order.get_or_insert_with(|| numbers.clone()), numbers, "of member {at}");
    }
    let order = order.expect("there are members");
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>().len(), frames);
    for sender in 0..SENDERS {
        let own = order.iter().filter(|number| **number / BROADCASTS == sender);
        assert!(own.is_sorted(), "a sender's broadcasts keep its order: {order:?}");
    }
}

#[tokio::test]
async fn ending_all_connections_lets_other_tasks_run_and_spares_those_that_come_meanwhile() {
    let hub = Arc::new(Hub::default());
    let members: Vec<Member> = (0..MEMBERS).map(|_| member(&hub)).collect();
    let newcomers = tokio::spawn({
        let hub = hub.clone();
        async move {
            let mut newcomers = Vec::new();
            loop {
                newcomers.push(member(&hub));
                if newcomers.len() == 4 {
                    return newcomers;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    hub.end_all(&mut EndPace::at_once(), Reason::Removed).await;
    assert!(newcomers.is_finished(), "it had a turn after each 1,024 connections");
    let ended = |member: &&Member| member.record.outbound.status().end.is_some();
    assert_eq!(members.iter().filter(ended).count(), MEMBERS);
    let newcomers = newcomers.await.expect("it does not panic");
    assert_eq!(newcomers.iter().filter(ended).count(), 0);
}

#[tokio::test]
async fn a_notice_to_a_large_room_lets_other_tasks_run() {
    /// Inboxes that are looked at in a row.
    const IN_A_ROW: usize = 1_024;
    let hub = Hub::default();
    let members: Vec<Member> = (0..MEMBERS).map(|_| member(&hub)).collect();
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let limits = InboxLimits { events: 1, bytes: 100, channel_bytes: usize::MAX };
    let posting = hub.notice_places(Group::Room("lobby"), &[], 5, limits).await;
    assert_eq!(posting.places.len(), MEMBERS);
    assert!(turns.swap(0, Ordering::Relaxed) >= MEMBERS / IN_A_ROW, "places are taken in turns");
    let payload = Bytes::from_static(b"hello");
    assert_eq!(hub.post_to_several(posting, None, &payload, 1).await, MEMBERS);
    assert!(turns.load(Ordering::Relaxed) >= MEMBERS / IN_A_ROW, "they are filled in turns");
    assert!(members.iter().all(|member| member.record.outbound.next_posted().is_some()));
    other.abort();
}
