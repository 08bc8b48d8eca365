//! An event is a transaction: its effects and its session commit together or not at all.

use wharf_tests::{Client, Ended, Hosts, Setup, Value, Wharf, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    effects_happen_together_when_the_handler_returns
    an_error_undoes_the_event_and_then_on_error_runs
    what_was_flushed_stays_and_the_rest_is_undone
    a_trap_undoes_the_event_and_the_last_committed_session_is_the_last
    what_on_connect_does_is_undone_if_it_refuses_or_fails
    what_on_connect_does_happens_if_it_accepts
}

/// Connects a sender, and an observer in the room `room` on another host if there is one.
async fn sender_and_observer(hosts: &Hosts) -> (Client, Client) {
    let mut observer = hosts.connect(1, "/transacts").await;
    observer
        .send_json(json!([{ "join": "room" }, { "join": "observers" }, { "send": "in" }]))
        .await;
    assert_eq!(observer.text().await, "in");
    (hosts.connect(0, "/transacts").await, observer)
}

async fn room_count_is(hosts: &Hosts, client: &mut Client, expected: u64) {
    let count = async || state(client).await["room_count"].take();
    hosts.come_to(json!(expected), count).await;
}

/// Returns the connection's committed state.
async fn state(client: &mut Client) -> Value {
    client.ask_json(json!(["state"])).await
}

async fn effects_happen_together_when_the_handler_returns(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    let steps = json!([
        { "send": "one" },
        { "join": "room" },
        { "broadcast": ["room", "two"] },
        { "set": 7 },
        { "send": "three" },
        "state",
    ]);
    sender.send_json(steps).await;
    assert_eq!(sender.text().await, "one");
    assert_eq!(sender.text().await, "two");
    assert_eq!(sender.text().await, "three");
    let state = sender.json().await;
    assert_eq!((&state["number"], &state["joined"]), (&json!(7), &json!(["room"])));
    // A question sees the event's own join, and the members of other hosts a little later.
    assert!(state["room_count"] == 2 || hosts.are_several(), "{state}");
    room_count_is(&hosts, &mut sender, 2).await;
    assert_eq!(observer.text().await, "two");
}

async fn an_error_undoes_the_event_and_then_on_error_runs(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    sender.send_json(json!([{ "join": "stays" }, { "set": 1 }])).await;
    let steps = json!([
        { "send": "undone" },
        { "broadcast": ["room", "undone"] },
        { "join": "room" },
        { "leave": "stays" },
        { "set": 99 },
        { "close": [4000, "undone"] },
        "fail",
    ]);
    let failed = sender.ask_json(steps).await;
    assert_eq!(failed, json!({ "error": "told to fail", "number": 1, "joined": ["stays"] }));
    let after = state(&mut sender).await;
    assert_eq!((&after["number"], &after["joined"]), (&json!(1), &json!(["stays"])));
    // The observer alone.
    room_count_is(&hosts, &mut sender, 1).await;
    // If the broadcast had been sent, it would come before this one.
    sender.send_json(json!([{ "broadcast": ["room", "later"] }])).await;
    assert_eq!(observer.text().await, "later");
    let line = hosts.line("the error", |line| line.says("handler failed")).await;
    assert!(line.str("error").contains("on_message failed: told to fail"), "{line}");
}

#[tokio::test]
async fn an_error_in_on_error_undoes_that_as_well_and_the_connection_goes_on() {
    let wharf = Wharf::start(&["faulty"], &[]).await;
    let mut client = wharf.connect("/faulty").await;
    assert_eq!(client.ask_for_json("hello").await, json!({ "count": 1 }));
    client.send("fail twice").await;
    assert_eq!(client.ask_for_json("hello").await, json!({ "count": 2 }));
    let errors = async |text: &str| {
        wharf.log.wait_for(text, |line| line.str("error").contains(text)).await;
    };
    errors("on_message failed: twice").await;
    errors("on_error failed: and again").await;
}

async fn what_was_flushed_stays_and_the_rest_is_undone(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    let steps = json!([
        { "set": 5 },
        { "send": "flushed" },
        { "join": "room" },
        { "broadcast": ["room", "flushed"] },
        "flush",
        { "send": "undone" },
        { "broadcast": ["room", "undone"] },
        { "leave": "room" },
        "fail",
    ]);
    sender.send_json(steps).await;
    assert_eq!(sender.text().await, "flushed");
    assert_eq!(sender.text().await, "flushed");
    let failed = sender.json().await;
    assert_eq!(failed["joined"], json!(["room"]));
    assert_eq!(failed["number"], 0, "the session is no effect: a flush does not commit it");
    assert_eq!(observer.text().await, "flushed");
    sender.send_json(json!([{ "broadcast": ["room", "later"] }])).await;
    assert_eq!(observer.text().await, "later");
}

#[tokio::test]
async fn a_flushed_close_stays_even_if_the_handler_fails() {
    let wharf = Wharf::start(&["transacts"], &[]).await;
    let mut sender = wharf.connect("/transacts").await;
    sender.send_json(json!([{ "close": [4000, "flushed"] }, "flush", "fail"])).await;
    let failed = sender.json().await;
    assert_eq!(failed["error"], "told to fail");
    assert_eq!(sender.ended().await, Ended::Closed(4000, "flushed".to_owned()));
}

async fn a_trap_undoes_the_event_and_the_last_committed_session_is_the_last(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    let id = state(&mut sender).await["id"].clone();
    sender.send_json(json!([{ "set": 3 }, { "send": "committed" }])).await;
    assert_eq!(sender.text().await, "committed");
    let steps = json!([
        { "set": 99 },
        { "send": "undone" },
        { "broadcast": ["room", "undone"] },
        { "join": "room" },
        "panic",
    ]);
    sender.send_json(steps).await;
    assert_eq!(sender.close_code().await, 1011);
    assert_eq!(observer.json().await, json!({ "closed": id, "number": 3 }));
    room_count_is(&hosts, &mut observer, 1).await;
}

#[tokio::test]
async fn a_missed_deadline_undoes_the_event_as_a_trap_does() {
    let hosts = Setup::One.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    let id = state(&mut sender).await["id"].clone();
    let steps =
        json!([{ "set": 99 }, { "broadcast": ["room", "undone"] }, { "send": "x" }, "spin"]);
    sender.send_json(steps).await;
    assert_eq!(sender.close_code().await, 1011);
    assert_eq!(observer.json().await, json!({ "closed": id, "number": 0 }));
}

#[tokio::test]
async fn what_was_flushed_before_a_trap_stays() {
    let hosts = Setup::One.start(&["transacts"], &[]).await;
    let (mut sender, mut observer) = sender_and_observer(&hosts).await;
    let steps = json!([
        { "send": "flushed" }, { "broadcast": ["room", "flushed"] }, "flush", { "send": "undone" }, "panic",
    ]);
    sender.send_json(steps).await;
    assert_eq!(sender.text().await, "flushed");
    assert_eq!(sender.close_code().await, 1011);
    assert_eq!(observer.text().await, "flushed");
    assert_eq!(observer.json().await["number"], 0);
}

/// Makes a path whose query lets `on_connect` do these steps.
fn connecting(steps: Value) -> String {
    let encoded: String = steps.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/transacts?do={encoded}")
}

async fn what_on_connect_does_happens_if_it_accepts(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (_sender, mut observer) = sender_and_observer(&hosts).await;
    let steps = json!([
        { "send": "welcome" }, { "join": "room" }, { "broadcast": ["room", "somebody new"] }, { "set": 4 },
    ]);
    let mut client = hosts.connect(0, &connecting(steps)).await;
    assert_eq!(client.text().await, "welcome");
    assert_eq!(client.text().await, "somebody new");
    assert_eq!(observer.text().await, "somebody new");
    let after = state(&mut client).await;
    assert_eq!(after["number"], 4);
    room_count_is(&hosts, &mut client, 2).await;
}

async fn what_on_connect_does_is_undone_if_it_refuses_or_fails(setup: Setup) {
    let hosts = setup.start(&["transacts"], &[]).await;
    let (_sender, mut observer) = sender_and_observer(&hosts).await;
    let undone = json!({ "broadcast": ["room", "undone"] });
    let join = json!({ "join": "room" });
    for (last, status) in
        [(json!({ "refuse": 403 }), 403), (json!("fail"), 500), (json!("panic"), 500)]
    {
        let path = connecting(json!([undone, join, { "send": "undone" }, last]));
        let rejected = hosts.try_connect(0, &path).await.expect_err("refused");
        assert_eq!(rejected.status, status, "{last}");
    }
    let path = connecting(json!([undone, join, { "send": "undone" }, { "refuse_by_close": 4001 }]));
    let mut refused = hosts.connect(0, &path).await;
    assert_eq!(refused.ended().await, Ended::Closed(4001, "refused".to_owned()));
    // Neither a broadcast nor an on_close of any of them has come.
    hosts.settle().await;
    room_count_is(&hosts, &mut observer, 1).await;
}

#[tokio::test]
async fn nothing_can_be_flushed_while_connecting() {
    let wharf = Wharf::start(&["transacts"], &[]).await;
    let mut client = wharf.connect(&connecting(json!([{ "try": "flush" }]))).await;
    assert_eq!(client.json().await, json!({ "tried": "refused-while-connecting" }));
}

#[tokio::test]
async fn a_close_while_connecting_lets_the_client_hear_what_was_sent() {
    let hosts = Setup::One.start(&["transacts"], &[]).await;
    let (_sender, mut observer) = sender_and_observer(&hosts).await;
    let steps = json!([{ "set": 8 }, { "send": "no room" }, { "close": [4008, "full"] }]);
    let mut client = hosts.connect(0, &connecting(steps)).await;
    assert_eq!(client.text().await, "no room");
    assert_eq!(client.ended().await, Ended::Closed(4008, "full".to_owned()));
    assert_eq!(observer.json().await["number"], 8, "it was accepted, so that it has its on_close");
}

#[tokio::test]
async fn the_first_close_of_an_event_counts_and_messages_after_it_are_still_sent() {
    let wharf = Wharf::start(&["transacts"], &[]).await;
    let mut client = wharf.connect("/transacts").await;
    let steps =
        json!([{ "close": [4001, "first"] }, { "close": [4002, "second"] }, { "send": "bye" }]);
    client.send_json(steps).await;
    assert_eq!(client.text().await, "bye");
    assert_eq!(client.ended().await, Ended::Closed(4001, "first".to_owned()));
}

#[tokio::test]
async fn events_of_one_connection_see_what_the_one_before_has_committed() {
    let wharf = Wharf::start(&["transacts"], &[]).await;
    let mut client = wharf.connect("/transacts").await;
    for number in 0..100 {
        client.feed(json!([{ "set": number }]).to_string()).await;
        client.feed(json!(["state"]).to_string()).await;
    }
    client.flush().await;
    for number in 0..100 {
        assert_eq!(client.json().await["number"], number);
    }
}
