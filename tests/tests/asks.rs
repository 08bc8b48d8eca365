//! Requests that are answered elsewhere: by a room, another connection, a timer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf_tests::{Client, Hosts, Setup, Value, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    a_request_is_answered_by_an_event_of_a_room_that_knows_its_user
    what_an_event_posts_after_it_has_changed_the_user_is_the_new_users
    the_mistake_in_a_room_event_reaches_its_client_with_the_ref
    a_request_is_answered_by_another_connection_and_by_a_timer
    an_answer_to_a_client_that_has_gone_is_no_failure
    the_state_of_a_room_is_read_elsewhere_as_it_was_committed
    the_time_that_is_left_until_a_timer_is_known
}

async fn asker(hosts: &Hosts, host: usize, user: &str) -> (Client, String) {
    let mut client = hosts.connect(host, &format!("/asks?user={user}")).await;
    let id = client.json().await["id"].as_str().expect("an id").to_owned();
    (client, id)
}

fn reply(reference: u32, payload: Value) -> Value {
    json!({ "type": "reply", "ref": reference, "status": "ok", "payload": payload })
}

async fn a_request_is_answered_by_an_event_of_a_room_that_knows_its_user(setup: Setup) {
    let hosts = setup.start(&["asks"], &[]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let add = |number: i64, reference: u32| json!({ "type": "add", "room": "a", "number": number, "ref": reference });
    let answer = ann.ask_json(add(5, 1)).await;
    assert_eq!(answer, reply(1, json!({ "sum": 5, "user": "ann" })));
    // Requests without a `ref` want no answer.
    ann.send_json(json!({ "type": "add", "room": "a", "number": 1 })).await;
    assert_eq!(ann.ask_json(add(1, 2)).await["payload"]["sum"], 7);
    // From another host than the one on which the room's events run.
    let (mut bob, _) = asker(&hosts, 1, "bob").await;
    assert_eq!(bob.ask_json(add(1, 3)).await, reply(3, json!({ "sum": 8, "user": "bob" })));
}

async fn what_an_event_posts_after_it_has_changed_the_user_is_the_new_users(setup: Setup) {
    let hosts = setup.start(&["asks"], &[]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let (mut cy, _) = asker(&hosts, 1, "cy").await;
    for (reference, user, client) in [(1, "bob", &mut ann), (2, "eve", &mut cy)] {
        let add = json!({
            "type": "add_as", "user": user, "room": "a", "number": 1, "ref": reference,
        });
        assert_eq!(
            client.ask_json(add).await,
            reply(reference, json!({ "sum": reference, "user": user }))
        );
    }
}

async fn the_mistake_in_a_room_event_reaches_its_client_with_the_ref(setup: Setup) {
    let hosts = setup.start(&["asks"], &["--log info"]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let add = |number: i64| json!({ "type": "add", "room": "a", "number": number, "ref": "x" });
    assert_eq!(
        ann.ask_json(add(0)).await,
        json!({
            "type": "error", "ref": "x", "status": "error", "code": "NOTHING",
            "message": "nothing to add",
        })
    );
    // Without a `ref` as well.
    ann.send_json(json!({ "type": "add", "room": "a", "number": 0 })).await;
    let told = json!({ "type": "error", "code": "NOTHING", "message": "nothing to add" });
    assert_eq!(ann.json().await, told);
    assert!(hosts.lines(|line| line.says("handler failed")).is_empty(), "it is not the plugin's");

    // Of another failure the client learns no more than that.
    let (mut bob, _) = asker(&hosts, 1, "bob").await;
    assert_eq!(bob.ask_json(add(i64::MAX)).await["payload"]["sum"], i64::MAX);
    let failed =
        json!({ "type": "error", "ref": "x", "status": "error", "code": "INTERNAL_ERROR" });
    assert_eq!(bob.ask_json(add(1)).await, failed);
    let line = hosts.line("the failure", |line| line.says("handler failed")).await;
    assert!(line.str("error").contains("the sum is too large"), "{line:?}");
}

async fn a_request_is_answered_by_another_connection_and_by_a_timer(setup: Setup) {
    let hosts = setup.start(&["asks"], &[]).await;
    let (mut ann, anns) = asker(&hosts, 0, "ann").await;
    let (mut bob, bobs) = asker(&hosts, 1, "bob").await;
    let answer = ann.ask_json(json!({ "type": "tell", "to": bobs, "ref": 7 })).await;
    assert_eq!(answer, reply(7, json!({ "told": bobs })));
    assert_eq!(bob.json().await, json!({ "asked_by": anns, "user": "ann" }));

    let later = json!({ "type": "later", "room": "a", "ms": 10, "ref": 8 });
    assert_eq!(ann.ask_json(later).await, reply(8, json!(0)));
}

async fn an_answer_to_a_client_that_has_gone_is_no_failure(setup: Setup) {
    let hosts = setup.start(&["asks"], &["--log info"]).await;
    // The room's events run on the host of the first of them.
    let (mut eve, _) = asker(&hosts, 1, "eve").await;
    let add = json!({ "type": "add", "room": "a", "number": 1, "ref": 0 });
    assert_eq!(eve.ask_json(add).await["payload"]["sum"], 1);
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    ann.feed(json!({ "type": "add", "room": "a", "number": 1, "ref": 1 }).to_string()).await;
    ann.feed(json!({ "type": "add", "room": "a", "number": 0, "ref": 2 }).to_string()).await;
    ann.flush().await;
    ann.close(1000, "").await;
    let (mut bob, _) = asker(&hosts, 0, "bob").await;
    let add = json!({ "type": "add", "room": "a", "number": 1, "ref": 3 });
    assert_eq!(bob.ask_json(add).await["payload"]["sum"], 3);
    assert!(hosts.lines(|line| line.says("handler failed")).is_empty());
}

async fn the_state_of_a_room_is_read_elsewhere_as_it_was_committed(setup: Setup) {
    let hosts = setup.start(&["asks"], &[]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let read = |room: &str| json!({ "type": "read", "room": room, "ref": 1 });
    assert_eq!(ann.ask_json(read("a")).await, reply(1, json!(0)));
    ann.ask_json(json!({ "type": "add", "room": "a", "number": 5, "ref": 2 })).await;
    assert_eq!(ann.ask_json(read("a")).await, reply(1, json!(5)));
    let (mut bob, _) = asker(&hosts, 1, "bob").await;
    assert_eq!(bob.ask_json(read("a")).await, reply(1, json!(5)));
    assert_eq!(ann.ask_json(read("b")).await, reply(1, json!(0)));
}

async fn the_time_that_is_left_until_a_timer_is_known(setup: Setup) {
    let hosts = setup.start(&["asks"], &[]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let left = || json!({ "type": "left", "room": "a", "ref": 1 });
    assert_eq!(ann.ask_json(left()).await, reply(1, json!([null, 60_000, null])));
    ann.send_json(json!({ "type": "later", "room": "a", "ms": 60_000 })).await;
    // It is set when the room has handled the event.
    ann.ask_json(json!({ "type": "add", "room": "a", "number": 5, "ref": 2 })).await;
    let (mut bob, _) = asker(&hosts, 1, "bob").await;
    for client in [&mut ann, &mut bob] {
        let answer = client.ask_json(left()).await;
        let left = answer["payload"][0].as_u64().expect("it is set");
        assert!((30_000..=60_000).contains(&left), "{answer}");
    }
}

#[tokio::test]
async fn the_time_of_day_is_that_of_the_machine() {
    let hosts = Setup::One.start(&["asks"], &[]).await;
    let (mut ann, _) = asker(&hosts, 0, "ann").await;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let before = now();
    let answer = ann.ask_json(json!({ "type": "time", "ref": 1 })).await;
    let told = Duration::from_millis(answer["payload"].as_u64().expect("a time"));
    assert!(told + Duration::from_millis(1) >= before && told <= now(), "{answer}");
}

#[tokio::test]
async fn a_ref_that_is_too_long_to_be_carried_on_is_refused() {
    let hosts = Setup::One.start(&["raw"], &[]).await;
    let mut client = hosts.connect(0, "/raw").await;
    assert_eq!(client.ask("reference 1024").await, "ok 1024");
    assert_eq!(client.ask("reference 1025").await, "reference-too-long 0");
}
