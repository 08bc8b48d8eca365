//! Clients that come, go and come back beside broadcasts, in orders that are drawn from a seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wharf_contract::history::{HistoryRule, Recovery, Retention, RoomPattern};
use wharf_engine::{Disk, Durability};

use super::*;
use crate::connection::{RequestHeaders, UpgradeRequest};
use crate::frame::FrameKind;
use crate::history::AskedPositions;
use crate::interleaved::run_all;
use crate::presence::PresenceTiming;

const CLIENTS: usize = 12;
const ROOMS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Broadcast to these rooms, without one client.
    Broadcast(BTreeSet<usize>, Option<usize>),
    Join(usize, usize),
    Leave(usize, usize),
    /// Lose the connection and come back with what is known.
    Reconnect(usize),
    Pause,
}

fn tasks() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let (client, room) = (0..CLIENTS, 0..ROOMS);
    let rooms = proptest::collection::btree_set(0..ROOMS, 1..=2);
    let step = prop_oneof![
        6 => (rooms, proptest::option::of(0..CLIENTS)).prop_map(|(r, c)| Step::Broadcast(r, c)),
        3 => (client.clone(), room.clone()).prop_map(|(c, room)| Step::Join(c, room)),
        1 => (client.clone(), room).prop_map(|(c, room)| Step::Leave(c, room)),
        2 => client.prop_map(Step::Reconnect),
        1 => Just(Step::Pause),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 1..16), 1..6)
}

fn room(number: usize) -> Arc<str> {
    ["kept", "short", "free"][number].into()
}

fn rules() -> Vec<HistoryRule> {
    let rule = |rooms: &str, messages| HistoryRule {
        rooms: RoomPattern::new(rooms).expect("a pattern"),
        retention: Retention { messages, ..Retention::default() },
    };
    vec![rule("kept", 1000), rule("short", 3), rule("newest", 5)]
}

fn hub(rules: Vec<HistoryRule>) -> Hub {
    let clock = Box::new(|| 1_800_000_000_000);
    Hub::new(PresenceTiming::default()).with_history(rules, 1 << 20, clock)
}

/// Makes a connection whose client asks for positions, if it brings any.
fn connection(hub: &Hub, asked: Option<&str>) -> Arc<ConnectionRecord> {
    let request = UpgradeRequest {
        path: "/".into(),
        query: "".into(),
        params: Box::default(),
        headers: RequestHeaders::default(),
        remote: crate::remote::Remote::Unix,
        subprotocol: None,
    };
    let asked = asked.map(|text| AskedPositions::read(text, |room| Some(room.to_owned())));
    let record = ConnectionRecord::new(request, Outbound::new(1 << 20, Default::default()));
    let record = Arc::new(record.with_positions(asked));
    hub.connect(&record);
    record
}

/// Splits the bytes that wait for a client into its messages.
fn messages(outbound: &Outbound) -> Vec<String> {
    let (bytes, mut at, mut messages) = (outbound.waiting(), 0, Vec::new());
    while at < bytes.len() {
        let (length, header) = match bytes[at + 1] {
            126 => (u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) as usize, 4),
            length => (length as usize, 2),
        };
        let payload = &bytes[at + header..at + header + length];
        messages.push(String::from_utf8(payload.to_vec()).expect("text"));
        at += header + length;
    }
    messages
}

/// Returns a field of a note.
fn field<'a>(note: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = note.split_once(&format!(r#""{name}":"#))?;
    let end = rest.find([',', '}']).expect("an end");
    Some(rest.get(..end)?.trim_matches('"'))
}

/// A client that keeps its positions over its connections.
struct Client {
    connection: Arc<ConnectionRecord>,
    is_positioned: bool,
    /// True while a join or a leave is under way, so that no other begins.
    is_busy: bool,
    /// Positions that it told when it came, by room.
    asked: BTreeMap<String, (String, u64)>,
    known: BTreeMap<String, (String, u64)>,
    /// All messages that it has got in a room, by offset.
    got: BTreeMap<(String, u64), String>,
}

struct Lab {
    hub: Hub,
    clients: Vec<RefCell<Client>>,
    sent: RefCell<u32>,
    /// The message of each offset, as the first client has seen it.
    log: RefCell<BTreeMap<(String, u64), String>>,
}

impl Lab {
    fn new(hub: Hub) -> Lab {
        let client = |number: usize| {
            let is_positioned = !number.is_multiple_of(3);
            Client {
                connection: connection(&hub, is_positioned.then_some("")),
                is_positioned,
                is_busy: false,
                asked: BTreeMap::new(),
                known: BTreeMap::new(),
                got: BTreeMap::new(),
            }
        };
        let clients = (0..CLIENTS).map(client).map(RefCell::new).collect();
        Lab { hub, clients, sent: RefCell::new(0), log: RefCell::default() }
    }

    async fn run(&self, steps: Vec<Step>) {
        for step in steps {
            let mut writes = PendingWrites::default();
            match step {
                Step::Broadcast(rooms, except) => {
                    let number = {
                        *self.sent.borrow_mut() += 1;
                        *self.sent.borrow()
                    };
                    let frame = Frame::encode(FrameKind::Text, format!("m{number}").as_bytes());
                    let to = match rooms.len() {
                        1 => Recipients::Room(room(*rooms.first().expect("one"))),
                        _ => Recipients::Rooms(rooms.into_iter().map(room).collect()),
                    };
                    let except = except.map(|client| self.clients[client].borrow().connection.id);
                    let sent = self.hub.broadcast_kept(to, frame, except, &mut writes).await;
                    sent.expect("a disk that writes");
                }
                Step::Join(client, number) => {
                    let Some(connection) = self.begin(client) else { continue };
                    let place = None;
                    self.hub.join_kept(&connection, &room(number), place, None, &mut writes).await;
                    self.clients[client].borrow_mut().is_busy = false;
                }
                Step::Leave(client, number) => {
                    let Some(connection) = self.begin(client) else { continue };
                    self.hub.leave(&connection, &room(number));
                    self.clients[client].borrow_mut().is_busy = false;
                }
                Step::Reconnect(client) => {
                    let Some(connection) = self.begin(client) else { continue };
                    self.hub.remove(&connection);
                    let mut client = self.clients[client].borrow_mut();
                    self.read(&mut client);
                    client.asked = client.known.clone();
                    let asked = client.asked.iter().map(|(r, (e, o))| format!("{r},{e},{o}"));
                    let asked: Vec<_> = asked.collect();
                    let asked = client.is_positioned.then(|| asked.join(";"));
                    client.connection = connection_of(&self.hub, asked.as_deref());
                    client.is_busy = false;
                }
                Step::Pause => tokio::task::yield_now().await,
            }
        }
    }

    /// Begins an event of a client, unless it has one already: a connection's events run one at a time.
    fn begin(&self, client: usize) -> Option<Arc<ConnectionRecord>> {
        let mut client = self.clients[client].borrow_mut();
        (!std::mem::replace(&mut client.is_busy, true)).then(|| client.connection.clone())
    }

    /// Reads what a client has got on its connection, and checks it.
    fn read(&self, client: &mut Client) {
        let all = messages(&client.connection.outbound);
        let mut once = BTreeSet::new();
        let mut next: Option<(String, u64)> = None;
        // The messages of a room that follow a note about a join.
        for message in all {
            let Some(kind) = field(&message, "type").filter(|kind| kind.starts_with("wharf:"))
            else {
                let is_new = once.insert(message.clone());
                // A client that comes to a room later gets from its log what it has got in another one.
                assert!(is_new || client.is_positioned, "{message} came twice");
                if let Some((room, offset)) = next.take() {
                    let before = client.got.insert((room.clone(), offset), message.clone());
                    assert_eq!(before, None, "{message} came twice");
                    let mut log = self.log.borrow_mut();
                    let known = log.entry((room, offset)).or_insert_with(|| message.clone());
                    assert_eq!(*known, message, "one message has one offset");
                }
                continue;
            };
            assert!(client.is_positioned && next.is_none(), "{message}");
            let text = |name| field(&message, name).map(str::to_owned);
            let (room, epoch) = (text("room").expect("a room"), text("epoch").expect("an epoch"));
            let offset: u64 = text("offset").and_then(|text| text.parse().ok()).expect("a number");
            if kind == "wharf:history" {
                let recovered = field(&message, "recovered");
                match client.asked.remove(&room) {
                    Some(asked) if recovered == Some("true") => {
                        assert_eq!(asked, (epoch.clone(), offset), "it goes on where it was");
                    }
                    Some(_) => assert_eq!(text("reason").as_deref(), Some("trimmed")),
                    None => assert_eq!(recovered, None),
                }
            } else {
                let before = client.known.get(&room).cloned();
                let (known, last) = before.expect("a note about the join came before");
                assert_eq!((known, last + 1), (epoch.clone(), offset), "no gap");
                if field(&message, "skipped").is_none() {
                    next = Some((room.clone(), offset));
                }
            }
            client.known.insert(room, (epoch, offset));
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for client in &self.clients {
            let mut client = client.borrow_mut();
            self.read(&mut client);
            for name in client.connection.rooms() {
                let top = self.hub.history(&name, None, 0).top;
                let is_kept = client.is_positioned && self.hub.histories.covers(&name);
                let last = client.known.get(&*name).map(|(_, offset)| *offset);
                prop_assert!(!is_kept || last == Some(top), "{name}: {last:?} of {top}");
            }
        }
        for (number, name) in (0..ROOMS).map(|number| (number, room(number))) {
            let page = self.hub.history(&name, None, 1000);
            let kept = [1000, 3, 0][number].min(page.top as usize);
            prop_assert_eq!(page.messages.len(), kept);
            let log = self.log.borrow();
            for message in page.messages {
                let seen = log.get(&(name.to_string(), message.offset));
                prop_assert!(seen.is_none_or(|seen| seen.as_bytes() == message.data));
            }
        }
        Ok(())
    }
}

// A name of its own: `connection` is a local one where it is needed.
fn connection_of(hub: &Hub, asked: Option<&str>) -> Arc<ConnectionRecord> {
    connection(hub, asked)
}

fn play(hub: Hub, tasks: Vec<Vec<Step>>, seed: u64) -> Result<Lab, TestCaseError> {
    let lab = Lab::new(hub);
    // So many that a broadcast is a walk, which takes several steps.
    let joins = (0..CLIENTS).map(|client| Step::Join(client, 0)).collect();
    run_all(vec![Box::pin(lab.run(joins))], seed);
    let tasks = tasks.into_iter().map(|steps| Box::pin(lab.run(steps)) as _);
    run_all(tasks.collect(), seed);
    lab.check()?;
    Ok(lab)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_client_gets_each_message_once_in_one_order_however_often_it_comes_back(
        tasks in tasks(),
        seed in any::<u64>(),
    ) {
        play(hub(rules()), tasks, seed)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_delivered_is_on_disk_and_goes_on_after_a_start(
        tasks in tasks(),
        seed in any::<u64>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let disk = Disk::open(folder.path(), Durability::Never).expect("a folder");
            hub(rules()).recorded(disk.records("chat").expect("a channel")).expect("records")
        };
        let lab = play(open(), tasks, seed)?;
        // A log without messages is not recorded.
        let pages = |hub: &Hub| {
            let pages = [0, 1, 2].map(|number| hub.history(&room(number), None, 1000));
            pages.map(|page| if page.top == 0 { HistoryPage::default() } else { page })
        };
        let before = pages(&lab.hub);
        drop(lab);
        let hub = open();
        prop_assert_eq!(&before, &pages(&hub));
        prop_assert!(send(&hub, &room(0), "after").is_ok());
        let after = hub.history(&room(0), None, 1);
        prop_assert_eq!(after.top, before[0].top + 1);
        prop_assert_eq!(&after.messages[0].data[..], b"after");
    }
}

/// Returns the result of a future.
fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

fn send(hub: &Hub, to: &str, text: &str) -> Result<usize, Unavailable> {
    let frame = Frame::encode(FrameKind::Text, text.as_bytes());
    let mut writes = PendingWrites::default();
    now(hub.broadcast_kept(Recipients::Room(to.into()), frame, None, &mut writes))
}

fn join(hub: &Hub, to: &str, asked: Option<&str>) -> Vec<String> {
    let record = connection(hub, asked);
    now(hub.join_kept(&record, &to.into(), None, None, &mut PendingWrites::default()));
    messages(&record.outbound)
}

#[test]
fn a_message_that_cannot_be_recorded_has_no_offset_and_nobody_gets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a folder");
    let records = disk.records("chat").expect("a channel");
    let hub = hub(rules()).recorded(records).expect("records");
    let member = connection(&hub, Some(""));
    now(hub.join_kept(&member, &"short".into(), None, None, &mut PendingWrites::default()));
    for text in ["one", "two", "three"] {
        send(&hub, "short", text).expect("a disk that writes");
    }
    let other = rusqlite::Connection::open(folder.path().join("wharf.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("the only writer");
    assert!(send(&hub, "short", "lost").is_err());
    let page = hub.history("short", None, 9);
    assert_eq!((page.top, page.messages.len()), (3, 3), "what was to go for it is still there");
    other.execute_batch("ROLLBACK").expect("the end");
    drop(other);
    while send(&hub, "short", "four").is_err() {
        // The host tries again after a while.
        std::thread::yield_now();
    }
    let page = hub.history("short", None, 9);
    assert_eq!(page.top, 4);
    let kept: Vec<_> = page.messages.iter().map(|message| &message.data[..]).collect();
    assert_eq!(kept, [&b"two"[..], b"three", b"four"]);
    let got = messages(&member.outbound);
    let texts: Vec<_> = got.iter().filter(|text| !text.contains("wharf:")).collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
}

#[test]
fn newcomers_get_the_last_messages_and_who_cannot_recover_is_told_why() {
    let rule = |recovery, newcomers| HistoryRule {
        retention: Retention { messages: 3, newcomers, recovery, ..Retention::default() },
        ..HistoryRule::default()
    };
    let hub = hub(vec![rule(Recovery::All, 2)]);
    for text in ["a", "b", "c", "d"] {
        send(&hub, "room", text).expect("memory");
    }
    let epoch = hub.history("room", None, 0).epoch;
    assert_eq!(join(&hub, "room", None), ["c", "d"], "a plain client");
    let texts = |all: Vec<String>| -> (String, Vec<String>) {
        let texts = all.iter().skip(1).filter(|text| !text.contains("wharf:")).cloned();
        (all[0].clone(), texts.collect())
    };
    let came = |asked: &str| texts(join(&hub, "room", Some(asked)));
    let (note, got) = came("");
    assert_eq!(got, ["c", "d"]);
    assert_eq!(
        note,
        format!(
            r#"{{"type":"wharf:history","room":"room","epoch":"{epoch}","offset":2,"messages":2}}"#
        )
    );
    let outcome = |asked: String| {
        let (note, got) = came(&asked);
        let reason = field(&note, "reason").or(field(&note, "recovered")).expect("an outcome");
        (reason.to_owned(), got.concat())
    };
    assert_eq!(outcome(format!("room,{epoch},1")), ("true".into(), "bcd".into()));
    assert_eq!(outcome(format!("room,{epoch},4")), ("true".into(), String::new()));
    assert_eq!(outcome(format!("room,{epoch},0")), ("trimmed".into(), "cd".into()));
    assert_eq!(outcome(format!("room,{epoch},5")), ("ahead".into(), "cd".into()));
    assert_eq!(outcome(format!("room,{:016x},4", 7)), ("new-epoch".into(), "cd".into()));
    // The newest alone, for who has not got it.
    let hub = self::hub(vec![rule(Recovery::Newest, 0)]);
    for text in ["a", "b"] {
        send(&hub, "room", text).expect("memory");
    }
    let epoch = hub.history("room", None, 0).epoch;
    assert_eq!(join(&hub, "room", None), ["b"]);
    for (offset, expected) in [(0, vec!["b"]), (1, vec!["b"]), (2, vec![])] {
        let (note, got) = texts(join(&hub, "room", Some(&format!("room,{epoch},{offset}"))));
        assert_eq!(got, expected);
        assert_eq!(field(&note, "recovered"), Some("true"));
    }
}

#[test]
fn what_is_missed_is_not_more_than_may_wait_for_one_connection() {
    let retention = Retention { messages: 100, newcomers: 100, ..Retention::default() };
    let hub = hub(vec![HistoryRule { retention, ..HistoryRule::default() }]);
    let large = "x".repeat(8 * 1024);
    for _ in 0..20 {
        send(&hub, "room", &large).expect("memory");
    }
    let epoch = hub.history("room", None, 0).epoch;
    let joined = |asked: Option<String>| {
        let request = UpgradeRequest {
            path: "/".into(),
            query: "".into(),
            params: Box::default(),
            headers: RequestHeaders::default(),
            remote: crate::remote::Remote::Unix,
            subprotocol: None,
        };
        // With its room for headers it has as much as some seven of them take.
        let outbound = Outbound::new(48 * 1024, Default::default());
        let asked = asked.map(|text| AskedPositions::read(&text, |room| Some(room.to_owned())));
        let record = Arc::new(ConnectionRecord::new(request, outbound).with_positions(asked));
        hub.connect(&record);
        now(hub.join_kept(&record, &"room".into(), None, None, &mut PendingWrites::default()));
        assert_eq!(record.outbound.status().end, None, "nobody is a slow consumer");
        messages(&record.outbound)
    };
    assert_eq!(joined(None).len(), 7);
    let all = joined(Some(format!("room,{epoch},1")));
    assert_eq!(field(&all[0], "reason"), Some("too-much"));
    let all = joined(Some(format!("room,{epoch},15")));
    assert_eq!(field(&all[0], "recovered"), Some("true"));
    assert_eq!(all.iter().filter(|text| **text == large).count(), 5);
}

#[test]
fn a_message_that_looks_like_a_note_of_the_host_is_said_to_be_none() {
    let hub = hub(rules());
    let (reader, plain) = (connection(&hub, Some("")), connection(&hub, None));
    let fake = r#"{"type":"wharf:position","room":"kept","epoch":"0","offset":9}"#;
    let frame = Frame::encode(FrameKind::Text, fake.as_bytes());
    let mut writes = PendingWrites::default();
    let sent = hub.broadcast_kept(Recipients::Everyone, frame, None, &mut writes);
    assert_eq!(now(sent), Ok(2));
    assert_eq!(messages(&plain.outbound), [fake]);
    assert_eq!(messages(&reader.outbound), [r#"{"type":"wharf:message"}"#, fake]);
}

#[test]
fn the_bounds_of_a_room_and_of_all_rooms_hold() {
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let told = clock.clone();
    let retention = Retention { messages: 10, bytes: 500, age_ms: 1000, ..Retention::default() };
    let rules = vec![HistoryRule { retention, ..HistoryRule::default() }];
    let hub = Hub::new(PresenceTiming::default()).with_history(
        rules,
        1000,
        Box::new(move || told.load(Ordering::Relaxed)),
    );
    let kept = |room: &str| hub.history(room, None, 99).messages.len();
    for _ in 0..20 {
        send(&hub, "bytes", &"x".repeat(36)).expect("memory");
    }
    assert_eq!(kept("bytes"), 5, "each counts for 100 bytes");
    send(&hub, "bytes", &"x".repeat(600)).expect("memory");
    assert_eq!((kept("bytes"), hub.history("bytes", None, 1).top), (0, 21), "it fits in no room");
    for room in ["a", "b", "c"] {
        for _ in 0..5 {
            send(&hub, room, &"x".repeat(36)).expect("memory");
        }
    }
    assert_eq!((kept("a"), kept("b"), kept("c")), (5, 5, 0), "others have all the bytes");
    assert!(hub.has_filled_history() && !hub.has_filled_history(), "it is told once");
    assert_eq!(hub.history_bytes(), 1000);
    clock.fetch_add(1001, Ordering::Relaxed);
    assert_eq!((kept("a"), hub.history("a", None, 1).top), (0, 5), "they are too old");
    now(hub.sweep(std::time::Duration::from_secs(1)));
    assert_eq!((hub.history_bytes(), hub.history_facts()), (0, HistoryFacts::default()));
    assert_eq!(hub.history("a", None, 1).top, 0, "a room without members is forgotten");
}

#[test]
fn a_room_whose_messages_are_all_too_old_goes_on_with_its_offsets_after_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let retention = Retention { messages: 10, age_ms: 1000, ..Retention::default() };
    let open = || {
        let told = clock.clone();
        let rules = vec![HistoryRule { retention, ..HistoryRule::default() }];
        let hub = Hub::new(PresenceTiming::default());
        let hub = hub.with_history(rules, 1 << 20, Box::new(move || told.load(Ordering::Relaxed)));
        let disk = Disk::open(folder.path(), Durability::Never).expect("a folder");
        hub.recorded(disk.records("chat").expect("a channel")).expect("records")
    };
    let hub = open();
    let _member = {
        let record = connection(&hub, None);
        now(hub.join_kept(&record, &"room".into(), None, None, &mut PendingWrites::default()));
        record
    };
    for text in ["one", "two"] {
        send(&hub, "room", text).expect("a disk that writes");
    }
    let epoch = hub.history("room", None, 9).epoch;
    clock.fetch_add(1001, Ordering::Relaxed);
    now(hub.sweep(std::time::Duration::from_secs(1)));
    drop(hub);
    for _ in 0..2 {
        let hub = open();
        let page = hub.history("room", None, 9);
        assert_eq!((page.epoch, page.top, page.messages.len()), (epoch.clone(), 2, 0));
    }
    let hub = open();
    send(&hub, "room", "three").expect("a disk that writes");
    drop(hub);
    let hub = open();
    assert_eq!((hub.history("room", None, 9).top, hub.history_bytes()), (3, 69));
    clock.fetch_add(1001, Ordering::Relaxed);
    now(hub.sweep(std::time::Duration::from_secs(1)));
    drop(hub);
    let page = open().history("room", None, 9);
    assert_eq!((page.epoch.as_str(), page.top), ("", 0), "nobody is there, and nothing is kept");
}
