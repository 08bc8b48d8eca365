//! Labels, and broadcasts to a part of a room.

use wharf::audience::Audience;
use wharf::prelude::*;
use wharf::testing::{Client, TestHost};

/// Labels itself as its query says, and sends to the audience that its messages name.
#[derive(Serialize, Deserialize)]
struct Script;

#[wharf::channel]
impl Channel for Script {
    const PATHS: &[&str] = &["/script"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        for (name, value) in conn.query_pairs() {
            match name.as_str() {
                "user" => conn.identify(&value)?,
                "join" => value.split(',').try_for_each(|room| conn.join(room))?,
                label => conn.set_label(label, &value)?,
            }
        }
        Ok(Script)
    }

    fn on_message(&mut self, conn: &Connection, line: String) -> Result {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["set", name, value] => conn.set_label(name, value),
            ["set-many", count] => {
                (0..count.parse()?).try_for_each(|n: u32| conn.set_label(&n.to_string(), ""))
            }
            ["clear", name] => conn.clear_label(name),
            ["label", name] => conn.send(format!("{:?}", conn.label(name))),
            ["room", room] => to_room(room).send("room"),
            ["moderators", room] => to_room(room).where_label("role", "moderator").send("room"),
            ["but-me", room] => to_room(room).except(conn.id()).send("but-me"),
            ["but-user", user] => to_all().except_user(user).send("but-user"),
            ["mixed", room, user] => to_rooms(&[room, room]).and_user(user).send("mixed"),
            ["nobody"] => Audience::default().send("nobody"),
            ["crowd", count] => to_users(&vec!["u"; count.parse()?]).send("crowd"),
            _ => wharf::bail!("{line:?} is no command"),
        }
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        let code = error.host_error().map_or("none", |host| host.code.as_str());
        conn.send(format!("refused: {code}"))
    }
}

fn clients<const N: usize>(host: &TestHost, queries: [&str; N]) -> [Client; N] {
    queries.map(|query| host.connect(&format!("/script?{query}")).expect_open())
}

#[track_caller]
fn expect(clients: &[&Client], text: &str, receive: &[bool]) {
    for (client, receives) in clients.iter().zip(receive) {
        match receives {
            true => client.assert_received(text),
            false => client.assert_received_nothing(),
        }
        client.assert_received_nothing();
    }
}

#[test]
fn an_audience_is_who_is_named_less_who_is_not_meant() {
    let host = TestHost::new::<Script>();
    let [ann, bob, eve] = clients(
        &host,
        ["join=a&role=moderator&user=ann", "join=a,b&user=bob", "user=eve&role=moderator"],
    );
    let all = [&ann, &bob, &eve];
    eve.send("moderators a");
    expect(&all, "room", &[true, false, false]);
    ann.send("but-me a");
    expect(&all, "but-me", &[false, true, false]);
    bob.send("but-user ann");
    expect(&all, "but-user", &[false, true, true]);
    bob.send("mixed a eve");
    expect(&all, "mixed", &[true, true, true]);
}

#[test]
fn labels_are_effects() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host, ["join=a"]);
    ann.send("moderators a");
    ann.assert_received_nothing();
    ann.send("set role moderator");
    assert_eq!(ann.labels(), [("role".to_owned(), "moderator".to_owned())]);
    ann.send("label role");
    ann.assert_received("Some(\"moderator\")");
    ann.send("moderators a");
    ann.assert_received("room");
    ann.send("clear role");
    assert_eq!(ann.labels(), []);
}

#[test]
fn what_is_wrong_is_said_at_the_call() {
    let host = TestHost::new::<Script>();
    let [ann] = clients(&host, [""]);
    for (script, code) in [
        ("set  value", "label-invalid"),
        ("set-many 17", "too-many-labels"),
        ("nobody", "audience-empty"),
        ("room ", "room-name-invalid"),
        ("but-user ", "user-id-invalid"),
        ("crowd 257", "audience-too-big"),
    ] {
        ann.send(script);
        ann.assert_received(format!("refused: {code}"));
    }
    assert_eq!(ann.labels(), []);
}
