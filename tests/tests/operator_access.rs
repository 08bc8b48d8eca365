//! The operator's API: access to it, and its refusals.

use std::time::{Duration, Instant};

use wharf_tests::operator::{TOKEN, answered, authorization, code};
use wharf_tests::{Client, Line, Operated, Raw, Wharf, json, run_in};

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated", "rooms"], flags).await
}

/// Asserts that nothing comes before the answer to this question.
async fn has_nothing_more(client: &mut Client) {
    assert_eq!(client.ask("anything?").await, "anything?");
}

#[tokio::test]
async fn without_the_token_nothing_is_said_or_done() {
    let it = started(&[]).await;
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    let begun = Instant::now();
    let right = format!("Bearer {TOKEN}");
    let longer = format!("Bearer {TOKEN}x");
    for (values, expected) in [
        (vec![], "token-required"),
        (vec!["Bearer guessed-and-wrong"], "wrong-token"),
        (vec![&longer[..]], "wrong-token"),
        (vec![&right[..right.len() - 1]], "wrong-token"),
        (vec!["Bearer "], "token-required"),
        (vec!["Bearer"], "token-required"),
        (vec!["Basic Z3Vlc3NlZA=="], "token-required"),
        (vec![TOKEN], "token-required"),
        (vec![&right[..], &right[..]], "token-required"),
    ] {
        let mut headers: Vec<_> = values.iter().map(|value| ("Authorization", *value)).collect();
        headers.push(JSON);
        for (method, path) in [
            ("GET", "/api/channels"),
            ("GET", "/nowhere"),
            ("PUT", "/api/channels"),
            ("POST", "/api/channels/operated/users/ann/disconnect"),
            ("POST", "/api/channels/operated/broadcast"),
        ] {
            let body: &[u8] =
                if method == "POST" { b"{\"all\": true, \"text\": \"x\"}" } else { b"" };
            let answer = it.request(method, path, &headers, body).await;
            let challenge = answer.header("www-authenticate").join("");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(code(answered(answer)), (401, expected.to_owned()), "{values:?}");
        }
    }
    // The scheme may be in any case.
    let header = [("authorization", &*format!("bearer  {TOKEN} "))];
    assert_eq!(it.request("GET", "/api/channels", &header, b"").await.status, 200);
    has_nothing_more(&mut ann).await;
    let about_it = |line: &wharf_tests::Line| line.begins("request to the operator's API with");
    it.wharf.log.wait_for("a refusal", about_it).await;
    let lines = it.wharf.log.find(about_it).len() as u64;
    assert!(lines <= 10 * (begun.elapsed().as_secs() + 2), "{lines} lines");
}

#[tokio::test]
async fn the_token_is_shown_nowhere() {
    let it = Operated::start(&["operated"], &["--log trace"]).await;
    let wrong = format!("Bearer {}", TOKEN.replace("horse", "zebra"));
    it.request("GET", "/api/channels", &[("Authorization", &wrong)], b"").await;
    it.get("").await;
    it.post("/operated/messages", json!({ "do": "echo", "value": 1 })).await;
    it.wharf.log.wait_for("a request", |line| line.says("operator's request")).await;
    for line in it.wharf.log.lines() {
        for secret in [TOKEN, "zebra", "battery-staple"] {
            assert!(!line.text.contains(secret), "{line}");
        }
    }
    let output = run_in(it.wharf.folder(), &["config"], &[]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("operator_token = \"***\"") && !shown.contains(TOKEN), "{shown}");
}

#[tokio::test]
async fn without_a_token_there_is_no_api() {
    // The port was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let flag = format!("--operator-listen {address}");
    let wharf = Wharf::start(&[], &[&flag]).await;
    let line = wharf.log.wait_for("how to turn it on", |l| l.begins("the operator's API is off"));
    assert!(line.await.message().contains("WHARF_OPERATOR_TOKEN"));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "somebody listens");
}

#[tokio::test]
async fn a_token_may_be_kept_elsewhere_and_a_bad_one_is_refused_without_showing_it() {
    for (file, variables) in [
        ("operator_token = { env = \"SOME_TOKEN\" }", [("SOME_TOKEN", TOKEN)].as_slice()),
        ("operator_token = { file = \"token\" }", &[]),
        ("", &[("WHARF_OPERATOR_TOKEN", TOKEN)]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).expect("a file");
        std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
        let variables: Vec<_> = variables.iter().map(|(name, v)| format!("{name}={v}")).collect();
        let wrapper: Vec<&str> =
            ["env"].into_iter().chain(variables.iter().map(|v| &**v)).collect();
        let wharf = Wharf::start_under(&wrapper, folder, &["--operator-listen 127.0.0.1:0"]).await;
        let line =
            wharf.log.wait_for("its address", |l| l.says("listening for the operator")).await;
        let api = line.str("address").parse().expect("an address");
        let it = Operated { wharf, api };
        assert_eq!(it.get("").await.0, 200, "{file}");
    }
    for (file, word) in [
        ("operator_token = \"correct horse battery\"", "without spaces"),
        ("operator_token = \"***\"", "wharf config"),
        ("operator_token = { env = \"NOT_SET\" }", "NOT_SET"),
        ("operator_token = { file = \"nowhere\" }", "nowhere"),
        ("operator_token = { path = \"nowhere\" }", "path"),
        ("operator_token = [\"correct-horse\"]", "must be"),
        ("operator_token = 12345678", "must be"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
        let output = run_in(folder.path(), &["serve"], &[]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("operator_token") && complaint.contains(word), "{complaint}");
        for secret in ["horse", "12345678"] {
            assert!(!complaint.contains(secret), "{complaint}");
        }
    }
}

#[tokio::test]
async fn where_it_listens_is_checked_and_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--operator-listen", &taken];
    let variables = [("WHARF_OPERATOR_TOKEN", "short")];
    let output = run_in(folder.path(), &arguments, &variables);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{complaint}");
    assert!(complaint.contains(&taken) && complaint.contains("--operator-listen"), "{complaint}");

    let wrapper = ["env", "WHARF_OPERATOR_TOKEN=short"];
    let wharf = Wharf::start_under(&wrapper, folder, &["--operator-listen 0.0.0.0:0"]).await;
    let begins = |text: &'static str| move |line: &wharf_tests::Line| line.begins(text);
    let reachable = begins("the operator's API can be reached from other machines");
    wharf.log.wait_for("the warning", reachable).await;
    wharf.log.wait_for("the other warning", begins("operator_token is short")).await;
}

#[tokio::test]
async fn bad_bodies_are_refused_with_what_is_wrong_with_them() {
    let it = started(&["--max-payload-bytes 100", "--max-outbound-message-bytes 1000"]).await;
    let mut ann = it.wharf.connect("/operated?user=ann&join=a").await;
    let many: Vec<_> = (0..257).map(|number| number.to_string()).collect();
    let labels: std::collections::BTreeMap<_, _> = (0..9).map(|n| (n.to_string(), "")).collect();
    let broadcast = "/operated/broadcast";
    for (path, body, expected, field) in [
        (broadcast, json!({ "all": true }), (400, "message-missing"), None),
        (broadcast, json!({ "all": true, "text": "a", "json": 1 }), (400, "message-missing"), None),
        (broadcast, json!({ "text": "a" }), (400, "audience-empty"), None),
        (broadcast, json!({ "all": false, "text": "a" }), (400, "audience-empty"), None),
        (broadcast, json!({ "rooms": [], "text": "a" }), (400, "audience-empty"), None),
        (broadcast, json!({ "rooms": "a", "text": "a" }), (400, "invalid-field"), Some("rooms")),
        (broadcast, json!({ "rooms": [1], "text": "a" }), (400, "invalid-field"), Some("rooms")),
        (broadcast, json!({ "rooms": [""], "text": "a" }), (400, "invalid-field"), Some("rooms")),
        (broadcast, json!({ "rooms": many, "text": "a" }), (400, "invalid-field"), Some("rooms")),
        (broadcast, json!({ "users": [""], "text": "a" }), (400, "invalid-field"), Some("users")),
        (
            broadcast,
            json!({ "all": true, "except_connections": many, "text": "a" }),
            (400, "invalid-field"),
            Some("except_connections"),
        ),
        (
            broadcast,
            json!({ "all": true, "except_users": [1], "text": "a" }),
            (400, "invalid-field"),
            Some("except_users"),
        ),
        (
            broadcast,
            json!({ "all": true, "where": labels, "text": "a" }),
            (400, "invalid-field"),
            Some("where"),
        ),
        (
            broadcast,
            json!({ "all": true, "where": { "a": 1 }, "text": "a" }),
            (400, "invalid-field"),
            Some("where"),
        ),
        (broadcast, json!({ "all": 1, "text": "a" }), (400, "invalid-field"), Some("all")),
        (broadcast, json!({ "all": true, "text": 1 }), (400, "invalid-field"), Some("text")),
        (broadcast, json!({ "all": true, "binary": "a" }), (400, "invalid-field"), Some("binary")),
        (
            broadcast,
            json!({ "all": true, "binary": "AP8-_w==" }),
            (400, "invalid-field"),
            Some("binary"),
        ),
        (
            broadcast,
            json!({ "all": true, "txt": "a", "text": "a" }),
            (400, "invalid-field"),
            Some("txt"),
        ),
        (
            broadcast,
            json!({ "all": true, "text": "x".repeat(1001) }),
            (413, "message-too-big"),
            None,
        ),
        (broadcast, json!(["text"]), (400, "not-an-object"), None),
        (broadcast, json!(null), (400, "not-an-object"), None),
        ("/operated/users/ann/notify", json!({}), (400, "invalid-field"), Some("event")),
        (
            "/operated/users/ann/notify",
            json!({ "event": 1, "events": 2 }),
            (400, "invalid-field"),
            Some("events"),
        ),
        (
            "/operated/users/ann/notify",
            json!({ "event": "x".repeat(99) }),
            (413, "payload-too-big"),
            None,
        ),
        (
            "/operated/rooms/a/post",
            json!({ "event": "x".repeat(99) }),
            (413, "payload-too-big"),
            None,
        ),
        ("/operated/rooms/a/post", json!({}), (400, "invalid-field"), Some("event")),
    ] {
        let (status, answer) = it.post(path, body.clone()).await;
        let shown = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, shown), expected, "{path} {body}: {answer}");
        assert_eq!(answer["error"]["field"].as_str(), field, "{path} {body}: {answer}");
    }
    for body in ["", "{", "{\"text\": \"a\"} x", "text", "{\"text\": \"\\ud800\"}", "\u{feff}{}"] {
        for path in [broadcast, "/operated/messages"] {
            let answer = it.post_bytes(path, body.as_bytes()).await;
            let (status, code) = code(answer);
            let may_be = ["malformed-json", "message-missing", "invalid-field", "INVALID_JSON"];
            assert!(
                [400, 422].contains(&status) && may_be.contains(&&*code),
                "{path} {body:?} {code}"
            );
        }
    }
    let invalid_utf8 = b"{\"all\": true, \"text\": \"\xff\"}";
    assert_eq!(
        code(it.post_bytes(broadcast, invalid_utf8).await),
        (400, "malformed-json".to_owned())
    );
    let deep = "[".repeat(500_000);
    assert_eq!(code(it.post_bytes(broadcast, deep.as_bytes()).await).0, 400);
    has_nothing_more(&mut ann).await;
}

#[tokio::test]
async fn wrong_methods_types_paths_and_sizes_have_their_statuses() {
    let it = started(&["--operator-body-bytes 2000", "--handshake-timeout-ms 1000"]).await;
    let auth = authorization();
    for (method, path, allowed) in [
        ("POST", "/api/channels", "GET, HEAD"),
        ("DELETE", "/api/channels/operated", "GET, HEAD"),
        ("GET", "/api/channels/operated/broadcast", "POST"),
        ("PUT", "/api/channels/operated/messages", "POST"),
    ] {
        let answer = it.request(method, path, &[auth, JSON], b"").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, vec![allowed]),
            "{method} {path}"
        );
    }
    let mut raw = Raw::open(it.api).await;
    raw.request("HEAD /api/channels", &[auth]).await;
    raw.request("GET /api/channels", &[auth]).await;
    // The answer to HEAD has no body, for any length that it names.
    let mut text = String::new();
    while text.matches("HTTP/1.1 200").count() < 2 {
        use tokio::io::AsyncReadExt;
        let mut part = vec![0; 4096];
        let count = raw.socket.read(&mut part).await.expect("the server answers");
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&part[..count]));
    }
    for path in ["/api", "/api/channels/operated/nothing", "/operated"] {
        let answer = answered(it.request("GET", path, &[auth], b"").await);
        assert_eq!(code(answer), (404, "unknown-path".to_owned()), "{path}");
    }
    for path in ["/api/channels/%zz", "/api/channels/%ff"] {
        let answer = answered(it.request("GET", path, &[auth], b"").await);
        assert_eq!(code(answer), (400, "bad-encoding".to_owned()), "{path}");
    }
    for name in ["nobody", "", "%00", "..", &"x".repeat(5000)] {
        let answer = it.get(&format!("/{name}")).await;
        assert_eq!(code(answer), (404, "unknown-channel".to_owned()), "{name}");
    }
    let path = "/api/channels/operated/broadcast";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let headers = [auth, ("Content-Type", kind)];
        let answer = answered(it.request("POST", path, &headers, b"{}").await);
        assert_eq!(code(answer), (415, "not-json".to_owned()), "{kind}");
    }
    let answer = answered(it.request("POST", path, &[auth], b"{}").await);
    assert_eq!(answer.0, 415);
    let headers = [auth, ("Content-Type", "Application/JSON; charset=utf-8")];
    let body = br#"{"all": true, "text": "hello"}"#;
    assert_eq!(it.request("POST", path, &headers, body).await.status, 200);
    // The body is too big, by its announced length and by its real one.
    let long = format!("{{\"all\": true, \"text\": \"{}\"}}", "x".repeat(2000));
    assert_eq!(code(it.post_bytes("/operated/broadcast", long.as_bytes()).await).1, "body-too-big");
    let mut raw = Raw::open(it.api).await;
    let chunked = ("Transfer-Encoding", "chunked");
    raw.request(&format!("POST {path}"), &[auth, JSON, chunked]).await;
    raw.try_write(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len())).await;
    assert_eq!(raw.answer().await.status, 413);
    // The host waits for a head and for a body for a limited time.
    let mut raw = Raw::open(it.api).await;
    raw.request(&format!("POST {path}"), &[auth, JSON, ("Content-Length", "100")]).await;
    raw.write("{").await;
    assert_eq!(raw.answer().await.status, 408);
    let mut raw = Raw::open(it.api).await;
    raw.write("GET /api/channels HTTP/1.1\r\n").await;
    raw.ended().await;
}

#[tokio::test]
async fn connections_to_the_api_are_bounded_and_those_that_wait_get_their_turn() {
    let it = started(&["--handshake-timeout-ms 2000"]).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(Raw::open(it.api).await);
    }
    // All places are taken by silent clients, until the host gives them up.
    assert_eq!(it.get("").await.0, 200);
    // Other clients have not noticed anything.
    let mut ann = it.wharf.connect("/operated").await;
    has_nothing_more(&mut ann).await;
}

#[tokio::test]
async fn the_server_stops_although_a_client_of_the_api_stays() {
    let mut it = started(&[]).await;
    let mut raw = Raw::open(it.api).await;
    raw.request("GET /api/channels", &[authorization()]).await;
    assert_eq!(raw.answer().await.status, 200);
    it.wharf.signal("TERM");
    raw.ended().await;
    let stopped = it.wharf.stopped().await;
    assert!(stopped.status.success(), "{:?}", stopped.status);
    assert!(stopped.took < Duration::from_secs(4), "{:?}", stopped.took);
}

#[tokio::test]
async fn commands_leave_a_line_with_action_subject_and_address_and_questions_none() {
    let it = Operated::start(&["operated"], &[]).await;
    let mut ann = it.wharf.connect("/operated/a?user=ann").await;
    assert_eq!(it.get("/operated/users/ann").await.0, 200);
    assert_eq!(it.get("/operated/connections").await.0, 200);
    // A flood of messages hides no disconnection.
    for _ in 0..50 {
        assert_eq!(it.post("/operated/users/ann/send", json!({ "text": "hi" })).await.0, 200);
    }
    assert_eq!(it.post("/operated/users/ann/disconnect", json!({})).await.0, 200);
    assert_eq!(it.post("/operated/rooms/x%0Ay/reset", json!({})).await.0, 200);
    assert_eq!(it.refused("/operated/users/bob/disconnect", json!({})).await.0, 404);
    let is_last = |line: &Line| line.str("subject") == "user bob";
    it.wharf.log.wait_for("the last action", is_last).await;
    let lines = it.wharf.log.find(|line| line.says("operator's action"));
    assert!(lines.iter().all(|line| line.str("level") == "INFO"));
    assert!(lines.iter().all(|line| line.str("remote").starts_with("127.0.0.1:")));
    assert!(lines.iter().all(|line| line.str("channel") == "operated"));
    let (sent, others): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.str("action") == "send");
    assert!(!sent.is_empty() && sent.len() < 50, "{}", sent.len());
    assert!(sent.iter().all(|line| line.str("subject") == "user ann"));
    let others: Vec<_> = others
        .iter()
        .map(|line| (line.str("action"), line.str("subject"), line.number("status")))
        .collect();
    let expected = [
        ("disconnect", "user ann", Some(200)),
        ("reset", "room x\\ny", Some(200)),
        ("disconnect", "user bob", Some(404)),
    ];
    assert_eq!(others, expected);
    let _ = ann.rest().await;
}
