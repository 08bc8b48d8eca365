//! The two levels of the test kit and a server side by side: random scripts show their clients the
//! same at each.

#[path = "../fixtures/scripted/src/lib.rs"]
mod scripted;

use std::time::Duration;

use scripted::{Scripted, Step};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wharf::testing::{Client, HistoryRule, Retention, RoomPattern, TestHost};
use wharf_tests::kit::prepared;
use wharf_tests::{Ended, Wharf, configured};

/// Number of clients in a script.
const CLIENTS: usize = 4;

/// Rooms of a script; the last one is none.
const ROOMS: [&str; 3] = ["red", "blue", ""];

/// A random number generator (SplitMix64) that gives the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((number ^ (number >> 31)) % limit as u64) as usize
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// One step of a script.
#[derive(Debug, Clone)]
enum Act {
    Connect(usize),
    Step(usize, Step),
    Vanish(usize),
    Leave(usize),
    Advance(Duration),
}

fn user(client: usize) -> String {
    format!("user{client}")
}

/// Makes a script. Without `time` it has no timers and no presence, which need a clock.
fn script(seed: u64, time: bool) -> Vec<Act> {
    let mut random = Random(seed);
    let mut acts: Vec<Act> = (0..CLIENTS).map(Act::Connect).collect();
    for client in 0..CLIENTS {
        acts.push(Act::Step(client, Step::Join { room: "red".to_owned() }));
    }
    let mut has_changed_users = false;
    for _ in 0..60 {
        let client = random.below(CLIENTS);
        let room = random.one_of(&ROOMS).to_owned();
        let other = user(random.below(CLIENTS + 1));
        let value = random.one_of(&["left", "right"]).to_owned();
        let timer = random.one_of(&["one", "two"]).to_owned();
        // No two timers are set for the same time: those of rooms and connections have no order then.
        let milliseconds = [20, 100, 250][random.below(3)] + acts.len() as u64;
        let count = random.below(4) as u32;
        // Without a clock nothing may come back while a script runs.
        let milliseconds_of_limit = if time { milliseconds } else { 60 * 60 * 1000 };
        let step = match random.below(if time { 44 } else { 28 }) {
            0..=2 => Step::Join { room },
            3 => Step::Leave { room },
            4 | 5 => Step::Broadcast { room },
            6 => Step::BroadcastToOthers { room },
            7 => Step::ToAll,
            8 => Step::ToLabel { room, value },
            9 => Step::ToUser { user: other },
            10 => Step::NotifyUser { user: other },
            11 => Step::NotifyRoom { room },
            12 | 13 => Step::Post { room },
            14 => Step::Label { value },
            15 => Step::ClearLabel,
            16 => Step::Count { room },
            17 if !has_changed_users => Step::Disconnect { user: other },
            // The ends of several connections of one user have no order.
            17 => Step::Count { room },
            18 => Step::Close { code: [1000, 4000, 1005][random.below(3)] },
            19 => Step::Fail { room },
            20 if random.below(3) == 0 => Step::Panic,
            20 | 21 => {
                acts.push(match random.below(3) {
                    0 => Act::Vanish(client),
                    1 => Act::Leave(client),
                    _ => Act::Connect(client),
                });
                continue;
            }
            22 | 23 => Step::JoinIfFewerThan { room, count },
            24 => Step::IdentifyIfFewerThan { user: other, count },
            25 => {
                let of = ["connection", "channel", "user0"][random.below(3)].to_owned();
                // The time to wait is only the same where a test moves the clock.
                let count = if time { count } else { 1000 };
                Step::Take { of, name: timer, count, milliseconds: milliseconds_of_limit }
            }
            26 => Step::PostAs { room, user: other },
            27 => Step::History { room, limit: count },
            28 => Step::Increment { milliseconds: milliseconds_of_limit },
            29 => Step::After { timer, milliseconds },
            30 => Step::Every { timer, milliseconds },
            31 => Step::Cancel { timer },
            32 => Step::RoomAfter { room, milliseconds },
            33 => Step::Track { room },
            34 => Step::Untrack { room },
            35 => Step::Watch { room },
            36 => Step::Unwatch { room },
            37 => Step::Left { timer },
            38 => Step::LeftInRoom { room },
            39 => Step::ReadRoom { room },
            _ => {
                acts.push(Act::Advance(Duration::from_millis(
                    [7, 90, 1000, 4000][random.below(4)],
                )));
                continue;
            }
        };
        has_changed_users |= matches!(step, Step::PostAs { .. } | Step::IdentifyIfFewerThan { .. });
        acts.push(Act::Step(client, step));
    }
    acts
}

/// Returns the rules of the messages that rooms keep: one keeps few and for a while, the other ones none.
fn history() -> Vec<HistoryRule> {
    let rooms = RoomPattern::new(ROOMS[0]).expect("a name");
    let retention = Retention { messages: 4, newcomers: 2, age_ms: 2_513, ..Retention::default() };
    vec![HistoryRule { rooms, retention }]
}

/// Returns the same for a server, where time is not moved.
fn configuration() -> String {
    let room = ROOMS[0];
    format!("channels.scripted.history = {{ rooms = \"{room}\", messages = 4, newcomers = 2 }}")
}

/// The messages of the connections that one client had, in order; a close is the last of one.
type Seen = Vec<Vec<Value>>;

/// Runs a script with the kit.
fn with_kit(host: &TestHost, acts: &[Act]) -> Seen {
    let mut clients: Vec<Option<Client>> = (0..CLIENTS).map(|_| None).collect();
    let mut seen = vec![Vec::new(); CLIENTS];
    let look = |client: &Client, seen: &mut Vec<Value>| {
        seen.extend(client.received().iter().map(|received| received.json()));
    };
    for act in acts {
        match act {
            Act::Connect(number) if clients[*number].is_none() => {
                let path = format!("/scripted/{}", user(*number));
                clients[*number] = Some(host.connect(&path).expect_open());
            }
            Act::Step(number, step) => {
                if let Some(client) = &clients[*number] {
                    client.send(json!(step));
                }
            }
            Act::Vanish(number) | Act::Leave(number) => {
                if let Some(client) = clients[*number].take() {
                    look(&client, &mut seen[*number]);
                    match act {
                        Act::Vanish(_) => client.vanish(),
                        _ => client.disconnect(1000, ""),
                    }
                }
            }
            Act::Connect(_) => {}
            Act::Advance(by) => host.advance(*by),
        }
        for (client, seen) in clients.iter_mut().zip(&mut seen) {
            if let Some(client) = client.take_if(|client| !client.is_open()) {
                look(&client, seen);
                seen.push(json!({ "closed": client.closed() }));
            }
        }
    }
    for (client, seen) in clients.iter().zip(&mut seen) {
        client.iter().for_each(|client| look(client, seen));
    }
    // The noticeable parts of a failure must be the same as well.
    let errors = host.errors().into_iter().map(|error| json!(error));
    seen.push(errors.collect());
    seen
}

#[track_caller]
fn compare(seed: u64, acts: &[Act], native: &Seen, other: &Seen, level: &str) {
    for (client, (native, other)) in native.iter().zip(other).enumerate() {
        let at = native.iter().zip(other).take_while(|(one, other)| one == other).count();
        assert!(
            native.len() == at && other.len() == at,
            "seed {seed}: client {client} has seen another message at place {at}: natively {:?}, {level} {:?}\n{acts:#?}",
            native.get(at),
            other.get(at)
        );
    }
}

#[test]
fn both_levels_of_the_kit_show_the_same() {
    for seed in 0..12 {
        let acts = script(seed, true);
        let native = TestHost::native::<Scripted>();
        native.set_history(history());
        let native = with_kit(&native, &acts);
        let component = prepared("scripted", |host| host.set_history(history()));
        let component = with_kit(&component, &acts);
        compare(seed, &acts, &native, &component, "in the component");
    }
}

/// A server with the clients of a script, and one more that asks if all has happened.
struct Scene {
    wharf: Wharf,
    observer: wharf_tests::Client,
    clients: Vec<Option<wharf_tests::Client>>,
    seen: Seen,
    /// Number of connections that have ended.
    ended: u64,
}

impl Scene {
    async fn perform(&mut self, act: &Act) {
        match act {
            Act::Connect(number) if self.clients[*number].is_none() => {
                let path = format!("/scripted/{}", user(*number));
                self.clients[*number] = Some(self.wharf.connect(&path).await);
            }
            Act::Step(number, step) => {
                if let Some(client) = &mut self.clients[*number] {
                    client.send_json(json!(step)).await;
                }
            }
            Act::Vanish(number) | Act::Leave(number) => {
                if let Some(client) = self.clients[*number].take() {
                    self.ended += 1;
                    match act {
                        Act::Vanish(_) => client.reset(),
                        _ => client.close(1000, "").await,
                    }
                }
            }
            Act::Connect(_) | Act::Advance(_) => {}
        }
    }

    /// Waits until an act and what follows from it have happened.
    async fn settle(&mut self) {
        let mut quiet = 0;
        // A post may lead to another event, which may end a connection, which is told to its rooms.
        while quiet < 3 {
            for (client, seen) in self.clients.iter_mut().zip(&mut self.seen) {
                let Some(open) = client else { continue };
                if let Err(closed) = until_synced(open, seen, &[]).await {
                    seen.push(json!({ "closed": closed }));
                    *client = None;
                    self.ended += 1;
                    quiet = 0;
                }
            }
            let rooms = [ROOMS[0], ROOMS[1]];
            let closed = until_synced(&mut self.observer, &mut Vec::new(), &rooms).await;
            match closed == Ok(self.ended) {
                true => quiet += 1,
                false => quiet = 0,
            }
        }
    }
}

/// Asks a client, and returns the number of connections that have ended, when all rooms have
/// answered; or the close frame if this connection ends. What comes before is seen.
async fn until_synced(
    client: &mut wharf_tests::Client,
    seen: &mut Vec<Value>,
    rooms: &[&str],
) -> Result<u64, Option<(u16, String)>> {
    let question = Message::text(json!({ "sync": rooms }).to_string());
    client.try_send(question).await;
    let (mut closed, mut waiting) = (0, rooms.len() + 1);
    while waiting > 0 {
        let message: Value = match client.message_or_end().await {
            Ok(message) => serde_json::from_str(message.to_text().expect("text")).expect("JSON"),
            Err(Ended::Closed(code, reason)) => return Err(Some((code, reason))),
            Err(_) => return Err(None),
        };
        match message.get("sync") {
            Some(sync) => {
                closed = sync.as_u64().unwrap_or(closed);
                waiting -= 1;
            }
            None => seen.push(message),
        }
    }
    Ok(closed)
}

async fn with_server(acts: &[Act]) -> Seen {
    let folder = configured(&["scripted"], &configuration());
    // The ends of several connections have no order, and a disk would mix them more often.
    let wharf = Wharf::start_in(folder, &["--data", ""]).await;
    let observer = wharf.connect("/scripted/observer").await;
    let clients = (0..CLIENTS).map(|_| None).collect();
    let mut scene = Scene { wharf, observer, clients, seen: vec![Vec::new(); CLIENTS], ended: 0 };
    for act in acts {
        scene.perform(act).await;
        scene.settle().await;
    }
    scene.seen
}

#[tokio::test]
async fn a_server_shows_what_the_kit_shows() {
    for seed in 100..104 {
        let acts = script(seed, false);
        let native = TestHost::native::<Scripted>();
        native.set_history(history());
        let native = with_kit(&native, &acts);
        let server = with_server(&acts).await;
        compare(seed, &acts, &native, &server, "by the server");
    }
}
