//! HTTP before the upgrade: the `101`, and the answers to all other requests.

use std::collections::BTreeSet;
use std::time::Instant;

use wharf_tests::raw::upgrade_headers;
use wharf_tests::{Client, HttpAnswer, PATIENCE, Raw, Value, Wharf, json};

/// Returns the answer to a request with these headers, on a connection of its own.
async fn answer(wharf: &Wharf, line: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    let mut raw = wharf.raw().await;
    raw.request(line, headers).await;
    raw.answer().await
}

/// Returns the headers of a good upgrade, with one of them replaced or, for an empty value, left
/// out.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<_> =
        upgrade_headers().into_iter().filter(|(other, _)| *other != name).collect();
    if !value.is_empty() {
        headers.push((name, value));
    }
    headers
}

#[tokio::test]
async fn a_path_without_a_channel_is_not_found() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for path in ["/nowhere", "/echo/", "/echo/more", "/ECHO", "//echo"] {
        let answer = answer(&wharf, &format!("GET {path}"), &upgrade_headers()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("no channel"), "{}", answer.text());
    }
    // The query makes no difference.
    wharf.connect("/echo?with=query").await;
}

#[tokio::test]
async fn a_plain_request_for_a_channel_is_told_to_upgrade() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let cases = [
        vec![],
        with("Upgrade", ""),
        with("Upgrade", "h2c"),
        with("Connection", ""),
        with("Connection", "keep-alive"),
        with("Sec-WebSocket-Version", ""),
        with("Sec-WebSocket-Version", "12"),
        with("Sec-WebSocket-Version", "13, 8"),
    ];
    for headers in cases {
        let answer = answer(&wharf, "GET /echo", &headers).await;
        assert_eq!(answer.status, 426, "{headers:?}");
        assert_eq!(answer.header("sec-websocket-version"), ["13"], "{headers:?}");
        assert_eq!(answer.header("upgrade"), ["websocket"], "{headers:?}");
    }
}

#[tokio::test]
async fn header_lists_and_their_case_are_understood() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for headers in [
        with("Connection", "keep-alive, Upgrade"),
        with("Connection", "UPGRADE"),
        with("Upgrade", "WebSocket"),
        with("Upgrade", "h2c, websocket"),
        // An unknown extension is not agreed upon, and is no error.
        with("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ] {
        let answer = answer(&wharf, "GET /echo", &headers).await;
        assert_eq!(answer.status, 101, "{headers:?}");
        assert!(answer.header("sec-websocket-extensions").is_empty(), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_bad_key_is_a_bad_request() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut cases: Vec<_> = ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ???"]
        .map(|key| with("Sec-WebSocket-Key", key))
        .into();
    let mut twice = with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    twice.push(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="));
    cases.push(twice);
    for headers in cases {
        let answer = answer(&wharf, "GET /echo", &headers).await;
        assert_eq!(answer.status, 400, "{headers:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_request_or_cut() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"HELLO\r\n\r\n",
        b"GET /echo HTTP/9.9\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut raw = wharf.raw().await;
        raw.write(bytes).await;
        let answer = raw.try_answer().await;
        assert!(answer.is_none_or(|answer| answer.status == 400), "{}", bytes.escape_ascii());
        raw.ended().await;
    }
    let mut old = wharf.raw().await;
    let headers = upgrade_headers().map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    old.write(format!("GET /echo HTTP/1.0\r\nHost: a\r\n{headers}\r\n")).await;
    assert_eq!(old.answer().await.status, 400, "HTTP/1.0 has no upgrade");
    wharf.connect("/echo").await;
}

#[tokio::test]
async fn only_get_begins_a_websocket() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "BREW"] {
        let mut raw = wharf.raw().await;
        raw.request(&format!("{method} /echo"), &upgrade_headers()).await;
        // The response to HEAD has a length and no body, so only its head is checked.
        let answer = if method == "HEAD" { None } else { raw.try_answer().await };
        if let Some(answer) = answer {
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.header("allow"), ["GET"], "{method}");
        } else {
            assert_eq!(method, "HEAD");
        }
    }
}

#[tokio::test]
async fn a_handshake_with_a_body_is_refused() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let answer = answer(&wharf, "GET /echo", &with("Content-Length", "5")).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn long_requests_are_refused_by_what_is_too_long() {
    let wharf = Wharf::start(&["echo"], &["--max-header-bytes 64KiB"]).await;
    let long = format!("GET /echo?{}", "x".repeat(33 * 1024));
    assert_eq!(answer(&wharf, &long, &upgrade_headers()).await.status, 414);

    let wharf = Wharf::start(&["echo"], &[]).await;
    assert_eq!(answer(&wharf, &long, &upgrade_headers()).await.status, 431);
    let longer = "x".repeat(40 * 1024);
    let mut raw = wharf.raw().await;
    raw.request("GET /echo", &with("X-Long", &longer)).await;
    assert_eq!(raw.answer().await.status, 431);

    let many: Vec<_> = (0..300).map(|number| format!("X-{number}")).collect();
    let mut headers = with("X", "1");
    headers.extend(many.iter().map(|name| (name.as_str(), "1")));
    assert_eq!(answer(&wharf, "GET /echo", &headers).await.status, 431, "too many headers");
}

#[tokio::test]
async fn a_header_limit_is_the_operators() {
    let wharf = Wharf::start(&["echo"], &["--max-header-bytes 64KiB"]).await;
    let long = "x".repeat(40 * 1024);
    assert_eq!(answer(&wharf, "GET /echo", &with("X-Long", &long)).await.status, 101);
}

#[tokio::test]
async fn badly_encoded_paths_are_bad_requests() {
    let wharf = Wharf::start(&["inspects"], &[]).await;
    for path in ["/inspects/%ff", "/inspects/%c3%28"] {
        let answer = answer(&wharf, &format!("GET {path}"), &upgrade_headers()).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains("percent-encoded"), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_number_of_connections_is_bounded_and_a_place_is_free_again_after_an_end() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 2"]).await;
    let first = wharf.connect("/echo").await;
    let _second = wharf.connect("/echo").await;
    let rejected = wharf.try_connect("/echo", &[]).await.expect_err("there is no place");
    assert_eq!(rejected.status, 503);
    assert!(rejected.headers.contains_key("retry-after"), "{:?}", rejected.headers);

    first.close(1000, "").await;
    // The place is free once the server has finished the connection, which its client cannot see.
    let begun = Instant::now();
    while let Err(rejected) = wharf.try_connect("/echo", &[]).await {
        assert_eq!(rejected.status, 503);
        assert!(begun.elapsed() < PATIENCE, "the place has never become free");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_handshake_is_cut() {
    let wharf = Wharf::start(&["echo"], &["--handshake-timeout-ms 300"]).await;
    let mut silent = wharf.raw().await;
    let mut dripping = wharf.raw().await;
    dripping.write("GET /echo HTTP/1.1\r\nHost: a\r\n").await;
    silent.ended().await;
    // Every byte comes in time, but the request is never complete.
    for _ in 0..1000 {
        if !dripping.try_write("X: y\r\n").await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    dripping.ended().await;
    // The time-out of handshakes does not apply to open connections.
    let mut client = wharf.connect("/echo").await;
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(client.ask("still here").await, "still here");
}

#[tokio::test]
async fn a_handshake_that_waits_for_its_channel_is_answered_in_time() {
    let wharf = Wharf::start(&["waits"], &["--handshake-timeout-ms 300"]).await;
    let begun = Instant::now();
    let rejected = wharf.try_connect("/waits?wait=4000", &[]).await.expect_err("too slow");
    assert_eq!(rejected.status, 503);
    assert!(begun.elapsed().as_millis() < 3000, "answered after {:?}", begun.elapsed());
}

#[tokio::test]
async fn one_http_connection_may_ask_several_times_and_upgrade_at_last() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 1"]).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /healthz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.request("GET /nowhere", &upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 404);
    raw.upgrade("/echo").await;
    raw.send_frame(1, "hello").await;
    assert_eq!(raw.frame().await.expect("an echo").payload, b"hello");
}

#[tokio::test]
async fn messages_that_come_with_the_handshake_are_not_lost() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = wharf.raw().await;
    let mut bytes = format!("GET /echo HTTP/1.1\r\nHost: {}\r\n", wharf.address).into_bytes();
    for (name, value) in upgrade_headers() {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(wharf_tests::raw::frame(0x81, b"first"));
    bytes.extend(wharf_tests::raw::frame(0x81, b"second"));
    raw.write(bytes).await;
    assert_eq!(raw.answer().await.status, 101);
    assert_eq!(raw.frame().await.expect("an echo").payload, b"first");
    assert_eq!(raw.frame().await.expect("an echo").payload, b"second");
}

#[tokio::test]
async fn the_page_and_the_health_check_are_served() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let page = answer(&wharf, "GET /", &[]).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type")[0].starts_with("text/html"), "{}", page.head);
    assert!(page.text().contains("<html"), "{}", page.text());
    // Every file that the page loads from here exists, and every file that those load in turn.
    let mut known = BTreeSet::new();
    let mut unread = vec![page.text()];
    while let Some(text) = unread.pop() {
        for file in text.split('"').filter(|part| part.starts_with("/_wharf/")) {
            if known.insert(file.to_owned()) {
                let loaded = answer(&wharf, &format!("GET {file}"), &[]).await;
                assert_eq!(loaded.status, 200, "{file}");
                unread.push(loaded.text());
            }
        }
    }
    assert!(known.contains("/_wharf/wharf.js"), "the page loads {known:?}");
    let list = answer(&wharf, "GET /_wharf/channels.json", &[]).await;
    let list: Value = serde_json::from_str(&list.text()).expect("JSON");
    let echo = json!({ "name": "echo", "paths": ["/echo"], "generation": 1 });
    assert_eq!(list, json!({ "channels": [echo] }));
    let health = answer(&wharf, "GET /healthz", &[]).await;
    assert_eq!((health.status, health.text().trim()), (200, "ok"));
    assert_eq!(answer(&wharf, "POST /healthz", &[]).await.status, 405);
}

#[tokio::test]
async fn the_client_for_browsers_is_served_and_fetched_once_for_each_version() {
    let wharf = Wharf::start(&[], &[]).await;
    let client = answer(&wharf, "GET /_wharf/wharf.js", &[]).await;
    assert_eq!(client.status, 200);
    assert_eq!(client.header("content-type"), ["text/javascript; charset=utf-8"]);
    assert_eq!(client.header("cache-control"), ["no-cache"]);
    assert_eq!(client.header("access-control-allow-origin"), ["*"], "pages of others import it");
    assert_eq!(client.text(), include_str!("../../clients/js/wharf.js"));
    let tag = client.header("etag")[0].to_owned();
    for known in [tag.clone(), format!("\"old\", W/{tag}"), "*".to_owned()] {
        let again = [("If-None-Match", known.as_str())];
        let again = answer(&wharf, "GET /_wharf/wharf.js", &again).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert_eq!(again.header("etag"), [tag.as_str()]);
    }
    let old = answer(&wharf, "GET /_wharf/wharf.js", &[("If-None-Match", "\"old\"")]).await;
    assert_eq!(old.status, 200);
    let page = answer(&wharf, "GET /", &[]).await;
    assert!(page.header("access-control-allow-origin").is_empty(), "{}", page.head);
    let types = answer(&wharf, "GET /_wharf/wharf.d.ts", &[]).await;
    assert_eq!(types.text(), include_str!("../../clients/js/wharf.d.ts"));
}

#[tokio::test]
async fn the_page_may_open_sockets_to_the_host_that_it_was_asked_for_by_name() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let port = wharf.address.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned()] {
        let mut raw = wharf.raw().await;
        raw.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let page = raw.answer().await;
        let policy = page.header("content-security-policy").concat();
        let sources = policy.split(';').map(str::trim).find(|part| part.starts_with("connect-src"));
        // Older WebKit does not count sockets as `'self'`.
        assert_eq!(sources, Some(format!("connect-src 'self' ws://{host} wss://{host}").as_str()));
    }
    // Neither an address that no policy can name, nor a policy of the client's.
    for host in [format!("[::1]:{port}"), "localhost;script-src *".to_owned(), "a b".to_owned()] {
        let mut raw = wharf.raw().await;
        raw.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let policy = raw.answer().await.header("content-security-policy").concat();
        assert!(!policy.contains("ws:") && !policy.contains('*'), "{host}: {policy}");
    }
}

#[tokio::test]
async fn the_page_can_be_switched_off() {
    let wharf = Wharf::start(&[], &["--page=false"]).await;
    let root = answer(&wharf, "GET /", &[]).await;
    // Balancers that are told no path ask there.
    assert!(root.status == 503 && root.text().contains("no plugin is loaded"), "{root:?}");
    for path in ["/_wharf/page.js", "/_wharf/wharf.js", "/_wharf/channels.json"] {
        assert_eq!(answer(&wharf, &format!("GET {path}"), &[]).await.status, 404, "{path}");
    }
    assert_eq!(answer(&wharf, "GET /healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn a_client_that_vanishes_while_connecting_gives_its_place_back() {
    let wharf = Wharf::start(&["waits"], &["--max-connections 1"]).await;
    let mut raw = Raw::open(wharf.address).await;
    raw.request("GET /waits?wait=300", &upgrade_headers()).await;
    raw.reset();
    let begun = Instant::now();
    loop {
        match wharf.try_connect("/waits", &[]).await {
            Ok(mut client) => break answers(&mut client).await,
            Err(rejected) => assert_eq!(rejected.status, 503),
        }
        assert!(begun.elapsed() < PATIENCE, "the place has never become free");
        tokio::task::yield_now().await;
    }
}

async fn answers(client: &mut Client) {
    assert_eq!(client.ask_for_json("hello").await["message"], "hello");
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let headers = upgrade_headers().map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let mut raw = wharf.raw().await;
        raw.write(format!("GET /echo HTTP/1.1\r\n{hosts}{headers}\r\n")).await;
        assert_eq!(raw.answer().await.status, 400, "{hosts:?} (RFC 9112, 3.2)");
    }
}

#[tokio::test]
async fn every_form_of_a_request_target_is_understood_or_refused() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for (line, status) in [
        ("GET http://example.com/echo", 101),
        ("GET *", 404),
        ("OPTIONS *", 404),
        ("CONNECT example.com:80", 404),
    ] {
        let mut raw = wharf.raw().await;
        raw.request(line, &upgrade_headers()).await;
        let answer = raw.try_answer().await.map(|answer| answer.status);
        // A target without a path belongs to no channel. Any refusal will do.
        let refused = answer.is_none_or(|status| (400..500).contains(&status));
        assert!(answer == Some(status) || (status != 101 && refused), "{line}: {answer:?}");
    }
    wharf.connect("/echo").await;
}

#[tokio::test]
async fn a_chunked_body_is_refused_as_well() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let answer = answer(&wharf, "GET /echo", &with("Transfer-Encoding", "chunked")).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn an_http_connection_that_asks_for_nothing_more_is_closed() {
    let wharf = Wharf::start(&["echo"], &["--handshake-timeout-ms 300"]).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /healthz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.ended().await;
}
