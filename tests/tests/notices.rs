//! Notices: one connection's handler changes the session of another one, in the other's own order.

use wharf_tests::{Client, Setup, Value, Wharf, eventually, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    a_notice_changes_the_session_of_its_target_and_no_other
    a_notice_can_close_its_target
    a_trap_in_on_notify_ends_the_target_and_not_who_posted
    a_room_is_notified_as_a_whole_or_but_for_one
    a_user_is_notified_on_every_device
    notices_that_answer_each_other_come_to_an_end
    notices_come_in_order_between_a_clients_own_messages_and_neither_starves
}

async fn id(client: &mut Client) -> String {
    let answer = client.ask_json(json!({ "do": "who" })).await;
    answer["id"].as_str().expect("an id").to_owned()
}

fn notify(to: &str, what: Value) -> Value {
    json!({ "do": "notify", "to": to, "what": what })
}

async fn a_notice_changes_the_session_of_its_target_and_no_other(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let bobs = id(&mut bob).await;
    assert_eq!(ann.ask_json(notify(&bobs, json!({ "role": "captain" }))).await["result"], "ok");
    assert_eq!(ann.ask_json(notify(&bobs, json!({ "say": "ahoy" }))).await["result"], "ok");
    let said = bob.json().await;
    assert_eq!(said["said"], "ahoy");
    assert_eq!(said["by"].as_str(), Some(id(&mut ann).await.as_str()));
    let bob = bob.ask_json(json!({ "do": "ask" })).await;
    assert_eq!((&bob["role"], &bob["notices"]), (&json!("captain"), &json!(2)));
    let ann = ann.ask_json(json!({ "do": "ask" })).await;
    assert_eq!((&ann["role"], &ann["notices"]), (&json!("guest"), &json!(0)));
}

async fn a_notice_can_close_its_target(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let bobs = id(&mut bob).await;
    ann.ask_json(notify(&bobs, json!("kick"))).await;
    assert_eq!(bob.close_code().await, 4003);
    drop(bob);
    // Only its own host knows that a connection has gone.
    let mut ann = hosts.connect(1, "/posts/a").await;
    let gone = ann.ask_json(notify(&bobs, json!("kick"))).await;
    assert_eq!(gone["result"], "unknown-connection");
    assert_eq!(
        ann.ask_json(notify("nonsense", json!("kick"))).await["result"],
        "unknown-connection"
    );
}

async fn a_trap_in_on_notify_ends_the_target_and_not_who_posted(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let mut cy = hosts.connect(0, "/posts/a").await;
    let (bobs, cys) = (id(&mut bob).await, id(&mut cy).await);
    assert_eq!(ann.ask_json(notify(&bobs, json!("panic"))).await["result"], "ok");
    assert_eq!(bob.close_code().await, 1011);
    // An error is not a trap: the event is undone, and the connection stays.
    ann.ask_json(notify(&cys, json!("fail"))).await;
    assert_eq!(cy.json().await["code"], "INTERNAL_ERROR");
    assert_eq!(cy.ask_json(json!({ "do": "ask" })).await["notices"], 0);
    assert_eq!(ann.ask_json(json!({ "do": "ask" })).await["messages"], 3);
}

async fn a_room_is_notified_as_a_whole_or_but_for_one(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let mut eve = hosts.connect(0, "/posts/elsewhere").await;
    let all = json!({ "do": "notify_room", "room": "a", "what": { "say": "all" }, "skip": false });
    // Ann's own notice is another event, after the one that posts it.
    assert_eq!(ann.ask_json(all).await["count"], 2);
    assert_eq!(ann.json().await["said"], "all");
    assert_eq!(bob.json().await["said"], "all");
    let others =
        json!({ "do": "notify_room", "room": "a", "what": { "say": "you" }, "skip": true });
    assert_eq!(ann.ask_json(others).await["count"], 1);
    assert_eq!(bob.json().await["said"], "you");
    for (client, notices) in [(&mut ann, 1), (&mut bob, 2), (&mut eve, 0)] {
        assert_eq!(client.ask_json(json!({ "do": "ask" })).await["notices"], notices);
    }
    let nobody = json!({ "do": "notify_room", "room": "b", "what": { "say": "?" }, "skip": false });
    assert_eq!(ann.ask_json(nobody).await["count"], 0);
    let bad =
        json!({ "do": "notify_room", "room": "r".repeat(256), "what": "kick", "skip": false });
    assert_eq!(ann.ask_json(bad).await["result"], "room-name-invalid");
}

async fn a_user_is_notified_on_every_device(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut phone = hosts.connect(0, "/posts/a?user=ann").await;
    let mut laptop = hosts.connect(1, "/posts/b?user=ann").await;
    let mut bob = hosts.connect(0, "/posts/a?user=bob").await;
    let to = |user: &str, skip: bool| json!({ "do": "notify_user", "user": user, "what": { "say": "hi" }, "skip": skip });
    assert_eq!(bob.ask_json(to("ann", false)).await["count"], 2);
    assert_eq!(phone.json().await["said"], "hi");
    assert_eq!(laptop.json().await["said"], "hi");
    assert_eq!(phone.ask_json(to("ann", true)).await["count"], 1);
    assert_eq!(laptop.json().await["said"], "hi");
    assert_eq!(phone.ask_json(json!({ "do": "ask" })).await["notices"], 1);
    assert_eq!(bob.ask_json(to("cy", false)).await["result"], "user-offline");
    assert_eq!(bob.ask_json(to("", false)).await["result"], "user-id-invalid");
}

#[tokio::test]
async fn an_inbox_has_a_bound_and_its_overrun_is_an_error_to_the_sender() {
    let wharf = Wharf::start(&["posts"], &["--inbox-events 8", "--inbox-bytes 70000"]).await;
    let mut ann = wharf.connect("/posts/a").await;
    let mut bob = wharf.connect("/posts/a").await;
    let bobs = id(&mut bob).await;
    let times = |what: Value, times: u32, bytes: usize| json!({ "do": "notify_times", "to": bobs, "what": what, "times": times, "bytes": bytes });
    // All notices of one event take their places before any of them is handled.
    let answer = ann.ask_json(times(json!({ "say": "x" }), 10, 0)).await;
    assert_eq!(answer, json!({ "accepted": 8, "result": "inbox-full" }));
    for _ in 0..8 {
        assert_eq!(bob.json().await["said"], "x");
    }
    let answer = ann.ask_json(times(json!("kick"), 10, 30_000)).await;
    assert_eq!(answer, json!({ "accepted": 2, "result": "inbox-full" }));
    let answer = ann.ask_json(times(json!("kick"), 1, 100_000)).await;
    assert_eq!(answer, json!({ "accepted": 0, "result": "payload-too-big" }));
    // A client's messages and the notices that wait take turns, so that a question may overtake one.
    eventually("all that was accepted", async || {
        let answer = bob.ask_json(json!({ "do": "ask" })).await;
        (answer["notices"] == 10).then_some(())
    })
    .await;
    // The inbox has room again.
    assert_eq!(ann.ask_json(times(json!({ "say": "y" }), 1, 0)).await["accepted"], 1);
    assert_eq!(bob.json().await["said"], "y");
}

async fn notices_that_answer_each_other_come_to_an_end(setup: Setup) {
    let hosts = setup.start(&["posts"], &[]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let bobs = id(&mut bob).await;
    ann.ask_json(notify(&bobs, json!({ "bounce": 1 }))).await;
    // The notices go to and fro until the sixteenth may not post another. Ann has that one.
    let refused = ann.json().await;
    assert_eq!(refused, json!({ "bounced": 16, "refused": "too-many-hops" }));
}

async fn notices_come_in_order_between_a_clients_own_messages_and_neither_starves(setup: Setup) {
    const NOTICES: usize = 300;
    let hosts = setup.start(&["posts"], &["--inbox-events 1000"]).await;
    let mut ann = hosts.connect(0, "/posts/a").await;
    let mut bob = hosts.connect(1, "/posts/a").await;
    let bobs = id(&mut bob).await;
    for number in 0..NOTICES {
        ann.feed(notify(&bobs, json!({ "say": number.to_string() })).to_string()).await;
        bob.feed(json!({ "do": "ask" }).to_string()).await;
    }
    ann.flush().await;
    bob.flush().await;
    let (mut said, mut answers) = (0, 0);
    while said + answers < 2 * NOTICES {
        let message = bob.json().await;
        match message["said"].as_str() {
            Some(number) => {
                assert_eq!(number, said.to_string());
                said += 1;
            }
            None => {
                answers += 1;
                // The session of each event is that of the event before.
                assert_eq!(message["notices"], said);
                assert_eq!(message["messages"], answers + 1);
            }
        }
    }
}

#[tokio::test]
async fn a_plugin_without_a_handler_cannot_post() {
    let wharf = Wharf::start(&["posts", "unheard"], &[]).await;
    let mut client = wharf.connect("/unheard").await;
    let answer = client.ask_for_json("all").await;
    for (call, detail) in [
        ("notify", "on_notify"),
        ("notify_room", "on_notify"),
        ("post", "on_room_event"),
        ("timer", "on_timer"),
        ("room_timer", "on_room_timer"),
        ("channel_timer", "on_channel_timer"),
    ] {
        let error = answer[call].as_str().expect("an error");
        assert!(error.contains("no-handler") && error.contains(detail), "{call}: {error}");
    }
}
