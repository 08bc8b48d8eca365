//! A channel can read all that it writes, or is refused where it writes it.

use wharf_tests::{Client, Line, Value, Wharf, json};

/// Returns all of a line that a person would read.
fn said(line: &Line) -> String {
    line.text.clone()
}

async fn server() -> Wharf {
    Wharf::start(&["written"], &[]).await
}

/// Asks with a `ref`, and returns the answer.
async fn ask(client: &mut Client, kind: &str, payload: Value) -> Value {
    let answer = client.ask_json(json!({ "payload": payload, "ref": 7, "type": kind })).await;
    assert_eq!(answer["ref"], 7, "{answer}");
    answer
}

#[tokio::test]
async fn what_on_connect_returned_is_what_later_callbacks_see() {
    let wharf = server().await;
    for (kind, kept) in [
        ("tagged", r#"At { ip: 192.0.2.7, seen: {7: Some("seven"), 8: None} }"#),
        ("untagged", "address: Ip(192.0.2.7)"),
        ("flattened", "part: Some(Part { part: 192.0.2.7 })"),
        ("plain", "plain: 340282366920938463463374607431768211455"),
    ] {
        let mut client = wharf.connect(&format!("/written/{kind}")).await;
        let answer = client.ask_json(json!({ "type": "look", "ref": 7 })).await;
        let seen = answer["payload"].as_str().unwrap_or_default();
        assert!(seen.contains(kept), "{kind}: {answer}");
        client.close(1000, "").await;
        wharf.log.wait_for("the last callback", |line| line.begins("closed")).await;
    }
    assert!(wharf.log.find(|line| line.message().contains("does not fit")).is_empty());
}

#[tokio::test]
async fn a_session_that_cannot_be_read_back_is_refused_by_the_name_of_its_field() {
    let wharf = server().await;
    for (kind, field) in [("wide", "`place.distance`"), ("flattened-wide", "`wide`")] {
        let refused = wharf.try_connect(&format!("/written/{kind}"), &[]).await.err();
        assert_eq!(refused.map(|refused| refused.status), Some(500), "{kind}");
        let line = wharf.log.wait_for(field, |line| said(line).contains(field)).await;
        assert!(
            said(&line).contains("on_connect failed: the session `written::Written`"),
            "{line:?}"
        );
        assert!(said(&line).contains("would not be read back"), "{line:?}");
    }
    // Later as well, though that build reads back only what has a new shape.
    let mut client = wharf.connect("/written/plain").await;
    let place = json!({ "kind": "nowhere" });
    assert_eq!(ask(&mut client, "move", place).await["status"], "ok");
    let error = client
        .ask_for_json(r#"{"type":"move","payload":{"kind":"far","distance":7},"ref":7}"#)
        .await;
    assert_eq!((&error["ref"], &error["status"]), (&json!(7), &json!("error")));
    assert_eq!(ask(&mut client, "move", json!({ "kind": "nowhere" })).await["status"], "ok");
}

#[tokio::test]
async fn the_order_of_members_does_not_matter() {
    let wharf = server().await;
    let mut client = wharf.connect("/written/plain").await;
    let big = "340282366920938463463374607431768211455";
    for (text, answer) in [
        (r#"{"type":"scores","payload":{"1":2},"ref":7}"#.to_owned(), "{1: 2}"),
        (r#"{"ref":7,"payload":{"1":2},"type":"scores"}"#.to_owned(), "{1: 2}"),
        (format!(r#"{{"payload":{big},"ref":7,"type":"big"}}"#), big),
        (format!(r#"{{"type":"big","ref":7,"payload":{big}}}"#), big),
    ] {
        let reply = client.ask_for_json(&text).await;
        assert_eq!(reply["payload"], answer, "{text}: {reply}");
    }
}

#[tokio::test]
async fn every_syntax_error_is_answered_with_the_ref_beside_it() {
    let wharf = server().await;
    let mut client = wharf.connect("/written/plain").await;
    for text in [
        r#"{"type":"enter","payload":"green\ud83d","ref":7}"#,
        r#"{"ref":7,"type":"enter","payload":"green\ud83d"}"#,
        r#"{"type":"big","payload":01,"ref":7}"#,
        r#"{"type":"look","ref":7} and more"#,
        r#"{"type":"scores","payload":{"1":},"ref":7}"#,
    ] {
        let answer = client.ask_for_json(text).await;
        let got = [&answer["ref"], &answer["status"], &answer["code"]];
        assert_eq!(got, [&json!(7), &json!("error"), &json!("INVALID_JSON")], "{text}");
        assert!(answer["message"].as_str().is_some_and(|m| m.starts_with("not JSON")), "{answer}");
    }
}

#[tokio::test]
async fn notices_and_timers_are_read_as_they_were_written_or_refused_at_the_call() {
    let wharf = server().await;
    let mut client = wharf.connect("/written/tagged").await;
    let at = r#"At { ip: 192.0.2.7, seen: {7: Some("seven"), 8: None} }"#;
    ask(&mut client, "later", json!(0.1)).await;
    let timer = client.json().await;
    assert_eq!((&timer["timer"], &timer["place"]), (&json!(0.1), &json!(at)));
    let answer = ask(&mut client, "later", json!(-1.0)).await;
    assert_eq!(answer["code"], "INTERNAL_ERROR");
    let what = "cannot be written as JSON";
    let line = wharf.log.wait_for(what, |line| said(line).contains(what)).await;
    assert!(said(&line).contains("field `0`") && said(&line).contains("NaN"), "{line:?}");
}

#[tokio::test]
async fn a_name_that_a_client_has_chosen_is_its_own_mistake() {
    let wharf = server().await;
    let long = "x".repeat(256);
    for (path, status) in [
        (format!("/written/rooms/{}", "x".repeat(255)), None),
        (format!("/written/rooms/{long}"), Some(400)),
        ("/written/number?n=seven".to_owned(), Some(400)),
        ("/written/number?n=7".to_owned(), None),
        ("/written/number".to_owned(), None),
    ] {
        let refused = wharf.try_connect(&path, &[]).await.err().map(|refused| refused.status);
        assert_eq!(refused, status, "{path}");
    }
    let mut client = wharf.connect("/written/plain").await;
    let answer = ask(&mut client, "enter", json!(long)).await;
    assert_eq!((&answer["code"], &answer["status"]), (&json!("INVALID"), &json!("error")));
    let warnings = wharf.log.find(|line| line.str("level") == "WARN");
    assert!(warnings.is_empty(), "{warnings:?}");
}
