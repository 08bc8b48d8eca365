//! An outbound between tasks that send and a socket that is slow or not there yet.

use super::*;
use crate::frame::FrameKind;
use crate::transport::Transport;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

impl Outbound {
    /// Returns the waiting bytes, one frame behind the other.
    pub(crate) fn waiting(&self) -> Vec<u8> {
        self.state.lock().queue.iter().flat_map(|chunk| chunk.to_vec()).collect()
    }
}

/// Makes an outbound with a socket, and the client's end of it.
async fn pair(limit: usize) -> (Arc<Outbound>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let outbound = Outbound::new(limit, Default::default());
    let (reader, writer) = Transport::tcp(server).into_split();
    // The stream must stay open for as long as the test reads.
    std::mem::forget(reader);
    outbound.attach(writer);
    (outbound, client)
}

fn flushed(outbound: &Arc<Outbound>) -> impl Future<Output = ()> + use<> {
    let outbound = outbound.clone();
    std::future::poll_fn(move |cx| outbound.poll_flushed(cx))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frames_of_many_senders_arrive_whole_and_in_each_sender_s_order() {
    const SENDERS: u32 = 4;
    const FRAMES: u32 = 3_000;
    let (outbound, mut client) = pair(64 * 1024 * 1024).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let outbound = outbound.clone();
            tokio::task::spawn_blocking(move || {
                let mut writes = PendingWrites::default();
                for number in 0..FRAMES {
                    // Frames have different sizes, so that writes end in the middle of some.
                    let mut payload = vec![b'.'; 40 + (number as usize * 37) % 900];
                    payload[..4].copy_from_slice(&sender.to_be_bytes());
                    payload[4..8].copy_from_slice(&number.to_be_bytes());
                    assert!(writes.push(&outbound, &Frame::encode(FrameKind::Binary, &payload)));
                    if number % 3 == 0 {
                        writes.write_now();
                    }
                }
            })
        })
        .collect();
    let owner = tokio::spawn({
        let outbound = outbound.clone();
        async move {
            for sender in senders {
                sender.await.unwrap();
            }
            flushed(&outbound).await;
        }
    });
    let mut next = [0; SENDERS as usize];
    for _ in 0..SENDERS * FRAMES {
        assert_eq!(client.read_u8().await.unwrap(), 0x82, "a whole binary frame begins");
        let length = match client.read_u8().await.unwrap() {
            126 => client.read_u16().await.unwrap() as usize,
            length => length as usize,
        };
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await.unwrap();
        let sender = u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
        let number = u32::from_be_bytes(payload[4..8].try_into().unwrap());
        assert_eq!(number, next[sender], "of sender {sender}");
        next[sender] += 1;
    }
    owner.await.unwrap();
    assert_eq!(outbound.queued_bytes(), 0);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_overruns_at_the_bound_and_its_owner_is_told() {
    let (outbound, _client) = pair(100_000).await;
    let frame = Frame::encode(FrameKind::Binary, &[0; 10_000]);
    let mut writes = PendingWrites::default();
    while writes.push(&outbound, &frame) {
        writes.write_now();
        assert!(outbound.queued_bytes() <= 100_000 + ROOM_FOR_HEADERS);
    }
    assert_eq!(outbound.status().end, Some(Reason::SlowConsumer));
    outbound.refuse_messages(true);
    assert!(outbound.queued_bytes() <= frame.len(), "all but the rest of one frame is dropped");
    assert_eq!(outbound.push(&frame), Pushed::Refused);
}

#[tokio::test]
async fn answers_of_one_event_find_room_beside_what_waits_already_and_those_of_others_do_not() {
    let event = EventBounds { frames: 8, bytes: 50_000 };
    let outbound = Outbound::new(40_000, event);
    let frame = Frame::encode(FrameKind::Binary, &[0; 10_000]);
    let mut of_others = PendingWrites::default();
    assert!((0..5).all(|_| of_others.push(&outbound, &frame)));
    let mut own = PendingWrites::of(&outbound);
    assert!((0..5).all(|_| own.push(&outbound, &frame)), "as much as one event may send");
    assert_eq!(outbound.push_control(&Frame::encode(FrameKind::Ping, b"")), Pushed::Queued);
    assert!(outbound.status().end.is_none());
    assert!(!of_others.push(&outbound, &frame));
    assert_eq!(outbound.status().end, Some(Reason::SlowConsumer));
}

#[test]
fn what_waits_for_all_clients_has_a_bound_together() {
    let _alone = client_bytes::alone();
    let before = client_bytes::counted();
    client_bytes::set_limit(before + 500_000);
    let small = Frame::encode(FrameKind::Binary, &[0; 1_000]);
    let outbounds: Vec<_> = (0..100).map(|_| Outbound::new(1 << 20, Default::default())).collect();
    let ended = |outbound: &Arc<Outbound>| outbound.status().end.is_some();
    for _ in 0..16 {
        assert!(outbounds.iter().all(|outbound| outbound.push(&small) == Pushed::Queued));
    }
    assert_eq!(client_bytes::counted(), before, "so much is free");
    // A message to many counts once, however many it waits for.
    let large = Frame::encode(FrameKind::Binary, &[0; 100_000]);
    assert!(outbounds.iter().all(|outbound| outbound.push(&large) == Pushed::Queued));
    assert_eq!(client_bytes::counted(), before + large.len());
    for _ in 0..100 {
        for outbound in &outbounds {
            let _ = outbound.push(&small);
            if ended(outbound) {
                // Its owner does so.
                outbound.refuse_messages(true);
            }
        }
    }
    assert!(client_bytes::counted() <= before + 500_000);
    assert!(outbounds.iter().any(ended) && !outbounds.iter().all(ended));
    // One that has nothing waiting is served as ever.
    let other = Outbound::new(1 << 20, Default::default());
    assert_eq!(other.push(&small), Pushed::Queued);
    outbounds.iter().for_each(|outbound| outbound.shut());
    drop(large);
    assert_eq!(client_bytes::counted(), before);
    client_bytes::set_limit(usize::MAX);
}

#[tokio::test]
async fn what_was_queued_before_the_upgrade_is_written_after_it() {
    let outbound = Outbound::new(1000, Default::default());
    assert_eq!(outbound.push(&Frame::encode(FrameKind::Text, b"early")), Pushed::Queued);
    let (other, mut client) = pair(1000).await;
    let Socket::Idle(writer) = std::mem::replace(&mut other.state.lock().socket, Socket::Gone)
    else {
        panic!("nobody writes");
    };
    outbound.attach(writer);
    flushed(&outbound).await;
    let mut frame = [0; 7];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x05early");
}
