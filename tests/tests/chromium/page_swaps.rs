//! The first screen of the demo page in a real browser: the chat is swapped while two visitors talk.

use wharf_tests::{Browser, Wharf, artefacts, json};

use super::page::{host, leave, visit};

/// Numbers of the first screen, as text.
const NUMBERS: &str = "Object.fromEntries(['lost', 'breaks'].map((id) => [id, $(id).innerText]))";

/// Waits until messages have gone through since now.
async fn wait_for_messages(page: &mut Browser) {
    page.evaluate("globalThis.before = Number($('delivered').innerText.replace(',', ''))").await;
    page.wait_for("Number($('delivered').innerText.replace(',', '')) >= before + 4").await;
}

async fn arrive(wharf: &Wharf) -> Browser {
    let mut page = visit(wharf, "").await;
    page.wait_for("!$('swap').disabled").await;
    page
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_click_swaps_the_chat_under_a_stream_of_messages_of_which_none_gets_lost() {
    let wharf = host().await;
    let mut page = arrive(&wharf).await;
    wait_for_messages(&mut page).await;
    page.wait_for("/chat, plain · generation 1/.test($('live-version').innerText)").await;
    page.wait_for("/fn spoken/.test($('live-source').innerText)").await;
    let rounds = [("festive", 2, "Swap back to plain"), ("plain", 3, "Swap the running code")];
    for (version, generation, next) in rounds {
        page.evaluate("$('swap').click()").await;
        let chip = format!("chat, {version} · generation {generation}");
        page.wait_for(&format!("$('live-version').innerText === '{chip}'")).await;
        page.wait_for(&format!("$('swap').innerText === '{next}' && !$('swap').disabled")).await;
        page.wait_for("/^\\d+ ms$/.test($('took').innerText)").await;
        let news = page.evaluate("$('live-news').innerText").await;
        let news = news.as_str().expect("a text");
        assert!(news.contains("0 got lost, and nobody was disconnected"), "{news}");
        assert!(news.contains("The host itself took"), "{news}");
        wait_for_messages(&mut page).await;
        assert_eq!(page.evaluate(NUMBERS).await, json!({ "lost": "0", "breaks": "0" }));
        let row = "[...document.querySelectorAll('#stream .text')].at(-1).innerText";
        let is_festive = page.evaluate(&format!("/^★\\s[A-Z0-9 ,?]+\\s★$/.test({row})")).await;
        assert_eq!(is_festive, version == "festive");
        let shown = page.evaluate("/format!/.test($('live-source').innerText)").await;
        assert_eq!(shown, version == "festive", "the code that runs is shown");
        assert_eq!(page.evaluate("$('picture-version').textContent").await, version);
    }
    // The visitor's own connection further down has seen both.
    page.wait_for("/generation 3/.test(panel().innerText)").await;
    page.evaluate("$('swap').click()").await;
    page.wait_for("/festive/.test($('live-version').innerText) && !$('swap').disabled").await;
    leave(page, "first-screen").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_version_that_panics_never_serves_and_the_stream_goes_on() {
    let wharf = host().await;
    let mut page = arrive(&wharf).await;
    page.evaluate("$('panic').click()").await;
    page.wait_for("/never served/.test($('live-news').innerText)").await;
    let news = page.evaluate("$('live-news').innerText").await;
    let news = news.as_str().expect("a text");
    assert!(news.contains("panicked: I am not ready yet"), "{news}");
    assert!(news.contains("Generation 1 goes on"), "{news}");
    wharf.log.wait_for("a refusal", |line| line.begins("plugin refused")).await;
    page.wait_for("!$('panic').disabled").await;
    wait_for_messages(&mut page).await;
    assert_eq!(page.evaluate("$('live-version').innerText").await, "chat, plain · generation 1");
    assert_eq!(page.evaluate(NUMBERS).await, json!({ "lost": "0", "breaks": "0" }));
    leave(page, "refused").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn without_the_demo_folder_the_page_says_how_to_get_it_and_shows_a_swap_by_hand() {
    let wharf = Wharf::start(&["chat", "echo"], &[]).await;
    let mut page = visit(&wharf, "").await;
    page.wait_for("/cargo xtask serve/.test($('live-hint').innerText)").await;
    assert_eq!(page.evaluate("$('acts').hidden").await, true);
    wait_for_messages(&mut page).await;
    wharf.swap("chat", &artefacts::padded(&artefacts::component("chat"), 1)).await;
    page.wait_for("$('live-version').innerText === 'chat · generation 2'").await;
    page.wait_for("/generation 2 takes over/.test($('stream').innerText)").await;
    wait_for_messages(&mut page).await;
    assert_eq!(page.evaluate(NUMBERS).await, json!({ "lost": "0", "breaks": "0" }));
    page.evaluate("press('Source')").await;
    page.wait_for("/This host serves no sources/.test(panel().innerText)").await;
    leave(page, "no-demo").await;
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn without_the_chat_the_first_screen_waits_for_it() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut page = visit(&wharf, "").await;
    page.wait_for("/chat is not loaded on this host/.test($('live-news').innerText)").await;
    wharf.swap("chat", &artefacts::component("chat")).await;
    wait_for_messages(&mut page).await;
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_stream_can_be_paused() {
    let wharf = host().await;
    let mut page = arrive(&wharf).await;
    wait_for_messages(&mut page).await;
    page.evaluate("$('pause').click()").await;
    assert_eq!(page.evaluate("$('pause').getAttribute('aria-pressed')").await, "true");
    // Two of the page's own looks at the host pass, in which several messages would come.
    let looks = "performance.getEntriesByType('resource').filter(({ name }) => /channels.json/.test(name)).length";
    page.evaluate(&format!("globalThis.looks = {looks}")).await;
    page.wait_for(&format!("{looks} >= looks + 1")).await;
    page.evaluate("globalThis.paused = $('delivered').innerText").await;
    page.wait_for(&format!("{looks} >= looks + 2")).await;
    assert_eq!(page.evaluate("$('delivered').innerText === paused").await, true);
    page.evaluate("$('pause').click()").await;
    wait_for_messages(&mut page).await;
}
