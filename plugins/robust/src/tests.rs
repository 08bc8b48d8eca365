//! Tests of the shop, from its clients' point of view.

use wharf::serde_json::Value;
use wharf::testing::{Client, TestHost};

use super::*;

fn shop() -> (TestHost, Client) {
    let host = TestHost::new::<Robust>();
    let client = host.connect("/robust").expect_open();
    (host, client)
}

fn ask(client: &Client, message: Value) -> Value {
    client.send(message);
    let answer = client.next_json();
    client.assert_received_nothing();
    answer
}

fn buy(tea: &str, cups: u32) -> Value {
    json!({ "type": "buy", "payload": { "tea": tea, "cups": cups }, "ref": 1 })
}

#[test]
fn what_goes_well_is_answered() {
    let (host, client) = shop();
    let credit = |credit| json!({ "type": "reply", "ref": 1, "status": "ok", "payload": { "credit": credit } });
    assert_eq!(ask(&client, buy("green", 3)), credit(35));
    let redeem = json!({ "type": "redeem", "payload": { "coupon": "TEA-20" }, "ref": 1 });
    assert_eq!(ask(&client, redeem), credit(55));
    assert_eq!(client.session::<Robust>().mistakes, 0);
    assert!(host.errors().is_empty());
}

#[test]
fn an_order_that_is_not_valid_is_answered_with_what_is_wrong_with_each_field() {
    let (host, client) = shop();
    assert_eq!(
        ask(&client, buy("mint", 0)),
        json!({
            "type": "error",
            "ref": 1,
            "status": "error",
            "code": "INVALID",
            "message": "this cannot be ordered",
            "fields": { "tea": "must be black, green or white", "cups": "must be 1 to 100" },
        })
    );
    assert!(host.errors().is_empty(), "it is the client's mistake");
}

#[test]
fn the_shops_own_errors_have_their_codes_and_are_reported() {
    let (host, client) = shop();
    let sold_out = ask(&client, buy("white", 1));
    assert_eq!(
        (&sold_out["code"], &sold_out["message"]),
        (&json!("SOLD_OUT"), &json!("there is none left"))
    );
    let too_expensive = ask(&client, buy("black", 11));
    assert_eq!(too_expensive["code"], "TOO_EXPENSIVE");
    assert_eq!(too_expensive["ref"], 1);
    assert_eq!(
        host.errors(),
        [
            "on_message failed: there is none left",
            "on_message failed: it costs 55, and the credit is 50"
        ]
    );
    assert_eq!(client.session::<Robust>().credit, 50);
}

#[test]
fn an_error_that_nobody_expected_is_reported_and_not_shown() {
    let (host, client) = shop();
    let redeem = json!({ "type": "redeem", "payload": { "coupon": "TEA-x" }, "ref": "r" });
    assert_eq!(
        ask(&client, redeem),
        json!({ "type": "error", "ref": "r", "status": "error", "code": "INTERNAL_ERROR" })
    );
    let error = "on_message failed: the coupon \"TEA-x\": invalid digit found in string";
    assert_eq!(host.errors(), [error]);
}

#[test]
fn what_is_no_message_of_the_shop_is_answered_as_well() {
    let (host, client) = shop();
    for (text, reference) in [
        ("{", json!(null)),
        (r#"{"type":"steal","ref":4}"#, json!(4)),
        (r#"{"type":"buy","payload":{"tea":"green"},"ref":5}"#, json!(5)),
    ] {
        client.send(text);
        let answer = client.next_json();
        assert_eq!((&answer["code"], &answer["ref"]), (&json!("INVALID_JSON"), &reference));
    }
    client.send(vec![0]);
    assert_eq!(client.next_json()["code"], "TEXT_ONLY");
    assert_eq!(client.session::<Robust>().mistakes, 4);
    assert!(host.errors().is_empty());
}

#[test]
fn after_five_mistakes_of_whatever_kind_the_connection_is_closed() {
    let (_, client) = shop();
    client.send("hello");
    client.send(vec![0]);
    client.send(buy("white", 1));
    client.send(json!({ "type": "redeem", "payload": { "coupon": "TEA-x" } }));
    client.send(buy("green", 1));
    assert!(client.is_open(), "what goes well is no mistake");
    client.send(buy("mint", 1));
    assert_eq!(client.received().len(), 6, "the last one is answered too");
    assert_eq!(client.closed(), Some((4008, "too many mistakes".to_owned())));
}

#[test]
fn a_panic_costs_one_connection_which_hears_of_it() {
    let (host, client) = shop();
    let other = host.connect("/robust?credit=5").expect_open();
    client.send(buy("green", 3));
    client.received();
    client.send(json!({ "type": "break_the_machine" }));
    client.assert_received(json!({ "type": "error", "code": "COME_BACK", "credit": 35 }));
    assert_eq!(client.closed().map(|(code, _)| code), Some(1011));
    let log = host.log();
    let line = log.last().expect("it is logged");
    assert!(line.message.starts_with("a customer is lost: "), "{line:?}");
    assert_eq!(line.fields[0], ("code".to_owned(), "trap".to_owned()));
    let errors = host.errors();
    assert!(errors[0].starts_with("on_message panicked: "), "{errors:?}");
    assert_eq!(ask(&other, buy("green", 1))["payload"]["credit"], 0);
}

#[test]
fn a_request_that_is_not_valid_is_refused_with_the_reason() {
    let (host, _client) = shop();
    let refused = host.connect("/robust?credit=much").expect_refused();
    assert_eq!(refused.status(), Some(400));
    let body: Value = wharf::serde_json::from_str(&refused.body()).expect("JSON");
    assert_eq!(body["fields"]["credit"], "invalid digit found in string");
    assert!(host.errors().is_empty());
}
