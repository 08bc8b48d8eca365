//! Pages that may connect: origins, and the names of the host.

use wharf_tests::raw::upgrade_headers;
use wharf_tests::{HttpAnswer, Line, Wharf};

/// Returns the answer to a request with these headers, on a connection of its own.
async fn answer(wharf: &Wharf, line: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    let mut raw = wharf.raw().await;
    raw.request(line, headers).await;
    raw.answer().await
}

/// Returns the headers of a good upgrade and another one.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers = upgrade_headers().to_vec();
    headers.push((name, value));
    headers
}

/// Returns a request for this host.
fn head(host: &str, headers: &[(&str, &str)]) -> String {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{}\r\n", lines.collect::<String>())
}

/// Returns the status of a page's handshake with this host.
async fn to_host(wharf: &Wharf, host: &str, origin: &str) -> u16 {
    let mut raw = wharf.raw().await;
    raw.write(head(host, &with("Origin", origin))).await;
    raw.answer().await.status
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_allowed() {
    let flags = ["--allowed-origins https://app.example,https://*.trusted.example"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let own = format!("http://{}", wharf.address);
    let other_port = "http://127.0.0.1:1";
    let cases = [
        ("https://app.example", 101),
        ("https://APP.example", 101),
        ("https://deep.under.trusted.example", 101),
        (own.as_str(), 101),
        (other_port, 403),
        ("https://evil.example", 403),
        ("https://app.example.evil.example", 403),
        ("https://eviltrusted.example", 403),
        ("http://app.example", 403),
        ("https://app.example:444", 403),
        ("null", 403),
        ("nonsense", 403),
    ];
    for (origin, status) in cases {
        let answer = answer(&wharf, "GET /echo", &with("Origin", origin)).await;
        assert_eq!(answer.status, status, "{origin}");
    }
    let mut twice = with("Origin", "https://app.example");
    twice.push(("Origin", "https://app.example"));
    assert_eq!(answer(&wharf, "GET /echo", &twice).await.status, 403, "two origins");
    // Programs other than browsers send none.
    assert_eq!(answer(&wharf, "GET /echo", &upgrade_headers()).await.status, 101);
}

#[tokio::test]
async fn pages_without_an_origin_are_allowed_where_the_operator_says_so() {
    let wharf = Wharf::start(&["echo"], &["--allow-null-origin"]).await;
    assert_eq!(answer(&wharf, "GET /echo", &with("Origin", "null")).await.status, 101);
    assert_eq!(answer(&wharf, "GET /echo", &with("Origin", "https://a.example")).await.status, 403);
}

#[tokio::test]
async fn a_missing_origin_is_refused_where_the_operator_requires_one() {
    let wharf = Wharf::start(&["echo"], &["--require-origin"]).await;
    assert_eq!(answer(&wharf, "GET /echo", &upgrade_headers()).await.status, 403);
    let own = format!("http://{}", wharf.address);
    assert_eq!(answer(&wharf, "GET /echo", &with("Origin", &own)).await.status, 101);
}

#[tokio::test]
async fn a_star_allows_every_origin() {
    let wharf = Wharf::start(&["echo"], &["--allowed-origins *"]).await;
    assert_eq!(answer(&wharf, "GET /echo", &with("Origin", "https://a.example")).await.status, 101);
}

#[tokio::test]
async fn names_of_this_machine_are_one_host_while_it_listens_here_only() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let port = wharf.address.port();
    let names = ["127.0.0.1", "localhost", "[::1]", "localhost."];
    for host in names {
        for page in names {
            let host = format!("{host}:{port}");
            let status = to_host(&wharf, &host, &format!("http://{page}:{port}")).await;
            assert_eq!(status, 101, "{page} at {host}");
        }
    }
    // Another port is another server of this machine.
    let host = format!("127.0.0.1:{port}");
    assert_eq!(to_host(&wharf, &host, "http://localhost:1").await, 403);
}

#[tokio::test]
async fn a_name_that_the_operator_has_not_given_is_not_the_hosts() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let port = wharf.address.port();
    let stranger = format!("evil.example:{port}");
    assert_eq!(to_host(&wharf, &stranger, &format!("http://{stranger}")).await, 403);
    let is_told = |line: &Line| line.text.contains("allowed_hosts");
    let line = wharf.log.wait_for("the reason", is_told).await;
    assert_eq!(line.str("origin"), format!("http://{stranger}"));
    assert_eq!(line.str("host"), stranger);
    // Nor can a page under that name read the list of channels.
    for (host, status) in [(&*stranger, 421), ("localhost", 200), ("192.0.2.7:80", 200)] {
        let mut raw = wharf.raw().await;
        raw.write(format!("GET /_wharf/channels.json HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(raw.answer().await.status, status, "{host}");
    }
    let mut raw = wharf.raw().await;
    raw.write(format!("GET /healthz HTTP/1.1\r\nHost: {stranger}\r\n\r\n")).await;
    assert_eq!(raw.answer().await.status, 200, "a health check comes under any name");
    // Clients that are no browsers send no origin, and are served under any name.
    let mut raw = wharf.raw().await;
    raw.write(head(&stranger, &upgrade_headers())).await;
    assert_eq!(raw.answer().await.status, 101);
}

#[tokio::test]
async fn names_that_the_operator_gives_are_the_hosts() {
    let flags =
        ["--allowed-hosts example.com,*.example.org", "--allowed-origins https://a.example"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    for (host, origin, status) in [
        ("example.com", "https://example.com", 101),
        ("example.com:8443", "https://example.com:8443", 101),
        ("example.com", "https://example.com:8443", 403),
        ("chat.example.org", "http://chat.example.org", 101),
        ("example.org", "http://example.org", 403),
        // A host of an allowed origin is known, and its other schemes and ports are its own pages.
        ("a.example:81", "http://a.example:81", 101),
        // Only pages of the web have a host.
        ("example.com", "ftp://example.com", 403),
        ("example.com", "chrome-extension://example.com", 403),
    ] {
        assert_eq!(to_host(&wharf, host, origin).await, status, "{origin} at {host}");
    }
}

#[tokio::test]
async fn the_host_in_the_target_wins_over_the_header() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = wharf.raw().await;
    let own = format!("http://{}", wharf.address);
    let headers = with("Origin", &own);
    let text = head(&wharf.address.to_string(), &headers);
    raw.write(text.replace("GET /echo", "GET http://evil.example/echo")).await;
    assert_eq!(raw.answer().await.status, 403);
}

#[tokio::test]
async fn pages_inside_apps_are_covered_by_a_star_and_can_be_listed() {
    let wharf = Wharf::start(&["echo"], &["--allowed-origins *"]).await;
    for origin in ["capacitor://localhost", "file://", "app://."] {
        assert_eq!(
            answer(&wharf, "GET /echo", &with("Origin", origin)).await.status,
            101,
            "{origin}"
        );
    }
    let flags = ["--allowed-origins tauri://localhost,http://localhost:*"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    for (origin, status) in
        [("tauri://localhost", 101), ("http://localhost:5173", 101), ("capacitor://localhost", 403)]
    {
        let answer = answer(&wharf, "GET /echo", &with("Origin", origin)).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}
