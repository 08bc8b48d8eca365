//! The demo mode: visitors of the page swap prepared versions of a plugin.

use wharf_tests::{HttpAnswer, Value, Wharf, artefacts, folder, json};

/// Starts a server with the demo folder.
async fn demo(plugins: &[&str], flags: &[&str]) -> Wharf {
    let demo = format!("--demo {}", artefacts::demo().display());
    Wharf::start_in(folder(plugins), &[&[&*demo], flags].concat()).await
}

/// Returns the answer to a request of a page with this origin.
async fn asked(wharf: &Wharf, line: &str, origin: &str) -> HttpAnswer {
    let mut raw = wharf.raw().await;
    raw.request(line, &[("Origin", origin)]).await;
    raw.answer().await
}

/// Asks for a version like the page itself.
async fn swap(wharf: &Wharf, version: &str) -> Value {
    let own = format!("http://{}", wharf.address);
    let answer = asked(wharf, &format!("POST /_wharf/demo/{version}"), &own).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// Returns the list that the page asks for.
async fn list(wharf: &Wharf) -> Value {
    let mut raw = wharf.raw().await;
    raw.request("GET /_wharf/demo.json", &[]).await;
    serde_json::from_str(&raw.answer().await.text()).expect("JSON")
}

#[tokio::test]
async fn a_visitor_swaps_a_prepared_version_under_open_connections_and_back() {
    let wharf = demo(&["chat"], &[]).await;
    let mut ann = wharf.connect("/chat/lobby?name=Ann").await;
    assert_eq!(ann.json().await["generation"], 1);
    assert_eq!(list(&wharf).await["channels"][0]["version"], "chat@plain");
    for (version, generation, said) in [
        ("chat@festive", 2, "★ AHOY ★"),
        ("chat@plain", 3, "ahoy"),
        ("chat@festive", 4, "★ AHOY ★"),
    ] {
        let swapped = swap(&wharf, version).await;
        assert_eq!(swapped["version"], version);
        assert_eq!(
            (&swapped["generation"], &swapped["refused"]),
            (&json!(generation), &Value::Null)
        );
        ann.send(r#"{"type":"chat_message","message":"ahoy"}"#).await;
        let message = ann.json().await;
        assert_eq!(message["message"], said);
        assert_eq!(message["generation"], generation);
        assert_eq!(list(&wharf).await["channels"][0]["version"], version);
    }
    // It serves already.
    assert_eq!(swap(&wharf, "chat@festive").await["generation"], 4);
}

#[tokio::test]
async fn a_version_that_panics_is_refused_and_the_file_that_serves_is_back_in_its_place() {
    let wharf = demo(&["chat"], &[]).await;
    let mut ann = wharf.connect("/chat/lobby?name=Ann").await;
    ann.json().await;
    let before = std::fs::read(wharf.plugin("chat")).expect("the plugin");
    for _ in 0..2 {
        let refused = swap(&wharf, "chat@panics").await;
        assert_eq!(refused["generation"], 1);
        let reason = refused["refused"].as_str().expect("a reason");
        assert!(reason.contains("panicked: I am not ready yet"), "{reason}");
        assert_eq!(std::fs::read(wharf.plugin("chat")).expect("the plugin"), before);
        let channel = &list(&wharf).await["channels"][0];
        assert_eq!(channel["version"], "chat@plain");
        assert_eq!(channel["refused"], json!({ "version": "chat@panics", "reason": reason }));
    }
    ann.send(r#"{"type":"ping"}"#).await;
    assert_eq!(ann.json().await["generation"], 1);
    assert_eq!(swap(&wharf, "chat@festive").await["generation"], 2);
}

#[tokio::test]
async fn only_pages_of_the_host_itself_may_swap() {
    let wharf = demo(&["chat"], &["--allowed-origins https://elsewhere.example"]).await;
    let own = format!("http://{}", wharf.address);
    let line = "POST /_wharf/demo/chat@festive";
    for origin in ["https://elsewhere.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(asked(&wharf, line, origin).await.status, 403, "{origin}");
    }
    for headers in [vec![], vec![("Origin", &*own), ("Origin", &*own)]] {
        let mut raw = wharf.raw().await;
        raw.request(line, &headers).await;
        assert_eq!(raw.answer().await.status, 403, "{headers:?}");
    }
    // A name that somebody else may let lead here.
    let mut raw = wharf.raw().await;
    let host = "rebound.example";
    raw.write(format!("{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n")).await;
    assert_eq!(raw.answer().await.status, 403);
    assert_eq!(list(&wharf).await["channels"][0]["generation"], 1);
}

#[tokio::test]
async fn a_visitor_names_a_version_of_the_folder_and_no_path() {
    let wharf = demo(&["chat"], &[]).await;
    let own = format!("http://{}", wharf.address);
    for name in [
        "",
        "chat",
        "chat@",
        "chat@other",
        "chat@plain.wasm",
        "../demo/chat@plain",
        "..%2fchat@plain",
    ] {
        let answer = asked(&wharf, &format!("POST /_wharf/demo/{name}"), &own).await;
        assert_eq!(answer.status, 404, "{name}");
    }
    let mut raw = wharf.raw().await;
    let headers = [("Origin", own.as_str()), ("Content-Length", "3")];
    raw.request("POST /_wharf/demo/chat@festive", &headers).await;
    assert_eq!(raw.answer().await.status, 413);
    assert_eq!(asked(&wharf, "GET /_wharf/demo/chat@festive", &own).await.status, 404);
    for path in ["../README.md", "%2e%2e/README.md", "docs", "chat@plain.wasm"] {
        let answer = asked(&wharf, &format!("GET /_wharf/texts/{path}"), &own).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    let source = asked(&wharf, "GET /_wharf/texts/plugins/chat/src/lib.rs", &own).await;
    assert_eq!(source.text(), include_str!("../../plugins/chat/src/lib.rs"));
    assert_eq!(source.header("content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!(list(&wharf).await["channels"][0]["generation"], 1);
}

#[tokio::test]
async fn swaps_of_many_visitors_at_once_come_one_at_a_time() {
    let wharf = demo(&["chat"], &[]).await;
    let own = format!("http://{}", wharf.address);
    let asked = (0..20).map(|n| {
        let version = if n % 2 == 0 { "festive" } else { "plain" };
        let line = format!("POST /_wharf/demo/chat@{version}");
        let (wharf, own) = (&wharf, &own);
        async move { asked(wharf, &line, own).await.status }
    });
    let statuses = futures_util::future::join_all(asked).await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    // The next one is not kept out.
    assert_eq!(swap(&wharf, "chat@plain").await["refused"], Value::Null);
    assert_eq!(swap(&wharf, "chat@festive").await["refused"], Value::Null);
}

#[tokio::test]
async fn without_a_demo_folder_or_the_page_nothing_can_be_swapped() {
    let wharf = Wharf::start(&["chat"], &[]).await;
    let own = format!("http://{}", wharf.address);
    let nothing = json!({ "on": false, "versions": [], "texts": [], "channels": [] });
    assert_eq!(list(&wharf).await, nothing);
    for line in ["POST /_wharf/demo/chat@festive", "GET /_wharf/texts/README.md"] {
        assert_eq!(asked(&wharf, line, &own).await.status, 404, "{line}");
    }
    let wharf = demo(&["chat"], &["--page=false"]).await;
    let own = format!("http://{}", wharf.address);
    for line in
        ["POST /_wharf/demo/chat@festive", "GET /_wharf/texts/README.md", "GET /_wharf/demo.json"]
    {
        assert_eq!(asked(&wharf, line, &own).await.status, 404, "{line}");
    }
}
