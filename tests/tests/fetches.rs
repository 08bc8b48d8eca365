//! Outgoing HTTP: requests to granted hosts are sent, others are refused with the line to write,
//! and a slow backend holds up only its own event.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use wharf_tests::{Backend, Client, Ended, Line, Value, Wharf, artefacts, eventually, json};

/// Starts a server with the fixture, whose channel may call these hosts.
async fn server(hosts: &[&str], flags: &[&str]) -> Wharf {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    std::fs::write(folder.path().join("plugins/fetches.wasm"), artefacts::component("fetches"))
        .expect("a plugin is copied");
    if !hosts.is_empty() {
        let file = format!("[channels.fetches]\nhttp_hosts = {}\n", json!(hosts));
        std::fs::write(folder.path().join("wharf.toml"), file).expect("a configuration");
    }
    Wharf::start_in(folder, flags).await
}

async fn server_and_backend(flags: &[&str]) -> (Wharf, Backend) {
    let backend = Backend::start().await;
    (server(&[&backend.host()], flags).await, backend)
}

fn get(url: &str) -> Value {
    json!({ "method": "GET", "url": url })
}

async fn refusal(client: &mut Client, order: Value) -> (String, String, String) {
    let answer = client.ask_json(order).await;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    assert!(answer["refused"].is_string(), "{answer}");
    (text("refused"), text("remedy"), text("detail"))
}

#[tokio::test]
async fn a_granted_host_is_asked_and_its_answer_is_read_whole() {
    let (wharf, backend) = server_and_backend(&[]).await;
    let mut client = wharf.connect("/fetches").await;
    let answer = client.ask_json(get(&backend.url("/hello?a=b"))).await;
    let text = "GET /hello?a=b, 0 bytes";
    let expected = json!({
        "status": 200, "length": text.len(), "kind": "text/plain", "location": null, "text": text,
    });
    assert_eq!(answer, expected);
    let order = json!({
        "method": "POST", "url": backend.url("/hello"), "json": { "a": 1 },
        "headers": [["x-echo", "header"]],
    });
    let answer = client.ask_json(order).await;
    assert_eq!(answer["text"], "POST /hello, 7 bytes of application/json, header");
    // This is more than any buffer on the way holds.
    let bytes = 5_000_000;
    let order = json!({ "method": "PUT", "url": backend.url("/hello"), "bytes": bytes });
    assert_eq!(client.ask_json(order).await["text"], format!("PUT /hello, {bytes} bytes"));
    let answer = client.ask_json(get(&backend.url("/large/1000000"))).await;
    assert_eq!(answer["length"], 1_000_000);
    // A redirect is an answer like any other.
    let answer = client.ask_json(get(&backend.url("/redirect"))).await;
    assert_eq!((&answer["status"], &answer["location"]), (&json!(302), &json!("/hello")));
    let answer = client.ask_json(get(&backend.url("/status/503"))).await;
    assert_eq!(answer["status"], 503);
}

/// Answers the first request on a socket after its head, without reading more. Returns its host, and
/// the head when there is one.
async fn hasty_backend() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    let head = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("the head"));
        }
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo long";
        socket.write_all(answer).await.expect("the answer is sent");
        // The socket stays open until the client has gone.
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(socket)
        });
        String::from_utf8(head).expect("text").to_lowercase()
    });
    (host, head)
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_sent_is_the_answer() {
    let (host, head) = hasty_backend().await;
    let wharf = server(&[&host], &["--wall-budget-ms 20000"]).await;
    let mut client = wharf.connect("/fetches").await;
    // This is more than any buffer on the way holds.
    let bytes = 8_000_000;
    let url = format!("http://{host}/upload");
    let order = json!({ "method": "PUT", "url": url, "bytes": bytes, "timeout_ms": 15_000 });
    let answer = client.ask_json(order).await;
    assert_eq!((&answer["status"], &answer["text"]), (&json!(413), &json!("too long")), "{answer}");
    let head = head.await.expect("a head");
    assert!(head.contains(&format!("content-length: {bytes}\r\n")), "{head}");
}

#[tokio::test]
async fn a_request_without_a_body_has_the_length_that_its_method_needs() {
    for (method, has_length) in [("POST", true), ("PUT", true), ("PATCH", true), ("GET", false)] {
        let (host, head) = hasty_backend().await;
        let wharf = server(&[&host], &[]).await;
        let mut client = wharf.connect("/fetches").await;
        let order = json!({ "method": method, "url": format!("http://{host}/") });
        assert_eq!(client.ask_json(order).await["status"], 413);
        let head = head.await.expect("a head");
        assert_eq!(head.contains("content-length: 0\r\n"), has_length, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_200_handlers_wait_for_a_slow_backend_all_of_them_are_served() {
    const CONNECTIONS: usize = 200;
    let (wharf, backend) = server_and_backend(&["--wall-budget-ms 20000"]).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(wharf.connect("/fetches").await);
    }
    let order = json!({
        "method": "GET", "url": backend.url("/slow/200"), "timeout_ms": 15_000,
    });
    let begun = Instant::now();
    for client in &mut clients {
        client.send_json(order.clone()).await;
    }
    for client in &mut clients {
        assert_eq!(client.json().await["status"], 200);
    }
    let took = begun.elapsed();
    let most = backend.most_at_once();
    println!("{CONNECTIONS} answers after {took:?}; the backend had {most} requests at once");
    assert!(most >= CONNECTIONS / 2, "only {most} requests at once");
    // In sequence this would take 40 seconds. Other tests may keep the machine busy.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_refused_with_the_line_that_would_allow_it() {
    let (wharf, backend) = server_and_backend(&[]).await;
    let mut client = wharf.connect("/fetches").await;
    let line = format!("`http_hosts = [\"{}\", \"api.example.com\"]`", backend.host());
    for url in ["https://api.example.com/users", "http://API.example.com"] {
        let start = wharf.log.len();
        let (code, remedy, detail) = refusal(&mut client, get(url)).await;
        assert_eq!((&*code, &*remedy), ("http-not-granted", "AskOperator"), "{detail}");
        let shown = detail.to_lowercase();
        assert!(shown.contains(&line.to_lowercase()), "{detail}");
        assert!(detail.contains("under `[channels.fetches]` in wharf.toml"), "{detail}");
        let is_refusal = |line: &Line| line.begins("HTTP request refused");
        let logged = wharf.log.wait_for_after(start, "the refusal", is_refusal).await;
        assert!(logged.message().to_lowercase().contains(&shown[shown.find('`').unwrap_or(0)..]));
        assert_eq!(logged.str("channel"), "fetches");
    }
    // The port is part of the grant.
    let (host, port) =
        backend.host().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).expect("a port");
    let other = if port == "81" { "82" } else { "81" };
    let (code, _, detail) = refusal(&mut client, get(&format!("http://{host}:{other}/"))).await;
    assert_eq!(code, "http-not-granted");
    assert!(detail.contains(&format!("\"{host}:{other}\"")), "{detail}");
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn without_a_grant_nothing_is_called() {
    let backend = Backend::start().await;
    let wharf = server(&[], &[]).await;
    let mut client = wharf.connect("/fetches").await;
    let (code, _, detail) = refusal(&mut client, get(&backend.url("/hello"))).await;
    assert_eq!(code, "http-not-granted");
    assert!(detail.contains(&format!("`http_hosts = [\"{}\"]`", backend.host())), "{detail}");
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let (wharf, backend) = server_and_backend(&[]).await;
    let mut client = wharf.connect("/fetches").await;
    let host = backend.host();
    for url in [
        "/hello",
        "ftp://example.com/",
        "http://",
        "http://user:password@example.com/",
        &format!("http://{host}/a b"),
        &format!("http://{host}/\r\nx-injected: 1"),
        "http://exa mple.com/",
        "http://*.example.com/",
    ] {
        let (code, remedy, detail) = refusal(&mut client, get(url)).await;
        assert_eq!((&*code, &*remedy), ("http-url-invalid", "FixCall"), "{url}: {detail}");
    }
    for (name, value) in
        [("host", "other.example"), ("connection", "close"), ("x y", "z"), ("x", "a\r\nb: c")]
    {
        let order = json!({
            "method": "GET", "url": backend.url("/hello"), "headers": [[name, value]],
        });
        let (code, remedy, _) = refusal(&mut client, order).await;
        assert_eq!((&*code, &*remedy), ("http-header-invalid", "FixCall"), "{name}");
    }
    for method in ["CONNECT", "a b"] {
        let order = json!({ "method": method, "url": backend.url("/hello") });
        assert_eq!(refusal(&mut client, order).await.0, "http-url-invalid", "{method}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error() {
    let (wharf, backend) = server_and_backend(&[]).await;
    let mut client = wharf.connect("/fetches").await;
    let order = |bytes: usize| json!({ "method": "GET", "url": backend.url("/large/1000"), "max_body_bytes": bytes });
    let (code, remedy, detail) = refusal(&mut client, order(999)).await;
    assert_eq!((&*code, &*remedy), ("http-response-too-big", "ShedLoad"));
    assert!(detail.contains("999 bytes"), "{detail}");
    assert_eq!(client.ask_json(order(1000)).await["length"], 1000);
    let more_than_a_mebibyte = get(&backend.url("/large/1048577"));
    assert_eq!(refusal(&mut client, more_than_a_mebibyte).await.0, "http-response-too-big");
}

#[tokio::test]
async fn a_backend_that_fails_is_an_error_and_the_connection_goes_on() {
    // The address was bound and released, so no server listens there.
    let gone = Backend::start().await.stop().await;
    let backend = Backend::start().await;
    let wharf = server(&[&gone, &backend.host(), "name.invalid"], &[]).await;
    let mut client = wharf.connect("/fetches").await;
    let https = backend.url("/hello").replace("http:", "https:");
    for (url, expected) in [
        (format!("http://{gone}/"), "http-unreachable"),
        ("http://name.invalid/".to_owned(), "http-unreachable"),
        (https, "http-unreachable"),
        (backend.url("/cut"), "http-failed"),
    ] {
        let mut order = get(&url);
        order["timeout_ms"] = json!(4000);
        let (code, _, detail) = refusal(&mut client, order).await;
        assert_eq!(code, expected, "{url}: {detail}");
    }
    assert_eq!(client.ask_json(get(&backend.url("/hello"))).await["status"], 200);
}

#[tokio::test]
async fn a_request_has_a_timeout_of_its_own() {
    let (wharf, backend) = server_and_backend(&[]).await;
    let mut client = wharf.connect("/fetches").await;
    for path in ["/never", "/trickle"] {
        let order = json!({ "method": "GET", "url": backend.url(path), "timeout_ms": 300 });
        let (code, remedy, detail) = refusal(&mut client, order).await;
        assert_eq!((&*code, &*remedy), ("http-timeout", "RetryLater"), "{detail}");
    }
    backend.all_have_ended().await;
}

#[tokio::test]
async fn the_wall_budget_ends_a_handler_whose_backend_never_answers() {
    let (wharf, backend) = server_and_backend(&["--wall-budget-ms 500"]).await;
    let mut client = wharf.connect("/fetches").await;
    let order = json!({ "method": "GET", "url": backend.url("/never"), "timeout_ms": 600_000 });
    client.send_json(order).await;
    assert_eq!(client.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));
    let is_failure = |line: &Line| line.says("guest call failed");
    let line = wharf.log.wait_for("the failure", is_failure).await;
    assert_eq!(line.str("kind"), "deadline", "{line}");
    assert!(line.str("detail").contains("wall_budget_ms"), "{line}");
    // The request has ended with its event.
    backend.all_have_ended().await;
    let refused = wharf.try_connect(&format!("/fetches?url={}", backend.url("/never")), &[]).await;
    assert_eq!(refused.expect_err("no answer in time").status, 503);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_ends_with_its_event() {
    // These timeouts are longer than this test waits.
    let flags = ["--max-http-requests-per-channel 1", "--wall-budget-ms 600000"];
    let (wharf, backend) = server_and_backend(&flags).await;
    let mut client = wharf.connect("/fetches").await;
    for times in 1..=3 {
        let order = json!({ "method": "LEAVE", "url": backend.url("/never") });
        let answer = client.ask_json(order).await;
        assert!(answer["left"].is_string(), "{answer}");
        assert_eq!(backend.requests(), times, "it was sent");
        backend.all_have_ended().await;
    }
    // The request's place is free again.
    assert_eq!(client.ask_json(get(&backend.url("/hello"))).await["status"], 200);
}

#[tokio::test]
async fn requests_at_a_time_are_bounded_for_each_channel() {
    let (wharf, backend) = server_and_backend(&["--max-http-requests-per-channel 2"]).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = wharf.connect("/fetches").await;
        client.send_json(get(&backend.url("/held"))).await;
        waiting.push(client);
    }
    eventually("both to wait", async || (backend.at_once() == 2).then_some(())).await;
    let mut third = wharf.connect("/fetches").await;
    let (code, remedy, detail) = refusal(&mut third, get(&backend.url("/hello"))).await;
    assert_eq!((&*code, &*remedy), ("http-too-many-requests", "ShedLoad"));
    assert!(detail.contains("max_http_requests_per_channel"), "{detail}");
    backend.release();
    for client in &mut waiting {
        assert_eq!(client.json().await["status"], 200);
    }
    // An answer that was read to its end makes room for others.
    assert_eq!(third.ask_json(get(&backend.url("/hello"))).await["status"], 200);
}

#[tokio::test]
async fn a_channel_that_calls_nobody_does_not_import_http() {
    let imports = |name: &str| {
        let component = artefacts::component(name);
        component.windows(9).any(|bytes| bytes == b"wasi:http")
    };
    assert!(imports("fetches"));
    for name in ["echo", "stores", "rooms"] {
        assert!(!imports(name), "{name}");
    }
}
