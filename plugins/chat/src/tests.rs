//! Tests of the chat, from its clients' point of view.

use wharf::serde_json::Value;
use wharf::testing::{Client, TestHost};

use super::*;

fn host() -> TestHost {
    TestHost::new::<Chat>()
}

/// Connects a client to a room and reads its welcome.
fn member(host: &TestHost, room: &str, name: &str) -> Client {
    let client = host.connect(&format!("/chat/{room}?name={name}")).expect_open();
    assert_eq!(client.next_json()["type"], "system");
    client
}

/// Returns the next message, which must be of this type and have a timestamp.
#[track_caller]
fn next(client: &Client, kind: &str) -> Value {
    let message = client.next_json();
    assert_eq!(message["type"], kind, "{message}");
    let timestamp = message["timestamp"].as_str().unwrap_or_default();
    assert!(timestamp.len() == 20 && timestamp.ends_with('Z'), "{message}");
    message
}

#[track_caller]
fn expect_error(client: &Client, code: &str) -> Value {
    let message = next(client, "error");
    assert_eq!(message["code"], code, "{message}");
    message
}

#[test]
fn a_client_is_welcomed_by_name_to_the_room_of_its_path() {
    let ann = host().connect("/chat/blue%20room?name=Ann+Lee").expect_open();
    let welcome = next(&ann, "system");
    assert_eq!(welcome["message"], "Welcome to room blue room");
    assert_eq!(welcome["room_id"], "blue room");
    assert_eq!(welcome["user"], "Ann Lee");
    assert_eq!(welcome["count"], 1);
    assert_eq!(welcome["generation"], 1);
    ann.assert_received_nothing();
}

#[test]
fn a_client_without_a_name_is_named_by_its_id() {
    for target in ["/chat/lobby", "/chat/lobby?name=", "/chat/lobby?name=%20"] {
        let client = host().connect(target).expect_open();
        assert_eq!(next(&client, "system")["user"], format!("user_{}", client.id()));
    }
}

#[test]
fn names_and_rooms_that_are_too_long_are_refused_before_the_upgrade() {
    let long_name = format!("/chat/lobby?name={}", "n".repeat(LONGEST_NAME + 1));
    assert_eq!(host().connect(&long_name).expect_refused().status(), Some(400));
    let long_room = format!("/chat/{}", "r".repeat(256));
    assert_eq!(host().connect(&long_room).expect_refused().status(), Some(400));
}

#[test]
fn the_others_hear_who_joins_and_who_leaves_with_the_count() {
    let host = host();
    let ann = member(&host, "lobby", "Ann");
    let bob = member(&host, "lobby", "Bob");

    let joined = next(&ann, "user_joined");
    assert_eq!((&joined["user"], &joined["count"]), (&json!("Bob"), &json!(2)));
    bob.assert_received_nothing();

    bob.vanish();
    let left = next(&ann, "user_left");
    assert_eq!((&left["user"], &left["count"]), (&json!("Bob"), &json!(1)));
}

#[test]
fn a_message_reaches_everybody_in_the_room_and_nobody_else() {
    let host = host();
    let (ann, bob) = (member(&host, "lobby", "Ann"), member(&host, "lobby", "Bob"));
    let eve = member(&host, "cellar", "Eve");
    ann.received();

    ann.send(json!({ "type": "chat_message", "message": "  hello \u{1f44b} " }));

    for client in [&ann, &bob] {
        let message = next(client, "chat_message");
        assert_eq!(message["message"], "  hello \u{1f44b} ");
        assert_eq!(message["user"], "Ann");
        assert_eq!(message["generation"], 1);
    }
    eve.assert_received_nothing();
}

#[test]
fn a_message_must_be_there_not_blank_and_at_most_1000_characters() {
    let ann = member(&host(), "lobby", "Ann");
    for (message, code) in [
        (json!({ "type": "chat_message" }), "MESSAGE_REQUIRED"),
        (json!({ "type": "chat_message", "message": null }), "MESSAGE_REQUIRED"),
        (json!({ "type": "chat_message", "message": "" }), "MESSAGE_EMPTY"),
        (json!({ "type": "chat_message", "message": " \n\u{2003}" }), "MESSAGE_EMPTY"),
        (json!({ "type": "chat_message", "message": "é".repeat(1001) }), "MESSAGE_TOO_LONG"),
    ] {
        ann.send(message);
        expect_error(&ann, code);
        ann.assert_received_nothing();
    }
    ann.send(json!({ "type": "chat_message", "message": "é".repeat(1000) }));
    next(&ann, "chat_message");
}

#[test]
fn typing_is_shown_to_the_others_only() {
    let host = host();
    let (ann, bob) = (member(&host, "lobby", "Ann"), member(&host, "lobby", "Bob"));
    ann.received();

    ann.send(json!({ "type": "typing_start" }));
    assert_eq!(next(&bob, "user_typing")["user"], "Ann");
    ann.send(json!({ "type": "typing_stop" }));
    assert_eq!(next(&bob, "user_stopped_typing")["user"], "Ann");
    ann.assert_received_nothing();
}

#[test]
fn a_ping_is_answered_without_a_room() {
    let ann = host().connect("/chat").expect_open();
    next(&ann, "system");
    ann.send(json!({ "type": "ping" }));
    assert_eq!(next(&ann, "pong")["generation"], 1);
}

#[test]
fn a_room_can_be_joined_by_message() {
    let host = host();
    let ann = member(&host, "lobby", "Ann");
    let bob = host.connect("/chat?name=Bob").expect_open();
    assert!(next(&bob, "system")["message"].as_str().unwrap().contains("join"));

    for message in [
        json!({ "type": "chat_message", "message": "hi" }),
        json!({ "type": "typing_start" }),
        json!({ "type": "typing_stop" }),
    ] {
        bob.send(message);
        expect_error(&bob, "NOT_IN_ROOM");
    }

    bob.send(json!({ "type": "join", "room_id": "lobby" }));
    let joined = next(&bob, "joined");
    assert_eq!((&joined["room_id"], &joined["count"]), (&json!("lobby"), &json!(2)));
    assert_eq!(next(&ann, "user_joined")["user"], "Bob");

    bob.send(json!({ "type": "chat_message", "message": "hi" }));
    assert_eq!(next(&ann, "chat_message")["user"], "Bob");
}

#[test]
fn joining_another_room_leaves_the_first_and_joining_the_same_again_disturbs_nobody() {
    let host = host();
    let (ann, bob) = (member(&host, "lobby", "Ann"), member(&host, "lobby", "Bob"));
    let eve = member(&host, "cellar", "Eve");
    ann.received();

    bob.send(json!({ "type": "join", "room_id": "lobby" }));
    next(&bob, "joined");
    ann.assert_received_nothing();

    bob.send(json!({ "type": "join", "room_id": "cellar" }));
    next(&bob, "joined");
    bob.assert_received_nothing();
    assert_eq!(next(&ann, "user_left")["count"], 1);
    assert_eq!(next(&eve, "user_joined")["count"], 2);
    assert_eq!(bob.joined(), ["cellar"]);
}

#[test]
fn a_room_must_be_named() {
    let ann = member(&host(), "lobby", "Ann");
    for (message, code) in [
        (json!({ "type": "join" }), "ROOM_REQUIRED"),
        (json!({ "type": "join", "room_id": "" }), "ROOM_INVALID"),
        (json!({ "type": "join", "room_id": "r".repeat(256) }), "ROOM_INVALID"),
    ] {
        ann.send(message);
        expect_error(&ann, code);
    }
    assert_eq!(ann.joined(), ["lobby"]);
}

#[test]
fn what_is_no_message_of_the_chat_is_answered_with_an_error() {
    let ann = member(&host(), "lobby", "Ann");
    for text in ["", "hello", "{\"type\":", "{\"type\":\"ping\"} {}"] {
        ann.send(text);
        assert_eq!(expect_error(&ann, "INVALID_JSON")["message"], "Invalid JSON format");
    }
    for text in ["null", "[]", "{}", "{\"type\":\"chat_message\",\"message\":7}"] {
        ann.send(text);
        expect_error(&ann, "INVALID_MESSAGE");
    }
    ann.send(json!({ "type": "dance" }));
    assert_eq!(expect_error(&ann, "UNKNOWN_TYPE")["message"], "Unknown message type: dance");
    ann.send(json!({ "type": "x".repeat(10_000) }));
    let message = expect_error(&ann, "UNKNOWN_TYPE");
    assert!(message["message"].as_str().unwrap().len() < 100, "{message}");
    assert!(ann.is_open());
}

#[test]
fn every_type_that_is_called_known_is_known() {
    for kind in messages::TYPES {
        let message = json!({ "type": kind }).to_string();
        assert!(wharf::serde_json::from_str::<Incoming>(&message).is_ok(), "{kind}");
    }
}

#[test]
fn a_reload_is_seen_in_the_generation_and_by_nothing_else() {
    let host = TestHost::native::<Chat>();
    let (ann, bob) = (member(&host, "lobby", "Ann"), member(&host, "lobby", "Bob"));
    ann.received();

    host.reload::<Chat>();

    bob.send(json!({ "type": "chat_message", "message": "still here" }));
    let message = next(&ann, "chat_message");
    assert_eq!((&message["generation"], &message["user"]), (&json!(2), &json!("Bob")));
}
