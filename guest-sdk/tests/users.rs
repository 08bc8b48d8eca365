//! Users: online, reached by messages, and disconnected.

use wharf::prelude::*;
use wharf::testing::{Client, TestHost};

/// Runs the commands of a script, one a line, and answers with the results.
#[derive(Serialize, Deserialize)]
struct Script;

#[wharf::channel]
impl Channel for Script {
    const PATHS: &[&str] = &["/script"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        if let Some(user) = conn.query("user") {
            conn.identify(&user)?;
            conn.send(format!("{} online {}", is_online(&user), user_connections(&user).count()))?;
        }
        Ok(Script)
    }

    fn on_message(&mut self, conn: &Connection, script: String) -> Result {
        script.lines().try_for_each(|line| run(conn, line))
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        let code = error.host_error().map_or("none", |host| host.code.as_str());
        conn.send(format!("refused: {code}"))
    }

    fn on_close(&mut self, conn: &Connection, code: Option<u16>, reason: &str) -> Result {
        let (user, ending) = (conn.user(), conn.ending().unwrap_or_default());
        let left = user.as_deref().map(|user| user_connections(user).count());
        broadcast_to_all(format!("{user:?} {ending} {code:?} {reason} {left:?}"))
    }
}

fn run(conn: &Connection, line: &str) -> Result {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["identify", user] => conn.identify(user),
        ["user"] => conn.send(format!("{:?}", conn.user())),
        ["online", user] => conn.send(is_online(user).to_string()),
        ["to", user, text] => conn.send_to_user(user, text),
        ["others", user, text] => conn.others().send_to_user(user, text),
        ["many", one, other, text] => conn.send_to_users(&[one, other], text),
        ["crowd", user, text] => conn.send_to_users(&vec![user; 257], text),
        ["kick", id] => disconnect(id, 4000, "kicked"),
        ["kick-user", user] => disconnect_user(user, 4001, "banned"),
        ["kick-badly", user] => disconnect_user(user, 1006, ""),
        ["fail"] => wharf::bail!("on purpose"),
        _ => wharf::bail!("{line:?} is no command"),
    }
}

fn user(host: &TestHost, name: &str) -> Client {
    let client = host.connect(&format!("/script?user={name}")).expect_open();
    let connections = host.user_connections(name).len();
    client.assert_received(format!("true online {connections}"));
    client
}

#[track_caller]
fn expect(client: &Client, texts: &[&str]) {
    for text in texts {
        client.assert_received(*text);
    }
    client.assert_received_nothing();
}

#[test]
fn a_user_is_reached_on_every_connection() {
    let host = TestHost::new::<Script>();
    let [phone, laptop] = [user(&host, "ann"), user(&host, "ann")];
    let bob = user(&host, "bob");
    assert_eq!(host.user_connections("ann"), [phone.id(), laptop.id()]);
    bob.send("to ann hello");
    expect(&phone, &["hello"]);
    expect(&laptop, &["hello"]);
    phone.send("others ann read");
    expect(&phone, &[]);
    expect(&laptop, &["read"]);
    laptop.send("many ann bob both\nmany bob nobody some");
    expect(&phone, &["both"]);
    expect(&bob, &["both", "some"]);
    expect(&laptop, &["both"]);
}

#[test]
fn an_identity_is_an_effect_and_moves_the_connection() {
    let host = TestHost::new::<Script>();
    let client = host.connect("/script").expect_open();
    client.send("user\nidentify ann\nuser\nonline ann\nto ann me");
    expect(&client, &["None", "Some(\"ann\")", "true", "me"]);
    client.send("identify bob\nonline ann\nonline bob\nto ann gone");
    expect(&client, &["refused: user-offline"]);
    assert_eq!(client.user().as_deref(), Some("ann"), "an event that fails identifies nobody");
    client.send("identify bob\nonline ann\nonline bob");
    expect(&client, &["false", "true"]);
    assert!(!host.is_online("ann") && host.is_online("bob"));
}

#[test]
fn whoever_is_disconnected_gets_the_code_and_an_on_close() {
    let host = TestHost::new::<Script>();
    let watcher = host.connect("/script").expect_open();
    let [phone, laptop] = [user(&host, "ann"), user(&host, "ann")];
    watcher.send(format!("kick {}", phone.id()));
    assert_eq!(phone.closed(), Some((4000, "kicked".to_owned())));
    expect(&watcher, &["Some(\"ann\") channel-closed Some(4000) kicked Some(1)"]);
    // The effect is undone if the handler fails.
    watcher.send("kick-user ann\nfail");
    assert!(laptop.is_open());
    watcher.received();
    // A user can disconnect its own connections.
    laptop.received();
    laptop.send("to ann bye\nkick-user ann");
    expect(&laptop, &["bye"]);
    assert_eq!(laptop.closed(), Some((4001, "banned".to_owned())));
    expect(&watcher, &["Some(\"ann\") channel-closed Some(4001) banned Some(0)"]);
    watcher.send("kick-user ann");
    watcher.assert_received_nothing();
}

#[test]
fn what_is_wrong_is_said_at_the_call() {
    let host = TestHost::new::<Script>();
    let client = user(&host, "ann");
    for (script, code) in [
        ("identify ", "user-id-invalid"),
        ("to bob psst", "user-offline"),
        ("to  psst", "user-id-invalid"),
        ("crowd ann psst", "too-many-users"),
        ("kick nobody", "unknown-connection"),
        ("kick-badly ann", "close-code-invalid"),
        ("kick-user ", "user-id-invalid"),
    ] {
        client.send(script);
        expect(&client, &[&format!("refused: {code}")]);
    }
    client.send(format!("identify {}", "ü".repeat(128)));
    expect(&client, &["refused: user-id-invalid"]);
}
