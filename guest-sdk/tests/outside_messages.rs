//! Messages from outside, which do not belong to a connection.

use wharf::prelude::*;
use wharf::serde_json::Value;
use wharf::testing::{OutsideRefusal, TestHost};

#[derive(Serialize, Deserialize)]
struct Till;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Tell { room: String, text: String },
    TellAndRefuse,
    TellAndFail,
    Panic,
}

#[wharf::channel]
impl Channel for Till {
    const PATHS: &[&str] = &["/till"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.join("all")?;
        Ok(Till)
    }

    fn on_outside_message(order: Order) -> Result<Value> {
        broadcast_to_room("all", "seen if it is replied to")?;
        match order {
            Order::Tell { room, text } => {
                broadcast_to_room(&room, text)?;
                Ok(json!({ "members": room_count(&room) }))
            }
            Order::TellAndRefuse => {
                Err(Invalid::new("not today").code("CLOSED").field("day", "is a holiday").into())
            }
            Order::TellAndFail => wharf::bail!("the till is broken"),
            Order::Panic => panic!("told to"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Deaf;

#[wharf::channel]
impl Channel for Deaf {
    const PATHS: &[&str] = &["/deaf"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Deaf)
    }
}

/// Returns the status and the code of a refusal.
fn refusal(reply: Result<Value, OutsideRefusal>) -> (u16, String) {
    let refusal = reply.expect_err("a refusal");
    (refusal.status, refusal.body["error"]["code"].as_str().expect("a code").to_owned())
}

#[test]
fn a_reply_commits_and_a_refusal_does_not() {
    let host = TestHost::new::<Till>();
    let client = host.connect("/till").expect_open();
    let reply = host.outside_message(json!({ "do": "tell", "room": "all", "text": "open" }));
    assert_eq!(reply, Ok(json!({ "members": 1 })));
    client.assert_received("seen if it is replied to");
    client.assert_received("open");
    let refused = host.outside_message(json!({ "do": "tell_and_refuse" })).expect_err("refused");
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.body,
        json!({ "error": {
            "code": "CLOSED", "message": "not today", "fields": { "day": "is a holiday" },
        } })
    );
    assert_eq!(host.errors(), Vec::<String>::new(), "it is the sender's mistake");
    client.assert_received_nothing();
}

#[test]
fn a_failure_is_reported_and_nothing_of_it_is_told() {
    let host = TestHost::new::<Till>();
    let client = host.connect("/till").expect_open();
    for order in ["tell_and_fail", "panic"] {
        let reply = host.outside_message(json!({ "do": order }));
        assert_eq!(refusal(reply), (500, "channel-failed".to_owned()), "{order}");
        let errors = host.errors();
        assert!(errors[0].starts_with("on_outside_message"), "{errors:?}");
    }
    client.assert_received_nothing();
}

#[test]
fn what_does_not_fit_is_refused_and_so_is_everything_where_nobody_listens() {
    let host = TestHost::new::<Till>();
    for message in [json!(null), json!({ "do": "dance" }), json!({ "do": "tell", "room": 7 })] {
        assert_eq!(refusal(host.outside_message(message)), (422, "INVALID_JSON".to_owned()));
    }
    let long = host.outside_message(json!({ "do": "ü".repeat(10_000) })).expect_err("refused");
    assert!(long.body.to_string().len() < 500, "what is repeated of a message is bounded");
    let deaf = TestHost::new::<Deaf>();
    assert_eq!(refusal(deaf.outside_message(json!(1))), (409, "no-handler".to_owned()));
}
