//! The places of a token in a request: header, query, and the list of subprotocols.

use wharf_tests::raw::upgrade_headers;
use wharf_tests::tokens::{MAX_TOKEN_BYTES, SECRET, hs256, hs256_of_length};
use wharf_tests::{Client, HttpAnswer, Line, Value, Wharf, json};

use crate::tokens::{folder, secret, started};

fn ann() -> Value {
    json!({ "sub": "ann" })
}

/// Asks for an upgrade with this list of subprotocols.
async fn ask(wharf: &Wharf, path: &str, protocols: &str) -> HttpAnswer {
    let mut headers = upgrade_headers().to_vec();
    headers.push(("Sec-WebSocket-Protocol", protocols));
    let mut raw = wharf.raw().await;
    raw.request(&format!("GET {path}"), &headers).await;
    raw.answer().await
}

#[tokio::test]
async fn a_token_may_be_the_subprotocol_after_the_word_and_is_not_in_the_answer() {
    let wharf = started(&secret()).await;
    let token = hs256(ann());
    for list in [format!("bearer, {token}"), format!("other,bearer,{token}")] {
        let answer = ask(&wharf, "/vouched", &list).await;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, vec!["bearer"]));
        assert!(!answer.head.contains(&token), "{}", answer.head);
    }
    let two = [("sec-websocket-protocol", "bearer"), ("sec-websocket-protocol", token.as_str())];
    let mut client = wharf.try_connect("/vouched", &two).await.expect("a token in two headers");
    assert_eq!(client.json().await["claims"]["sub"], "ann");
    for (list, why) in [
        ("bearer, no.token.here".to_owned(), "not a JSON Web Token"),
        ("bearer".to_owned(), "there is none"),
        (format!("{token}, bearer"), "there is none"),
        (format!("Bearer, {token}"), "there is none"),
        (token.clone(), "there is none"),
    ] {
        let start = wharf.log.len();
        assert_eq!(ask(&wharf, "/vouched", &list).await.status, 401, "{list}");
        let is_refusal = |line: &Line| line.says("token refused");
        let line = wharf.log.wait_for_after(start, "the refusal", is_refusal).await;
        assert!(line.str("why").contains(why), "{line}");
    }
    let shown: Vec<Line> = wharf.log.find(|line| line.text.contains(&token));
    assert!(shown.is_empty(), "the token is in the log: {shown:?}");
}

#[tokio::test]
async fn a_channels_own_subprotocol_is_agreed_on_beside_a_token() {
    // Nothing but the subprotocol can be read of this fixture.
    let folder =
        folder(&format!("[channels.refuses.token]\n{}subprotocol = \"access_token\"\n", secret()));
    let plugin = wharf_tests::artefacts::component("refuses");
    std::fs::write(folder.path().join("plugins/refuses.wasm"), plugin).expect("a plugin");
    let wharf = Wharf::start_in(folder, &["--require-subprotocol"]).await;
    let token = hs256(ann());
    for (list, agreed) in [
        (format!("access_token, {token}, chat.v1"), "chat.v1"),
        (format!("chat.v1, chat.v2, access_token, {token}"), "chat.v2"),
        (format!("access_token, {token}"), "access_token"),
    ] {
        let header = [("sec-websocket-protocol", list.as_str())];
        let mut client: Client =
            wharf.try_connect("/refuses", &header).await.expect("a good token");
        assert_eq!(client.headers["sec-websocket-protocol"], agreed, "{list}");
        // The plugin hears of its own only.
        let of_channel = Some(agreed).filter(|agreed| agreed.starts_with("chat"));
        let answer = client.ask_for_json("which?").await;
        assert_eq!(answer, json!({ "subprotocol": of_channel }));
    }
    for (list, status) in [
        (format!("access_token, {token}, graphql-ws"), 400),
        (format!("bearer, {token}, chat.v1"), 401),
    ] {
        assert_eq!(ask(&wharf, "/refuses", &list).await.status, status, "{list}");
    }
    let shown: Vec<Line> = wharf.log.find(|line| line.text.contains(&token));
    assert!(shown.is_empty(), "the token is in the log: {shown:?}");
}

#[tokio::test]
async fn a_channel_without_rules_takes_no_token_and_the_log_shows_none() {
    let wharf = Wharf::start_in(folder(""), &[]).await;
    let token = hs256(ann());
    let answer = ask(&wharf, "/vouched", &format!("bearer, {token}")).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, vec![]));
    let odd = |line: &Line| line.says("the client asks for no subprotocol of the channel's");
    let line = wharf.log.wait_for("the odd list", odd).await;
    assert_eq!(line.str("asked"), "bearer, ***");
    // `subprotocol = ""` is for nobody's word.
    let wharf = started(&format!("{}subprotocol = \"\"", secret())).await;
    assert_eq!(ask(&wharf, "/vouched", &format!("bearer, {token}")).await.status, 401);
}

#[tokio::test]
async fn a_token_of_16_kib_is_let_in_from_every_place_that_has_room_for_it() {
    let file = format!("max_header_bytes = 65536\n[channels.vouched.token]\n{}", secret());
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    for bytes in [8_151, 8_300, 12_137, 16_137, MAX_TOKEN_BYTES - 2, MAX_TOKEN_BYTES] {
        let token = hs256_of_length(SECRET, bytes);
        let (bearer, list) = (format!("Bearer {token}"), format!("bearer, {token}"));
        let cookie = "c".repeat(500);
        wharf.connect(&format!("/vouched?room=a&token={token}")).await;
        for header in [("authorization", &bearer), ("sec-websocket-protocol", &list)] {
            let headers = [(header.0, header.1.as_str()), ("cookie", cookie.as_str())];
            assert!(
                wharf.try_connect("/vouched", &headers).await.is_ok(),
                "{bytes} in {}",
                header.0
            );
        }
    }
    let longer = hs256_of_length(SECRET, MAX_TOKEN_BYTES + 2);
    let start = wharf.log.len();
    let rejected = wharf.try_connect(&format!("/vouched?token={longer}"), &[]).await;
    assert_eq!(rejected.expect_err("too long").status, 401);
    let is_refusal = |line: &Line| line.says("token refused");
    let line = wharf.log.wait_for_after(start, "the refusal", is_refusal).await;
    assert_eq!(line.str("why"), "it is too long");
}

#[tokio::test]
async fn a_token_without_room_leaves_one_line_of_the_log() {
    let wharf = started(&secret()).await;
    let token = hs256_of_length(SECRET, MAX_TOKEN_BYTES);
    let mut raw = wharf.raw().await;
    raw.request(&format!("GET /vouched?token={token}"), &upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 431);
    let is_line = |line: &Line| line.begins("request refused: its head is too large");
    let line = wharf.log.wait_for("the refusal", is_line).await;
    assert_eq!(line.number("max_header_bytes"), Some(16 * 1024));
    assert_eq!(wharf.log.find(is_line).len(), 1);

    let file = format!("max_header_bytes = 65536\n[channels.vouched.token]\n{}", secret());
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    let mut raw = wharf.raw().await;
    let target = format!("GET /vouched?token={}", "x".repeat(33 * 1024));
    raw.request(&target, &upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 414);
    let is_line =
        |line: &Line| line.says("client turned away") && line.number("status") == Some(414);
    let line = wharf.log.wait_for("the refusal", is_line).await;
    assert!(!line.text.contains("xxxx"), "{line}");
    assert_eq!(wharf.log.find(is_line).len(), 1);
}
