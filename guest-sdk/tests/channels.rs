//! Publishing to the rooms of other channels.

use wharf::prelude::*;
use wharf::testing::{Limits, Received, TestHost};

#[derive(Serialize, Deserialize)]
struct Reporter;

#[wharf::channel]
impl Channel for Reporter {
    const PATHS: &[&str] = &["/reporter"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Reporter)
    }

    fn on_message(&mut self, _: &Connection, line: String) -> Result {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["to", channel, room, text] => wharf::publish(channel, room, text),
            ["fail", channel, room, text] => {
                wharf::publish(channel, room, text)?;
                wharf::bail!("told to fail")
            }
            _ => wharf::bail!("{line:?} is no command"),
        }
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        conn.send(error.host_error().map_or("failed".to_owned(), |host| host.code.clone()))
    }
}

#[test]
fn what_is_granted_is_published_when_the_event_commits() {
    let host = TestHost::new::<Reporter>();
    host.grant_publishing("news");
    let client = host.connect("/reporter").expect_open();
    client.send("fail news front never");
    client.assert_received("failed");
    assert_eq!(host.published(), []);
    client.send("to news front hello");
    let published = host.published();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].message, Received::Text("hello".to_owned()));
    assert_eq!(host.published(), [], "each is given once");
}

#[test]
fn what_is_not_granted_unknown_or_wrong_is_refused() {
    let host = TestHost::new::<Reporter>();
    host.set_limits(Limits { max_outbound_message_bytes: 25, ..Limits::default() });
    let client = host.connect("/reporter").expect_open();
    client.send("to news front hello");
    client.assert_received("publish-not-granted");
    host.grant_publishing("news");
    client.send("to news  hello");
    client.assert_received("room-name-invalid");
    client.send("to news front hello-hello-hello-hello-hello");
    client.assert_received("message-too-big");
    host.remove_channel("news");
    client.send("to news front hello");
    client.assert_received("unknown-channel");
    client.send("to weather front hello");
    client.assert_received("publish-not-granted");
    assert_eq!(host.published(), []);
}
