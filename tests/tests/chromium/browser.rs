//! The client for browsers in a real browser. `cargo test` leaves these tests out, since they need
//! Chromium. `cargo xtask test` finds or installs one and runs them, and those in `page.rs`.

use wharf_tests::tokens::hs256;
use wharf_tests::{Backend, Browser, Client, Wharf, json};

use crate::tokens::{secret, started};

/// Opens a page of the server from which a script can import the client.
async fn page(wharf: &Wharf) -> Browser {
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", wharf.address)).await;
    browser
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn wharf_js_sends_requests_and_comes_back_after_a_failure() {
    let wharf = Wharf::start(&["echo", "robust"], &[]).await;
    let mut browser = page(&wharf).await;
    let imported = browser
        .evaluate(
            "import('/_wharf/wharf.js').then((m) => { Object.assign(globalThis, m); return Object.keys(m).sort() })",
        )
        .await;
    assert_eq!(
        imported,
        json!(["Channel", "ChannelError", "Presence", "connect", "shouldReconnect"])
    );

    // Sends text and binary, and gets both back unchanged.
    let echoed = "(async () => {
        const channel = connect('/echo');
        const got = [];
        const done = new Promise((resolve) => {
            channel.onText((text) => got.push(text));
            channel.onBinary((data) => { got.push([...new Uint8Array(data)]); resolve(); });
        });
        channel.send('grüße 🚢');
        channel.send(new Uint8Array([0, 255]));
        await done;
        channel.close();
        return [got, channel.state];
    })()";
    assert_eq!(browser.evaluate(echoed).await, json!([["grüße 🚢", [0, 255]], "closed"]));

    // Makes requests, gets their errors, and loses the connection by a fault.
    let shopping = "(async () => {
        const shop = connect('/robust', { query: { credit: 20 } });
        const events = [];
        shop.onOpen(({ isReconnect }) => events.push(['open', isReconnect]));
        shop.onClose(({ code, willReconnect }) => events.push(['close', code, willReconnect]));
        const caught = (error) => [error.name, error.code, error.fields ?? null];
        const bought = await shop.request('buy', { tea: 'green', cups: 2 });
        const invalid = await shop.request('buy', { tea: 'cola', cups: 2 }).catch(caught);
        const broken = await shop.request('break_the_machine').catch(caught);
        const again = await shop.request('buy', { tea: 'black', cups: 1 });
        for (let n = 0; n < 5; n++) shop.send('no JSON');
        await new Promise((resolve) => shop.onClose(resolve));
        const late = await shop.request('buy').catch(caught);
        return { bought, invalid, broken, again, late, events };
    })()";
    assert_eq!(
        browser.evaluate(shopping).await,
        json!({
            "bought": { "credit": 10 },
            "invalid": ["ChannelError", "INVALID", { "tea": "must be black, green or white" }],
            "broken": ["ChannelError", "connection-lost", null],
            // The new connection has a session of its own, and so a new credit.
            "again": { "credit": 15 },
            "late": ["ChannelError", "closed", null],
            "events": [["open", false], ["close", 1011, true], ["open", true], ["close", 4008, false]],
        })
    );
    assert_eq!(browser.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn pages_of_other_origins_can_import_wharf_js() {
    let wharf = Wharf::start(&[], &[]).await;
    let mut browser = Browser::start();
    let elsewhere = Backend::start().await;
    browser.open(&elsewhere.url("/")).await;
    let names =
        format!("import('http://{}/_wharf/wharf.js').then((m) => typeof m.connect)", wharf.address);
    assert_eq!(browser.evaluate(&names).await, "function");
}

/// Enters the lobby as Eve, and lists the connections that open and end.
const ENTER: &str = "import('/_wharf/wharf.js').then(({ connect }) => {
    globalThis.events = [];
    globalThis.eve = connect('/presence/lobby', { query: { user: 'eve' } });
    eve.onOpen(({ isReconnect }) => events.push(['open', isReconnect]));
    eve.onClose(({ code, willReconnect }) => events.push(['close', code, willReconnect]));
    return eve.opened().then(() => true);
})";

/// Waits until a watcher of the presence is told of somebody who has come or gone.
async fn wait_for_presence(watcher: &mut Client, what: &str) {
    while !watcher.text().await.contains(what) {}
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_page_in_the_back_forward_cache_is_away_and_comes_back_when_it_is_shown() {
    let wharf = Wharf::start(&["presence"], &["--presence-grace-ms 0"]).await;
    let mut ann = wharf.connect("/presence/lobby?user=ann").await;
    let mut browser = page(&wharf).await;
    assert_eq!(browser.evaluate(ENTER).await, true);
    wait_for_presence(&mut ann, r#""joins":{"eve""#).await;

    browser.open("about:blank").await;
    wait_for_presence(&mut ann, r#""leaves":["eve"]"#).await;
    // A browser may also load the page anew.
    if browser.back().await {
        wait_for_presence(&mut ann, r#""joins":{"eve""#).await;
        browser.wait_for("eve.state === 'open'").await;
        let life = json!([["open", false], ["close", 1001, true], ["open", true]]);
        assert_eq!(browser.evaluate("events").await, life);
    }
    assert_eq!(browser.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_page_that_is_frozen_is_away_and_comes_back_when_it_goes_on() {
    let flags =
        ["--presence-grace-ms 0", "--keep-alive-interval-ms 500", "--keep-alive-timeout-ms 3000"];
    let wharf = Wharf::start(&["presence"], &flags).await;
    let mut browser = page(&wharf).await;
    assert_eq!(browser.evaluate(ENTER).await, true);
    // This client answers pings while the test waits for it, so it comes last.
    let mut ann = wharf.connect("/presence/lobby?user=ann").await;
    wait_for_presence(&mut ann, r#""eve""#).await;
    // Its browser still answers pings.
    browser.freeze(true).await;
    wait_for_presence(&mut ann, r#""leaves":["eve"]"#).await;
    browser.freeze(false).await;
    wait_for_presence(&mut ann, r#""joins":{"eve""#).await;
    browser.wait_for("eve.state === 'open'").await;
    let life = json!([["open", false], ["close", 1006, true], ["open", true]]);
    assert_eq!(browser.evaluate("events").await, life);
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn wharf_js_brings_its_token_as_a_subprotocol() {
    let wharf = started(&secret()).await;
    let mut browser = page(&wharf).await;
    let token = hs256(json!({ "sub": "ann" }));
    let claims = format!(
        "import('/_wharf/wharf.js').then(({{ connect }}) => new Promise((resolve) => {{
            const channel = connect('/vouched', {{ token: () => '{token}', tokenProtocol: 'bearer' }});
            channel.onText((text) => resolve(JSON.parse(text).claims.sub));
            channel.onClose(({{ code }}) => resolve(code));
        }}))"
    );
    assert_eq!(browser.evaluate(&claims).await, "ann");
}
