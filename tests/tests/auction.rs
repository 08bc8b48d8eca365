//! The auction, played by real clients with tokens. `chromium/auction.rs` plays it in a browser.

use wharf_tests::operator::Operated;
use wharf_tests::tokens::{SECRET, hs256};
use wharf_tests::{Client, Value, configured, json};

/// Returns an auction that each bid makes last for ten seconds more.
pub fn offer() -> Value {
    json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": 9 })
}

/// Reads messages until one of this type.
async fn skip_to(client: &mut Client, kind: &str) -> Value {
    loop {
        let message = client.json().await;
        if message["type"] == kind {
            return message;
        }
    }
}

#[tokio::test]
async fn bidders_with_tokens_bid_against_each_other_until_the_time_is_over() {
    let tables = format!("[channels.auction.token]\nsecret = \"{SECRET}\"\n");
    let it = Operated::start_in(configured(&["auction"], &tables), &[]).await;
    let path = |user: &str| format!("/auction/7?token={}", hs256(json!({ "sub": user })));
    let [mut ann, mut bob] =
        [it.wharf.connect(&path("ann")).await, it.wharf.connect(&path("bob")).await];
    assert_eq!(skip_to(&mut ann, "lot").await, json!({ "type": "lot", "lot": "7" }));
    let (status, answer) = it.post("/auction/messages", offer()).await;
    assert_eq!((status, answer), (200, json!({ "bidders": 2 })));
    skip_to(&mut ann, "opened").await;
    ann.send_json(json!({ "type": "bid", "amount": 100, "ref": 1 })).await;
    assert_eq!(skip_to(&mut ann, "reply").await["payload"]["highest"], 100);
    bob.send_json(json!({ "type": "bid", "amount": 100, "ref": 1 })).await;
    assert_eq!(skip_to(&mut bob, "error").await["code"], "TOO_LOW");
    bob.send_json(json!({ "type": "bid", "amount": 130, "ref": 2 })).await;
    let outbid = json!({ "type": "outbid", "lot": "7", "amount": 130 });
    assert_eq!(skip_to(&mut ann, "outbid").await, outbid);

    // Another device that comes later sees the lot with its bids.
    let mut late = it.wharf.connect(&path("bob")).await;
    let lot = skip_to(&mut late, "lot").await;
    assert_eq!(lot["bids"].as_array().map(Vec::len), Some(2), "{lot}");
    assert_eq!(skip_to(&mut ann, "sold").await["to"], "bob");
    for device in [&mut bob, &mut late] {
        assert_eq!(skip_to(device, "won").await["amount"], 130);
    }
}
