//! Nodes that own rooms, with a simulated engine and clock: links are cut and slow, nodes are killed and stand still.
//! No room has two owners, and no event is lost whose effects somebody has seen.
//!
//! `WHARF_SIMULATION_RUNS` is the number of runs, 300 by default. `WHARF_SIMULATION_SEED` is the seed of the first one; a
//! failure names its own.

mod dice;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};
use wharf_cluster::memory::Server;
use wharf_cluster::{Deliveries, Keys, Limits};
use wharf_hub::connection_id::NodeId;
use wharf_hub::owners::{Claim, Hold, KeptTimer, Refused, RoomContent};
use wharf_node::owners::RoomOwners;
use wharf_node::room_record::RoomRecord;
use wharf_node::session::Sessions;

use dice::Dice;

const NODES: usize = 3;
const ROOMS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The things that the world outside has seen of the rooms.
#[derive(Default)]
struct Seen {
    /// The largest number that each room has told.
    last: BTreeMap<usize, u64>,
    /// The numbers that each room has told.
    told: BTreeSet<(usize, u64)>,
    /// Events that were lost with their node or their ownership, before anybody saw anything of them.
    undone: u64,
    /// Times at which a room got another owner.
    moves: u64,
    /// The owner that each room had when it told something last.
    owners: BTreeMap<usize, NodeId>,
}

/// A node, as long as it runs.
struct Node {
    id: NodeId,
    name: String,
    owners: RoomOwners,
    sessions: Arc<Sessions>,
    is_killed: Cell<bool>,
    stands_still_until: Cell<Instant>,
    _deliveries: Deliveries,
}

/// One run.
struct World {
    seed: u64,
    dice: Dice,
    server: Server,
    /// A link that is never cut, by which the run looks at the records.
    truth: wharf_cluster::memory::Node,
    seen: RefCell<Seen>,
    nodes: RefCell<Vec<Rc<Node>>>,
    last_node: Cell<u64>,
    is_over: Cell<bool>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl World {
    fn start(self: &Rc<World>, place: usize) -> Rc<Node> {
        self.last_node.set(self.last_node.get() + 1);
        let id = NodeId::numbered(self.last_node.get()).expect("a node");
        let name = format!("node {}", self.last_node.get());
        let (engine, deliveries) = self.server.node(&name, &Limits::default());
        let engine = Arc::new(engine);
        self.server.delay(&name, Duration::ZERO, self.time(20));
        let sessions = Arc::new(Sessions::new(engine.clone(), id, TIMEOUT));
        let owners = RoomOwners::new(engine, sessions.clone(), id, "chat");
        let node = Rc::new(Node {
            id,
            name,
            owners,
            sessions,
            is_killed: Cell::new(false),
            stands_still_until: Cell::new(Instant::now()),
            _deliveries: deliveries,
        });
        for room in 0..ROOMS {
            self.spawn(run_room(self.clone(), node.clone(), room));
        }
        self.spawn(renew(self.clone(), node.clone()));
        let mut nodes = self.nodes.borrow_mut();
        if place < nodes.len() {
            nodes[place] = node.clone();
        } else {
            nodes.push(node.clone());
        }
        node
    }

    /// Returns a time of at most so many milliseconds.
    fn time(&self, most: u64) -> Duration {
        Duration::from_millis(self.dice.below(most + 1))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(tokio::task::spawn_local(task));
    }

    /// Does something at random.
    fn disturb(self: &Rc<World>) {
        let place = self.dice.below(NODES as u64) as usize;
        let node = self.nodes.borrow()[place].clone();
        match self.dice.below(10) {
            0..=2 => self.server.cut(&node.name),
            3..=5 => self.server.mend(&node.name),
            6 => {
                let most = self.time(400);
                self.server.delay(&node.name, most / 4, most);
            }
            7 => node.stands_still_until.set(Instant::now() + self.time(9_000)),
            8 => {
                node.is_killed.set(true);
                self.start(place);
            }
            _ => {
                // It stops in order: the others need not wait.
                node.is_killed.set(true);
                let stopped = node.clone();
                self.spawn(async move { stopped.sessions.end().await });
                self.start(place);
            }
        }
    }

    /// Tells the world outside the number of a room after an event that has changed it. An owner that may have lost the room
    /// meanwhile tells what is recorded nevertheless, perhaps after the next owner has told more.
    async fn tell(&self, node: &Node, room: usize, hold: Hold, number: u64) {
        let is_owner = node.owners.holds(hold);
        let record = self.record(room).await;
        let mut seen = self.seen.borrow_mut();
        let (seed, last) = (self.seed, seen.last.get(&room).copied().unwrap_or_default());
        assert!(
            seen.told.insert((room, number)),
            "seed {seed}: {number} of room {room} comes twice"
        );
        assert!(number_of(&record.content) >= number, "seed {seed}: {number} is not recorded");
        assert!(!is_owner || number > last, "seed {seed}: {number} of room {room} after {last}");
        seen.last.insert(room, number.max(last));
        if seen.owners.insert(room, node.id) != Some(node.id) {
            seen.moves += 1;
        }
    }

    /// Tells the world outside the number of a room after an event that has not changed it.
    async fn show(&self, node: &Node, room: usize, number: u64) {
        let record = self.record(room).await;
        let (seed, seen) = (self.seed, self.seen.borrow());
        let last = seen.last.get(&room).copied().unwrap_or_default();
        assert_eq!(record.owner.node, node.id, "seed {seed}: room {room} has another owner");
        assert!(number >= last, "seed {seed}: {number} of room {room} is old, {last} was told");
    }

    async fn record(&self, room: usize) -> RoomRecord {
        let record = self.truth.get(&format!("rooms:chat:{room}")).await.expect("the truth");
        RoomRecord::read(&record.expect("a record").value).expect("a record")
    }
}

fn number_of(content: &RoomContent) -> u64 {
    let state = content.state.as_deref().unwrap_or_default();
    state.try_into().map_or(0, u64::from_le_bytes)
}

/// Returns the content after an event.
fn content(number: u64, event: u64) -> RoomContent {
    let timer = KeptTimer {
        name: "tick".into(),
        due_at: number,
        interval: None,
        payload: Bytes::copy_from_slice(&event.to_le_bytes()),
    };
    RoomContent { state: Some(number.to_le_bytes().to_vec().into()), timers: vec![timer] }
}

async fn renew(world: Rc<World>, node: Rc<Node>) {
    while !world.is_over.get() && !node.is_killed.get() {
        sleep(node.stands_still_until.get().saturating_duration_since(Instant::now())).await;
        let pause = node.sessions.look().await;
        sleep(pause).await;
    }
}

/// Runs the events of a room on a node, as a hub does.
async fn run_room(world: Rc<World>, node: Rc<Node>, room: usize) {
    let name: Arc<str> = room.to_string().into();
    let mut held: Option<(Hold, RoomContent)> = None;
    while !world.is_over.get() && !node.is_killed.get() {
        sleep(world.time(300)).await;
        sleep(node.stands_still_until.get().saturating_duration_since(Instant::now())).await;
        if let Some((hold, _)) = &held
            && !node.owners.holds(*hold)
        {
            match node.owners.confirm(*hold).await {
                Ok(()) => {}
                Err(Refused::Lost | Refused::Moved) => held = None,
                Err(Refused::Unavailable(_)) => continue,
            }
        }
        let (hold, before) = match held.take() {
            Some(held) => held,
            None => match node.owners.claim(&name).await {
                Ok(Claim::Held(hold, content)) => (hold, content),
                Ok(Claim::Elsewhere(_)) | Err(_) => continue,
            },
        };
        if let Some(timer) = before.timers.first() {
            assert_eq!(timer.due_at, number_of(&before), "the state and the timers are one record");
        }
        // The handler runs.
        sleep(world.time(20)).await;
        if node.is_killed.get() {
            return;
        }
        if world.dice.one_in(3) {
            // An event that changes nothing has effects only while the node owns the room for certain.
            if node.owners.holds(hold) {
                world.show(&node, room, number_of(&before)).await;
                held = Some((hold, before));
            }
            continue;
        }
        let after = content(number_of(&before) + 1, world.dice.next());
        let written = node.owners.write(&name, hold, after.clone()).await;
        if node.is_killed.get() {
            return;
        }
        match written {
            Ok(hold) => {
                world.tell(&node, room, hold, number_of(&after)).await;
                held = Some((hold, after));
            }
            Err(Refused::Lost) => {
                // It runs again where the room is, and must not have run here.
                let record = world.record(room).await;
                let seed = world.seed;
                assert_ne!(
                    record.content, after,
                    "seed {seed}: an event of room {room} is recorded"
                );
                world.seen.borrow_mut().undone += 1;
            }
            // Its number may come after those of the next owner.
            Err(Refused::Moved) => {}
            Err(Refused::Unavailable(_)) => world.seen.borrow_mut().undone += 1,
        }
    }
}

/// Returns the number of told numbers, undone events and moves of a run.
fn run(seed: u64) -> (u64, u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let server = Server::new(seed);
        let (truth, _deliveries) = server.node("truth", &Limits::default());
        let world = Rc::new(World {
            seed,
            dice: Dice::new(seed),
            server,
            truth,
            seen: RefCell::default(),
            nodes: RefCell::default(),
            last_node: Cell::new(0),
            is_over: Cell::new(false),
            tasks: RefCell::default(),
        });
        for place in 0..NODES {
            world.start(place);
        }
        for _ in 0..40 {
            sleep(world.time(3_000)).await;
            world.disturb();
        }
        // All is well again: every room has an owner within the time of a session, also if its owner is killed last.
        let killed = world.nodes.borrow()[0].clone();
        killed.is_killed.set(true);
        for node in world.nodes.borrow().iter() {
            world.server.mend(&node.name);
            world.server.delay(&node.name, Duration::ZERO, Duration::from_millis(5));
            node.stands_still_until.set(Instant::now());
        }
        sleep(TIMEOUT + Duration::from_secs(1)).await;
        let before = world.seen.borrow().last.clone();
        sleep(Duration::from_secs(5)).await;
        for room in 0..ROOMS {
            let last = world.seen.borrow().last.get(&room).copied();
            assert!(
                last > before.get(&room).copied(),
                "seed {seed}: room {room} has no owner: {before:?}"
            );
        }
        world.is_over.set(true);
        let tasks = std::mem::take(&mut *world.tasks.borrow_mut());
        for task in tasks {
            task.await.expect("no task has panicked");
        }
        let seen = world.seen.borrow();
        (seen.told.len() as u64, seen.undone, seen.moves)
    })
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_room_has_one_owner_and_no_event_is_lost_whose_effects_were_seen() {
    let first = number("WHARF_SIMULATION_SEED", 1);
    let runs = number("WHARF_SIMULATION_RUNS", 300);
    let mut sums = (0, 0, 0);
    for seed in first..first + runs {
        let (told, undone, moves) = run(seed);
        sums = (sums.0 + told, sums.1 + undone, sums.2 + moves);
    }
    println!("{} told, {} undone, {} moves", sums.0, sums.1, sums.2);
    assert!(sums.0 > runs * 100 && sums.1 > runs && sums.2 > runs, "{sums:?} in {runs} runs");
}

#[test]
fn a_run_is_the_same_with_the_same_seed() {
    assert_eq!(run(7), run(7));
}
