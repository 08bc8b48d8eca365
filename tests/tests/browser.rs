//! The client for browsers, and the page, in a real browser. Left out by `cargo test`, since they
//! need Chromium: `cargo xtask test` finds or installs one and runs them.

use wharf_tests::{Backend, Browser, Wharf, artefacts, json};

/// A page of the server that has what a script needs to import the client.
async fn page(wharf: &Wharf) -> Browser {
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/healthz", wharf.address)).await;
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

    // Text and binary, as they are.
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

    // Requests, their errors, and a connection that is lost by a fault and made again.
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
            // A session of its own: the credit is a new one.
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

/// The example plugins that the page knows, by the titles of their tabs.
const EXAMPLES: [(&str, &str); 8] = [
    ("chat", "Chat"),
    ("echo", "Echo"),
    ("notifications", "Notifications"),
    ("presence", "Presence"),
    ("game", "Game"),
    ("batched", "Batched"),
    ("secure", "Secure"),
    ("robust", "Robust"),
];

/// What a person does with the page: `tab`, `press` a button, `fill` a field, by what is written on them in
/// the panel that is shown, and read its `text`.
const PERSON: &str = "
    globalThis.panel = () => document.querySelector('[role=tabpanel]:not([hidden])');
    globalThis.text = () => panel().innerText;
    globalThis.tab = (title) => [...document.querySelectorAll('[role=tab]')]
        .find((tab) => tab.innerText === title).click();
    globalThis.press = (name, from = panel()) => [...from.querySelectorAll('button')]
        .find((button) => button.innerText === name).click();
    globalThis.fill = (name, value) => {
        const field = [...panel().querySelectorAll('input, select')]
            .find((field) => (field.labels[0]?.firstChild.data ?? field.ariaLabel) === name);
        field.value = value;
        field.dispatchEvent(new Event('input', { bubbles: true }));
        field.dispatchEvent(new Event('change', { bubbles: true }));
    };
    true";

/// Opens the page of a server with these plugins.
async fn demo(wharf: &Wharf) -> Browser {
    let mut browser = Browser::start();
    browser.view(1280, 800, "light").await;
    browser.open(&format!("http://{}/", wharf.address)).await;
    browser.wait_for("document.querySelector('#panels > *') !== null").await;
    browser.evaluate(PERSON).await;
    browser
}

/// Waits until a tab's panel is shown and its connection open.
async fn show(browser: &mut Browser, title: &str) {
    browser.evaluate(&format!("tab({title:?})")).await;
    browser.wait_for("panel().querySelector('.state').innerText === 'connected'").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_page_shows_each_example_plugin_at_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a plugin folder");
    for (name, _) in EXAMPLES {
        let bytes = artefacts::component(name);
        std::fs::write(plugins.join(format!("{name}.wasm")), bytes).expect("a plugin is copied");
    }
    let secret = "WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET=a secret of at least 32 bytes, say";
    let wharf = Wharf::start_under(&["env", secret], folder, &[]).await;
    let mut page = demo(&wharf).await;
    let titles = page.evaluate("[...document.querySelectorAll('[role=tab]')].map((tab) => tab.innerText)");
    assert_eq!(titles.await, json!(EXAMPLES.map(|(_, title)| title)));

    show(&mut page, "Chat").await;
    let mut other = wharf.connect("/chat/lobby?name=Bob").await;
    page.wait_for("/Bob joined/.test(text()) && /2 here/.test(text())").await;
    page.evaluate("fill('Message', 'ahoy, Bob'); press('Send')").await;
    while other.json().await["message"] != "ahoy, Bob" {}
    other.send_json(json!({ "type": "chat_message", "message": "<b>ahoy</b>" })).await;
    page.wait_for("/<b>ahoy<\\/b>/.test(text()) && /generation 1/.test(text())").await;

    show(&mut page, "Echo").await;
    page.evaluate("fill('Text', 'grüße 🚢'); press('Send'); press('Send bytes')").await;
    page.wait_for("/← grüße 🚢/.test(text()) && /← 8 bytes/.test(text())").await;

    show(&mut page, "Notifications").await;
    page.wait_for("text().match(/signed in/g)?.length === 3").await;
    let on = |device: u32| format!("panel().querySelectorAll('.box')[{device}]");
    page.evaluate(&format!("press('Notify', {})", on(0))).await;
    page.wait_for(&format!("/ann hello/.test({}.innerText)", on(2))).await;
    page.wait_for(&format!("/delivered to bob/.test({}.innerText)", on(0))).await;
    page.evaluate(&format!("press('Sign out elsewhere', {})", on(0))).await;
    page.wait_for(&format!("/closed: 4001/.test({}.innerText)", on(1))).await;

    show(&mut page, "Presence").await;
    page.wait_for("/ann online/.test(text())").await;
    page.evaluate("press('Somebody comes'); press('Somebody comes'); fill('Status', 'away')").await;
    page.wait_for("/ann away/.test(text()) && /bob online/.test(text()) && /cleo/.test(text())").await;
    page.evaluate("press('Somebody goes')").await;
    page.wait_for("/cleo left/.test(text())").await;

    show(&mut page, "Game").await;
    page.evaluate("press('Join')").await;
    page.wait_for("/1 playing/.test(text())").await;
    page.evaluate("fill('x', 3); fill('y', 4); press('Move'); press('Move')").await;
    page.wait_for("/Ann claims 3, 4/.test(text()) && /Invalid move/.test(text())").await;
    let colored = "panel().querySelector('canvas').getContext('2d').getImageData(28, 36, 1, 1).data[3]";
    assert_eq!(page.evaluate(colored).await, 255);

    show(&mut page, "Batched").await;
    page.evaluate("press('Send all at once')").await;
    page.wait_for("/message 1 … message 10/.test(text()) && /message 25/.test(text())").await;

    page.evaluate("tab('Secure')").await;
    page.evaluate("fill('Secret', 'a guess'); press('Connect')").await;
    page.wait_for("/closed: 4001/.test(text())").await;
    page.evaluate("fill('Secret', 'a secret of at least 32 bytes, say'); press('Connect')").await;
    page.wait_for("/authenticated as ann/.test(text())").await;
    page.evaluate("press('Read'); fill('Document', 'diary'); press('Read')").await;
    page.wait_for("/← the document plan/.test(text()) && /Access denied/.test(text())").await;

    show(&mut page, "Robust").await;
    page.evaluate("press('Buy'); fill('Tea', 'cola'); press('Buy')").await;
    page.wait_for("/\"credit\":40/.test(text()) && /tea must be black/.test(text())").await;
    page.evaluate("press('Break the machine')").await;
    page.wait_for("/closed: 1011/.test(text())").await;
    page.wait_for("panel().querySelector('.state').innerText === 'connected'").await;

    for (width, height) in [(390, 844), (1280, 800)] {
        for scheme in ["light", "dark"] {
            page.view(width, height, scheme).await;
            for (name, title) in EXAMPLES {
                page.evaluate(&format!("tab({title:?})")).await;
                let overflow = "document.documentElement.scrollWidth - innerWidth";
                assert_eq!(page.evaluate(overflow).await, 0, "{name} at {width} pixels");
                page.screenshot(&format!("{name}-{width}-{scheme}")).await;
            }
        }
    }
    let unlabelled = "[...document.querySelectorAll('input, select')]
        .filter((field) => !field.labels.length && !field.ariaLabel).length";
    assert_eq!(page.evaluate(unlabelled).await, 0);
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_page_shows_what_is_mounted_and_nothing_else() {
    let wharf = Wharf::start(&["echo", "relay"], &[]).await;
    let mut page = demo(&wharf).await;
    let titles = "[...document.querySelectorAll('[role=tab]')].map((tab) => tab.innerText)";
    assert_eq!(page.evaluate(titles).await, json!(["Echo"]));
    let footer = "document.querySelector('footer').innerText";
    assert_eq!(page.evaluate(footer).await, "Also mounted: relay (/room/:room_id)");
    page.screenshot("one-plugin").await;

    let wharf = Wharf::start(&[], &[]).await;
    let mut page = demo(&wharf).await;
    page.wait_for("/None of the example plugins is mounted/.test(document.body.innerText)").await;
    page.screenshot("no-plugin").await;
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_page_shows_that_a_plugin_was_swapped_under_its_connection() {
    let wharf = Wharf::start(&["chat"], &[]).await;
    let mut page = demo(&wharf).await;
    show(&mut page, "Chat").await;
    page.wait_for("/generation 1/.test(text())").await;
    // The same code with another name section is another version of it.
    let mut bytes = artefacts::component("chat");
    bytes.extend([0, 2, 1, b'x']);
    wharf.swap("chat", &bytes).await;
    page.evaluate("fill('Message', 'ahoy'); press('Send')").await;
    page.wait_for("/Generation 2 has taken over from 1, on this same connection/.test(text())").await;
    let facts = "[...panel().querySelectorAll('dd')].map((fact) => fact.innerText).slice(-2)";
    assert_eq!(page.evaluate(facts).await, json!(["–", "–"]), "no reconnects, no close code");
}
