//! The client for browsers in a real browser. `cargo test` leaves these tests out, since they need
//! Chromium. `cargo xtask test` finds or installs one and runs them, and those in `page.rs`.

use wharf_tests::{Backend, Browser, Wharf, json};

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
