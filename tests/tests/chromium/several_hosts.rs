//! The demo pages of two hosts that are one: a browser on each of two ports.

use wharf_tests::{Setup, artefacts};

use super::page::{enter, leave};

#[tokio::test]
#[ignore = "needs Chromium and a server of Redis: cargo xtask test"]
async fn pages_of_two_hosts_are_one_chat_one_list_and_one_game() {
    let demo = format!("--demo {}", artefacts::demo().display());
    let hosts = Setup::Redis.start(&["chat", "presence", "game"], &[&demo]).await;
    let (here, there) = (hosts.wharf(0), hosts.wharf(1));

    let (mut ann, mut bob) =
        tokio::join!(enter(here, "#chat/harbour"), enter(there, "#chat/harbour"));
    for (page, name) in [(&mut ann, "Ann"), (&mut bob, "Bob")] {
        page.evaluate(&format!("fill('Name', '{name}'); press('Go there')")).await;
        page.wait_for("/in the room harbour/.test(text())").await;
    }
    ann.wait_for("/Bob joined the room/.test(text())").await;
    ann.evaluate("fill('Message', 'ahoy, Bob'); press('Send')").await;
    bob.wait_for("/Ann\\s*ahoy, Bob/.test(text())").await;
    bob.evaluate("fill('Message', 'ahoy, Ann'); press('Send')").await;
    ann.wait_for("/Bob\\s*ahoy, Ann/.test(text())").await;
    leave(ann, "several-hosts-chat").await;

    let (mut ann, mut eve) = tokio::join!(enter(here, "#presence"), enter(there, "#presence"));
    ann.evaluate("fill('Name', 'Ann'); press('Enter')").await;
    eve.evaluate("fill('Name', 'Eve'); press('Enter')").await;
    let both = "(() => {
        const people = panel().querySelector('.people').innerText;
        return /Ann online/.test(people) && /Eve online/.test(people);
    })()";
    ann.wait_for(both).await;
    eve.wait_for(both).await;
    leave(eve, "several-hosts-presence").await;

    let (mut ann, mut bob) = tokio::join!(enter(here, "#game"), enter(there, "#game"));
    ann.evaluate("fill('Name', 'Ann'); fill('Colour', '#ff0000'); press('Join')").await;
    ann.wait_for("/Ann has joined, 1 playing/.test(text())").await;
    bob.evaluate("fill('Name', 'Bob'); press('Join')").await;
    ann.wait_for("/Bob has joined, 2 playing/.test(text())").await;
    ann.evaluate("fill('x', 3); fill('y', 4); press('Move')").await;
    bob.wait_for("/Ann claims 3, 4/.test(text())").await;
    bob.evaluate("fill('x', 3); fill('y', 4); press('Move')").await;
    bob.wait_for("/Invalid move/.test(text())").await;
    leave(bob, "several-hosts-game").await;
}
