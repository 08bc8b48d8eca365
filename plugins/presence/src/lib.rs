//! The users of a room, each with a status. A client connects to `/presence/lobby?user=ann`, with
//! any number of tabs. The host sends it the list and its changes:
//!
//! - `{"type": "presence_state", "room": "lobby", "sequence": 1, "present": {"ann": {"metas": […]}}}`
//!   once, at the beginning;
//! - `{"type": "presence_diff", "room": "lobby", "sequence": 2, "joins": {…}, "leaves": [KEY, …]}`
//!   from then on. A reload of the page is not a change.
//!
//! A client can send:
//!
//! - `{"type": "status", "status": "away"}`: changes the status of this tab;
//! - `{"type": "hide"}` and `{"type": "show"}`: leaves the list without leaving the room, and returns;
//! - `{"type": "who"}`: answered with `{"type": "who", "count": 2, "users": ["ann", "bob"]}`, with at most
//!   100 of the users.

#![forbid(unsafe_code)]

use wharf::prelude::*;

/// Longest status, in bytes.
const LONGEST_STATUS: usize = 100;
/// Largest number of users that `who` lists.
const MOST_LISTED: usize = 100;

#[derive(Serialize, Deserialize)]
struct Presence {
    user: String,
    room: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    Status { status: String },
    Hide,
    Show,
    Who,
}

#[wharf::channel]
impl Channel for Presence {
    const PATHS: &[&str] = &["/presence/:room"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let user = conn.query("user").ok_or(Refusal::unauthorized("user is required"))?;
        let room = conn.param("room")?;
        if conn.identify(&user).is_err() || conn.join(&room).is_err() {
            return Err(Refusal::bad_request("names have 1 to 255 bytes"));
        }
        let channel = Presence { user, room, status: "online".to_owned() };
        channel.show(conn)?;
        conn.watch_presence(&channel.room)?;
        Ok(channel)
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        match message {
            Incoming::Status { status } if status.len() > LONGEST_STATUS => {
                let why = format!("a status has at most {LONGEST_STATUS} bytes");
                conn.send(json!({ "type": "error", "message": why }))
            }
            Incoming::Status { status } => {
                self.status = status;
                self.show(conn)
            }
            Incoming::Hide => conn.untrack(&self.room),
            Incoming::Show => self.show(conn),
            Incoming::Who => {
                let users: Vec<String> =
                    presence_list(&self.room).map(|user| user.key).take(MOST_LISTED).collect();
                let count = presence_count(&self.room);
                conn.send(json!({ "type": "who", "count": count, "users": users }))
            }
        }
    }
}

impl Presence {
    fn show(&self, conn: &Connection) -> Result {
        conn.track(&self.room, &self.user, json!({ "status": self.status }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wharf::testing::{Client, TestHost};

    fn tab(host: &TestHost, user: &str) -> Client {
        let client = host.connect(&format!("/presence/lobby?user={user}")).expect_open();
        assert_eq!(client.next_json()["type"], "presence_state");
        client
    }

    fn wait(host: &TestHost, seconds: u64) {
        host.advance(Duration::from_secs(seconds));
    }

    #[test]
    fn everybody_sees_who_comes_and_who_goes() {
        let host = TestHost::new::<Presence>();
        let ann = tab(&host, "ann");
        let bob = tab(&host, "bob");
        wait(&host, 1);
        assert_eq!(ann.next_json()["joins"]["bob"]["metas"][0]["status"], "online");
        bob.send(json!({ "type": "status", "status": "away" }));
        wait(&host, 1);
        assert_eq!(ann.next_json()["joins"]["bob"]["metas"][0]["status"], "away");
        bob.send(json!({ "type": "hide" }));
        wait(&host, 1);
        assert_eq!(ann.next_json()["leaves"], json!(["bob"]));
        bob.received();
        bob.send(json!({ "type": "who" }));
        bob.assert_received(json!({ "type": "who", "count": 1, "users": ["ann"] }));
    }

    #[test]
    fn reloading_the_page_is_not_seen() {
        let host = TestHost::new::<Presence>();
        let ann = tab(&host, "ann");
        let bob = tab(&host, "bob");
        wait(&host, 1);
        ann.received();
        bob.vanish();
        wait(&host, 1);
        let bob = tab(&host, "bob");
        wait(&host, 5);
        ann.assert_received_nothing();
        bob.disconnect(1000, "");
        wait(&host, 3);
        assert_eq!(ann.next_json()["leaves"], json!(["bob"]));
    }
}
