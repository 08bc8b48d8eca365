//! Rooms, broadcasts, and their receivers.

use wharf::prelude::*;
use wharf::rooms::except;
use wharf::testing::{Client, Limits, TestHost};

/// Runs the commands of a script, one a message, and answers with the results.
#[derive(Serialize, Deserialize)]
struct Script;

#[wharf::channel]
impl Channel for Script {
    const PATHS: &[&str] = &["/script"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Script)
    }

    fn on_message(&mut self, conn: &Connection, script: String) -> Result {
        script.lines().try_for_each(|line| run(conn, line))
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        let code = error.host_error().map_or("none", |host| host.code.as_str());
        conn.send(format!("refused: {code}"))
    }

    fn on_close(&mut self, conn: &Connection, _: Option<u16>, _: &str) -> Result {
        for room in conn.joined() {
            conn.broadcast_to_room(&room, format!("left {room}, {} left", room_count(&room)))?;
        }
        Ok(())
    }
}

fn run(conn: &Connection, line: &str) -> Result {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["join", room] => conn.join(room),
        ["leave", room] => conn.leave(room),
        ["joined"] => conn.send(conn.joined().join(",")),
        ["count", room] => conn.send(room_count(room).to_string()),
        ["members", room] => conn.send(room_members(room).collect::<Vec<_>>().join(",")),
        ["room", room, text] => conn.broadcast_to_room(room, text),
        ["rooms", one, other, text] => conn.broadcast_to_rooms(&[one, other], text),
        ["all", text] => conn.broadcast_to_all(text),
        ["others-room", room, text] => conn.others().broadcast_to_room(room, text),
        ["others-rooms", one, other, text] => conn.others().broadcast_to_rooms(&[one, other], text),
        ["others-all", text] => conn.others().broadcast_to_all(text),
        ["except", id, text] => except(id).broadcast_to_all(text),
        ["to", id, text] => conn.send_to(id, text),
        ["many-rooms", text] => conn.broadcast_to_rooms(&vec![text; 257], text),
        _ => wharf::bail!("{line:?} is no command"),
    }
}

fn clients<const N: usize>(host: &TestHost) -> [Client; N] {
    std::array::from_fn(|_| host.connect("/script").expect_open())
}

#[track_caller]
fn expect(client: &Client, texts: &[&str]) {
    for text in texts {
        client.assert_received(*text);
    }
    client.assert_received_nothing();
}

#[test]
fn a_broadcast_reaches_the_members_the_sender_included() {
    let host = TestHost::new::<Script>();
    let [ann, bob, eve] = clients(&host);
    ann.send("join a");
    bob.send("join a");
    ann.send("room a hello");
    expect(&ann, &["hello"]);
    expect(&bob, &["hello"]);
    expect(&eve, &[]);
    // A sender need not be a member of the room.
    eve.send("room a psst");
    expect(&eve, &[]);
    expect(&bob, &["psst"]);
}

#[test]
fn a_broadcast_to_several_rooms_reaches_everybody_once() {
    let host = TestHost::new::<Script>();
    let [ann, bob, eve] = clients(&host);
    ann.send("join a\njoin b");
    bob.send("join b");
    eve.send("join c");
    ann.send("rooms a b hello\nothers-rooms b c hey");
    expect(&ann, &["hello"]);
    expect(&bob, &["hello", "hey"]);
    expect(&eve, &["hey"]);
}

#[test]
fn others_is_everybody_but_oneself() {
    let host = TestHost::new::<Script>();
    let [ann, bob, eve] = clients(&host);
    ann.send("join a");
    bob.send("join a");
    ann.send("others-room a one\nothers-all two\nall three");
    ann.send(format!("except {} four", bob.id()));
    expect(&ann, &["three", "four"]);
    expect(&bob, &["one", "two", "three"]);
    expect(&eve, &["two", "three", "four"]);
}

#[test]
fn one_connection_can_be_addressed_by_its_id_until_it_ends() {
    let host = TestHost::new::<Script>();
    let [ann, bob] = clients(&host);
    ann.send(format!("to {} psst", bob.id()));
    expect(&bob, &["psst"]);
    bob.vanish();
    ann.send(format!("to {} psst", bob.id()));
    expect(&ann, &["refused: unknown-connection"]);
}

#[test]
fn questions_see_the_events_own_joins_and_leaves() {
    let host = TestHost::new::<Script>();
    let [ann, bob] = clients(&host);
    bob.send("join a");
    ann.send("join a\njoin b\ncount a\njoined\nleave a\ncount a\nmembers a\njoined");
    expect(&ann, &["2", "a,b", "1", &bob.id(), "b"]);
    assert_eq!(host.room_count("a"), 1);
    ann.send("count nowhere\nmembers nowhere");
    expect(&ann, &["0", ""]);
}

#[test]
fn effects_happen_in_the_order_of_the_calls() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host);
    ann.send("room a before\njoin a\nroom a during\nleave a\nroom a after");
    expect(&ann, &["during"]);
}

#[test]
fn joining_twice_is_joining_once_and_leaving_a_strange_room_is_no_error() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host);
    ann.send("join a\njoin a\nroom a once\nleave b\njoined");
    expect(&ann, &["once", "a"]);
}

#[test]
fn members_are_listed_in_the_order_of_their_ids_beyond_one_page() {
    let host = TestHost::new::<Script>();
    let members: Vec<_> = (0..1001).map(|_| host.connect("/script").expect_open()).collect();
    for member in members.iter().rev() {
        member.send("join a");
    }
    members[0].send("members a");
    let ids: Vec<_> = members.iter().map(Client::id).collect();
    members[0].assert_received(ids.join(","));
}

#[test]
fn on_close_has_left_the_rooms_and_still_knows_them() {
    let host = TestHost::new::<Script>();
    let [ann, bob] = clients(&host);
    ann.send("join a\njoin b");
    bob.send("join a\njoin b");
    ann.vanish();
    expect(&bob, &["left a, 1 left", "left b, 1 left"]);
    expect(&ann, &[]);
}

#[test]
fn names_and_numbers_of_rooms_have_limits() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host);
    host.set_limits(Limits { max_rooms_per_connection: 2, ..Limits::default() });
    ann.send("join a\njoin b\nleave a\njoin c");
    ann.send("join d");
    expect(&ann, &["refused: too-many-rooms"]);
    ann.send(format!("join {}", "é".repeat(128)));
    ann.send("join ");
    ann.send("room  x");
    expect(&ann, &["refused: room-name-invalid"; 3]);
    ann.send("many-rooms a");
    expect(&ann, &["refused: too-many-rooms"]);
    assert_eq!(ann.joined(), ["b", "c"]);
}

#[test]
fn messages_have_a_largest_size() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host);
    host.set_limits(Limits { max_outbound_message_bytes: 4, ..Limits::default() });
    ann.send("join a\nroom a 1234");
    expect(&ann, &["1234"]);
    host.set_limits(Limits { max_outbound_message_bytes: 30, ..Limits::default() });
    ann.send(format!("room a {}", "x".repeat(31)));
    expect(&ann, &["refused: message-too-big"]);
}
