//! Rate limits, and rooms and users for so many, as a plugin's own tests see them.

use std::time::Duration;

use wharf::prelude::*;
use wharf::testing::TestHost;
use wharf::{limits, users};

const SECOND: Duration = Duration::from_secs(1);

/// Does what its client says.
#[derive(Serialize, Deserialize)]
struct Door;

#[wharf::channel]
impl Channel for Door {
    const PATHS: &[&str] = &["/door"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        if conn.query("strict").is_some() {
            conn.rate_limit("one", 1, SECOND)?;
            conn.rate_limit("one", 1, SECOND)?;
        }
        Ok(Door)
    }

    fn on_message(&mut self, conn: &Connection, order: String) -> Result {
        let entered = match order.as_str() {
            "enter" => conn.join_if_fewer_than("room", 2)?,
            "enter and leave" => {
                let entered = conn.join_if_fewer_than("room", 2)?;
                conn.leave("room")?;
                entered && conn.join_if_fewer_than("room", 1)?
            }
            "enter and fail" => {
                conn.join_if_fewer_than("room", 2)?;
                return Err(Invalid::new("as ordered").into());
            }
            "leave" => {
                conn.leave("room")?;
                true
            }
            "become ann" => conn.identify_if_fewer_than("ann", 2)?,
            _ => {
                conn.rate_limit(&order, 2, SECOND)?;
                true
            }
        };
        conn.send(if entered { "yes" } else { "no" })
    }

    fn on_outside_message(message: String) -> Result<String> {
        limits::rate_limit("outside", 1, SECOND)?;
        Ok(message)
    }
}

#[test]
fn a_room_has_no_more_members_than_it_is_for() {
    let host = TestHost::new::<Door>();
    let clients: Vec<_> = (0..3).map(|_| host.connect("/door").expect_open()).collect();
    let expect = |client: usize, order: &str, answer: &str| {
        clients[client].send(order);
        clients[client].assert_received(answer);
    };
    clients[0].send("enter and fail");
    assert_eq!(clients[0].next_json()["message"], "as ordered");
    expect(0, "enter and leave", "yes");
    expect(0, "enter", "yes");
    expect(1, "enter", "yes");
    expect(2, "enter", "no");
    expect(0, "enter", "yes");
    expect(1, "leave", "yes");
    expect(2, "enter", "yes");
    expect(1, "enter and leave", "no");
    for (client, answer) in [(0, "yes"), (1, "yes"), (2, "no"), (0, "yes")] {
        expect(client, "become ann", answer);
    }
}

#[test]
fn limits_of_connections_are_their_own_and_those_of_users_need_none() {
    let host = TestHost::new::<Door>();
    let (ann, bob) = (host.connect("/door").expect_open(), host.connect("/door").expect_open());
    for client in [&ann, &ann, &bob, &bob] {
        client.send("bids");
        client.assert_received("yes");
    }
    ann.send("bids");
    let refused = ann.next_json();
    assert_eq!(
        (&refused["code"], &refused["retry_after_ms"]),
        (&json!("RATE_LIMITED"), &json!(500))
    );
    ann.send("another");
    ann.assert_received("yes");
    host.advance(SECOND / 2);
    ann.send("bids");
    ann.assert_received("yes");

    let take = || host.run(|| users::rate_limit("eve", "bids", 1, SECOND));
    assert!(take().is_ok());
    let wait = take().expect_err("one a second").invalid().and_then(|invalid| invalid.retry_after);
    assert_eq!(wait, Some(SECOND));
    host.advance(SECOND);
    assert!(take().is_ok());
    assert!(host.errors().is_empty());
}

#[test]
fn a_client_and_a_message_from_outside_that_come_too_early_get_429() {
    let host = TestHost::new::<Door>();
    for _ in 0..2 {
        // A refused connection takes its limits with it.
        let refused = host.connect("/door?strict").expect_refused();
        assert_eq!(refused.status(), Some(429), "{refused:?}");
        assert!(refused.body().contains("\"retry_after_ms\":1000"), "{}", refused.body());
    }
    assert!(host.outside_message(json!("hi")).is_ok());
    let refused = host.outside_message(json!("hi")).expect_err("one a second");
    assert_eq!((refused.status, &refused.body["error"]["retry_after_ms"]), (429, &json!(1000)));
}
