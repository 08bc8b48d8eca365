//! The operator's API: the outcome of an event that is posted and waited for, and of messages to a channel's code.

use wharf_tests::operator::{answered, authorization, code};
use wharf_tests::{Hosts, Operated, Raw, Setup, Value, eventually, json, on_one_host_and_on_two};

on_one_host_and_on_two! {
    an_event_that_is_waited_for_is_answered_when_its_effects_are_there
    a_mistake_of_the_poster_is_answered_with_its_content_and_undone
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const WAIT: &str = "/operated/rooms/lot/post?wait=true";

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated", "rooms"], flags).await
}

async fn started_on(setup: Setup, flags: &[&str]) -> Hosts {
    setup.start(&["operated", "rooms"], flags).await
}

async fn posted(it: &Operated, event: Value) -> (u16, Value) {
    it.post(WAIT, json!({ "event": event })).await
}

async fn an_event_that_is_waited_for_is_answered_when_its_effects_are_there(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut member = hosts.connect(0, "/operated?join=lot").await;
    let changed = json!({ "posted": 1, "generation": 1, "is_state_changed": true });
    assert_eq!(posted(it, json!({ "add": 3 })).await, (200, changed));
    assert_eq!(it.get("/operated/rooms/lot/state").await.1["json"], json!({ "sum": 3 }));
    assert_eq!(member.json().await, json!({ "sum": 3, "from": null }));
    let same = json!({ "posted": 1, "generation": 1, "is_state_changed": false });
    assert_eq!(posted(it, json!({ "add": 0 })).await, (200, same));
    // Without the wish to wait the answer comes before the outcome.
    let refused = json!({ "event": { "refuse": "closed" } });
    for path in ["/operated/rooms/lot/post", "/operated/rooms/lot/post?wait=false"] {
        assert_eq!(it.post(path, refused.clone()).await, (202, json!({ "posted": 1 })));
    }
    for query in ["wait", "wait=", "wait=yes", "wait=true&wait=true", "waits=true", "limit=1"] {
        let answer =
            it.refused(&format!("/operated/rooms/lot/post?{query}"), refused.clone()).await;
        assert_eq!(answer, (400, "invalid-field".to_owned()), "{query}");
    }
    let elsewhere = it.refused("/operated/messages?wait=true", json!(1)).await;
    assert_eq!(elsewhere, (400, "invalid-field".to_owned()));
}

async fn a_mistake_of_the_poster_is_answered_with_its_content_and_undone(setup: Setup) {
    let hosts = started_on(setup, &[]).await;
    let it = hosts.host(1);
    let mut member = hosts.connect(0, "/operated?join=lot").await;
    let expected = json!({ "error": {
        "code": "CLOSED", "message": "not today", "fields": { "day": "is a holiday" },
    } });
    assert_eq!(posted(it, json!({ "refuse": "not today" })).await, (422, expected));
    assert_eq!(posted(it, json!({ "add": 1 })).await.0, 200);
    assert_eq!(member.json().await["sum"], 1, "neither the effects nor the state were kept");
}

#[tokio::test]
async fn an_event_that_fails_is_answered_with_the_operators_own_text() {
    let it = started(&[]).await;
    for (event, text) in [
        (json!({ "fail": "the tide is out" }), "on_room_event failed: the tide is out"),
        (json!({ "panic": "aground" }), "panicked: aground"),
        (json!({ "ad": 1 }), "unknown variant `ad`"),
    ] {
        let (status, answer) = posted(&it, event).await;
        assert_eq!((status, &answer["error"]["code"]), (500, &json!("channel-failed")));
        let said = answer["error"]["message"].as_str().expect("text");
        assert!(said.contains(text), "{said}");
    }
    assert_eq!(posted(&it, json!({ "add": 1 })).await.0, 200, "the room goes on");
    let (status, answer) = posted(&it, json!("spin")).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("channel-busy")), "{answer}");
    let said = answer["error"]["message"].as_str().expect("text");
    assert!(said.contains("deadline") && said.contains("budget_ms"), "{said}");
}

#[tokio::test]
async fn a_wait_ends_in_time_and_the_event_is_handled_all_the_same() {
    let it = started(&["--instance-wait-ms 100", "--wall-budget-ms 2000"]).await;
    let mut member = it.wharf.connect("/operated?join=lot").await;
    for _ in 0..2 {
        it.post("/operated/rooms/lot/post", json!({ "event": { "wait": 1500 } })).await;
    }
    let (status, answer) = posted(&it, json!({ "add": 1 })).await;
    assert_eq!(code((status, answer.clone())), (504, "event-waits".to_owned()));
    let said = answer["error"]["message"].as_str().expect("text");
    assert!(said.contains("2.1s") && said.contains("wall_budget_ms"), "{said}");
    assert_eq!(member.json().await["sum"], 1);
}

#[tokio::test]
async fn a_channel_without_time_or_instances_is_busy() {
    let flags = [
        "--cpu-budget-ms 50",
        "--wall-budget-ms 60000",
        "--max-instances 0",
        "--max-instances-per-channel 1",
        "--reserved-instances-per-channel 1",
        "--instance-wait-ms 200",
    ];
    let it = started(&flags).await;
    let path = "/api/channels/operated/messages";
    let headers = [authorization(), JSON];
    let answer = it.request("POST", path, &headers, br#"{"do": "spin"}"#).await;
    assert_eq!(answer.header("retry-after"), ["1"]);
    assert_eq!(code(answered(answer)), (503, "channel-busy".to_owned()));
    let waits = it.post("/operated/messages", json!({ "do": "wait", "ms": 2000 }));
    let others = async {
        eventually("the instance to be in use", async || {
            let answer = it.post("/operated/messages", json!({ "do": "echo", "value": 1 })).await;
            (answer.0 == 503).then(|| code(answer))
        })
        .await
    };
    let (waited, busy) = tokio::join!(waits, others);
    assert_eq!(waited, (200, json!("waited")));
    assert_eq!(busy.1, "channel-busy");
}

#[tokio::test]
async fn a_message_is_handled_to_its_end_when_its_sender_does_not_wait() {
    let it = started(&[]).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let mut raw = Raw::open(it.api).await;
    let body = json!({ "do": "tell", "user": "ann", "text": "after all" }).to_string();
    let length = body.len().to_string();
    let headers = [authorization(), JSON, ("Content-Length", &*length)];
    raw.request("POST /api/channels/operated/messages", &headers).await;
    raw.write(body).await;
    drop(raw);
    assert_eq!(ann.text().await, "after all");
}
