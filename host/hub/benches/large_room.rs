//! The time that events of one channel wait while another channel broadcasts to a very large room.
//!
//! One channel has a room of 100,000 members, to which 20 messages a second are broadcast, while
//! other tasks of that channel connect, join, count, send to single members and leave. The other
//! channel has a room of ten, and an event every half a millisecond. Connections have no sockets:
//! the cost of a write is the kernel's.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::hub::Hub;
use wharf_hub::outbound::{Outbound, PendingWrites};
use wharf_hub::recipients::{Group, Recipients};

/// Members of the large room.
const MEMBERS: usize = 100_000;

/// Members of the other channel's room.
const FEW: usize = 10;

/// Broadcasts of one round. The bytes that wait for a member then still fit into its first block of
/// memory.
const BROADCASTS: u32 = 28;

/// Time from one broadcast to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Time from one event of the other channel to the next.
const EVENT_PAUSE: Duration = Duration::from_micros(500);

/// Time from one step of the large channel's other tasks to the next.
const STEP_PAUSE: Duration = Duration::from_millis(2);

/// Number of the large channel's other tasks.
const BUSY_TASKS: usize = 4;

/// Rounds that are measured.
const ROUNDS: usize = 3;

/// Threads that run tasks.
const WORKERS: usize = 2;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_time()
        .build()?;
    println!("{MEMBERS} members, 20 broadcasts a second, {WORKERS} threads, {ROUNDS} rounds; ms");
    println!("{:<44}{:>9}{:>9}{:>9}", "", "median", "99%", "longest");
    for broadcasts in [0, BROADCASTS] {
        let mut all = Times::default();
        for _ in 0..ROUNDS {
            all.add(runtime.block_on(round(broadcasts)));
        }
        let Times { waits, broadcasts: times, turns } = &mut all;
        let what = if broadcasts == 0 { "no broadcasts" } else { "broadcasts" };
        print(&format!("{what}: an event of another channel waits"), waits);
        if broadcasts > 0 {
            print("a broadcast takes", times);
            print("of which it keeps its thread in one piece", turns);
        }
    }
    Ok(())
}

/// The measured times.
#[derive(Default)]
struct Times {
    /// Time from the arrival of an event to the beginning of its handler.
    waits: Vec<Duration>,
    /// Time from the beginning of a broadcast until it is queued for all members.
    broadcasts: Vec<Duration>,
    /// The longest time for which each broadcast kept its thread.
    turns: Vec<Duration>,
}

impl Times {
    fn add(&mut self, other: Times) {
        self.waits.extend(other.waits);
        self.broadcasts.extend(other.broadcasts);
        self.turns.extend(other.turns);
    }
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{what:<44}{:>9.3}{:>9.3}{:>9.3}", at(0.5), at(0.99), at(1.0));
}

/// Makes a hub with a room, and its members.
fn hub(members: usize) -> (Arc<Hub>, Vec<Arc<ConnectionRecord>>) {
    let hub = Arc::new(Hub::default());
    let members = (0..members).map(|_| join(&hub)).collect();
    (hub, members)
}

fn join(hub: &Hub) -> Arc<ConnectionRecord> {
    let request = UpgradeRequest {
        path: "/".into(),
        query: "".into(),
        params: Box::new([]),
        headers: RequestHeaders::default(),
        remote: wharf_hub::remote::Remote::Unix,
        subprotocol: None,
    };
    let record =
        Arc::new(ConnectionRecord::new(request, Outbound::new(1024 * 1024, Default::default())));
    hub.connect(&record);
    hub.join(&record, &room());
    record
}

fn room() -> Arc<str> {
    Arc::from("lobby")
}

async fn round(broadcasts: u32) -> Times {
    let (large, members) = hub(MEMBERS);
    let is_over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..BUSY_TASKS)
        .map(|task| tokio::spawn(be_busy(large.clone(), members.clone(), task, is_over.clone())))
        .collect();
    let (events, arrived) = mpsc::unbounded_channel();
    let others = tokio::spawn(handle_events(arrived));
    let source = std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            while !is_over.load(Ordering::Relaxed) && events.send(Instant::now()).is_ok() {
                std::thread::sleep(EVENT_PAUSE);
            }
        }
    });
    let mut times = match broadcasts {
        0 => {
            tokio::time::sleep(BROADCASTS * PAUSE).await;
            Times::default()
        }
        _ => tokio::spawn(broadcast(large.clone(), broadcasts)).await.expect("it does not panic"),
    };
    is_over.store(true, Ordering::Relaxed);
    source.join().expect("it does not panic");
    times.waits = others.await.expect("it does not panic");
    for task in busy {
        task.await.expect("it does not panic");
    }
    times
}

/// Broadcasts to the large room.
async fn broadcast(hub: Arc<Hub>, broadcasts: u32) -> Times {
    let (to, frame) = (Recipients::Room(room()), Frame::encode(FrameKind::Text, &[b'm'; 16]));
    let mut writes = PendingWrites::default();
    let mut times = Times::default();
    let mut ticks = tokio::time::interval(PAUSE);
    for _ in 0..broadcasts {
        ticks.tick().await;
        let (start, mut longest) = (Instant::now(), Duration::ZERO);
        {
            let mut delivery = pin!(hub.deliver(None, &to, &frame, None, &mut writes));
            std::future::poll_fn(|cx| {
                let turn = Instant::now();
                let polled = delivery.as_mut().poll(cx).map(drop);
                longest = longest.max(turn.elapsed());
                polled
            })
            .await;
        }
        writes.write().await;
        times.broadcasts.push(start.elapsed());
        times.turns.push(longest);
    }
    times
}

/// Runs the other events of the large channel.
async fn be_busy(
    hub: Arc<Hub>,
    members: Vec<Arc<ConnectionRecord>>,
    task: usize,
    is_over: Arc<AtomicBool>,
) {
    let frame = Frame::encode(FrameKind::Text, b"m");
    let mut writes = PendingWrites::default();
    let mut ticks = tokio::time::interval(STEP_PAUSE);
    for step in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        ticks.tick().await;
        let newcomer = join(&hub);
        assert!(hub.count(Group::Room("lobby")) > MEMBERS);
        let member = (step * 7919 + task * 25_000) % MEMBERS;
        hub.send_to(members[member].id, &frame, &mut writes);
        hub.remove(&newcomer);
    }
}

/// Handles the events of the other channel, each by a broadcast.
async fn handle_events(mut arrived: mpsc::UnboundedReceiver<Instant>) -> Vec<Duration> {
    let (hub, _members) = hub(FEW);
    let (to, frame) = (Recipients::Room(room()), Frame::encode(FrameKind::Text, b"m"));
    let mut writes = PendingWrites::default();
    let mut waits = Vec::new();
    while let Some(at) = arrived.recv().await {
        waits.push(at.elapsed());
        hub.deliver(None, &to, &frame, None, &mut writes).await;
        writes.write().await;
    }
    waits
}
