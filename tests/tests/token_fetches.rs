//! Key sets by their addresses: fetched apart from handshakes, cached, and renewed.

use std::time::{Duration, Instant};

use wharf_tests::tokens::{self, Algorithm, signed};
use wharf_tests::{Backend, Line, Value, Wharf, eventually, json, run_in};

use crate::tokens::{admitted, folder, refused, with_header};

/// Starts a host whose channel `vouched` has the key set at `/content` of a backend.
async fn started(backend: &Backend, lines: &str) -> Wharf {
    let address = backend.url("/content");
    let file = format!("[channels.vouched.token]\njwks = {address:?}\n{lines}\n");
    Wharf::start_in(folder(&file), &[]).await
}

fn ann() -> Value {
    json!({ "sub": "ann" })
}

/// Makes a token of the key with this name.
fn by(name: &str) -> String {
    signed(Algorithm::EdDSA, Some(name), ann())
}

/// Gives the backend a set of keys with these names.
fn publish(backend: &Backend, names: &[&str]) {
    let keys: Vec<_> = names.iter().map(|name| (*name, Algorithm::EdDSA)).collect();
    backend.set_content(Some(tokens::key_set(&keys)));
}

async fn until_admitted(wharf: &Wharf, token: &str) {
    eventually("the token to be accepted", async || with_header(wharf, token).await.ok()).await;
}

#[tokio::test]
async fn a_set_is_fetched_once_and_again_for_a_key_that_is_new() {
    let backend = Backend::start().await;
    publish(&backend, &["one"]);
    let wharf = started(&backend, "").await;
    for _ in 0..5 {
        admitted(&wharf, &by("one")).await;
    }
    assert_eq!(backend.requests(), 1, "it is kept");
    publish(&backend, &["one", "two"]);
    until_admitted(&wharf, &by("two")).await;
    admitted(&wharf, &by("one")).await;
    let is_news = |line: &Line| line.says("the keys for tokens were read again");
    let line = wharf.log.wait_for("the new keys", is_news).await;
    assert_eq!((line.number("keys"), line.str("place")), (Some(2), &*backend.url("/content")));
}

#[tokio::test]
async fn a_client_with_a_new_key_waits_for_the_fetch_and_is_let_in_at_once() {
    let backend = Backend::start().await;
    publish(&backend, &["one"]);
    let wharf = started(&backend, "").await;
    admitted(&wharf, &by("one")).await;
    // A fetch is allowed five seconds after the last.
    tokio::time::sleep(Duration::from_secs(6)).await;
    publish(&backend, &["two"]);
    admitted(&wharf, &by("two")).await;
    assert_eq!(backend.requests(), 2);
    assert!(refused(&wharf, &by("one")).await.contains("not in the key set"));
}

#[tokio::test]
async fn strangers_with_keys_at_random_cause_no_flood() {
    let backend = Backend::start().await;
    publish(&backend, &["one"]);
    let wharf = started(&backend, "").await;
    admitted(&wharf, &by("one")).await;
    let begun = Instant::now();
    for number in 0..200 {
        let rejected = with_header(&wharf, &by(&format!("key {number}"))).await;
        assert_eq!(rejected.expect_err("no such key").status, 401);
    }
    let fetches = backend.requests() as u64 - 1;
    let allowed = begun.elapsed().as_secs() / 5 + 1;
    assert!(fetches <= allowed, "{fetches} fetches, {allowed} allowed");
    admitted(&wharf, &by("one")).await;
}

#[tokio::test]
async fn a_set_is_renewed_on_an_interval_and_the_last_good_one_stays_while_that_fails() {
    let backend = Backend::start().await;
    publish(&backend, &["one"]);
    let wharf = started(&backend, "jwks_refresh_seconds = 1").await;
    admitted(&wharf, &by("one")).await;
    // A key that is withdrawn is out, although no token asks for another.
    publish(&backend, &["two"]);
    eventually("the withdrawal", async || with_header(&wharf, &by("one")).await.err()).await;
    for (contents, word) in [
        (None, "status 503"),
        (Some("x".repeat(2 * 1024 * 1024)), "more than 1048576 bytes"),
        (Some("{\"keys\":[]}".to_owned()), "no public key"),
    ] {
        let start = wharf.log.len();
        backend.set_content(contents);
        let stays = |line: &Line| line.says("the keys for tokens stay as they were");
        let line = wharf.log.wait_for_after(start, "the complaint", stays).await;
        assert!(line.str("reason").contains(word), "no {word:?}: {line}");
        let before = backend.requests();
        eventually("more attempts", async || (backend.requests() >= before + 2).then_some(()))
            .await;
        let complaints = wharf.log.lines().into_iter().skip(start).filter(stays).count();
        assert_eq!(complaints, 1, "only a change of the state is logged");
        admitted(&wharf, &by("two")).await;
    }
    let start = wharf.log.len();
    publish(&backend, &["two"]);
    let again = |line: &Line| line.says("the keys for tokens can be read again");
    wharf.log.wait_for_after(start, "the cure", again).await;
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_its_channels_problem_and_tried_again() {
    let backend = Backend::start().await;
    let wharf = started(&backend, "").await;
    assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
    let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
    wharf.log.wait_for("the complaint", is_complaint).await;
    assert_eq!(with_header(&wharf, &by("one")).await.expect_err("no keys").status, 503);
    publish(&backend, &["one"]);
    until_admitted(&wharf, &by("one")).await;
}

#[tokio::test]
async fn a_fetch_that_takes_long_holds_up_nobody_for_longer_than_a_moment() {
    let backend = Backend::start().await;
    let address = backend.url("/never");
    let file = format!("[channels.vouched.token]\njwks = {address:?}\n");
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    let begun = Instant::now();
    let (one, other) = (by("one"), by("one"));
    let (one, other) = tokio::join!(with_header(&wharf, &one), with_header(&wharf, &other));
    assert_eq!(one.expect_err("no keys").status, 503);
    assert_eq!(other.expect_err("no keys").status, 503);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
    // After ten seconds the host gives up, and says so.
    let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
    let line = wharf.log.wait_for("the complaint", is_complaint).await;
    assert!(line.str("reason").contains("within 10 s"), "{line}");
}

#[tokio::test]
async fn redirections_are_not_followed_and_one_set_of_several_channels_is_fetched_once() {
    let backend = Backend::start().await;
    let address = backend.url("/redirect");
    let file =
        format!("[token]\njwks = {address:?}\n[channels.vouched.token]\njwks = {address:?}\n");
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
    let line = wharf.log.wait_for("the complaint", is_complaint).await;
    assert!(
        line.str("reason").contains("status 302") && line.str("reason").contains("/hello"),
        "{line}"
    );
    assert_eq!(line.str("tables"), "token channels.vouched.token");
    assert_eq!(wharf.log.find(is_complaint).len(), 1);
}

#[tokio::test]
async fn keys_of_another_machine_are_not_fetched_without_encryption() {
    let file = "[channels.vouched.token]\njwks = \"http://login.example.com/keys\"\n";
    let output = run_in(folder(file).path(), &["serve", "--listen", "127.0.0.1:0"], &[]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    for word in ["channels.vouched.token.jwks", "wharf.toml", "use `https://`"] {
        assert!(complaint.contains(word), "no {word}: {complaint}");
    }
}
