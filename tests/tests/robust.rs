//! The answers to clients and the operator's log lines about mistakes of clients and of the plugin,
//! shown by the plugin `robust`.

use wharf_tests::raw::upgrade_headers;
use wharf_tests::{Client, Ended, Line, Value, Wharf, json};

/// Starts a server with the plugin and connects a client. The log has all levels, so that the
/// plugin writes every line.
async fn shop() -> (Wharf, Client) {
    let wharf = Wharf::start(&["robust"], &["--log trace"]).await;
    let client = wharf.connect("/robust").await;
    (wharf, client)
}

fn buy(tea: &str, cups: i64) -> Value {
    json!({ "type": "buy", "payload": { "tea": tea, "cups": cups }, "ref": "order-1" })
}

/// Returns the warnings in the log.
fn warnings(wharf: &Wharf) -> Vec<Line> {
    wharf.log.find(|line| matches!(line.str("level"), "WARN" | "ERROR"))
}

#[tokio::test]
async fn a_message_with_a_ref_is_answered_with_it_as_it_was() {
    let (_wharf, mut client) = shop().await;
    let mut credit = 50;
    for reference in [json!("order-1"), json!(7), json!(-7), json!(u64::MAX), json!("é\n\"")] {
        credit -= 5;
        let mut order = buy("green", 1);
        order["ref"] = reference.clone();
        let payload = json!({ "credit": credit });
        assert_eq!(
            client.ask_json(order).await,
            json!({ "type": "reply", "ref": reference, "status": "ok", "payload": payload })
        );
    }
}

#[tokio::test]
async fn a_ref_that_is_too_long_or_none_makes_a_message_invalid() {
    let (_wharf, mut client) = shop().await;
    for reference in [json!("x".repeat(129)), json!(1.5), json!({}), json!([7])] {
        let mut order = buy("green", 1);
        order["ref"] = reference;
        let answer = client.ask_json(order).await;
        assert_eq!(answer["code"], "INVALID_JSON");
        assert!(answer.get("ref").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn an_invalid_message_is_the_clients_affair_and_no_line_for_the_operator() {
    let (wharf, mut client) = shop().await;
    assert_eq!(
        client.ask_json(buy("mint", 101)).await,
        json!({
            "type": "error",
            "ref": "order-1",
            "status": "error",
            "code": "INVALID",
            "message": "this cannot be ordered",
            "fields": { "tea": "must be black, green or white", "cups": "must be 1 to 100" },
        })
    );
    let line = wharf
        .log
        .wait_for("the refusal", |line| line.begins("on_message refused: this cannot be ordered"))
        .await;
    assert_eq!((line.str("level"), line.str("channel")), ("DEBUG", "robust"));
    let stolen = client.ask_json(json!({ "type": "steal", "ref": 2 })).await;
    assert_eq!((&stolen["code"], &stolen["ref"]), (&json!("INVALID_JSON"), &json!(2)));
    assert_eq!(client.ask_for_json("{").await["code"], "INVALID_JSON");
    let warnings = warnings(&wharf);
    assert!(warnings.is_empty(), "a client could fill the log: {warnings:?}");
}

#[tokio::test]
async fn a_failure_is_reported_to_the_operator_and_hidden_from_the_client() {
    let (wharf, mut client) = shop().await;
    let redeem = json!({ "type": "redeem", "payload": { "coupon": "TEA-x" }, "ref": 3 });
    assert_eq!(
        client.ask_json(redeem).await,
        json!({ "type": "error", "ref": 3, "status": "error", "code": "INTERNAL_ERROR" })
    );
    let line = wharf.log.wait_for("the failure", |line| line.says("handler failed")).await;
    assert_eq!((line.str("level"), line.str("channel")), ("WARN", "robust"));
    assert_eq!(
        line.str("error"),
        "on_message failed: the coupon \"TEA-x\": invalid digit found in string"
    );
    let sold_out = client.ask_json(buy("white", 1)).await;
    assert_eq!(
        (&sold_out["code"], &sold_out["ref"]),
        (&json!("SOLD_OUT"), &json!("order-1")),
        "what the plugin's on_error makes of its own errors"
    );
}

#[tokio::test]
async fn too_many_mistakes_close_the_connection_after_the_last_answer() {
    let (_wharf, mut client) = shop().await;
    for _ in 0..4 {
        assert_eq!(client.ask_json(buy("mint", 1)).await["code"], "INVALID");
    }
    client.send("no JSON").await;
    let (rest, ended) = client.rest().await;
    assert_eq!(rest.len(), 1);
    assert!(rest[0].contains("INVALID_JSON"), "{rest:?}");
    assert_eq!(ended, Ended::Closed(4008, "too many mistakes".to_owned()));
}

#[tokio::test]
async fn a_panic_is_followed_by_a_last_message_with_what_was_committed() {
    let (wharf, mut client) = shop().await;
    client.ask_json(buy("green", 4)).await;
    let last = client.ask_json(json!({ "type": "break_the_machine" })).await;
    assert_eq!(last, json!({ "type": "error", "code": "COME_BACK", "credit": 30 }));
    assert_eq!(client.close_code().await, 1011);
    let is_lost = |line: &Line| line.begins("a customer is lost: ");
    let line = wharf.log.wait_for("the plugin's own line", is_lost).await;
    assert_eq!(line.fields["fields"], json!({ "code": "trap", "credit": 30 }), "{line}");
}

#[tokio::test]
async fn an_invalid_request_to_connect_is_answered_with_400_and_json() {
    let (wharf, _client) = shop().await;
    let mut raw = wharf.raw().await;
    raw.request("GET /robust?credit=much", &upgrade_headers()).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (400, vec!["application/json"]));
    let body: Value = answer.text().parse().expect("JSON");
    assert_eq!(body["fields"], json!({ "credit": "invalid digit found in string" }));
    assert!(warnings(&wharf).is_empty());
}
