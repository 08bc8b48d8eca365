//! The answers of a channel to a handshake, and the consequences for the channel.

use wharf_tests::raw::upgrade_headers;
use wharf_tests::{Ended, HttpAnswer, Line, Value, Wharf, json};

async fn answer(wharf: &Wharf, path: &str) -> HttpAnswer {
    let mut raw = wharf.raw().await;
    raw.request(&format!("GET {path}"), &upgrade_headers()).await;
    raw.answer().await
}

#[tokio::test]
async fn a_refusal_by_status_has_the_channels_headers_and_body() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    for status in [302, 401, 404, 429, 599] {
        let answer = answer(&wharf, &format!("/refuses?how=http&code={status}")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-reason"), ["closed", "holiday"]);
        assert_eq!(answer.header("retry-after"), ["7"]);
        assert_eq!(answer.text(), "not today");
    }
}

#[tokio::test]
async fn a_refusal_by_a_status_that_is_none_is_sent_as_500_and_logged() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    for status in [0, 99, 101, 200, 600, 65535] {
        let start = wharf.log.len();
        assert_eq!(answer(&wharf, &format!("/refuses?how=http&code={status}")).await.status, 500);
        let says = format!("the status {status}");
        wharf.log.wait_for_after(start, &says, |line| line.number("status") == Some(status)).await;
    }
}

#[tokio::test]
async fn a_refusal_cannot_split_the_response() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let answer = answer(&wharf, "/refuses?how=bad-headers&code=403").await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("set-cookie").is_empty(), "{}", answer.head);
    assert_eq!(answer.header("x-good"), ["stays"]);
    assert_eq!(answer.text(), "not today");
    let is_dropped = |line: &Line| line.number("dropped").is_some();
    let line = wharf.log.wait_for("the headers that were dropped", is_dropped).await;
    assert_eq!((line.number("dropped"), line.str("channel")), (Some(3), "refuses"));
    assert_eq!(line.str("header"), r"x-split\r\nset-cookie", "the first of them");
}

#[tokio::test]
async fn a_thousand_bad_headers_are_one_line_in_the_log() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let answer = answer(&wharf, "/refuses?how=many-bad-headers&code=403").await;
    assert_eq!((answer.status, answer.header("x-good")), (403, vec!["stays"]));
    let is_dropped = |line: &Line| line.number("dropped").is_some();
    let line = wharf.log.wait_for("the headers that were dropped", is_dropped).await;
    assert_eq!((line.str("level"), line.number("dropped")), ("WARN", Some(1000)));
    // Log lines of that refusal come before those of the next connection.
    wharf.connect("/refuses").await.close(1000, "").await;
    wharf.log.wait_for("an on_close", |line| line.begins("on_close ran")).await;
    assert_eq!(wharf.log.find(|line| line.message().contains("header")).len(), 1);
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let answer = answer(&wharf, "/refuses?how=long-body&code=403").await;
    assert_eq!((answer.status, answer.body.len()), (403, 64 * 1024));
}

#[tokio::test]
async fn a_refusal_by_close_code_sends_its_messages_first() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let mut client = wharf.connect("/refuses?how=close&code=4001").await;
    assert_eq!(client.json().await, json!({ "type": "error", "message": "not today" }));
    assert_eq!(client.binary().await.as_ref(), [1, 2, 3]);
    let Ended::Closed(code, reason) = client.ended().await else { panic!("no close frame") };
    assert_eq!((code, reason.len()), (4001, 123), "the reason is cut at what a frame takes");

    let mut client = wharf.connect("/refuses?how=many-messages&code=1000").await;
    let (messages, ended) = client.rest().await;
    assert_eq!((messages.len(), ended), (16, Ended::Closed(1000, String::new())));
}

#[tokio::test]
async fn messages_of_a_refusal_that_cannot_be_sent_are_counted_in_the_log() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let is_unsent = |line: &Line| line.number("unsent").is_some();
    for (how, unsent, sent) in [("big-message", 1, 1), ("many-messages", 4, 16)] {
        let start = wharf.log.len();
        let mut client = wharf.connect(&format!("/refuses?how={how}&code=4001")).await;
        let (messages, ended) = client.rest().await;
        assert_eq!((messages.len(), ended), (sent, Ended::Closed(4001, String::new())));
        let line = wharf.log.wait_for_after(start, "what was not sent", is_unsent).await;
        assert_eq!((line.number("unsent"), line.str("level")), (Some(unsent), "WARN"));
        assert_eq!(line.str("channel"), "refuses");
    }
    assert_eq!(wharf.log.find(is_unsent).len(), 2, "one line for each");
}

#[tokio::test]
async fn a_refusal_by_a_code_that_is_not_the_channels_is_sent_as_1008_and_logged() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    for code in [0, 999, 1001, 1006, 2999, 5000, 65535] {
        let start = wharf.log.len();
        let mut client = wharf.connect(&format!("/refuses?how=many-messages&code={code}")).await;
        assert!(matches!(client.rest().await.1, Ended::Closed(1008, _)), "{code}");
        let what = format!("the code {code}");
        wharf.log.wait_for_after(start, &what, |line| line.text.contains(&code.to_string())).await;
    }
}

#[tokio::test]
async fn a_refusal_has_no_on_close() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    assert_eq!(answer(&wharf, "/refuses?how=http&code=403").await.status, 403);
    let mut refused = wharf.connect("/refuses?how=close&code=4001").await;
    refused.rest().await;
    wharf.connect("/refuses?accepted").await.close(1000, "").await;
    // The accepted connection is the last one. Lines of the others would come before it.
    wharf.log.wait_for("an on_close", |line| line.begins("on_close ran")).await;
    assert_eq!(wharf.log.find(|line| line.begins("on_close ran")).len(), 1);
}

#[tokio::test]
async fn an_error_in_on_connect_is_500_and_its_cause_is_logged_and_not_sent() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let answer = answer(&wharf, "/refuses?how=error").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.text().contains("invalid digit"), "{}", answer.text());
    let line = wharf.log.wait_for("the error", |line| line.says("handler failed")).await;
    assert!(line.str("error").contains("invalid digit"), "{line}");
    assert_eq!(line.str("channel"), "refuses");
}

#[tokio::test]
async fn an_accepted_handshake_has_the_channels_headers_and_its_first_message() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    let mut client = wharf.connect("/refuses?how=greet").await;
    let cookies: Vec<_> = client.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b; Path=/", "c=d"]);
    assert_eq!(client.text().await, "welcome");
    assert!(client.ask("late header").await.contains("only-while-connecting"));
}

#[tokio::test]
async fn response_headers_of_a_channel_are_checked_and_bounded() {
    let wharf = Wharf::start(&["raw"], &[]).await;
    let mut client = wharf.connect("/raw").await;
    assert!(!client.headers.contains_key("x-other"), "{:?}", client.headers);
    assert_eq!(
        client.headers.keys().filter(|name| name.as_str().starts_with("x-header")).count(),
        32
    );
    let outcomes = client.ask("handshake").await;
    let outcomes: Vec<_> = outcomes.split(' ').collect();
    assert_eq!(&outcomes[..4], ["header-invalid"; 4]);
    assert_eq!(&outcomes[4..36], ["ok"; 32]);
    assert_eq!(&outcomes[36..], ["too-many-headers"]);
}

#[tokio::test]
async fn the_channels_first_subprotocol_that_the_client_asks_for_is_agreed_upon() {
    let wharf = Wharf::start(&["refuses"], &[]).await;
    for (asked, agreed) in [
        ("chat.v1", Some("chat.v1")),
        ("chat.v1, chat.v2", Some("chat.v2")),
        ("other, chat.v1", Some("chat.v1")),
    ] {
        let headers = [("Sec-WebSocket-Protocol", asked)];
        let mut client = wharf.try_connect("/refuses", &headers).await.expect("accepted");
        let header = client.headers.get("sec-websocket-protocol").and_then(|h| h.to_str().ok());
        assert_eq!(header, agreed, "{asked}");
        assert_eq!(client.ask_for_json("which?").await, json!({ "subprotocol": agreed }));
    }
    // If none is in common, none is agreed upon, and the client decides. A client that follows RFC
    // 6455 fails the connection, so this one is raw.
    let mut raw = wharf.raw().await;
    let mut headers = upgrade_headers().to_vec();
    headers.push(("Sec-WebSocket-Protocol", "other"));
    raw.request("GET /refuses", &headers).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 101);
    assert!(answer.header("sec-websocket-protocol").is_empty(), "{}", answer.head);
}

#[tokio::test]
async fn a_channel_sees_the_request_as_it_was_sent() {
    let wharf = Wharf::start(&["inspects"], &[]).await;
    let headers = [("X-Twice", "one"), ("x-twice", "two"), ("Cookie", "a=b")];
    let path = "/inspects/caf%C3%A9%2F7?q=%C3%BC+x&empty=&q=2&bare";
    let mut client = wharf.try_connect(path, &headers).await.expect("accepted");
    let request = client.ask_for_json("request").await;
    assert_eq!(request["path"], "/inspects/caf%C3%A9%2F7");
    assert_eq!(request["query"], "q=%C3%BC+x&empty=&q=2&bare");
    assert_eq!(
        request["query_pairs"],
        json!([["q", "ü x"], ["empty", ""], ["q", "2"], ["bare", ""]])
    );
    assert_eq!(request["params"], json!([["id", "café/7"]]));
    let seen = request["headers"].as_array().expect("headers");
    let twice: Vec<&Value> = seen.iter().filter(|pair| pair[0] == "x-twice").collect();
    assert_eq!(twice, [&json!(["x-twice", "one"]), &json!(["x-twice", "two"])]);
    assert!(seen.contains(&json!(["cookie", "a=b"])), "{seen:?}");
    let address = client.socket().local_addr().expect("an address").to_string();
    assert_eq!(request["remote_address"], address);
    assert_eq!((&request["subprotocol"], &request["ending"]), (&Value::Null, &Value::Null));

    let again = client.ask_for_json("request").await;
    assert_eq!(again["id"], request["id"], "the id is the same in all events");
    let other = wharf.connect("/inspects").await.ask_for_json("request").await;
    assert_ne!(other["id"], request["id"]);
    let id = request["id"].as_str().expect("an id");
    assert!(id.is_ascii() && (1..=32).contains(&id.len()), "{id}");
}

#[tokio::test]
async fn the_most_specific_path_wins() {
    let wharf = Wharf::start(&["inspects"], &[]).await;
    for (path, params) in [
        ("/inspects", json!([])),
        ("/inspects/exact", json!([])),
        ("/inspects/e%78act", json!([])),
        ("/inspects/other", json!([["id", "other"]])),
        ("/inspects/7/files/a/b/c", json!([["id", "7"], ["rest", "a/b/c"]])),
        ("/inspects/7/files/a/info", json!([["id", "7"], ["name", "a"]])),
        ("/inspects/7/files/a/other", json!([["id", "7"], ["rest", "a/other"]])),
        ("/inspects/exact/files/x", json!([["id", "exact"], ["rest", "x"]])),
    ] {
        let request = wharf.connect(path).await.ask_for_json("request").await;
        assert_eq!(request["params"], params, "{path}");
    }
}
