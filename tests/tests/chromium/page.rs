//! The examples of the demo page in a real browser, with the real host and the example plugins.
//! `cargo test` leaves these tests out, like those in `browser.rs`. They leave pictures of each
//! example, narrow and wide, light and dark, in the folder `screenshots` of the target folder.

use wharf_tests::{Browser, Wharf, artefacts, folder, json};

/// The example plugins that the page knows, by the titles of their tabs.
const EXAMPLES: [(&str, &str); 8] = [
    ("chat", "Talk"),
    ("game", "Play"),
    ("presence", "See who is here"),
    ("notifications", "Be notified"),
    ("secure", "Be refused"),
    ("robust", "Make mistakes"),
    ("batched", "Send a burst"),
    ("echo", "Hear an echo"),
];

/// Secret that `cargo xtask serve` gives to the plugin `secure`, and that the page signs with.
const SECRET: &str =
    "WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET=known to everybody: for the demo page only";

/// Actions of a person on the page, in the section that is shown: press a button or fill a field,
/// by its caption; read the section's `text`, its `state`, and the messages on the `wire`.
const PERSON: &str = "
    globalThis.$ = (id) => document.getElementById(id);
    globalThis.panel = () => document.querySelector('[role=tabpanel]:not([hidden])');
    globalThis.text = () => panel()?.querySelector('.stage').innerText ?? '';
    globalThis.state = () => panel()?.querySelector('.state').innerText;
    globalThis.wire = () => panel().querySelector('.wire').innerText;
    globalThis.facts = () => [...panel().querySelectorAll('aside dd')].map((fact) => fact.innerText);
    globalThis.box = (index) => panel().querySelectorAll('.box')[index];
    globalThis.tab = (title) => [...document.querySelectorAll('[role=tab]')]
        .find((tab) => tab.innerText === title);
    globalThis.press = (name, within = panel()) => [...within.querySelectorAll('button')]
        .find((button) => button.textContent === name).click();
    globalThis.fill = (name, value) => {
        const field = [...panel().querySelectorAll('input, select')]
            .find((field) => (field.labels[0]?.firstChild.data ?? field.ariaLabel) === name);
        field.value = value;
        field.dispatchEvent(new Event('input', { bubbles: true }));
        field.dispatchEvent(new Event('change', { bubbles: true }));
    };
    true";

/// Elements that are wider than the window, or than the box around them. What scrolls may be wider.
const CUT_OFF: &str = "[...document.querySelectorAll('body *')]
    .filter((node) => node.checkVisibility() && !node.closest('option, svg, .strip, pre'))
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5
        || node.matches('button, label, h2, h3, dt, dd, p') && node.scrollWidth > node.clientWidth + 1
            && getComputedStyle(node).display !== 'inline')
    .map((node) => node.outerHTML.slice(0, 200))";

/// Starts a server with all plugins that the page knows, and the demo folder.
pub async fn host() -> Wharf {
    let demo = format!("--demo {}", artefacts::demo().display());
    host_with(&[&demo]).await
}

async fn host_with(flags: &[&str]) -> Wharf {
    let plugins = EXAMPLES.map(|(name, _)| name);
    Wharf::start_under(&["env", SECRET], folder(&plugins), flags).await
}

/// Starts a browser that shows a section of the page.
pub async fn visit(wharf: &Wharf, section: &str) -> Browser {
    let mut page = Browser::start();
    page.view(1280, 800, "light").await;
    come(&mut page, wharf, section).await;
    page
}

/// Loads the page.
pub async fn come(page: &mut Browser, wharf: &Wharf, section: &str) {
    // A browser does not load a page again if only the part behind `#` differs.
    page.open("about:blank").await;
    page.open(&format!("http://{}/{section}", wharf.address)).await;
    page.evaluate(PERSON).await;
    page.wait_for("panel() !== null").await;
}

/// Starts a browser that shows a section, with its connection open.
pub async fn enter(wharf: &Wharf, section: &str) -> Browser {
    let mut page = visit(wharf, section).await;
    page.wait_for("state() === 'connected'").await;
    page
}

/// Leaves pictures of the page, and checks that nothing is cut off and that there were no errors.
pub async fn leave(mut page: Browser, name: &str) {
    page.evaluate("scrollTo(0, 0)").await;
    for (width, height) in [(320, 568), (390, 844), (1280, 800), (1920, 1080)] {
        for scheme in ["light", "dark"] {
            page.view(width, height, scheme).await;
            // The next frame shows the new layout.
            let laid_out =
                "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true))))";
            page.wait_for(laid_out).await;
            page.screenshot(&format!("{name}-{width}-{scheme}")).await;
            assert_eq!(page.evaluate(CUT_OFF).await, json!([]), "{name}, {width} pixels wide");
        }
    }
    let unlabelled = "[...document.querySelectorAll('input, select, canvas')]
        .filter((field) => !field.labels?.length && !field.ariaLabel).length";
    assert_eq!(page.evaluate(unlabelled).await, 0);
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn chat_lets_two_tabs_talk() {
    let wharf = host().await;
    let (mut ann, mut bob) =
        tokio::join!(enter(&wharf, "#chat/harbour"), enter(&wharf, "#chat/harbour"));
    let titles = "[...document.querySelectorAll('[role=tab]')].map((tab) => tab.innerText)";
    let tabs: Vec<_> = EXAMPLES.iter().map(|(_, title)| *title).chain(["Your own"]).collect();
    assert_eq!(ann.evaluate(titles).await, json!(tabs));
    for (page, name) in [(&mut ann, "Ann"), (&mut bob, "Bob")] {
        page.evaluate(&format!("fill('Name', '{name}'); press('Go there')")).await;
        // The page has forgotten the number of those who are there, and knows it again with the new connection.
        page.wait_for("/in the room harbour/.test(text())").await;
    }
    ann.wait_for("/Bob joined the room/.test(text()) && /2 in the room harbour/.test(text())")
        .await;
    ann.evaluate("fill('Message', 'ahoy, Bob')").await;
    bob.wait_for("/Ann is typing…/.test(text())").await;
    ann.evaluate("press('Send')").await;
    bob.wait_for("/Ann\\s*ahoy, Bob/.test(text()) && !/is typing/.test(text())").await;
    bob.evaluate("fill('Message', '<b>ahoy</b>'); press('Send')").await;
    ann.wait_for("/Bob\\s*<b>ahoy<\\/b>/.test(text()) && /gen. 1/.test(text())").await;
    ann.wait_for(r#"/→\s*{\s*"type": "chat_message",\s*"message": "ahoy, Bob"\s*}/.test(wire())"#)
        .await;
    ann.wait_for("/answered by\\s*generation 1/.test(panel().innerText)").await;
    // Another room has a conversation of its own.
    bob.evaluate("fill('Room', 'cellar'); press('Go there')").await;
    ann.wait_for("/Bob left the room/.test(text()) && /1 in the room harbour/.test(text())").await;
    assert_eq!(bob.evaluate("location.hash").await, "#chat/cellar");
    leave(ann, "chat").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn echo_sends_back_text_and_bytes() {
    let wharf = host().await;
    let mut page = enter(&wharf, "#echo").await;
    page.evaluate("fill('Text', 'grüße 🚢'); press('Send'); press('Send bytes')").await;
    page.wait_for("/← grüße 🚢/.test(text()) && /← 8 bytes: \\d/.test(text())").await;
    page.wait_for("/→\\s*grüße 🚢\\s+.*→\\s*8 bytes/s.test(wire())").await;
    page.wait_for("/served by\\s*generation 1/.test(panel().innerText)").await;
    leave(page, "echo").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn notifications_ring_on_all_devices_and_sign_others_out() {
    let wharf = host().await;
    let mut page = enter(&wharf, "#notifications").await;
    page.wait_for("text().match(/signed in/g)?.length === 3").await;
    let mut other = enter(&wharf, "#notifications").await;
    other.wait_for("/signed in as bob, on 2 devices/.test(box(2).innerText)").await;
    page.evaluate("press('Notify Bob', box(0))").await;
    for page in [&mut page, &mut other] {
        page.wait_for("/ann: hello from Ann's phone/.test(box(2).innerText)").await;
    }
    page.wait_for("/delivered to bob/.test(box(0).innerText)").await;
    page.evaluate("press('Tell all others', box(2))").await;
    other
        .wait_for("[0, 1].every((n) => /bob: hello from Bob's phone/.test(box(n).innerText))")
        .await;
    page.evaluate("press('Sign out elsewhere', box(0))").await;
    page.wait_for("/closed with 4001: signed out/.test(box(1).innerText)").await;
    // It does not reconnect by itself, and shows the reason when it is used.
    other.wait_for("state() === 'closed with 4001: signed out'").await;
    other.evaluate("press('Notify Bob', box(0))").await;
    other.wait_for("/closed with code 4001/.test(box(0).innerText)").await;
    other.evaluate("press('Start again')").await;
    other.wait_for("state() === 'connected' && text().match(/signed in/g)?.length === 3").await;
    leave(page, "notifications").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn presence_shows_who_comes_and_goes_but_not_who_reloads() {
    // The grace is long enough for a reload on a busy machine.
    let wharf = host_with(&["--presence-grace-ms 8000"]).await;
    let (mut ann, mut eve) = tokio::join!(enter(&wharf, "#presence"), enter(&wharf, "#presence"));
    ann.evaluate("fill('Name', 'Ann'); press('Enter')").await;
    eve.evaluate("fill('Name', 'Eve'); press('Enter')").await;
    let people = "panel().querySelector('.people').innerText";
    ann.wait_for(&format!("/Ann online/.test({people}) && /Eve online/.test({people})")).await;
    eve.evaluate("fill('Status', 'away')").await;
    ann.wait_for(&format!("/Eve away/.test({people})")).await;

    come(&mut eve, &wharf, "#presence").await;
    eve.wait_for(&format!("/Ann online/.test({people}) && /Eve online/.test({people})")).await;
    eve.evaluate("fill('Status', 'busy')").await;
    ann.wait_for(&format!("/Eve busy/.test({people})")).await;
    assert_eq!(ann.evaluate("/Eve left/.test(text())").await, false);

    eve.evaluate("press('Hide me')").await;
    ann.wait_for("/Eve left/.test(text())").await;
    ann.evaluate("press('A guest comes'); press('A guest comes')").await;
    eve.wait_for(&format!("/bob online\\s+cleo online/.test({people})")).await;
    ann.evaluate("press('A guest goes')").await;
    eve.wait_for("/cleo left/.test(text())").await;
    leave(ann, "presence").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn game_is_played_by_two() {
    let wharf = host().await;
    let (mut ann, mut bob) = tokio::join!(enter(&wharf, "#game"), enter(&wharf, "#game"));
    ann.evaluate("press('Move')").await;
    ann.wait_for("/Join the game first/.test(text())").await;
    ann.evaluate("fill('Name', 'Ann'); fill('Colour', '#ff0000'); press('Join')").await;
    ann.wait_for("/Ann has joined, 1 playing/.test(text())").await;
    bob.evaluate("fill('Name', 'Bob'); press('Join')").await;
    ann.wait_for("/Bob has joined, 2 playing/.test(text())").await;
    ann.evaluate("fill('x', 3); fill('y', 4); press('Move'); press('Move')").await;
    ann.wait_for("/Wait for the next turn/.test(text())").await;
    bob.wait_for("/Ann claims 3, 4/.test(text())").await;
    let colored = "panel().querySelector('canvas').getContext('2d').getImageData(3.5 * 32, 4.5 * 32, 1, 1).data.join()";
    assert_eq!(bob.evaluate(colored).await, "255,0,0,255");
    bob.evaluate("fill('x', 3); fill('y', 4); press('Move')").await;
    bob.wait_for("/Invalid move/.test(text())").await;
    let click = "(() => {
        const board = panel().querySelector('canvas');
        const { left, top, width } = board.getBoundingClientRect();
        const [clientX, clientY] = [left + width * 10.5 / 24, top + width * 20.5 / 24];
        board.dispatchEvent(new MouseEvent('click', { clientX, clientY, bubbles: true }));
    })()";
    bob.evaluate(click).await;
    for page in [&mut ann, &mut bob] {
        page.wait_for("/Bob claims 10, 20\\s+turn 1/.test(text())").await;
    }
    // A latecomer sees the board as it is.
    let mut late = enter(&wharf, "#game").await;
    late.wait_for(&format!("{colored} === '255,0,0,255'")).await;
    leave(bob, "game").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn batched_tells_everybody_in_batches() {
    let wharf = host().await;
    let (mut page, mut other) = tokio::join!(enter(&wharf, "#batched"), enter(&wharf, "#batched"));
    page.evaluate("press('Send all at once')").await;
    for page in [&mut page, &mut other] {
        page.wait_for("/Batch 1 of 10: message 1 … message 10/.test(text())").await;
        page.wait_for("/ of 5: message 21 … message 25/.test(text())").await;
    }
    leave(page, "batched").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn secure_lets_in_a_good_token_and_refuses_others() {
    let wharf = host().await;
    let mut page = visit(&wharf, "#secure").await;
    page.wait_for("state() === 'not connected'").await;
    page.evaluate("press('Read the plan')").await;
    page.wait_for("/not connected yet/.test(text())").await;
    page.evaluate("press('Come with a forged one')").await;
    page.wait_for("/closed with 4001: Invalid token/.test(text())").await;
    page.evaluate("press('Come for 3 seconds')").await;
    page.wait_for("/closed with 4001: Token expired/.test(text())").await;
    page.evaluate("press('Come with a good token')").await;
    page.wait_for("state() === 'connected' && /Welcome, ann/.test(text())").await;
    page.evaluate("press('Read the plan'); press('Read the diary')").await;
    page.wait_for("/← the document plan/.test(text()) && /← Access denied/.test(text())").await;
    page.evaluate("press('Send a new token')").await;
    page.wait_for("/renewed until/.test(text())").await;
    leave(page, "secure").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn robust_answers_every_mistake() {
    let wharf = host().await;
    let mut page = enter(&wharf, "#robust").await;
    page.evaluate("press('Buy 2 cups of green tea'); press('Order cola')").await;
    page.wait_for("/← {\"credit\":40}/.test(text())").await;
    page.wait_for("/← INVALID: this cannot be ordered; tea must be black/.test(text())").await;
    page.evaluate("press('Forge a coupon')").await;
    page.wait_for("/← INTERNAL_ERROR/.test(text())").await;
    page.evaluate("press('Break the machine')").await;
    page.wait_for("/← COME_BACK/.test(text()) && /closed with 1011/.test(text())").await;
    page.wait_for("state() === 'connected'").await;
    page.evaluate("for (let n = 0; n < 5; n++) press('Send something that is not JSON')").await;
    page.wait_for("state() === 'closed with 4008: too many mistakes'").await;
    page.evaluate("press('Start again')").await;
    page.wait_for("state() === 'connected'").await;
    page.evaluate("press('Order what is sold out'); press('Buy 2 cups of green tea')").await;
    page.wait_for("/← SOLD_OUT: there is none left/.test(text())").await;
    page.wait_for("/your credit\\s*40/.test(panel().innerText)").await;
    leave(page, "robust").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_plugin_that_is_not_loaded_is_told_as_such_until_it_is() {
    let wharf = Wharf::start(&["echo", "relay", "secure"], &["--removal-grace-ms 50"]).await;
    let mut page = visit(&wharf, "").await;
    assert_eq!(page.evaluate("panel().id").await, "panel-secure", "the first that is loaded");
    assert_eq!(page.evaluate("tab('Play').title").await, "not loaded");

    page.evaluate("tab('Play').click()").await;
    page.wait_for("/The plugin game is not loaded on this host/.test(text())").await;
    assert_eq!(page.evaluate("state()").await, "not connected");
    page.screenshot("not-loaded").await;
    let game = artefacts::component("game");
    wharf.swap("game", &game).await;
    page.wait_for("state() === 'connected' && !/not loaded/.test(text())").await;
    std::fs::remove_file(wharf.plugin("game")).expect("a plugin is removed");
    page.wait_for("state() === 'closed with 1001: removed'").await;
    page.wait_for("/The plugin game is not loaded on this host/.test(text())").await;
    wharf.swap("game", &game).await;
    page.wait_for("state() === 'connected' && !/not loaded/.test(text())").await;

    // This plugin is loaded, and lacks the secret that an operator has to set.
    page.evaluate("tab('Be refused').click()").await;
    page.wait_for("panel().id === 'panel-secure'").await;
    page.evaluate("press('Come with a good token')").await;
    page.wait_for("/Has the plugin its jwt_secret/.test(text())").await;
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_plugin_that_the_page_does_not_know_can_be_tried_all_the_same() {
    let wharf = Wharf::start(&["relay"], &[]).await;
    let mut page = visit(&wharf, "").await;
    assert_eq!(page.evaluate("panel().id").await, "panel-own", "no example is loaded");
    page.wait_for("/Loaded, and without a tab here: relay \\(\\/room\\/:room_id\\)/.test(text())")
        .await;
    page.evaluate("press('Send')").await;
    page.wait_for("/not connected yet/.test(text())").await;
    page.evaluate("press('Connect')").await;
    page.wait_for("state() === 'connected' && /connected to \\/room\\/lobby/.test(text())").await;
    page.evaluate("fill('Message', 'ahoy'); press('Send')").await;
    page.wait_for("/→ ahoy\\s+← ahoy/.test(text())").await;
    page.wait_for("/served by\\s*generation 1/.test(panel().innerText)").await;
    page.evaluate("fill('Address', 'http://['); press('Connect')").await;
    page.wait_for("/This is no address/.test(text())").await;
    assert_eq!(page.evaluate("state()").await, "connected", "on the connection from before");
    page.evaluate("fill('Address', '/nowhere'); press('Connect')").await;
    page.wait_for("/No channel has this path. These are there: \\/room\\/:room_id/.test(text())")
        .await;
    page.wait_for("/generation –/.test(panel().innerText)").await;
    leave(page, "own").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_swap_is_seen_on_the_connection_that_stays_open() {
    let wharf = Wharf::start(&["chat", "echo"], &[]).await;
    let (mut chat, mut echo) = tokio::join!(enter(&wharf, "#chat"), enter(&wharf, "#echo"));
    chat.wait_for("/answered by\\s*generation 1/.test(panel().innerText)").await;
    // The page has asked for the list since the connection opened. The second answer from now on
    // belongs to a later question.
    let looks = "performance.getEntriesByType('resource').filter(({ name }) => /channels.json/.test(name)).length";
    echo.evaluate(&format!("globalThis.before = {looks}")).await;
    echo.wait_for(&format!("{looks} >= before + 2")).await;
    for plugin in ["chat", "echo"] {
        // The same code with one more section is another version.
        let mut bytes = artefacts::component(plugin);
        bytes.extend([0, 2, 1, b'x']);
        wharf.swap(plugin, &bytes).await;
    }
    let news = "Generation 2 has taken over from 1, on this same connection";
    chat.evaluate("fill('Message', 'ahoy'); press('Send')").await;
    chat.wait_for(&format!("/{news}/.test(text())")).await;
    echo.wait_for(&format!("/{news}/.test(wire())")).await;
    for page in [&mut chat, &mut echo] {
        page.wait_for("/generation 2\\s*1 swap seen/.test(panel().innerText)").await;
        assert_eq!(
            page.evaluate("facts().slice(1, 3)").await,
            json!(["–", "–"]),
            "no reconnects, no close code"
        );
    }
    leave(chat, "swap").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_tabs_can_be_used_by_keyboard() {
    let wharf = host().await;
    let mut page = enter(&wharf, "").await;
    page.evaluate("tab('Send a burst').focus()").await;
    page.press("ArrowRight").await;
    let is_there = "panel().id === 'panel-echo' && document.activeElement === tab('Hear an echo')";
    page.wait_for(is_there).await;
    // Attributes, since older browsers have no such properties.
    let marks = "[tab('Hear an echo').getAttribute('aria-selected'), tab('Talk').getAttribute('aria-selected'),
        panel().querySelector('aside').getAttribute('aria-label'),
        document.querySelectorAll('[arialabel], [ariaselected], [arialive]').length]";
    assert_eq!(page.evaluate(marks).await, json!(["true", "false", "Behind the scenes", 0]));
    page.wait_for("state() === 'connected'").await;
    // All tabs are one tab stop. The content of the panel follows, in its order.
    page.press("Tab").await;
    let focused = "document.activeElement.labels?.[0]?.innerText";
    assert_eq!(page.evaluate(focused).await, "Text");
    page.press("abc").await;
    page.press("Enter").await;
    page.wait_for("/← .*abc/.test(text())").await;
    page.evaluate("tab('Hear an echo').focus()").await;
    page.press("End").await;
    page.wait_for("panel().id === 'panel-own' && document.activeElement === tab('Your own')").await;
    page.press("ArrowRight").await;
    page.wait_for("panel().id === 'panel-chat'").await;
    assert_eq!(page.complaints().await, json!([]));
}
