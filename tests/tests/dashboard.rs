//! The files of the dashboard, and the pages that may ask the operator's API.

use wharf_tests::operator::{authorization, code};
use wharf_tests::{HttpAnswer, Operated, json};

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated"], flags).await
}

async fn file(it: &Operated, path: &str) -> HttpAnswer {
    it.request("GET", path, &[], b"").await
}

/// Returns the files of its own that a text names, in quotes.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2);
    let ours = quoted.filter_map(|name| match name.strip_prefix("./") {
        Some(module) => Some(format!("/dashboard/{module}")),
        None => name.starts_with("dashboard/").then(|| format!("/{name}")),
    });
    ours.collect()
}

#[tokio::test]
async fn the_files_of_the_dashboard_need_no_token_and_load_nothing_from_elsewhere() {
    let it = started(&[]).await;
    let mut waiting = vec!["/".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = file(&it, &path).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").join("");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("cross-origin-resource-policy"), ["same-origin"]);
        let text = answer.text();
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("://"), "{path} names another server");
        waiting.extend(named(&text));
        // A browser that has the file gets it once.
        let tag = answer.header("etag").join("");
        let again = it.request("GET", &path, &[("If-None-Match", &tag)], b"").await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        seen.push(path);
    }
    assert!(seen.len() > 12, "{seen:?}");
    for (method, path) in [("POST", "/"), ("GET", "/dashboard/"), ("GET", "/dashboard/nothing.js")]
    {
        assert_eq!(it.request(method, path, &[], b"").await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_name_that_may_be_anothers_gets_no_dashboard() {
    let it = started(&["--allowed-hosts ops.example"]).await;
    for (host, status) in [
        ("evil.example", 421),
        ("ops.example", 200),
        ("localhost:4001", 200),
        ("127.0.0.1", 200),
        ("[::1]:4001", 200),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut raw = wharf_tests::Raw::open(it.api).await;
        raw.write(request).await;
        assert_eq!(raw.answer().await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_also_with_the_token() {
    let it = started(&[]).await;
    let own = format!("http://{}", it.api);
    let json = ("Content-Type", "application/json");
    for (origin, status) in [(&*own, 200), ("http://evil.example", 403), ("null", 403)] {
        let headers = [authorization(), json, ("Origin", origin)];
        assert_eq!(it.request("GET", "/api/channels", &headers, b"").await.status, status);
        let body = br#"{"all": true, "text": "hello"}"#;
        let path = "/api/channels/operated/broadcast";
        let answer = it.request("POST", path, &headers, body).await;
        assert_eq!(answer.status, status, "{origin}");
        assert!(answer.header("access-control-allow-origin").is_empty());
    }
    let (_, refused) = it.ask("/api/audit?limit=1").await;
    assert_eq!(refused["acts"][0]["code"], "foreign-origin");
    assert_eq!(refused["acts"][0]["credential"], "operator_token");
    let headers = [authorization(), ("Origin", "http://evil.example")];
    let answer = it.request("GET", "/api/live", &headers, b"").await;
    let body = serde_json_of(&answer);
    assert_eq!(code((answer.status, body)), (403, "foreign-origin".to_owned()));
}

fn serde_json_of(answer: &HttpAnswer) -> wharf_tests::Value {
    answer.text().parse().unwrap_or(json!(null))
}
