//! The operator's audit log: each act leaves a record, which outlives the process.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wharf_tests::operator::{TOKEN, answered, authorization, code};
use wharf_tests::{Line, Operated, Raw, Value, Wharf, eventually, json};

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated"], flags).await
}

/// Returns the answer to a question about the log: status and JSON.
async fn audit(it: &Operated, query: &str) -> (u16, Value) {
    let path = format!("/api/audit{query}");
    answered(it.request("GET", &path, &[authorization()], b"").await)
}

/// Returns the records, the newest first.
async fn acts(it: &Operated) -> Vec<Value> {
    let (status, page) = audit(it, "?limit=1000").await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["next"], Value::Null);
    page["acts"].as_array().expect("a list").clone()
}

fn file(wharf: &Wharf) -> PathBuf {
    wharf.folder().join("wharf-data/audit.jsonl")
}

fn outline(act: &Value) -> (&str, &str, u64, &str) {
    let text = |field: &str| act[field].as_str().unwrap_or_default();
    (text("action"), text("subject"), act["status"].as_u64().unwrap_or_default(), text("code"))
}

#[tokio::test]
async fn acts_are_listed_after_a_crash_with_their_outcome_and_without_contents() {
    let mut it = started(&[]).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let message = json!({ "all": true, "text": "the password is hunter22" });
    assert_eq!(it.post("/operated/broadcast", message).await.0, 200);
    assert_eq!(ann.text().await, "the password is hunter22");
    let refused = it.refused("/operated/users/bob/send", json!({ "text": "hunter22" })).await;
    assert_eq!(refused, (404, "user-offline".to_owned()));
    let event = json!({ "event": { "note": "hunter22" } });
    assert_eq!(it.post("/operated/rooms/a%2Fb/post?wait=true", event).await.0, 200);
    assert_eq!(it.refused("/nobody/broadcast", json!({})).await.0, 404);
    assert_eq!(it.refused("/operated/broadcast", json!({})).await.0, 400);
    let delete = it.request("DELETE", "/api/channels/operated", &[authorization()], b"").await;
    assert_eq!(delete.status, 405);
    let wrong = [("Authorization", "Bearer zebra-zebra-zebra")];
    let guess = "/api/channels/operated/rooms/lobby/reset?token=hunter22";
    assert_eq!(it.request("POST", guess, &wrong, b"").await.status, 401);
    // Questions are no acts.
    assert_eq!(it.get("/operated/rooms").await.0, 200);
    assert_eq!(it.post("/operated/users/ann/disconnect", json!({})).await.0, 200);
    // The last act was recorded before it was answered.
    it.wharf.kill();
    it.start_again(&[]).await;

    let acts = acts(&it).await;
    let expected = [
        ("disconnect", "user ann", 200, ""),
        ("", "", 401, "wrong-token"),
        ("", "", 405, "method-not-allowed"),
        ("broadcast", "", 400, "message-missing"),
        ("broadcast", "", 404, "unknown-channel"),
        ("post", "room a/b", 200, ""),
        ("send", "user bob", 404, "user-offline"),
        ("broadcast", "", 200, ""),
    ];
    assert_eq!(acts.iter().map(outline).collect::<Vec<_>>(), expected);
    for act in &acts {
        assert!(act["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")));
        assert!(act["time"].as_str().is_some_and(|time| time.starts_with("20")), "{act}");
        assert!(act["time_ms"].as_u64().is_some() && act["duration_us"].as_u64().is_some());
        let credential = if act["status"] == 401 { Value::Null } else { json!("operator_token") };
        assert_eq!((&act["credential"], &act["times"]), (&credential, &json!(1)), "{act}");
    }
    assert_eq!(acts[1]["path"], "/api/channels/operated/rooms/lobby/reset");
    assert_eq!(acts[7]["body_bytes"], 46);
    let text = std::fs::read_to_string(file(&it.wharf)).expect("the file");
    for secret in [TOKEN, "zebra", "hunter22", "password"] {
        assert!(!text.contains(secret), "{text}");
    }
    let mode = std::fs::metadata(file(&it.wharf)).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn pages_go_back_by_the_id_and_wrong_ones_are_refused() {
    // Some of the records are in the older file.
    let it = started(&["--audit-log-bytes 65536"]).await;
    for number in 0..250 {
        let room = format!("/operated/rooms/{number}/reset");
        assert_eq!(it.post(&room, json!({})).await.0, 200);
    }
    assert!(it.wharf.folder().join("wharf-data/audit.1.jsonl").exists(), "it was rotated");
    let (mut query, mut rooms) = ("?limit=40".to_owned(), Vec::new());
    loop {
        let (status, page) = audit(&it, &query).await;
        assert_eq!(status, 200, "{page}");
        let acts = page["acts"].as_array().expect("a list");
        rooms.extend(acts.iter().map(|act| act["subject"].as_str().expect("text").to_owned()));
        let Some(next) = page["next"].as_u64() else { break };
        assert_eq!(acts.len(), 40);
        query = format!("?limit=40&before={next}");
    }
    let expected: Vec<_> = (0..250).rev().map(|number| format!("room {number}")).collect();
    assert_eq!(rooms, expected);
    for query in
        ["?before=x", "?before=-1", "?limit=0", "?limit=1001", "?after=1", "?before=1&before=2"]
    {
        let refused = code(audit(&it, query).await);
        assert_eq!(refused, (400, "invalid-field".to_owned()), "{query}");
    }
    assert_eq!(audit(&it, "?before=0").await.1, json!({ "acts": [], "next": null }));
}

#[tokio::test]
async fn a_flood_without_the_token_is_counted_and_fills_no_file() {
    let it = started(&[]).await;
    let begun = Instant::now();
    let mut raw = Raw::open(it.api).await;
    for number in 0..2_000 {
        let path = format!("POST /api/channels/operated/broadcast/{number}{}", "x".repeat(2_000));
        raw.request(&path, &[("Authorization", "Bearer guess"), ("Content-Length", "0")]).await;
        assert_eq!(raw.answer().await.status, 401);
    }
    assert_eq!(it.post("/operated/broadcast", json!({ "all": true, "text": "" })).await.0, 200);
    let minutes = begun.elapsed().as_secs() / 60;
    let refused: Vec<_> = acts(&it).await.into_iter().filter(|act| act["status"] == 401).collect();
    assert!((10..=11 + minutes as usize).contains(&refused.len()), "{}", refused.len());
    let bytes = std::fs::metadata(file(&it.wharf)).expect("the file").len();
    assert!(bytes < 10_000, "{bytes} bytes");
    // The rest is counted, at the latest when the host stops.
    let mut it = it;
    it.wharf.signal("TERM");
    it.wharf.stopped().await;
    let text = std::fs::read_to_string(file(&it.wharf)).expect("the file");
    let records = text.lines().map(|line| line.parse::<Value>().expect("JSON"));
    let refused = records.filter(|act| act["status"] == 401);
    assert_eq!(refused.map(|act| act["times"].as_u64().expect("a number")).sum::<u64>(), 2_000);
}

#[tokio::test]
async fn names_of_any_bytes_are_one_short_line() {
    let it = started(&[]).await;
    for name in ["%0A%0D%1B%5B2J", "%22%5C%E2%80%AE", "%00", &"%C3%A9".repeat(2_000)] {
        let (status, answer) = it.post(&format!("/operated/rooms/{name}/reset"), json!({})).await;
        assert!([200, 400].contains(&status), "{answer}");
    }
    let method = "X".repeat(1_000);
    let path = "/api/channels/operated";
    assert_eq!(it.request(&method, path, &[authorization()], b"").await.status, 405);
    let acts = acts(&it).await;
    assert_eq!(acts[0]["method"], "X".repeat(20));
    let subjects: Vec<_> = acts.iter().skip(1).map(|act| act["subject"].as_str()).collect();
    let long = format!("room {}", "é".repeat(100));
    let expected = [&*long, "room \\u{0}", "room \"\\\\u{202e}", "room \\n\\r\\u{1b}[2J"].map(Some);
    assert_eq!(subjects, expected);
    let text = std::fs::read_to_string(file(&it.wharf)).expect("the file");
    assert_eq!(text.lines().count(), 5);
    assert!(text.lines().all(|line| line.len() < 2_000 && !line.chars().any(char::is_control)));
}

#[tokio::test]
async fn a_disk_that_refuses_holds_up_no_act_and_gets_it_later() {
    let it = started(&[]).await;
    // No file can be made in its place.
    std::fs::create_dir(file(&it.wharf)).expect("a folder");
    let begun = Instant::now();
    for number in 0..20 {
        let path = format!("/operated/rooms/{number}/reset");
        assert_eq!(it.post(&path, json!({})).await.0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let failing = |line: &Line| line.begins("the operator's acts cannot be recorded");
    let line = it.wharf.log.wait_for("the line about the file", failing).await;
    assert_eq!(line.str("level"), "ERROR");
    assert_eq!(it.wharf.log.find(failing).len(), 1);
    let mut raw = it.wharf.raw().await;
    raw.request("GET /readyz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(code(audit(&it, "").await), (503, "data-unavailable".to_owned()));
    std::fs::remove_dir(file(&it.wharf)).expect("it is empty");
    let written = async || {
        (std::fs::read_to_string(file(&it.wharf)).ok()?.lines().count() == 20).then_some(())
    };
    eventually("all acts to be in the file", written).await;
    assert_eq!(acts(&it).await.len(), 20);
}

#[tokio::test]
async fn without_a_data_folder_the_last_acts_are_in_memory() {
    let it = started(&["--data", ""]).await;
    assert_eq!(it.post("/operated/rooms/a/reset", json!({})).await.0, 200);
    let acts = acts(&it).await;
    assert_eq!(acts.iter().map(outline).collect::<Vec<_>>(), [("reset", "room a", 200, "")]);
    assert!(!it.wharf.folder().join("wharf-data").exists());
}

#[tokio::test]
async fn an_act_whose_client_does_not_wait_has_its_outcome() {
    let it = started(&[]).await;
    let body = br#"{"event": 1}"#;
    for (length, expected) in [
        (body.len(), ("post", "room a", 202, "")),
        (body.len() + 1, ("post", "room a", 400, "body-incomplete")),
    ] {
        let mut raw = Raw::open(it.api).await;
        let length = length.to_string();
        let headers =
            [authorization(), ("Content-Type", "application/json"), ("Content-Length", &length)];
        raw.request("POST /api/channels/operated/rooms/a/post", &headers).await;
        raw.write(body).await;
        drop(raw);
        eventually("the act to be recorded", async || {
            acts(&it).await.first().is_some_and(|act| outline(act) == expected).then_some(())
        })
        .await;
    }
}
