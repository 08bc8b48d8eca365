//! The auction in a browser, through a swap.

use wharf_tests::artefacts::{component, padded};
use wharf_tests::operator::Operated;
use wharf_tests::{Browser, configured, json};

use crate::auction::offer;

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
