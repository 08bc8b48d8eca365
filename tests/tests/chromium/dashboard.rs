//! The operator's dashboard in a real browser, with the real host. Pictures are left like those of the demo page.

use wharf_tests::operator::TOKEN;
use wharf_tests::{Browser, Client, Operated, artefacts, eventually, folder, json};

/// Actions of a person: find a button or a link by its text, fill a field by its label.
const PERSON: &str = "
    globalThis.page = () => document.getElementById('main').innerText;
    globalThis.named = (kind, text, within = document) => [...within.querySelectorAll(kind)]
        .find((node) => node.checkVisibility() && node.textContent.trim() === text);
    globalThis.press = (text, within) => named('button', text, within).click();
    globalThis.go = (text, within) => named('a', text, within).click();
    globalThis.field = (label) => [...document.querySelectorAll('input, textarea, select')]
        .find((field) => field.labels[0]?.textContent.startsWith(label) || field.ariaLabel === label);
    globalThis.fill = (label, value) => {
        field(label).value = value;
        field(label).dispatchEvent(new Event('input', { bubbles: true }));
        field(label).dispatchEvent(new Event('change', { bubbles: true }));
    };
    globalThis.row = (name) => [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes(name));
    globalThis.cell = (name, column) => row(name)?.querySelector(`[data-title='${column}']`)?.innerText.trim();
    globalThis.said = () => document.getElementById('said').innerText;
    globalThis.open = () => document.querySelector('dialog[open]');
    true";

/// Elements that are wider than the window, or than the box around them. What scrolls may be wider.
const CUT_OFF: &str = "[...document.querySelectorAll('body *')]
    .filter((node) => node.checkVisibility() && !node.closest('option, svg, pre, .table-box, nav, caption, .under'))
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5
        || node.matches('button, label, h1, h2, h3, dt, dd, p') && node.scrollWidth > node.clientWidth + 1
            && getComputedStyle(node).display !== 'inline')
    .map((node) => node.outerHTML.slice(0, 200))";

/// Controls without a name for a screen reader, tables without a caption, and headings of a view that are not one.
const UNNAMED: &str = "[
    ...[...document.querySelectorAll('input, select, textarea')].filter((field) => !field.labels?.length && !field.ariaLabel),
    ...[...document.querySelectorAll('button, a[href]')].filter((node) => !node.textContent.trim() && !node.ariaLabel),
    ...[...document.querySelectorAll('table')].filter((table) => !table.caption?.textContent),
    ...[...document.querySelectorAll('svg[role=img]')].filter((picture) => !picture.ariaLabel && !picture.getAttribute('aria-label')),
    ...(document.querySelectorAll('h1').length === 1 ? [] : [document.body]),
].map((node) => node.outerHTML.slice(0, 200))";

/// Loads a view, anew.
async fn come(page: &mut Browser, it: &Operated, view: &str) {
    page.open("about:blank").await;
    page.open(&format!("http://{}/{view}", it.api)).await;
    page.evaluate(PERSON).await;
}

/// Starts a browser, signed in, that shows the overview with figures.
async fn signed_in(it: &Operated) -> Browser {
    let mut page = Browser::start();
    page.view(1280, 800, "light").await;
    come(&mut page, it, "").await;
    page.wait_for("document.activeElement === field(\"Operator's token\")").await;
    page.press(TOKEN).await;
    page.press("Enter").await;
    page.wait_for("document.getElementById('link').innerText === 'live'").await;
    page
}

/// Asserts that the browser has complained of nothing but of what was looked for after it had gone.
async fn has_no_complaints(page: &mut Browser) {
    let complaints = page.complaints().await;
    let complaints = complaints.as_array().expect("a list").iter();
    let complaints: Vec<_> =
        complaints.filter(|it| !it.to_string().contains("status of 404")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// Leaves pictures of a view, and checks that nothing is cut off or without a name.
async fn pictures(page: &mut Browser, name: &str) {
    page.evaluate("scrollTo(0, 0)").await;
    for (width, height) in [(360, 740), (1280, 800)] {
        for scheme in ["light", "dark"] {
            page.view(width, height, scheme).await;
            // The next frame shows the new layout.
            let laid_out =
                "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true))))";
            page.wait_for(laid_out).await;
            page.screenshot(&format!("dashboard-{name}-{width}-{scheme}")).await;
            assert_eq!(page.evaluate(CUT_OFF).await, json!([]), "{name}, {width} pixels wide");
        }
    }
    assert_eq!(page.evaluate(UNNAMED).await, json!([]), "{name}");
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_dashboard_shows_an_idle_host_to_the_one_who_has_the_token() {
    let it = Operated::start(&[], &[]).await;
    let mut page = Browser::start();
    page.view(1280, 800, "light").await;
    come(&mut page, &it, "").await;
    page.wait_for("document.activeElement === field(\"Operator's token\")").await;
    pictures(&mut page, "sign-in").await;
    page.press("a-wrong-token").await;
    page.press("Enter").await;
    page.wait_for("/does not accept this token/.test(page())").await;
    // The browser notes the refused request.
    let complaints = page.complaints().await;
    assert!(complaints.as_array().is_some_and(|list| list.len() == 1), "{complaints}");

    let mut page = signed_in(&it).await;
    page.wait_for("/No channel is in service/.test(page()) && /Nobody is slow/.test(page())").await;
    pictures(&mut page, "empty").await;
    // The token stays with the tab, and goes when the person signs out.
    come(&mut page, &it, "#/plugins").await;
    page.wait_for("/Nothing is deployed/.test(page())").await;
    page.evaluate("press('Sign out')").await;
    page.wait_for("field(\"Operator's token\") !== undefined && sessionStorage.length === 0").await;
    has_no_complaints(&mut page).await;
}

/// Starts a host with busy and idle channels, and one whose newer file is refused; with its clients.
async fn busy_host() -> (Operated, Vec<Client>) {
    let plugins = folder(&["chat", "echo", "game", "presence", "robust"]);
    let it = Operated::start_in(plugins, &[]).await;
    let start = it.wharf.log.len();
    it.wharf.install("game", b"this is no component");
    it.wharf.refused_after(start, "game").await;
    let mut clients = Vec::new();
    for name in ["Ann", "Bob", "Cleo"] {
        clients.push(it.wharf.connect(&format!("/chat/harbour?name={name}")).await);
        clients.push(it.wharf.connect(&format!("/presence/harbour?user={name}")).await);
    }
    (it, clients)
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn figures_change_while_a_client_talks_and_the_loads_tell_the_reason() {
    let (it, _clients) = busy_host().await;
    let mut page = signed_in(&it).await;
    page.wait_for("cell('chat', 'Connections') === '3' && cell('echo', 'Connections') === '0'")
        .await;
    page.wait_for("/new file refused/.test(row('game').innerText)").await;
    let mut ann = it.wharf.connect("/echo").await;
    let speak = async {
        loop {
            assert_eq!(ann.ask("ahoy").await, "ahoy");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let watch = async {
        page.wait_for("Number(cell('echo', 'In/s')) > 10 && cell('echo', 'p99') !== '–'").await;
        page.wait_for("document.querySelectorAll('.chart .line.one[d*=L]').length > 5").await;
        // Long enough for a chart.
        page.wait_for(
            "document.querySelector('.chart .line').getAttribute('d').split('L').length > 8",
        )
        .await;
        pictures(&mut page, "busy").await;
        page.evaluate("go('echo')").await;
        page.wait_for(
            "document.activeElement.innerText === 'echo' && /plugin loaded/.test(page())",
        )
        .await;
        page.wait_for("document.querySelectorAll('.tile .line.two[d*=L]').length === 2").await;
        pictures(&mut page, "channel").await;
        assert_eq!(page.evaluate("document.title").await, "echo · Wharf");
        page.evaluate("go('Overview')").await;
        // By the keyboard: sorted by the figures of a column.
        page.evaluate("named('th button', 'Connections').focus()").await;
        page.press("Enter").await;
        page.wait_for("document.querySelector('tbody tr').innerText.includes('chat')").await;
        let sorted = "named('th button', 'Connections').closest('th').getAttribute('aria-sort')";
        assert_eq!(page.evaluate(sorted).await, "descending");
        page.evaluate("go('game')").await;
        page.wait_for("/A newer file is refused; generation 1 serves/.test(page())").await;
        page.wait_for("/refused; generation 1 keeps serving/.test(page())").await;
        has_no_complaints(&mut page).await;
    };
    tokio::select! {
        () = speak => {}
        () = watch => {}
    }
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_log_is_followed_line_by_line() {
    let it = Operated::start(&["robust"], &[]).await;
    let mut page = signed_in(&it).await;
    page.evaluate("location.hash = '#/channels/robust/log'").await;
    page.wait_for("/following/.test(page()) && /plugin loaded/.test(page())").await;
    let mut shop = it.wharf.connect("/robust?credit=100").await;
    shop.send_json(json!({ "type": "buy", "ref": 1, "payload": { "tea": "green", "cups": 2 } }))
        .await;
    page.wait_for("/INFO\\s+sold.*tea=green cups=2/.test(page())").await;
    pictures(&mut page, "log").await;
    page.evaluate("fill('Level', 'error')").await;
    page.wait_for("/following/.test(page()) && !/sold/.test(page())").await;
    has_no_complaints(&mut page).await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_connection_is_sent_to_and_disconnected_and_a_room_is_broadcast_to() {
    let (it, mut clients) = busy_host().await;
    let mut page = signed_in(&it).await;
    page.evaluate("location.hash = '#/channels/chat/connections'").await;
    page.wait_for("document.querySelectorAll('tbody tr').length === 3").await;
    pictures(&mut page, "connections").await;
    page.evaluate("fill('Find an id, user, path, address or room', 'nobody')").await;
    page.wait_for("/Not among those shown/.test(page())").await;
    page.evaluate("fill('Find an id, user, path, address or room', '')").await;
    page.wait_for("document.querySelectorAll('tbody tr').length === 3").await;
    page.evaluate("document.querySelector('tbody a').click()").await;
    page.wait_for("/\"room\": \"harbour\"/.test(page())").await;
    pictures(&mut page, "connection").await;
    // A dialog has the focus, and gives it back.
    page.evaluate("named('button', 'Send').focus()").await;
    page.press("Enter").await;
    page.wait_for("open()?.contains(document.activeElement)").await;
    page.press("Escape").await;
    page.wait_for("!open() && document.activeElement === named('button', 'Send')").await;
    page.evaluate("press('Disconnect')").await;
    pictures(&mut page, "dialog").await;
    page.evaluate(
        "fill('Close code', '4003'); fill('Reason', 'moved'); press('Disconnect', open())",
    )
    .await;
    page.wait_for("/Disconnected 1 connection/.test(said())").await;
    page.wait_for("/The connection has ended/.test(page())").await;
    let ended = eventually("the code of the close", async || {
        for client in clients.iter_mut().step_by(2) {
            let (_, ended) =
                match tokio::time::timeout(std::time::Duration::from_millis(200), client.rest())
                    .await
                {
                    Ok(rest) => rest,
                    Err(_) => continue,
                };
            return Some(ended);
        }
        None
    })
    .await;
    assert!(format!("{ended:?}").contains("4003"), "{ended:?}");

    page.evaluate("location.hash = '#/channels/presence/rooms/harbour'").await;
    page.wait_for("/Bob/.test(page()) && /Members/.test(page())").await;
    pictures(&mut page, "room").await;
    page.evaluate("press('Broadcast')").await;
    page.evaluate("fill('Message', 'all hands'); press('Send', open())").await;
    page.wait_for("/Sent to 3 connections/.test(said())").await;
    while clients[1].text().await != "all hands" {}
    page.evaluate("location.hash = '#/channels/presence'").await;
    page.wait_for("named('button', 'Disconnect all') !== undefined").await;
    page.evaluate("press('Disconnect all')").await;
    page.evaluate("press('Disconnect all', open())").await;
    page.wait_for("/Disconnected 3 connections/.test(said())").await;
    page.evaluate("location.hash = '#/audit'").await;
    page.wait_for("document.querySelectorAll('tbody tr').length === 3").await;
    pictures(&mut page, "audit").await;
    has_no_complaints(&mut page).await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_deployed_plugin_is_rolled_back_by_a_button() {
    let it = Operated::start(&["echo"], &[]).await;
    let mut ann = it.wharf.connect("/echo").await;
    let mut next = artefacts::component("echo");
    // A custom section makes it another file.
    next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
    for code in [artefacts::component("echo"), next] {
        let output = it.deploy("echo", &code);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let before = it.get("/echo").await.1["sha256"].clone();
    let mut page = signed_in(&it).await;
    page.evaluate("location.hash = '#/plugins'").await;
    page.wait_for("named('button', 'Roll back') !== undefined && row('ann') !== undefined").await;
    pictures(&mut page, "plugins").await;
    page.evaluate("location.hash = '#/channels/echo'").await;
    page.wait_for("named('button', 'Roll back') !== undefined").await;
    page.evaluate("press('Roll back')").await;
    page.evaluate("press('Roll back', open())").await;
    page.wait_for("/echo is rolled back to/.test(said())").await;
    let after = it.get("/echo").await.1["sha256"].clone();
    assert_ne!(before, after);
    page.wait_for(&format!("page().includes('{}')", &after.as_str().expect("text")[..12])).await;
    assert_eq!(ann.ask("still here").await, "still here");
    page.evaluate("location.hash = '#/hosts'").await;
    page.wait_for("/a single host/.test(page()) && /deployed/.test(page())").await;
    pictures(&mut page, "hosts").await;
    has_no_complaints(&mut page).await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_host_that_goes_and_comes_back_is_found_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let flag = format!("--operator-listen {address}");
    let mut it = Operated::start(&["echo"], &[&flag]).await;
    let mut page = signed_in(&it).await;
    it.wharf.signal("TERM");
    it.wharf.stopped().await;
    page.wait_for(
        "/not connected: .*; trying again/.test(document.getElementById('link').innerText)",
    )
    .await;
    it.start_again(&[&flag]).await;
    page.wait_for("document.getElementById('link').innerText === 'live'").await;
    page.wait_for("cell('echo', 'Connections') === '0'").await;
}
