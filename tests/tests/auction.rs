//! The auction, played by real clients: with tokens, and in a browser through a swap.

use wharf_tests::artefacts::{component, padded};
use wharf_tests::operator::Operated;
use wharf_tests::tokens::{SECRET, hs256};
use wharf_tests::{Browser, Client, Value, configured, json};

/// Returns an auction that each bid makes last for ten seconds more.
fn offer() -> Value {
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

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn three_bidders_in_a_browser_play_an_auction_through_a_swap() {
    let tables = "[channels.auction.settings]\nguests = \"yes\"\n";
    let it = Operated::start_in(configured(&["auction"], tables), &[]).await;
    let mut page = Browser::start();
    page.open(&format!("http://{}/", it.wharf.address)).await;
    let arrived = "import('/_wharf/wharf.js').then(({ connect }) => {
        globalThis.heard = {};
        globalThis.ends = 0;
        globalThis.bidders = Object.fromEntries(['ann', 'bob', 'cy'].map((name) => {
            heard[name] = [];
            const channel = connect('/auction/7', { query: { name } });
            channel.onText((text) => heard[name].push(JSON.parse(text)));
            channel.onClose(() => ends++);
            return [name, channel];
        }));
        globalThis.bid = (name, amount) =>
            bidders[name].request({ type: 'bid', amount }).then((p) => p.highest, (e) => e.code);
        globalThis.last = (name, type) => heard[name].findLast((message) => message.type === type);
        return Object.keys(bidders).length;
    })";
    assert_eq!(page.evaluate(arrived).await, 3);
    page.wait_for("Object.keys(bidders).every((name) => last(name, 'lot'))").await;
    assert_eq!(it.post("/auction/messages", offer()).await.0, 200);
    page.wait_for("Object.keys(bidders).every((name) => last(name, 'opened'))").await;
    assert_eq!(page.evaluate("bid('ann', 100)").await, 100);
    assert_eq!(page.evaluate("bid('bob', 100)").await, "TOO_LOW");
    assert_eq!(page.evaluate("bid('bob', 120)").await, 120);

    it.wharf.swap("auction", &padded(&component("auction"), 1)).await;
    assert_eq!(page.evaluate("bid('cy', 150)").await, 150);
    page.wait_for("last('bob', 'outbid')?.amount === 150").await;
    assert_eq!(page.evaluate("bid('ann', 150)").await, "TOO_LOW");
    assert_eq!(page.evaluate("bid('ann', 160)").await, 160);
    page.wait_for("Object.keys(bidders).every((name) => last(name, 'sold')?.to === 'ann')").await;
    page.wait_for("last('ann', 'won')?.amount === 160").await;
    let seen = "[ends, ...Object.values(heard).map((all) => all.filter(({ type }) => type === 'bid').length)]";
    assert_eq!(page.evaluate(seen).await, json!([0, 4, 4, 4]), "no end, and each bid once");
    assert_eq!(page.complaints().await, json!([]));
}
