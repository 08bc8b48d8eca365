use super::*;

use wharf::testing::{Client, TestHost};

fn host() -> TestHost {
    let host = TestHost::new::<Bidder>();
    host.set_setting("guests", "yes");
    host
}

fn open(host: &TestHost, seconds: u64) -> Value {
    let offer = json!({ "lot": "7", "item": "a boat", "from": 100, "seconds": seconds });
    host.outside_message(offer).expect("it is opened")
}

fn bid(client: &Client, amount: u64, reference: u32) -> Value {
    client.send(json!({ "type": "bid", "amount": amount, "ref": reference }));
    let mut answers = client.received().into_iter().map(|message| message.json());
    answers.find(|answer| answer["ref"] == reference).expect("an answer")
}

#[test]
fn the_highest_bid_wins_and_each_bidder_is_told() {
    let host = host();
    let ann = host.connect("/auction/7?name=Ann").expect_open();
    let bob = host.connect("/auction/7?name=Bob").expect_open();
    assert_eq!(open(&host, 60), json!({ "bidders": 2 }));
    assert_eq!(bid(&ann, 100, 1)["status"], "ok");
    assert_eq!(bid(&bob, 100, 2)["code"], "TOO_LOW");
    assert_eq!(bid(&bob, 120, 3)["payload"]["highest"], 120);
    assert_eq!(ann.skip_to("outbid")["amount"], 120);
    host.advance(Duration::from_secs(60));
    assert_eq!(ann.skip_to("sold")["to"], "Bob");
    assert_eq!(bob.skip_to("won")["amount"], 120);
    assert_eq!(bid(&ann, 200, 4)["code"], "NO_AUCTION");
    assert!(host.errors().is_empty(), "{:?}", host.errors());
}

#[test]
fn a_newcomer_is_shown_the_lot_and_its_last_bids() {
    let host = host();
    let ann = host.connect("/auction/7?name=Ann").expect_open();
    let lot = ann.skip_to("lot");
    assert_eq!(lot, json!({ "type": "lot", "lot": "7" }));
    open(&host, 600);
    for number in 0..30 {
        assert_eq!(bid(&ann, 100 + number, 1)["status"], "ok");
        host.advance(BIDS_WITHIN / BIDS);
    }
    let bob = host.connect("/auction/7?name=Bob").expect_open();
    let lot = bob.skip_to("lot");
    let bids = lot["bids"].as_array().expect("bids");
    assert_eq!((bids.len(), &bids[HISTORY - 1]["amount"]), (HISTORY, &json!(129)));
    assert_eq!((&lot["item"], &lot["is_over"]), (&json!("a boat"), &json!(false)));
}

#[test]
fn a_late_bid_leaves_time_for_an_answer() {
    let host = host();
    let ann = host.connect("/auction/7?name=Ann").expect_open();
    open(&host, 60);
    host.advance(Duration::from_secs(55));
    let before = wharf::unix_ms();
    assert_eq!(bid(&ann, 100, 1)["status"], "ok");
    host.advance(Duration::from_secs(9));
    assert_eq!(bid(&ann, 101, 2)["status"], "ok");
    host.advance(Duration::from_secs(11));
    assert_eq!(ann.skip_to("sold")["amount"], 101);
    assert!(wharf::unix_ms() >= before, "the test itself has the clock of the system");
}

#[test]
fn nothing_is_sold_without_a_bid_and_one_auction_runs_at_a_time() {
    let host = host();
    let ann = host.connect("/auction/7?name=Ann").expect_open();
    open(&host, 60);
    let offer = json!({ "lot": "7", "item": "another", "from": 1, "seconds": 60 });
    let refusal = host.outside_message(offer.clone()).expect_err("one is under way");
    assert_eq!(refusal.body["error"]["code"], "UNDER_WAY");
    host.advance(Duration::from_secs(60));
    assert_eq!(ann.skip_to("not_sold")["item"], "a boat");
    assert!(host.outside_message(offer).is_ok());
    let nothing = json!({ "lot": "8", "item": "", "from": 1, "seconds": 0 });
    let refusal = host.outside_message(nothing).expect_err("fields are wrong");
    assert_eq!(refusal.body["error"]["fields"]["item"], "is required");
}

#[test]
fn a_client_that_bids_too_often_is_told_when_to_go_on() {
    let host = host();
    let ann = host.connect("/auction/7?name=Ann").expect_open();
    open(&host, 60);
    for number in 0..5 {
        assert_eq!(bid(&ann, 100 + number, 1)["status"], "ok");
    }
    let refused = bid(&ann, 200, 2);
    assert_eq!(
        (&refused["code"], &refused["retry_after_ms"]),
        (&json!("RATE_LIMITED"), &json!(2000))
    );
    host.advance(BIDS_WITHIN / BIDS);
    assert_eq!(bid(&ann, 200, 3)["status"], "ok");
}

#[test]
fn bidders_have_a_token_or_say_their_name_where_guests_are_allowed() {
    let host = TestHost::new::<Bidder>();
    assert_eq!(host.connect("/auction/7?name=Ann").expect_refused().status(), Some(401));
    let ann = host.connect("/auction/7").claims(json!({ "sub": "ann" })).expect_open();
    assert_eq!(ann.user().as_deref(), Some("ann"));
    assert_eq!(self::host().connect("/auction/7").expect_refused().status(), Some(400));
}
