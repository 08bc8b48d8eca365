//! Clients of the fixture `scripted`: they send steps, and read the results and what others cause.

use crate::{Client, Value, Wharf, json};

/// Connects a client, which the fixture knows by this name.
pub async fn enter(wharf: &Wharf, name: &str) -> Client {
    let mut client = wharf.connect(&format!("/scripted/{name}")).await;
    assert_eq!(client.json().await, json!({ "welcome": name }));
    client
}

/// Connects a client like [`enter`], and has it join a room.
pub async fn enter_room(wharf: &Wharf, name: &str, room: &str) -> Client {
    let mut client = enter(wharf, name).await;
    assert_eq!(perform(&mut client, json!({ "do": "join", "room": room })).await, "ok");
    client
}

/// Sends a step, and returns its result; messages that others cause meanwhile are skipped.
pub async fn perform(client: &mut Client, step: Value) -> Value {
    client.send_json(step).await;
    result(client).await
}

/// Returns the result of a step that was sent before.
pub async fn result(client: &mut Client) -> Value {
    skip_to(client, "done").await["result"].take()
}

/// Reads messages until one that has this key.
pub async fn skip_to(client: &mut Client, key: &str) -> Value {
    loop {
        let message = client.json().await;
        if message.get(key).is_some() {
            return message;
        }
    }
}
