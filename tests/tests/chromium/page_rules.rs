//! Rules for the demo page that everybody can see it by, measured in a real browser.

use wharf_tests::{Browser, Wharf, json};

use super::page::{come, host, visit};

/// The examples, by the part of the address that leads to them.
const SECTIONS: [&str; 9] =
    ["chat", "game", "presence", "notifications", "secure", "robust", "batched", "echo", "own"];

/// Pairs of a text and its ground with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3).
const FAINT: &str = "(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    };
    const over = ([r, g, b, a], ground) => [r, g, b].map((part, at) => part * a + ground[at] * (1 - a));
    const ground = (node) => {
        const layers = [];
        for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
        return layers.reverse().reduce((below, layer) => over(layer, below), rgba('Canvas').slice(0, 3));
    };
    // A text of a drawing stands on the last shape below it.
    const drawn = (text) => {
        const box = text.getBoundingClientRect();
        const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
        const shapes = [...text.ownerSVGElement.querySelectorAll('rect')].filter((shape) => {
            const { left, right, top, bottom } = shape.getBoundingClientRect();
            const style = getComputedStyle(shape.parentElement);
            return shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING && left < x && x < right
                && top < y && y < bottom && getComputedStyle(shape).fill !== 'none' && style.opacity !== '0';
        });
        const shape = shapes.at(-1);
        return shape ? over(rgba(getComputedStyle(shape).fill), ground(text.ownerSVGElement)) : ground(text.ownerSVGElement);
    };
    const light = (color) => color.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const contrast = (one, other) => {
        const [less, more] = [light(one), light(other)].sort((a, b) => a - b);
        return (more + 0.05) / (less + 0.05);
    };
    const found = [];
    const judge = (node, color, below, text) => {
        const ratio = contrast(over(rgba(color), below), below);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${text.trim().slice(0, 40)} <${node.tagName} ${node.className.baseVal ?? node.className}>`);
    };
    for (const node of document.querySelectorAll('body *')) {
        if (!node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || node.closest(':disabled, option, noscript')) continue;
        const style = getComputedStyle(node);
        const own = [...node.childNodes].filter((child) => child.nodeType === 3 && child.data.trim()).map((child) => child.data).join(' ');
        if (own && node.ownerSVGElement) node.tagName === 'text' && judge(node, style.fill, drawn(node), own);
        else if (own) judge(node, style.color, ground(node), own);
        if (node.placeholder && !node.value) judge(node, getComputedStyle(node, '::placeholder').color, ground(node), node.placeholder);
        if (node.matches('input, select')) judge(node, style.color, ground(node), node.value || 'value');
        if (node.matches('.empty')) judge(node, getComputedStyle(node, '::before').color, ground(node), node.dataset.empty);
    }
    return found;
})()";

/// Things to press that are too small: below 24 pixels, and below 44 on a phone for those that matter
/// most. A link in a sentence may be as high as its line (WCAG 2.2, 2.5.8).
const SMALL: &str = "(() => {
    const most = '.primary, .danger, .strong, [role=tab], .work form > button, header a';
    return [...document.querySelectorAll('a, button, input, select, summary, canvas')]
        .filter((node) => node.checkVisibility() && !(node.matches('a') && getComputedStyle(node).display === 'inline') && !node.matches('.skip'))
        .filter((node) => {
            const { width, height } = node.getBoundingClientRect();
            const least = innerWidth < 600 && node.matches(most) ? 44 : 24;
            return width < least - 0.1 || height < least - 0.1;
        })
        .map((node) => `${node.outerHTML.slice(0, 90)} ${node.getBoundingClientRect().width} x ${node.getBoundingClientRect().height}`);
})()";

/// Controls without a name for a screen reader.
const NAMELESS: &str = "[...document.querySelectorAll('a, button, input, select, summary, canvas, [role], [tabindex]')]
    .filter((node) => !node.ariaLabel && !node.getAttribute('aria-labelledby') && !node.labels?.length && !node.textContent.trim())
    .map((node) => node.outerHTML.slice(0, 120))";

/// The structure that a screen reader announces: mistakes in the order of headings, missing landmarks.
const STRUCTURE: &str = "(() => {
    const found = [];
    const visible = [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter((node) => node.checkVisibility());
    const levels = visible.map((node) => Number(node.tagName[1]));
    if (levels.filter((level) => level === 1).length !== 1) found.push('not one h1');
    levels.forEach((level, at) => level > (levels[at - 1] ?? 0) + 1 && found.push(`skips a level: ${visible[at].innerText}`));
    for (const part of ['header', 'nav', 'main', 'footer']) if (document.querySelectorAll(part).length !== 1) found.push(`not one ${part}`);
    if (document.documentElement.lang !== 'en') found.push('no language');
    if (!document.title) found.push('no title');
    const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
    ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => found.push(`twice: #${id}`));
    document.querySelectorAll('[aria-labelledby], [aria-controls]').forEach((node) => ['aria-labelledby', 'aria-controls']
        .map((name) => node.getAttribute(name)).filter((id) => id && !$(id)).forEach((id) => found.push(`leads nowhere: ${id}`)));
    return found;
})()";

/// Requests to other servers.
const FOREIGN: &str = "performance.getEntriesByType('resource').map(({ name }) => name)
    .filter((name) => new URL(name).host !== location.host)";

/// Shows each example in turn, and calls a check with its name.
async fn everywhere(
    wharf: &Wharf,
    page: &mut Browser,
    scheme: &str,
    width: u32,
    checks: &[(&str, &str)],
) {
    page.view(width, 900, scheme).await;
    for section in SECTIONS {
        come(page, wharf, &format!("#{section}")).await;
        page.wait_for("!$('swap').disabled").await;
        page.evaluate("document.querySelectorAll('details').forEach((node) => (node.open = true))")
            .await;
        for (rule, check) in checks {
            let found = page.evaluate(check).await;
            assert_eq!(found, json!([]), "{rule}: {section}, {width} pixels, {scheme}");
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn every_text_of_the_page_has_contrast_in_both_schemes() {
    let wharf = host().await;
    let mut page = visit(&wharf, "").await;
    for scheme in ["light", "dark"] {
        everywhere(&wharf, &mut page, scheme, 1280, &[("contrast", FAINT)]).await;
        for button in ["panic", "swap"] {
            page.wait_for("!$('swap').disabled").await;
            page.evaluate(&format!("$('{button}').click()")).await;
            page.wait_for("!$('swap').disabled && $('live-news').innerText.length > 80").await;
            assert_eq!(page.evaluate(FAINT).await, json!([]), "{button}, {scheme}");
        }
        for document in ["docs/guide/README.md", "docs/guide/rooms.md"] {
            page.open("about:blank").await;
            page.open(&format!("http://{}/_wharf/read#{document}", wharf.address)).await;
            page.wait_for("document.querySelector('h1') !== null").await;
            assert_eq!(page.evaluate(FAINT).await, json!([]), "{document}, {scheme}");
        }
    }
    assert_eq!(page.complaints().await, json!([]));
    // The measure itself.
    come(&mut page, &wharf, "").await;
    page.evaluate("document.querySelector('.lead p').style.color = 'var(--ground)'").await;
    assert_ne!(page.evaluate(FAINT).await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_page_fits_every_screen_and_its_controls_can_be_hit_and_are_named() {
    let wharf = host().await;
    let mut page = visit(&wharf, "").await;
    let overflow = "document.documentElement.scrollWidth > innerWidth ? [document.documentElement.scrollWidth] : []";
    let checks = [
        ("overflow", overflow),
        ("target size", SMALL),
        ("names", NAMELESS),
        ("structure", STRUCTURE),
        ("foreign requests", FOREIGN),
    ];
    for width in [320, 390, 1280, 1920] {
        everywhere(&wharf, &mut page, "light", width, &checks).await;
    }
    assert_eq!(page.complaints().await, json!([]));
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_sentence_the_picture_and_the_button_are_on_the_first_screen() {
    let wharf = host().await;
    let mut page = visit(&wharf, "").await;
    for (width, height) in [(390, 844), (1280, 800), (1920, 1080)] {
        page.view(width, height, "light").await;
        come(&mut page, &wharf, "").await;
        let below = "['title', 'picture', 'swap'].filter((id) => $(id).getBoundingClientRect().bottom > innerHeight)";
        assert_eq!(page.evaluate(below).await, json!([]), "{width} x {height}");
    }
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_keyboard_reaches_every_control() {
    let wharf = host().await;
    let mut page = visit(&wharf, "").await;
    for section in ["chat", "game", "secure"] {
        come(&mut page, &wharf, &format!("#{section}")).await;
        page.wait_for("!$('swap').disabled").await;
        let wanted =
            "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]
            .filter((node) => node.checkVisibility() && !node.disabled && node.tabIndex >= 0)";
        page.evaluate(&format!(
            "globalThis.wanted = new Set({wanted}); document.activeElement.blur(); wanted.size"
        ))
        .await;
        let mut presses = 0;
        while page.evaluate("wanted.delete(document.activeElement); wanted.size").await != 0 {
            presses += 1;
            let left =
                page.evaluate("[...wanted].map((node) => node.outerHTML.slice(0, 90))").await;
            assert!(presses < 120, "never reached in {section}: {left}");
            page.press("Tab").await;
        }
        // The one that has the focus shows it.
        let style = "getComputedStyle(document.activeElement).outlineStyle";
        assert_ne!(page.evaluate(style).await, "none", "{section}");
    }
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn a_visitor_who_wants_less_motion_sees_none() {
    let wharf = host().await;
    let mut page = visit(&wharf, "").await;
    let moving = "document.getAnimations().length";
    page.wait_for(&format!("!$('swap').disabled && {moving} > 0")).await;
    page.less_motion().await;
    page.wait_for(&format!("{moving} === 0")).await;
    page.evaluate("$('swap').click()").await;
    page.wait_for("/festive/.test($('live-version').innerText)").await;
    assert_eq!(page.evaluate(moving).await, 0);
}

#[tokio::test]
#[ignore = "needs Chromium: cargo xtask test"]
async fn the_documents_and_sources_can_be_read_where_they_are_served() {
    let wharf = host().await;
    let mut page = visit(&wharf, "#game").await;
    page.evaluate("press('Source')").await;
    page.wait_for("/impl Channel for Player/.test(panel().querySelector('.code').innerText)").await;
    let colours = "panel().querySelectorAll('.code b, .code u, .code i').length > 50";
    assert_eq!(page.evaluate(colours).await, true);
    let links =
        "[...document.querySelectorAll('nav a, .reads a')].map((link) => link.getAttribute('href'))
        .filter((link) => link.startsWith('/_wharf/read#'))";
    let links = page.evaluate(links).await;
    let links = links.as_array().expect("a list");
    assert!(links.len() >= 6, "{links:?}");
    let guide = links.iter().filter_map(|link| link.as_str()).find(|link| link.contains("guide/"));
    page.open(&format!("http://{}{}", wharf.address, guide.expect("a link"))).await;
    page.wait_for("document.querySelector('h1')?.innerText === 'Guide'").await;
    page.evaluate("[...document.querySelectorAll('main a')].find((link) => link.innerText === 'Rooms').click()").await;
    page.wait_for("document.querySelector('h1').innerText === 'Rooms'").await;
    page.screenshot("read").await;
    // Every link of the document leads to another one, or to another server.
    let dead = "[...document.querySelectorAll('main a')].map((link) => link.getAttribute('href'))
        .filter((href) => !/^(#|https?:)/.test(href))";
    assert_eq!(page.evaluate(dead).await, json!([]));
    page.evaluate("location.hash = '#docs/nothing.md'").await;
    page.wait_for("/does not serve docs\\/nothing.md/.test(document.body.innerText)").await;
    assert_eq!(page.complaints().await, json!([]));
}
